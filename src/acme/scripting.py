"""The stage directions: JSON over HTTP for tests and demonstrations, all under /sandbox/."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.changes import PersonPatch
from acme.clock import Clock
from acme.faults import KINDS, Fault
from acme.field_mask import EVERYTHING
from acme.groups import Groups
from acme.id_tokens import Forgery, IdTokens
from acme.people import Person
from acme.records import UserRecords, record
from acme.request_log import Call
from acme.safe import Safe
from acme.tenant import AddressTaken, NobodyThere, Tenant

T = TypeVar("T")


class Advance(msgspec.Struct, forbid_unknown_fields=True):
    days: int


class Reset(msgspec.Struct, forbid_unknown_fields=True):
    to_step: int = 0


class GroupChange(msgspec.Struct, forbid_unknown_fields=True):
    add: list[str] = []
    remove: list[str] = []


class Refused(Exception):
    """A script that makes no sense."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Scripting:
    def __init__(
        self,
        tenant: Tenant,
        groups: Groups,
        records: UserRecords,
        clock: Clock,
        safe: Safe,
        id_tokens: IdTokens,
        faults: list[Fault],
        calls: deque[Call],
    ) -> None:
        self._tenant = tenant
        self._groups = groups
        self._columns = records.columns(EVERYTHING, EVERYTHING)
        self._clock = clock
        self._safe = safe
        self._id_tokens = id_tokens
        self._faults = faults
        self._calls = calls

    def routes(self) -> list[Route]:
        return [
            Route("/sandbox/ready", self._ready),
            Route("/sandbox/requests", self._requests),
            Route("/sandbox/events", self._events),
            _order("/sandbox/faults", self._add_fault),
            _order("/sandbox/id-token", self._forge),
            _order("/sandbox/people", self._hire),
            _order("/sandbox/people/{email}", self._change),
            _order("/sandbox/groups/{email}", self._change_group),
            _order("/sandbox/clock", self._advance),
            _order("/sandbox/keys/rotate", self._rotate),
            _order("/sandbox/reset", self._reset),
        ]

    async def _ready(self, _: Request) -> Response:
        return _json({"people": self._tenant.size, "step": self._tenant.step, "now": self._clock.now()})

    async def _requests(self, request: Request) -> Response:
        path = request.query_params.get("path")
        calls = [call for call in self._calls if path is None or call.path == path]
        return _json({"count": len(calls), "requests": calls[-1000:]})

    async def _events(self, _: Request) -> Response:
        return _json({"step": self._tenant.step, "events": self._tenant.events})

    async def _add_fault(self, request: Request) -> Response:
        fault = await _read(request, Fault)
        if fault.kind not in KINDS:
            raise Refused(422, f"no fault is called {fault.kind!r}; there are {', '.join(sorted(KINDS))}")
        if fault.times < 1 or (fault.page is not None and fault.page < 1):
            raise Refused(422, "page and times count from 1")
        self._faults.append(fault)
        return _json({"waiting": len(self._faults)})

    async def _forge(self, request: Request) -> Response:
        self._id_tokens.forge(await _read(request, Forgery))
        return _json({})

    async def _hire(self, request: Request) -> Response:
        return self._person(self._tenant.hire(await _read(request, PersonPatch)), 201)

    async def _change(self, request: Request) -> Response:
        patch = await _read(request, PersonPatch)
        return self._person(self._tenant.change(request.path_params["email"], patch))

    async def _change_group(self, request: Request) -> Response:
        change = await _read(request, GroupChange)
        group = self._groups.get(request.path_params["email"])
        added, removed = ([key.lower() for key in keys] for keys in (change.add, change.remove))
        self._tenant.change_group(group.address, added, removed)
        return _json({"step": self._tenant.step})

    async def _advance(self, request: Request) -> Response:
        self._clock.advance((await _read(request, Advance)).days)
        return _json({"now": self._clock.now()})

    async def _rotate(self, _: Request) -> Response:
        key = await asyncio.to_thread(self._safe.rotate)
        return _json({"kid": key.kid})

    async def _reset(self, request: Request) -> Response:
        """Back to the start in everything, or to an earlier step of the tenant."""
        self._tenant.rewind((await _read(request, Reset)).to_step)
        self._clock.reset()
        self._faults.clear()
        self._calls.clear()
        self._id_tokens.reset()
        return _json({"step": self._tenant.step})

    def _person(self, person: Person, status: int = 200) -> Response:
        return _json({"step": self._tenant.step, "user": record(person, self._columns)}, status)


def _order(path: str, handler: Callable[[Request], Awaitable[Response]]) -> Route:
    """For programs: a page in the developer's browser could otherwise send orders to loopback as well."""

    async def from_a_program(request: Request) -> Response:
        if "origin" in request.headers:
            raise Refused(403, "orders are not taken from web pages")
        return await handler(request)

    return Route(path, from_a_program, methods=["POST"])


async def _read(request: Request, kind: type[T]) -> T:
    """An empty body stands for an empty object."""
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise Refused(422, str(error)) from None


def _json(content: Mapping[str, object], status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def refuse(_: Request, error: Exception) -> Response:
    """Starlette's handler for what can go wrong in a script."""
    status = {NobodyThere: 404, AddressTaken: 409}.get(type(error), getattr(error, "status", 422))
    return _json({"error": f"{type(error).__name__}: {error}"}, status)

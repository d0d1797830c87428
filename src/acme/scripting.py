"""The stage directions: JSON over HTTP for tests and demonstrations, all under /sandbox/."""

import asyncio
from collections import Counter, deque
from itertools import islice

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.changes import GroupPatch, PersonPatch
from acme.clock import Clock
from acme.days import Days
from acme.faults import KINDS, Fault
from acme.field_mask import EVERYTHING
from acme.groups import Group, Groups
from acme.id_tokens import Forgery, IdTokens
from acme.orders import Refused, json, order, read
from acme.people import FIRST_HEAD, Person
from acme.quota import Quota
from acme.records import UserRecords, record
from acme.request_log import Call
from acme.safe import Safe
from acme.tenant import Tenant

_MOST_DAYS = 366


class Advance(msgspec.Struct, forbid_unknown_fields=True):
    days: int


class QuotaOrder(msgspec.Struct, forbid_unknown_fields=True):
    per_minute: int | None = None


class Reset(msgspec.Struct, forbid_unknown_fields=True):
    to_step: int = 0


class GroupOrder(GroupPatch):
    """`add` and `remove` are members: people, other groups, or anybody's address."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    deleted: bool = False

    @property
    def patch(self) -> GroupPatch | None:
        patch = GroupPatch(self.email, self.name, self.description)
        return None if patch == GroupPatch() else patch


class Many(msgspec.Struct, forbid_unknown_fields=True):
    """Several people at once: these, or the first of the listing but the three that tests rely on."""

    patch: PersonPatch
    emails: list[str] = []
    first: int = 0


class Scripting:
    def __init__(
        self,
        tenant: Tenant,
        groups: Groups,
        days: Days,
        records: UserRecords,
        clock: Clock,
        safe: Safe,
        id_tokens: IdTokens,
        faults: list[Fault],
        calls: deque[Call],
        quota: Quota,
    ) -> None:
        self._tenant = tenant
        self._groups = groups
        self._days = days
        self._columns = records.columns(EVERYTHING, EVERYTHING)
        self._clock = clock
        self._safe = safe
        self._id_tokens = id_tokens
        self._faults = faults
        self._calls = calls
        self._quota = quota

    def routes(self) -> list[Route]:
        return [
            Route("/sandbox/ready", self._ready),
            Route("/sandbox/requests", self._requests),
            Route("/sandbox/events", self._events),
            order("/sandbox/faults", self._add_fault),
            order("/sandbox/quota", self._limit),
            order("/sandbox/id-token", self._forge),
            order("/sandbox/people", self._hire),
            order("/sandbox/people/many", self._change_many),
            order("/sandbox/people/{email}", self._change),
            order("/sandbox/groups", self._create_group),
            order("/sandbox/groups/{email}", self._change_group),
            order("/sandbox/clock", self._advance),
            order("/sandbox/days", self._pass_days),
            order("/sandbox/keys/rotate", self._rotate),
            order("/sandbox/reset", self._reset),
        ]

    async def _ready(self, _: Request) -> Response:
        return json({"people": self._tenant.size, "step": self._tenant.step, "now": self._clock.now()})

    async def _requests(self, request: Request) -> Response:
        path = request.query_params.get("path")
        calls = [call for call in self._calls if path is None or call.path == path]
        return json({"count": len(calls), "requests": calls[-1000:]})

    async def _events(self, _: Request) -> Response:
        return json({"step": self._tenant.step, "events": self._tenant.events})

    async def _add_fault(self, request: Request) -> Response:
        fault = await read(request, Fault)
        if fault.kind not in KINDS:
            raise Refused(422, f"no fault is called {fault.kind!r}; there are {', '.join(sorted(KINDS))}")
        if fault.times < 1 or (fault.page is not None and fault.page < 1):
            raise Refused(422, "page and times count from 1")
        self._faults.append(fault)
        return json({"waiting": len(self._faults)})

    async def _limit(self, request: Request) -> Response:
        per_minute = (await read(request, QuotaOrder)).per_minute
        if per_minute is not None and per_minute < 0:
            raise Refused(422, "a quota is 0 at least, or null for none")
        self._quota.limit(per_minute)
        return json({"per_minute": per_minute})

    async def _forge(self, request: Request) -> Response:
        self._id_tokens.forge(await read(request, Forgery))
        return json({})

    async def _hire(self, request: Request) -> Response:
        return self._person(self._tenant.hire(await read(request, PersonPatch)), 201)

    async def _change(self, request: Request) -> Response:
        patch = await read(request, PersonPatch)
        return self._person(self._tenant.change(request.path_params["email"], patch))

    async def _change_many(self, request: Request) -> Response:
        """All or none; one event each."""
        many = await read(request, Many)
        if msgspec.UNSET is not many.patch.primary_email or msgspec.UNSET is not many.patch.aliases:
            raise Refused(422, "an address belongs to one person")
        ids = [self._tenant.get(email).id for email in many.emails]
        following = islice(self._tenant.listed_from(FIRST_HEAD), max(0, many.first))
        ids += [self._tenant.person(number).id for number in following]
        for person_id in ids:
            self._tenant.change(person_id, many.patch)
        return json({"step": self._tenant.step, "changed": len(ids)})

    async def _create_group(self, request: Request) -> Response:
        wanted = await read(request, GroupOrder)
        patch = wanted.patch
        if patch is None or not isinstance(patch.email, str) or "@" not in patch.email:
            raise Refused(422, "a group needs an email")
        group = self._groups.create(patch)
        if wanted.add:
            self._groups.change(group, add=wanted.add)
        return self._group(group, 201)

    async def _change_group(self, request: Request) -> Response:
        """A deleted group does not come back."""
        wanted = await read(request, GroupOrder)
        group = self._groups.get(request.path_params["email"])
        if wanted.deleted:
            self._groups.delete(group)
            return json({"step": self._tenant.step})
        self._groups.change(group, add=wanted.add, remove=wanted.remove, patch=wanted.patch)
        return self._group(self._groups.get(group.id))

    async def _advance(self, request: Request) -> Response:
        self._clock.advance((await read(request, Advance)).days)
        return json({"now": self._clock.now()})

    async def _pass_days(self, request: Request) -> Response:
        days = (await read(request, Advance)).days
        if not 1 <= days <= _MOST_DAYS:
            raise Refused(422, f"days are 1 to {_MOST_DAYS}")
        counts: Counter[str] = Counter()
        for _ in range(days):
            counts += self._days.pass_one()
            await asyncio.sleep(0)  # a month of a large company takes a while, and others are waiting
        return json({"step": self._tenant.step, "now": self._clock.now(), "counts": counts})

    async def _rotate(self, _: Request) -> Response:
        key = await asyncio.to_thread(self._safe.rotate)
        return json({"kid": key.kid})

    async def _reset(self, request: Request) -> Response:
        """Back to the start in everything, or to an earlier step of the tenant."""
        self._tenant.rewind((await read(request, Reset)).to_step)
        self._clock.reset()
        self._faults.clear()
        self._calls.clear()
        self._quota.limit(None)
        self._id_tokens.reset()
        return json({"step": self._tenant.step})

    def _person(self, person: Person, status: int = 200) -> Response:
        return json({"step": self._tenant.step, "user": msgspec.Raw(record(person, self._columns))}, status)

    def _group(self, group: Group, status: int = 200) -> Response:
        return json({"step": self._tenant.step, "group": self._groups.record(group)}, status)

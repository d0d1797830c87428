"""Stage directions for HubSpot's half: JSON over HTTP for tests and demonstrations."""

import re
from collections import Counter, deque
from itertools import islice
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.hubspot.days import HubSpotDays
from acme.hubspot.errors import HubSpotError
from acme.hubspot.faults import HubSpotFault
from acme.hubspot.gate import Gate, Handler
from acme.hubspot.inputs import kind_of
from acme.hubspot.kinds import CONTACTS, KINDS, Kind, kind_named
from acme.hubspot.limits import Bounds, Limits
from acme.hubspot.links import End
from acme.hubspot.owners import OwnerPatch
from acme.hubspot.portal import Portal, Source, Tie, colleague
from acme.hubspot.records import Record
from acme.hubspot.rendering import Rendering, Shown, Wanted
from acme.hubspot.rules import Rule
from acme.hubspot.search_index import SearchIndex
from acme.hubspot.webhooks import Settings, WebhookFault, Webhooks, is_loopback
from acme.orders import Refused, json, order, read
from acme.request_log import Call

_ROOT = "/sandbox/hubspot"
_ID = re.compile(r"/[^/]*\d[^/]*(?=/|$)")
_MOST_DAYS = 366


class Far(msgspec.Struct, forbid_unknown_fields=True):
    type: str
    id: str
    primary: bool = False


class Deed(msgspec.Struct, forbid_unknown_fields=True):
    """What a colleague does in HubSpot's own pages; `by` is an owner's address, else Ben does it."""

    properties: dict[str, Any] = {}
    archived: bool | None = None
    merge: str | None = None
    """The id of another record of the kind, which goes into this one."""
    forget: bool = False
    tie: list[Far] = []
    untie: list[Far] = []
    by: str | None = None


class Many(msgspec.Struct, forbid_unknown_fields=True):
    """Several records in one and the same moment, as an import does it: these, or the first so many."""

    properties: dict[str, Any] = {}
    ids: list[str] = []
    first: int = 0
    archived: bool | None = None
    by: str | None = None


class Lag(msgspec.Struct, forbid_unknown_fields=True):
    lag: float | None = None
    settle: bool = False
    """What was written so far is found at once."""


class Scopes(msgspec.Struct, forbid_unknown_fields=True):
    missing: list[str] = []
    revoked: bool = False
    """The token itself is no good any more."""


class Spent(msgspec.Struct, forbid_unknown_fields=True):
    calls: int


class Dropped(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Passing(msgspec.Struct, forbid_unknown_fields=True):
    days: int = 1


class HubSpotScripting:
    def __init__(
        self,
        portal: Portal,
        index: SearchIndex,
        limits: Limits,
        gate: Gate,
        webhooks: Webhooks,
        faults: list[HubSpotFault],
        days: HubSpotDays,
        calls: deque[Call],
    ) -> None:
        self._portal = portal
        self._index = index
        self._limits = limits
        self._gate = gate
        self._webhooks = webhooks
        self._faults = faults
        self._days = days
        self._calls = calls
        self._rendering = Rendering(portal)

    def routes(self) -> list[Route]:
        orders: dict[str, Handler] = {
            "faults": self._add_fault,
            "limits": self._limit,
            "spend": self._spend,
            "scopes": self._grant,
            "search": self._lag,
            "rules": self._add_rule,
            "rules/drop": self._drop_rule,
            "webhooks": self._set_webhooks,
            "webhooks/faults": self._add_webhook_fault,
            "owners": self._add_owner,
            "owners/{key}": self._change_owner,
            "days": self._pass_days,
            "{kind}": self._create,
            "{kind}/many": self._change_many,
            "{kind}/{key}": self._change,
        }
        return [
            Route(_ROOT, self._state),
            Route(f"{_ROOT}/calls", self._count_calls),
            Route(f"{_ROOT}/webhooks", self._deliveries),
            Route(f"{_ROOT}/{{kind}}/{{key}}", _explained(self._truth), methods=["GET"]),
            *(order(f"{_ROOT}/{path}", _explained(handler)) for path, handler in orders.items()),
        ]

    # Asking

    async def _state(self, _: Request) -> Response:
        records = self._portal.records
        return json(
            {
                "counts": {kind.name: sum(1 for _ in records[kind].live_from(0)) for kind in KINDS},
                "owners": sum(1 for _ in self._portal.owners),
                "revisions": {kind.name: records[kind].revision for kind in KINDS},
                "calls": self._limits.calls,
                "today": self._limits.today,
                "refused": self._limits.refused,
                "limits": self._limits.bounds,
                "search": {"lag": self._index.lag, "pending": self._index.pending},
                "rules": list(self._portal.rules),
                "faults": len(self._faults),
                "now": self._portal.now(),
            }
        )

    async def _count_calls(self, _: Request) -> Response:
        """By method and path, `{id}` for what names one record."""
        ours = [call for call in self._calls if call.path.startswith(("/crm/", "/account-info/"))]
        counts = Counter(f"{call.method} {_without_id(call.path)}" for call in ours)
        return json({"count": len(ours), "by_path": counts})

    async def _truth(self, request: Request) -> Response:
        """The record as it is, all its properties, without a token or a limit."""
        kind = kind_of(request)
        return self._shown(kind, self._record(kind, request.path_params["key"]))

    async def _deliveries(self, _: Request) -> Response:
        hooks = self._webhooks
        return json(
            {
                "settings": hooks.settings,
                "pending": hooks.pending,
                "delivered": hooks.delivered,
                "given_up": hooks.given_up,
                "sent": list(hooks.sent),
            }
        )

    # Ordering

    async def _add_fault(self, request: Request) -> Response:
        fault = await read(request, HubSpotFault)
        if fault.times < 1 or fault.skip < 0 or fault.delay < 0:
            raise Refused(422, "times count from 1, skip and delay from 0")
        self._faults.append(fault)
        return json({"waiting": len(self._faults)})

    async def _limit(self, request: Request) -> Response:
        """What is left out is as in a usual account; null is no limit."""
        self._limits.bound(await read(request, Bounds))
        return json({"limits": self._limits.bounds})

    async def _spend(self, request: Request) -> Response:
        self._limits.spend((await read(request, Spent)).calls)
        return json({"today": self._limits.today})

    async def _grant(self, request: Request) -> Response:
        wanted = await read(request, Scopes)
        self._gate.grant_all_but(wanted.missing)
        self._gate.is_revoked = wanted.revoked
        return json({"granted": sorted(self._gate.granted)})

    async def _lag(self, request: Request) -> Response:
        wanted = await read(request, Lag)
        if wanted.lag is not None:
            self._index.lag = wanted.lag
        self._index.settle(at_once=wanted.settle)
        return json({"lag": self._index.lag, "pending": self._index.pending})

    async def _add_rule(self, request: Request) -> Response:
        self._portal.rules.add(await read(request, Rule))
        return json({"rules": list(self._portal.rules)})

    async def _drop_rule(self, request: Request) -> Response:
        name = (await read(request, Dropped)).name
        if not self._portal.rules.drop(name):
            raise Refused(404, f"no rule is called {name}")
        return json({"rules": list(self._portal.rules)})

    async def _set_webhooks(self, request: Request) -> Response:
        settings = await read(request, Settings)
        if settings.target is not None and not is_loopback(settings.target):
            raise Refused(422, "the target is an address on loopback")
        self._webhooks.settings = settings
        return json({"settings": settings})

    async def _add_webhook_fault(self, request: Request) -> Response:
        fault = await read(request, WebhookFault)
        if fault.times < 1 or fault.seconds < 0:
            raise Refused(422, "times count from 1, seconds from 0")
        self._webhooks.faults.append(fault)
        return json({"waiting": len(self._webhooks.faults)})

    async def _add_owner(self, request: Request) -> Response:
        patch = await read(request, OwnerPatch)
        return json({"owner": self._portal.owners.add(patch, self._portal.now()).described()}, 201)

    async def _change_owner(self, request: Request) -> Response:
        patch = await read(request, OwnerPatch)
        owner = self._portal.owners.get(request.path_params["key"])
        return json({"owner": self._portal.owners.change(owner, patch, self._portal.now()).described()})

    async def _pass_days(self, request: Request) -> Response:
        """In HubSpot alone; `/sandbox/days` passes them here as well."""
        days = (await read(request, Passing)).days
        if not 1 <= days <= _MOST_DAYS:
            raise Refused(422, f"days are 1 to {_MOST_DAYS}")
        counts: Counter[str] = Counter()
        for _ in range(days):
            counts += self._days.pass_one()
        return json({"counts": counts})

    async def _create(self, request: Request) -> Response:
        kind = kind_of(request)
        deed = await read(request, Deed)
        ties = [Tie(self._end(far), is_primary=far.primary) for far in deed.tie]
        return self._shown(kind, self._portal.create(kind, deed.properties, self._by(deed.by), ties), 201)

    async def _change(self, request: Request) -> Response:
        """In this order: restored, changed, tied, merged, archived, forgotten."""
        kind = kind_of(request)
        deed = await read(request, Deed)
        record, source = self._record(kind, request.path_params["key"]), self._by(deed.by)
        if deed.archived is False:
            record = self._portal.restore(kind, record, source)
        if deed.properties:
            record = self._portal.change(kind, record, deed.properties, source, with_rules=False)
        end = End(kind, record.number)
        for far in deed.tie:
            self._portal.tie(end, self._end(far), source, is_primary=far.primary)
        for far in deed.untie:
            self._portal.untie(end, self._end(far), source)
        if deed.merge is not None:
            record = self._portal.merge(kind, record, self._record(kind, deed.merge), source)
        if deed.archived:
            self._portal.archive(kind, record, source)
        if deed.forget:
            self._forget(kind, record, source)
            return json({"forgotten": kind.id_of(record.number)})
        return self._shown(kind, self._record(kind, kind.id_of(record.number)))

    async def _change_many(self, request: Request) -> Response:
        kind = kind_of(request)
        many = await read(request, Many)
        records, source, at = self._portal.records[kind], self._by(many.by), self._portal.now()
        chosen = [self._record(kind, key) for key in many.ids]
        first = islice(records.live_from(0), many.first)
        chosen += [records.computed(each) if isinstance(each, int) else each for each in first]
        for record in chosen:
            if many.properties:
                self._portal.change(kind, record, many.properties, source, at=at, with_rules=False)
            if many.archived:
                self._portal.archive(kind, self._record(kind, kind.id_of(record.number)), source)
        return json({"changed": len(chosen), "ids": [kind.id_of(record.number) for record in chosen[:1000]]})

    def _forget(self, kind: Kind, record: Record, source: Source) -> None:
        if kind is not CONTACTS:
            raise Refused(422, "only contacts can be forgotten")
        self._portal.purge(record, source)

    def _by(self, email: str | None) -> Source:
        owners = self._portal.owners
        return colleague((next(iter(owners)) if email is None else owners.get(email)).user_id)

    def _end(self, far: Far) -> End:
        kind = kind_named(far.type)
        return End(kind, self._record(kind, far.id).number)

    def _record(self, kind: Kind, key: str) -> Record:
        """Archived or not, by id or by a contact's address."""
        record = self._portal.find(kind, key, "email" if "@" in key else None)
        if record is None:
            raise Refused(404, f"no {kind.singular} {key}")
        return record

    def _shown(self, kind: Kind, record: Record, status: int = 200) -> Response:
        wanted = Wanted(tuple(record.values), associations=KINDS)
        shown: Shown = self._rendering.shown(kind, record, wanted)
        return json(shown, status)


def _explained(handler: Handler) -> Handler:
    """A deed that HubSpot would refuse a colleague is refused with its words."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except HubSpotError as error:
            return error.answer()

    return answered


def _without_id(path: str) -> str:
    head, version, rest = path.partition("/2026-09")
    return head + version + _ID.sub("/{id}", rest)

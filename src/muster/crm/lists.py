"""Deals, contacts and companies as lists: what they are filtered and sorted by, counted, and had in full."""

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, LiteralString, cast

import msgspec
from psycopg import sql

from muster.access.colleague import WhoIs
from muster.crm.fields import Kind
from muster.crm.mirror import kind_tag
from muster.crm.owners import Owners, live
from muster.errors import Invalid
from muster.platform.cache import Cache
from muster.platform.database import Database
from muster.platform.folding import folded
from muster.platform.paging import BATCH, PAGE, Keyset, ListQuery, Order, Wanted, all_of
from muster.platform.search import LONGEST_SEARCH, containing, literally, pattern

ME, NOBODY, ORPHANED = "me", "nobody", "orphaned"
"""Words in the place of an owner's id: whoever asks; without an owner; whose owner is no live person."""

STATES = ("open", "closed", "won", "lost")

FEW = 2_000
"""So many are found first and ordered then; more are read in their order until a page is full."""

SHORTEST_INSIDE = 3
"""Of fewer letters only names that begin with them are found by a search of all kinds."""

LONGEST_WAIT = 3650
MOST_IDS = 10_000
TTL = timedelta(minutes=15)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for, as it stands in the address of a list; `FILTERS` says which kind can be asked what.

    `owner` is an owner's id, or me, nobody or orphaned. Days are those of UTC, and a range holds both its
    ends. `stalled` is for so many days without change or contact. `deal`, `contact` and `company` are ids
    of records that are associated.
    """

    q: str = ""
    owner: str = ""
    pipeline: str = ""
    stage: tuple[str, ...] = ()
    state: str = ""
    amount_from: Decimal | None = None
    amount_to: Decimal | None = None
    currency: str = ""
    closes_from: date | None = None
    closes_to: date | None = None
    created_from: date | None = None
    created_to: date | None = None
    changed_from: date | None = None
    changed_to: date | None = None
    stalled: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_WAIT)] | None = None
    lifecycle: str = ""
    lead_status: str = ""
    industry: str = ""
    deal: str = ""
    contact: str = ""
    company: str = ""
    sort: str = ""


_CHANGES = ("created_from", "created_to", "changed_from", "changed_to", "stalled", "sort")
FILTERS: dict[Kind, tuple[str, ...]] = {
    Kind.DEALS: (
        *("q", "owner", "pipeline", "stage", "state", "amount_from", "amount_to", "currency"),
        *("closes_from", "closes_to", "contact", "company"),
        *_CHANGES,
    ),
    Kind.CONTACTS: ("q", "owner", "lifecycle", "lead_status", "deal", "company", *_CHANGES),
    Kind.COMPANIES: ("q", "owner", "lifecycle", "industry", "deal", "contact", *_CHANGES),
}
"""What each kind can be asked."""

USUAL_ORDER = {Kind.DEALS: "-changed", Kind.CONTACTS: "name", Kind.COMPANIES: "name"}


class RecordRow(msgspec.Struct, frozen=True, kw_only=True):
    """A record as lists show it; `fields` are all of its properties that are copied and not empty."""

    id: str
    name: str
    owner_id: str
    pipeline_id: str
    stage_id: str
    amount: Decimal | None
    currency: str
    closes_on: date | None
    is_closed: bool
    is_won: bool
    fields: dict[str, str]
    created_at: datetime
    modified_at: datetime
    sort_key: str = ""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """So many records that have all of this in common; of deals all but the owner, of others the owner."""

    pipeline_id: str = ""
    stage_id: str = ""
    is_closed: bool = False
    is_won: bool = False
    owner_id: str = ""
    currency: str = ""
    count: int
    amount: Decimal = Decimal(0)

    def is_in(self, state: str) -> bool:
        return {
            "": True,
            "open": not self.is_closed,
            "closed": self.is_closed,
            "won": self.is_won,
            "lost": self.is_closed and not self.is_won,
        }[state]


@dataclass(frozen=True, slots=True)
class Sum:
    """How many, and of deals the amounts by currency, the largest first; "" is the account's own."""

    count: int
    amounts: dict[str, Decimal]

    @classmethod
    def of(cls, parts: Sequence[Part]) -> "Sum":
        amounts: dict[str, Decimal] = {}
        for part in parts:
            amounts[part.currency] = amounts.get(part.currency, Decimal(0)) + part.amount
        ordered = sorted(amounts.items(), key=lambda item: item[1], reverse=True)
        return cls(sum(part.count for part in parts), {name: amount for name, amount in ordered if amount})


@dataclass(frozen=True, slots=True)
class Tally:
    """Those who match, counted for each tab beside the chosen one.

    Of deals `tabs` are states, of contacts and companies whose they are: "", me, nobody and orphaned.
    `stages` are of deals, whichever stages are chosen.
    """

    total: Sum
    tabs: dict[str, Sum]
    stages: dict[tuple[str, str], Sum]


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A page; `after` and `before` are the cursors of its neighbours, where there are any."""

    rows: list[RecordRow]
    after: str | None
    before: str | None
    tally: Tally


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A record that a search of all kinds came upon; `note` is what tells it from others of its name."""

    kind: Kind
    id: str
    name: str
    note: str


@dataclass(frozen=True, slots=True)
class _Whose:
    """Whose records are meant: those of these owners, or with `is_not` those of nobody among them."""

    ids: list[str]
    is_not: bool = False

    def holds(self, owner_id: str) -> bool:
        return (owner_id in self.ids) is not self.is_not


_ANYBODYS = _Whose([], is_not=True)
_NOBODYS = _Whose([""])


@dataclass(frozen=True, slots=True)
class _Scope:
    """A filter with its words in the place of an owner replaced."""

    kind: Kind
    wanted: Filter
    whose: _Whose = _ANYBODYS

    def key(self) -> str:
        asked = msgspec.json.encode(
            [self.kind, msgspec.structs.replace(self.wanted, sort=""), self.whose.is_not, self.whose.ids]
        )
        return hashlib.blake2b(asked, digest_size=12).hexdigest()


def _everything(kind: Kind) -> _Scope:
    return _Scope(kind, Filter())


class Lists:
    def __init__(
        self,
        database: Database,
        cache: Cache,
        owners: Owners,
        who_is: WhoIs,
        *,
        synced_at: Callable[[], Awaitable[datetime | None]],
    ) -> None:
        """`synced_at` is when all that had changed in HubSpot was last read."""
        self.synced_at = synced_at
        self._database = database
        self._cache = cache
        self._owners = owners
        self._who_is = who_is

    async def find(
        self,
        kind: Kind,
        wanted: Filter,
        *,
        me: str = "",
        after: str = "",
        before: str = "",
        limit: int = PAGE,
    ) -> Found:
        """A page of those who match. `me` is the address of whoever asks.

        Raises Invalid for a filter that cannot be, an unknown order, and a cursor of another order.
        """
        scope = await self._scope(kind, wanted, me=me)
        tally = await self._tally(scope, me=me)
        source, everything = LISTS[kind], _wanted(scope)
        if not tally.total.count and not (after or before):
            return Found(rows=[], after=None, before=None, tally=tally)
        if tally.total.count <= FEW:
            source = replace(source, tables=_FENCED.format(everything.condition))
            everything = replace(everything, condition=sql.SQL("true"))
        cut = await source.find(self._database, everything, after=after, before=before, limit=limit)
        return Found(rows=cut.rows, after=cut.after, before=cut.before, tally=tally)

    async def tally(self, kind: Kind, wanted: Filter, *, me: str = "") -> Tally:
        """Raises Invalid."""
        return await self._tally(await self._scope(kind, wanted, me=me), me=me)

    async def owned(self) -> dict[Kind, dict[str, Sum]]:
        """Kind → owner's id → what is theirs: their open deals, their contacts and companies."""
        owned: dict[Kind, dict[str, Sum]] = {}
        for kind in Kind:
            parts = await (self._open_parts() if kind is Kind.DEALS else self._parts(_everything(kind)))
            of_owner: dict[str, list[Part]] = {}
            for part in parts:
                of_owner.setdefault(part.owner_id, []).append(part)
            owned[kind] = {owner_id: Sum.of(some) for owner_id, some in of_owner.items()}
        return owned

    async def ids(self, kind: Kind, wanted: Filter, *, me: str = "", limit: int = MOST_IDS) -> list[str]:
        """Of those who match, in order, no more than `limit`. Raises Invalid."""
        scope = await self._scope(kind, wanted, me=me)
        order = LISTS[kind].orders[scope.wanted.sort.removeprefix("-")]
        statement = sql.SQL(
            "SELECT id FROM crm_records WHERE {condition} ORDER BY {key} {way}, id {way} LIMIT {limit}"
        ).format(
            condition=_wanted(scope).condition,
            key=order.key,
            way=sql.SQL("DESC" if scope.wanted.sort.startswith("-") else "ASC"),
            limit=sql.Literal(limit),
        )
        async with self._database.reading() as statements:
            return await statements.column(statement, {})

    async def stream(self, kind: Kind, wanted: Filter, *, me: str = "") -> AsyncGenerator[RecordRow, None]:
        """All who match, in order, however many. Raises Invalid at once, not at the first row."""
        scope = await self._scope(kind, wanted, me=me)
        return LISTS[kind].stream(self._database, _wanted(scope), batch=BATCH)

    async def columns(
        self, wanted: Filter, stage_ids: Sequence[str], *, me: str = "", limit: int
    ) -> dict[str, list[RecordRow]]:
        """Stage of the filter's pipeline → the deals in it that changed last. Raises Invalid."""
        scope = await self._scope(Kind.DEALS, wanted, me=me)
        found = await self._database.rows(
            RecordRow,
            _COLUMNS.format(
                stages=_texts(stage_ids),
                columns=_ROW,
                condition=_wanted(scope).condition,
                limit=sql.Literal(limit),
            ),
            {},
        )
        return {one: [row for row in found if row.stage_id == one] for one in stage_ids}

    async def search(self, words: str, *, limit: int) -> list[Hit]:
        """A few of each kind: those whose name begins with the words, or else whose text holds them."""
        beginning = sql.SQL("sort_name LIKE {}").format(
            pattern(f"{literally(folded(words[:LONGEST_SEARCH]))}%")
        )
        hits = await self._hits(dict.fromkeys(Kind, beginning), limit, fence=sql.SQL(""))
        if len(folded(words)) >= SHORTEST_INSIDE:
            lacking = [kind for kind in Kind if sum(hit.kind is kind for hit in hits) < limit]
            inside = dict.fromkeys(lacking, containing(words))
            within = await self._hits(inside, limit, fence=sql.SQL("OFFSET 0"))
            hits += [hit for hit in within if hit not in hits]
        return [hit for kind in Kind for hit in [one for one in hits if one.kind is kind][:limit]]

    async def _hits(self, found: Mapping[Kind, sql.Composable], limit: int, *, fence: sql.SQL) -> list[Hit]:
        if not found:
            return []
        parts = [
            _HITS.format(
                kind=sql.Literal(kind.value),
                note=_NOTES[kind],
                found=condition,
                fence=fence,
                limit=sql.Literal(limit),
            )
            for kind, condition in found.items()
        ]
        return await self._database.rows(Hit, sql.SQL(" UNION ALL ").join(parts), {})

    async def name_of(self, kind: Kind, record_id: str) -> str | None:
        found: str | None = await self._database.value(
            "SELECT name FROM crm_records WHERE kind = %s AND id = %s", [kind, record_id]
        )
        return found

    async def _scope(self, kind: Kind, wanted: Filter, *, me: str) -> _Scope:
        wanted = checked(kind, wanted)
        return _Scope(kind, wanted, await self._whose(wanted.owner, me=me))

    async def _whose(self, owner: str, *, me: str) -> _Whose:
        if owner == "":
            return _ANYBODYS
        if owner == NOBODY:
            return _NOBODYS
        if owner == ORPHANED:
            return await self._orphaned()
        return _Whose(await self._mine(me) if owner == ME else [owner])

    async def _orphaned(self) -> _Whose:
        return _Whose(["", *sorted(live(await self._owners.list_all()))], is_not=True)

    async def _mine(self, me: str) -> list[str]:
        who = (await self._who_is([me.casefold()])).get(me.casefold()) if me else None
        return sorted(owner.id for owner in await self._owners.of_person(who.id)) if who else []

    async def _tally(self, scope: _Scope, *, me: str) -> Tally:
        if scope.kind is Kind.DEALS:
            return _tally_of_deals(scope.wanted, await self._parts(scope))
        parts = await self._parts(_Scope(scope.kind, scope.wanted))
        tabs = {
            "": _ANYBODYS,
            ME: _Whose(await self._mine(me)),
            NOBODY: _NOBODYS,
            ORPHANED: await self._orphaned(),
        }
        return Tally(
            total=_of_owners(parts, scope.whose),
            tabs={key: _of_owners(parts, whose) for key, whose in tabs.items()},
            stages={},
        )

    async def _open_parts(self) -> list[Part]:
        async def read() -> list[Part]:
            return await self._database.rows(Part, _OPEN_PARTS)

        found = await self._cache.get(
            "crm:owned-deals", list[Part], read, tags=[kind_tag(Kind.DEALS)], ttl=TTL
        )
        return found.value

    async def _parts(self, scope: _Scope) -> list[Part]:
        """Of those who match but for the state and the stage, or the owner, since tabs show the others."""
        wide = msgspec.structs.replace(scope.wanted, stage=(), state="", owner="")
        wider = _Scope(scope.kind, wide, scope.whose)

        async def read() -> list[Part]:
            statement = (_DEAL_PARTS if scope.kind is Kind.DEALS else _OWNER_PARTS).format(_counted(wider))
            return await self._database.rows(Part, statement, {})

        found = await self._cache.get(
            f"crm:tally:{wider.key()}:{_today()}", list[Part], read, tags=[kind_tag(scope.kind)], ttl=TTL
        )
        return found.value


ListRecords = ListQuery
"""What a list takes from its address: a `ListQuery` with the filters of its kind."""


def list_query(kind: Kind) -> type[ListRecords]:
    """What a route reads that lists records of this kind."""
    return _QUERIES[kind]


def _query(kind: Kind) -> type[ListRecords]:
    known = {field.name: field for field in msgspec.structs.fields(Filter)}
    fields = [
        (name, known[name].type, USUAL_ORDER[kind] if name == "sort" else known[name].default)
        for name in FILTERS[kind]
    ]
    name = f"List{kind.value.capitalize()}"
    made = msgspec.defstruct(name, fields, bases=(ListQuery,), frozen=True, kw_only=True, module=__name__)
    return cast("type[ListRecords]", made)


_QUERIES = {kind: _query(kind) for kind in Kind}


def filter_of(asked: ListRecords) -> Filter:
    """What a list was asked, as a Filter."""
    names = {field.name for field in msgspec.structs.fields(Filter)}
    return Filter(**{name: value for name, value in msgspec.structs.asdict(asked).items() if name in names})


def checked(kind: Kind, wanted: Filter) -> Filter:
    """The filter with its order named. Raises Invalid, saying what is expected."""
    for field in msgspec.structs.fields(Filter):
        value = getattr(wanted, field.name)
        if value != field.default and field.name not in FILTERS[kind]:
            raise Invalid(
                f"{field.name}: {kind.value} have no such filter; expected any of {', '.join(FILTERS[kind])}."
            )
    if wanted.state and wanted.state not in STATES:
        raise Invalid(f"There is no state {wanted.state!r}; expected one of {', '.join(STATES)}.")
    for amount in (wanted.amount_from, wanted.amount_to):
        if amount is not None and not _is_amount(amount):
            raise Invalid("An amount is not as expected; expected a number such as 1250.50.")
    for what in ("amount", "closes", "created", "changed"):
        least, most = getattr(wanted, f"{what}_from"), getattr(wanted, f"{what}_to")
        if least is not None and most is not None and least > most:
            raise Invalid(f"{what}_from is beyond {what}_to; expected the lesser first.")
    wanted = msgspec.structs.replace(wanted, sort=wanted.sort or USUAL_ORDER[kind])
    LISTS[kind].check(wanted.sort)
    return wanted


_LARGEST = Decimal(10) ** 17


def _is_amount(amount: Decimal) -> bool:
    exponent = amount.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_FINEST and abs(amount) < _LARGEST


_FINEST = 6
"""Digits behind the point; PostgreSQL refuses some thousands of them."""


def _tally_of_deals(wanted: Filter, parts: Sequence[Part]) -> Tally:
    chosen = [part for part in parts if not wanted.stage or part.stage_id in wanted.stage]
    in_state = [part for part in parts if part.is_in(wanted.state)]
    stages: dict[tuple[str, str], list[Part]] = {}
    for part in in_state:
        stages.setdefault((part.pipeline_id, part.stage_id), []).append(part)
    return Tally(
        total=Sum.of([part for part in chosen if part.is_in(wanted.state)]),
        tabs={state: Sum.of([part for part in chosen if part.is_in(state)]) for state in ("", *STATES)},
        stages={stage: Sum.of(of_stage) for stage, of_stage in stages.items()},
    )


def _of_owners(parts: Sequence[Part], whose: _Whose) -> Sum:
    return Sum.of([part for part in parts if whose.holds(part.owner_id)])


def _wanted(scope: _Scope) -> Wanted:
    return Wanted(all_of(_conditions(scope)), {}, scope.wanted.sort or USUAL_ORDER[scope.kind])


def _counted(scope: _Scope) -> sql.Composable:
    """SQL in the place of a table: those who match, written so that a narrow index may hold all that is
    asked for, where no index of their own finds them.
    """
    wanted = scope.wanted
    is_wide = wanted.q or wanted.stalled or wanted.created_from or wanted.created_to
    form = _SCANNED if is_wide or wanted.changed_from or wanted.changed_to else _READ
    return form.format(_wanted(scope).condition)


def _conditions(scope: _Scope) -> list[sql.Composable]:
    """Values stand in the statement itself: the best plan depends on them."""
    wanted = scope.wanted
    parts: list[sql.Composable] = [
        sql.SQL("kind = {} AND archived_at IS NULL").format(sql.Literal(scope.kind.value))
    ]
    if wanted.q:
        parts.append(containing(wanted.q))
    if scope.whose != _ANYBODYS:
        form = "owner_id <> ALL({}::text[])" if scope.whose.is_not else "owner_id = ANY({}::text[])"
        parts.append(sql.SQL(form).format(_texts(scope.whose.ids)))
    if wanted.stage:
        parts.append(sql.SQL("stage_id = ANY({}::text[])").format(_texts(wanted.stage)))
    if wanted.state:
        parts.append(_STATES[wanted.state])
    if wanted.stalled is not None:
        until = _today() - timedelta(days=wanted.stalled)
        parts.append(sql.SQL("GREATEST(modified_at, contacted_at) < {}").format(_start_of(until)))
    parts += [
        sql.SQL("{} = {}").format(sql.Identifier(column), _text(value))
        for column, value in _columns(wanted).items()
        if value
    ]
    return [*parts, *_ranges(wanted), *_ties(scope.kind, wanted)]


def _columns(wanted: Filter) -> dict[str, str]:
    """Column → what it has to be, or "" for whatever it is."""
    return {
        "pipeline_id": wanted.pipeline,
        "currency": wanted.currency,
        "lifecycle": wanted.lifecycle,
        "lead_status": wanted.lead_status,
        "industry": wanted.industry,
    }


def _ranges(wanted: Filter) -> list[sql.Composable]:
    parts: list[sql.Composable] = []
    if wanted.amount_from is not None:
        parts.append(sql.SQL("{} >= {}").format(_AMOUNT, sql.Literal(wanted.amount_from)))
        parts.append(sql.SQL("amount IS NOT NULL"))
    if wanted.amount_to is not None:
        parts.append(sql.SQL("{} <= {}").format(_AMOUNT, sql.Literal(wanted.amount_to)))
        parts.append(sql.SQL("amount IS NOT NULL"))
    if wanted.closes_from is not None:
        parts.append(sql.SQL("{} >= {}").format(_CLOSES, _day(wanted.closes_from)))
    if wanted.closes_to is not None:
        parts.append(sql.SQL("{} <= {}").format(_CLOSES, _day(wanted.closes_to)))
        parts.append(sql.SQL("closes_on IS NOT NULL"))
    moments: tuple[tuple[LiteralString, date | None, date | None], ...] = (
        ("created_at", wanted.created_from, wanted.created_to),
        ("modified_at", wanted.changed_from, wanted.changed_to),
    )
    for column, least, most in moments:
        if least is not None:
            parts.append(sql.SQL("{} >= {}").format(sql.Identifier(column), _start_of(least)))
        if most is not None:
            parts.append(sql.SQL("{} < {}").format(sql.Identifier(column), _end_of(most)))
    return parts


def _ties(kind: Kind, wanted: Filter) -> list[sql.Composable]:
    """Associations are kept once, in the direction in which the kinds are named in Kind."""
    others = {Kind.DEALS: wanted.deal, Kind.CONTACTS: wanted.contact, Kind.COMPANIES: wanted.company}
    kinds = list(Kind)
    return [
        (_TIED_TO if kinds.index(kind) < kinds.index(other) else _TIED_FROM).format(
            kind=sql.Literal(kind.value), other=sql.Literal(other.value), id=_text(record_id)
        )
        for other, record_id in others.items()
        if record_id
    ]


_TIED_TO = sql.SQL(
    "id IN (SELECT from_id FROM crm_associations "
    "WHERE from_kind = {kind} AND to_kind = {other} AND to_id = {id})"
)
_TIED_FROM = sql.SQL(
    "id IN (SELECT to_id FROM crm_associations "
    "WHERE to_kind = {kind} AND from_kind = {other} AND from_id = {id})"
)

_STATES: Mapping[str, sql.SQL] = {
    "open": sql.SQL("NOT is_closed"),
    "closed": sql.SQL("is_closed"),
    "won": sql.SQL("is_won"),
    "lost": sql.SQL("(is_closed AND NOT is_won)"),
}


def _text(value: str) -> sql.Composable:
    return sql.SQL("{}::text").format(pattern(value))


def _texts(values: Sequence[str]) -> sql.Composable:
    return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join([pattern(value) for value in values]))


def _day(day: date) -> sql.Composable:
    return sql.SQL("{}::date").format(sql.Literal(day.isoformat()))


def _start_of(day: date) -> sql.Composable:
    return sql.SQL("({}::timestamp AT TIME ZONE 'UTC')").format(sql.Literal(day.isoformat()))


def _end_of(day: date) -> sql.Composable:
    """The last day there is has no next one in Python."""
    return sql.SQL("(({}::date + 1)::timestamp AT TIME ZONE 'UTC')").format(sql.Literal(day.isoformat()))


def _today() -> date:
    return datetime.now(UTC).date()


_ROW = sql.SQL(
    "id, name, owner_id, pipeline_id, stage_id, amount, currency, closes_on, is_closed, is_won, fields, "
    "created_at, modified_at"
)
_AMOUNT, _CLOSES = sql.SQL("COALESCE(amount, '-1000000000000')"), sql.SQL("COALESCE(closes_on, '-infinity')")
"""As the indexes have them."""

_LETTERS = ("A–Z", "Z–A")
_OLDEST, _SMALLEST = ("oldest first", "newest first"), ("smallest first", "largest first")


def _order(label: str, ways: tuple[str, str], key: sql.SQL, type_: LiteralString) -> Order:
    return Order(f"{label}, {ways[0]}", f"{label}, {ways[1]}", key, type_)


_ORDERS = {
    "name": _order("Name", _LETTERS, sql.SQL("sort_name"), "text"),
    "created": _order("Created", _OLDEST, sql.SQL("created_at"), "timestamptz"),
    "changed": _order("Changed", _OLDEST, sql.SQL("modified_at"), "timestamptz"),
}
_DEAL_ORDERS = {
    "name": _ORDERS["name"],
    "amount": _order("Amount", _SMALLEST, _AMOUNT, "numeric"),
    "closes": _order("Close date", _OLDEST, _CLOSES, "date"),
    "created": _ORDERS["created"],
    "changed": _ORDERS["changed"],
}
LISTS: dict[Kind, Keyset[RecordRow]] = {
    kind: Keyset(
        RecordRow,
        columns=_ROW,
        tables=sql.SQL("crm_records"),
        id=sql.SQL("id"),
        orders=_DEAL_ORDERS if kind is Kind.DEALS else _ORDERS,
    )
    for kind in Kind
}

_FENCED = sql.SQL("(SELECT * FROM crm_records WHERE {} OFFSET 0) AS records")
"""OFFSET keeps PostgreSQL from reading all of an order's index in the hope of soon meeting one of few."""

_DEAL_PARTS = sql.SQL(
    "SELECT pipeline_id, stage_id, is_closed, is_won, currency, count(*) AS count, "
    "COALESCE(sum(amount), 0) AS amount FROM {} GROUP BY 1, 2, 3, 4, 5"
)
_OWNER_PARTS = sql.SQL("SELECT owner_id, count(*) AS count FROM {} GROUP BY 1")

_OPEN_PARTS = """
SELECT owner_id, currency, count(*) AS count, COALESCE(sum(amount), 0) AS amount FROM crm_records
WHERE kind = 'deals' AND archived_at IS NULL AND NOT is_closed GROUP BY 1, 2
"""

_READ = sql.SQL(
    """
    (SELECT pipeline_id, stage_id, is_closed, is_won, currency, amount, owner_id
     FROM crm_records WHERE {}) AS records
    """
)
_SCANNED = sql.SQL(
    """
    (SELECT pipeline_id, stage_id, is_closed, is_won, currency, amount, owner_id
     FROM crm_records WHERE {0} AND octet_length(search_text) < 2000
     UNION ALL
     SELECT pipeline_id, stage_id, is_closed, is_won, currency, amount, owner_id
     FROM crm_records WHERE {0} AND octet_length(search_text) >= 2000) AS records
    """
)

_COLUMNS = sql.SQL(
    """
    SELECT {columns} FROM unnest({stages}::text[]) AS stage CROSS JOIN LATERAL (
        SELECT {columns} FROM crm_records
        WHERE {condition} AND stage_id = stage
        ORDER BY modified_at DESC, id DESC LIMIT {limit}
    ) AS cards ORDER BY modified_at DESC, id DESC
    """
)

_HITS = sql.SQL(
    """
    (SELECT kind, id, name, {note} AS note FROM (
        SELECT kind, id, name, sort_name, amount, currency, domain, fields FROM crm_records
        WHERE kind = {kind} AND archived_at IS NULL AND {found} {fence}
    ) AS records ORDER BY sort_name, id LIMIT {limit})
    """
)
_NOTES = {
    Kind.DEALS: sql.SQL("concat_ws(' ', 'Deal', amount, NULLIF(currency, ''))"),
    Kind.CONTACTS: sql.SQL("concat_ws(', ', COALESCE(fields ->> 'email', 'Contact'), fields ->> 'company')"),
    Kind.COMPANIES: sql.SQL("COALESCE(NULLIF(domain, ''), 'Company')"),
}

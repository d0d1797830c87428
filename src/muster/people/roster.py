"""Looking people up: one page of a list at a time, whatever its length."""

from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec
from psycopg import sql
from psycopg.errors import DataError

from muster.errors import Invalid, NotFound
from muster.people.history import people_as_of
from muster.people.person import GONE, HERE, Email, Phone, Status
from muster.platform.database import Database, Statements
from muster.platform.paging import NOT_OURS, Cursor
from muster.platform.search import containing, literally, pattern

PAGE = 50
BATCH = 1000
BATCH_AS_OF = 20_000
"""Each batch puts together anew what was."""

FEW = 2_000
"""So many are found first and ordered then; more are read in their order until a page is full."""


class PersonRow(msgspec.Struct, frozen=True, kw_only=True):
    """A person as a list shows them."""

    google_id: str
    email: str
    name: str
    title: str
    department: str
    cost_center: str
    org_unit: str
    manager_email: str
    status: Status
    is_admin: bool
    is_delegated_admin: bool
    is_guest: bool
    joined_at: datetime | None
    last_login_at: datetime | None
    removed_at: datetime | None

    @property
    def id(self) -> str:
        return self.google_id

    @property
    def joined_on(self) -> date | None:
        return self.joined_at.date() if self.joined_at else None


class PersonDetail(PersonRow, frozen=True, kw_only=True):
    """All that is kept of a person."""

    given_name: str
    family_name: str
    employee_id: str
    aliases: list[str]
    fixed_aliases: list[str]
    emails: list[Email]
    phones: list[Phone]
    locations: list[str]
    custom_schemas: dict[str, Any]
    enrolled_2sv: bool
    enforced_2sv: bool
    photo_etag: str
    suspended_reason: str
    suspended_at: datetime | None
    archived_at: datetime | None
    deleted_at: datetime | None
    first_seen_at: datetime
    changed_at: datetime


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for. `status` is a Status, or empty for everybody who has not been removed.

    `org_unit` means what is below it, too; `manager` is any address of one; `admins` leaves out all others.
    `two_step` is "on" or "off". With `idle_days` there are only those whose account nobody has used for so
    long, though it may be; who has never signed in counts from when the account was made. With `as_of`
    everybody is as they were known then.
    """

    q: str = ""
    status: str = ""
    department: str = ""
    org_unit: str = ""
    manager: str = ""
    admins: bool = False
    two_step: str = ""
    idle_days: int = 0
    as_of: datetime | None = None
    sort: str = "name"

    @property
    def tells_sign_ins(self) -> bool:
        """Whether who is found says how or when people sign in, which an order does, too."""
        return bool(self.two_step or self.idle_days) or self.sort.removeprefix("-") == "last_login"

    @property
    def is_words_alone(self) -> bool:
        """Whether nothing but a status is asked for besides words."""
        return not (
            self.department
            or self.org_unit
            or self.manager
            or self.admins
            or self.two_step
            or self.idle_days
            or self.as_of
        )


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A page of people; `after` and `before` are the cursors of its neighbours, where there are any.

    `counts` are people by status, of those who match all else; "" holds all who have not been removed.
    """

    people: list[PersonRow]
    total: int
    counts: dict[str, int]
    after: str | None
    before: str | None


class _Keyed(PersonRow, frozen=True, kw_only=True):
    """A row with the text of its sort key, from which the cursor is made."""

    sort_key: str


@dataclass(frozen=True, slots=True)
class _Sort:
    """One order of the list; `key` and `type` are SQL, and no row's key is NULL."""

    label: str
    up: str
    down: str
    key: sql.SQL
    type: sql.SQL


_LETTERS, _DATES = ("A–Z", "Z–A"), ("oldest first", "newest first")
_TEXT, _MOMENT = sql.SQL("text"), sql.SQL("timestamptz")
_SORTS = {
    "name": _Sort("Name", *_LETTERS, sql.SQL("sort_name"), _TEXT),
    "email": _Sort("E-mail", *_LETTERS, sql.SQL("email"), _TEXT),
    "department": _Sort("Department", *_LETTERS, sql.SQL("department"), _TEXT),
    "joined": _Sort("Joined", *_DATES, sql.SQL("COALESCE(joined_at, '-infinity')"), _MOMENT),
    "last_login": _Sort("Last sign-in", *_DATES, sql.SQL("COALESCE(last_login_at, '-infinity')"), _MOMENT),
}
SORTS = {
    key: label
    for name, sort in _SORTS.items()
    for key, label in ((name, f"{sort.label}, {sort.up}"), (f"-{name}", f"{sort.label}, {sort.down}"))
}
"""Sort key, as it stands in the address → its label."""

_LIST_COLUMNS = sql.SQL(
    "people.google_id, email, name, title, department, cost_center, org_unit, manager_email, status, "
    "is_admin, is_delegated_admin, is_guest, joined_at, last_login_at, removed_at"
)
_DETAIL_COLUMNS = sql.SQL(
    ", given_name, family_name, employee_id, aliases, fixed_aliases, emails, phones, locations, "
    "custom_schemas, enrolled_2sv, enforced_2sv, photo_etag, suspended_reason, suspended_at, archived_at, "
    "deleted_at, first_seen_at, changed_at"
)


class Roster:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, wanted: Filter, *, after: str = "", before: str = "", limit: int = PAGE) -> Found:
        """A page of those who match; `after` and `before` are cursors of an earlier answer.

        Raises Invalid for an unknown status or order, and for a cursor of another order.
        """
        edge = Cursor.read(after or before, wanted.sort) if after or before else None
        _check(wanted)
        async with self._database.reading() as statements:
            few = await _few(statements, wanted)
            counts = _counted(few) if few is not None else await _counts(statements, wanted)
            rows = await _beyond(
                statements, edge, wanted, limit=limit + 1, towards_start=bool(before), few=few
            )
        more, rows = len(rows) > limit, rows[:limit]
        if before:
            rows.reverse()
        has_after, has_before = (bool(rows), more) if before else (more, bool(after and rows))
        return Found(
            people=list(rows),
            total=counts.get(wanted.status, 0),
            counts=counts,
            after=Cursor.of(rows[-1], wanted.sort).written() if has_after else None,
            before=Cursor.of(rows[0], wanted.sort).written() if has_before else None,
        )

    def stream(self, wanted: Filter) -> AsyncGenerator[PersonRow, None]:
        """Everybody who matches, in order, however many. Raises Invalid at once, not at the first row.

        No connection is held between batches: whoever reads slowly keeps nobody else waiting.
        """
        _check(wanted)
        return self._batches(wanted)

    async def _batches(self, wanted: Filter) -> AsyncGenerator[PersonRow, None]:
        edge: Cursor | None = None
        batch = BATCH_AS_OF if wanted.as_of else BATCH
        while True:
            async with self._database.reading() as statements:
                rows = await _beyond(statements, edge, wanted, limit=batch)
            for row in rows:
                yield row
            if len(rows) < batch:
                return
            edge = Cursor.of(rows[-1], wanted.sort)

    async def get(self, google_id: str, *, as_of: datetime | None = None) -> PersonDetail:
        """Somebody as they are, or as they were known at `as_of`. Raises NotFound."""
        statement = sql.SQL("SELECT {}{} FROM {} AS people WHERE google_id = {}").format(
            _LIST_COLUMNS,
            _DETAIL_COLUMNS,
            people_as_of(as_of, google_id) if as_of else sql.Identifier("people"),
            sql.Literal(google_id),
        )
        found = await self._database.row(PersonDetail, statement)
        if found is None:
            raise NotFound("Nobody in the directory has this address.")
        return found

    async def list_departments(self) -> list[str]:
        async with self._database.reading() as statements:
            return await statements.column(_DEPARTMENTS)

    async def list_org_units(self) -> list[str]:
        """Paths, as many as a browser will offer while somebody types."""
        async with self._database.reading() as statements:
            return await statements.column("SELECT DISTINCT path FROM org_units ORDER BY path LIMIT 300")


_DEPARTMENTS = """
WITH RECURSIVE known AS (
    (SELECT department FROM people WHERE department > '' ORDER BY department LIMIT 1)
    UNION ALL
    SELECT (SELECT department FROM people WHERE department > known.department ORDER BY department LIMIT 1)
    FROM known WHERE known.department IS NOT NULL
)
SELECT department FROM known WHERE department IS NOT NULL LIMIT 500
"""
"""From one to the next through the index, past all who are in it."""


async def _few(statements: Statements, wanted: Filter) -> dict[str, str] | None:
    """Id → status of all who match but for the status, if words find no more than FEW of them.

    A word of two letters costs one reading of its index, which tells all that a page shows.
    """
    if not wanted.q or wanted.as_of:
        return None
    found: dict[str, str] = await statements.pairs(
        sql.SQL("SELECT google_id, status FROM {} AS people LIMIT %(limit)s").format(_everybody(wanted)),
        {"limit": FEW + 1},
    )
    return found if len(found) <= FEW else None


def _counted(few: dict[str, str]) -> dict[str, int]:
    counts = Counter(few.values())
    return {**counts, "": sum(n for status, n in counts.items() if status not in GONE)}


def _everybody(wanted: Filter) -> sql.Composable:
    """Those who match all but the status."""
    return _matching(msgspec.structs.replace(wanted, status=""), removed_too=True)


async def _counts(statements: Statements, wanted: Filter) -> dict[str, int]:
    counts: dict[str, int] = await statements.pairs(
        sql.SQL("SELECT status, count(*) FROM {} AS people GROUP BY status").format(_everybody(wanted)), {}
    )
    counts[""] = sum(n for status, n in counts.items() if status not in GONE)
    return counts


async def _beyond(
    statements: Statements,
    edge: Cursor | None,
    wanted: Filter,
    *,
    limit: int,
    towards_start: bool = False,
    few: dict[str, str] | None = None,
) -> list[_Keyed]:
    """The next `limit` people of the order after `edge`, or before it, nearest first."""
    sort, backwards = _sort(wanted.sort)
    backwards ^= towards_start
    statement = _PAGE.format(
        columns=_LIST_COLUMNS,
        key=sort.key,
        people=_people(wanted),
        condition=_condition(wanted) if few is None else sql.SQL("people.google_id = ANY(%(few)s)"),
        edge=_past_edge(sort, backwards=backwards) if edge else sql.SQL(""),
        direction=sql.SQL("DESC" if backwards else "ASC"),
    )
    values: dict[str, Any] = {"limit": limit}
    if few is not None:
        values["few"] = [google_id for google_id, status in few.items() if _is_wanted(status, wanted)]
    if edge:
        values |= {"edge_key": edge.key, "edge_id": edge.id}
    try:
        return await statements.rows(_Keyed, statement, values)
    except DataError as error:  # a forged cursor's key may not be of the column's type
        raise Invalid(NOT_OURS) from error


def _is_wanted(status: str, wanted: Filter) -> bool:
    return status == wanted.status if wanted.status else status not in GONE


_PAGE = sql.SQL(
    "SELECT {columns}, {key}::text AS sort_key FROM {people} AS people WHERE {condition} {edge} "
    "ORDER BY {key} {direction}, people.google_id {direction} LIMIT %(limit)s"
)


def _sort(key: str) -> tuple[_Sort, bool]:
    sort = _SORTS.get(key.removeprefix("-"))
    if sort is None:
        raise Invalid(f"There is no order {key!r}; expected one of {', '.join(SORTS)}.")
    return sort, key.startswith("-")


def _past_edge(sort: _Sort, *, backwards: bool) -> sql.Composed:
    return sql.SQL("AND ({key}, people.google_id) {side} (%(edge_key)s::{type}, %(edge_id)s)").format(
        key=sort.key, side=sql.SQL("<" if backwards else ">"), type=sort.type
    )


def _check(wanted: Filter) -> None:
    """Raises Invalid."""
    sort, _ = _sort(wanted.sort)
    if wanted.status and wanted.status not in set(Status):
        raise Invalid(f"There is no status {wanted.status!r}; expected one of {', '.join(Status)}.")
    if wanted.two_step not in {"", "on", "off"}:
        raise Invalid(f"two_step is {wanted.two_step!r}; expected on or off.")
    if wanted.as_of and (sort is _SORTS["last_login"] or wanted.idle_days):
        raise Invalid("When people signed in is not kept in their history; leave out as_of.")


def _people(wanted: Filter) -> sql.Composable:
    return people_as_of(wanted.as_of) if wanted.as_of else sql.Identifier("people")


def _matching(wanted: Filter, *, removed_too: bool = False) -> sql.Composable:
    """SQL in the place of a table: `google_id` and `status` of those who match.

    For words alone it is written so that a narrow index holds all that is asked for.
    """
    condition = _condition(wanted, removed_too=removed_too)
    if wanted.q and wanted.is_words_alone:
        return _SCAN.format(condition)
    return sql.SQL("(SELECT google_id, status FROM {} AS people WHERE {})").format(_people(wanted), condition)


_SCAN = sql.SQL(
    """
    (SELECT google_id, status FROM people WHERE octet_length(search_text) < 2000 AND {0}
     UNION ALL
     SELECT google_id, status FROM people WHERE octet_length(search_text) >= 2000 AND {0})
    """
)


def _condition(wanted: Filter, *, removed_too: bool = False) -> sql.Composable:
    """The WHERE of `wanted`."""
    parts = [containing(wanted.q)]
    if wanted.status:
        parts.append(sql.SQL("status = {}").format(_text(wanted.status)))
    elif not removed_too:
        parts.append(_NOT_GONE)
    if wanted.department:
        parts.append(sql.SQL("department = {}").format(_text(wanted.department)))
    if unit := wanted.org_unit.rstrip("/"):
        parts.append(
            sql.SQL("(org_unit = {} OR org_unit LIKE {})").format(
                _text(unit), pattern(f"{literally(unit)}/%")
            )
        )
    if wanted.manager:
        parts.append(_REPORTS.format(_text(wanted.manager.strip().casefold())))
    if wanted.admins:
        parts.append(sql.SQL("(is_admin OR is_delegated_admin)"))
    if wanted.two_step:
        parts.append(sql.SQL("enrolled_2sv" if wanted.two_step == "on" else "NOT enrolled_2sv"))
        parts.append(_HERE)
    if wanted.idle_days:
        parts.append(_IDLE.format(sql.Literal(wanted.idle_days)))
        parts.append(_HERE)
    return sql.SQL(" AND ").join(parts)


_NOT_GONE = sql.SQL("status = ANY({})").format(
    sql.Literal([status.value for status in Status if status not in GONE])
)
_HERE = sql.SQL("status = ANY({})").format(sql.Literal([status.value for status in HERE]))
_IDLE = sql.SQL("COALESCE(last_login_at, joined_at, first_seen_at) < now() - make_interval(days => {})")
_REPORTS = sql.SQL(
    """
    manager_email <> '' AND manager_email = ANY(ARRAY(
        SELECT {0} UNION SELECT unnest(array_append(aliases, email)) FROM people
        WHERE removed_at IS NULL AND (email = {0} OR aliases @> ARRAY[{0}])
    ))
    """
)
"""Whoever names any of the manager's addresses as their manager's."""


def _text(value: str) -> sql.Composable:
    """`value` written out, since the best plan depends on it."""
    return sql.SQL("{}::text").format(pattern(value))

"""Looking people up: one page of a list at a time, whatever its length."""

import base64
import binascii
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec
from psycopg import sql
from psycopg.errors import DataError

from muster.errors import Invalid, NotFound
from muster.people.person import GONE, Phone, Status, folded
from muster.platform.database import Database

PAGE = 50
BATCH = 1000
LONGEST_SEARCH = 100


class PersonRow(msgspec.Struct, frozen=True, kw_only=True):
    """A person as a list shows them."""

    google_id: str
    email: str
    name: str
    title: str
    department: str
    org_unit: str
    status: Status
    is_admin: bool
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
    given_name: str
    family_name: str
    employee_id: str
    manager_email: str
    aliases: list[str]
    phones: list[Phone]
    locations: list[str]
    enrolled_2sv: bool
    suspended_reason: str
    suspended_at: datetime | None


class Colleague(msgspec.Struct, frozen=True, kw_only=True):
    google_id: str
    name: str
    email: str
    title: str

    @property
    def id(self) -> str:
        return self.google_id


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for. `status` is a Status, or empty for everybody who has not been removed."""

    q: str = ""
    status: str = ""
    department: str = ""
    sort: str = "name"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A page of people; `after` and `before` are the cursors of its neighbours, where there are any."""

    people: list[PersonRow]
    total: int
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
    "google_id, email, name, title, department, org_unit, status, is_admin, is_guest, joined_at, "
    "last_login_at, removed_at"
)
_DETAIL_COLUMNS = sql.SQL(
    ", given_name, family_name, employee_id, manager_email, aliases, phones, locations, enrolled_2sv, "
    "suspended_reason, suspended_at"
)


class Roster:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, wanted: Filter, *, after: str = "", before: str = "", limit: int = PAGE) -> Found:
        """A page of those who match; `after` and `before` are cursors of an earlier answer.

        Raises Invalid for an unknown status or order, and for a cursor of another order.
        """
        edge = _Cursor.read(after or before, wanted.sort) if after or before else None
        rows = await self._beyond(edge, wanted, limit=limit + 1, towards_start=bool(before))
        more, rows = len(rows) > limit, rows[:limit]
        if before:
            rows.reverse()
        has_after, has_before = (bool(rows), more) if before else (more, bool(after and rows))
        return Found(
            people=list(rows),
            total=await self.count(wanted),
            after=_Cursor.of(rows[-1], wanted.sort).written() if has_after else None,
            before=_Cursor.of(rows[0], wanted.sort).written() if has_before else None,
        )

    async def count(self, wanted: Filter) -> int:
        condition, values = _condition(wanted)
        counted = await self._database.value(
            sql.SQL("SELECT count(*) FROM people WHERE {}").format(condition), values
        )
        return int(counted)

    async def count_by_status(self, wanted: Filter) -> dict[str, int]:
        """Status → people, of those who match all else; "" holds all who have not been removed."""
        condition, values = _condition(msgspec.structs.replace(wanted, status=""), removed_too=True)
        async with self._database.reading() as statements:
            counts = await statements.pairs(
                sql.SQL("SELECT status, count(*) FROM people WHERE {} GROUP BY status").format(condition),
                values,
            )
        counts[""] = sum(n for status, n in counts.items() if status not in GONE)
        return counts

    def stream(self, wanted: Filter) -> AsyncGenerator[PersonRow, None]:
        """Everybody who matches, in order, however many. Raises Invalid at once, not at the first row.

        No connection is held between batches: whoever reads slowly keeps nobody else waiting.
        """
        _sort(wanted.sort)
        _condition(wanted)
        return self._batches(wanted)

    async def _batches(self, wanted: Filter) -> AsyncGenerator[PersonRow, None]:
        edge: _Cursor | None = None
        while True:
            rows = await self._beyond(edge, wanted, limit=BATCH)
            for row in rows:
                yield row
            if len(rows) < BATCH:
                return
            edge = _Cursor.of(rows[-1], wanted.sort)

    async def _beyond(
        self, edge: "_Cursor | None", wanted: Filter, *, limit: int, towards_start: bool = False
    ) -> list[_Keyed]:
        """The next `limit` people of the order after `edge`, or before it, nearest first."""
        sort, backwards = _sort(wanted.sort)
        backwards ^= towards_start
        condition, values = _condition(wanted)
        statement = sql.SQL(
            "SELECT {columns}, {key}::text AS sort_key FROM people WHERE {condition} {edge} "
            "ORDER BY {key} {direction}, google_id {direction} LIMIT %(limit)s"
        ).format(
            columns=_LIST_COLUMNS,
            key=sort.key,
            condition=condition,
            edge=_past_edge(sort, backwards=backwards) if edge else sql.SQL(""),
            direction=sql.SQL("DESC" if backwards else "ASC"),
        )
        if edge:
            values |= {"edge_key": edge.key, "edge_id": edge.google_id}
        try:
            return await self._database.rows(_Keyed, statement, {**values, "limit": limit})
        except DataError as error:  # a forged cursor's key may not be of the column's type
            raise Invalid(_NOT_OURS) from error

    async def get(self, google_id: str) -> PersonDetail:
        """Raises NotFound."""
        statement = sql.SQL("SELECT {}{} FROM people WHERE google_id = %s").format(
            _LIST_COLUMNS, _DETAIL_COLUMNS
        )
        found = await self._database.row(PersonDetail, statement, [google_id])
        if found is None:
            raise NotFound("Nobody in the directory has this address.")
        return found

    async def find_by_email(self, email: str) -> Colleague | None:
        """Whoever has `email` now, as their own address or an alias."""
        return await self._database.row(
            Colleague,
            """
            SELECT google_id, name, email, title FROM people
            WHERE removed_at IS NULL AND (email = %(email)s OR %(email)s = ANY(aliases))
            ORDER BY email <> %(email)s LIMIT 1
            """,
            {"email": email.casefold()},
        )

    async def list_reports(self, manager_email: str, *, limit: int = 200) -> list[Colleague]:
        return await self._database.rows(
            Colleague,
            """
            SELECT google_id, name, email, title FROM people
            WHERE manager_email = %s AND removed_at IS NULL ORDER BY sort_name LIMIT %s
            """,
            [manager_email, limit],
        )

    async def list_departments(self) -> list[str]:
        async with self._database.reading() as statements:
            counts = await statements.pairs(
                """
                SELECT department, count(*) FROM people
                WHERE department <> '' AND removed_at IS NULL
                GROUP BY department ORDER BY department LIMIT 500
                """
            )
        return list(counts)


_NOT_OURS = "This page address is not one of ours. Start again from the first page."


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The edge of a page: the order it was made in, the key and the id of its last row."""

    sort: str
    key: str
    google_id: str

    @classmethod
    def of(cls, row: _Keyed, sort: str) -> "_Cursor":
        return cls(sort, row.sort_key, row.google_id)

    def written(self) -> str:
        """As it stands in an address."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()

    @classmethod
    def read(cls, text: str, sort: str) -> "_Cursor":
        try:
            cursor = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls)
        except (msgspec.DecodeError, binascii.Error, ValueError) as error:
            raise Invalid(_NOT_OURS) from error
        if cursor.sort != sort or "\0" in cursor.key + cursor.google_id:
            raise Invalid("This page address belongs to another order. Start again from the first page.")
        return cursor


def _sort(key: str) -> tuple[_Sort, bool]:
    sort = _SORTS.get(key.removeprefix("-"))
    if sort is None:
        raise Invalid(f"There is no order {key!r}; expected one of {', '.join(SORTS)}.")
    return sort, key.startswith("-")


def _past_edge(sort: _Sort, *, backwards: bool) -> sql.Composed:
    return sql.SQL("AND ({key}, google_id) {side} (%(edge_key)s::{type}, %(edge_id)s)").format(
        key=sort.key, side=sql.SQL("<" if backwards else ">"), type=sort.type
    )


def _condition(wanted: Filter, *, removed_too: bool = False) -> tuple[sql.Composed, dict[str, Any]]:
    """The WHERE of `wanted`, and its parameters."""
    parts: list[sql.Composable] = [sql.SQL("true")]
    values: dict[str, Any] = {}
    if wanted.status:
        if wanted.status not in set(Status):
            raise Invalid(f"There is no status {wanted.status!r}; expected one of {', '.join(Status)}.")
        parts.append(sql.SQL("status = %(status)s"))
        values["status"] = wanted.status
    elif not removed_too:
        parts.append(sql.SQL("removed_at IS NULL"))
    if wanted.department:
        parts.append(sql.SQL("department = %(department)s"))
        values["department"] = wanted.department
    for number, word in enumerate(folded(wanted.q[:LONGEST_SEARCH]).split()):
        name = f"word{number}"
        parts.append(sql.SQL("search_text LIKE {}").format(sql.Placeholder(name)))
        values[name] = f"%{_literally(word)}%"
    return sql.SQL(" AND ").join(parts), values


def _literally(word: str) -> str:
    """`word` with LIKE's own signs taken as letters."""
    for sign in ("\\", "%", "_"):
        word = word.replace(sign, f"\\{sign}")
    return word

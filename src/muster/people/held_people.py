"""Reading who is held in a removal, for whoever decides on it."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import msgspec
from psycopg import sql

from muster.errors import Invalid
from muster.people.person import UNDELETE_WINDOW, Status
from muster.people.removals import Removal
from muster.platform.database import Database
from muster.platform.paging import PAGE, Cut, Keyset, Order, Wanted, all_of, words

ABSENCES = {"": "Everybody", "deleted": "Deleted, restorable", "unknown": "Unknown to Google"}
STATUSES = {
    "": "All",
    "waiting": "Waiting",
    "released": "Released",
    "rejected": "Kept",
    "gone": "Settled by themselves",
}


class RemovalRow(Removal, frozen=True, kw_only=True):
    sort_key: str = ""

    @property
    def status_label(self) -> str:
        return STATUSES[self.status]


class HeldRow(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody held; `absence` is what Google says of them: deleted (restorable) or unknown to it."""

    id: str
    name: str
    email: str
    title: str
    department: str
    status: Status
    absence: str
    deleted_at: datetime | None
    sort_key: str = ""

    @property
    def days_left(self) -> int | None:
        """For how many days Google would still restore them, as far as is known."""
        if self.absence != "deleted" or self.deleted_at is None:
            return None
        left = self.deleted_at + UNDELETE_WINDOW - datetime.now(UTC)
        return max(0, ceil(left / timedelta(days=1)))


class HeldFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`absence` is of ABSENCES."""

    q: str = ""
    absence: str = ""
    sort: str = "name"


class HeldPeople:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_removals(
        self, status: str, sort: str, *, after: str = "", before: str = "", limit: int = PAGE
    ) -> Cut[RemovalRow]:
        """Raises Invalid for an unknown status or order, and for a cursor of another order."""
        return await REMOVALS.find(
            self._database, _of_status(status, sort), after=after, before=before, limit=limit
        )

    def stream_removals(self, status: str, sort: str) -> AsyncGenerator[RemovalRow, None]:
        """Raises Invalid at once, not at the first row."""
        REMOVALS.check(sort)
        return REMOVALS.stream(self._database, _of_status(status, sort))

    async def count_removals(self) -> dict[str, int]:
        """Status → removals; "" holds all of them."""
        async with self._database.reading() as statements:
            counts = await statements.pairs("SELECT status, count(*) FROM people_removals GROUP BY status")
        return {"": sum(counts.values()), **counts}

    async def find(
        self, removal_id: int, wanted: HeldFilter, *, after: str = "", before: str = "", limit: int = PAGE
    ) -> Cut[HeldRow]:
        """Raises Invalid for an unknown filter or order, and for a cursor of another order."""
        return await HELD.find(
            self._database, _held(removal_id, wanted), after=after, before=before, limit=limit
        )

    async def count(self, removal_id: int, wanted: HeldFilter) -> int:
        return await HELD.count(self._database, _held(removal_id, wanted))

    async def count_here(self) -> int:
        return int(await self._database.value("SELECT count(*) FROM people WHERE removed_at IS NULL"))

    def stream(self, removal_id: int, wanted: HeldFilter) -> AsyncGenerator[HeldRow, None]:
        """Raises Invalid at once, not at the first row."""
        HELD.check(wanted.sort)
        return HELD.stream(self._database, _held(removal_id, wanted))


def _of_status(status: str, sort: str) -> Wanted:
    if status not in STATUSES:
        raise Invalid(f"There is no status {status!r}; expected one of {', '.join(filter(None, STATUSES))}.")
    if not status:
        return Wanted(sql.SQL("true"), {}, sort)
    return Wanted(sql.SQL("status = %(status)s"), {"status": status}, sort)


def _held(removal_id: int, wanted: HeldFilter) -> Wanted:
    if wanted.absence not in ABSENCES:
        expected = ", ".join(filter(None, ABSENCES))
        raise Invalid(f"There is no absence {wanted.absence!r}; expected one of {expected}.")
    parts, values = words(sql.SQL("search_text"), wanted.q)
    parts.append(sql.SQL("removal_id = %(removal_id)s"))
    found: dict[str, Any] = {**values, "removal_id": removal_id}
    if wanted.absence:
        parts.append(sql.SQL("absence = %(absence)s"))
        found["absence"] = wanted.absence
    return Wanted(all_of(parts), found, wanted.sort)


REMOVALS = Keyset(
    RemovalRow,
    columns=sql.SQL(", ").join(map(sql.Identifier, Removal.__struct_fields__)),
    tables=sql.SQL("people_removals"),
    id=sql.SQL("id"),
    id_type="bigint",
    orders={
        "staged": Order("Oldest first", "Newest first", sql.SQL("id"), "bigint"),
        "people": Order("Fewest people first", "Most people first", sql.SQL("total"), "integer"),
    },
)

HELD = Keyset(
    HeldRow,
    columns=sql.SQL(
        "google_id AS id, name, email, title, department, people.status, absence, entries.deleted_at"
    ),
    tables=sql.SQL("people_removal_entries AS entries JOIN people USING (google_id)"),
    id=sql.SQL("google_id"),
    orders={
        "name": Order("Name, A–Z", "Name, Z–A", sql.SQL("sort_name")),
        "department": Order("Department, A–Z", "Department, Z–A", sql.SQL("department")),
        "deleted": Order(
            "Deleted, earliest first",
            "Deleted, latest first",
            sql.SQL("COALESCE(entries.deleted_at, '-infinity')"),
            "timestamptz",
        ),
    },
)

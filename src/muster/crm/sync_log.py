"""Reading the runs of the sync of customers: lists of them, and one with what surrounds it."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg import sql

from muster.crm.runs import CrmRun
from muster.errors import Invalid, NotFound
from muster.platform.database import Database
from muster.platform.paging import PAGE, Cut, Keyset, Order, Wanted, all_of

WAYS = {"": "All", "changes": "What changed", "full": "Everything"}
STATUSES = {
    "": "Every outcome",
    "finished": "Finished",
    "failed": "Failed",
    "refused": "Refused",
    "running": "Running",
    "waiting": "Waiting",
}
NEWS = {"": "With and without changes", "yes": "With changes"}


class RunRow(CrmRun, frozen=True, kw_only=True):
    sort_key: str = ""


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`way`, `status` and `news` are of WAYS, STATUSES and NEWS; `q` is in who asked or in the reason."""

    way: str = ""
    status: str = ""
    news: str = ""
    q: str = ""
    sort: str = "-started"


class SyncLog:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, wanted: RunFilter, *, after: str = "", before: str = "", limit: int = PAGE
    ) -> Cut[RunRow]:
        """Raises Invalid for an unknown filter or order, and for a cursor of another order."""
        return await RUNS.find(self._database, _wanted(wanted), after=after, before=before, limit=limit)

    async def count_by_way(self, wanted: RunFilter) -> dict[str, int]:
        """Way → runs, of those that match all else; "" holds all of them."""
        scope = _wanted(msgspec.structs.replace(wanted, way=""))
        async with self._database.reading() as statements:
            counts = await statements.pairs(
                sql.SQL(
                    "SELECT CASE WHEN is_full THEN 'full' ELSE 'changes' END AS way, count(*) "
                    "FROM crm_syncs WHERE {} GROUP BY way"
                ).format(scope.condition),
                dict(scope.values),
            )
        return {"": sum(counts.values()), **counts}

    def stream(self, wanted: RunFilter) -> AsyncGenerator[RunRow, None]:
        """Raises Invalid at once, not at the first row."""
        RUNS.check(wanted.sort)
        return RUNS.stream(self._database, _wanted(wanted))

    async def get(self, sync_id: int) -> RunRow:
        """Raises NotFound."""
        scope = Wanted(sql.SQL("id = %(id)s"), {"id": sync_id}, "started")
        found = await RUNS.find(self._database, scope, limit=1)
        if not found.rows:
            raise NotFound("There is no sync of this number.")
        return found.rows[0]

    async def count_changes(self, run: CrmRun) -> int:
        """How many changes of records were written into their history while it ran, by the sync."""
        return int(
            await self._database.value(
                "SELECT count(*) FROM crm_changes WHERE source = 'sync' AND at >= %s AND at <= %s",
                [run.started_at or run.asked_at, run.finished_at or datetime.now(UTC)],
            )
        )

    async def list_live(self) -> list[RunRow]:
        """Runs that are wanted or under way."""
        scope = Wanted(sql.SQL("status IN ('waiting', 'running')"), {}, "started")
        return (await RUNS.find(self._database, scope)).rows

    async def list_last(self, *, count: int) -> list[RunRow]:
        """Those that ended lately, the oldest first, for a picture of them; dry runs are not among them."""
        scope = Wanted(sql.SQL("finished_at IS NOT NULL AND NOT dry_run"), {}, "-started")
        return (await RUNS.find(self._database, scope, limit=count)).rows[::-1]


_CHANGES = sql.SQL("(created + updated + archived + restored + merged + associations)")

RUNS = Keyset(
    RunRow,
    columns=sql.SQL(", ").join(map(sql.Identifier, CrmRun.__struct_fields__)),
    tables=sql.SQL("crm_syncs"),
    id=sql.SQL("id"),
    id_type="bigint",
    orders={
        "started": Order("Oldest first", "Newest first", sql.SQL("id"), "bigint"),
        "took": Order(
            "Shortest first",
            "Longest first",
            sql.SQL("COALESCE(extract(epoch FROM finished_at - started_at), 0)"),
            "numeric",
        ),
        "changes": Order("Fewest changes first", "Most changes first", _CHANGES, "integer"),
    },
)


def _wanted(wanted: RunFilter) -> Wanted:
    for name, given, known in (
        ("kind of run", wanted.way, WAYS),
        ("status", wanted.status, STATUSES),
        ("choice of changes", wanted.news, NEWS),
    ):
        if given not in known:
            raise Invalid(f"There is no {name} {given!r}; expected one of {', '.join(filter(None, known))}.")
    parts: list[sql.Composable] = []
    values: dict[str, Any] = {}
    if wanted.way:
        parts.append(sql.SQL("is_full = %(full)s"))
        values["full"] = wanted.way == "full"
    if wanted.status:
        parts.append(sql.SQL("status = %(status)s"))
        values["status"] = wanted.status
    if wanted.news:
        parts.append(sql.SQL("{} > 0").format(_CHANGES))
    if wanted.q.strip():
        parts.append(
            sql.SQL("strpos(lower(concat_ws(' ', asked_by, reason, faults::text)), lower(%(q)s)) > 0")
        )
        values["q"] = wanted.q.strip()
    return Wanted(all_of(parts), values, wanted.sort)

"""Reading the runs of both kinds of sync: lists of them, and one with what surrounds it."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import msgspec
from psycopg import sql

from muster.errors import Invalid, NotFound
from muster.people.runs import SyncRun
from muster.platform.database import Database
from muster.platform.paging import PAGE, Cut, Keyset, Order, Wanted, all_of

KINDS = {"": "All", "people": "People", "groups": "Groups"}
STATUSES = {
    "": "Every outcome",
    "finished": "Finished",
    "failed": "Failed",
    "refused": "Refused",
    "running": "Running",
    "waiting": "Waiting",
}
TRIALS = {"": "With dry runs", "no": "Without dry runs", "only": "Only dry runs"}


class RunRow(SyncRun, frozen=True, kw_only=True):
    sort_key: str = ""

    @property
    def changes(self) -> int:
        return self.created + self.updated + self.removed + self.members_added + self.members_removed


class RunFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`kind`, `status` and `dry` are of KINDS, STATUSES and TRIALS; `q` is in who asked or in the reason."""

    kind: str = ""
    status: str = ""
    dry: str = ""
    q: str = ""
    sort: str = "-started"


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What of a run stands elsewhere: the removal it had held, and how many changes of people it told."""

    is_first_load: bool
    removal_id: int | None
    changes: int


class SyncLog:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, wanted: RunFilter, *, after: str = "", before: str = "", limit: int = PAGE
    ) -> Cut[RunRow]:
        """Raises Invalid for an unknown filter or order, and for a cursor of another order."""
        return await RUNS.find(self._database, _wanted(wanted), after=after, before=before, limit=limit)

    async def count_by_kind(self, wanted: RunFilter) -> dict[str, int]:
        """Kind → runs, of those that match all else; "" holds all of them."""
        scope = _wanted(msgspec.structs.replace(wanted, kind=""))
        async with self._database.reading() as statements:
            counts = await statements.pairs(
                sql.SQL("SELECT kind, count(*) FROM people_syncs WHERE {} GROUP BY kind").format(
                    scope.condition
                ),
                dict(scope.values),
            )
        return {"": sum(counts.values()), **counts}

    def stream(self, wanted: RunFilter) -> AsyncGenerator[RunRow, None]:
        """Raises Invalid at once, not at the first row."""
        RUNS.check(wanted.sort)
        return RUNS.stream(self._database, _wanted(wanted))

    async def get(self, sync_id: int) -> RunRow:
        """Raises NotFound."""
        found = await RUNS.find(
            self._database, Wanted(sql.SQL("id = %(id)s"), {"id": sync_id}, "started"), limit=1
        )
        if not found.rows:
            raise NotFound("There is no sync of this number.")
        return found.rows[0]

    async def get_surroundings(self, run: SyncRun) -> Surroundings:
        moments = {"from": run.started_at or run.asked_at, "to": run.finished_at or datetime.now(UTC)}
        found = await self._database.row(
            Surroundings, _SURROUNDINGS, {"id": run.id, "kind": run.kind, **moments}
        )
        if found is None:
            raise LookupError("a statement that gives one row gave none")
        return found

    async def list_live(self) -> list[RunRow]:
        """Runs that are wanted or under way: two of a kind at most, and its dry run."""
        scope = Wanted(sql.SQL("status IN ('waiting', 'running')"), {}, "started")
        return (await RUNS.find(self._database, scope)).rows

    async def list_last(self, kind: str, *, count: int) -> list[RunRow]:
        """Those that ended lately, the oldest first, for a picture of them; dry runs are not among them."""
        scope = _wanted(RunFilter(kind=kind, dry="no"))
        ended = Wanted(scope.condition + sql.SQL(" AND finished_at IS NOT NULL"), scope.values, scope.sort)
        return (await RUNS.find(self._database, ended, limit=count)).rows[::-1]


RUNS = Keyset(
    RunRow,
    columns=sql.SQL(", ").join(map(sql.Identifier, SyncRun.__struct_fields__)),
    tables=sql.SQL("people_syncs"),
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
        "changes": Order(
            "Fewest changes first",
            "Most changes first",
            sql.SQL("(created + updated + removed + members_added + members_removed)"),
            "integer",
        ),
    },
)

_SURROUNDINGS = """
SELECT NOT EXISTS (
           SELECT FROM people_syncs
           WHERE kind = %(kind)s AND status = 'finished' AND NOT dry_run AND id < %(id)s
       ) AS is_first_load,
       (SELECT max(id) FROM people_removals WHERE sync_id = %(id)s) AS removal_id,
       (SELECT count(*) FROM people_changes
        WHERE sync_id = %(id)s AND at >= %(from)s AND at <= %(to)s) AS changes
"""
"""Changes are found by their time, which has an index, and then by their run."""


def _wanted(wanted: RunFilter) -> Wanted:
    for name, given, known in (
        ("kind", wanted.kind, KINDS),
        ("status", wanted.status, STATUSES),
        ("choice of dry runs", wanted.dry, TRIALS),
    ):
        if given not in known:
            raise Invalid(f"There is no {name} {given!r}; expected one of {', '.join(filter(None, known))}.")
    parts: list[sql.Composable] = []
    values: dict[str, Any] = {}
    for column in ("kind", "status"):
        if given := getattr(wanted, column):
            parts.append(sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder(column)))
            values[column] = given
    if wanted.dry:
        parts.append(sql.SQL("dry_run = %(dry)s"))
        values["dry"] = wanted.dry == "only"
    if wanted.q.strip():
        parts.append(
            sql.SQL("strpos(lower(concat_ws(' ', asked_by, reason, faults::text)), lower(%(q)s)) > 0")
        )
        values["q"] = wanted.q.strip()
    return Wanted(all_of(parts), values, wanted.sort)

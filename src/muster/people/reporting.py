"""Who reports to whom: the line above somebody, and those below."""

from datetime import datetime
from enum import StrEnum

import msgspec
from psycopg import sql

from muster.people.history import people_as_of
from muster.people.person import Status
from muster.platform.database import Database

DEEPEST = 30
MOST_REPORTS = 100


class Colleague(msgspec.Struct, frozen=True, kw_only=True):
    google_id: str
    name: str
    email: str
    title: str
    status: Status

    @property
    def id(self) -> str:
        return self.google_id


class Report(Colleague, frozen=True, kw_only=True):
    """Somebody who reports directly, with how many report to them."""

    reports: int


class End(StrEnum):
    """Why the line above somebody ends where it does."""

    TOP = "top"  # who is there names no manager
    UNKNOWN = "unknown"  # the manager's address is nobody's
    CIRCLE = "circle"  # the manager is already in the line
    TOO_LONG = "too long"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """The managers above somebody, the nearest first. `next_email` is whom the last of them names.

    `reports` are MOST_REPORTS of `reports_total` at most.
    """

    managers: list[Colleague]
    end: End
    next_email: str
    reports: list[Report]
    reports_total: int


class _Rung(Colleague, frozen=True, kw_only=True):
    manager_email: str
    is_again: bool


class _Counted(Report, frozen=True, kw_only=True):
    total: int


class ReportingLines:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, google_id: str, *, as_of: datetime | None = None) -> Line:
        """The line around somebody who is known; as it was at `as_of`."""
        known = _KNOWN.format(people_as_of(as_of) if as_of else sql.Identifier("people"))
        # Only what was is put together first: what is has its indexes.
        kept = sql.SQL("AS MATERIALIZED" if as_of else "AS NOT MATERIALIZED")
        values = {"google_id": google_id, "deepest": DEEPEST, "limit": MOST_REPORTS}
        async with self._database.reading() as statements:
            rungs = await statements.rows(_Rung, _ABOVE.format(kept=kept, known=known), values)
            below = _BELOW.format(
                kept=kept, known=known, counted=_COUNTED_AT_ONCE if as_of else _COUNTED_ONE_BY_ONE
            )
            reports = await statements.rows(_Counted, below, values)
        end, managers = _judged(rungs)
        return Line(
            managers=list(managers[1:]),
            end=end,
            next_email=managers[-1].manager_email if managers else "",
            reports=list(reports),
            reports_total=reports[0].total if reports else 0,
        )


def _judged(rungs: list[_Rung]) -> tuple[End, list[_Rung]]:
    if not rungs or not rungs[-1].manager_email:
        return End.TOP, rungs
    if rungs[-1].is_again:
        return End.CIRCLE, rungs[:-1]
    return (End.TOO_LONG if len(rungs) > DEEPEST else End.UNKNOWN), rungs


_KNOWN = sql.SQL(
    "(SELECT google_id, name, email, title, status, manager_email, aliases, sort_name, removed_at "
    "FROM {} AS people)"
)

_ABOVE = sql.SQL(
    """
    WITH RECURSIVE known {kept} {known}, line AS (
        SELECT 0 AS height, google_id, name, email, title, status, manager_email, false AS is_again,
            ARRAY[google_id] AS path
        FROM known WHERE google_id = %(google_id)s
        UNION ALL
        SELECT height + 1, above.google_id, above.name, above.email, above.title, above.status,
            above.manager_email, above.google_id = ANY(path), path || above.google_id
        FROM line CROSS JOIN LATERAL (
            SELECT * FROM known
            WHERE email = line.manager_email OR aliases @> ARRAY[line.manager_email]
            ORDER BY removed_at IS NOT NULL, email <> line.manager_email LIMIT 1
        ) AS above
        WHERE line.manager_email <> '' AND NOT is_again AND height < %(deepest)s
    )
    SELECT google_id, name, email, title, status, manager_email, is_again FROM line ORDER BY height
    """
)

_BELOW = sql.SQL(
    """
    WITH known {kept} {known}, boss AS (
        SELECT array_append(aliases, email) AS addresses FROM known WHERE google_id = %(google_id)s
    ), below AS MATERIALIZED (
        SELECT *, count(*) OVER () AS total FROM known
        WHERE manager_email = ANY((SELECT addresses FROM boss)::text[]) AND manager_email <> ''
            AND removed_at IS NULL AND google_id <> %(google_id)s
        ORDER BY sort_name, google_id LIMIT %(limit)s
    ), counted AS ({counted})
    SELECT google_id, name, email, title, status, total, COALESCE(reports, 0) AS reports
    FROM below LEFT JOIN counted USING (google_id) ORDER BY sort_name, google_id
    """
)
"""That an address is not empty is said for the index, which holds no others."""

_COUNTED_ONE_BY_ONE = sql.SQL(
    """
    SELECT google_id, (
        SELECT count(*) FROM known
        WHERE manager_email = ANY(array_append(below.aliases, below.email)) AND manager_email <> ''
            AND removed_at IS NULL AND known.google_id <> below.google_id
    ) AS reports FROM below
    """
)
_COUNTED_AT_ONCE = sql.SQL(
    """
    SELECT theirs.google_id, count(*) AS reports
    FROM (SELECT google_id, unnest(array_append(aliases, email)) AS address FROM below) AS theirs
    JOIN known ON manager_email = address
    WHERE removed_at IS NULL AND known.google_id <> theirs.google_id
    GROUP BY theirs.google_id
    """
)
"""By the index of those who are, and by one reading of those who were, who have none."""

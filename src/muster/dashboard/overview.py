"""The company at a glance: figures read across slices, never written."""

from datetime import date, datetime
from urllib.parse import urlencode

import msgspec

from muster.dashboard.charts import Month
from muster.platform.database import Database

MONTHS = 12
JOINERS = 8


class Headcount(msgspec.Struct, frozen=True, kw_only=True):
    """People by status; `total` leaves out those who are gone."""

    total: int
    active: int
    suspended: int
    archived: int
    guests: int


class Department(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    people: int

    @property
    def href(self) -> str:
        return f"/people?{urlencode({'department': self.name})}"


class Joiner(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    email: str
    title: str
    department: str
    joined_on: date


class LastSync(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    status: str
    started_at: datetime


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    people: Headcount
    by_department: list[Department]
    joiners: list[Joiner]
    joiners_by_month: list[Month]
    last_sync: LastSync | None
    people_synced_at: datetime | None


class Overviews:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> Overview:
        async with self._database.reading() as statements:
            people = await statements.row(Headcount, _HEADCOUNT)
            return Overview(
                people=people or Headcount(total=0, active=0, suspended=0, archived=0, guests=0),
                by_department=await statements.rows(Department, _DEPARTMENTS),
                joiners=await statements.rows(Joiner, _JOINERS, [JOINERS]),
                joiners_by_month=await statements.rows(Month, _MONTHS, {"months": MONTHS}),
                last_sync=await statements.row(LastSync, _LAST_SYNC),
                people_synced_at=await statements.value(_SYNCED_AT),
            )


_HEADCOUNT = """
SELECT count(*) AS total,
       count(*) FILTER (WHERE status = 'active') AS active,
       count(*) FILTER (WHERE status = 'suspended') AS suspended,
       count(*) FILTER (WHERE status = 'archived') AS archived,
       count(*) FILTER (WHERE status = 'guest') AS guests
FROM people WHERE removed_at IS NULL
"""

_DEPARTMENTS = """
SELECT department AS name, count(*) AS people FROM people
WHERE removed_at IS NULL AND department <> '' GROUP BY department ORDER BY people DESC, name LIMIT 100
"""

_JOINERS = """
SELECT google_id AS id, name, email, title, department, joined_at::date AS joined_on FROM people
WHERE removed_at IS NULL AND joined_at > now() - interval '30 days' ORDER BY joined_at DESC LIMIT %s
"""

_MONTHS = """
WITH months AS (
    SELECT generate_series(
        date_trunc('month', now()) - make_interval(months => %(months)s - 1),
        date_trunc('month', now()), interval '1 month'
    ) AS month
), joined AS (
    SELECT date_trunc('month', joined_at) AS month, count(*) AS n FROM people
    WHERE joined_at >= (SELECT min(month) FROM months) GROUP BY 1
), left_ AS (
    SELECT date_trunc('month', removed_at) AS month, count(*) AS n FROM people
    WHERE removed_at >= (SELECT min(month) FROM months) GROUP BY 1
)
SELECT month::date AS month, COALESCE(joined.n, 0) AS joined, COALESCE(left_.n, 0) AS left
FROM months LEFT JOIN joined USING (month) LEFT JOIN left_ USING (month) ORDER BY month
"""

_LAST_SYNC = """
SELECT id, status, started_at FROM people_syncs
WHERE kind = 'people' AND started_at IS NOT NULL ORDER BY id DESC LIMIT 1
"""

_SYNCED_AT = (
    "SELECT max(finished_at) FROM people_syncs WHERE kind = 'people' AND status = 'finished' AND NOT dry_run"
)

"""What metrics said each day: what is deleted or changed since cannot be counted later."""

from collections import defaultdict
from datetime import date, timedelta

import msgspec

from muster.dashboard.metrics import Metric, Metrics, Point, Trends
from muster.platform.busts import Busts
from muster.platform.cache import Want
from muster.platform.database import Database
from muster.platform.queue import Job, Work

TAG = "snapshots"
SHOWN_DAYS = 30
EVERY = timedelta(hours=1)
"""A day's last turn is what is kept of it, so that a worker that was away costs an hour, not a day."""


class Snapshots:
    def __init__(self, database: Database, metrics: Metrics, busts: Busts) -> None:
        self._database = database
        self._metrics = metrics
        self._busts = busts

    def jobs(self) -> list[Job]:
        return [
            Job(
                name="dashboard.snapshot",
                queue="upkeep",
                run=self._take,
                every=EVERY,
                deadline=timedelta(minutes=2),
                attempts=1,
                at_once=1,
                idempotent="A day has one figure of each metric; a later one takes its place.",
            )
        ]

    async def take(self) -> int:
        """Keep what every metric says now as today's; how many figures. One that fails leaves out its own."""
        readings = await self._metrics.read(self._metrics.all)
        kept = [
            (reading.metric.id, figure.name, place, figure.unit, float(figure.value))
            for reading in readings
            if reading.value and not reading.is_stale
            for place, figure in enumerate(reading.value.figures)
        ]
        if kept:
            async with self._database.transaction() as tx:
                if await tx.execute(_KEEP, [list(column) for column in zip(*kept, strict=True)]):
                    await self._busts.announce(tx, TAG)
        return len(kept)

    def want(self) -> Want[Trends]:
        return Want(
            key="metric:trends",
            shape=Trends,
            load=self.trends,
            tags=(TAG,),
            ttl=timedelta(minutes=60),
            refresh_early=True,
        )

    async def trends(self) -> Trends:
        """Of the last month, where there is more than a day of it."""
        rows = await self._database.rows(_Kept, _TRENDS, [SHOWN_DAYS])
        found: Trends = defaultdict(list)
        for row in rows:
            found[row.metric].append(Point(row.day, row.value))
        return {metric: points for metric, points in found.items() if len(points) > 1}

    async def history(self, metric: Metric, *, days: int) -> list["Kept"]:
        """Every figure of a metric on each of the last `days`, the oldest first."""
        return await self._database.rows(Kept, _HISTORY, [metric.id, days])

    async def _take(self, work: Work) -> None:
        await self.take()


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    day: date
    name: str
    unit: str
    value: float


class _Kept(msgspec.Struct, frozen=True):
    metric: str
    day: date
    value: float


_KEEP = """
INSERT INTO metric_snapshots AS kept (day, metric, name, place, unit, value)
SELECT (now() AT TIME ZONE 'UTC')::date, *
FROM unnest(%s::text[], %s::text[], %s::smallint[], %s::text[], %s::float[])
ON CONFLICT (metric, name, day) DO UPDATE
    SET place = excluded.place, unit = excluded.unit, value = excluded.value, at = now()
    WHERE (kept.place, kept.unit, kept.value) IS DISTINCT FROM (excluded.place, excluded.unit, excluded.value)
"""

_TRENDS = """
SELECT metric, day, value FROM metric_snapshots
WHERE place = 0 AND day > (now() AT TIME ZONE 'UTC')::date - %s::int ORDER BY metric, day
"""

_HISTORY = """
SELECT day, name, unit, value FROM metric_snapshots
WHERE metric = %s AND day > (now() AT TIME ZONE 'UTC')::date - %s::int ORDER BY day, place
"""

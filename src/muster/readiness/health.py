"""For machines: is this process alive, is it ready, and its figures."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from muster import __version__
from muster.errors import MusterError
from muster.platform import migrations
from muster.platform.database import Database
from muster.platform.heartbeat import Heartbeats
from muster.platform.prometheus import (
    PEOPLE,
    POOL_CONNECTIONS,
    QUEUE_JOBS,
    SYNC_AGE,
    SYNC_CALLS,
    SYNC_DRIFT,
    SYNC_FAULTS,
    SYNC_WAITED,
    WORKERS,
)
from muster.platform.queue import Queues
from muster.platform.redis import Redis, answering
from muster.platform.routes import Anyone, Request, Route
from muster.platform.telemetry import logger

ASKED_FOR = 3.0
"""Seconds a component has to answer before it counts as down."""

COUNTED_EVERY = 5.0
"""Seconds for which counted figures are given again: anybody may ask, and counting asks PostgreSQL."""

_POOL = {"idle": "pool_available", "open": "pool_size", "callers waiting": "requests_waiting"}


class Component(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    status: Literal["pass", "fail"]
    time: datetime
    observed_value: int
    observed_unit: Literal["ms"]
    output: str = ""


class Health(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """In the shape of the IETF's expired health+json draft: component → its measurements."""

    status: Literal["pass", "fail"]
    release_id: str
    checks: dict[str, list[Component]] = {}


class _TablesDiffer(MusterError):
    """The tables are not of this release."""


class HealthPages:
    def __init__(self, database: Database, redis: Redis, queues: Queues, heartbeats: Heartbeats) -> None:
        self._database = database
        self._redis = redis
        self._queues = queues
        self._heartbeats = heartbeats
        self._counted_at = -COUNTED_EVERY

    def routes(self) -> list[Route]:
        return [
            Route(path="/livez", handler=self.live, may=Anyone.MAY, bare=True),
            Route(path="/readyz", handler=self.ready, may=Anyone.MAY, bare=True),
            Route(path="/metrics", handler=self.metrics, may=Anyone.MAY, bare=True),
        ]

    async def live(self, request: Request) -> Response:
        """Asks nobody: a process that is alive must not be restarted because a server is away."""
        return _answer(Health(status="pass", release_id=__version__))

    async def ready(self, request: Request) -> Response:
        checks = {"postgresql": self._ask_database, "redis": self._ask_redis, "migrations": self._ask_tables}
        components = await asyncio.gather(*(_measured(check) for check in checks.values()))
        status: Literal["pass", "fail"] = (
            "pass" if all(one.status == "pass" for one in components) else "fail"
        )
        found = {name: [component] for name, component in zip(checks, components, strict=True)}
        return _answer(Health(status=status, release_id=__version__, checks=found))

    async def metrics(self, request: Request) -> Response:
        """Prometheus text. What cannot be asked at this moment is left out or NaN, never shown as zero."""
        if time.monotonic() - self._counted_at > COUNTED_EVERY:
            self._counted_at = time.monotonic()
            await self._count()
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def _count(self) -> None:
        for state, figure in _POOL.items():
            POOL_CONNECTIONS.labels(state).set(self._database.figures().get(figure, 0))
        await asyncio.gather(*(_attempted(refresh) for refresh in (self._count_people, self._count_jobs)))

    async def _count_people(self) -> None:
        PEOPLE.clear()
        for figure in (WORKERS, SYNC_AGE):
            figure.set(math.nan)  # Prometheus's word for what is not known
        WORKERS.set(len(await self._heartbeats.list_alive()))
        async with self._database.reading() as statements:
            by_status = await statements.pairs("SELECT status, count(*) FROM people GROUP BY status")
            sync_age = await statements.value(
                """
                SELECT extract(epoch FROM now() - max(finished_at)) FROM people_syncs
                WHERE kind = 'people' AND status = 'finished' AND NOT dry_run
                """
            )
            runs = await statements.rows(_LastRun, _LAST_RUNS)
        for status, people in by_status.items():
            PEOPLE.labels(status).set(people)
        SYNC_AGE.set(math.inf if sync_age is None else float(sync_age))
        _tell_of_runs(runs)

    async def _count_jobs(self) -> None:
        QUEUE_JOBS.clear()
        for queue, counts in (await self._queues.counts()).items():
            for state, jobs in counts.items():
                QUEUE_JOBS.labels(queue, state).set(jobs)

    async def _ask_database(self) -> None:
        await self._database.value("SELECT 1")

    async def _ask_redis(self) -> None:
        with answering():
            await self._redis.ping()

    async def _ask_tables(self) -> None:
        version = await self._database.value("SELECT max(version_num) FROM alembic_version")
        if version != migrations.head():
            raise _TablesDiffer(f"tables are of version {version}, this release wants {migrations.head()}")


async def _measured(check: Callable[[], Awaitable[None]]) -> Component:
    started, problem = time.perf_counter(), ""
    try:
        async with asyncio.timeout(ASKED_FOR):
            await check()
    except TimeoutError:
        problem = f"no answer within {ASKED_FOR:.0f} s"
    except Exception as error:  # noqa: BLE001  whatever is wrong with it, the component is not ready
        logger.warning("component_not_ready", error=str(error))
        # Its own words may hold a server's address, and who asks here is anybody.
        problem = str(error) if isinstance(error, _TablesDiffer) else "does not answer"
    return Component(
        status="fail" if problem else "pass",
        time=datetime.now(UTC),
        observed_value=round((time.perf_counter() - started) * 1000),
        observed_unit="ms",
        output=problem,
    )


async def _attempted(refresh: Callable[[], Awaitable[None]]) -> None:
    try:
        async with asyncio.timeout(ASKED_FOR):
            await refresh()
    except (MusterError, TimeoutError):
        return


def _answer(health: Health) -> Response:
    return Response(
        msgspec.json.encode(health),
        status_code=200 if health.status == "pass" else 503,
        media_type="application/health+json",
        headers={} if health.status == "pass" else {"retry-after": "5"},
    )


class _LastRun(msgspec.Struct, frozen=True):
    kind: str
    calls: int
    faults: dict[str, int]
    waited_seconds: float
    drift: int


_LAST_RUNS = """
SELECT DISTINCT ON (kind) kind, calls, faults, waited_seconds, drift FROM people_syncs
WHERE finished_at IS NOT NULL ORDER BY kind, id DESC
"""


def _tell_of_runs(runs: Sequence[_LastRun]) -> None:
    """What Google was asked in the newest run of each kind, and how often it failed, by its own reasons."""
    SYNC_FAULTS.clear()
    for run in runs:
        SYNC_CALLS.labels(run.kind).set(run.calls)
        SYNC_WAITED.labels(run.kind).set(run.waited_seconds)
        for reason, times in run.faults.items():
            SYNC_FAULTS.labels(run.kind, reason).set(times)
        if run.kind == "people":
            SYNC_DRIFT.set(run.drift)

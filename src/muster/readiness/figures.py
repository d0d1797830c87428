"""What Prometheus is told: this process's own counters, and figures of the whole that are counted for it.

Counting asks PostgreSQL and Redis, so it is done every few seconds at most, and what grows with the company
once a minute. What cannot be asked at a moment is left out or NaN, Prometheus's word for not known, and
never shown as zero.
"""

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

import msgspec
from prometheus_client import Gauge

from muster import __version__
from muster.errors import MusterError
from muster.platform.database import Database
from muster.platform.heartbeat import Heartbeats, WorkerSeen
from muster.platform.patience import answered, shared
from muster.platform.prometheus import (
    AUDIT_ENTRIES,
    BUILD,
    CUSTOMERS,
    CUSTOMERS_AGE,
    CUSTOMERS_CALLS,
    CUSTOMERS_DRIFT,
    CUSTOMERS_WAITED,
    GROUPS_AGE,
    OUTBOX,
    OUTBOX_OLDEST,
    PEOPLE,
    POOL_CONNECTIONS,
    POOL_FAILED,
    POOL_LARGEST,
    POOL_REQUESTS,
    POOL_WAITED,
    PROOF_AGE,
    PROOF_STATUS,
    PROOFS,
    QUEUE_JOBS,
    QUEUE_OLDEST,
    QUEUE_WORKERS,
    QUOTA,
    QUOTA_LEFT,
    QUOTA_SPENT,
    REREADS,
    SCHEDULE_LATE,
    SESSIONS,
    SYNC_AGE,
    SYNC_CALLS,
    SYNC_DRIFT,
    SYNC_FAULTS,
    SYNC_WAITED,
    WORKERS,
)
from muster.platform.queue import QUEUES, Queues
from muster.platform.sessions import Sessions
from muster.readiness.health import ASKED_FOR, Health
from muster.readiness.proofs import Last, Proofs

COUNTED_EVERY = 5.0
COUNTED_AT_LENGTH_EVERY = 60.0
"""Seconds; people and customers are counted one by one."""

_POOL = {"idle": "pool_available", "open": "pool_size", "callers waiting": "requests_waiting"}
_MOST_REASONS = 20
"""A vendor's words for its failures, of which it may invent more."""


class Figures:
    def __init__(
        self,
        database: Database,
        queues: Queues,
        heartbeats: Heartbeats,
        sessions: Sessions,
        proofs: Proofs,
        health: Health,
        *,
        role: str,
        has_hubspot: bool,
    ) -> None:
        self._database = database
        self._queues = queues
        self._heartbeats = heartbeats
        self._sessions = sessions
        self._proofs = proofs
        self._health = health
        self._has_hubspot = has_hubspot
        self._counting: asyncio.Task[None] | None = None
        self._counted_at = self._counted_at_length_at = -math.inf
        self._pool_before: Mapping[str, int] = {}
        BUILD.labels(__version__, role).set(1)

    async def refresh(self) -> None:
        """Whoever comes while it is counted waits for it; whoever comes soon after is given the same."""
        if self._counting is None or self._counting.done():
            if time.monotonic() - self._counted_at < COUNTED_EVERY:
                return
            self._counting = shared(self._count())
        await asyncio.shield(self._counting)

    async def _count(self) -> None:
        self._count_pool()
        at_length = time.monotonic() - self._counted_at_length_at >= COUNTED_AT_LENGTH_EVERY
        await asyncio.gather(
            self._health.report(),
            _told(self._of_workers, _tell_workers),
            _told(self._of_syncs, _tell_syncs),
            _told(self._of_customers, self._tell_customers),
            _told(self._proofs.last, _tell_proofs),
            _told(self._of_jobs, _tell_jobs),
            _told(self._of_sessions, _tell_sessions),
            *([_told(self._of_records, self._tell_records)] if at_length else []),
        )
        self._counted_at = time.monotonic()

    def _count_pool(self) -> None:
        figures = self._database.figures()
        for state, figure in _POOL.items():
            POOL_CONNECTIONS.labels(state).set(figures.get(figure, 0))
        POOL_LARGEST.set(figures.get("pool_max", 0))
        for counter, figure, of_one in (
            (POOL_REQUESTS, "requests_num", 1),
            (POOL_WAITED, "requests_wait_ms", 1000),
            (POOL_FAILED, "requests_errors", 1),
        ):
            counter.inc(max(0, figures.get(figure, 0) - self._pool_before.get(figure, 0)) / of_one)
        self._pool_before = figures

    async def _of_workers(self) -> list[WorkerSeen]:
        return await self._heartbeats.list_alive()

    async def _of_syncs(self) -> "_Syncs":
        async with self._database.reading() as statements:
            return _Syncs(
                ages=await statements.pairs(_SYNC_AGES),
                runs=await statements.rows(_LastRun, _LAST_RUNS),
                audit_entries=await statements.value("SELECT max(number) FROM audit_seals"),
            )

    async def _of_customers(self) -> "_Customers":
        async with self._database.reading() as statements:
            return _Customers(
                ages=await statements.pairs(_CUSTOMERS_AGES),
                runs=await statements.rows(_LastCrmRun, _LAST_CRM_RUNS),
                rereads=await statements.value("SELECT count(*) FROM crm_rereads"),
                outbox=await statements.pairs(_OUTBOX),
                oldest=await statements.value(_OLDEST_EDIT),
                quota=await statements.pairs("SELECT daily_left, daily_limit FROM crm_allowance"),
                spent=await statements.pairs(_SPENT),
            )

    async def _of_records(self) -> "_Records":
        async with self._database.reading() as statements:
            return _Records(
                people=await statements.pairs("SELECT status, count(*) FROM people GROUP BY status"),
                customers=await statements.pairs(
                    "SELECT kind, count(*) FROM crm_records WHERE archived_at IS NULL GROUP BY kind"
                ),
            )

    async def _of_jobs(self) -> "_Jobs":
        return _Jobs(
            counts=await self._queues.counts(),
            ages=await self._queues.ages(),
            next_ms=await self._queues.scheduled(),
        )

    async def _of_sessions(self) -> int:
        return await self._sessions.count_all()

    def _tell_customers(self, found: "_Customers | None") -> None:
        _tell_customers(found if self._has_hubspot else None)

    def _tell_records(self, found: "_Records | None") -> None:
        if found:
            self._counted_at_length_at = time.monotonic()
        _fill(PEOPLE, found.people if found else {})
        _fill(CUSTOMERS, found.customers if found and self._has_hubspot else {})


class _LastRun(msgspec.Struct, frozen=True):
    kind: str
    calls: int
    faults: dict[str, int]
    waited_seconds: float
    drift: int


class _LastCrmRun(msgspec.Struct, frozen=True):
    way: str
    calls: int
    waited_seconds: float
    drift: int


class _Syncs(msgspec.Struct, frozen=True, kw_only=True):
    ages: dict[str, Any]
    runs: list[_LastRun]
    audit_entries: int | None


class _Customers(msgspec.Struct, frozen=True, kw_only=True):
    ages: dict[str, Any]
    runs: list[_LastCrmRun]
    rereads: int
    outbox: dict[str, int]
    oldest: Any
    quota: dict[int, int]
    spent: dict[str, int]


class _Records(msgspec.Struct, frozen=True, kw_only=True):
    people: dict[str, int]
    customers: dict[str, int]


class _Jobs(msgspec.Struct, frozen=True, kw_only=True):
    counts: dict[str, dict[str, int]]
    ages: dict[str, float]
    next_ms: dict[str, int]


_SYNC_AGES = """
SELECT kind, extract(epoch FROM now() - max(finished_at)) FROM people_syncs
WHERE status = 'finished' AND NOT dry_run GROUP BY kind
"""
_LAST_RUNS = """
SELECT DISTINCT ON (kind) kind, calls, faults, waited_seconds, drift FROM people_syncs
WHERE finished_at IS NOT NULL ORDER BY kind, id DESC
"""
_CUSTOMERS_AGES = """
SELECT CASE WHEN is_full THEN 'full' ELSE 'changes' END, extract(epoch FROM now() - max(finished_at))
FROM crm_syncs WHERE status = 'finished' AND NOT dry_run GROUP BY is_full
"""
_LAST_CRM_RUNS = """
SELECT DISTINCT ON (is_full) CASE WHEN is_full THEN 'full' ELSE 'changes' END AS way,
    calls, waited_seconds, drift
FROM crm_syncs WHERE finished_at IS NOT NULL ORDER BY is_full, id DESC
"""
_OUTBOX = """
SELECT status, count(*) FROM crm_edits WHERE status IN ('waiting', 'sending', 'unknown') GROUP BY status
"""
_OLDEST_EDIT = """
SELECT coalesce(extract(epoch FROM now() - min(asked_at)), 0) FROM crm_edits
WHERE status IN ('waiting', 'sending', 'unknown')
"""
_SPENT = "SELECT feature, calls FROM crm_calls WHERE day = (now() AT TIME ZONE 'UTC')::date"


async def _told(ask: Callable[[], Coroutine[Any, Any, Any]], tell: Callable[[Any], None]) -> None:
    """What was found is told at once, so that nobody reads half of it; None that it is not known."""
    try:
        found = await answered(ask(), within=ASKED_FOR)
    except (MusterError, TimeoutError):
        found = None
    tell(found)


def _fill(gauge: Gauge, values: Mapping[str, float]) -> None:
    gauge.clear()
    for label, value in values.items():
        gauge.labels(label).set(value)


def _tell_workers(alive: list[WorkerSeen] | None) -> None:
    WORKERS.set(math.nan if alive is None else len(alive))
    taken = [name for worker in alive or () for name in worker.queues]
    _fill(QUEUE_WORKERS, {} if alive is None else {spec.name: taken.count(spec.name) for spec in QUEUES})


def _tell_sessions(count: int | None) -> None:
    SESSIONS.set(math.nan if count is None else count)


def _tell_syncs(found: _Syncs | None) -> None:
    """What Google was asked in the newest run of each kind, and how often it failed, by its own reasons."""
    SYNC_FAULTS.clear()
    AUDIT_ENTRIES.set(math.nan if found is None else found.audit_entries or 0)
    for gauge, kind in ((SYNC_AGE, "people"), (GROUPS_AGE, "groups")):
        gauge.set(_age(found.ages.get(kind)) if found else math.nan)
    for run in found.runs if found else ():
        SYNC_CALLS.labels(run.kind).set(run.calls)
        SYNC_WAITED.labels(run.kind).set(run.waited_seconds)
        for reason, times in _most_frequent(run.faults):
            SYNC_FAULTS.labels(run.kind, reason).set(times)
        if run.kind == "people":
            SYNC_DRIFT.set(run.drift)


def _tell_customers(found: _Customers | None) -> None:
    quota_left, quota = next(iter(found.quota.items()), (math.nan, math.nan)) if found else (math.nan,) * 2
    QUOTA_LEFT.set(quota_left)
    QUOTA.set(quota)
    REREADS.set(found.rereads if found else math.nan)
    OUTBOX_OLDEST.set(float(found.oldest) if found else math.nan)
    statuses = ("waiting", "sending", "unknown")
    _fill(OUTBOX, {status: found.outbox.get(status, 0) for status in statuses} if found else {})
    _fill(QUOTA_SPENT, found.spent if found else {})
    _fill(CUSTOMERS_AGE, {way: _age(found.ages.get(way)) for way in ("changes", "full")} if found else {})
    runs = found.runs if found else []
    _fill(CUSTOMERS_CALLS, {run.way: run.calls for run in runs})
    _fill(CUSTOMERS_WAITED, {run.way: run.waited_seconds for run in runs})
    CUSTOMERS_DRIFT.set(next((run.drift for run in runs if run.way == "full"), math.nan))


def _tell_jobs(found: _Jobs | None) -> None:
    QUEUE_JOBS.clear()
    for queue, counts in found.counts.items() if found else ():
        for state, jobs in counts.items():
            QUEUE_JOBS.labels(queue, state).set(jobs)
    _fill(QUEUE_OLDEST, found.ages if found else {})
    now = time.time()
    late = {job: max(0.0, now - at / 1000) for job, at in found.next_ms.items()} if found else {}
    _fill(SCHEDULE_LATE, late)


def _tell_proofs(found: Last | None) -> None:
    _fill(PROOFS, found.tally if found else {})
    _fill(PROOF_AGE, found.ages if found else {})
    _fill(PROOF_STATUS, found.held if found else {})


def _most_frequent(faults: Mapping[str, int]) -> Iterable[tuple[str, int]]:
    return sorted(faults.items(), key=lambda one: -one[1])[:_MOST_REASONS]


def _age(seconds: Any) -> float:
    """Of what never was, without end: no rule shall take it for fresh."""
    return math.inf if seconds is None else float(seconds)

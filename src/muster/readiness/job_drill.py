"""The drill of jobs: workers are killed in mid job and Redis with them, and every effect is counted.

What goes in must come out, once: each job writes its effect under a key of its own, and how often its
body ran is written down beside it.
"""

import asyncio
import contextlib
import math
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from muster.embedded.child import launch_ours
from muster.embedded.folder import make_enterable
from muster.embedded.postgres import Postgres
from muster.embedded.server import Server
from muster.embedded.valkey import Valkey
from muster.errors import Unavailable
from muster.platform.database import Database
from muster.platform.queue import LOST_AFTER, Queues, Work
from muster.readiness.drill_worker import QUEUE, TABLES, Orders, drill_job

LOOK_EVERY = 0.05
AHEAD = 200
"""So many jobs are added ahead of what has begun: adding goes on while Redis is killed."""

ADDED_AT_ONCE = 20
ENDS_WITHIN = 15.0
CONFIDENCE = 0.95

Tell = Callable[[str], None]
AnyServer = TypeVar("AnyServer", bound=Server)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`lost_after` is how long a worker may be silent before its jobs are another's, `patience` after how
    long without a new effect what is missing counts as lost: a minute is promised. `redis_settings` are
    for a Redis that is set up otherwise than Muster's own.
    """

    jobs: int = 10_000
    kills: int = 200
    redis_restarts: int = 5
    workers: int = 4
    at_once: int = 6
    shortest: timedelta = timedelta(milliseconds=50)
    longest: timedelta = timedelta(milliseconds=350)
    lost_after: timedelta = LOST_AFTER
    patience: timedelta = timedelta(minutes=2)
    redis_settings: dict[str, str] = {}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`lost_at_most` is the share that is lost with 95 % confidence at most, by what was seen.

    `ran_again` are jobs whose body ran more than once, `recovered` those whose worker was killed in it.

    `given_up` are jobs that BullMQ calls failed; one without an effect is lost, too.
    """

    added: int
    lost: int
    duplicated: int
    ran_again: int
    recovered: int
    given_up: int
    kills: int
    kills_in_mid_job: int
    redis_restarts: int
    ended_by_themselves: int
    longest_recovery_seconds: float
    seconds: float
    lost_at_most: float

    @property
    def held(self) -> bool:
        return not (self.lost or self.duplicated)

    def lines(self) -> list[str]:
        return [
            f"{self.added:,} jobs in {self.seconds:.0f} s",
            f"workers killed {self.kills:,} times, {self.kills_in_mid_job:,} in mid job",
            f"Redis killed and started again {self.redis_restarts} times",
            f"{self.lost:,} of {self.added:,} lost, {_percent(self.lost_at_most)}",
            f"{self.duplicated:,} effects twice",
            f"{self.ran_again:,} jobs run again",
            f"{self.recovered:,} recovered from killed workers within {self.longest_recovery_seconds:.1f} s",
            f"{self.given_up:,} given up",
            f"{self.ended_by_themselves:,} workers ended by themselves",
        ]

    @property
    def evidence(self) -> str:
        return (
            f"{self.lost:,} of {self.added:,} jobs lost ({_percent(self.lost_at_most)}), "
            f"{self.duplicated:,} effects twice, over {self.kills:,} kills of workers and "
            f"{self.redis_restarts} of Redis; {self.recovered:,} recovered within "
            f"{self.longest_recovery_seconds:.0f} s"
        )


async def drill(plan: Plan, tell: Tell) -> Outcome:
    """Raises EmbeddedServerError or Unavailable when it cannot be carried out. Leaves nothing behind."""
    started = time.monotonic()
    tell("starting a PostgreSQL and a Redis for the drill")
    async with _ground(plan) as ground:
        await ground.go_through(tell)
        return await ground.outcome(time.monotonic() - started)


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="muster-drill-") as folder:
        make_enterable(Path(folder))  # as root, PostgreSQL runs as somebody else
        yield Path(folder)


@contextmanager
def _running(server: AnyServer) -> Iterator[AnyServer]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def _ground(plan: Plan) -> AsyncIterator["_Ground"]:
    with _scratch() as folder, _running(Postgres(folder)) as postgres:  # noqa: SIM117  one after the other
        with _running(Valkey(folder, plan.redis_settings)) as valkey:
            database, queues = Database(postgres.owner_url, application="muster-drill"), Queues(valkey.url)
            ground = _Ground(
                plan=plan, valkey=valkey, database=database, queues=queues, orders=folder / "orders"
            )
            await database.open()
            try:
                await ground.prepare(postgres.owner_url)
                yield ground
            finally:
                ground.end_workers()
                await queues.close()
                await database.close()


@dataclass(kw_only=True)
class _Ground:
    """Where it happens. A worker that is killed is replaced by one of another name."""

    plan: Plan
    valkey: Valkey
    database: Database
    queues: Queues
    orders: Path
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    named: int = 0
    added: int = 0
    kills: int = 0
    restarts: int = 0
    ended_by_themselves: int = 0

    async def prepare(self, database_url: str) -> None:
        await self.database.execute(TABLES)
        self.orders.touch(mode=0o600)
        self.orders.write_bytes(
            msgspec.json.encode(
                Orders(
                    redis_url=self.valkey.url,
                    database_url=database_url,
                    at_once=self.plan.at_once,
                    shortest_seconds=self.plan.shortest.total_seconds(),
                    longest_seconds=self.plan.longest.total_seconds(),
                    lost_after_seconds=self.plan.lost_after.total_seconds(),
                )
            )
        )

    async def go_through(self, tell: Tell) -> None:
        """Until every effect is there and nothing waits, or nothing has come for too long."""
        plan, so_far, moved_at = self.plan, _SoFar(), time.monotonic()
        while True:
            before, so_far = so_far, await self._so_far()
            if so_far != before:
                moved_at = time.monotonic()
                tell(self._in_words(so_far))
            is_through = so_far.effects >= plan.jobs and self.kills + self.restarts == plan.kills + (
                plan.redis_restarts
            )
            if (
                is_through and await self._is_idle()
            ) or time.monotonic() - moved_at > plan.patience.total_seconds():
                return
            self._replace_workers()
            await self._add(min(plan.jobs, so_far.begun + AHEAD))
            if self.restarts < _due(plan.redis_restarts, so_far.begun, plan.jobs):
                self._restart_redis()
            if self.kills < _due(plan.kills, so_far.begun, plan.jobs):
                await self._kill()
            await asyncio.sleep(LOOK_EVERY)

    async def outcome(self, seconds: float) -> Outcome:
        figures = await self.database.rows(_Figures, _FIGURES)
        found = figures[0]
        return Outcome(
            added=self.added,
            lost=self.added - found.effects,
            duplicated=found.duplicated,
            ran_again=found.ran_again,
            recovered=found.recovered,
            given_up=(await self._counts())["failed"],
            kills=self.kills,
            kills_in_mid_job=found.kills_in_mid_job,
            redis_restarts=self.restarts,
            ended_by_themselves=self.ended_by_themselves,
            longest_recovery_seconds=round(found.longest_recovery_seconds, 1),
            seconds=round(seconds, 1),
            lost_at_most=upper_bound(self.added - found.effects, self.added),
        )

    def end_workers(self) -> None:
        """In good order where they can, and surely."""
        for process in self.workers.values():
            process.terminate()
        latest = time.monotonic() + ENDS_WITHIN
        for process in self.workers.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, latest - time.monotonic()))
            process.kill()
            process.wait()

    async def _so_far(self) -> "_SoFar":
        found = await self.database.rows(
            _SoFar,
            "SELECT (SELECT count(DISTINCT job) FROM drill_runs) AS begun, "
            "(SELECT count(*) FROM drill_keys) AS effects",
        )
        return found[0]

    def _in_words(self, so_far: "_SoFar") -> str:
        return (
            f"{so_far.effects:,} of {self.plan.jobs:,} jobs done, {self.kills} of {self.plan.kills} kills of "
            f"workers, {self.restarts} of {self.plan.redis_restarts} of Redis"
        )

    def _replace_workers(self) -> None:
        for name, process in list(self.workers.items()):
            if process.poll() is not None:
                self.ended_by_themselves += 1
                del self.workers[name]
        while len(self.workers) < self.plan.workers:
            self.named += 1
            name = f"drill-{self.named}"
            command = [sys.executable, "-m", "muster.readiness.drill_worker", str(self.orders), name]
            self.workers[name] = launch_ours(command, environment={"PATH": os.defpath})

    async def _add(self, up_to: int) -> None:
        """One of which is unknown whether it was added, as Redis was killed, is so again, under its id."""
        while self.added < up_to:
            last = min(up_to, self.added + ADDED_AT_ONCE)
            adding = [
                self.queues.add_once(_JOB, f"drill-{number}") for number in range(self.added + 1, last + 1)
            ]
            answers = await asyncio.gather(*adding, return_exceptions=True)
            if failures := [one for one in answers if isinstance(one, BaseException)]:
                if all(isinstance(one, Unavailable) for one in failures):
                    return  # the next look tries again
                raise failures[0]
            self.added = last

    async def _kill(self) -> None:
        """One of those that are in the middle of a job, if there is one."""
        busy = await self.database.rows(
            _Busy,
            "SELECT DISTINCT worker, clock_timestamp() AS at FROM drill_runs "
            "WHERE ended_at IS NULL AND worker = ANY(%s)",
            [list(self.workers)],
        )
        if not busy:
            return
        one = random.choice(busy)  # noqa: S311  it need not be unforeseeable
        process = self.workers.pop(one.worker)
        process.kill()
        process.wait()
        self.kills += 1
        await self.database.execute(
            "INSERT INTO drill_kills (worker, at) VALUES (%s, %s)", [one.worker, one.at]
        )

    def _restart_redis(self) -> None:
        self.valkey.kill()
        self.valkey.start()
        self.restarts += 1

    async def _is_idle(self) -> bool:
        counts = await self._counts()
        return not any(counts.get(state) for state in ("waiting", "active", "delayed"))

    async def _counts(self) -> dict[str, Any]:
        while True:
            with contextlib.suppress(Unavailable):  # its connection is from before the last kill
                return (await self.queues.counts())[QUEUE]
            await asyncio.sleep(LOOK_EVERY)


async def _never(_: Work) -> None:
    """Whoever adds jobs runs none."""


_JOB = drill_job(_never)


class _SoFar(msgspec.Struct, frozen=True):
    begun: int = 0
    effects: int = 0


class _Busy(msgspec.Struct, frozen=True):
    worker: str
    at: datetime


class _Figures(msgspec.Struct, frozen=True):
    effects: int
    duplicated: int
    ran_again: int
    recovered: int
    kills_in_mid_job: int
    longest_recovery_seconds: float


_FIGURES = """
WITH interrupted AS (
    SELECT runs.job, kills.at AS killed_at, (
        SELECT min(later.began_at) FROM drill_runs AS later
        WHERE later.job = runs.job AND later.id > runs.id
    ) AS again_at
    FROM drill_runs AS runs JOIN drill_kills AS kills USING (worker)
)
SELECT
    (SELECT count(DISTINCT job) FROM drill_effects) AS effects,
    (SELECT count(*) - count(DISTINCT job) FROM drill_effects) AS duplicated,
    (SELECT count(*) FROM (SELECT FROM drill_runs GROUP BY job HAVING count(*) > 1) AS again) AS ran_again,
    (SELECT count(DISTINCT job) FROM interrupted WHERE again_at IS NOT NULL) AS recovered,
    (
        SELECT count(DISTINCT worker) FROM drill_kills JOIN drill_runs USING (worker) WHERE ended_at IS NULL
    ) AS kills_in_mid_job,
    (
        SELECT coalesce(extract(epoch FROM max(again_at - killed_at)), 0)::float8 FROM interrupted
    ) AS longest_recovery_seconds
"""


def _due(faults: int, begun: int, jobs: int) -> int:
    """How many of so many faults are due by now, spread evenly over the jobs."""
    return min(faults, begun * (faults + 1) // jobs)


def upper_bound(lost: int, of: int) -> float:
    """The highest share of loss that what was seen does not make improbable (Clopper and Pearson)."""
    if lost >= of:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(60):
        share = (low + high) / 2
        low, high = (share, high) if _at_most(lost, of, share) > 1 - CONFIDENCE else (low, share)
    return high


def _at_most(lost: int, of: int, share: float) -> float:
    """How probable it is that so many or fewer are lost, each with the probability `share`."""
    return sum(
        math.exp(
            math.lgamma(of + 1)
            - math.lgamma(n + 1)
            - math.lgamma(of - n + 1)
            + n * math.log(share)
            + (of - n) * math.log1p(-share)
        )
        for n in range(lost + 1)
    )


def _percent(share: float) -> str:
    return f"≤ {share * 100:.2g} %"

"""What a job declares of itself, and what one that runs is told and may say."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from muster.platform.queue.reports import Reports
from muster.platform.redis import QUEUE

PREFIX = QUEUE.removesuffix(":")
KEEP_COMPLETED = {"age": 24 * 3600, "count": 500}
KEEP_FAILED = {"age": 7 * 24 * 3600, "count": 1000}
KEEP_LOGS = 200
JITTER = 0.2
"""The part of a wait that is left to chance, so that what failed together does not come back together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a running job is told: which it is, and the request that asked for it, if one did.

    What it says of how far it is goes to whoever looks at the job; saying it costs nothing.
    """

    job_id: str
    attempt: int
    request_id: str
    trace: str = ""
    reports: Reports | None = None

    def progress(self, done: int, of: int | None, words: str) -> None:
        """`of` is None while nobody knows how much there is."""
        if self.reports:
            self.reports.progress(done, of, words)

    def log(self, line: str) -> None:
        """A line that people read beside the job; never a secret."""
        if self.reports:
            self.reports.log(line)


Run = Callable[[Work], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Cron:
    """A schedule by the clock on the wall of `zone`, right also on the days when clocks are changed."""

    pattern: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        try:
            zone = ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{self.zone!r} is no time zone") from error
        try:
            CronSim(self.pattern, datetime.now(zone))
        except CronSimError as error:
            raise ValueError(f"{self.pattern!r} is no cron pattern: {error}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Something the workers do. Running it twice must be the same as running it once.

    `deadline` ends a run that takes too long; a run that fails is tried `attempts` times in all,
    waiting `backoff`, then twice that, and so on, each a little less by chance. It runs `every` so
    often or by `cron`; a new schedule, as after Redis has lost all, runs at once, or `first_after`.
    No more than `at_once` run at a time over all workers: a nudge then waits for its turn, a turn
    of the clock is left out. `idempotent` and `shows` are for people: why twice does no harm, and
    what its progress counts.
    """

    name: str
    queue: str
    run: Run
    deadline: timedelta
    every: timedelta | None = None
    cron: Cron | None = None
    first_after: timedelta | None = None
    attempts: int = 3
    backoff: timedelta = timedelta(seconds=5)
    at_once: int | None = None
    idempotent: str = ""
    shows: str = ""

    def __post_init__(self) -> None:
        if self.every and self.cron:
            raise ValueError(f"{self.name} has two schedules")

    @property
    def is_scheduled(self) -> bool:
        return bool(self.every or self.cron)

    def options(self) -> dict[str, Any]:
        return {
            "attempts": self.attempts,
            "backoff": {"type": "exponential", "delay": milliseconds(self.backoff), "jitter": JITTER},
            "removeOnComplete": KEEP_COMPLETED,
            "removeOnFail": KEEP_FAILED,
            "keepLogs": KEEP_LOGS,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueSpec:
    """A queue of ours and how many of its jobs may run at once over all workers together."""

    name: str
    at_once: int


QUEUES = (
    QueueSpec(name="people", at_once=4),
    QueueSpec(name="crm", at_once=4),
    QueueSpec(name="upkeep", at_once=4),
)


def queue_key(queue: str, name: str = "") -> str:
    """Where BullMQ keeps what of a queue: `active`, a job by its id, or what all of them begin with."""
    return f"{QUEUE}{queue}:{name}"


def milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)

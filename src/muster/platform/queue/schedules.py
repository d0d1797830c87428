"""When a schedule's next turn is.

BullMQ's own reckoning goes through croniter 2.0, which is wrong on the days when clocks are changed:
`0 9 * * 1-5` in Berlin ran at 08:00 and at 09:00 on 30 March 2026. A worker reckons the turn after the one it
takes, so both sides have to be told.
"""

import time
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from bullmq.job_scheduler import JobScheduler, default_repeat_strategy
from cronsim import CronSim, CronSimError

from muster.platform.queue.job import Job, milliseconds


def next_turn(after: int, repeat: dict[str, Any]) -> int | None:
    """In milliseconds since 1970, as is `after`; None where there is no pattern."""
    pattern = repeat.get("pattern")
    if not pattern:
        return None
    if repeat.get("immediately"):
        return int(time.time() * 1000)
    start = max(after, int(repeat.get("startDate") or 0))
    zone = ZoneInfo(str(repeat.get("tz") or "UTC"))
    try:
        turn = next(CronSim(str(pattern), datetime.fromtimestamp(start / 1000, zone)))
    except CronSimError:  # another tool's, such as @daily
        other: int | None = default_repeat_strategy(after, repeat)
        return other
    return int(turn.astimezone(UTC).timestamp() * 1000)


def reckon(side: Any) -> None:
    """Have a queue or a worker of BullMQ's reckon so."""
    side._job_scheduler = JobScheduler(side, repeat_strategy=next_turn)  # noqa: SLF001  there is no option for it


def repeat_of(job: Job) -> dict[str, Any]:
    """A job's schedule in BullMQ's words, as it is begun: at once, or as the job says."""
    if job.cron:
        return {"pattern": job.cron.pattern, "tz": job.cron.zone, "immediately": True}
    if job.every is None:
        raise LookupError(f"{job.name} has no schedule")
    repeat: dict[str, Any] = {"every": milliseconds(job.every)}
    if job.first_after:
        repeat["startDate"] = int(time.time() * 1000) + milliseconds(job.first_after)
    return repeat


def is_as_declared(found: dict[str, Any], job: Job) -> bool:
    cron = (job.cron.pattern, job.cron.zone) if job.cron else (None, None)
    every = milliseconds(job.every) if job.every else None
    return (
        (found.get("pattern"), found.get("tz")) == cron
        and found.get("every") == every
        and found.get("template", {}).get("opts") == job.options()
    )

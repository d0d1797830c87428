"""The asking side: nudges, schedules, figures."""

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from bullmq import Queue as BullQueue

from muster.platform import redis
from muster.platform.queue.job import PREFIX, QUEUES, Job
from muster.platform.queue.schedules import is_as_declared, reckon, repeat_of

STATES = ("waiting", "active", "delayed", "failed", "paused", "prioritized")
_OVER = {"completed", "failed", "unknown"}
_DECLARED = f"{redis.QUEUE}schedules"


class _Declared(msgspec.Struct, frozen=True):
    """Whose schedules are in place: those of the release whose worker began last."""

    schedules: str
    since: float


class Queues:
    """Fails within about two seconds when Redis is away."""

    def __init__(self, redis_url: str) -> None:
        self._client = redis.connect_for_adding(redis_url)
        self._queues = {
            spec.name: BullQueue(spec.name, {"connection": self._client, "prefix": PREFIX}) for spec in QUEUES
        }
        for queue in self._queues.values():
            reckon(queue)

    async def close(self) -> None:
        await self._client.aclose()

    async def nudge(self, job: Job, *, request_id: str = "") -> None:
        """Have `job` run soon. While it waits, further nudges join it; one that comes while it runs
        is kept until it ends, so nothing that changed meanwhile is missed.
        """
        options = {**job.options(), "deduplication": {"id": job.name, "keepLastIfActive": True}}
        with redis.answering():
            await self._queues[job.queue].add(job.name, {"request_id": request_id}, options)

    async def add_once(self, job: Job, job_id: str) -> None:
        """Have `job` run as `job_id`; a second one of that id is not added. Ids hold no colon."""
        with redis.answering():
            await self._queues[job.queue].add(job.name, {}, {**job.options(), "jobId": job_id})

    async def state(self, job: Job, job_id: str) -> str:
        """BullMQ's word for where the job is: waiting, active, completed, failed, …"""
        with redis.answering():
            return str(await self._queues[job.queue].getJobState(job_id))

    async def remove(self, job: Job, job_id: str) -> None:
        with redis.answering():
            await self._queues[job.queue].remove(job_id)

    async def counts(self) -> dict[str, dict[str, int]]:
        """Queue → state → number of jobs."""
        with redis.answering():
            return {
                name: {state: int(n) for state, n in (await queue.getJobCounts(*STATES)).items()}
                for name, queue in self._queues.items()
            }

    async def schedule(self, jobs: Sequence[Job], *, since: float | None = None) -> int:
        """Make BullMQ's schedules those of `jobs`, and remove those of jobs that are no more; how many
        had to be put in place.

        `since` is when whoever asks began: while two releases work side by side, the one that began last
        decides. To be asked now and then: a Redis that lost all has lost the schedules too, and one whose
        next turn could not be put down has ended.
        """
        mine = _Declared(_fingerprint(jobs), since or time.time())
        with redis.answering():
            if await self._is_for_another(mine):
                return 0
            return sum([await self._put_in_place(spec.name, spec.at_once, jobs) for spec in QUEUES])

    async def scheduled(self) -> dict[str, int]:
        """Job name → when it runs next, in milliseconds since 1970."""
        with redis.answering():
            found = [one for queue in self._queues.values() for one in await queue.getJobSchedulers()]
        return {one["key"]: int(one.get("next") or 0) for one in found}

    async def _is_for_another(self, mine: _Declared) -> bool:
        held = await self._client.get(_DECLARED)
        there = msgspec.json.decode(held, type=_Declared) if held else None
        if there and there.schedules == mine.schedules:
            return False
        if there and there.since > mine.since:
            return True
        await self._client.set(_DECLARED, msgspec.json.encode(mine))
        return False

    async def _put_in_place(self, queue_name: str, at_once: int, jobs: Sequence[Job]) -> int:
        queue = self._queues[queue_name]
        await queue.setGlobalConcurrency(at_once)
        wanted = {job.name: job for job in jobs if job.queue == queue_name and job.is_scheduled}
        known = {found["key"]: found for found in await queue.getJobSchedulers()}
        for name in known.keys() - wanted.keys():
            await queue.removeJobScheduler(name)
        amiss = [job for job in wanted.values() if not await _goes_on(queue, known.get(job.name), job)]
        for job in amiss:
            if job.name in known and is_as_declared(known[job.name], job):
                await queue.removeJobScheduler(job.name)  # or it would go on a turn later than it should
            await queue.upsertJobScheduler(job.name, repeat_of(job), job.name, {}, job.options())
        return len(amiss)


async def _goes_on(queue: Any, found: dict[str, Any] | None, job: Job) -> bool:
    """Whether the schedule is the job's, and its next turn is there."""
    while found and is_as_declared(found, job):
        turn = found.get("next")
        if await queue.getJobState(f"repeat:{job.name}:{turn}") not in _OVER:
            return True
        found = await queue.getJobScheduler(job.name)
        if found and found.get("next") == turn:  # or a worker has taken the turn just now
            return False
    return False


def _fingerprint(jobs: Sequence[Job]) -> str:
    schedules = sorted(
        (job.name, job.queue, str(job.every), str(job.cron), str(job.options()))
        for job in jobs
        if job.is_scheduled
    )
    return hashlib.sha256(msgspec.json.encode(schedules)).hexdigest()[:16]

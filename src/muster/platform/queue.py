"""The one door to BullMQ: declare a job, nudge it, run it.

Keys begin with `queue:`, so any BullMQ tool of any language reads and feeds them. A job takes no
input that is the only copy of a fact: it compares what is with what should be, on a schedule and
when nudged, so that a lost nudge costs minutes and a doubled one nothing. What BullMQ's Python
package gets wrong by itself is put right here once (docs/decisions/0004-bullmq.md).
"""

import asyncio
import base64
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

from bullmq import Queue as BullQueue
from bullmq import Worker as BullWorker
from bullmq.custom_errors import DelayedError, UnrecoverableError
from typing_extensions import override

from muster.errors import Refusal, VendorRefused
from muster.platform import redis
from muster.platform.prometheus import JOB_RETRIES, JOB_RUNS, JOB_SECONDS, JOBS_STALLED
from muster.platform.telemetry import begin, logger

PREFIX = redis.QUEUE.removesuffix(":")
KEEP_COMPLETED = {"age": 24 * 3600, "count": 500}
KEEP_FAILED = {"age": 7 * 24 * 3600, "count": 1000}
COMPLAIN_EVERY = 10.0
STATES = ("waiting", "active", "delayed", "failed", "paused", "prioritized")

LOST_AFTER = timedelta(seconds=15)
"""A worker that has not renewed its hold on a job for so long has lost it, and another starts it again
within ten seconds more. A handler that blocks the event loop for longer would see its job run twice.
"""

_ANSWERS_WITHIN = 5.0
"""Seconds in which Redis answers, if it is there, when a worker that stops settles its last jobs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a running job is told: which it is, and the request that asked for it, if one did."""

    job_id: str
    attempt: int
    request_id: str


Run = Callable[[Work], Awaitable[None]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """Something the workers do. Running it twice must be the same as running it once.

    `deadline` ends a run that takes too long; a run that fails is tried `attempts` times in all,
    waiting `backoff`, then twice that, and so on. A new schedule runs at once, or `first_after`.
    """

    name: str
    queue: str
    run: Run
    deadline: timedelta
    every: timedelta | None = None
    first_after: timedelta | None = None
    attempts: int = 3
    backoff: timedelta = timedelta(seconds=5)

    def options(self) -> dict[str, Any]:
        return {
            "attempts": self.attempts,
            "backoff": {"type": "exponential", "delay": _ms(self.backoff)},
            "removeOnComplete": KEEP_COMPLETED,
            "removeOnFail": KEEP_FAILED,
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


class Queues:
    """The asking side: nudges, schedules, figures. Fails within about two seconds when Redis is away."""

    def __init__(self, redis_url: str) -> None:
        self._client = redis.connect_for_adding(redis_url)
        self._queues = {
            spec.name: BullQueue(spec.name, {"connection": self._client, "prefix": PREFIX}) for spec in QUEUES
        }

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

    async def ages(self) -> dict[str, float]:
        """Queue → seconds since the job that waits for longest was added, 0 where none waits."""
        with redis.answering():
            return {name: await _age_of_oldest(queue) for name, queue in self._queues.items()}

    async def schedule(self, jobs: Sequence[Job]) -> None:
        """Make BullMQ's schedules those of `jobs`; ones of jobs that are no more are removed."""
        with redis.answering():
            for spec in QUEUES:
                queue = self._queues[spec.name]
                await queue.setGlobalConcurrency(spec.at_once)
                scheduled = {
                    job.name: (job, job.every) for job in jobs if job.queue == spec.name and job.every
                }
                known = {found["key"] for found in await queue.getJobSchedulers()}
                for name in known - scheduled.keys():
                    await queue.removeJobScheduler(name)
                for job, every in scheduled.values():
                    repeat = {"every": _ms(every)}
                    if job.first_after and job.name not in known:
                        repeat["startDate"] = int(time.time() * 1000) + _ms(job.first_after)
                    await queue.upsertJobScheduler(job.name, repeat, job.name, {}, job.options())

    async def scheduled(self) -> dict[str, int]:
        """Job name → when it runs next, in milliseconds since 1970."""
        with redis.answering():
            found = [one for queue in self._queues.values() for one in await queue.getJobSchedulers()]
        return {one["key"]: int(one.get("next") or 0) for one in found}


async def _age_of_oldest(queue: Any) -> float:
    """Of those whose turn it is, of any priority: what is delayed on purpose does not wait."""
    waiting = await queue.getJobs(["wait", "prioritized"], 0, 0, asc=True)
    due = [_due_ms(job) for job in waiting if job]
    return max(0.0, time.time() - min(due) / 1000) if due else 0.0


def _due_ms(job: Any) -> int:
    """A scheduled run is added when the one before it begins, and has its own time in its id."""
    _, _, at = str(job.id).rpartition(":")
    return int(at if str(job.id).startswith("repeat:") and at.isdigit() else job.timestamp)


class _BullWorker(BullWorker):  # type: ignore[misc]  # it ships no types
    """BullMQ's worker, which by itself forgets a job that reaches it at the moment it is closed.

    Paused, it takes no job, gives back what Redis had already handed over, and goes on renewing its
    hold on those that run. `in_hand` counts what is asked for or not yet settled.
    """

    in_hand = 0

    @override
    async def getNextJob(self, token: str) -> Any:
        if self.paused:
            return None
        self.in_hand += 1
        job = None
        try:
            job = await super().getNextJob(token)
            if job is not None and self.paused:
                await _put_back(job, token)
                job = None
        finally:
            if job is None:
                self.in_hand -= 1
        return job

    @override
    async def processJob(self, job: Any, token: str) -> None:
        try:
            await super().processJob(job, token)
        finally:
            self.in_hand -= 1


class Worker:
    """The doing side: takes jobs of the named queues until `drain`."""

    def __init__(
        self,
        redis_url: str,
        jobs: Sequence[Job],
        *,
        queues: Sequence[str],
        concurrency: int,
        name: str,
        lost_after: timedelta = LOST_AFTER,
    ) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._running: set[asyncio.Task[None]] = set()
        self._draining = False
        # One for each queue: BullMQ closes a client with its worker, and another may still be finishing.
        self._clients = [redis.connect_patiently(redis_url) for _ in queues]
        self._workers = [
            self._bull_worker(client, queue, concurrency, name, lost_after)
            for client, queue in zip(self._clients, queues, strict=True)
        ]
        self._loops: list[asyncio.Task[None]] = []

    @property
    def running(self) -> int:
        return len(self._running)

    async def start(self) -> None:
        """Begin taking jobs. Waits for Redis if it is away."""
        for worker in self._workers:
            # BullMQ rounds its waits up to whole seconds until it knows the server's version.
            await worker.blockingRedisConnection.getRedisVersion()
            self._loops.append(asyncio.create_task(worker.run()))

    async def watch(self) -> NoReturn:
        """Wait until what takes the jobs ends though nobody asked it to, and raise what ended it."""
        ended, _ = await asyncio.wait(self._loops, return_when=asyncio.FIRST_COMPLETED)
        for loop in ended:
            loop.result()
        raise RuntimeError("BullMQ's worker has ended by itself")

    async def drain(self, deadline: timedelta) -> int:
        """Take no new job, finish those running, put back what `deadline` overtakes.

        Returns how many were put back; another worker starts them again at once.
        """
        self._draining = True
        for worker in self._workers:
            await worker.pause(do_not_wait_active=True)
        if self._running:
            await asyncio.wait(self._running, timeout=deadline.total_seconds())
        overtaken = list(self._running)
        for task in overtaken:
            task.cancel()
        await self._settle()
        # If Redis is away, jobs stay active there, and stalled recovery gives them to another worker.
        closing = [asyncio.ensure_future(worker.close(force=True)) for worker in self._workers]
        await asyncio.wait(closing, timeout=_ANSWERS_WITHIN)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        for client in self._clients:
            # BullMQ closes the client but leaves the connection on which it was waiting for a job.
            await client.connection_pool.disconnect(inuse_connections=True)
        return len(overtaken)

    async def _settle(self) -> None:
        """Wait until Redis has been told the fate of every job, for as long as it may need to answer."""
        latest = time.monotonic() + _ANSWERS_WITHIN
        while any(worker.in_hand for worker in self._workers) and time.monotonic() < latest:  # noqa: ASYNC110  each worker counts its own
            await asyncio.sleep(0.01)

    def _bull_worker(
        self, client: redis.Redis, queue: str, concurrency: int, name: str, lost_after: timedelta
    ) -> _BullWorker:
        worker = _BullWorker(
            queue,
            self._process,
            {
                "connection": client,
                "prefix": PREFIX,
                "autorun": False,
                "concurrency": concurrency,
                "lockDuration": _ms(lost_after),
                "stalledInterval": _ms(lost_after / 3),
                "runRetryDelay": 1000,
                "name": name,
            },
        )
        # The form by which Node's getWorkers() and Bull Board know a worker.
        worker.clientName = f"{PREFIX}:{base64.b64encode(queue.encode()).decode()}:w:{name}"
        worker.on("error", _Complaints(queue))
        worker.on("stalled", lambda job_id, *_: _stalled(queue, job_id))
        return worker

    async def _process(self, bull_job: Any, token: str) -> None:
        """BullMQ's handler: translates our errors into the fate of the job.

        VendorRefused and Refusal fail it for good, anything else is tried again with back-off.
        """
        if self._draining:
            await _put_back(bull_job, token)
            raise DelayedError("put back: its worker is stopping")
        job = self._jobs.get(bull_job.name)
        if job is None:
            raise UnrecoverableError(f"no job is named {bull_job.name!r}")
        work = Work(
            job_id=str(bull_job.id),
            attempt=bull_job.attemptsMade + 1,
            request_id=str((bull_job.data or {}).get("request_id", "")),
        )
        task = asyncio.create_task(_run(job, work))
        self._running.add(task)
        try:
            await task
        except asyncio.CancelledError:
            if self._draining:
                await _put_back(bull_job, token)
                raise DelayedError("put back: its worker is stopping") from None
            if (current := asyncio.current_task()) and current.cancelling():
                raise
            # Left as it is, it would end BullMQ's own loop and the worker would take no more jobs.
            raise RuntimeError(f"{job.name} was cancelled from within") from None
        except (Refusal, VendorRefused) as error:
            raise UnrecoverableError(str(error)) from error
        finally:
            self._running.discard(task)


async def _put_back(bull_job: Any, token: str) -> None:
    """Have another worker start the job at once; it does not count as an attempt."""
    await bull_job.moveToDelayed(int(time.time() * 1000), token)


class _Complaints:
    """Logs what a queue's loop complains of; while Redis refuses, it complains ten times a second."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._said: dict[str, float] = {}

    def __call__(self, error: object, *_: object) -> None:
        words, now = str(error), time.monotonic()
        if now - self._said.get(words, -COMPLAIN_EVERY) < COMPLAIN_EVERY:
            return
        self._said = {words: now}
        logger.warning("queue_error", queue=self._queue, error=words)


def _stalled(queue: str, job_id: str) -> None:
    JOBS_STALLED.labels(queue).inc()
    logger.warning("job_stalled", queue=queue, jobId=job_id)


async def _run(job: Job, work: Work) -> None:
    """One run under its deadline, counted, with one log line at its end."""
    if work.attempt > 1:
        JOB_RETRIES.labels(job.name).inc()
    started, outcome = time.perf_counter(), "cut off"
    try:
        await _run_logged(job, work)
        outcome = "finished"
    except Exception as error:
        outcome = "refused" if isinstance(error, Refusal | VendorRefused) else "failed"
        raise
    finally:
        JOB_RUNS.labels(job.name, outcome).inc()
        JOB_SECONDS.labels(job.name).observe(time.perf_counter() - started)


async def _run_logged(job: Job, work: Work) -> None:
    asked = {"reqId": work.request_id} if work.request_id else {}
    effort = begin(job=job.name, jobId=work.job_id, **asked)
    started = time.perf_counter()
    limit = asyncio.timeout(job.deadline.total_seconds())
    try:
        async with limit:
            await job.run(work)
    except Exception as error:
        logger.exception("job_failed", attempt=work.attempt, ms=_since(started), **effort.told())
        if limit.expired():
            raise RuntimeError(f"{job.name} took longer than {job.deadline}") from error
        raise
    logger.info("job_finished", attempt=work.attempt, ms=_since(started), **effort.told())


def _since(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)

"""The doing side: takes jobs, runs them under their deadlines, and loses none when it ends."""

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from bullmq.custom_errors import DelayedError, UnrecoverableError

from muster.errors import Refusal, VendorRefused
from muster.platform import redis
from muster.platform.prometheus import JOB_RETRIES, JOB_RUNS, JOB_SECONDS, JOBS_STALLED
from muster.platform.queue.job import PREFIX, Job, Work, milliseconds, queue_key
from muster.platform.queue.locks import Locks
from muster.platform.queue.reports import Reports
from muster.platform.queue.schedules import reckon
from muster.platform.queue.taking import BullWorker, put_back
from muster.platform.telemetry import begin, logger
from muster.platform.tracing import span

COMPLAIN_EVERY = 10.0

LOST_AFTER = timedelta(seconds=15)
"""A worker that has not renewed its hold on a job for so long has lost it, and another starts it again
within ten seconds more.
"""

MAY_STALL = 5
"""How often a job may lose its worker: one that was there each time may be what kills them."""

TURN_LOOKED_AT = timedelta(seconds=1)
"""How soon a job of which enough run already looks whether it is its turn."""

METRICS_KEPT = 7 * 24 * 60
"""For so many minutes BullMQ keeps how many jobs were done in each."""

_ANSWERS_WITHIN = 5.0
"""Seconds in which Redis answers, if it is there, when a worker that stops settles its last jobs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A job as it runs."""

    queue: str
    name: str
    job_id: str
    since: datetime


class Worker:
    """Takes jobs of the named queues until `drain`: of each so many at once, of all or by queue."""

    def __init__(
        self,
        redis_url: str,
        jobs: Sequence[Job],
        *,
        queues: Sequence[str],
        concurrency: int | Mapping[str, int],
        name: str,
        lost_after: timedelta = LOST_AFTER,
    ) -> None:
        self._redis_url = redis_url
        self._jobs = {job.name: job for job in jobs}
        self._running: dict[asyncio.Task[None], Running] = {}
        self._draining = False
        # One for each queue: BullMQ closes a client with its worker, and another may still be finishing.
        self._clients = [redis.connect_patiently(redis_url) for _ in queues]
        self._workers = [
            self._bull_worker(
                client,
                queue,
                concurrency if isinstance(concurrency, int) else concurrency[queue],
                name,
                lost_after,
            )
            for client, queue in zip(self._clients, queues, strict=True)
        ]
        self._may_run = {
            worker.name: client.register_script(_IS_ITS_TURN)
            for client, worker in zip(self._clients, self._workers, strict=True)
        }
        self._loops: list[asyncio.Task[None]] = []

    @property
    def running(self) -> Sequence[Running]:
        return list(self._running.values())

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
    ) -> BullWorker:
        worker = BullWorker(
            queue,
            self._process,
            {
                "connection": client,
                "prefix": PREFIX,
                "autorun": False,
                "concurrency": concurrency,
                "lockDuration": milliseconds(lost_after),
                "stalledInterval": milliseconds(lost_after / 3),
                "maxStalledCount": MAY_STALL,
                "metrics": {"maxDataPoints": METRICS_KEPT},
                "runRetryDelay": 1000,
                "name": name,
            },
        )
        reckon(worker)
        worker.lockManager = Locks(self._redis_url, queue, last=lost_after)
        # The form by which Node's getWorkers() and Bull Board know a worker.
        worker.clientName = f"{PREFIX}:{base64.b64encode(queue.encode()).decode()}:w:{name}"
        worker.on("error", _Complaints(queue))
        worker.on("stalled", lambda job_id, *_: _stalled(queue, job_id))
        return worker

    async def _process(self, bull_job: Any, token: str) -> str | None:
        """BullMQ's handler: translates our errors into the fate of the job, and says if it left it out.

        VendorRefused and Refusal fail it for good, anything else is tried again with back-off.
        """
        if self._draining:
            await put_back(bull_job, token)
            raise DelayedError("put back: its worker is stopping")
        if bull_job.deferredFailure:  # it has lost its worker too often
            raise UnrecoverableError(bull_job.deferredFailure)
        job = self._jobs.get(bull_job.name)
        if job is None:
            raise UnrecoverableError(f"no job is named {bull_job.name!r}")
        if job.at_once and not await self._is_its_turn(bull_job, job.at_once):
            if bull_job.repeatJobKey:  # or turns would pile up behind one that takes long
                return "left out: the one before still ran"
            await put_back(bull_job, token, wait_ms=milliseconds(TURN_LOOKED_AT))
            raise DelayedError("put back: it is not its turn")
        reports = Reports(bull_job)
        work = Work(
            job_id=str(bull_job.id),
            attempt=bull_job.attemptsMade + 1,
            request_id=str((bull_job.data or {}).get("request_id", "")),
            trace=str((bull_job.data or {}).get("traceparent", "")),
            reports=reports,
        )
        task = asyncio.create_task(_run(job, work))
        self._running[task] = Running(
            queue=bull_job.queue.name, name=job.name, job_id=work.job_id, since=datetime.now(UTC)
        )
        try:
            await task
        except asyncio.CancelledError:
            if self._draining:
                await put_back(bull_job, token)
                raise DelayedError("put back: its worker is stopping") from None
            if (current := asyncio.current_task()) and current.cancelling():
                raise
            # Left as it is, it would end BullMQ's own loop and the worker would take no more jobs.
            raise RuntimeError(f"{job.name} was cancelled from within") from None
        except (Refusal, VendorRefused) as error:
            raise UnrecoverableError(str(error)) from error
        finally:
            del self._running[task]
            await reports.close()
        return None

    async def _is_its_turn(self, bull_job: Any, at_once: int) -> bool:
        """Whether fewer than `at_once` of its name were taken before it, and not yet settled."""
        queue: str = bull_job.queue.name
        return bool(
            await self._may_run[queue](
                keys=[queue_key(queue, "active")],
                args=[queue_key(queue), bull_job.id, bull_job.name, at_once],
            )
        )


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
        with span(job.name, "consumer", continuing=work.trace, muster__job_id=work.job_id):
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


_IS_ITS_TURN = """
local mine, name, at_once = ARGV[2], ARGV[3], tonumber(ARGV[4])
local ids = redis.call('LRANGE', KEYS[1], 0, -1)
local before = 0
for i = #ids, 1, -1 do
    if ids[i] == mine then break end
    if redis.call('HGET', ARGV[1] .. ids[i], 'name') == name then before = before + 1 end
end
return before < at_once and 1 or 0
"""
"""BullMQ puts what is taken at the head of the list of those that are active, so what was taken before is
nearer to its end. One whose worker was killed is among them until it is recovered.
"""

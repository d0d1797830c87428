"""BullMQ's worker with what it lacks beside Node's, and what it gets wrong, put right."""

import asyncio
import random
import time
from typing import Any

from bullmq import Worker as BullMQWorker
from bullmq.custom_errors import DelayedError, WaitingChildrenError
from typing_extensions import override

LIMIT_LOOKED_AT = 10.0


class BullWorker(BullMQWorker):  # type: ignore[misc]  # it ships no types
    """Completing a job brings the next one in the same trip; a rate limit set by any tool is waited for.

    BullMQ's forgets a job that reaches it at the moment it is closed. Paused, this one takes no job,
    gives back what Redis had already handed over, and goes on holding those that run. `in_hand` counts
    what is asked for or not yet settled.
    """

    in_hand = 0
    _asked: asyncio.Future[None] | None = None
    limitUntil: int  # noqa: N815  BullMQ's

    @override
    async def getNextJob(self, token: str) -> Any:
        if self._asked:
            # As in Node one slot asks at a time: all at once would keep the job that came waiting.
            await asyncio.wait({self._asked})
            return None
        if self.paused:
            return None
        self.in_hand += 1
        self._asked = asked = asyncio.get_running_loop().create_future()
        job = None
        try:
            job = await self._or_back(await super().getNextJob(token), token)
        finally:
            self._asked = None
            asked.set_result(None)
            if job is None:
                self.in_hand -= 1
        return job

    @override
    async def waitForJob(self) -> int:
        if not self.limitUntil:
            return int(await super().waitForJob())
        await asyncio.sleep(min(self.limitUntil / 1000, LIMIT_LOOKED_AT))  # it is how long it still lasts
        self.limitUntil = 0
        return 0

    @override
    async def processJob(self, job: Any, token: str) -> None:
        try:
            while job is not None:
                job = await self._settle(job, token)
        finally:
            self.in_hand -= 1

    async def _settle(self, job: Any, token: str) -> Any:
        """Run a job and tell Redis its fate; the job that came in its place."""
        self.lockManager.track_job(job.id, token)
        try:
            try:
                said = await self.processor(job, token)
            except (DelayedError, WaitingChildrenError):
                return None
            except Exception as error:  # noqa: BLE001  the handler's, whatever it is
                await self._fail(job, token, error)
                return None
            return await self._complete(job, token, said)
        finally:
            self.lockManager.untrack_job(job.id)

    async def _complete(self, job: Any, token: str, said: Any) -> Any:
        if self.forceClosing:
            return None
        keep = job.opts.get("removeOnComplete", False)
        try:
            moved = await self.backend.moveToCompleted(
                job, said, keep, token, fetch_next=not (self.closing or self.paused)
            )
        except TypeError as error:  # its lock was lost, and another worker has it: that one completes it
            self.emit("error", error, job)
            return None
        fetched, job_id, limit_until, delay_until = moved["result"] or [None] * 4
        next_job = await self.nextJobFromJobData(fetched, job_id, limit_until or 0, delay_until or 0, token)
        return await self._or_back(next_job, token)

    async def _fail(self, job: Any, token: str, error: Exception) -> None:
        """To be called where the error is handled: BullMQ keeps what Python calls the current traceback."""
        if self.forceClosing:
            return
        _leave_to_chance(job)
        try:
            await job.moveToFailed(error, token)
        except TypeError as lost:
            self.emit("error", lost, job)

    async def _or_back(self, job: Any, token: str) -> Any:
        """The job, or None if the worker was paused meanwhile and has given it back."""
        if job is not None and self.paused:
            await put_back(job, token)
            return None
        return job


def _leave_to_chance(job: Any) -> None:
    """Do what Node does with `jitter`, of which Python's package knows nothing."""
    backoff = job.opts.get("backoff") or {}
    jitter = backoff.get("jitter") or 0
    if jitter:
        share = 1 - jitter * random.random()  # noqa: S311  nobody gains by foreseeing it
        job.opts["backoff"] = {**backoff, "delay": int(backoff.get("delay", 0) * share)}


async def put_back(bull_job: Any, token: str, *, wait_ms: int = 0) -> None:
    """Have another worker start the job, at once or after a while; it does not count as an attempt."""
    await bull_job.moveToDelayed(int(time.time() * 1000) + wait_ms, token)

"""Acting on the queues by hand, through BullMQ's own scripts: retry, discard, pause, run now.

The second door to BullMQ beside `platform/queue/`: it acts on any job, whoever put it there.
"""

import asyncio
from typing import Any

import msgspec
from bullmq import Queue as BullQueue
from bullmq.job import Job as BullJob

from muster.errors import Conflict, NotFound
from muster.platform import redis
from muster.platform.queue import PREFIX, QUEUES
from muster.platform.queue_view import Brief, QueueView, Whole, base_key, decoded
from muster.platform.redis import Redis

RETRIED_AT_ONCE = 1_000
"""Jobs that one request retries, which takes about a second; whoever has more asks again."""

_SIDE_BY_SIDE = 25
_RETRIED_FROM = ("failed", "completed")
_WORDS = {
    "active": "is running",
    "waiting": "waits for its turn already",
    "prioritized": "waits for its turn already",
    "delayed": "is put off until its time comes",
    "waiting-children": "waits for other jobs",
    "completed": "is done",
    "failed": "has failed",
}


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """How many failed jobs were put back, and how many are left that more requests would."""

    retried: int
    left: int


class QueueDesk:
    def __init__(self, redis_url: str, client: Redis) -> None:
        self.view = QueueView(client)
        self._keys = client.register_script(_TEMPLATE)
        self._client = redis.connect_for_adding(redis_url)
        self._queues = {
            spec.name: BullQueue(spec.name, {"connection": self._client, "prefix": PREFIX}) for spec in QUEUES
        }

    async def close(self) -> None:
        await self._client.aclose()

    def check(self, queue: str) -> str:
        """Raises NotFound for a queue that is none of ours."""
        if queue not in self._queues:
            raise NotFound("There is no such queue.")
        return queue

    async def get(self, queue: str, job_id: str) -> Whole:
        """Raises NotFound."""
        job = await self.view.find_job(queue, job_id, await self._state(queue, job_id))
        if job is None:
            raise NotFound("There is no such job any more.")
        return job

    async def retry(self, queue: str, job_id: str) -> Brief:
        """Have a job that has failed, or is done, wait for its turn again, with all its attempts.

        Gives the job as it was. Raises NotFound, and Conflict for one in any other state.
        """
        before = (await self.get(queue, job_id)).brief
        if before.state not in _RETRIED_FROM or not await self._put_back(queue, job_id, before.state):
            state = await self._state(queue, job_id)
            raise Conflict(
                f"Only a job that has failed or is done can be run again; this one {_WORDS[state]}."
            )
        return before

    async def retry_failed(self, queue: str, *, name: str = "") -> Retried:
        """Put back the failed jobs of `queue`, or those with `name` in theirs, the last to fail first."""
        found = await self.view.find(self.check(queue), "failed", name=name, limit=RETRIED_AT_ONCE)
        retried = 0
        for start in range(0, len(found.jobs), _SIDE_BY_SIDE):
            some = found.jobs[start : start + _SIDE_BY_SIDE]
            done = await asyncio.gather(*(self._put_back(queue, job.id, "failed") for job in some))
            retried += sum(done)
        return Retried(retried=retried, left=found.matching - len(found.jobs))

    async def discard(self, queue: str, job_id: str) -> Brief:
        """Remove a job with all that is kept of it, and give it as it was; jobs it waits for stay.

        Raises NotFound, and Conflict for one that runs or is the next turn of a schedule.
        """
        before = (await self.get(queue, job_id)).brief
        if before.state == "active":
            raise Conflict("A job that is running cannot be discarded; wait for its end or its deadline.")
        with redis.answering():
            removed = int(await self._queues[queue].remove(job_id, {"removeChildren": False}))
        if removed == _IS_A_TURN:
            raise Conflict("This is the next turn of a schedule: without it the schedule would end.")
        if not removed:
            raise Conflict("A job that is running cannot be discarded; wait for its end or its deadline.")
        return before

    async def pause(self, queue: str) -> bool:
        """Have no worker take jobs of `queue`; False if none did before."""
        was_paused = await self._is_paused(queue)
        with redis.answering():
            await self._queues[queue].pause()
        return not was_paused

    async def resume(self, queue: str) -> bool:
        was_paused = await self._is_paused(queue)
        with redis.answering():
            await self._queues[queue].resume()
        return was_paused

    async def run_schedule(self, queue: str, key: str, *, request_id: str) -> str:
        """Have a schedule's job run soon beside its turns, as a nudge does; its id.

        Raises NotFound, and Conflict for a schedule whose job cannot be read.
        """
        name, data, options = await self._template(queue, key)
        if isinstance(data, dict):
            data = {**data, "request_id": request_id}
        once = {"id": name, "keepLastIfActive": True}
        with redis.answering():
            job = await self._queues[queue].add(name, data, {**options, "deduplication": once})
        return str(job.id)

    async def _template(self, queue: str, key: str) -> tuple[str, Any, dict[str, Any]]:
        with redis.answering():
            found = await self._keys(keys=[base_key(self.check(queue))], args=[key])
        if found is None:
            raise NotFound("There is no such schedule.")
        name, data, options = (bytes(one or b"").decode(errors="replace") for one in found)
        said, given = decoded(options or "{}"), decoded(data or "{}")
        if not name or given is None or not isinstance(said, dict):
            raise Conflict("What this schedule would run cannot be read; whoever made it may run it.")
        return name, given, {option: said[option] for option in _OPTIONS & said.keys()}

    async def _put_back(self, queue: str, job_id: str, state: str) -> bool:
        job = BullJob(self._queues[queue], "", {}, {}, job_id)
        try:
            with redis.answering():
                await job.retry(state, {"resetAttemptsMade": True})
        except TypeError:  # BullMQ's word for a job that is gone or elsewhere by now
            return False
        return True

    async def _state(self, queue: str, job_id: str) -> str:
        """Raises NotFound for what is no job, though BullMQ has a key of that name."""
        self.check(queue)
        if not job_id or job_id in self._queues[queue].keys:
            raise NotFound("There is no such job.")
        with redis.answering():
            state = str(await self._queues[queue].getJobState(job_id))
        if state not in _WORDS:
            raise NotFound("There is no such job any more.")
        return state

    async def _is_paused(self, queue: str) -> bool:
        with redis.answering():
            return bool(await self._queues[self.check(queue)].isPaused())


_IS_A_TURN = -8
_OPTIONS = {"attempts", "backoff", "removeOnComplete", "removeOnFail", "kl", "priority", "lifo"}

_TEMPLATE = """
local key = KEYS[1] .. 'repeat:' .. ARGV[1]
if not redis.call('ZSCORE', KEYS[1] .. 'repeat', ARGV[1]) then return false end
if redis.call('HSTRLEN', key, 'data') > 1048576 then return {false, false, false} end
return redis.call('HMGET', key, 'name', 'data', 'opts')
"""

"""Keeping hold of the jobs that run, from a thread of its own.

BullMQ renews its locks on the event loop: a handler that blocks the loop for longer than they last loses
its job to another worker, and it runs twice. A thread gets its turn all the same, on a connection that
nobody else waits for. And a hold that ran out while Redis was away is taken up again, if nobody else has
the job by then.
"""

import asyncio
import threading
from datetime import timedelta
from typing import Any

from muster.errors import Unavailable
from muster.platform import redis
from muster.platform.queue.job import milliseconds, queue_key
from muster.platform.telemetry import logger

RENEWALS = 3
"""How often a hold is renewed in the time it lasts."""


class Locks:
    """In the place of BullMQ's LockManager, whose methods it has."""

    def __init__(self, redis_url: str, queue: str, *, last: timedelta) -> None:
        self._client = redis.connect_from_thread(redis_url)
        self._script = self._client.register_script(_RENEW)
        self._queue = queue
        self._last = last
        self._held: dict[str, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"locks of {queue}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def track_job(self, job_id: str, token: str, *_: Any, **__: Any) -> None:
        self._held[job_id] = token

    def untrack_job(self, job_id: str) -> None:
        self._held.pop(job_id, None)

    def cancel_all_jobs(self, reason: str) -> None:
        """Ours have no signal of BullMQ's; the worker ends their tasks."""

    async def close(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join, 5)
        self._client.close()

    def _renew(self) -> None:
        while not self._ended.wait(self._last.total_seconds() / RENEWALS):
            if held := dict(self._held):
                try:
                    with redis.answering():
                        lost = self._renewed(held)
                except Unavailable as error:
                    logger.warning("locks_not_renewed", queue=self._queue, jobs=len(held), error=str(error))
                    continue
                for job_id in set(lost) & self._held.keys():
                    logger.warning("job_lock_lost", queue=self._queue, jobId=job_id)

    def _renewed(self, held: dict[str, str]) -> list[str]:
        """The ids of those that somebody else has by now, or nobody is to have any more."""
        pairs = [word for pair in held.items() for word in pair]
        lost: list[str] = self._script(
            keys=[queue_key(self._queue, "stalled"), queue_key(self._queue, "active")],
            args=[queue_key(self._queue), milliseconds(self._last), *pairs],
        )
        return lost


_RENEW = """
local lost = {}
for i = 3, #ARGV, 2 do
    local id, token = ARGV[i], ARGV[i + 1]
    local lock = ARGV[1] .. id .. ':lock'
    local held = redis.call('GET', lock)
    if held == token or (not held and redis.call('LPOS', KEYS[2], id)) then
        redis.call('SET', lock, token, 'PX', ARGV[2])
        redis.call('SREM', KEYS[1], id)
    else
        lost[#lost + 1] = id
    end
end
return lost
"""
"""Who takes a job takes its lock in the same breath, so one that is active and has no lock is still ours."""

"""Keeping hold of the jobs that run, from a thread of its own.

BullMQ renews its locks on the event loop: a handler that blocks the loop for longer than they last loses
its job to another worker, and it runs twice. A thread gets its turn all the same, on a connection that
nobody else waits for.
"""

import asyncio
import threading
from datetime import timedelta
from typing import Any

import msgspec
from bullmq.redis_connection import loadScript

from muster.errors import Unavailable
from muster.platform import redis
from muster.platform.queue.job import milliseconds
from muster.platform.telemetry import logger

RENEWALS = 3
"""How often a hold is renewed in the time it lasts."""


class Locks:
    """In the place of BullMQ's LockManager, whose methods it has."""

    def __init__(self, redis_url: str, queue: str, keys: dict[str, str], *, last: timedelta) -> None:
        self._client = redis.connect_from_thread(redis_url)
        self._script = self._client.register_script(loadScript("extendLocks-1.lua"))
        self._queue = queue
        self._keys = keys
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
                        lost = self._extended(held)
                except Unavailable as error:
                    logger.warning("locks_not_renewed", queue=self._queue, jobs=len(held), error=str(error))
                    continue
                for job_id in set(lost) & self._held.keys():
                    logger.warning("job_lock_lost", queue=self._queue, jobId=job_id)

    def _extended(self, held: dict[str, str]) -> list[str]:
        """The ids whose hold was lost: it ended while Redis was away, or the loop."""
        args: list[str | bytes | int] = [
            self._keys[""],
            msgspec.msgpack.encode(list(held.values())),
            msgspec.msgpack.encode(list(held)),
            milliseconds(self._last),
        ]
        lost: list[str] = self._script(keys=[self._keys["stalled"]], args=args)
        return lost

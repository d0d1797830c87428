# /// script
# requires-python = ">=3.11"
# dependencies = ["arq==0.28.0", "uvloop>=0.22"]
# ///
"""arq, https://arq-docs.helpmanuel.com, on the redis-py it allows; it polls, here every 10 ms at best."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from arq import Worker, create_pool
from arq.connections import RedisSettings
from arq.worker import func

from bench.peers.queue_rig import Peer, main

POLL = 0.01


class Arq:
    def __init__(self, url: str, pool: Any, ran: Callable[[float], None]) -> None:
        self._settings = RedisSettings.from_dsn(url)
        self._pool = pool
        self._ran = ran

    async def add(self, sent: float) -> None:
        await self._pool.enqueue_job("noop", sent)

    @asynccontextmanager
    async def working(self, concurrency: int) -> AsyncIterator[None]:
        async def noop(_: Any, sent: float) -> None:
            self._ran(sent)

        worker = Worker(
            functions=[func(noop, name="noop")],
            redis_settings=self._settings,
            max_jobs=concurrency,
            poll_delay=POLL,
            keep_result=0,
            handle_signals=False,
        )
        working = asyncio.create_task(worker.async_run())
        yield
        working.cancel()
        await asyncio.wait({working})
        with suppress(asyncio.CancelledError):  # of the tasks it waits for
            await worker.close()

    async def close(self) -> None:
        await self._pool.aclose()


async def make(url: str, ran: Callable[[float], None]) -> Peer:
    return Arq(url, await create_pool(RedisSettings.from_dsn(url)), ran)


if __name__ == "__main__":
    main(make)

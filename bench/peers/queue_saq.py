# /// script
# requires-python = ">=3.11"
# dependencies = ["saq[redis,hiredis]==0.26.4", "typing-extensions>=4.12", "uvloop>=0.22"]
# ///
"""SAQ, https://github.com/tobymao/saq, on the redis-py it allows."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from saq import Queue, Worker

from bench.peers.queue_rig import Peer, main


class Saq:
    def __init__(self, queue: Any, ran: Callable[[float], None]) -> None:
        self._queue = queue
        self._ran = ran

    async def add(self, sent: float) -> None:
        await self._queue.enqueue("noop", sent=sent)

    @asynccontextmanager
    async def working(self, concurrency: int) -> AsyncIterator[None]:
        async def noop(_: Any, *, sent: float) -> None:
            self._ran(sent)

        worker = Worker(self._queue, functions=[("noop", noop)], concurrency=concurrency)
        working = asyncio.create_task(worker.start())
        yield
        await worker.stop()
        working.cancel()
        await asyncio.wait({working})

    async def close(self) -> None:
        await self._queue.disconnect()


async def make(url: str, ran: Callable[[float], None]) -> Peer:
    queue = Queue.from_url(url, name="bench")
    await queue.connect()
    return Saq(queue, ran)


if __name__ == "__main__":
    main(make)

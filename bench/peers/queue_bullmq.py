"""BullMQ's Python package as its documentation shows it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from bullmq import Queue, Worker
from typing_extensions import override

from bench.peers.queue_rig import Peer, main


class BullMQ(Peer):
    def __init__(self, url: str, ran: Callable[[float], None]) -> None:
        self._url = url
        self._queue = Queue("bench", {"connection": url})
        self._ran = ran

    @override
    async def add(self, sent: float) -> None:
        await self._queue.add("noop", {"sent": sent})

    @override
    @asynccontextmanager
    async def working(self, concurrency: int) -> AsyncIterator[None]:
        async def noop(job: Any, _: str) -> None:
            self._ran(job.data["sent"])

        worker = Worker("bench", noop, {"connection": self._url, "concurrency": concurrency})
        yield
        await worker.close()

    @override
    async def close(self) -> None:
        await self._queue.close()


async def make(url: str, ran: Callable[[float], None]) -> Peer:
    return BullMQ(url, ran)


if __name__ == "__main__":
    main(make)

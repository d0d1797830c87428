# /// script
# requires-python = ">=3.11"
# dependencies = ["taskiq==0.13.0", "taskiq-redis>=1.2", "hiredis>=3", "uvloop>=0.22"]
# ///
"""taskiq, https://taskiq-python.github.io, with its stream broker, which acknowledges."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from bench.peers.queue_rig import Peer, main


class Taskiq:
    def __init__(self, broker: Any, noop: Any) -> None:
        self._broker = broker
        self._noop = noop

    async def add(self, sent: float) -> None:
        await self._noop.kiq(sent)

    @asynccontextmanager
    async def working(self, concurrency: int) -> AsyncIterator[None]:
        working = asyncio.create_task(run_receiver_task(self._broker, max_async_tasks=concurrency))
        yield
        working.cancel()
        await asyncio.wait({working})

    async def close(self) -> None:
        await self._broker.shutdown()


async def make(url: str, ran: Callable[[float], None]) -> Peer:
    broker = RedisStreamBroker(url=url)

    async def noop(sent: float) -> None:
        ran(sent)

    task = broker.register_task(noop, task_name="noop")
    await broker.startup()
    return Taskiq(broker, task)


if __name__ == "__main__":
    main(make)

# /// script
# requires-python = ">=3.11"
# dependencies = ["taskiq>=0.12,<0.13", "taskiq-redis==1.2.2", "hiredis>=3", "uvloop>=0.22"]
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
    def __init__(self, url: str, broker: Any, ran: Callable[[float], None]) -> None:
        self._url = url
        self._broker = broker
        self._ran = ran
        self._noop = self._task_on(broker)

    async def add(self, sent: float) -> None:
        await self._noop.kiq(sent)

    @asynccontextmanager
    async def working(self, concurrency: int) -> AsyncIterator[None]:
        broker = RedisStreamBroker(url=self._url)  # it ends with its receiver
        self._task_on(broker)
        await broker.startup()
        working = asyncio.create_task(run_receiver_task(broker, max_async_tasks=concurrency))
        yield
        working.cancel()
        await asyncio.wait({working})

    async def close(self) -> None:
        await self._broker.shutdown()

    def _task_on(self, broker: Any) -> Any:
        async def noop(sent: float) -> None:
            self._ran(sent)

        return broker.register_task(noop, task_name="noop")


async def make(url: str, ran: Callable[[float], None]) -> Peer:
    broker = RedisStreamBroker(url=url)
    await broker.startup()
    return Taskiq(url, broker, ran)


if __name__ == "__main__":
    main(make)

"""Muster's own door to BullMQ, with its deadline, its locks and its log line for each job."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from typing_extensions import override

from bench.peers.queue_rig import Peer, main
from muster.platform import telemetry
from muster.platform.queue import Job, Queues, Work, Worker


class Muster(Peer):
    def __init__(self, url: str, ran: Callable[[float], None]) -> None:
        self._url = url
        self._queues = Queues(url)
        self._ran = ran
        self._added = 0
        self._job = Job(name="upkeep.bench", queue="upkeep", run=self._run, deadline=timedelta(minutes=1))

    async def _run(self, work: Work) -> None:
        self._ran(float(work.job_id.partition("-")[2]))

    @override
    async def add(self, sent: float) -> None:
        self._added += 1
        await self._queues.add_once(self._job, f"{self._added}-{sent}")

    @override
    @asynccontextmanager
    async def working(self, concurrency: int) -> AsyncIterator[None]:
        worker = Worker(self._url, [self._job], queues=["upkeep"], concurrency=concurrency, name="bench")
        await worker.start()
        yield
        await worker.drain(timedelta(seconds=10))

    @override
    async def close(self) -> None:
        await self._queues.close()


async def make(url: str, ran: Callable[[float], None]) -> Peer:
    telemetry.configure("info", name="bench", stream=Path(os.devnull).open("w"))  # noqa: SIM115, ASYNC230  for as long as it runs
    return Muster(url, ran)


if __name__ == "__main__":
    main(make)

"""What every queue is measured by. Standard library alone: each peer has packages of its own."""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

AT_ONCE = 20
"""How many add jobs side by side."""

RATE = 100
WARM_UP = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    redis_url: str
    jobs: int
    seconds: float


class Peer(Protocol):
    """A queue as its documentation shows it; every job calls the `ran` it was made with."""

    async def add(self, sent: float) -> None: ...
    def working(self, concurrency: int) -> AbstractAsyncContextManager[None]: ...
    async def close(self) -> None: ...


Make = Callable[[str, Callable[[float], None]], Awaitable[Peer]]


class _Runs:
    """When jobs ran, and how long after they were sent."""

    def __init__(self) -> None:
        self.begin(0)

    def begin(self, wanted: int) -> None:
        self.wanted = wanted
        self.waited: list[float] = []
        self.first = self.last = 0.0
        self.all_ran = asyncio.Event()

    def ran(self, sent: float) -> None:
        self.last = time.perf_counter()
        self.first = self.first or self.last
        self.waited.append(time.time() - sent)
        if len(self.waited) == self.wanted:
            self.all_ran.set()


async def _measured(make: Make, order: Order) -> dict[str, float]:
    runs = _Runs()
    peer = await make(order.redis_url, runs.ran)
    try:
        await _drained(peer, runs, WARM_UP, 10)
        began = time.perf_counter()
        await _added(peer, order.jobs)
        figures = {"add_per_s": order.jobs / (time.perf_counter() - began)}
        figures["c10"], figures["cpu_s_per_1000"] = await _drained(peer, runs, order.jobs, 10, are_there=True)
        figures["c1"], _ = await _drained(peer, runs, order.jobs // 5, 1)
        figures["c100"], _ = await _drained(peer, runs, order.jobs, 100)
        waited = await _waited(peer, runs, order.seconds)
        figures["p50_ms"] = statistics.median(waited) * 1000
        figures["p99_ms"] = statistics.quantiles(waited, n=100)[98] * 1000
    finally:
        await peer.close()
    return figures | {"peak_mb": _peak_mb()}


async def _added(peer: Peer, jobs: int) -> None:
    numbers = iter(range(jobs))

    async def add() -> None:
        for _ in numbers:
            await peer.add(time.time())

    await asyncio.gather(*(add() for _ in range(AT_ONCE)))


async def _drained(
    peer: Peer, runs: _Runs, jobs: int, concurrency: int, *, are_there: bool = False
) -> tuple[float, float]:
    """Jobs a second from the first that ran to the last, and this process's seconds for a thousand."""
    if not are_there:
        await _added(peer, jobs)
    runs.begin(jobs)
    worked = time.process_time()
    async with peer.working(concurrency):
        await runs.all_ran.wait()
        worked = time.process_time() - worked
    return (jobs - 1) / (runs.last - runs.first), worked / jobs * 1000


async def _waited(peer: Peer, runs: _Runs, seconds: float) -> list[float]:
    """From adding a job to its start, while one comes every hundredth of a second."""
    jobs = int(seconds * RATE)
    runs.begin(jobs)
    async with peer.working(10):
        await asyncio.sleep(0.5)
        began = time.perf_counter()
        for number in range(jobs):
            await asyncio.sleep(began + number / RATE - time.perf_counter())
            await peer.add(time.time())
        await runs.all_ran.wait()
    return runs.waited


def _peak_mb() -> float:
    """The most this program ever held; Linux only, as getrusage counts what its parent held."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def main(make: Make) -> None:
    """Read an order on stdin, and print one line of figures."""
    import uvloop  # noqa: PLC0415  every peer's script names it

    order = Order(**json.load(sys.stdin))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(_measured(make, order))), flush=True)

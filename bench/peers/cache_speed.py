"""How long one cache takes for a hit, for a miss with its storing, and for a bust of many entries."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from bench.peers.cache_order import read_order, tell
from bench.peers.caches import PEERS, Peer

ENTRIES = 10_000
HITS = 5_000
AT_ONCE = 20
ROUNDS = 3
VALUE = [f"a deal with a name of some length, number {number}" for number in range(20)]
"""About a kilobyte."""


async def _found() -> list[str]:
    return VALUE


async def main() -> None:
    order = read_order()
    peer = PEERS[order.peer](order.redis_url)
    await peer.get("one", "ones", _found)
    hit = await _median(HITS, lambda _: peer.get("one", "ones", _found))
    miss = await _median(2_000, lambda number: peer.get(f"single:{number}", "singles", _found))
    await peer.bust("ones", ["one"])  # its scripts are known from here on
    fills, busts = [], []
    for _ in range(ROUNDS):
        fills.append(await _filled(peer))
        busts.append(await _busted(peer))
    fresh = 0

    async def anew() -> list[str]:
        nonlocal fresh
        fresh += 1
        return VALUE

    for number in range(0, ENTRIES, 100):
        await peer.get(_key(number), "many", anew)
    await peer.close()
    tell(
        {
            "hit_us": hit * 1e6,
            "miss_us": miss * 1e6,
            "fill_seconds": statistics.median(fills),
            "bust_ms": statistics.median(busts) * 1e3,
            "busted_of_100": fresh,
        }
    )


async def _median(times: int, act: Callable[[int], Awaitable[object]]) -> float:
    took = []
    for number in range(times):
        began = time.perf_counter()
        await act(number)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


async def _filled(peer: Peer) -> float:
    """Every entry read for the first time, some at once."""
    numbers = iter(range(ENTRIES))

    async def fill() -> None:
        for number in numbers:
            await peer.get(_key(number), "many", _found)

    began = time.perf_counter()
    await asyncio.gather(*(fill() for _ in range(AT_ONCE)))
    return time.perf_counter() - began


async def _busted(peer: Peer) -> float:
    keys = [_key(number) for number in range(ENTRIES)]
    began = time.perf_counter()
    await peer.bust("many", keys)
    return time.perf_counter() - began


def _key(number: int) -> str:
    return f"many:{number}"


if __name__ == "__main__":
    asyncio.run(main())

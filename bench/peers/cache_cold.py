"""One of several processes whose readers all want the same at once, and nobody has it."""

import asyncio
import time

from bench.peers.cache_order import read_order, tell
from bench.peers.caches import JOINING_PEERS

READERS = 20
ORIGIN_SECONDS = 0.1


async def main() -> None:
    order = read_order()
    peer = JOINING_PEERS[order.peer](order.redis_url)
    asked = 0

    async def origin() -> list[str]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(ORIGIN_SECONDS)
        return ["found"]

    await peer.get(f"warm:{order.me}", "warm", origin)  # connected, its scripts known
    asked = 0
    await asyncio.sleep(max(0.0, order.at - time.time()))
    began = time.perf_counter()
    await asyncio.gather(*(peer.get("cold", "cold", origin) for _ in range(READERS)))
    seconds = time.perf_counter() - began
    await peer.close()
    tell({"asked": asked, "seconds": seconds})


if __name__ == "__main__":
    asyncio.run(main())

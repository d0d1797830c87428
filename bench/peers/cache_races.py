"""One of several processes that race: somebody reads, somebody else writes meanwhile, everybody looks again.

In each race one process reads a row that is not cached yet, and is kept from storing it until another has
changed the row and been told that this is done, or for a moment's chance. Whoever begins to read after
that, in any process, and is given the value from before, has been given a stale one.
"""

import asyncio
import contextlib
import mmap
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.peers.cache_order import CacheOrder, read_order, tell
from bench.peers.caches import PEERS, Muster, Peer
from muster.platform.busts import Busts
from muster.platform.database import Database

AT_ONCE = 24
READING, WRITTEN, STORED = 1, 2, 3
"""How far a race is."""


class Flags:
    """How far every race is, shared by all processes."""

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._waiting: list[tuple[int, int, asyncio.Event]] = []

    def set(self, race: int, level: int) -> None:
        self._map[race] = level

    async def reached(self, race: int, level: int) -> None:
        if self._map[race] < level:
            event = asyncio.Event()
            self._waiting.append((race, level, event))
            await event.wait()

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._watch())
        yield
        watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0.0005)
            still = []
            for race, level, event in self._waiting:
                if self._map[race] >= level:
                    event.set()
                else:
                    still.append((race, level, event))
            self._waiting = still


class Races:
    def __init__(self, order: CacheOrder, peer: Peer, database: Database) -> None:
        self._order = order
        self._peer = peer
        self._database = database
        self._busts = Busts(database, peer.cache) if isinstance(peer, Muster) else None
        self._flags = Flags(order.flags)
        self._chance = random.Random(order.me)  # noqa: S311  only jitter
        self.stale = 0
        self.looks = 0

    async def run(self) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(race: int) -> None:
            try:
                await self._race(race)
            finally:
                room.release()

        async with self._flags.watched(), asyncio.TaskGroup() as group:
            for race in range(self._order.races):
                await room.acquire()  # in order, so that all processes are at the same races
                group.create_task(one(race))

    async def _race(self, race: int) -> None:
        roles = (race % self._order.processes, (race + 1) % self._order.processes)
        if self._order.me == roles[0]:
            await self._read_slowly(race)
        elif self._order.me == roles[1]:
            await self._write(race)
        await self._flags.reached(race, STORED)
        await self._look(race)

    async def _read_slowly(self, race: int) -> None:
        async def slowly() -> list[str]:
            found = await self._read(race)
            self._flags.set(race, READING)
            if race % 3:
                await self._flags.reached(race, WRITTEN)
            else:
                await asyncio.sleep(self._chance.random() * 0.01)
            return found

        reading = asyncio.create_task(self._peer.get(_key(race), _key(race), slowly))
        await self._flags.reached(race, WRITTEN)
        if race % 2:
            await self._look(race)  # beside the reading from before the write
        await reading
        self._flags.set(race, STORED)

    async def _write(self, race: int) -> None:
        await self._flags.reached(race, READING)
        async with self._database.transaction() as tx:
            await tx.execute("UPDATE races SET value = 'new' WHERE race = %s", [race])
            if self._busts:
                await self._busts.announce(tx, _key(race))
        if not self._busts:
            await self._peer.bust(_key(race), [_key(race)])
        self._flags.set(race, WRITTEN)

    async def _look(self, race: int) -> None:
        async def read() -> list[str]:
            return await self._read(race)

        self.looks += 1
        self.stale += await self._peer.get(_key(race), _key(race), read) != ["new"]

    async def _read(self, race: int) -> list[str]:
        return [await self._database.value("SELECT value FROM races WHERE race = %s", [race])]


def _key(race: int) -> str:
    return f"race:{race}"


async def main() -> None:
    order = read_order()
    peer = PEERS[order.peer](order.redis_url)
    database = Database(order.database_url, application="muster-bench")
    await database.open()
    races = Races(order, peer, database)
    await asyncio.sleep(max(0.0, order.at - time.time()))
    began = time.perf_counter()
    await races.run()
    seconds = time.perf_counter() - began
    refused = peer.cache.figures().get("refused", 0) if isinstance(peer, Muster) else 0
    await peer.close()
    await database.close()
    tell({"stale": races.stale, "looks": races.looks, "refused": refused, "seconds": seconds})


if __name__ == "__main__":
    asyncio.run(main())

"""The saboteurs of what the dashboard's rows promise."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tests.readiness.sabotage import Siege, saboteur


@saboteur("cache.hooks", sees="a change of a person was not written down: a crash would lose its bust")
async def no_bust_is_written_down(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("CREATE RULE lost AS ON INSERT TO cache_busts DO INSTEAD NOTHING")
    yield
    await siege.sql("DROP RULE lost ON cache_busts")


@saboteur("cache.hooks", sees="was still read 0:00:02 after its bust: of a person")
async def somebody_keeps_what_was_before_a_change_of_people(siege: Siege) -> AsyncIterator[None]:
    """By entries that count though their tag was busted."""
    redis, over = siege.town.portal.redis, asyncio.Event()

    async def store_and_store() -> None:
        while not over.is_set():
            async for key in redis.scan_iter(match="cache:v*:canary:*", count=1000):
                if b"people" in (await redis.hget(key, "tags") or b""):
                    await redis.hset(key, mapping={"value": b"\x01", "n": 10**12})
            await asyncio.sleep(0.001)

    storing = asyncio.create_task(store_and_store())
    yield
    over.set()
    await storing
    async for key in redis.scan_iter(match="cache:v*:canary:*", count=1000):
        await redis.delete(key)


@saboteur("cache.hooks", sees="a role given was not seen by its account")
async def rights_from_before_are_put_back(siege: Siege) -> AsyncIterator[None]:
    redis, over = siege.town.portal.redis, asyncio.Event()
    account = await siege.town.value("SELECT id FROM accounts WHERE email LIKE 'probe-of-roles@%%'")
    key = f"cache:rights:{account}"
    await siege.town.portal.rights.of(account)
    before: Any = await redis.hgetall(key)

    async def put_back() -> None:
        while not over.is_set():
            await redis.hset(key, mapping=before)
            await asyncio.sleep(0)

    putting = asyncio.create_task(put_back())
    yield
    over.set()
    await putting
    await redis.delete(key)

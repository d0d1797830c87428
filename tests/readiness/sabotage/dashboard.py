"""The saboteurs of what the dashboard's rows promise."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from tests.readiness.sabotage.siege import Siege, saboteur


@saboteur("cache.hooks", sees="a change of a person was not written down: a crash would lose its bust")
async def no_bust_is_written_down(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "CREATE FUNCTION lost() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER lost BEFORE INSERT ON cache_busts FOR EACH ROW EXECUTE FUNCTION lost()",
    )
    yield
    await siege.sql("DROP TRIGGER lost ON cache_busts", "DROP FUNCTION lost()")


@saboteur("cache.hooks", sees="was still read 0:00:02 after its bust: of a person")
async def somebody_keeps_what_was_before_a_change_of_people(siege: Siege) -> AsyncIterator[None]:
    """By entries that count though their tag was busted."""
    redis, over = siege.town.portal.redis, asyncio.Event()

    async def store_and_store() -> None:
        while not over.is_set():
            await redis.eval(_STORE, 0)
            await asyncio.sleep(0)

    storing = asyncio.create_task(store_and_store())
    yield
    over.set()
    await storing
    async for key in redis.scan_iter(match="cache:v*:canary:*", count=1000):
        await redis.delete(key)


_STORE = """
for _, key in ipairs(redis.call('KEYS', 'cache:v*:canary:*')) do
  local tags = redis.call('HGET', key, 'tags')
  if tags and cmsgpack.unpack(tags)[1] == 'people' then
    redis.call('HSET', key, 'value', string.char(1), 'n', 10^12)
  end
end
"""


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

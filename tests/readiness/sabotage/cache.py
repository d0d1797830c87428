"""What is broken of the cache: how long it keeps what, how much, and whether it hears of changes."""

import asyncio
from collections.abc import AsyncIterator

from tests.readiness.sabotage.siege import Siege, saboteur

from muster.platform.cache import Cache
from muster.platform.cache_probes import CacheProbes
from muster.platform.probe import Probe
from muster.platform.redis import connect_briefly


@saboteur("cache.bounds", sees="cache:v0.1.0:planted never ends")
async def an_entry_is_kept_for_ever(siege: Siege) -> AsyncIterator[None]:
    await siege.town.portal.redis.set("cache:v0.1.0:planted", "x")
    yield
    await siege.town.portal.redis.delete("cache:v0.1.0:planted")


@saboteur("cache.bounds", sees="cache:rights:0 ends in 1440 min")
async def rights_are_cached_for_a_day(siege: Siege) -> AsyncIterator[None]:
    await siege.town.portal.redis.set("cache:rights:0", "x", ex=86_400)
    yield
    await siege.town.portal.redis.delete("cache:rights:0")


@saboteur("cache.bounds", sees="cache:deals:7 is of no declared kind")
async def somebody_caches_past_the_cache(siege: Siege) -> AsyncIterator[None]:
    await siege.town.portal.redis.set("cache:deals:7", "x", ex=600)
    yield
    await siege.town.portal.redis.delete("cache:deals:7")


@saboteur("cache.bounds", sees="more than the 64 MB it may")
async def the_cache_outgrows_its_bound(siege: Siege) -> AsyncIterator[None]:
    redis = siege.town.portal.redis
    await redis.hincrby("cache:sizes", "total", 2**30)
    yield
    await redis.delete("cache:sizes", "cache:index")


@saboteur("cache.busts", sees="waits since 2 min for the worker to tell the cache")
async def nobody_relays_busts(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    await siege.sql(
        "INSERT INTO cache_busts (tags, until) VALUES ('{deals}', clock_timestamp() - interval '2 minutes')"
    )
    yield
    await siege.sql("DELETE FROM cache_busts")
    await siege.start_worker()


@saboteur("cache.busts", sees="after its bust")
async def another_process_has_a_cache_of_its_own(siege: Siege) -> AsyncIterator[None]:
    made, probe = siege.town.portal, siege.probes["cache.busts"]
    elsewhere = connect_briefly(f"{made.settings.redis_url.reveal().rstrip('/')}/1")
    apart = CacheProbes(made.cache, Cache(elsewhere), made.busts, made.database, redis=made.redis)
    siege.probes["cache.busts"] = Probe(row="cache.busts", ask=apart.busts)
    yield
    siege.probes["cache.busts"] = probe
    await elsewhere.flushdb()
    await elsewhere.aclose()


@saboteur("cache.busts", sees="could not be told of a bust")
async def redis_counts_no_busts(siege: Siege) -> AsyncIterator[None]:
    redis = siege.town.portal.redis
    await redis.acl_setuser("default", enabled=True, commands=["-hincrby"])
    yield
    await redis.acl_setuser("default", enabled=True, commands=["+hincrby"])
    await asyncio.sleep(1.1)  # the cache's pause

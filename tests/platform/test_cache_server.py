"""What is cached, on a server of its own: CACHE_REDIS_URL."""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.town import emptied, owner_url

from muster.embedded.valkey import Valkey
from muster.platform.probe import Failed
from muster.settings import Secret, Settings
from muster.wiring import Portal, portal

ROWS = ("redis.policy", "cache.bounds", "cache.busts")


@pytest.fixture(scope="module")
def cache_server() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.stop()


async def proved(made: Portal) -> str:
    return "\n".join([await made.proofs._probes[row].ask() for row in ROWS])


async def test_the_cache_may_have_a_redis_of_its_own(settings: Settings, cache_server: Valkey):
    apart = dataclasses.replace(settings, cache_redis_url=Secret(cache_server.url))
    await emptied(owner_url(settings))
    async with portal(apart, application="muster-test") as made:
        await made.redis.flushdb()
        said = await proved(made)

        assert "of the cache's server: noeviction" in said
        assert [key async for key in made.redis.scan_iter("cache:v*")] == []
        assert [key async for key in made.cache.redis.scan_iter("cache:v*")]


async def test_one_that_throws_away_words_of_changes_is_refused(settings: Settings, cache_server: Valkey):
    apart = dataclasses.replace(settings, cache_redis_url=Secret(cache_server.url))
    async with portal(apart, application="muster-test") as made:
        await made.cache.redis.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(Failed, match="allkeys-lru: words of changes may be thrown away"):
            await made.proofs._probes["redis.policy"].ask()
        await made.cache.redis.config_set("maxmemory-policy", "noeviction")

        assert "of the cache's server: noeviction" in await made.proofs._probes["redis.policy"].ask()

"""A company whose directory has been read, and its customers."""

from collections.abc import AsyncIterator

import pytest
from tests.conftest import Servers
from tests.dashboard.customers import Customers
from tests.town import Town

from muster.platform.cache import Cache
from muster.platform.redis import connect_briefly
from muster.wiring import Portal, portal


@pytest.fixture
async def people(town: Town) -> Town:
    await town.portal.sync.run()
    return town


@pytest.fixture
async def customers(people: Town) -> Customers:
    made = Customers(people)
    await made.set_up()
    return made


@pytest.fixture
async def elsewhere(town: Town) -> AsyncIterator[Portal]:
    """The same portal in another process, as far as the cache can tell."""
    async with portal(town.portal.settings, application="muster-elsewhere") as made:
        yield made


@pytest.fixture
async def onlooker(servers: Servers) -> AsyncIterator[Cache]:
    """A reader that shares nothing with the portal but Redis."""
    cache = Cache(connect_briefly(servers.valkey.url))
    yield cache
    await cache.close()

"""Muster's cache and its peers, each used as its own documentation shows, behind one pair of words."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Protocol
from urllib.parse import urlsplit

from typing_extensions import override

from muster.platform.cache import Cache
from muster.platform.redis import connect_briefly

Load = Callable[[], Awaitable[list[str]]]
LIFE = timedelta(minutes=30)


class Peer(Protocol):
    async def get(self, key: str, tag: str, load: Load) -> list[str]: ...

    async def bust(self, tag: str, keys: list[str]) -> None:
        """`keys` are all that have the tag, for whom has no tags."""

    async def close(self) -> None: ...


class Muster(Peer):
    def __init__(self, url: str) -> None:
        self.cache = Cache(connect_briefly(url))

    @override
    async def get(self, key: str, tag: str, load: Load) -> list[str]:
        return (await self.cache.get(key, list[str], load, tags=[tag], ttl=LIFE)).value

    @override
    async def bust(self, tag: str, keys: list[str]) -> None:
        await self.cache.bust(tag)

    @override
    async def close(self) -> None:
        await self.cache.close()


class Cashews(Peer):
    """https://github.com/Krukov/cashews: a decorator with a key, tags, and a lock over all processes."""

    def __init__(self, url: str) -> None:
        from cashews import Cache as TheirCache  # noqa: PLC0415  installed only for measurements

        self._cache = TheirCache()
        self._cache.setup(url)

        self._get = self._cache(ttl=LIFE, key="{key}", tags=["{tag}"], lock=True)(_load_tagged)

    @override
    async def get(self, key: str, tag: str, load: Load) -> list[str]:
        found: list[str] = await self._get(key, tag, load)
        return found

    @override
    async def bust(self, tag: str, keys: list[str]) -> None:
        await self._cache.delete_tags(tag)

    @override
    async def close(self) -> None:
        await self._cache.close()


class Aiocache(Peer):
    """https://aiocache.aio-libs.org: it has no tags. `joining` takes its `cached_stampede`, in which
    readers wait for each other, and which fails with a KeyError where one waits for longer than the lease.
    """

    def __init__(self, url: str, *, joining: bool = False) -> None:
        import aiocache  # noqa: PLC0415  as above
        from aiocache.serializers import PickleSerializer  # noqa: PLC0415  as above

        where = urlsplit(url)

        decorator = partial(aiocache.cached_stampede, lease=2) if joining else aiocache.cached
        self._get = decorator(
            ttl=int(LIFE.total_seconds()),
            key_builder=lambda _, key, __: key,
            cache=aiocache.RedisCache,
            serializer=PickleSerializer(),
            endpoint=where.hostname,
            port=where.port,
            password=where.password,
            timeout=30,
        )(_load)
        self._cache = self._get.cache

    @override
    async def get(self, key: str, tag: str, load: Load) -> list[str]:
        found: list[str] = await self._get(key, load)
        return found

    @override
    async def bust(self, tag: str, keys: list[str]) -> None:
        for key in keys:
            await self._cache.delete(key)

    @override
    async def close(self) -> None:
        await self._cache.close()


async def _load(key: str, load: Load) -> list[str]:  # noqa: ARG001  what it is cached under
    return await load()


async def _load_tagged(key: str, tag: str, load: Load) -> list[str]:  # noqa: ARG001  as above
    return await load()


PEERS: dict[str, Callable[[str], Peer]] = {"muster": Muster, "cashews": Cashews, "aiocache": Aiocache}
JOINING_PEERS: dict[str, Callable[[str], Peer]] = {**PEERS, "aiocache": partial(Aiocache, joining=True)}

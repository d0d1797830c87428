"""Probes of the cache: its keys end in time, and nobody is shown what was before a change."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

from muster.platform.busts import Busts
from muster.platform.cache import LONGEST, SHORTEST, Cache, Cached, entry_key
from muster.platform.database import Database
from muster.platform.probe import Failed, Probe
from muster.platform.redis import CACHE, Redis, answering

KEYS_LOOKED_AT = 20_000
SEEN_WITHIN = timedelta(seconds=2)
RELAYED_WITHIN = timedelta(minutes=1)

_ENTRY = re.compile(r"v\d[\w.]*")
_SLACK = timedelta(seconds=5)
_GONE = -2

KINDS = {
    "rate": timedelta(minutes=5),
    "hubspot": timedelta(minutes=5),
    "rights": LONGEST,
    "seq": LONGEST,
    "tag": LONGEST,
    "index": LONGEST,
    "sizes": LONGEST,
}
"""What stands behind `cache:` beside entries, and how long such a key may have left."""


class CacheProbes:
    def __init__(self, cache: Cache, other: Cache, busts: Busts, database: Database, *, redis: Redis) -> None:
        """`other` reads as another process would; `redis` is where rates and rights are cached."""
        self._cache = cache
        self._other = other
        self._busts = busts
        self._database = database
        self._redis = redis

    def probes(self) -> list[Probe]:
        return [Probe(row="cache.bounds", ask=self.bounds), Probe(row="cache.busts", ask=self.busts)]

    async def bounds(self) -> str:
        size, room = await self._cache.size(), self._cache.room
        if size.bytes > room.bytes:
            raise Failed(f"the cache holds {_mb(size.bytes)} MB, more than the {_mb(room.bytes)} MB it may")
        if size.entries > room.entries:
            raise Failed(f"the cache holds {size.entries} entries, more than the {room.entries} it may")
        await self._a_new_entry_ends_in_time()
        keys = await _lives(self._redis) | await _lives(self._cache.redis)
        wrong = [f"{key[:60]} {problem}" for key, left in keys.items() if (problem := _problem(key, left))]
        if wrong:
            raise Failed("; ".join(wrong[:5]))
        entries = f"{size.entries} entries, {size.bytes / 2**20:.1f} of {_mb(room.bytes)} MB"
        return f"{len(keys)} keys looked at, all end within {LONGEST}; {entries}"

    async def busts(self) -> str:
        await self._cache.size()  # a Redis that is away is another row's matter
        await self._none_has_waited()
        canary = Canary()
        reads = partial(self._other.get, canary.key, int, canary.sing, tags=[canary.key])
        await reads()
        await self._change(canary)
        took = await until_seen(canary, reads)
        await self._a_late_reading_is_refused(canary)
        if (await reads()).value != canary.value:
            raise Failed("an outdated value was read again long after its bust")
        waiting = await self._busts.waiting()
        seen = f"a change was seen after {took * 1000:.0f} ms, a late reading refused"
        return f"{seen}; {waiting.busts} busts wait for the worker"

    async def _a_new_entry_ends_in_time(self) -> None:
        canary = Canary()
        await self._cache.get(canary.key, int, canary.sing, ttl=SHORTEST)
        with answering():
            left_ms = await self._cache.redis.pttl(entry_key(self._cache.namespace, canary.key))
        if not SHORTEST - _SLACK <= timedelta(milliseconds=left_ms) <= LONGEST:
            raise Failed(f"a new entry would live {left_ms / 60_000:.1f} min; it must live 5 to 60")

    async def _none_has_waited(self) -> None:
        waiting = await self._busts.waiting()
        if waiting.oldest_seconds > RELAYED_WITHIN.total_seconds():
            minutes = waiting.oldest_seconds / 60
            raise Failed(
                f"of {waiting.busts} busts one waits since {minutes:.0f} min for the worker to tell the cache"
            )

    async def _change(self, canary: "Canary") -> None:
        canary.value += 1
        async with self._database.transaction() as tx:
            announcement = await self._busts.announce(tx, canary.key)
        if not announcement.is_told:
            raise Failed("Redis could not be told of a bust")

    async def _a_late_reading_is_refused(self, canary: "Canary") -> None:
        """Somebody reads before a change and is done after it: what they read must not be kept."""
        key = f"{canary.key}:late"
        canary.hold()
        late = asyncio.create_task(self._cache.get(key, int, canary.sing, tags=[canary.key]))
        await canary.is_singing.wait()
        await self._change(canary)
        canary.go_on.set()
        await late
        if (await self._other.get(key, int, canary.sing, tags=[canary.key])).value != canary.value:
            raise Failed("what was read before a change was kept after its bust")


class Canary:
    """A value that changes when it is told to; `sing` reads it."""

    def __init__(self) -> None:
        self.key = f"canary:{secrets.token_hex(8)}"
        self.value = 1
        self.is_singing = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    def hold(self) -> None:
        self.is_singing.clear()
        self.go_on.clear()

    async def sing(self) -> int:
        value = self.value
        self.is_singing.set()
        await self.go_on.wait()
        return value


async def until_seen(canary: Canary, reads: Callable[[], Awaitable[Cached[int]]]) -> float:
    """Seconds until a reader sees the canary's new value. Raises Failed where that takes too long."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (await reads()).value != canary.value:
        if loop.time() - began > SEEN_WITHIN.total_seconds():
            raise Failed(f"the value from before a change was still read {SEEN_WITHIN} after its bust")
        await asyncio.sleep(0.05)
    return loop.time() - began


async def _lives(redis: Redis) -> dict[str, int]:
    """Milliseconds that keys of the cache have left; -1 is for ever."""
    found: dict[str, int] = {}
    with answering():
        keys: list[bytes] = []
        async for key in redis.scan_iter(match=f"{CACHE}*", count=1000):
            keys.append(key)
            if len(keys) >= KEYS_LOOKED_AT:
                break
        for start in range(0, len(keys), 1000):
            some = keys[start : start + 1000]
            asking = redis.pipeline(transaction=False)
            for key in some:
                asking.pttl(key)  # type: ignore[unused-awaitable]  # a pipeline answers all at once
            found |= {
                key.decode(errors="replace"): left
                for key, left in zip(some, await asking.execute(), strict=True)
                if left != _GONE
            }
    return found


def _problem(key: str, left_ms: int) -> str:
    kind = key.removeprefix(CACHE).partition(":")[0]
    longest = LONGEST if _ENTRY.fullmatch(kind) else KINDS.get(kind)
    if longest is None:
        return "is of no declared kind"
    if left_ms < 0:
        return "never ends"
    if timedelta(milliseconds=left_ms) > longest + _SLACK:
        return f"ends in {left_ms / 60_000:.0f} min"
    return ""


def _mb(size_bytes: int) -> int:
    return size_bytes // 2**20

"""What is dear to read, kept under `cache:` for 5 to 60 minutes, and never given out once it was busted.

Whoever reads takes a number before; what is busted moves it, and what was read before is not kept any
more (docs/decisions/0019-fenced-cache.md). While Redis is away everything is read at its origin, and
before anything kept is given out again, all that may have missed a bust is void.
"""

import asyncio
import math
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from random import SystemRandom
from typing import Any, Generic, TypeVar

import msgspec

from muster import __version__
from muster.errors import NotFound, Unavailable, VendorDown
from muster.platform import cache_scripts as lua
from muster.platform.cache_line import Line
from muster.platform.cache_scripts import Status
from muster.platform.prometheus import CACHE_EVENTS
from muster.platform.redis import CACHE, Redis, answering
from muster.platform.telemetry import logger

SHORTEST, LONGEST = timedelta(minutes=5), timedelta(minutes=60)
"""How long a key may live."""

ABSENT_FOR = timedelta(seconds=45)
"""How long "not found" is believed. Its key lives as long as any other; only its word ends."""

LEASE = timedelta(seconds=2)
"""How long other processes wait for the one that reads, before they read themselves."""

LARGEST_BYTES = 512 * 1024
OVERHEAD_BYTES = 400
"""What Redis holds for an entry beside its key, tags and value, about."""

TAGS_AN_HOUR = 50_000
"""How many tags are told apart; beyond it a bust makes everything void."""

TAGS_AT_ONCE = 1_000
VALUE, ABSENT = "value", "absent"

V = TypeVar("V")
_chance = SystemRandom()


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What the entries of all releases together may hold."""

    entries: int = 50_000
    bytes: int = 64 * 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class Cached(Generic[V]):
    """`made_at` is when reading it began. It `is_stale` where it had ended, and its origin failed."""

    value: V
    made_at: datetime
    age: timedelta
    is_stale: bool = False


class Size(msgspec.Struct, frozen=True):
    entries: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Want(Generic[V]):
    """What `Cache.get` is asked for, which tells what each of these is."""

    key: str
    shape: type[V]
    load: Callable[[], Awaitable[V]]
    tags: tuple[str, ...] = ()
    tags_of: Callable[[V], Iterable[str]] | None = None
    ttl: timedelta | Callable[[V], timedelta] = timedelta(minutes=10)
    stale_if_error: timedelta = timedelta(0)
    refresh_early: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """What Redis said of a key; `kind` is empty where nothing is kept that counts."""

    status: Status
    epoch: str
    number: int
    fence: int
    now_ms: int
    kind: str
    value: bytes
    made_at_ms: int
    token: str


@dataclass(frozen=True, slots=True)
class _Landed(Generic[V]):
    value: V
    made_at: datetime
    age: timedelta


_Flight = tuple[str, str, int]
"""A key, and since which bust of which epoch it is being read."""


class Cache:
    def __init__(
        self,
        redis: Redis,
        *,
        namespace: str = f"v{__version__}",
        room: Room | None = None,
        line: Line | None = None,
    ) -> None:
        """`redis` had better fail fast (`connect_briefly`). What another namespace keeps is never read."""
        self.namespace = namespace
        self.room = room or Room()
        self._line = line or Line()
        self._flights: dict[_Flight, asyncio.Task[Any]] = {}
        self._counted: Counter[str] = Counter()
        self._seen = ("", 0)
        self._look = redis.register_script(lua.LOOK)
        self._keep = redis.register_script(lua.KEEP)
        self._release = redis.register_script(lua.RELEASE)
        self._bust = redis.register_script(lua.BUST)
        self._void = redis.register_script(lua.VOID)
        self.redis = redis

    async def close(self) -> None:
        """End what is still being read, and the connections."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
        await self.redis.aclose()

    def figures(self) -> dict[str, int]:
        """What this process has counted, by the names of `muster_cache_events_total`."""
        return dict(self._counted)

    async def size(self) -> Size:
        with answering():
            entries = await self.redis.zcard(index_key())
            total = await self.redis.hget(sizes_key(), "total")
        return Size(int(entries), int(total or 0))

    async def get(
        self,
        key: str,
        shape: type[V],
        load: Callable[[], Awaitable[V]],
        *,
        tags: Iterable[str] = (),
        tags_of: Callable[[V], Iterable[str]] | None = None,
        ttl: timedelta | Callable[[V], timedelta] = timedelta(minutes=10),
        stale_if_error: timedelta = timedelta(0),
        refresh_early: bool = False,
    ) -> Cached[V]:
        """What is kept under `key`, or what `load` reads, which is kept for about `ttl`.

        `tags_of` names tags that only the value tells, beside `tags`. `load`'s NotFound is kept for less
        than a minute, if there are `tags`. Where the origin is down, what is kept is given up to the age
        `stale_if_error`, but never what was busted. With `refresh_early` one caller reads it anew before
        it ends, so that nobody waits. The value must look the same once it was written down and read.
        """
        want = Want(
            key=key,
            shape=shape,
            load=load,
            tags=tuple(tags),
            tags_of=tags_of,
            ttl=ttl,
            stale_if_error=stale_if_error,
            refresh_early=refresh_early,
        )
        return await self._given(want, await self._look_for_long(want))

    async def get_all(self, wants: Sequence[Want[V]]) -> list[Cached[V] | Exception]:
        """Each as `get` gives it, or what it raised; all that is kept comes with one trip to Redis."""
        if not wants:
            return []
        looks: Sequence[_Look | None] = await self._looked(wants) or [None] * len(wants)
        found = [
            self._at_hand(want, look) if look and look.kind == VALUE else None
            for want, look in zip(wants, looks, strict=True)
        ]
        missing = [place for place, one in enumerate(found) if one is None]
        read = await asyncio.gather(
            *(self._waited_for(wants[place], looks[place]) for place in missing), return_exceptions=True
        )
        given = dict(zip(missing, read, strict=True))
        return [_no_interruption(one or given[place]) for place, one in enumerate(found)]

    async def bust(self, *tags: str) -> bool:
        """Whatever has one of `tags` is never given out again, to whoever asks from now on.

        False if Redis could not be told. Then this process gives out nothing that is kept until it has
        made everything void; what others do meanwhile, `busts.py` sees to.
        """
        is_told = False
        try:
            is_told = await self._told(tags)
        finally:
            if not is_told:  # or cancelled half-way
                self._line.owe()
            self._count("bust" if is_told else "bust_missed")
        return is_told

    async def void(self) -> None:
        """Nothing that is kept counts any more. Raises Unavailable."""
        await self._line.ask(lambda: self._void_unless(timedelta(0)))

    async def _told(self, tags: tuple[str, ...]) -> bool:
        if not await self._is_there(is_patient=True):
            return False
        remaining = iter(tags)
        while some := tuple(islice(remaining, TAGS_AT_ONCE)):
            try:
                self._saw(*await self._line.ask(partial(self._bust_some, some)))
            except Unavailable:
                self._count("failure")
                return False
        return True

    async def _bust_some(self, tags: tuple[str, ...]) -> tuple[bytes, int]:
        epoch, number = await self._bust(keys=[seq_key()], args=[*self._basis(), TAGS_AN_HOUR, *tags])
        return epoch, number

    def _at_hand(self, want: Want[V], look: _Look | None) -> Cached[V] | None:
        """What is kept and may be given out at once. Raises NotFound, where that is what is kept."""
        if look is None or look.status not in {Status.HIT, Status.EARLY}:
            return None
        if look.status is Status.EARLY:
            self._depart(want, look)
        try:
            return self._kept(want, look)
        except msgspec.DecodeError:
            logger.warning("cache_entry_unreadable", key=want.key)
            return None

    async def _given(self, want: Want[V], look: _Look | None) -> Cached[V]:
        if look is None:
            self._count("uncached")
            landed = await self._read(want, datetime.now(UTC))
            return Cached(value=landed.value, made_at=landed.made_at, age=landed.age)
        return self._at_hand(want, look) or await self._landed(want, look)

    async def _waited_for(self, want: Want[V], look: _Look | None) -> Cached[V]:
        """As `_given`, where another process may be reading it."""
        is_read_elsewhere = look is not None and look.status is Status.WAIT
        return await self._given(want, await self._look_for_long(want) if is_read_elsewhere else look)

    async def _look_for_long(self, want: Want[V]) -> _Look | None:
        """Look until it is there, or to be read by us; None while Redis is away."""
        loop = asyncio.get_running_loop()
        until, pause, has_waited = loop.time() + LEASE.total_seconds(), 0.005, False
        while True:
            looks = await self._looked([want])
            look = looks[0] if looks else None
            if look is None or look.status is not Status.WAIT:
                break
            if self._flight(want, look) in self._flights or loop.time() > until:
                break
            if not has_waited:
                has_waited = True
                self._count("waited")
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)
        return look

    async def _looked(self, wants: Sequence[Want[V]]) -> list[_Look] | None:
        """All at the same moment; None while Redis is away."""
        if not await self._is_there():
            return None
        tokens = [secrets.token_hex(8) for _ in wants]
        asked = [
            one for want, token in zip(wants, tokens, strict=True) for one in self._question(want, token)
        ]
        try:
            epoch, number, now_ms, *answers = await self._line.ask(
                lambda: self._look(
                    keys=[seq_key(), *[entry_key(self.namespace, want.key) for want in wants]],
                    args=[*self._basis(), _ms(LEASE), *asked],
                )
            )
        except Unavailable:
            self._count("failure")
            return None
        self._saw(epoch, number)
        return [
            _Look(
                status=Status(status),
                epoch=epoch.decode(),
                number=number,
                fence=fence,
                now_ms=now_ms,
                kind=kind.decode() if kind else "",
                value=value or b"",
                made_at_ms=int(made_at_ms or 0),
                token=token,
            )
            for token, (status, fence, kind, value, made_at_ms) in zip(tokens, answers, strict=True)
        ]

    def _question(self, want: Want[V], token: str) -> Iterator[str | float | bytes]:
        """What the script is told of one entry."""
        yield token
        yield -math.log(1 - _chance.random()) if want.refresh_early else 0
        yield msgspec.msgpack.encode(want.tags)
        yield int(want.tags_of is not None)

    def _kept(self, want: Want[V], look: _Look, *, is_stale: bool = False) -> Cached[V]:
        if look.kind == ABSENT:
            self._count("absent")
            raise NotFound(msgspec.msgpack.decode(look.value, type=str))
        value = msgspec.msgpack.decode(look.value, type=want.shape)
        self._count("stale" if is_stale else "hit")
        return Cached(
            value=value,
            made_at=_moment(look.made_at_ms),
            age=timedelta(milliseconds=look.now_ms - look.made_at_ms),
            is_stale=is_stale,
        )

    async def _landed(self, want: Want[V], look: _Look) -> Cached[V]:
        """What the flight brings that `look` may join, or is to begin."""
        self._count("joined" if self._flight(want, look) in self._flights else "miss")
        self._depart(want, look)
        try:
            # Whoever leaves does not take the answer away from those who wait for it, too.
            landed: _Landed[V] = await asyncio.shield(self._flights[self._flight(want, look)])
        except (VendorDown, Unavailable, TimeoutError):
            age = timedelta(milliseconds=look.now_ms - look.made_at_ms)
            if look.kind != VALUE or age > want.stale_if_error:
                raise
            return self._kept(want, look, is_stale=True)
        return Cached(value=landed.value, made_at=landed.made_at, age=landed.age)

    def _flight(self, want: Want[V], look: _Look) -> _Flight:
        return want.key, look.epoch, look.fence

    def _depart(self, want: Want[V], look: _Look) -> None:
        """Begin the one flight for this key since its last bust, if it is not under way."""
        flight = self._flight(want, look)
        if flight in self._flights:
            return
        task = self._flights[flight] = asyncio.create_task(self._fly(want, look))

        def landed(task: asyncio.Task[_Landed[V]]) -> None:
            del self._flights[flight]
            error = None if task.cancelled() else task.exception()
            if error and look.status is Status.EARLY:  # nobody waits whom it would tell
                logger.warning("cache_not_refreshed", key=want.key, error=str(error) or type(error).__name__)

        task.add_done_callback(landed)

    async def _fly(self, want: Want[V], look: _Look) -> _Landed[V]:
        is_kept = False
        try:
            landed = await self._read(want, _moment(look.now_ms))
            is_kept = await self._keep_value(want, look, landed.value)
        except NotFound as error:
            is_kept = bool(want.tags) and await self._store(
                want, look, ABSENT, str(error), want.tags, fresh=ABSENT_FOR, life=SHORTEST
            )
            raise
        finally:
            if not is_kept:
                await self._let_go(want, look)
        return landed

    async def _read(self, want: Want[V], began: datetime) -> _Landed[V]:
        started = time.perf_counter()
        value = await want.load()
        return _Landed(value, began, timedelta(seconds=time.perf_counter() - started))

    async def _keep_value(self, want: Want[V], look: _Look, value: V) -> bool:
        tags = dict.fromkeys([*want.tags, *(want.tags_of(value) if want.tags_of else ())])
        wished = want.ttl(value) if callable(want.ttl) else want.ttl
        fresh = _within_bounds(wished * (0.9 + 0.2 * _chance.random()))
        life = _within_bounds(max(fresh, want.stale_if_error))
        return await self._store(want, look, VALUE, value, tuple(tags), fresh=fresh, life=life)

    async def _store(
        self,
        want: Want[V],
        look: _Look,
        kind: str,
        value: V | str,
        tags: tuple[str, ...],
        *,
        fresh: timedelta,
        life: timedelta,
    ) -> bool:
        """Whether Redis was asked to; it may have refused."""
        body, named = msgspec.msgpack.encode(value), msgspec.msgpack.encode(tags)
        if len(body) + len(named) > LARGEST_BYTES:
            self._count("too_large")
            return False
        if not await self._is_there():
            return False
        entry = entry_key(self.namespace, want.key)
        try:
            said = await self._line.ask(
                lambda: self._keep(
                    keys=[seq_key(), entry_key(self.namespace, want.key), index_key(), sizes_key()],
                    args=[
                        *self._basis(),
                        look.token,
                        look.epoch,
                        look.number,
                        look.now_ms,
                        named,
                        kind,
                        body,
                        _ms(fresh),
                        _ms(life),
                        len(body) + len(named) + len(entry) + OVERHEAD_BYTES,
                        self.room.entries,
                        self.room.bytes,
                    ],
                )
            )
        except Unavailable:
            self._count("failure")
            return False
        self._count("kept" if said else "refused")
        self._count("evicted", max(0, said - 1))
        return True

    async def _let_go(self, want: Want[V], look: _Look) -> None:
        """Others need not wait for what was not kept."""
        if not await self._is_there():
            return
        try:
            await self._line.ask(
                lambda: self._release(keys=[entry_key(self.namespace, want.key)], args=[look.token])
            )
        except Unavailable:
            self._count("failure")

    async def _is_there(self, *, is_patient: bool = False) -> bool:
        """Whether Redis may be asked. After it was away, everything is made void first: once for all
        processes, unless a bust of ours is owed.
        """
        if not self._line.is_lost:
            return True
        try:
            return await self._line.mend(self._void_unless, is_patient=is_patient)
        except Unavailable:
            self._count("failure")
            return False

    async def _void_unless(self, within: timedelta) -> None:
        """Make everything void, unless somebody has `within` that time."""
        said = await self._void(keys=[seq_key()], args=[*self._basis(), _ms(within)])
        self._saw(*said)
        self._count("void")

    def _basis(self) -> Iterator[str | int]:
        """What every script begins with: where tags are, an epoch to begin with, and what we have seen."""
        yield tag_key("")
        yield secrets.token_hex(8)
        yield from self._seen

    def _saw(self, epoch: bytes, number: bytes | int) -> None:
        known, latest = self._seen
        now = epoch.decode()
        self._seen = (now, max(int(number), latest) if now == known else int(number))

    def _count(self, event: str, times: int = 1) -> None:
        self._counted[event] += times
        CACHE_EVENTS.labels(event).inc(times)


def entry_key(namespace: str, key: str) -> str:
    return f"{CACHE}{namespace}:{key}"


def tag_key(tag: str) -> str:
    return f"{CACHE}tag:{tag}"


def seq_key() -> str:
    return f"{CACHE}seq"


def index_key() -> str:
    return f"{CACHE}index"


def sizes_key() -> str:
    return f"{CACHE}sizes"


def _no_interruption(given: Cached[V] | BaseException) -> Cached[V] | Exception:
    """Raises what ends the caller, too."""
    if isinstance(given, BaseException) and not isinstance(given, Exception):
        raise given
    return given


def _within_bounds(life: timedelta) -> timedelta:
    return min(max(life, SHORTEST), LONGEST)


def _moment(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)

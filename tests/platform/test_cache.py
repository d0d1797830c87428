"""The fenced cache, on real Valkey: nothing busted is ever given out, whatever happens in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import msgspec
import pytest
from tests.conftest import Servers
from tests.platform.wire import Wire, wire_to
from tests.readiness.away import nobody, silence

from muster.errors import NotFound, Unavailable, VendorDown, VendorRefused
from muster.platform import cache_scripts as lua
from muster.platform.cache import LARGEST_BYTES, LONGEST, SHORTEST, Cache, Cached, Room, Want
from muster.platform.cache_line import Line
from muster.platform.redis import Redis, connect_briefly

MINUTE = timedelta(minutes=1)


class Deal(msgspec.Struct, frozen=True):
    name: str
    amount: int


class Origin:
    """Where things are read: slow when told so, and counting."""

    def __init__(self, value: int = 1) -> None:
        self.value = value
        self.asked = 0
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.began = asyncio.Event()

    async def read(self) -> int:
        self.asked += 1
        value = self.value
        self.began.set()
        await self.open.wait()
        if self.error:
            raise self.error
        return value

    def hold(self) -> None:
        self.open.clear()
        self.began.clear()


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    client = connect_briefly(servers.valkey.url)
    await client.flushdb()
    yield client
    await client.aclose()


@pytest.fixture
async def wire(servers: Servers) -> AsyncIterator[Wire]:
    async with wire_to(servers.valkey.url) as made:
        yield made


@pytest.fixture
async def new_cache(servers: Servers, redis: Redis) -> AsyncIterator[Callable[..., Cache]]:
    """Makes caches as other processes have them: each with a client and flights of its own."""
    assert await redis.dbsize() == 0
    made: list[Cache] = []

    def make(url: str | None = None, **how: object) -> Cache:
        made.append(Cache(connect_briefly(url or servers.valkey.url), **how))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for cache in made:
        await cache.close()


@pytest.fixture
def cache(new_cache: Callable[..., Cache]) -> Cache:
    return new_cache()


@pytest.fixture
def origin() -> Origin:
    return Origin()


async def test_a_value_is_read_once_and_given_again_as_what_it_was(cache: Cache):
    asked = 0

    async def deals() -> list[Deal]:
        nonlocal asked
        asked += 1
        return [Deal("Ocean", 7)]

    first = await cache.get("deals", list[Deal], deals, tags=["deals"])
    second = await cache.get("deals", list[Deal], deals, tags=["deals"])

    assert first.value == second.value == [Deal("Ocean", 7)]
    assert (asked, second.is_stale) == (1, False)
    assert second.made_at <= first.made_at + timedelta(seconds=1)
    assert timedelta(0) <= second.age < timedelta(seconds=5)
    assert cache.figures() == {"miss": 1, "kept": 1, "evicted": 0, "hit": 1}


async def test_a_bust_of_any_tag_is_seen_by_everybody_at_once(
    new_cache: Callable[..., Cache], origin: Origin
):
    one, other = new_cache(), new_cache()
    await one.get("x", int, origin.read, tags=["a", "b"])
    await other.get("x", int, origin.read, tags=["a", "b"])

    origin.value = 2
    assert await one.bust("b")

    assert (await other.get("x", int, origin.read, tags=["a", "b"])).value == 2
    assert origin.asked == 2


async def test_tags_may_come_from_the_value(cache: Cache):
    ids = [1, 2]

    async def page() -> list[int]:
        return list(ids)

    get = partial(cache.get, "page", list[int], page, tags_of=lambda found: [f"deal:{one}" for one in found])
    await get()
    ids.append(3)

    await cache.bust("deal:9")
    assert (await get()).value == [1, 2]
    await cache.bust("deal:2")
    assert (await get()).value == [1, 2, 3]


async def test_what_was_read_before_a_bust_is_not_kept_after_it(
    new_cache: Callable[..., Cache], origin: Origin
):
    reader, writer = new_cache(), new_cache()
    origin.hold()
    reading = asyncio.create_task(reader.get("x", int, origin.read, tags=["a"]))
    await origin.began.wait()

    origin.value = 2
    await writer.bust("a")
    origin.open.set()

    assert (await reading).value == 1
    assert reader.figures()["refused"] == 1
    assert (await writer.get("x", int, origin.read, tags=["a"])).value == 2


async def test_whoever_comes_after_a_bust_joins_no_reading_from_before_it(cache: Cache, origin: Origin):
    origin.hold()
    before = asyncio.create_task(cache.get("x", int, origin.read, tags=["a"]))
    await origin.began.wait()
    origin.value = 2
    await cache.bust("a")

    after = asyncio.create_task(cache.get("x", int, origin.read, tags=["a"]))
    await _until(lambda: origin.asked == 2)
    origin.open.set()

    assert ((await before).value, (await after).value) == (1, 2)


async def test_a_bust_of_something_else_keeps_readers_together(cache: Cache, origin: Origin):
    origin.hold()
    first = asyncio.create_task(cache.get("x", int, origin.read, tags=["a"]))
    await origin.began.wait()
    await cache.bust("b")

    second = asyncio.create_task(cache.get("x", int, origin.read, tags=["a"]))
    await _until(lambda: cache.figures().get("joined") == 1)
    origin.open.set()

    assert ((await first).value, (await second).value, origin.asked) == (1, 1, 1)


async def test_where_the_value_names_tags_any_bust_parts_the_readers(cache: Cache, origin: Origin):
    get = partial(cache.get, "x", int, origin.read, tags_of=lambda value: [f"deal:{value}"])
    origin.hold()
    before = asyncio.create_task(get())
    await origin.began.wait()
    await cache.bust("deal:1")

    after = asyncio.create_task(get())
    await _until(lambda: origin.asked == 2)
    origin.open.set()

    assert ((await before).value, (await after).value) == (1, 1)


async def test_eighty_readers_of_four_processes_ask_the_origin_once(
    new_cache: Callable[..., Cache], origin: Origin
):
    caches = [new_cache() for _ in range(4)]
    origin.hold()
    readers = [asyncio.create_task(caches[i % 4].get("x", int, origin.read, tags=["a"])) for i in range(80)]
    await origin.began.wait()
    await asyncio.sleep(0.1)
    origin.open.set()

    assert {(await reader).value for reader in readers} == {1}
    assert origin.asked == 1


async def test_whoever_waited_long_enough_for_another_process_reads_by_itself(
    new_cache: Callable[..., Cache], origin: Origin
):
    slow, other = new_cache(), new_cache()
    origin.hold()
    hanging = asyncio.create_task(slow.get("x", int, origin.read))
    await origin.began.wait()
    began = time.monotonic()

    found = await other.get("x", int, Origin(5).read)

    assert found.value == 5
    assert 1.5 < time.monotonic() - began < 3
    hanging.cancel()


async def test_a_reading_that_failed_lets_the_next_process_go_on_at_once(
    new_cache: Callable[..., Cache], origin: Origin
):
    one, other = new_cache(), new_cache()
    origin.hold()
    origin.error = VendorDown("hubspot", "503")
    failing = asyncio.create_task(one.get("x", int, origin.read))
    await origin.began.wait()
    waiting = asyncio.create_task(other.get("x", int, Origin(5).read))
    await _until(lambda: other.figures().get("waited") == 1)
    began = time.monotonic()
    origin.open.set()

    with pytest.raises(VendorDown):
        await failing
    assert (await waiting).value == 5
    assert time.monotonic() - began < 0.5


async def test_the_first_caller_may_leave_without_taking_the_answer_from_the_others(
    cache: Cache, origin: Origin
):
    origin.hold()
    first = asyncio.create_task(cache.get("x", int, origin.read))
    await origin.began.wait()
    second = asyncio.create_task(cache.get("x", int, origin.read))
    await _until(lambda: cache.figures().get("joined") == 1)

    first.cancel()
    await asyncio.wait([first])
    origin.open.set()

    assert first.cancelled()
    assert ((await second).value, origin.asked) == (1, 1)


async def test_what_has_ended_is_given_with_its_age_while_the_origin_is_down(
    cache: Cache, redis: Redis, origin: Origin
):
    get = partial(cache.get, "x", int, origin.read, tags=["a"], ttl=SHORTEST, stale_if_error=LONGEST)
    await get()
    await _grow_old(redis, "x", 20 * MINUTE)
    origin.error = VendorDown("hubspot", "503")

    found = await get()

    assert (found.value, found.is_stale) == (1, True)
    assert 19 * MINUTE < found.age < 21 * MINUTE
    assert cache.figures()["stale"] == 1
    origin.error, origin.value = None, 2
    assert ((await get()).value, (await get()).is_stale) == (2, False)


@pytest.mark.parametrize("error", [VendorRefused("hubspot", "401"), RuntimeError("a bug")])
async def test_only_an_origin_that_is_down_is_stood_in_for(
    cache: Cache, redis: Redis, origin: Origin, error: Exception
):
    get = partial(cache.get, "x", int, origin.read, ttl=SHORTEST, stale_if_error=LONGEST)
    await get()
    await _grow_old(redis, "x", 20 * MINUTE)
    origin.error = error

    with pytest.raises(type(error)):
        await get()


async def test_what_is_too_old_or_busted_does_not_stand_in(cache: Cache, redis: Redis, origin: Origin):
    get = partial(cache.get, "x", int, origin.read, tags=["a"], ttl=SHORTEST, stale_if_error=10 * MINUTE)
    await get()
    origin.error = VendorDown("hubspot", "503")

    await _grow_old(redis, "x", 20 * MINUTE)
    with pytest.raises(VendorDown):
        await get()

    origin.error = None
    await get()
    await cache.bust("a")
    origin.error = VendorDown("hubspot", "503")
    with pytest.raises(VendorDown):
        await get()


async def test_not_found_is_kept_for_less_than_a_minute_in_a_key_that_lives_as_any_other(
    cache: Cache, redis: Redis, origin: Origin
):
    origin.error = NotFound("There is no such deal.")
    for _ in range(2):
        with pytest.raises(NotFound, match="no such deal"):
            await cache.get("x", int, origin.read, tags=["deals"])
    assert origin.asked == 1
    assert SHORTEST - MINUTE < await _life(redis, "x") <= SHORTEST

    origin.error = None
    await cache.bust("deals")
    assert (await cache.get("x", int, origin.read, tags=["deals"])).value == 1

    origin.error = NotFound("Gone.")
    await cache.bust("deals")
    with pytest.raises(NotFound):
        await cache.get("x", int, origin.read, tags=["deals"])
    await _grow_old(redis, "x", MINUTE)
    origin.error = None
    assert (await cache.get("x", int, origin.read, tags=["deals"])).value == 1


async def test_not_found_without_a_tag_is_not_kept_since_nothing_could_end_it(cache: Cache, origin: Origin):
    origin.error = NotFound("No.")
    for _ in range(2):
        with pytest.raises(NotFound):
            await cache.get("x", int, origin.read)

    assert origin.asked == 2


async def test_other_failures_are_not_kept(cache: Cache, origin: Origin):
    origin.error = VendorDown("hubspot", "503")
    with pytest.raises(VendorDown):
        await cache.get("x", int, origin.read, tags=["a"])
    origin.error = None

    assert (await cache.get("x", int, origin.read, tags=["a"])).value == 1


async def test_only_what_is_declared_is_read_anew_before_it_ends(
    new_cache: Callable[..., Cache], redis: Redis, origin: Origin
):
    cache = new_cache()
    early = partial(cache.get, "x", int, origin.read, ttl=SHORTEST, refresh_early=True)
    late = partial(cache.get, "y", int, Origin().read, ttl=SHORTEST)
    for get, key in ((early, "x"), (late, "y")):
        await get()
        # As if reading took an hour: by chance, whoever asks now is bound to be early.
        await redis.hset(f"cache:v0.1.0:{key}", "cost", 10**12)
    origin.value = 2

    assert (await early()).value == 1
    await _until(lambda: origin.asked == 2)
    await late()

    assert (await early()).value in {1, 2}
    assert cache.figures()["miss"] == 2


@pytest.mark.parametrize(
    "ttl", [timedelta(0), MINUTE, 5 * MINUTE, 30 * MINUTE, 60 * MINUTE, timedelta(days=1)]
)
async def test_every_key_lives_from_five_minutes_to_an_hour(
    cache: Cache, redis: Redis, origin: Origin, ttl: timedelta
):
    lives = set()
    for i in range(12):
        await cache.get(f"x{i}", int, origin.read, tags=["a"], ttl=ttl)
        lives.add(await _life(redis, f"x{i}"))
    await cache.bust("a")

    async for key in redis.scan_iter():
        assert timedelta(minutes=4, seconds=59) < timedelta(milliseconds=await redis.pttl(key)) <= LONGEST, (
            key
        )
    if ttl == 30 * MINUTE:
        assert 26.9 * MINUTE < min(lives) < max(lives) <= 33 * MINUTE
        assert max(lives) - min(lives) > timedelta(seconds=10)


async def test_a_tag_outlives_every_entry_that_it_busted(cache: Cache, redis: Redis, origin: Origin):
    await cache.get("x", int, origin.read, tags=["a"], ttl=LONGEST)
    await cache.get("y", int, origin.read, tags=["a"], ttl=SHORTEST)
    await cache.bust("a")

    tag = await redis.pexpiretime("cache:tag:a")
    assert tag >= await redis.pexpiretime("cache:v0.1.0:x")
    assert await redis.pexpiretime("cache:seq") >= tag


async def test_when_the_sequence_is_lost_nothing_that_is_kept_counts(
    new_cache: Callable[..., Cache], redis: Redis, origin: Origin
):
    one, other = new_cache(), new_cache()
    await one.bust("a")
    await one.get("x", int, origin.read, tags=["a"])
    origin.value = 2
    await redis.delete("cache:seq")

    assert (await other.get("x", int, origin.read, tags=["a"])).value == 2
    assert (await one.get("x", int, origin.read, tags=["a"])).value == 2


async def test_a_reading_that_a_lost_sequence_overtook_is_not_kept(
    new_cache: Callable[..., Cache], redis: Redis, origin: Origin
):
    one, other = new_cache(), new_cache()
    origin.hold()
    reading = asyncio.create_task(one.get("x", int, origin.read, tags=["a"]))
    await origin.began.wait()
    origin.value = 2
    await other.bust("a")
    await redis.flushdb()
    origin.open.set()
    await reading

    assert (await other.get("x", int, origin.read, tags=["a"])).value == 2


async def test_a_replica_that_took_over_without_the_last_bust_is_noticed(
    new_cache: Callable[..., Cache], redis: Redis, origin: Origin
):
    cache = new_cache()
    await cache.get("x", int, origin.read, tags=["a"])
    before = {key: await redis.dump(key) or b"" for key in (b"cache:seq", b"cache:v0.1.0:x")}
    origin.value = 2
    await cache.bust("a")
    await redis.flushdb()
    for key, dumped in before.items():
        await redis.restore(key, 600_000, dumped)

    assert (await cache.get("x", int, origin.read, tags=["a"])).value == 2


async def test_what_another_release_kept_is_not_read(new_cache: Callable[..., Cache], origin: Origin):
    await new_cache(namespace="v0.0.9").get("x", int, origin.read)

    await new_cache().get("x", int, origin.read)

    assert origin.asked == 2


async def test_what_cannot_be_read_any_more_is_read_at_its_origin(cache: Cache, origin: Origin):
    async def words() -> str:
        return "words"

    await cache.get("x", str, words)

    assert (await cache.get("x", int, origin.read)).value == 1
    assert (await cache.get("x", int, origin.read)).value == 1
    assert origin.asked == 1


async def test_a_key_that_is_no_entry_is_done_away_with(cache: Cache, redis: Redis, origin: Origin):
    await redis.set("cache:v0.1.0:x", "planted")

    for _ in range(2):
        assert (await cache.get("x", int, origin.read)).value == 1

    assert (origin.asked, cache.figures().get("failure")) == (1, None)


async def test_what_would_end_first_makes_room(new_cache: Callable[..., Cache], redis: Redis, origin: Origin):
    cache = new_cache(room=Room(entries=10))
    for i in range(30):
        await cache.get(f"x{i}", int, origin.read, tags=["a"], ttl=LONGEST if i == 0 else SHORTEST)

    kept = [key async for key in redis.scan_iter(match="cache:v*")]
    assert len(kept) == 10
    assert b"cache:v0.1.0:x0" in kept
    assert (await cache.size()).entries == 10
    assert cache.figures()["evicted"] == 20


async def test_bytes_are_bounded_too_and_counted_right(new_cache: Callable[..., Cache], redis: Redis):
    cache = new_cache(room=Room(bytes=100_000))

    async def large() -> bytes:
        return b"x" * 20_000

    for i in range(12):
        await cache.get(f"x{i}", bytes, large)
    await cache.get("x11", bytes, large)

    size = await cache.size()
    assert size.entries == 4
    assert 80_000 < size.bytes <= 100_000
    assert len([key async for key in redis.scan_iter(match="cache:v*")]) == 4


async def test_what_is_too_large_is_given_and_not_kept(cache: Cache, redis: Redis):
    async def huge() -> bytes:
        return b"x" * LARGEST_BYTES

    assert len((await cache.get("x", bytes, huge)).value) == LARGEST_BYTES
    assert cache.figures()["too_large"] == 1
    assert [key async for key in redis.scan_iter(match="cache:v*")] == []


async def test_more_tags_than_are_told_apart_make_everything_void(
    new_cache: Callable[..., Cache], redis: Redis, origin: Origin
):
    cache = new_cache()
    await cache.get("x", int, origin.read, tags=["a"])
    await redis.hset("cache:seq", mapping={"tags": 49_999, "tags_since": int(time.time() * 1000)})
    await cache.bust("b")
    assert origin.asked == (await cache.get("x", int, origin.read, tags=["a"])).value

    await cache.bust("c")
    await cache.get("x", int, origin.read, tags=["a"])

    assert origin.asked == 2
    assert not await redis.exists("cache:tag:c")


async def test_a_bust_of_thousands_of_tags_reaches_them_all(cache: Cache, origin: Origin):
    await cache.get("x", int, origin.read, tags=["deal:2999"])
    await cache.bust(*(f"deal:{i}" for i in range(3000)))
    await cache.get("x", int, origin.read, tags=["deal:2999"])

    assert origin.asked == 2


async def test_a_thousand_entries_are_busted_in_a_few_commands(cache: Cache, redis: Redis, origin: Origin):
    for first in range(0, 1000, 100):
        wants = (cache.get(f"x{first + i}", int, origin.read, tags=["a"]) for i in range(100))
        await asyncio.gather(*wants)
    before = (await redis.info("stats"))["total_commands_processed"]
    await cache.bust("a")
    after = (await redis.info("stats"))["total_commands_processed"]

    assert after - before < 20  # those of the script among them
    assert await redis.exists("cache:v0.1.0:x1")


# While Redis is away


async def test_while_redis_refuses_everything_is_read_at_its_origin(
    new_cache: Callable[..., Cache], origin: Origin
):
    with nobody() as place:
        cache = new_cache(f"redis://{place}")
        began = time.monotonic()
        for _ in range(20):
            assert (await cache.get("x", int, origin.read)).value == 1
        assert time.monotonic() - began < 0.5

    assert origin.asked == 20
    assert cache.figures()["uncached"] == 20


async def test_while_redis_is_silent_one_caller_a_second_waits_half_a_second(
    new_cache: Callable[..., Cache], origin: Origin
):
    with silence() as place:
        cache = new_cache(f"redis://{place}")
        await _took(0.3, 0.9, cache.get("x", int, origin.read))
        await _took(0, 0.1, cache.get("x", int, origin.read))
        await asyncio.sleep(1.1)
        first, second = (asyncio.create_task(cache.get("x", int, origin.read)) for _ in range(2))
        await _took(0, 0.1, second)
        await _took(0.2, 0.9, first)


async def test_a_process_whose_bust_failed_gives_out_nothing_from_before_it(
    new_cache: Callable[..., Cache], wire: Wire, origin: Origin
):
    writer, other = new_cache(wire.url, line=Line(pause=timedelta(seconds=0.2))), new_cache()
    get = partial(writer.get, "x", int, origin.read, tags=["a"])
    await get()
    with wire.being_cut():
        origin.value = 2
        assert not await writer.bust("a")
        assert (await get()).value == 2

    assert (await get()).value == 2  # the pause is not over: read at its origin
    await asyncio.sleep(0.25)
    assert (await get()).value == 2
    assert (await other.get("x", int, origin.read, tags=["a"])).value == 2
    assert writer.figures()["void"] == 1
    assert writer.figures()["bust_missed"] == 1


async def test_a_bust_tries_though_the_pause_is_not_over(
    new_cache: Callable[..., Cache], wire: Wire, origin: Origin
):
    writer, other = new_cache(wire.url), new_cache()
    await writer.get("x", int, origin.read, tags=["a"])
    with wire.being_cut():
        assert not await writer.bust("b")
    origin.value = 2

    assert await writer.bust("a")
    assert (await other.get("x", int, origin.read, tags=["a"])).value == 2


async def test_after_an_outage_what_was_kept_is_void_once_for_all_processes(
    new_cache: Callable[..., Cache], wire: Wire, origin: Origin
):
    caches = [new_cache(wire.url, line=Line(pause=timedelta(seconds=0.05))) for _ in range(3)]
    for cache in caches:
        await cache.get("x", int, origin.read)
    with wire.being_cut():
        for cache in caches:
            await cache.get("x", int, origin.read)
        await asyncio.sleep(0.06)
    assert origin.asked == 4

    for cache in caches:
        await cache.get("x", int, origin.read)

    assert origin.asked == 5


async def test_a_bust_that_was_broken_off_counts_as_missed(
    new_cache: Callable[..., Cache], wire: Wire, origin: Origin
):
    cache = new_cache(wire.url, line=Line(pause=timedelta(seconds=0.01)))
    await cache.get("x", int, origin.read, tags=["a"])
    wire.fall_silent()
    busting = asyncio.create_task(cache.bust("a"))
    await asyncio.sleep(0.05)
    busting.cancel()
    await asyncio.wait([busting])
    wire.mend()
    origin.value = 2

    assert (await cache.get("x", int, origin.read, tags=["a"])).value == 2


async def test_what_redis_said_before_a_bust_failed_is_not_believed_after_it(
    new_cache: Callable[..., Cache], wire: Wire, origin: Origin
):
    cache = new_cache(wire.url)
    await cache.get("x", int, origin.read, tags=["a"])
    wire.fall_silent()
    getting = asyncio.create_task(cache.get("x", int, origin.read, tags=["a"]))
    await asyncio.sleep(0.05)
    busting = asyncio.create_task(cache.bust("a"))
    await asyncio.sleep(0.05)
    origin.value = 2
    busting.cancel()
    await asyncio.wait([busting])
    wire.mend()

    assert (await getting).value == 2


async def test_what_was_being_read_when_redis_was_lost_is_not_kept(
    new_cache: Callable[..., Cache], wire: Wire, origin: Origin
):
    cache = new_cache(wire.url, line=Line(pause=timedelta(seconds=0.02)))
    origin.hold()
    reading = asyncio.create_task(cache.get("x", int, origin.read, tags=["a"]))
    await origin.began.wait()
    origin.value = 2
    with wire.being_cut():
        assert not await cache.bust("a")
    await asyncio.sleep(0.03)
    origin.open.set()

    assert (await reading).value == 1
    assert (await cache.get("x", int, origin.read, tags=["a"])).value == 2


async def test_void_says_when_it_cannot(new_cache: Callable[..., Cache]):
    with nobody() as place, pytest.raises(Unavailable):
        await new_cache(f"redis://{place}").void()


async def test_a_script_that_is_applied_twice_does_the_same(cache: Cache, redis: Redis, origin: Origin):
    """A client may try once more when an answer was lost."""
    bust = redis.register_script(lua.BUST)
    await cache.get("x", int, origin.read, tags=["a"])
    for _ in range(2):
        await bust(keys=["cache:seq"], args=["cache:tag:", "e" * 16, "", 0, 50_000, "a"])
    origin.value = 2

    assert (await cache.get("x", int, origin.read, tags=["a"])).value == 2


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(3):
        while not is_so():  # noqa: ASYNC110  what is waited for is a figure
            await asyncio.sleep(0.005)


async def _took(least: float, most: float, work: Awaitable[object]) -> None:
    began = time.monotonic()
    await work
    assert least <= time.monotonic() - began < most


async def _life(redis: Redis, key: str) -> timedelta:
    return timedelta(milliseconds=await redis.pttl(f"cache:v0.1.0:{key}"))


async def _grow_old(redis: Redis, key: str, age: timedelta) -> None:
    """Let time pass for one entry."""
    ms = int(age.total_seconds() * 1000)
    for name in ("made_at", "fresh_until"):
        await redis.hincrby(f"cache:v0.1.0:{key}", name, -ms)


# Many at once


def wanted(origin: Origin, key: str, **how: Any) -> Want[int]:
    return Want(key=key, shape=int, load=origin.read, **how)


async def test_many_come_with_one_trip_each_as_it_stands(cache: Cache, redis: Redis):
    origins = [Origin(number) for number in range(5)]
    wants = [wanted(origin, f"n{number}", tags=(f"t{number}",)) for number, origin in enumerate(origins)]
    assert [one.value for one in values(await cache.get_all(wants))] == [0, 1, 2, 3, 4]
    origins[3].value = 33
    await cache.bust("t3")
    trips = await scripts_run(redis)

    found = values(await cache.get_all(wants[:3]))

    assert await scripts_run(redis) == trips + 1
    assert [one.value for one in found] == [0, 1, 2]
    assert [one.value for one in values(await cache.get_all(wants))] == [0, 1, 2, 33, 4]
    assert [origin.asked for origin in origins] == [1, 1, 1, 2, 1]


async def test_one_that_fails_among_many_is_told_in_its_place(cache: Cache):
    good, bad, absent = Origin(1), Origin(2), Origin(3)
    bad.error, absent.error = ZeroDivisionError("bad"), NotFound("Nobody here.")
    wants = [wanted(good, "good"), wanted(bad, "bad"), wanted(absent, "absent", tags=("t",))]

    for _ in range(2):
        first, second, third = await cache.get_all(wants)
        assert isinstance(first, Cached)
        assert first.value == 1
        assert isinstance(second, ZeroDivisionError)
        assert isinstance(third, NotFound)
    assert [good.asked, bad.asked, absent.asked] == [1, 2, 1]


async def test_readers_of_many_and_of_one_share_a_reading(cache: Cache, new_cache: Callable[..., Cache]):
    origin, other = Origin(7), new_cache()
    origin.hold()
    asking = [
        asyncio.create_task(cache.get("n", int, origin.read)),
        asyncio.create_task(cache.get_all([wanted(origin, "n"), wanted(Origin(8), "m")])),
        asyncio.create_task(other.get_all([wanted(origin, "n")])),
    ]
    await asyncio.sleep(0.05)
    origin.open.set()
    await asyncio.gather(*asking)

    assert origin.asked == 1


async def test_whoever_is_ended_while_many_are_read_is_ended(cache: Cache):
    origin = Origin()
    origin.hold()
    asking = asyncio.create_task(cache.get_all([wanted(origin, "n")]))
    await origin.began.wait()
    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_many_are_read_at_their_origins_while_redis_is_away(new_cache: Callable[..., Cache]):
    with nobody() as place:
        away = new_cache(f"redis://{place}")
        found = values(await away.get_all([wanted(Origin(1), "a"), wanted(Origin(2), "b")]))

    assert [one.value for one in found] == [1, 2]


def values(found: list[Cached[int] | Exception]) -> list[Cached[int]]:
    assert all(isinstance(one, Cached) for one in found), found
    return [one for one in found if isinstance(one, Cached)]


async def scripts_run(redis: Redis) -> int:
    stats: Any = await redis.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])

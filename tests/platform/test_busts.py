"""Busts survive whoever should have made them: a crash, an outage of Redis, a write of unknown outcome."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from tests.conftest import Servers
from tests.platform.wire import Wire, wire_to
from tests.town import Town, eventually

from muster.errors import Conflict, Unavailable, VendorDown, VendorRefused
from muster.platform.busts import Busts
from muster.platform.cache import Cache
from muster.platform.cache_line import Line
from muster.platform.redis import connect_briefly


class Colour:
    """A row of PostgreSQL that two processes see, and one of them behind a wire that can be cut."""

    def __init__(self, town: Town, cut_off: Cache) -> None:
        self.town = town
        self.cache = town.portal.cache
        self.busts = town.portal.busts
        self.cut_off = cut_off
        self.cut_off_busts = Busts(town.portal.database, cut_off)

    async def read(self) -> str:
        return str(await self.town.value("SELECT value FROM colours"))

    async def seen(self, cache: Cache | None = None) -> str:
        return (await (cache or self.cache).get("colour", str, self.read, tags=["colours"])).value

    async def paint(self, value: str, busts: Busts | None = None) -> bool:
        async with self.town.portal.database.transaction() as tx:
            await tx.execute("UPDATE colours SET value = %s", [value])
            announcement = await (busts or self.busts).announce(tx, "colours")
            assert not announcement.is_told
        return announcement.is_told

    async def waiting(self) -> int:
        return (await self.busts.waiting()).busts


@pytest.fixture
async def wire(servers: Servers) -> AsyncIterator[Wire]:
    async with wire_to(servers.valkey.url) as made:
        yield made


@pytest.fixture
async def colour(town: Town, wire: Wire) -> AsyncIterator[Colour]:
    await town.raw_execute("CREATE TABLE colours (value text)")
    await town.raw_execute("INSERT INTO colours VALUES ('red')")
    await town.raw_execute("GRANT SELECT, UPDATE ON colours TO PUBLIC")
    cut_off = Cache(connect_briefly(wire.url), line=Line(pause=timedelta(seconds=0.05)))
    yield Colour(town, cut_off)
    await cut_off.close()
    await town.raw_execute("DROP TABLE colours")


async def test_after_the_transaction_nobody_sees_what_was(colour: Colour):
    assert [await colour.seen(), await colour.seen(colour.cut_off)] == ["red", "red"]

    assert await colour.paint("blue")

    assert [await colour.seen(), await colour.seen(colour.cut_off)] == ["blue", "blue"]


async def test_what_is_rolled_back_busts_nothing(colour: Colour):
    await colour.seen()
    with pytest.raises(RuntimeError):  # noqa: PT012  the transaction is what is left by it
        async with colour.town.portal.database.transaction() as tx:
            await colour.busts.announce(tx, "colours")
            raise RuntimeError

    assert await colour.waiting() == 0
    assert "bust" not in colour.cache.figures()


async def test_a_crash_between_commit_and_bust_is_made_good_by_the_worker(colour: Colour):
    await colour.seen()
    # As it lies there when the process dies right after its commit.
    await colour.town.execute("UPDATE colours SET value = 'blue'")
    await colour.town.execute("INSERT INTO cache_busts (tags) VALUES ('{colours}')")
    assert await colour.seen() == "red"

    assert await colour.busts.relay() == 1

    assert await colour.seen() == "blue"
    assert await colour.waiting() == 0


async def test_while_redis_is_cut_off_the_write_stands_and_says_that_others_may_lag(
    colour: Colour, wire: Wire
):
    await colour.seen(colour.cut_off)
    with wire.being_cut():
        assert not await colour.paint("blue", colour.cut_off_busts)
        assert await colour.seen(colour.cut_off) == "blue"

    await colour.busts.relay()
    assert await colour.seen() == "blue"
    await asyncio.sleep(0.06)
    assert await colour.seen(colour.cut_off) == "blue"


async def test_what_redis_cannot_be_told_waits(colour: Colour, wire: Wire):
    await colour.paint("blue")
    with wire.being_cut(), pytest.raises(Unavailable):
        await colour.cut_off_busts.relay()

    assert await colour.waiting() == 1
    assert await colour.cut_off_busts.relay() == 1


async def test_the_worker_relays_by_itself(colour: Colour):
    portal = colour.town.portal
    await colour.seen()
    await colour.town.execute("UPDATE colours SET value = 'blue'")
    await colour.town.execute("INSERT INTO cache_busts (tags) VALUES ('{colours}')")
    (job,) = portal.busts.jobs()
    await portal.queues.schedule([job])

    async with colour.town.working():

        async def is_empty() -> bool:
            return await colour.waiting() == 0

        await eventually(is_empty)

    assert await colour.seen() == "blue"


async def test_hundreds_of_busts_are_relayed_at_once(colour: Colour):
    await colour.town.execute(
        "INSERT INTO cache_busts (tags) SELECT ARRAY['t' || i] FROM generate_series(1, 450) i"
    )

    assert await colour.busts.relay() == 450
    assert await colour.waiting() == 0


async def test_a_write_outside_busts_before_and_after_it(colour: Colour):
    await colour.seen()
    async with colour.busts.around("colours") as announcement:
        before = colour.cache.figures()["bust"]
        assert await colour.seen() == "red"  # read and kept while the write is under way
        await colour.town.execute("UPDATE colours SET value = 'blue'")

    assert (before, colour.cache.figures()["bust"], announcement.is_told) == (1, 2, True)
    assert await colour.seen() == "blue"
    await colour.busts.relay()
    assert await colour.waiting() == 0


async def test_a_write_that_was_refused_outside_is_over(colour: Colour):
    for refusal in (VendorRefused("hubspot", "400"), Conflict("no")):
        with pytest.raises(type(refusal)):
            async with colour.busts.around("colours"):
                raise refusal

    await colour.busts.relay()
    assert await colour.waiting() == 0


@pytest.mark.parametrize("how", ["503", "time-out", "crash"])
async def test_a_write_of_unknown_outcome_is_busted_until_it_cannot_take_effect_any_more(
    colour: Colour, how: str
):
    with pytest.raises((VendorDown, TimeoutError, RuntimeError)):  # noqa: PT012  each ends the block its way
        async with colour.busts.around("colours", deadline=timedelta(seconds=0.05)):
            if how == "503":
                raise VendorDown("hubspot", "503")
            if how == "crash":
                raise RuntimeError
            await asyncio.sleep(1)
    assert await colour.seen() == "red"
    await colour.town.execute("UPDATE colours SET value = 'blue'")  # it took effect after all

    assert await colour.busts.relay() == 1

    assert await colour.seen() == "blue"
    assert await colour.waiting() == 1
    await colour.town.execute("UPDATE cache_busts SET until = now()")
    await colour.busts.relay()
    assert await colour.waiting() == 0


async def test_nothing_is_written_outside_that_cannot_be_written_down(colour: Colour):
    await colour.town.raw_execute("ALTER TABLE cache_busts RENAME TO hidden")
    try:
        with pytest.raises(Unavailable):
            async with colour.busts.around("colours"):
                pytest.fail("was let in")
    finally:
        await colour.town.raw_execute("ALTER TABLE hidden RENAME TO cache_busts")

"""Two processes and a hostile schedule: whatever the order, nobody is given what was busted before."""

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from tests.conftest import Servers
from tests.platform.wire import Wire, wire_to
from typing_extensions import override

from muster.platform.cache import Cache
from muster.platform.cache_line import Line
from muster.platform.redis import connect_briefly

KEYS = ("x", "y")
TAGS = {"x": ["a", "b"], "y": ["b"]}
WHO = st.sampled_from((0, 1))
KEY = st.sampled_from(KEYS)


class Reading:
    """A reader who began when `least` was known to everybody, and whose origin is held until it is let go."""

    def __init__(self, key: str, least: int) -> None:
        self.key, self.least = key, least
        self.let_go = asyncio.Event()
        self.task: asyncio.Task[Any] | None = None


class Origins(RuleBasedStateMachine):
    """Origins count up. `told[key]` is the newest value whose bust came through: no later reader, whoever it
    is, may see less. `own[who][key]` is the same for whoever wrote it, where the bust did not come through.
    """

    loop: asyncio.AbstractEventLoop
    url: str

    def __init__(self) -> None:
        super().__init__()
        self.origin = dict.fromkeys(KEYS, 0)
        self.told = dict.fromkeys(KEYS, 0)
        self.own = [dict.fromkeys(KEYS, 0), dict.fromkeys(KEYS, 0)]
        self.readings: list[Reading] = []
        self.is_cut = False
        self.run(self._open())

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    async def _open(self) -> None:
        self.stack = wire_to(self.url)
        self.wire: Wire = await self.stack.__aenter__()
        self.clients = [connect_briefly(self.url), connect_briefly(self.wire.url)]
        self.caches = [Cache(client, line=Line(pause=timedelta(0))) for client in self.clients]
        await self.clients[0].flushdb()

    def least(self, who: int, key: str) -> int:
        return max(self.told[key], self.own[who][key])

    @rule(who=WHO, key=KEY)
    def read(self, who: int, key: str) -> None:
        least = self.least(who, key)

        async def load() -> int:
            return self.origin[key]

        async def read() -> int:
            reading = asyncio.create_task(self.caches[who].get(key, int, load, tags=TAGS[key]))
            await asyncio.wait([reading], timeout=0.03)
            if not reading.done():  # it has joined one that is held
                self._let_go(key)
            return (await reading).value

        assert least <= self.run(read()) <= self.origin[key]

    @precondition(lambda self: len(self.readings) < 4)
    @rule(who=WHO, key=KEY)
    def begin_to_read(self, who: int, key: str) -> None:
        reading = Reading(key, self.least(who, key))

        async def load() -> int:
            value = self.origin[key]
            await reading.let_go.wait()
            return value

        async def begin() -> None:
            reading.task = asyncio.create_task(self.caches[who].get(key, int, load, tags=TAGS[key]))
            await asyncio.sleep(0.01)

        self.run(begin())
        self.readings.append(reading)

    @precondition(lambda self: self.readings)
    @rule(which=st.integers(0, 3))
    def let_one_go_on(self, which: int) -> None:
        self._end(self.readings.pop(which % len(self.readings)))

    @precondition(lambda self: self.readings)
    @rule(which=st.integers(0, 3))
    def a_reader_leaves(self, which: int) -> None:
        reading = self.readings.pop(which % len(self.readings))

        async def leave() -> None:
            assert reading.task
            reading.task.cancel()
            await asyncio.wait([reading.task])
            reading.let_go.set()
            await asyncio.sleep(0.01)

        self.run(leave())

    @rule(who=WHO, tag=st.sampled_from(("a", "b")))
    def write(self, who: int, tag: str) -> None:
        """Everything with the tag changes at its origin, and is busted by whoever changed it."""
        for key in KEYS:
            self.origin[key] += tag in TAGS[key]
        is_told = self.run(self.caches[who].bust(tag))
        for key in KEYS:
            if tag in TAGS[key]:
                self.own[who][key] = self.origin[key]
                if is_told:
                    self.told[key] = self.origin[key]

    @rule()
    def the_sequence_is_lost(self) -> None:
        self.run(self.clients[0].delete("cache:seq"))

    @rule()
    def everything_is_lost(self) -> None:
        self.run(self.clients[0].flushdb())

    @precondition(lambda self: not self.is_cut)
    @rule()
    def the_second_is_cut_off(self) -> None:
        self.wire.cut()
        self.is_cut = True

    @precondition(lambda self: self.is_cut)
    @rule()
    def the_second_is_back(self) -> None:
        self.wire.mend()
        self.is_cut = False

    @invariant()
    def every_key_ends(self) -> None:
        async def lives() -> list[int]:
            client = self.clients[0]
            return [await client.ttl(key) async for key in client.scan_iter()]

        assert all(0 < life <= 3600 for life in self.run(lives()))

    @override
    def teardown(self) -> None:
        for reading in self.readings:
            self._end(reading)
        self.run(self._close())

    def _let_go(self, key: str) -> None:
        for each in self.readings:
            if each.key == key:
                each.let_go.set()

    def _end(self, reading: Reading) -> None:
        async def end() -> int:
            assert reading.task
            reading.let_go.set()
            self._let_go(reading.key)  # it may have joined another
            return int((await reading.task).value)

        assert reading.least <= self.run(end()) <= self.origin[reading.key]

    async def _close(self) -> None:
        for cache in self.caches:
            await cache.close()
        await self.stack.__aexit__(None, None, None)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def test_in_whatever_order_nobody_is_given_what_was_busted(servers: Servers):
    class Machine(Origins):
        loop = asyncio.new_event_loop()
        url = servers.valkey.url

    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=30,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        Machine.loop.close()

"""Redis that is away: known fast, told to whoever asks, and over as soon as it is back."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from tests.town import Town, Visitor, eventually, opened

from muster.embedded.valkey import Valkey
from muster.settings import Secret, Settings

CY = "cy@acme.test"


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.stop()


@contextmanager
def frozen(server: Valkey) -> Iterator[None]:
    """It takes connections and answers nothing."""
    assert server.pid
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def asked(visitor: Visitor) -> tuple[httpx2.Response, float]:
    started = time.perf_counter()
    answer = await visitor.get("/people")
    return answer, time.perf_counter() - started


async def test_a_silent_redis_keeps_one_caller_waiting_and_nobody_after_them(
    own_valkey: Valkey, settings: Settings
):
    async with opened(replace(settings, redis_url=Secret(own_valkey.url))) as town, town.signed_in(CY) as cy:
        with frozen(own_valkey):
            first, waited = await asked(cy)
            assert (first.status_code, first.headers["retry-after"]) == (503, "5")
            assert waited < 3
            for _ in range(3):
                later = await asyncio.gather(*(asked(cy) for _ in range(5)))
                assert {answer.status_code for answer, _ in later} == {503}
                assert max(seconds for _, seconds in later) < 1.5
                await asyncio.sleep(0.3)

        started = time.perf_counter()
        await eventually(lambda: is_served(cy))
        assert time.perf_counter() - started < 2
        answers = await asyncio.gather(*(asked(cy) for _ in range(20)))
        assert {answer.status_code for answer, _ in answers} == {200}


async def test_a_redis_that_is_gone_is_known_at_once_and_when_it_is_back_too(
    own_valkey: Valkey, settings: Settings
):
    async with opened(replace(settings, redis_url=Secret(own_valkey.url))) as town, town.signed_in(CY) as cy:
        own_valkey.stop()
        for _ in range(2):
            answer, waited = await asked(cy)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert waited < 1
        own_valkey.start()

        assert (await asked(cy))[0].status_code == 200


async def is_served(visitor: Visitor) -> bool:
    return (await visitor.get("/people")).status_code == 200


async def test_whoever_is_cancelled_while_asking_redis_goes_on_with_nothing(town: Town):
    """At whichever moment: cancelled as the command was just sent, too."""

    async def ask_and_go_on() -> None:
        await town.portal.cache.bust("x")
        await town.portal.redis.get("cache:x")
        await asyncio.sleep(30)

    for n in range(800):
        asking = asyncio.create_task(ask_and_go_on())
        await asyncio.sleep(n * 3e-6)
        asking.cancel()
        done, _ = await asyncio.wait({asking}, timeout=5)
        assert done
        assert asking.cancelled()

"""Limits: one count for all processes, by account or address, open or closed by declaration."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.town import Town, Visitor, served

from muster.platform.rate_limit import READING, SIGNING_IN, WRITING, caller_at
from muster.settings import Secret, Settings
from muster.wiring import portal


@contextlib.asynccontextmanager
async def another_web(settings: Settings, **changed: object) -> AsyncIterator[str]:
    """A second web process's portal, on the same servers unless `changed` says otherwise."""
    other = replace(settings, **changed)  # type: ignore[arg-type]
    async with portal(other, application="muster-other") as made, served(made, other.port) as address:
        yield address


def left(answer: httpx2.Response) -> int:
    return int(answer.headers["ratelimit"].partition("r=")[2].partition(";")[0])


async def test_two_webs_share_one_limit(town: Town, new_settings: Callable[[], Settings]):
    async with (
        another_web(new_settings()) as address,
        town.visitor() as here,
        Visitor(address) as there,
    ):
        # Many, since the allowance grows again meanwhile.
        first = await asyncio.gather(*(here.get("/sign-in") for _ in range(READING.times // 4)))
        second = await asyncio.gather(*(there.get("/sign-in") for _ in range(READING.times // 4)))
        third = await here.get("/sign-in")

        assert left(third) < max(map(left, second)) < max(map(left, first))


async def test_somebody_signed_in_is_counted_as_one_over_both_and_apart_from_others(
    town: Town, new_settings: Callable[[], Settings]
):
    settings = new_settings()
    async with (
        another_web(settings) as address,
        town.signed_in("cy@acme.test") as cy,
        Visitor(address) as twin,
    ):
        twin.cookies.set("muster_session", cy.session_id or "")
        # Many, since the allowance grows again meanwhile.
        here = await asyncio.gather(*(cy.request("POST", "/sign-out") for _ in range(WRITING.times // 2)))
        there = await twin.request("POST", "/sign-out", headers={"x-csrf-token": "none"})
        async with town.signed_in("ben@acme.test") as ben:
            others = await ben.request("POST", "/sign-out", headers={"x-csrf-token": "none"})

        assert left(there) < max(map(left, here))
        assert left(there) < left(others)


async def test_what_is_refused_here_is_refused_there(town: Town, new_settings: Callable[[], Settings]):
    async with (
        another_web(new_settings()) as address,
        town.signed_in("cy@acme.test") as cy,
        Visitor(address) as twin,
    ):
        twin.cookies.set("muster_session", cy.session_id or "")
        # More than there are, since the allowance grows again meanwhile.
        await asyncio.gather(*(cy.request("POST", "/sign-out") for _ in range(2 * WRITING.times)))
        answers = [
            await twin.request("POST", "/sign-out", headers={"x-csrf-token": "none"}) for _ in range(10)
        ]

        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert (await twin.get("/people")).status_code == 200  # reading is another class


async def test_without_redis_reading_goes_on_uncounted_and_signing_in_does_not(
    new_settings: Callable[[], Settings],
):
    gone = Secret("redis://127.0.0.1:1")
    async with another_web(new_settings(), redis_url=gone) as address, Visitor(address) as visitor:
        page = await visitor.get("/sign-in")
        document = await visitor.get("/openapi.json")
        begun = await visitor.get("/sign-in/google")
        inside = await visitor.get("/people", headers={"cookie": "muster_session=x"})

        assert page.status_code == 200
        assert "ratelimit" not in page.headers
        assert document.status_code == 200
        assert begun.status_code == 503
        assert inside.status_code == 503
        assert "does not answer" in begun.text


def test_each_class_says_whether_it_fails_open():
    assert (READING.fails_open, WRITING.fails_open, SIGNING_IN.fails_open) == (True, False, False)


@given(prefix=st.integers(0x2000, 0x3FFF), host=st.integers(0, 2**64 - 1))
def test_whoever_has_an_ipv6_network_has_one_allowance_for_all_of_it(prefix: int, host: int):
    words = ":".join(f"{host >> shift & 0xFFFF:x}" for shift in (48, 32, 16, 0))

    assert caller_at(f"{prefix:x}:db8:1:2:{words}") == caller_at(f"{prefix:x}:db8:1:2::1")
    assert caller_at(f"{prefix:x}:db8:1:2:{words}") != caller_at(f"{prefix:x}:db8:1:3::1")


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("192.0.2.7", "address:192.0.2.7"),
        ("::ffff:192.0.2.7", "address:192.0.2.7"),
        ("2001:db8::1", "address:2001:db8::"),
        ("", "address:"),
        ("unix", "address:unix"),
    ],
)
def test_callers_are_named_by_address(address: str, caller: str):
    assert caller_at(address) == caller

"""What machines ask: is it alive, and is it ready."""

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from tests.readiness.away import nobody, silence, without_postgresql, without_redis
from tests.readiness.line import Cut, Line, line_to
from tests.town import Town, eventually, served

from muster import __version__
from muster.platform import migrations
from muster.readiness.health import Component, Degraded, Down, Health, Standing, State
from muster.settings import Secret, Settings
from muster.wiring import portal


@contextlib.asynccontextmanager
async def asked_of(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        portal(settings, application="muster-test") as made,
        served(made, 0) as base_url,
        httpx2.AsyncClient(base_url=base_url, timeout=20) as client,
    ):
        yield client


def standing(response: httpx2.Response) -> dict[str, str]:
    """Component → pass, warn or fail."""
    assert response.headers["content-type"] == "application/health+json"
    health = response.json()
    assert health["releaseId"] == __version__
    assert (health["status"] == "fail") == (response.status_code == 503)
    return {name: measured["status"] for name, (measured,) in health["checks"].items()}


# Alive


@pytest.mark.parametrize("place", [nobody, silence])
async def test_it_is_alive_whatever_its_servers_do(settings: Settings, place: Any):
    with place() as somewhere:
        away = without_redis(without_postgresql(settings, somewhere), somewhere)
        async with asked_of(away) as client:
            response = await client.get("/livez")

    assert (response.status_code, response.json()) == (200, {"status": "pass", "releaseId": __version__})


# Ready


def needed(response: httpx2.Response) -> dict[str, str]:
    found = standing(response)
    return {name: found[name] for name in ("postgresql", "redis", "migrations")}


ALL_THERE = {"postgresql": "pass", "redis": "pass", "migrations": "pass"}


async def test_it_is_ready_where_everything_answers(town: Town):
    await town.all_in_step()
    async with town.working():
        response = await town.raw.get(f"{town.base_url}/readyz")

    assert set(standing(response).values()) == {"pass"}
    assert (response.status_code, response.json()["status"]) == (200, "pass")


async def test_what_is_only_missed_takes_no_web_out_of_service(town: Town):
    response = await town.raw.get(f"{town.base_url}/readyz")

    found = standing(response)
    assert needed(response) == ALL_THERE
    assert (found["workers"], found["directory"], found["hubspot"]) == ("fail", "warn", "warn")
    assert (response.status_code, response.json()["status"]) == (200, "warn")


async def test_without_postgresql_it_is_not_ready(settings: Settings):
    with nobody() as somewhere:
        async with asked_of(without_postgresql(settings, somewhere)) as client:
            response = await client.get("/readyz")

    assert response.status_code == 503
    assert needed(response) == {"postgresql": "fail", "redis": "pass", "migrations": "fail"}
    assert "planted" not in response.text


async def test_without_redis_it_is_not_ready(settings: Settings):
    with silence() as somewhere:
        async with asked_of(without_redis(settings, somewhere)) as client:
            response = await client.get("/readyz")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert needed(response) == {"postgresql": "pass", "redis": "fail", "migrations": "pass"}
    assert "planted" not in response.text


async def test_with_the_tables_of_another_release_it_is_not_ready(town: Town):
    await town.raw_execute("UPDATE alembic_version SET version_num = '0000'")
    try:
        response = await town.raw.get(f"{town.base_url}/readyz")
    finally:
        await town.raw_execute(f"UPDATE alembic_version SET version_num = '{migrations.head()}'")  # noqa: S608  ours

    assert needed(response) == {"postgresql": "pass", "redis": "pass", "migrations": "fail"}


async def test_a_stranger_learns_of_each_component_whether_and_when_and_nothing_else(town: Town):
    health = (await town.raw.get(f"{town.base_url}/readyz")).json()

    assert set(health) == {"status", "releaseId", "checks"}
    assert {frozenset(measured) for (measured,) in health["checks"].values()} == {
        frozenset({"status", "time"})
    }


async def test_whoever_sees_the_checklist_learns_why_and_since_when(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        report = (await ada.get("/api/v1/health")).json()
    async with town.signed_in("cy@acme.test") as cy:
        refused = await cy.get("/api/v1/health")

    workers = next(one for one in report["components"] if one["name"] == "workers")
    assert (workers["status"], workers["is_needed"]) == ("fail", False)
    assert workers["problem"] == workers["last_problem"] == "no worker has said that it lives"
    assert workers["since"] <= workers["time"]
    assert refused.status_code == 403


# Cut


Way = Callable[[Settings, Line], Settings]


def by_way_to_postgresql(settings: Settings, line: Line) -> Settings:
    return replace(settings, database_url=Secret(line.url(settings.database_url.reveal())))


def by_way_to_redis(settings: Settings, line: Line) -> Settings:
    return replace(settings, redis_url=Secret(line.url(settings.redis_url.reveal())))


def by_way_to_the_cache(settings: Settings, line: Line) -> Settings:
    return replace(settings, cache_redis_url=Secret(line.url(settings.redis_url.reveal())))


def address_of(settings: Settings, server: str) -> str:
    return settings.database_url.reveal() if server == "postgresql" else settings.redis_url.reveal()


SERVERS = [
    ("postgresql", by_way_to_postgresql, {"postgresql", "migrations", "workers", "directory", "hubspot"}),
    ("redis", by_way_to_redis, {"redis", "queue", "cache"}),
    ("cache", by_way_to_the_cache, {"cache"}),
]


@pytest.mark.parametrize(
    ("how", "server", "by_way", "lost"),
    [
        *((how, *SERVERS[0]) for how in (Cut.REFUSE, Cut.RESET, Cut.BLACK_HOLE)),
        *((how, *SERVERS[1]) for how in (Cut.REFUSE, Cut.RESET, Cut.BLACK_HOLE)),
        (Cut.BLACK_HOLE, *SERVERS[2]),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
async def test_a_line_that_is_cut_fails_its_components_in_time_and_heals(
    settings: Settings, how: Cut, server: str, by_way: Way, lost: set[str]
):
    async with line_to(address_of(settings, server)) as line, asked_of(by_way(settings, line)) as client:
        before = await client.get("/readyz")
        await line.cut(how)

        async def is_known() -> httpx2.Response | None:
            """A report made before the cut may be told for a second more."""
            started = time.monotonic()
            response = await client.get("/readyz")
            assert time.monotonic() - started < 10, "nobody waits for longer than the deadline"
            return response if standing(response)[server] == "fail" else None

        cut = await eventually(is_known)
        alive = await client.get("/livez")
        await line.cut(Cut.OPEN)

        async def has_healed() -> bool:
            return needed(await client.get("/readyz")) == ALL_THERE

        await eventually(has_healed)

    assert needed(before) == ALL_THERE
    found = standing(cut)
    assert {found[name] for name in lost} == {"fail"}
    assert {found[name] for name in {"postgresql", "redis", "cache", "queue"} - lost} == {"pass"}
    assert cut.status_code == (200 if server == "cache" else 503)
    assert line.place not in cut.text
    assert alive.status_code == 200


async def test_a_slow_line_is_degraded_and_not_down(settings: Settings):
    async with (
        line_to(settings.redis_url.reveal()) as line,
        asked_of(by_way_to_redis(settings, line)) as client,
    ):
        assert needed(await client.get("/readyz")) == ALL_THERE
        await line.cut(Cut.SLOW)

        async def is_slow() -> httpx2.Response | None:
            response = await client.get("/readyz")
            return response if standing(response)["redis"] == "warn" else None

        slow = await eventually(is_slow)

    assert slow.status_code == 200


# Over time


async def test_since_when_it_is_so_and_what_was_wrong_last_are_remembered():
    wrong: Exception | None = None

    async def ask() -> timedelta | None:
        if wrong:
            raise wrong
        return None

    health = Health([Component(name="redis", ask=ask, is_needed=True)], told_for=0)

    async def now() -> Standing:
        return (await health.report()).components[0]

    well = await now()
    wrong = Degraded("2 wait")
    degraded = await now()
    wrong = Down("it refuses")
    down = await now()
    still_down = await now()
    wrong = None
    well_again = await now()

    assert [one.status for one in (well, degraded, down, well_again)] == [
        State.PASS,
        State.WARN,
        State.FAIL,
        State.PASS,
    ]
    assert down.since == down.time == still_down.since < still_down.time
    assert (well.last_problem, well_again.problem, well_again.last_problem) == ("", "", "it refuses")
    assert well_again.last_problem_at == still_down.time


async def test_whoever_asks_at_the_same_time_asks_each_server_once():
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1

    health = Health([Component(name="redis", ask=ask)])

    for _ in range(50):
        await health.report()

    assert asked == 1

"""What machines ask: is it alive, is it ready, and how is it doing."""

import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.readiness.away import nobody, silence, without_postgresql, without_redis
from tests.town import Town, served

from muster import __version__
from muster.platform import migrations
from muster.settings import Settings
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
    """Component → pass or fail."""
    assert response.headers["content-type"] == "application/health+json"
    health = response.json()
    assert health["releaseId"] == __version__
    assert (health["status"] == "pass") == (response.status_code == 200)
    return {name: measured["status"] for name, (measured,) in health["checks"].items()}


def figures(response: httpx2.Response) -> dict[tuple[str, frozenset[str]], float]:
    """(Name, values of the labels) → value, as Prometheus reads them."""
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


# Alive


@pytest.mark.parametrize("place", [nobody, silence])
async def test_it_is_alive_whatever_its_servers_do(settings: Settings, place: Any):
    with place() as somewhere:
        away = without_redis(without_postgresql(settings, somewhere), somewhere)
        async with asked_of(away) as client:
            response = await client.get("/livez")

    assert (response.status_code, response.json()) == (200, {"status": "pass", "releaseId": __version__})


# Ready


async def test_it_is_ready_where_everything_answers(town: Town):
    response = await town.raw.get(f"{town.base_url}/readyz")

    assert standing(response) == {"postgresql": "pass", "redis": "pass", "migrations": "pass"}
    assert response.status_code == 200


async def test_without_postgresql_it_is_not_ready(settings: Settings):
    with nobody() as somewhere:
        async with asked_of(without_postgresql(settings, somewhere)) as client:
            response = await client.get("/readyz")

    assert response.status_code == 503
    assert standing(response) == {"postgresql": "fail", "redis": "pass", "migrations": "fail"}
    assert "planted" not in response.text


async def test_without_redis_it_is_not_ready(settings: Settings):
    with silence() as somewhere:
        async with asked_of(without_redis(settings, somewhere)) as client:
            response = await client.get("/readyz")

    assert response.status_code == 503
    assert response.headers["retry-after"] == "5"
    assert standing(response) == {"postgresql": "pass", "redis": "fail", "migrations": "pass"}
    assert "planted" not in response.text


async def test_with_the_tables_of_another_release_it_is_not_ready(town: Town):
    await town.raw_execute("UPDATE alembic_version SET version_num = '0000'")
    try:
        response = await town.raw.get(f"{town.base_url}/readyz")
    finally:
        await town.raw_execute(f"UPDATE alembic_version SET version_num = '{migrations.head()}'")  # noqa: S608  ours

    assert standing(response) == {"postgresql": "pass", "redis": "pass", "migrations": "fail"}


# Figures


async def test_prometheus_reads_people_queues_and_workers(town: Town):
    await town.portal.sync.run()
    async with town.working():
        read = figures(await town.raw.get(f"{town.base_url}/metrics"))

    people = {next(iter(labels)): value for (name, labels), value in read.items() if name == "muster_people"}
    assert people["active"] > 400
    assert sum(people.values()) - people["deleted"] == 500
    assert read["muster_workers", frozenset()] == 1
    assert read["muster_queue_jobs", frozenset({"people", "waiting"})] == 0
    assert read["muster_queue_jobs", frozenset({"upkeep", "failed"})] == 0
    assert 0 <= read["muster_people_sync_age_seconds", frozenset()] < 60
    assert read["muster_database_pool_connections", frozenset({"open"})] >= 1


async def test_requests_are_counted_by_route_and_not_by_address(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        await ada.get("/people/nobody-at-all")

    text = (await town.raw.get(f"{town.base_url}/metrics")).text

    assert 'route="/people/{google_id}"' in text
    assert "nobody-at-all" not in text


async def test_a_directory_that_was_never_read_is_no_fresh_one(town: Town):
    read = figures(await town.raw.get(f"{town.base_url}/metrics"))

    assert not read["muster_people_sync_age_seconds", frozenset()] < 3600


async def test_what_is_not_known_is_not_shown_as_zero(town: Town, settings: Settings):
    await town.portal.sync.run()
    assert figures(await town.raw.get(f"{town.base_url}/metrics"))["muster_workers", frozenset()] == 0

    with nobody() as somewhere:
        away = without_redis(without_postgresql(settings, somewhere), somewhere)
        async with asked_of(away) as client:
            read = figures(await client.get("/metrics"))

    assert {name for name, _ in read}.isdisjoint({"muster_people", "muster_queue_jobs"})
    assert math.isnan(read["muster_workers", frozenset()])
    assert math.isnan(read["muster_people_sync_age_seconds", frozenset()])

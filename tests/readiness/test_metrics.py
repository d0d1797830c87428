"""What Prometheus is told: as promtool would check it, true, and bounded."""

import contextlib
import math
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

import httpx2
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.readiness.away import nobody, without_postgresql, without_redis
from tests.town import Town, eventually, opened, served

from muster import __version__
from muster.platform.listening import answering_at, listen
from muster.readiness.small_door import small_door
from muster.settings import Secret, Settings
from muster.wiring import Portal, portal

TOKEN = "prometheus-may-read-this"

LABELS = {
    *("component", "event", "feature", "host", "kind", "limit", "method", "name", "outcome", "queue"),
    *("reason", "role", "route", "row", "state", "status", "version", "way", "le"),
}
"""Each of a set that is declared; an id, a path or an address as a label would make a series of its own."""


@dataclass(frozen=True)
class Told:
    response: httpx2.Response
    portal: Portal


@contextlib.asynccontextmanager
async def asked_of(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        portal(settings, application="muster-test") as made,
        served(made, 0) as base_url,
        httpx2.AsyncClient(base_url=base_url, timeout=20) as client,
    ):
        yield client


def families(response: httpx2.Response) -> list[Metric]:
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return list(text_string_to_metric_families(response.text))


def figures(response: httpx2.Response) -> dict[tuple[str, frozenset[str]], float]:
    """(Name, values of the labels) → value, as Prometheus reads them."""
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in families(response)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
async def told(new_settings: Callable[[], Settings]) -> AsyncIterator[Told]:
    """What is told of a town that has done a little of everything, one for all who only read it."""
    async with opened(new_settings()) as town:
        await town.all_in_step()
        async with town.working(), town.signed_in("ada@acme.test") as ada:
            for number in range(20):
                await ada.get(f"/people/{number}?q={number}")
                await ada.request("REPORT", f"/nothing/{number}")
            await town.portal.proofs.prove()

            async def tells_of_proofs() -> httpx2.Response | None:
                """The probes have asked for figures, too, and they are given again for some seconds."""
                response = await town.raw.get(f"{town.base_url}/metrics")
                return response if 'muster_proof_held{row="postgresql.answers"}' in response.text else None

            response = await eventually(tells_of_proofs)
        yield Told(response, town.portal)


# Well formed


async def test_the_text_is_as_promtool_wants_it(told: Told):
    found = families(told.response)

    ours = [family for family in found if family.name.startswith("muster_")]
    assert len(ours) > 45
    assert [name for name, times in Counter(family.name for family in found).items() if times > 1] == []
    for family in ours:
        assert family.documentation.endswith(".")
        assert family.type in {"counter", "gauge", "histogram"}, family.name
        assert re.fullmatch(r"muster_[a-z]+(_[a-z]+)*", family.name)
        assert not re.search(r"_(ms|milliseconds|minutes|hours|mb|percent|gauge|counter)(_|$)", family.name)
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket")), "the type says so"
        names = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert names <= {f"{family.name}_total"}
        if family.type == "gauge":
            assert names <= {family.name}
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
    samples = [(one.name, *sorted(one.labels.items())) for family in found for one in family.samples]
    assert [sample for sample, times in Counter(samples).items() if times > 1] == []


async def test_histograms_add_up(told: Told):
    for family in families(told.response):
        if family.type != "histogram":
            continue
        buckets: dict[frozenset[tuple[str, str]], list[tuple[float, float]]] = {}
        counts: dict[frozenset[tuple[str, str]], float] = {}
        for sample in family.samples:
            rest = frozenset((name, value) for name, value in sample.labels.items() if name != "le")
            if sample.name.endswith("_bucket"):
                buckets.setdefault(rest, []).append((float(sample.labels["le"]), sample.value))
            elif sample.name.endswith("_count"):
                counts[rest] = sample.value
        for labels, steps in buckets.items():
            assert steps == sorted(steps), family.name
            assert [value for _, value in steps] == sorted(value for _, value in steps), family.name
            assert steps[-1] == (math.inf, counts[labels])


async def test_labels_hold_only_what_is_declared(told: Told):
    found = families(told.response)

    ours = [sample for family in found if family.name.startswith("muster_") for sample in family.samples]
    assert {name for sample in ours for name in sample.labels} <= LABELS
    routes = {route.path for route in told.portal.routes} | {"(none)"}
    assert {sample.labels["route"] for sample in ours if "route" in sample.labels} <= routes
    methods = {sample.labels["method"] for sample in ours if "method" in sample.labels}
    assert methods <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}
    jobs = {job.name for job in told.portal.jobs}
    of_jobs = [one for one in ours if one.name.startswith("muster_schedule_")]
    assert {sample.labels["name"] for sample in of_jobs} <= jobs


async def test_figures_of_the_whole_say_so(town: Town):
    found = {family.name: family for family in families(await town.raw.get(f"{town.base_url}/metrics"))}

    shared = {name for name, family in found.items() if "take the max" in family.documentation}
    assert {"muster_queue_jobs", "muster_workers", "muster_people", "muster_outbox_edits"} <= shared
    assert shared.isdisjoint({"muster_http_requests", "muster_database_pool_connections", "muster_job_runs"})
    assert {found[name].type for name in shared} == {"gauge"}


# True


async def test_prometheus_reads_people_queues_and_workers(town: Town):
    await town.portal.sync.run()
    async with town.working():
        read = figures(await town.raw.get(f"{town.base_url}/metrics"))

    people = {next(iter(labels)): value for (name, labels), value in read.items() if name == "muster_people"}
    assert people["active"] > 400
    assert sum(people.values()) - people["deleted"] == 500
    assert read["muster_workers", frozenset()] == 1
    assert read["muster_queue_workers", frozenset({"crm"})] == 1
    assert read["muster_queue_jobs", frozenset({"people", "waiting"})] == 0
    assert read["muster_queue_oldest_waiting_seconds", frozenset({"people"})] == 0
    assert read["muster_queue_jobs", frozenset({"upkeep", "failed"})] == 0
    assert 0 <= read["muster_people_sync_age_seconds", frozenset()] < 60
    assert read["muster_database_pool_connections", frozenset({"open"})] >= 1
    assert read["muster_database_pool_max_connections", frozenset()] == 10
    assert read["muster_build_info", frozenset({__version__, "test"})] == 1


async def test_customers_outbox_quota_proofs_and_sessions_are_told_of(told: Told):
    read = figures(told.response)

    assert read["muster_customers", frozenset({"deals"})] > 0
    assert 0 <= read["muster_customers_sync_age_seconds", frozenset({"full"})] < 60
    assert read["muster_outbox_edits", frozenset({"waiting"})] == 0
    assert read["muster_outbox_oldest_seconds", frozenset()] == 0
    assert (
        0 < read["muster_hubspot_quota_left", frozenset()] < read["muster_hubspot_quota_limit", frozenset()]
    )
    assert read["muster_proof_held", frozenset({"postgresql.answers"})] == 1
    assert 0 <= read["muster_proof_age_seconds", frozenset({"postgresql.answers"})] < 60
    assert read["muster_proofs", frozenset({"proved"})] > 10
    assert read["muster_sessions", frozenset()] >= 1
    assert read["muster_audit_entries", frozenset()] >= 1
    assert read["muster_vendor_calls_total", frozenset({"127.0.0.1", "200"})] > 0
    assert read["muster_database_queries_total", frozenset()] > 0
    assert read["muster_redis_trips_total", frozenset()] > 0
    assert read["muster_component_status", frozenset({"redis", "pass"})] == 1
    assert read["muster_component_status", frozenset({"redis", "fail"})] == 0


async def test_a_job_that_waits_is_as_old_as_its_turn(town: Town):
    canary = next(job for job in town.portal.jobs if job.name == "upkeep.canary")
    await town.portal.queues.add_once(canary, "waits-for-long")

    async def has_aged() -> bool:
        return (await town.portal.queues.ages())["upkeep"] > 0

    await eventually(has_aged)
    assert (await town.portal.queues.ages())["upkeep"] < 60
    assert (await town.portal.queues.ages())["people"] == 0


async def test_runs_of_jobs_are_timed_and_counted(town: Town):
    canary = next(job for job in town.portal.jobs if job.name == "upkeep.canary")
    counted = ("muster_job_runs_total", frozenset({"upkeep.canary", "finished"}))
    before = figures(await town.raw.get(f"{town.base_url}/metrics")).get(counted, 0)
    async with town.working():
        await town.portal.queues.add_once(canary, "is-counted")

        async def is_done() -> bool:
            return await town.portal.queues.state(canary, "is-counted") == "completed"

        await eventually(is_done)
    after = figures(await town.raw.get(f"{town.base_url}/metrics"))

    assert after[counted] == before + 1
    assert after["muster_job_seconds_count", frozenset({"upkeep.canary"})] >= 1


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

    assert {name for name, _ in read}.isdisjoint({"muster_people", "muster_queue_jobs", "muster_proof_held"})
    for name in ("muster_workers", "muster_people_sync_age_seconds", "muster_outbox_oldest_seconds"):
        assert math.isnan(read[name, frozenset()])


async def test_however_often_it_is_scraped_it_counts_once(town: Town):
    def asked() -> float:
        return town.portal.database.figures()["requests_num"]

    await town.raw.get(f"{town.base_url}/metrics")
    before = asked()

    for _ in range(20):
        await town.raw.get(f"{town.base_url}/metrics")

    assert asked() - before < 60, "twenty scrapes cost as little as a few"


# Who may read them


@pytest.mark.parametrize("name", ["x-forwarded-for", "forwarded", "x-real-ip", "via"])
async def test_without_a_token_only_this_machine_reads_them_and_nobody_through_a_proxy(town: Town, name: str):
    here = await town.raw.get(f"{town.base_url}/metrics")
    through = await town.raw.get(f"{town.base_url}/metrics", headers={name: "127.0.0.1"})

    assert (here.status_code, through.status_code) == (200, 403)
    assert "muster_" not in through.text


async def test_with_a_token_whoever_has_it_reads_them_from_anywhere(settings: Settings):
    async with asked_of(replace(settings, metrics_token=Secret(TOKEN))) as client:
        nothing = await client.get("/metrics")
        wrong = await client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}-"})
        strange = await client.get("/metrics", headers={b"authorization": "Bearer pröm".encode("latin-1")})
        right = await client.get(
            "/metrics", headers={"authorization": f"Bearer {TOKEN}", "x-forwarded-for": "192.0.2.1"}
        )

    assert [one.status_code for one in (nothing, wrong, strange, right)] == [401, 401, 401, 200]
    assert nothing.headers["www-authenticate"] == "Bearer"
    assert "muster_" not in nothing.text + wrong.text


async def test_a_worker_answers_the_same_and_nothing_else(town: Town):
    listening = listen("127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with answering_at(listening, small_door(town.portal.health_pages)):
        alive, ready, told, page, post = [
            await town.raw.request(method, f"{base_url}{path}")
            for method, path in (
                ("GET", "/livez"),
                ("GET", "/readyz"),
                ("GET", "/metrics"),
                ("GET", "/people"),
                ("POST", "/metrics"),
            )
        ]

    assert [one.status_code for one in (alive, ready, page, post)] == [200, 200, 404, 404]
    assert ready.json()["checks"]["redis"][0]["status"] == "pass"
    assert ("muster_workers", frozenset[str]()) in figures(told)

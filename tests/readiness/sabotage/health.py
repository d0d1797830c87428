"""What is broken of how machines see the portal, by whoever stands before it or set it up."""

import json
from collections.abc import AsyncIterator

from tests.readiness.between import Passing
from tests.readiness.sabotage.siege import Siege, saboteur

from muster.readiness.health_probe import HealthProbe


def _is_health(passing: Passing) -> bool:
    return passing.headers.get("content-type", "").startswith("application/health+json")


@saboteur("health.answers", sees="/livez is not answered by the portal")
async def a_proxy_answers_every_address_with_a_page(siege: Siege) -> AsyncIterator[None]:
    def paged(passing: Passing) -> None:
        passing.status, passing.body = 200, b"<!doctype html><title>Welcome</title>"

    with siege.front.spoiling(paged):
        yield


@saboteur("health.answers", sees="/livez is of release 0.0.1")
async def another_release_answers(siege: Siege) -> AsyncIterator[None]:
    def outdated(passing: Passing) -> None:
        if _is_health(passing):
            passing.body = json.dumps(json.loads(passing.body) | {"releaseId": "0.0.1"}).encode()

    with siege.front.spoiling(outdated):
        yield


@saboteur("health.answers", sees="it was kept")
async def a_proxy_keeps_what_was_well_yesterday(siege: Siege) -> AsyncIterator[None]:
    def kept(passing: Passing) -> None:
        if _is_health(passing):
            health = json.loads(passing.body)
            for measured in health.get("checks", {}).values():
                measured[0]["time"] = "2026-01-01T00:00:00Z"
            passing.body = json.dumps(health).encode()

    with siege.front.spoiling(kept):
        yield


@saboteur("health.answers", sees="/readyz says fail and answered 200")
async def a_proxy_turns_every_failure_into_success(siege: Siege) -> AsyncIterator[None]:
    def beautified(passing: Passing) -> None:
        if _is_health(passing) and b"checks" in passing.body:
            passing.body = json.dumps(json.loads(passing.body) | {"status": "fail"}).encode()

    with siege.front.spoiling(beautified):
        yield


@saboteur("health.answers", sees="/metrics is told to whoever asks")
async def the_web_was_not_told_the_token(siege: Siege) -> AsyncIterator[None]:
    before, portal = siege.probes["health.answers"], siege.town.portal
    probe = HealthProbe(
        portal.http,
        portal.health,
        public_url=portal.settings.public_url,
        metrics_token="of-the-worker-alone",
    )
    siege.probes["health.answers"] = probe.probes()[0]
    yield
    siege.probes["health.answers"] = before


@saboteur("health.answers", sees="/metrics is no text that Prometheus reads")
async def a_proxy_breaks_the_figures(siege: Siege) -> AsyncIterator[None]:
    def broken(passing: Passing) -> None:
        if b"muster_build_info" in passing.body:
            passing.body = b"muster_build_info{version=\n"

    with siege.front.spoiling(broken):
        yield

"""HubSpot's gate: the token, its scopes, both buckets and the day, and whatever goes wrong by script."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx2
import pytest
from tests.acme.hubspot_client import COMPANIES, DEALS, OWNERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.acme.conftest import Sandbox
    from tests.acme.hubspot_client import HubSpotClient

    Start = Callable[..., AbstractContextManager[Sandbox]]


@pytest.mark.parametrize("token", ["none", "pat-eu1-somebody-elses"])
def test_a_wrong_token_is_refused(hub: HubSpotClient, token: str) -> None:
    hub.token = token

    refused = hub.refusal("GET", DEALS)

    assert (refused["http"], refused["category"]) == (401, "INVALID_AUTHENTICATION")


def test_no_token_is_refused_alike(hub: HubSpotClient) -> None:
    reply = hub.acme.http.get(DEALS)

    assert (reply.status_code, reply.json()["category"]) == (401, "INVALID_AUTHENTICATION")


def test_a_token_can_be_revoked(hub: HubSpotClient) -> None:
    hub.order("scopes", revoked=True)

    assert hub.refusal("GET", DEALS)["http"] == 401


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        ("crm.objects.deals.read", "GET", DEALS),
        ("crm.objects.deals.read", "POST", f"{DEALS}/search"),
        ("crm.objects.deals.write", "POST", DEALS),
        ("crm.objects.companies.write", "DELETE", f"{COMPANIES}/19700310000"),
        ("crm.objects.owners.read", "GET", OWNERS),
        ("crm.schemas.deals.read", "GET", "/crm/properties/2026-09/deals"),
        ("oauth", "GET", "/account-info/2026-09/details"),
    ],
)
def test_a_missing_scope_is_named(hub: HubSpotClient, scope: str, method: str, path: str) -> None:
    hub.order("scopes", missing=[scope])

    refused = hub.refusal(method, path, {})

    assert (refused["http"], refused["category"]) == (403, "MISSING_SCOPES")
    assert refused["errors"][0]["context"]["requiredGranularScopes"] == [scope]


def test_answers_say_how_much_is_left(hub: HubSpotClient) -> None:
    hub.get(DEALS)
    headers = hub.ask("GET", DEALS).headers

    assert headers["X-HubSpot-RateLimit-Max"] == "190"
    assert headers["X-HubSpot-RateLimit-Remaining"] == "188"
    assert headers["X-HubSpot-RateLimit-Interval-Milliseconds"] == "10000"
    assert headers["X-HubSpot-RateLimit-Daily"] == "650000"
    assert headers["X-HubSpot-RateLimit-Daily-Remaining"] == "649998"


def test_search_says_nothing_of_limits(hub: HubSpotClient) -> None:
    headers = hub.ask("POST", f"{DEALS}/search", {}).headers

    assert not [name for name in headers if name.lower().startswith("x-hubspot-ratelimit")]


def test_the_burst_ends_and_errors_count(hub: HubSpotClient) -> None:
    hub.order("limits", burst=3)
    hub.get(DEALS)
    hub.refusal("GET", f"{DEALS}/1")
    hub.get(DEALS)

    refused = hub.refusal("GET", DEALS)

    assert (refused["http"], refused["policyName"]) == (429, "TEN_SECONDLY_ROLLING")
    assert hub.search("deals")["total"] == 600  # another bucket
    assert hub.state()["refused"]["TEN_SECONDLY"] == 1


def test_a_search_too_many_waits_a_second(hub: HubSpotClient) -> None:
    hub.order("limits", search=1)
    hub.search("deals", limit=1)

    assert hub.refusal("POST", f"{DEALS}/search", {})["policyName"] == "SECONDLY"
    time.sleep(1.05)
    assert hub.search("deals")["total"] == 600


def test_the_day_ends_for_every_program_of_the_account(hub: HubSpotClient) -> None:
    hub.order("limits", daily=1_000)
    hub.order("spend", calls=999)
    hub.get(DEALS)

    for method, path in (("GET", DEALS), ("POST", f"{DEALS}/search")):
        assert hub.refusal(method, path, {})["policyName"] == "DAILY"
    hub.acme.order("clock", days=1)
    assert hub.get(DEALS)["results"]


@pytest.mark.parametrize(("says", "expected"), [("always", 3), ("never", 0), ("sometimes", 1)])
def test_when_to_try_again_is_told_or_not(hub: HubSpotClient, says: str, expected: int) -> None:
    hub.order("limits", burst=0, retry_after=says)

    told = ["Retry-After" in hub.ask("GET", DEALS).headers for _ in range(3)]

    assert told.count(True) == expected


def test_the_other_name_of_the_burst(hub: HubSpotClient) -> None:
    hub.order("limits", burst=0, policy="TEN_SECONDLY")

    assert hub.refusal("GET", DEALS)["policyName"] == "TEN_SECONDLY"


WRITTEN_TO = (
    *(DEALS, f"{DEALS}/search", f"{DEALS}/merge", "/crm/objects/2026-09/contacts/gdpr-delete"),
    *(f"{DEALS}/batch/{verb}" for verb in ("read", "create", "update", "archive")),
    *(f"/crm/associations/2026-09/deals/companies/batch/{verb}" for verb in ("read", "create", "archive")),
)
BODIES = (
    *("", "{", "[]", "null", "7", '"text"', '{"inputs": null}', '{"inputs": [null]}', '{"inputs": [{}]}'),
    *(
        '{"inputs": [{"id": []}]}',
        '{"properties": []}',
        '{"properties": {"amount": {}}}',
        '{"properties": 1}',
    ),
    *('{"filterGroups": {}}', '{"sorts": [7]}', '{"limit": "many"}', '{"after": []}', '{"query": 7}'),
    *('{"primaryObjectId": null, "objectIdToMerge": "1"}', '{"objectId": {}}', '{"objectId": "²"}'),
)


@pytest.mark.parametrize("path", WRITTEN_TO)
def test_no_body_is_too_strange_for_an_answer(hub: HubSpotClient, path: str) -> None:
    hub.order("limits", search=None)
    headers = {"Authorization": f"Bearer {hub.token}"}

    replies = [hub.acme.http.post(path, content=body, headers=headers) for body in BODIES]

    assert {reply.status_code for reply in replies} <= {200, 204, 207, 400, 404}
    assert 400 in {reply.status_code for reply in replies}


# Faults


def test_a_fault_strikes_so_many_calls_of_a_path(hub: HubSpotClient) -> None:
    hub.order("faults", path=DEALS, method="GET", status=502, times=2, skip=1)

    statuses = [hub.ask("GET", DEALS).status_code for _ in range(4)]

    assert statuses == [200, 502, 502, 200]
    assert hub.ask("GET", COMPANIES).status_code == 200


def test_a_fault_can_be_any_answer(hub: HubSpotClient) -> None:
    hub.order("faults", policy="DAILY", headers={"Retry-After": "9"})
    hub.order("faults", status=503, text="<html>busy</html>", skip=1)

    first = hub.ask("GET", DEALS)
    second = hub.acme.http.get(DEALS)

    assert (first.status_code, first.json()["policyName"], first.headers["retry-after"]) == (
        429,
        "DAILY",
        "9",
    )
    assert (second.status_code, second.text) == (503, "<html>busy</html>")


def test_a_fault_can_only_be_late(hub: HubSpotClient) -> None:
    hub.order("faults", delay=0.2)
    began = time.monotonic()

    assert hub.get(DEALS)["results"]
    assert time.monotonic() - began >= 0.2


def test_a_call_can_hang(hub: HubSpotClient) -> None:
    hub.order("faults", hang=True)

    with pytest.raises(httpx2.ReadTimeout):
        hub.acme.http.get(DEALS, timeout=0.2)


def test_a_connection_can_be_cut(hub: HubSpotClient) -> None:
    hub.order("faults", reset=True)

    with pytest.raises(httpx2.RemoteProtocolError):
        hub.ask("GET", DEALS)


def test_a_call_can_hang_once_it_has_written(hub: HubSpotClient) -> None:
    hub.order("faults", method="POST", after_write=True)
    headers = {"Authorization": f"Bearer {hub.token}"}

    with pytest.raises(httpx2.ReadTimeout):
        hub.acme.http.post(DEALS, json={"properties": {"dealname": "There"}}, headers=headers, timeout=0.3)

    assert hub.every(DEALS)[-1]["properties"]["dealname"] == "There"


@pytest.mark.parametrize("fault", [{"status": 504}, {"reset": True}])
def test_a_call_can_fail_once_it_has_written(hub: HubSpotClient, fault: dict[str, int | bool]) -> None:
    record = hub.a_deal()
    hub.order("faults", method="PATCH", after_write=True, **fault)

    try:
        hub.ask("PATCH", f"{DEALS}/{record['id']}", {"properties": {"amount": "5"}})
    except httpx2.RemoteProtocolError:
        assert "reset" in fault

    assert hub.get(f"{DEALS}/{record['id']}")["properties"]["amount"] == "5"


def test_calls_are_counted_by_what_they_are(hub: HubSpotClient) -> None:
    record = hub.a_deal()
    for _ in range(2):
        hub.get(f"{DEALS}/{record['id']}")

    calls = hub.acme.ask("hubspot/calls")

    assert calls["by_path"] == {f"POST {DEALS}": 1, f"GET {DEALS}/{{id}}": 2}
    assert hub.acme.ask(f"requests?path={DEALS}")["count"] == 1


def test_without_limits_nothing_is_counted_out(start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "--people", "3", "--deals", "50", "--no-hubspot-limits") as acme:
        headers = {"Authorization": f"Bearer {acme.settings['hubspot_token']}"}
        replies = [acme.http.get(DEALS, headers=headers) for _ in range(200)]
        searches = [acme.http.post(f"{DEALS}/search", json={}, headers=headers) for _ in range(10)]

    assert {reply.status_code for reply in [*replies, *searches]} == {200}
    assert "x-hubspot-ratelimit-max" not in replies[0].headers
    assert searches[0].json()["total"] == 50

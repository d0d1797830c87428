"""HubSpot's half as a whole: the same for a seed, days that pass, going back, and its size."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from tests.acme.hubspot_client import COMPANIES, CONTACTS, DEALS, OWNERS, HubSpotClient

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.acme.conftest import Sandbox

    Start = Callable[..., AbstractContextManager[Sandbox]]


def test_a_restart_changes_nothing(start: Start, tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        with start(tmp_path, "--people", "60") as acme:
            hub = HubSpotClient(acme)
            listed = [hub.every(path) for path in (DEALS, CONTACTS, COMPANIES, OWNERS)]
            seen.append((listed, hub.token, acme.settings["hubspot_webhook_secret"]))

    assert seen[0] == seen[1]


def test_another_seed_is_another_portal(start: Start, tmp_path: Path) -> None:
    pages = []
    for seed in ("1", "2"):
        with start(tmp_path / seed, "--people", "60", "--seed", seed) as acme:
            pages.append(HubSpotClient(acme).every(DEALS))

    assert pages[0] != pages[1]


def test_the_smallest_company_sells_too(start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "--people", "3", "--deals", "1") as acme:
        hub = HubSpotClient(acme)

        assert len(hub.every(DEALS)) == len(hub.every(CONTACTS)) == len(hub.every(COMPANIES)) == 1
        assert hub.every(OWNERS)


def test_a_large_portal_has_more_deals_of_one_moment_than_search_shows(start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "--people", "20", "--deals", "24000", "--no-hubspot-limits") as acme:
        hub = HubSpotClient(acme)
        middle = hub.search("deals", limit=1, after="9000")["results"][0]["updatedAt"]
        filters = [{"propertyName": "hs_lastmodifieddate", "operator": "EQ", "value": middle}]
        body = {"filterGroups": [{"filters": filters}], "limit": 200}

        total = hub.search("deals", **body)["total"]
        last = hub.search("deals", after="9800", **body)

        assert total == 12_000
        assert last["paging"]["next"]["after"] == "10000"
        assert hub.refusal("POST", f"{DEALS}/search", body | {"after": "10000"})["http"] == 400


def test_a_mirror_that_goes_on_by_id_finds_them_all(start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "--people", "20", "--deals", "24000", "--no-hubspot-limits") as acme:
        hub = HubSpotClient(acme)
        known = {"propertyName": "hs_lastmodifieddate", "operator": "LTE", "value": "4102444800000"}
        ids: list[str] = []
        last, after = "0", "0"
        while True:
            beyond = {"propertyName": "hs_object_id", "operator": "GT", "value": last}
            page = hub.search(
                "deals",
                filterGroups=[{"filters": [known, beyond]}],
                sorts=[{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
                limit=200,
                after=after,
            )
            ids += [deal["id"] for deal in page["results"]]
            if "paging" not in page:
                break
            after = page["paging"]["next"]["after"]
            if after == "10000":
                last, after = ids[-1], "0"

        assert len(ids) == len(set(ids)) == 24_000


def test_moments_are_real_whatever_days_passed(hub: HubSpotClient) -> None:
    hub.acme.order("clock", days=30)

    record = hub.a_deal()

    assert abs(datetime.fromisoformat(record["createdAt"]).timestamp() - time.time()) < 5


def test_days_pass_the_same_way_every_time(hub: HubSpotClient) -> None:
    seen = []
    for _ in range(2):
        hub.acme.order("reset")
        counts = hub.order("days", days=10)["counts"]
        names = ("amount", "dealstage", "hubspot_owner_id")
        deals = hub.every(DEALS, properties=",".join(names))
        seen.append((counts, [deal["properties"][name] for deal in deals for name in names]))

    assert seen[0] == seen[1]
    assert seen[0][0]["advanced"] > 5


def test_a_day_of_the_company_passes_in_hubspot_too(hub: HubSpotClient) -> None:
    hub.acme.order("days", days=5)

    assert hub.state()["revisions"]["deals"] >= 10


def test_going_back_undoes_everything(hub: HubSpotClient) -> None:
    before = [hub.every(path) for path in (DEALS, CONTACTS, OWNERS)]
    hub.order("days", days=20)
    hub.order("owners/ada@acme.test", archived=True)
    hub.order("limits", burst=0)
    hub.order("faults", status=500, times=50)
    hub.order("scopes", revoked=True)
    hub.order("rules", name="x", type="deals", property="amount")

    hub.acme.order("reset")

    assert [hub.every(path) for path in (DEALS, CONTACTS, OWNERS)] == before
    assert len(hub.state()["rules"]) == 3


def test_deals_of_the_start_obey_the_accounts_rules_or_are_older(hub: HubSpotClient) -> None:
    deals = [deal["properties"] for deal in hub.every(DEALS)]

    assert all(deal["closedate"] for deal in deals if deal["dealstage"] == "closedwon")
    assert {deal["pipeline"] for deal in deals} == {"default", "75190321"}
    assert 150 < sum(deal["dealstage"] not in {"closedwon", "closedlost"} for deal in deals) < 500


def test_a_colleague_makes_changes_ties_and_merges(hub: HubSpotClient) -> None:
    company = hub.get(COMPANIES, limit=1)["results"][0]["id"]
    made = hub.order(
        "deals",
        properties={"dealname": "By hand"},
        tie=[{"type": "companies", "id": company, "primary": True}],
    )
    other = hub.order("deals", properties={"dealname": "Twin"})

    merged = hub.order(f"deals/{made['id']}", merge=other["id"])
    hub.order(f"deals/{merged['id']}", untie=[{"type": "companies", "id": company}], archived=True)

    assert made["associations"]["companies"]["results"][0]["id"] == company
    assert hub.truth("deals", other["id"])["id"] == merged["id"]
    assert hub.truth("deals", merged["id"])["archived"]
    assert "associations" not in hub.truth("deals", merged["id"])


def test_an_order_that_makes_no_sense_is_refused_clearly(hub: HubSpotClient) -> None:
    post = hub.acme.http.post
    orders = {
        "deals/1": {"properties": {}},
        "deals": {"nonsense": 1},
        "companies/19700310000": {"forget": True},
        "faults": {"times": 0},
        "days": {"days": 0},
        "owners/nobody@acme.test": {"archived": True},
    }

    replies = {what: post(f"/sandbox/hubspot/{what}", json=body).status_code for what, body in orders.items()}

    assert set(replies.values()) <= {404, 422}
    assert post("/sandbox/hubspot/days", json={}, headers={"Origin": "http://x"}).status_code == 403

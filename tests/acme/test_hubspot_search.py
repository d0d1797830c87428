"""HubSpot's search: what each operator lets through, where it ends, and how late it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from tests.acme.hubspot_client import DEALS

if TYPE_CHECKING:
    from tests.acme.hubspot_client import HubSpotClient


@pytest.fixture
def prompt(hub: HubSpotClient) -> HubSpotClient:
    """A HubSpot whose search knows everything at once, and may be asked as often as anybody likes."""
    hub.order("limits", search=None)
    hub.order("search", lag=0)
    return hub


@pytest.fixture
def three(prompt: HubSpotClient) -> list[str]:
    """Deals like no others: 10 in January, 20 in February, and one with neither amount nor date."""
    return [
        prompt.a_deal(dealname="Zebra one", amount="10", closedate="2031-01-01T00:00:00Z")["id"],
        prompt.a_deal(dealname="Zebra two", amount="20", closedate="2031-02-01T00:00:00Z")["id"],
        prompt.a_deal(dealname="Zebra-crossing")["id"],
    ]


@pytest.mark.parametrize(
    ("name", "operator", "rest", "found"),
    [
        ("amount", "EQ", {"value": "10"}, [0]),
        ("amount", "EQ", {"value": "10.0"}, [0]),
        ("amount", "NEQ", {"value": "10"}, [1, 2]),
        ("amount", "LT", {"value": "20"}, [0]),
        ("amount", "LTE", {"value": "20"}, [0, 1]),
        ("amount", "GT", {"value": "10"}, [1]),
        ("amount", "GTE", {"value": "10"}, [0, 1]),
        ("amount", "BETWEEN", {"value": "15", "highValue": "25"}, [1]),
        ("amount", "IN", {"values": ["10", "20", "30"]}, [0, 1]),
        ("amount", "NOT_IN", {"values": ["10", "30"]}, [1, 2]),
        ("amount", "HAS_PROPERTY", {}, [0, 1]),
        ("amount", "NOT_HAS_PROPERTY", {}, [2]),
        ("closedate", "GTE", {"value": "2031-01-15T00:00:00Z"}, [1]),
        ("closedate", "LT", {"value": "1925856000000"}, [0]),  # 2031-01-10 in milliseconds
        ("dealname", "EQ", {"value": "zebra ONE"}, [0]),
        ("dealname", "CONTAINS_TOKEN", {"value": "crossing"}, [2]),
        ("dealname", "CONTAINS_TOKEN", {"value": "cross*"}, [2]),
        ("dealname", "NOT_CONTAINS_TOKEN", {"value": "one"}, [1, 2]),
    ],
)
def test_a_filter_lets_through(
    prompt: HubSpotClient, three: list[str], name: str, operator: str, rest: dict[str, Any], found: list[int]
) -> None:
    zebras = {"propertyName": "dealname", "operator": "CONTAINS_TOKEN", "value": "zebra*"}
    filters = [zebras, {"propertyName": name, "operator": operator} | rest]

    page = prompt.search("deals", filterGroups=[{"filters": filters}])

    assert [deal["id"] for deal in page["results"]] == [three[place] for place in found]
    assert page["total"] == len(found)


@pytest.mark.parametrize(
    ("name", "operator", "value", "holds"),
    [
        ("dealstage", "EQ", "closedwon", lambda deal: deal["dealstage"] == "closedwon"),
        ("amount", "GT", "9000", lambda deal: float(deal["amount"] or 0) > 9_000),
        ("hubspot_owner_id", "NOT_HAS_PROPERTY", None, lambda deal: deal["hubspot_owner_id"] is None),
    ],
)
def test_search_and_list_know_the_same(
    prompt: HubSpotClient, name: str, operator: str, value: str | None, holds: Any
) -> None:
    listed = prompt.every(DEALS, properties="dealstage,amount,hubspot_owner_id")
    rest = {} if value is None else {"value": value}

    found = prompt.where("deals", name, operator, **rest)

    assert found == [deal["id"] for deal in listed if holds(deal["properties"])][:200]
    assert found


def test_groups_are_alternatives(prompt: HubSpotClient, three: list[str]) -> None:
    groups = [
        {"filters": [{"propertyName": "dealname", "operator": "EQ", "value": name}]}
        for name in ("zebra one", "zebra two", "no such deal")
    ]

    assert [deal["id"] for deal in prompt.search("deals", filterGroups=groups)["results"]] == three[:2]


@pytest.mark.parametrize(
    ("sort", "places"),
    [
        ({"propertyName": "amount", "direction": "DESCENDING"}, [1, 0, 2]),
        ({"propertyName": "amount", "direction": "ASCENDING"}, [0, 1, 2]),
        ("-amount", [1, 0, 2]),
        ("dealname", [0, 1, 2]),
    ],
)
def test_a_sort_is_an_object_or_a_text(
    prompt: HubSpotClient, three: list[str], sort: Any, places: list[int]
) -> None:
    page = prompt.search("deals", query="zebra", sorts=[sort])

    assert [deal["id"] for deal in page["results"]] == [three[place] for place in places]


def test_a_query_looks_at_names_and_addresses(prompt: HubSpotClient) -> None:
    contact = prompt.every("/crm/objects/2026-09/contacts", properties="email")[0]
    email = contact["properties"]["email"]

    page = prompt.search("contacts", query=email.upper(), properties=["email"])

    assert [each["id"] for each in page["results"]] == [contact["id"]]


def test_pages_follow_each_other_by_offset(prompt: HubSpotClient) -> None:
    first = prompt.search("deals", limit=200)
    second = prompt.search("deals", limit=200, after=first["paging"]["next"]["after"])
    last = prompt.search("deals", limit=200, after="400")

    ids = [deal["id"] for page in (first, second, last) for deal in page["results"]]
    assert len(set(ids)) == first["total"] == 600
    assert "paging" not in last


def test_archived_and_merged_records_are_not_found(prompt: HubSpotClient, three: list[str]) -> None:
    prompt.delete(f"{DEALS}/{three[0]}")
    merged = prompt.post(f"{DEALS}/merge", {"primaryObjectId": three[1], "objectIdToMerge": three[2]})["id"]

    assert [deal["id"] for deal in prompt.search("deals", query="zebra")["results"]] == [merged]


def test_what_was_written_is_found_a_moment_later(hub: HubSpotClient) -> None:
    hub.order("limits", search=None)
    hub.order("search", lag=1)
    old = hub.get(DEALS, limit=1)["results"][0]
    hub.patch(f"{DEALS}/{old['id']}", dealname="Zebra")

    assert hub.search("deals", query="zebra")["total"] == 0
    stale = hub.search("deals", query=old["properties"]["dealname"])["results"]
    assert old["id"] in {deal["id"] for deal in stale}
    time.sleep(1.05)
    assert hub.search("deals", query="zebra")["total"] == 1


def test_a_script_lets_search_catch_up(hub: HubSpotClient) -> None:
    hub.order("search", lag=60)
    hub.a_deal(dealname="Zebra")
    hub.order("search", settle=True)

    assert hub.search("deals", query="zebra")["total"] == 1


def test_archiving_does_not_show_among_the_lately_changed(prompt: HubSpotClient) -> None:
    record = prompt.a_deal()
    prompt.delete(f"{DEALS}/{record['id']}")

    changed = prompt.where("deals", "hs_lastmodifieddate", "GTE", value=record["updatedAt"])

    assert record["id"] not in changed


def test_many_can_change_in_one_moment(prompt: HubSpotClient) -> None:
    prompt.order("deals/many", first=150, properties={"description": "imported"})
    moment = prompt.get(DEALS, limit=1)["results"][0]["updatedAt"]

    assert len(prompt.where("deals", "hs_lastmodifieddate", "EQ", value=moment)) == 150


FILTER = {"propertyName": "amount", "operator": "EQ", "value": "1"}


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 201},
        {"limit": 0},
        {"after": "9990", "limit": 20},
        {"after": "10000"},
        {"after": "next"},
        {"query": "x" * 3_001},
        {"sorts": ["amount", "dealname"]},
        {"sorts": [{"propertyName": "amount", "direction": "SIDEWAYS"}]},
        {"filterGroups": [{"filters": [FILTER]}] * 6},
        {"filterGroups": [{"filters": [FILTER] * 7}]},
        {"filterGroups": [{"filters": [FILTER] * 5}] * 4},
        {"filterGroups": [{"filters": [FILTER | {"operator": "LIKE"}]}]},
        {"filterGroups": [{"filters": [FILTER | {"propertyName": "nonsense"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "amount", "operator": "BETWEEN", "value": "1"}]}]},
        {"filterGroups": [{"filters": [{"propertyName": "amount", "operator": "IN"}]}]},
        {"filterGroups": [{"filters": [FILTER | {"value": "much"}]}]},
    ],
)
def test_what_goes_too_far_is_refused(prompt: HubSpotClient, body: dict[str, Any]) -> None:
    refused = prompt.refusal("POST", f"{DEALS}/search", body)

    assert (refused["http"], refused["category"]) == (400, "VALIDATION_ERROR")


def test_eighteen_filters_are_taken(prompt: HubSpotClient) -> None:
    groups = [{"filters": [FILTER] * 6}] * 3

    assert prompt.search("deals", filterGroups=groups)["total"] >= 0

"""HubSpot's account: owners, pipelines, properties, associations, and the account's own rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.acme.hubspot_client import ASSOCIATIONS, COMPANIES, CONTACTS, DEALS, OWNERS

if TYPE_CHECKING:
    from tests.acme.hubspot_client import HubSpotClient

PIPELINES = "/crm/pipelines/2026-09/deals"
PROPERTIES = "/crm/properties/2026-09"


def everybody(hub: HubSpotClient) -> list[dict[str, Any]]:
    return hub.every(OWNERS) + hub.every(OWNERS, archived="true")


def person_of(hub: HubSpotClient, owner: dict[str, Any]) -> dict[str, Any] | None:
    """Whom Google knows by the owner's address, letter by letter."""
    reply = hub.acme.get(f"/users/{owner.get('email', 'nobody')}")
    return reply.json() if reply.status_code == 200 else None


def test_ben_owns_most_ada_some_and_cy_none(hub: HubSpotClient) -> None:
    owned = [
        deal["properties"]["hubspot_owner_id"] for deal in hub.every(DEALS, properties="hubspot_owner_id")
    ]
    ids = {owner["email"]: owner["id"] for owner in everybody(hub) if "email" in owner}

    assert max(ids.values(), key=owned.count) == ids["ben@acme.test"]
    assert owned.count(ids["ada@acme.test"]) > 5
    assert "cy@acme.test" not in ids
    assert 38 <= len(ids) <= 45


def test_an_owner_is_no_user(hub: HubSpotClient) -> None:
    ben = hub.get(OWNERS, email="ben@acme.test")["results"][0]

    assert ben["id"] != str(ben["userId"])
    assert hub.get(f"{OWNERS}/{ben['id']}") == ben
    assert hub.get(f"{OWNERS}/{ben['userId']}", idProperty="userId") == ben
    assert hub.refusal("GET", f"{OWNERS}/{ben['userId']}")["http"] == 404


def test_the_deactivated_are_listed_apart_and_lose_their_user_id(hub: HubSpotClient) -> None:
    active, archived = hub.every(OWNERS, limit=7), hub.every(OWNERS, archived="true")

    assert archived
    assert not any(owner["archived"] for owner in active)
    assert all(owner["archived"] and "userId" not in owner for owner in archived)
    assert all("userIdIncludingInactive" in owner for owner in archived)
    assert hub.refusal("GET", f"{OWNERS}/{archived[0]['id']}")["http"] == 404
    assert hub.get(f"{OWNERS}/{archived[0]['id']}", archived="true") == archived[0]


def test_owners_are_as_untidy_as_in_life(hub: HubSpotClient) -> None:
    owners = everybody(hub)
    people = {owner["id"]: person_of(hub, owner) for owner in owners}
    deleted = {person["primaryEmail"] for person in hub.acme.every("users", "/users", showDeleted="true")}
    addresses = {owner["id"]: owner.get("email", "") for owner in owners}

    assert any(person and person["primaryEmail"] != addresses[key].lower() for key, person in people.items())
    assert any(address != address.lower() for address in addresses.values())
    assert any(person and person["suspended"] for person in people.values())
    assert deleted & set(addresses.values())
    assert any(address.endswith("northwind-agency.example") for address in addresses.values())
    assert [owner["type"] for owner in owners].count("QUEUE") == 1


def test_somebody_who_left_google_still_owns_open_deals(hub: HubSpotClient) -> None:
    deals = hub.every(DEALS, properties="hubspot_owner_id,hs_is_closed")
    open_owners = {
        deal["properties"]["hubspot_owner_id"]
        for deal in deals
        if deal["properties"]["hs_is_closed"] == "false"
    }
    owners = everybody(hub)
    gone = {person["primaryEmail"] for person in hub.acme.every("users", "/users", showDeleted="true")}
    suspended = {owner["id"] for owner in owners if (person := person_of(hub, owner)) and person["suspended"]}

    assert suspended & open_owners
    assert {owner["id"] for owner in owners if owner.get("email") in gone} & open_owners
    assert {owner["id"] for owner in owners if owner["archived"]} & open_owners


def test_nobody_can_be_given_a_deal_once_deactivated(hub: HubSpotClient) -> None:
    record, ada = hub.a_deal(), hub.get(OWNERS, email="ada@acme.test")["results"][0]
    hub.patch(f"{DEALS}/{record['id']}", hubspot_owner_id=ada["id"])
    hub.order("owners/ada@acme.test", archived=True)

    other = hub.a_deal()
    refused = hub.refusal("PATCH", f"{DEALS}/{other['id']}", {"properties": {"hubspot_owner_id": ada["id"]}})

    assert refused["errors"][0]["code"] == "INVALID_OWNER_ID"
    assert ada["id"] in {owner["id"] for owner in hub.every(OWNERS, archived="true")}


def test_a_script_adds_an_owner(hub: HubSpotClient) -> None:
    hub.order("owners", email="New.Owner@acme.test", first_name="New", last_name="Owner")

    assert hub.every(OWNERS)[-1]["email"] == "New.Owner@acme.test"


def test_pipelines_say_likelihood_and_end_as_texts(hub: HubSpotClient) -> None:
    pipelines = hub.get(PIPELINES)["results"]
    metadata = [stage["metadata"] for pipeline in pipelines for stage in pipeline["stages"]]

    assert [pipeline["id"] for pipeline in pipelines] == ["default", "75190321"]
    assert {"isClosed": "true", "probability": "1.0"} in metadata
    assert {"isClosed": "false", "probability": "0.2"} in metadata
    assert hub.get(f"{PIPELINES}/default") == pipelines[0]
    assert hub.get(f"{PIPELINES}/default/stages")["results"] == pipelines[0]["stages"]
    assert hub.refusal("GET", f"{PIPELINES}/nowhere")["http"] == 404
    assert hub.get("/crm/pipelines/2026-09/contacts")["results"] == []


def test_every_deal_stands_in_a_stage_that_fits_its_flags(hub: HubSpotClient) -> None:
    stages = {
        (pipeline["id"], stage["id"]): stage["metadata"]
        for pipeline in hub.get(PIPELINES)["results"]
        for stage in pipeline["stages"]
    }
    names = "pipeline,dealstage,hs_is_closed,hs_is_closed_won,hs_deal_stage_probability"
    for deal in hub.every(DEALS, properties=names):
        values = deal["properties"]
        metadata = stages[values["pipeline"], values["dealstage"]]
        assert values["hs_is_closed"] == metadata["isClosed"]
        assert values["hs_deal_stage_probability"] == metadata["probability"]
        assert (values["hs_is_closed_won"] == "true") == (metadata["probability"] == "1.0")


def test_what_records_have_is_defined(hub: HubSpotClient) -> None:
    for kind in ("deals", "contacts", "companies"):
        defined = {each["name"] for each in hub.get(f"{PROPERTIES}/{kind}")["results"]}
        record_id = hub.get(f"/crm/objects/2026-09/{kind}", limit=1)["results"][0]["id"]

        assert hub.truth(kind, record_id)["properties"].keys() <= defined


def test_a_property_says_its_type_and_its_options(hub: HubSpotClient) -> None:
    stage = hub.get(f"{PROPERTIES}/deals/dealstage")
    owner = hub.get(f"{PROPERTIES}/deals/hubspot_owner_id")

    assert (stage["type"], len(stage["options"])) == ("enumeration", 12)
    assert (owner["referencedObjectType"], owner["options"]) == ("OWNER", [])
    assert hub.get(f"{PROPERTIES}/deals/hs_is_closed")["modificationMetadata"]["readOnlyValue"]
    assert hub.refusal("GET", f"{PROPERTIES}/deals/nonsense")["http"] == 404


def test_the_account_says_what_it_is_and_what_was_used(hub: HubSpotClient) -> None:
    details = hub.get("/account-info/2026-09/details")
    usage = hub.get("/account-info/2026-09/api-usage/daily/private-apps")["results"][0]

    assert details["companyCurrency"] == "EUR"
    assert (usage["currentUsage"], usage["usageLimit"]) == (2, 650_000)


# Associations


def test_either_end_finds_the_other(hub: HubSpotClient) -> None:
    deals = [deal["id"] for deal in hub.get(DEALS, limit=100)["results"]]
    answer = hub.ask(
        "POST", f"{ASSOCIATIONS}/deals/companies/batch/read", {"inputs": [{"id": each} for each in deals]}
    ).json()
    tied = {each["from"]["id"]: each["to"][0]["toObjectId"] for each in answer["results"]}

    back = hub.post(
        f"{ASSOCIATIONS}/companies/deals/batch/read",
        {"inputs": [{"id": each} for each in sorted(set(tied.values()))]},
    )

    found = {(far["toObjectId"], each["from"]["id"]) for each in back["results"] for far in each["to"]}
    assert set(tied.items()) <= found
    assert len(tied) == 90
    assert answer["numErrors"] == 10
    assert {error["subCategory"] for error in answer["errors"]} == {"crm.associations.NO_ASSOCIATIONS_FOUND"}


def test_associations_are_made_and_ended(hub: HubSpotClient) -> None:
    deal, contact = hub.a_deal()["id"], hub.get(CONTACTS, limit=1)["results"][0]["id"]
    pair = {"from": {"id": deal}, "to": {"id": contact}}
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}]
    read = f"{ASSOCIATIONS}/deals/contacts/batch/read"

    hub.post(f"{ASSOCIATIONS}/deals/contacts/batch/create", {"inputs": [pair | {"types": types}]})
    made = hub.post(read, {"inputs": [{"id": deal}]})
    hub.post(
        f"{ASSOCIATIONS}/deals/contacts/batch/archive",
        {"inputs": [{"from": {"id": deal}, "to": [{"id": contact}]}]},
    )
    ended = hub.ask("POST", read, {"inputs": [{"id": deal}]})

    assert made["results"][0]["to"][0]["associationTypes"] == [
        {"category": "HUBSPOT_DEFINED", "typeId": 3, "label": None}
    ]
    assert (ended.status_code, ended.json()["results"]) == (207, [])


def test_a_deal_has_one_primary_company(hub: HubSpotClient) -> None:
    deal = hub.get(DEALS, limit=1)["results"][0]["id"]
    company = hub.get(COMPANIES, limit=10)["results"][-1]["id"]
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5}]
    pair = {"from": {"id": deal}, "to": {"id": company}, "types": types}

    hub.post(f"{ASSOCIATIONS}/deals/companies/batch/create", {"inputs": [pair]})

    tied = hub.post(f"{ASSOCIATIONS}/deals/companies/batch/read", {"inputs": [{"id": deal}]})["results"][0]
    labels = {far["toObjectId"]: [each["label"] for each in far["associationTypes"]] for far in tied["to"]}
    assert labels.pop(company) == ["Primary", None]
    assert list(labels.values()) == [[None]]


def test_an_archived_record_is_tied_to_nothing_until_it_is_restored(hub: HubSpotClient) -> None:
    deal = hub.get(DEALS, limit=1)["results"][0]["id"]
    read = f"{ASSOCIATIONS}/deals/companies/batch/read"
    company = hub.post(read, {"inputs": [{"id": deal}]})["results"][0]["to"][0]["toObjectId"]
    hub.delete(f"{COMPANIES}/{company}")

    without = hub.ask("POST", read, {"inputs": [{"id": deal}]}).json()
    hub.order(f"companies/{company}", archived=False)

    assert without["results"] == []
    assert hub.post(read, {"inputs": [{"id": deal}]})["results"]


def test_a_company_with_many_deals_has_pages_of_them(hub: HubSpotClient) -> None:
    company = hub.get(COMPANIES, limit=1)["results"][0]["id"]
    hub.order("limits", burst=None)
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 342}]
    deals = [deal["id"] for deal in hub.every(DEALS)]
    pairs = [{"from": {"id": company}, "to": {"id": deal}, "types": types} for deal in deals]
    hub.post(f"{ASSOCIATIONS}/companies/deals/batch/create", {"inputs": pairs})
    read = f"{ASSOCIATIONS}/companies/deals/batch/read"

    first = hub.post(read, {"inputs": [{"id": company}]})["results"][0]
    second = hub.post(read, {"inputs": [{"id": company, "after": first["paging"]["next"]["after"]}]})

    found = [*first["to"], *second["results"][0]["to"]]
    assert [far["toObjectId"] for far in found] == deals
    assert hub.refusal("POST", read, {"inputs": [{"id": company, "after": "x"}]})["http"] == 400


def test_a_wrong_type_of_association_is_refused(hub: HubSpotClient) -> None:
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}]
    pair = {"from": {"id": "31400271000"}, "to": {"id": "19700310000"}, "types": types}

    assert (
        hub.refusal("POST", f"{ASSOCIATIONS}/deals/companies/batch/create", {"inputs": [pair]})["http"] == 400
    )


# The account's rules


@pytest.mark.parametrize(
    ("properties", "name", "code"),
    [
        ({"dealname": ""}, "dealname", "MISSING_REQUIRED_PROPERTY"),
        ({"dealstage": "closedwon"}, "closedate", "MISSING_CONDITIONAL_REQUIRED_PROPERTY"),
        ({"dealstage": "contractsent"}, "amount", "MISSING_CONDITIONAL_REQUIRED_PROPERTY"),
        ({"dealstage": "contractsent", "amount": "0"}, "amount", "INVALID_NUMBER_RANGE"),
    ],
)
def test_the_accounts_rules_bind_the_api(
    hub: HubSpotClient, properties: dict[str, str], name: str, code: str
) -> None:
    refused = hub.refusal("POST", DEALS, {"properties": {"dealname": "A deal"} | properties})

    assert (refused["http"], refused["category"]) == (400, "VALIDATION_ERROR")
    assert refused["errors"][0]["code"] == code
    assert refused["errors"][0]["context"] == {"propertyName": [name]}


def test_a_rule_binds_updates_that_touch_what_it_is_about(hub: HubSpotClient) -> None:
    path = f"{DEALS}/{hub.a_deal(dealstage='qualifiedtobuy')['id']}"

    refused = hub.refusal("PATCH", path, {"properties": {"dealstage": "closedwon"}})
    hub.patch(path, dealstage="closedwon", closedate="2026-11-01T00:00:00Z")
    cleared = hub.refusal("PATCH", path, {"properties": {"closedate": ""}})

    assert (
        refused["errors"][0]["context"] == cleared["errors"][0]["context"] == {"propertyName": ["closedate"]}
    )
    assert hub.patch(path, description="free")["properties"]["description"] == "free"


def test_rules_come_and_go_by_script(hub: HubSpotClient) -> None:
    rule = {"type": "deals", "property": "closed_lost_reason", "when": "dealstage", "equals": "closedlost"}
    hub.order("rules", name="why", **rule)
    path = f"{DEALS}/{hub.a_deal()['id']}"

    refused = hub.refusal("PATCH", path, {"properties": {"dealstage": "closedlost"}})
    hub.order("rules/drop", name="why")
    hub.patch(path, dealstage="closedlost")

    assert "[dealstage]" in refused["errors"][0]["message"]
    assert hub.acme.http.post("/sandbox/hubspot/rules/drop", json={"name": "why"}).status_code == 404

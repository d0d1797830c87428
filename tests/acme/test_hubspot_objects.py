"""HubSpot's records: listing, reading, writing, archiving, merging, and what each answer looks like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.acme.hubspot_client import COMPANIES, CONTACTS, DEALS, OBJECTS

if TYPE_CHECKING:
    from tests.acme.hubspot_client import HubSpotClient

KINDS = ("deals", "contacts", "companies")


@pytest.mark.parametrize(("kind", "count"), [("deals", 600), ("contacts", 900), ("companies", 300)])
def test_a_list_goes_through_everybody_once(hub: HubSpotClient, kind: str, count: int) -> None:
    ids = [record["id"] for record in hub.every(f"{OBJECTS}/{kind}")]

    assert len(ids) == len(set(ids)) == count
    assert ids == sorted(ids, key=int)


def test_a_page_has_ten_unless_asked_and_a_hundred_at_most(hub: HubSpotClient) -> None:
    assert len(hub.get(DEALS)["results"]) == 10
    assert len(hub.get(DEALS, limit=100)["results"]) == 100
    assert hub.refusal("GET", DEALS, limit=101)["http"] == 400
    assert hub.refusal("GET", DEALS, after="x")["category"] == "VALIDATION_ERROR"


def test_only_known_properties_are_sent_and_some_always(hub: HubSpotClient) -> None:
    deal = hub.get(DEALS, limit=1, properties="dealtype,nonsense")["results"][0]
    usual = hub.get(DEALS, limit=1)["results"][0]

    assert deal["properties"].keys() == {"createdate", "hs_lastmodifieddate", "hs_object_id", "dealtype"}
    assert {"amount", "closedate", "dealname", "dealstage", "pipeline"} < usual["properties"].keys()
    assert deal["createdAt"] == deal["properties"]["createdate"]
    assert deal["updatedAt"] == deal["properties"]["hs_lastmodifieddate"]


def test_contacts_call_the_last_change_by_another_name(hub: HubSpotClient) -> None:
    contact = hub.get(CONTACTS, limit=1)["results"][0]

    assert contact["updatedAt"] == contact["properties"]["lastmodifieddate"]
    assert "hs_lastmodifieddate" not in contact["properties"]


def test_what_is_not_set_is_null(hub: HubSpotClient) -> None:
    deals = hub.every(DEALS, properties="amount,closed_lost_reason")

    assert {type(deal["properties"]["amount"]) for deal in deals} == {str, type(None)}
    assert any(deal["properties"]["closed_lost_reason"] for deal in deals)


def test_a_list_with_history_has_fifty_at_most(hub: HubSpotClient) -> None:
    page = hub.get(DEALS, limit=50, propertiesWithHistory="dealstage")

    assert any(len(deal["propertiesWithHistory"]["dealstage"]) > 1 for deal in page["results"])
    assert hub.refusal("GET", DEALS, limit=51, propertiesWithHistory="dealstage")["http"] == 400


def test_history_is_newest_first_and_ends_with_what_is(hub: HubSpotClient) -> None:
    record = hub.a_deal(amount="1")
    hub.patch(f"{DEALS}/{record['id']}", amount="2")
    hub.order(f"deals/{record['id']}", properties={"amount": "3"}, by="ada@acme.test")

    deal = hub.get(f"{DEALS}/{record['id']}", propertiesWithHistory="amount", properties="amount")

    history = deal["propertiesWithHistory"]["amount"]
    assert [version["value"] for version in history] == ["3", "2", "1"]
    assert [version["sourceType"] for version in history] == ["CRM_UI", "INTEGRATION", "INTEGRATION"]
    assert deal["properties"]["amount"] == "3"


def test_associations_come_with_a_record_when_asked(hub: HubSpotClient) -> None:
    plain, full = hub.get(DEALS, limit=5), hub.get(DEALS, limit=5, associations="companies,contacts")

    assert all("associations" not in deal for deal in plain["results"])
    kinds = {each["type"] for each in full["results"][0]["associations"]["companies"]["results"]}
    assert kinds == {"deal_to_company", "deal_to_company_unlabeled"}
    assert full["results"][0]["associations"]["contacts"]["results"]


def test_a_contact_is_found_by_address_in_any_letters(hub: HubSpotClient) -> None:
    contact = hub.get(CONTACTS, limit=1)["results"][0]
    email = contact["properties"]["email"].upper()

    assert hub.get(f"{CONTACTS}/{email}", idProperty="email")["id"] == contact["id"]
    assert hub.refusal("GET", f"{DEALS}/x", idProperty="dealname")["http"] == 400


def test_nobody_there_is_a_404(hub: HubSpotClient) -> None:
    for path in (f"{DEALS}/1", f"{DEALS}/words", f"{CONTACTS}/31400271000"):
        assert hub.refusal("GET", path)["category"] == "OBJECT_NOT_FOUND"


def test_a_kind_has_three_names(hub: HubSpotClient) -> None:
    ids = {hub.get(f"{OBJECTS}/{word}", limit=1)["results"][0]["id"] for word in ("deals", "deal", "0-3")}

    assert len(ids) == 1
    assert hub.refusal("GET", f"{OBJECTS}/spaceships")["http"] == 400


# Writing


def test_a_new_record_is_whole_in_the_answer(hub: HubSpotClient) -> None:
    record = hub.a_deal(dealstage="qualifiedtobuy", amount=12.5, closedate="1798761600000")

    values = record["properties"]
    assert (values["amount"], values["pipeline"]) == ("12.5", "default")
    assert (values["hs_is_closed"], values["hs_is_closed_won"]) == ("false", "false")
    assert values["closedate"] == "2027-01-01T00:00:00.000Z"
    assert hub.get(f"{DEALS}/{record['id']}")["createdAt"] == record["createdAt"]


def test_an_update_answers_with_what_it_wrote_and_not_with_the_rest(hub: HubSpotClient) -> None:
    record = hub.a_deal(dealstage="qualifiedtobuy", amount="7", closedate="2027-01-01T00:00:00Z")

    answer = hub.patch(f"{DEALS}/{record['id']}", dealstage="closedwon")

    assert answer["properties"]["hs_is_closed_won"] == answer["properties"]["hs_is_closed"] == "true"
    assert "amount" not in answer["properties"]
    assert answer["updatedAt"] >= record["updatedAt"]


def test_an_empty_text_clears_and_null_does_not(hub: HubSpotClient) -> None:
    record = hub.a_deal(amount="7")

    refused = hub.refusal("PATCH", f"{DEALS}/{record['id']}", {"properties": {"amount": None}})
    hub.patch(f"{DEALS}/{record['id']}", amount="")

    assert (refused["http"], refused["category"]) == (400, "VALIDATION_ERROR")
    assert hub.get(f"{DEALS}/{record['id']}")["properties"]["amount"] is None


def test_what_stays_the_same_is_no_change(hub: HubSpotClient) -> None:
    record = hub.a_deal(amount="7")

    assert hub.patch(f"{DEALS}/{record['id']}", amount="7")["updatedAt"] == record["updatedAt"]


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"nonsense": "1"}, "PROPERTY_DOESNT_EXIST"),
        ({"amount": "much"}, "INVALID_LONG"),
        ({"closedate": "tomorrow"}, "INVALID_DATE"),
        ({"dealstage": "dreaming"}, "INVALID_OPTION"),
        ({"dealstage": "146208801"}, "INVALID_OPTION"),  # the other pipeline's
        ({"hs_is_closed": "true"}, "READ_ONLY_VALUE"),
        ({"createdate": "2026-01-01"}, "READ_ONLY_VALUE"),
        ({"hubspot_owner_id": "9400113"}, "INVALID_OWNER_ID"),  # a user's id is not an owner's
    ],
)
def test_a_value_that_makes_no_sense_is_refused(
    hub: HubSpotClient, properties: dict[str, str], code: str
) -> None:
    refused = hub.refusal("POST", DEALS, {"properties": {"dealname": "A deal"} | properties})

    assert (refused["http"], refused["category"]) == (400, "VALIDATION_ERROR")
    assert [error["code"] for error in refused["errors"]] == [code]
    assert refused["errors"][0]["context"]["propertyName"] == list(properties)


def test_an_address_belongs_to_one_contact(hub: HubSpotClient) -> None:
    one, other = (
        hub.post(CONTACTS, {"properties": {"email": f"{name}@new.example"}}) for name in ("one", "other")
    )

    again = hub.refusal("POST", CONTACTS, {"properties": {"email": "One@new.example"}})
    taken = hub.refusal("PATCH", f"{CONTACTS}/{other['id']}", {"properties": {"email": "one@new.example"}})

    assert (again["http"], again["category"]) == (taken["http"], taken["category"]) == (409, "CONFLICT")
    assert one["id"] in again["message"]


def test_a_record_is_made_with_its_associations(hub: HubSpotClient) -> None:
    company = hub.get(COMPANIES, limit=1)["results"][0]
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 5}]
    wanted = {
        "properties": {"dealname": "Tied"},
        "associations": [{"to": {"id": company["id"]}, "types": types}],
    }

    record = hub.post(DEALS, wanted)

    deal = hub.get(f"{DEALS}/{record['id']}", associations="companies")
    assert deal["associations"]["companies"]["results"][0]["id"] == company["id"]
    wanted["associations"][0]["types"][0]["associationTypeId"] = 99  # type: ignore[index]
    assert hub.refusal("POST", DEALS, wanted)["http"] == 400


# Archiving


def test_archiving_hides_a_record_and_leaves_its_last_change(hub: HubSpotClient) -> None:
    record = hub.a_deal()
    path = f"{DEALS}/{record['id']}"

    hub.delete(path)
    hub.delete(path)

    assert hub.refusal("GET", path)["http"] == 404
    archived = hub.get(path, archived="true")
    assert archived["updatedAt"] == record["updatedAt"] <= archived["archivedAt"]
    assert archived["archived"]
    assert hub.refusal("PATCH", path, {"properties": {"amount": "1"}})["http"] == 404


def test_the_archived_are_listed_apart(hub: HubSpotClient) -> None:
    before = hub.every(DEALS, archived="true")
    record = hub.a_deal()
    hub.delete(f"{DEALS}/{record['id']}")

    after = hub.every(DEALS, archived="true", limit=4)

    assert [deal["id"] for deal in after] == [deal["id"] for deal in before] + [record["id"]]
    assert before
    assert all(deal["archived"] and deal["archivedAt"] for deal in before)
    assert len(hub.every(DEALS)) == 600


def test_a_restored_record_is_as_it_was(hub: HubSpotClient) -> None:
    record = hub.a_deal(amount="7")
    hub.delete(f"{DEALS}/{record['id']}")

    hub.order(f"deals/{record['id']}", archived=False)

    assert hub.get(f"{DEALS}/{record['id']}")["updatedAt"] == record["updatedAt"]
    assert record["id"] in {deal["id"] for deal in hub.every(DEALS)}


def test_a_contact_who_is_forgotten_is_nowhere(hub: HubSpotClient) -> None:
    contact = hub.get(CONTACTS, limit=1)["results"][0]

    hub.post(f"{CONTACTS}/gdpr-delete", {"objectId": contact["properties"]["email"], "idProperty": "email"})

    for archived in ("true", "false"):
        assert hub.refusal("GET", f"{CONTACTS}/{contact['id']}", archived=archived)["http"] == 404
    assert contact["id"] not in {each["id"] for each in hub.every(CONTACTS, archived="true")}
    assert hub.refusal("POST", f"{DEALS}/gdpr-delete", {"objectId": "31400271000"})["http"] == 400


# Merging


def test_a_merge_makes_a_third_record_that_both_ids_find(hub: HubSpotClient) -> None:
    one, other = hub.a_deal(amount="7"), hub.a_deal(amount="9", description="Only here")

    merged = hub.post(f"{DEALS}/merge", {"primaryObjectId": one["id"], "objectIdToMerge": other["id"]})

    assert merged["id"] not in {one["id"], other["id"]}
    for old in (one, other):
        found = hub.get(f"{DEALS}/{old['id']}", properties="amount,description,hs_merged_object_ids")
        assert found["id"] == merged["id"]
        assert found["properties"]["amount"] == "7"
        assert found["properties"]["description"] == "Only here"
        assert found["properties"]["hs_merged_object_ids"] == f"{one['id']};{other['id']}"
    listed = {deal["id"] for deal in hub.every(DEALS)}
    assert merged["id"] in listed
    assert not {one["id"], other["id"]} & listed


def test_merged_records_can_be_merged_again(hub: HubSpotClient) -> None:
    one, two, three = (hub.a_deal()["id"] for _ in range(3))
    first = hub.post(f"{DEALS}/merge", {"primaryObjectId": one, "objectIdToMerge": two})["id"]
    last = hub.post(f"{DEALS}/merge", {"primaryObjectId": three, "objectIdToMerge": first})["id"]

    assert {hub.get(f"{DEALS}/{old}")["id"] for old in (one, two, three, first)} == {last}
    assert (
        hub.refusal("POST", f"{DEALS}/merge", {"primaryObjectId": last, "objectIdToMerge": one})["http"]
        == 400
    )


def test_a_merge_takes_the_associations_along(hub: HubSpotClient) -> None:
    one, other = hub.get(DEALS, limit=2)["results"]
    merged = hub.post(f"{DEALS}/merge", {"primaryObjectId": one["id"], "objectIdToMerge": other["id"]})

    now = hub.get(f"{DEALS}/{merged['id']}", associations="companies,contacts")
    by_old_id = hub.get(f"{DEALS}/{one['id']}", associations="companies,contacts")

    companies = now["associations"]["companies"]["results"]
    assert len({each["id"] for each in companies}) == 2
    assert [each["type"] for each in companies].count("deal_to_company") == 1
    assert "associations" not in by_old_id


# Batches


def test_a_batch_reads_what_there_is_and_tells_the_rest(hub: HubSpotClient) -> None:
    ids = [deal["id"] for deal in hub.get(DEALS, limit=3)["results"]]

    whole = hub.post(
        f"{DEALS}/batch/read", {"inputs": [{"id": each} for each in ids], "properties": ["amount"]}
    )
    partial = hub.ask("POST", f"{DEALS}/batch/read", {"inputs": [{"id": ids[0]}, {"id": "1"}]})

    assert [deal["id"] for deal in whole["results"]] == ids
    assert (partial.status_code, partial.json()["numErrors"]) == (207, 1)
    assert partial.json()["errors"][0]["context"]["ids"] == ["1"]


def test_a_batch_has_a_hundred_at_most(hub: HubSpotClient) -> None:
    inputs = [{"id": str(number)} for number in range(101)]

    for verb in ("read", "archive"):
        assert hub.refusal("POST", f"{DEALS}/batch/{verb}", {"inputs": inputs})["http"] == 400
    assert hub.refusal("POST", f"{DEALS}/batch/read", {"inputs": []})["http"] == 400


def test_contacts_are_read_by_their_addresses(hub: HubSpotClient) -> None:
    emails = [each["properties"]["email"] for each in hub.get(CONTACTS, limit=2)["results"]]
    wanted = {"idProperty": "email", "inputs": [{"id": email} for email in emails], "properties": ["email"]}

    found = hub.post(f"{CONTACTS}/batch/read", wanted)["results"]

    assert [each["properties"]["email"] for each in found] == emails


def test_one_bad_input_keeps_a_batch_from_writing(hub: HubSpotClient) -> None:
    good, bad = {"properties": {"dealname": "Good"}}, {"properties": {"dealname": "Bad", "amount": "much"}}

    refused = hub.refusal("POST", f"{DEALS}/batch/create", {"inputs": [good, bad]})

    assert refused["http"] == 400
    assert hub.state()["counts"]["deals"] == 600


def test_with_trace_ids_each_input_stands_for_itself(hub: HubSpotClient) -> None:
    inputs = [
        {"properties": {"dealname": "Good"}, "objectWriteTraceId": "a"},
        {"properties": {"dealname": "Bad", "amount": "much"}, "objectWriteTraceId": "b"},
    ]

    reply = hub.ask("POST", f"{DEALS}/batch/create", {"inputs": inputs})

    answer = reply.json()
    assert reply.status_code == 207
    assert [each["objectWriteTraceId"] for each in answer["results"]] == ["a"]
    assert answer["errors"][0]["context"]["objectWriteTraceId"] == ["b"]


def test_a_batch_updates_and_archives(hub: HubSpotClient) -> None:
    ids = [hub.a_deal()["id"] for _ in range(2)]
    inputs = [{"id": each, "properties": {"amount": "5"}} for each in [*ids, "1"]]

    reply = hub.ask("POST", f"{DEALS}/batch/update", {"inputs": inputs})
    twice = hub.refusal("POST", f"{DEALS}/batch/update", {"inputs": [inputs[0], inputs[0]]})
    hub.post(f"{DEALS}/batch/archive", {"inputs": [{"id": each} for each in [*ids, "1"]]})

    assert (reply.status_code, len(reply.json()["results"])) == (207, 2)
    assert "Duplicate IDs" in twice["message"]
    assert hub.state()["counts"]["deals"] == 600


# Pages that are kept


def test_a_kept_page_ends_with_a_change_to_one_of_its_records(hub: HubSpotClient) -> None:
    before = hub.get(DEALS, limit=100)["results"]
    hub.patch(f"{DEALS}/{before[50]['id']}", dealname="Another name")

    after = hub.get(DEALS, limit=100)["results"]

    assert after[50]["properties"]["dealname"] == "Another name"
    assert [deal["id"] for deal in after] == [deal["id"] for deal in before]


def test_the_last_page_ends_with_a_new_record(hub: HubSpotClient) -> None:
    count = len(hub.every(DEALS))
    record = hub.a_deal()

    deals = hub.every(DEALS)

    assert (len(deals), deals[-1]["id"]) == (count + 1, record["id"])


def test_a_kept_page_ends_with_whatever_its_records_are_tied_to(hub: HubSpotClient) -> None:
    def companies() -> set[str]:
        page = hub.get(DEALS, limit=10, associations="companies")["results"]
        return {
            each["id"]
            for deal in page
            for each in deal.get("associations", {}).get("companies", {"results": []})["results"]
        }

    before = companies()
    gone = min(before)
    hub.delete(f"{COMPANIES}/{gone}")
    without = companies()
    hub.order(f"companies/{gone}", archived=False)
    restored = companies()
    new = hub.post(COMPANIES, {"properties": {"name": "New"}})["id"]
    first = hub.get(DEALS, limit=1)["results"][0]["id"]
    hub.order(f"deals/{first}", tie=[{"type": "companies", "id": new}])

    assert without == before - {gone}
    assert restored == before
    assert companies() == before | {new}


def test_going_back_ends_every_kept_page(hub: HubSpotClient) -> None:
    first = hub.get(DEALS, limit=1)["results"][0]
    hub.patch(f"{DEALS}/{first['id']}", dealname="Another name")
    hub.get(DEALS, limit=1)

    hub.acme.order("reset")

    assert hub.get(DEALS, limit=1)["results"] == [first]

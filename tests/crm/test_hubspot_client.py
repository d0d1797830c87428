"""HubSpot as Muster asks it: what is read of its answers, and what becomes of every way in which it fails."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.town import Town, eventually

from muster.crm.fields import FIELDS, Kind
from muster.crm.hubspot import SCOPES, HubSpot
from muster.crm.hubspot_api import HubSpotApi, HubSpotRefused, OutcomeUnknown
from muster.crm.meter import Meter
from muster.crm.pace import Pace
from muster.errors import SettingsError, VendorDown
from muster.platform import redis
from muster.platform.tally import Tally

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
DEALS = "/crm/objects/2026-09/deals"


@asynccontextmanager
async def client(town: Town, *, patience: float = 20, token: str | None = "") -> AsyncIterator[HubSpot]:
    """As another process would have it, with a client, a pace and a meter of its own."""
    settings = town.portal.settings
    assert settings.hubspot_token
    line = redis.connect_briefly(settings.redis_url.reveal())
    meter = Meter(town.portal.database)
    async with httpx2.AsyncClient(timeout=patience, verify=False) as http:
        yield HubSpot(
            HubSpotApi(
                http,
                base_url=settings.hubspot_url,
                token=settings.hubspot_token.reveal() if token == "" else token,
                pace=Pace(line),
                meter=meter,
            )
        )
        await meter.close()
        await line.aclose()


async def a_deal(town: Town, **values: str) -> str:
    made = await town.portal.hubspot.create(Kind.DEALS, {"dealname": "A deal", **values})
    return made.id


async def truth(town: Town, kind: Kind, record_id: str) -> dict[str, Any]:
    return dict((await town.sandbox.ask(f"hubspot/{kind}/{record_id}"))["properties"])


async def calls(town: Town) -> int:
    return int((await town.sandbox.ask("hubspot"))["calls"])


async def every(hubspot: HubSpot, kind: Kind, *, archived: bool = False) -> list[str]:
    ids: list[str] = []
    after = ""
    while True:
        page = await hubspot.page(kind, after, archived=archived)
        ids += [record.id for record in page.records]
        if not page.after:
            return ids
        after = page.after


# Reading


@pytest.mark.parametrize("kind", Kind)
async def test_all_records_of_a_kind_are_listed_once_each(town: Town, kind: Kind):
    ids = await every(town.portal.hubspot, kind)

    counts = (await town.sandbox.ask("hubspot"))["counts"]
    assert len(ids) == len(set(ids)) == counts[kind]


async def test_a_record_holds_its_fields_as_text_and_none_that_is_empty(town: Town):
    deal_id = await a_deal(town, amount="1200.50", description="", dealstage="contractsent")

    record = await town.portal.hubspot.get(Kind.DEALS, deal_id)

    assert record
    assert record.values["amount"] == "1200.50"
    assert record.values["hs_is_closed"] == "false"
    assert "description" not in record.values
    assert record.values.keys() <= {field.name for field in FIELDS[Kind.DEALS]}
    assert record.modified_at >= record.created_at > datetime.now(UTC) - timedelta(minutes=1)
    assert record.archived_at is None


async def test_archived_records_are_listed_apart_and_say_since_when(town: Town):
    deal_id = await a_deal(town)
    await town.portal.hubspot.archive(Kind.DEALS, deal_id)

    assert deal_id in await every(town.portal.hubspot, Kind.DEALS, archived=True)
    assert deal_id not in await every(town.portal.hubspot, Kind.DEALS)
    assert await town.portal.hubspot.get(Kind.DEALS, deal_id) is None
    archived = await town.portal.hubspot.get(Kind.DEALS, deal_id, archived=True)
    assert archived
    assert archived.archived_at


async def test_search_goes_on_above_the_last_id(town: Town):
    await town.sandbox.hubspot("search", settle=True)
    until = datetime.now(UTC)
    first = await town.portal.hubspot.search(Kind.DEALS, since=LONG_AGO, until=until)
    ids = [record.id for record in first.records]

    while found := (
        await town.portal.hubspot.search(Kind.DEALS, since=LONG_AGO, until=until, above_id=ids[-1])
    ).records:
        ids += [record.id for record in found]

    assert ids == sorted(set(ids), key=int)
    assert len(ids) == first.total == (await town.sandbox.ask("hubspot"))["counts"]["deals"]


@pytest.mark.parametrize("kind", Kind)
async def test_search_finds_what_was_changed_in_a_span_of_time_and_nothing_else(town: Town, kind: Kind):
    record = (await town.portal.hubspot.page(kind, limit=1)).records[0]
    await town.sandbox.hubspot(f"{kind}/{record.id}", properties={"hubspot_owner_id": ""})
    changed = await town.portal.hubspot.get(kind, record.id)
    await town.sandbox.hubspot("search", settle=True)
    assert changed
    at = changed.modified_at

    exactly = await town.portal.hubspot.search(kind, since=at, until=at)
    before = await town.portal.hubspot.search(kind, since=LONG_AGO, until=at - timedelta(milliseconds=1))

    assert [one.id for one in exactly.records] == [record.id]
    assert record.id not in [one.id for one in before.records]


async def test_a_batch_tells_what_is_missing_and_where_a_merged_id_leads(town: Town):
    one, other, gone, kept = [await a_deal(town) for _ in range(4)]
    await town.sandbox.hubspot(f"deals/{one}", merge=other)
    await town.portal.hubspot.archive(Kind.DEALS, gone)

    batch = await town.portal.hubspot.read(Kind.DEALS, [one, other, gone, kept, "999", kept])

    merged = batch.leads_to[one]
    assert batch.leads_to == {one: merged, other: merged}
    assert {record.id for record in batch.records} == {merged, kept}
    assert batch.missing == [gone, "999"]


async def test_more_than_a_hundred_are_read_in_several_batches(town: Town):
    ids = (await every(town.portal.hubspot, Kind.DEALS))[:250]

    batch = await town.portal.hubspot.read(Kind.DEALS, ids)

    assert [record.id for record in batch.records] == ids
    assert not batch.missing


async def test_what_hubspot_failed_to_read_is_not_taken_for_missing(town: Town):
    broken = {
        "status": "COMPLETE",
        "results": [],
        "numErrors": 1,
        "errors": [{"status": "error", "category": "INTERNAL_ERROR", "message": "a shard is away"}],
    }
    await town.sandbox.hubspot("faults", path=f"{DEALS}/batch/read", status=207, body=broken)

    with pytest.raises(VendorDown, match="a shard is away"):
        await town.portal.hubspot.read(Kind.DEALS, ["1"])


async def test_whom_a_batch_does_not_mention_is_not_taken_for_missing(town: Town):
    ids = (await every(town.portal.hubspot, Kind.DEALS))[:40]
    silence = {"status": "COMPLETE", "results": []}
    await town.sandbox.hubspot("faults", path=f"{DEALS}/batch/read", status=200, body=silence)

    with pytest.raises(VendorDown, match="said nothing of 40 records"):
        await town.portal.hubspot.read(Kind.DEALS, ids)


async def test_a_few_whom_a_batch_does_not_mention_are_asked_for_one_by_one(town: Town):
    one, other, gone, kept = [await a_deal(town) for _ in range(4)]
    merged = str((await town.sandbox.hubspot(f"deals/{one}", merge=other))["id"])
    await town.portal.hubspot.archive(Kind.DEALS, gone)
    silence = {"status": "COMPLETE", "results": []}
    await town.sandbox.hubspot("faults", path=f"{DEALS}/batch/read", status=200, body=silence)

    batch = await town.portal.hubspot.read(Kind.DEALS, [one, gone, kept])

    assert {record.id for record in batch.records} == {merged, kept}
    assert (batch.missing, batch.leads_to) == ([gone], {one: merged})


async def test_ties_are_over_only_where_hubspot_says_so_or_says_nothing_twice(town: Town):
    deal_id, [contact] = await a_deal(town), (await every(town.portal.hubspot, Kind.CONTACTS))[:1]
    await town.sandbox.hubspot(f"deals/{deal_id}", tie=[{"type": "contacts", "id": contact}])
    silence = {"status": "COMPLETE", "results": []}

    for times, expected in ((1, {deal_id: [contact]}), (2, {})):
        await town.sandbox.hubspot(
            "faults", path="/crm/associations/*", status=200, body=silence, times=times
        )
        assert await town.portal.hubspot.associations(Kind.DEALS, Kind.CONTACTS, [deal_id]) == expected


async def test_associations_of_many_are_read_at_once_and_page_by_page(town: Town):
    contacts = (await every(town.portal.hubspot, Kind.CONTACTS))[:600]
    deal_id, lonely = await a_deal(town), await a_deal(town)
    await town.sandbox.hubspot(
        f"deals/{deal_id}", tie=[{"type": "contacts", "id": contact} for contact in contacts]
    )

    tied = await town.portal.hubspot.associations(Kind.DEALS, Kind.CONTACTS, [deal_id, lonely, "999"])

    assert sorted(tied[deal_id], key=int) == sorted(contacts, key=int)
    assert tied.keys() == {deal_id}


async def test_owners_are_active_deactivated_and_queues(town: Town):
    await town.sandbox.hubspot("owners", email="Eve.Doe@Acme.test", first_name="Eve", last_name="Doe")

    owners = await town.portal.hubspot.owners()

    assert len(owners) == len({owner.id for owner in owners}) == (await town.sandbox.ask("hubspot"))["owners"]
    assert [owner.email for owner in owners if owner.name == "Eve Doe"] == ["eve.doe@acme.test"]
    assert any(owner.is_archived and owner.user_id for owner in owners)
    assert [owner.email for owner in owners if owner.is_queue] == [""]


async def test_a_list_of_owners_that_goes_round_is_no_list(town: Town):
    page = {"results": [{"id": "1"}], "paging": {"next": {"after": "1"}}}
    await town.sandbox.hubspot("faults", path="/crm/owners/*", status=200, body=page, times=2)

    with pytest.raises(VendorDown, match="goes round"):
        await town.portal.hubspot.owners()


async def test_stages_are_in_order_and_say_which_ones_end_a_deal(town: Town):
    stages = await town.portal.hubspot.pipelines()

    assert [stage.place for stage in stages] == list(range(1, len(stages) + 1))
    won = [stage.id for stage in stages if stage.is_won]
    assert won == ["closedwon", "146208804"]
    assert [stage.id for stage in stages if stage.is_closed and not stage.is_won] == [
        "closedlost",
        "146208805",
    ]
    assert {stage.pipeline for stage in stages} == {"Sales Pipeline", "Renewals"}


async def test_properties_have_their_choices(town: Town):
    properties = {one.name: one for one in await town.portal.hubspot.properties(Kind.DEALS)}

    assert [choice.value for choice in properties["hs_priority"].choices] == ["low", "medium", "high"]
    assert properties["hs_is_closed"].is_read_only
    assert not properties["amount"].is_read_only
    assert {field.name for field in FIELDS[Kind.DEALS]} <= properties.keys()


# Writing


async def test_a_deal_is_created_with_what_it_belongs_to(town: Town):
    company = (await town.portal.hubspot.page(Kind.COMPANIES, limit=1)).records[0].id
    contact = (await town.portal.hubspot.page(Kind.CONTACTS, limit=1)).records[0].id

    made = await town.portal.hubspot.create(
        Kind.DEALS, {"dealname": "Tied"}, [(Kind.COMPANIES, company), (Kind.CONTACTS, contact)]
    )

    assert made.values["dealname"] == "Tied"
    for kind, far in ((Kind.COMPANIES, company), (Kind.CONTACTS, contact)):
        assert await town.portal.hubspot.associations(Kind.DEALS, kind, [made.id]) == {made.id: [far]}
        assert made.id in (await town.portal.hubspot.associations(kind, Kind.DEALS, [far]))[far]


async def test_a_change_answers_what_was_written_and_what_follows(town: Town):
    deal_id = await a_deal(town, amount="100", description="old", closedate="2026-01-01")

    written = await town.portal.hubspot.update(
        Kind.DEALS, deal_id, {"dealstage": "closedwon", "description": ""}
    )

    assert written.id == deal_id
    assert written.values["hs_is_closed_won"] == "true"
    assert written.values["description"] == ""
    assert "amount" not in written.values
    record = await town.portal.hubspot.get(Kind.DEALS, deal_id)
    assert record
    assert record.modified_at == written.modified_at
    assert "description" not in record.values


async def test_archiving_twice_is_archiving_once(town: Town):
    deal_id = await a_deal(town)

    await town.portal.hubspot.archive(Kind.DEALS, deal_id)
    await town.portal.hubspot.archive(Kind.DEALS, deal_id)
    await town.portal.hubspot.archive(Kind.DEALS, "999")


# Refusals


async def test_a_rule_of_the_account_names_the_fields_and_the_reference(town: Town):
    deal_id = await a_deal(town)

    with pytest.raises(HubSpotRefused) as caught:
        await town.portal.hubspot.update(Kind.DEALS, deal_id, {"dealstage": "closedwon"})

    refusal = caught.value
    assert refusal.status == 400
    assert refusal.category == "VALIDATION_ERROR"
    assert refusal.fields == {"closedate": "must be filled in because of dealstage"}
    assert str(refusal).endswith(f"(HubSpot's reference: {refusal.correlation_id})")
    assert "\n" not in str(refusal)


async def test_values_that_will_not_do_are_each_told_in_plain_words(town: Town):
    with pytest.raises(HubSpotRefused) as caught:
        await town.portal.hubspot.create(
            Kind.DEALS, {"dealname": "x", "amount": "much", "hubspot_owner_id": "1", "hs_priority": "odd"}
        )

    assert caught.value.fields == {
        "amount": "is not a number",
        "hubspot_owner_id": "is nobody who can own records in HubSpot, or not any more",
        "hs_priority": "is none of the choices HubSpot has",
    }


async def test_a_revoked_token_is_named_by_its_setting(town: Town):
    await town.sandbox.hubspot("scopes", revoked=True)

    with pytest.raises(HubSpotRefused, match="HUBSPOT_TOKEN is not accepted") as caught:
        await town.portal.hubspot.account()

    assert caught.value.status == 401


async def test_missing_scopes_are_named(town: Town):
    await town.sandbox.hubspot(
        "scopes", missing=["crm.objects.owners.read", "crm.objects.deals.write", "crm.schemas.contacts.read"]
    )

    with pytest.raises(HubSpotRefused, match=r"lacks the scopes crm\.objects\.owners\.read for this"):
        await town.portal.hubspot.owners()

    assert await town.portal.hubspot.try_scopes() == [
        "crm.objects.deals.write",
        "crm.schemas.contacts.read",
        "crm.objects.owners.read",
    ]


async def test_trying_scopes_changes_nothing_and_finds_all_of_them(town: Town):
    before = (await town.sandbox.ask("hubspot"))["revisions"]

    assert await town.portal.hubspot.try_scopes() == []

    assert (await town.sandbox.ask("hubspot"))["revisions"] == before
    assert len(SCOPES) == 10


async def test_without_a_token_the_setting_is_named(town: Town):
    async with client(town, token=None) as hubspot:
        with pytest.raises(SettingsError, match="HUBSPOT_TOKEN"):
            await hubspot.owners()

    assert await calls(town) == 0


ODD_BODIES: list[dict[str, Any]] = [
    {"text": "<html>no</html>"},
    {"text": ""},
    {"body": []},
    {"body": None, "text": "null"},
    {"body": {"message": None, "errors": None, "context": None, "category": 7, "correlationId": []}},
    {"body": {"errors": ["x", {"context": "no", "message": {}}, {"context": {"propertyName": "amount"}}]}},
]


@pytest.mark.parametrize("odd", ODD_BODIES, ids=str)
async def test_an_odd_body_of_a_refusal_is_still_a_refusal(town: Town, odd: dict[str, Any]):
    await town.sandbox.hubspot("faults", path=f"{DEALS}/1", status=422, **odd)

    with pytest.raises(HubSpotRefused, match="HubSpot: refused with 422") as caught:
        await town.portal.hubspot.get(Kind.DEALS, "1")

    assert caught.value.correlation_id == ""
    assert set(caught.value.fields) <= {"amount"}


async def test_a_404_of_somebody_in_between_says_nothing_about_a_record(town: Town):
    await town.sandbox.hubspot("faults", path=f"{DEALS}/1", status=404, text="<h1>Not found</h1>", times=2)

    with pytest.raises(HubSpotRefused):
        await town.portal.hubspot.get(Kind.DEALS, "1")
    with pytest.raises(HubSpotRefused):
        await town.portal.hubspot.archive(Kind.DEALS, "1")


@pytest.mark.parametrize(
    "odd",
    [
        {"text": "<html>captive portal</html>"},
        {"body": {"results": [{"id": "1", "createdAt": "yesterday", "updatedAt": "2026-01-01T00:00:00Z"}]}},
        {"body": {"results": [{"id": "1", "createdAt": "2026-01-01T00:00:00Z"}]}},
        {"body": {"results": "none"}},
        {"body": {}},
    ],
    ids=str,
)
async def test_an_answer_that_cannot_be_read_is_a_passing_failure(town: Town, odd: dict[str, Any]):
    await town.sandbox.hubspot("faults", path=DEALS, status=200, **odd)

    with pytest.raises(VendorDown, match="an answer that cannot be read"):
        await town.portal.hubspot.page(Kind.DEALS)


async def test_values_are_cleaned_of_what_no_text_can_hold(town: Town):
    odd = (
        '{"results": [{"id": 7, "createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00.5Z",'
        ' "properties": {"dealname": "a\\u0000b\\ud800c \\ud83d\\ude00", "amount": 12.5,'
        ' "hs_is_closed": true, "pipeline": null, "dealstage": {"x": 1}}}]}'
    )
    await town.sandbox.hubspot("faults", path=DEALS, status=200, text=odd)

    record = (await town.portal.hubspot.page(Kind.DEALS)).records[0]

    assert record.id == "7"
    assert record.values == {"dealname": "ab?c 😀", "amount": "12.5", "hs_is_closed": "true"}


# Failures that pass


async def test_what_reads_is_tried_again_and_counted(town: Town):
    await town.sandbox.hubspot("faults", path=DEALS, status=503, times=2)
    await town.sandbox.hubspot("faults", path=DEALS, reset=True, skip=2)
    tally = Tally()

    page = await town.portal.hubspot.counted(tally).for_("sync").page(Kind.DEALS)

    assert page.records
    assert tally.calls == 4
    assert tally.faults == {"503": 2, "unreachable": 1}
    costs = {one.feature: one for one in await town.portal.meter.today()}
    assert (costs["sync"].calls, costs["sync"].retried) == (4, 3)


async def test_searches_and_batch_reads_are_tried_again(town: Town):
    await town.sandbox.hubspot("faults", path=f"{DEALS}/search", status=502)
    await town.sandbox.hubspot("faults", path=f"{DEALS}/batch/read", status=500)
    now = datetime.now(UTC)

    assert (await town.portal.hubspot.search(Kind.DEALS, since=LONG_AGO, until=now)).total
    assert (await town.portal.hubspot.read(Kind.DEALS, ["999"])).missing == ["999"]


async def test_the_impatient_try_nothing_twice(town: Town):
    await town.sandbox.hubspot("faults", path=DEALS, status=500)

    with pytest.raises(VendorDown, match="failed with 500") as caught:
        await town.portal.hubspot.impatient().page(Kind.DEALS)

    assert caught.value.reason == "500"
    assert await calls(town) == 0


async def test_a_read_that_hangs_is_given_up_and_made_again(town: Town):
    await town.sandbox.hubspot("faults", path=DEALS, hang=True)

    async with client(town, patience=0.5) as hubspot:
        assert (await hubspot.page(Kind.DEALS)).records


@pytest.mark.parametrize("how", [{"hang": True}, {"reset": True}, {"status": 500}], ids=str)
async def test_a_write_whose_answer_is_lost_is_not_sent_twice(town: Town, how: dict[str, Any]):
    deals = (await town.sandbox.ask("hubspot"))["counts"]["deals"]
    await town.sandbox.hubspot("faults", path=DEALS, method="POST", after_write=True, times=5, **how)

    async with client(town, patience=0.5) as hubspot:
        with pytest.raises(OutcomeUnknown, match="whether it was made is not known") as caught:
            await hubspot.create(Kind.DEALS, {"dealname": "Once"})

    assert bool(caught.value.correlation_id) == ("status" in how)
    assert str(caught.value).count("HubSpot's reference") == ("status" in how)

    assert (await town.sandbox.ask("hubspot"))["counts"]["deals"] == deals + 1


async def test_a_change_taken_with_an_answer_that_cannot_be_read_may_have_been_made(town: Town):
    deal_id = await a_deal(town)
    await town.sandbox.hubspot("faults", path=f"{DEALS}/{deal_id}", after_write=True, status=200, text="?")

    with pytest.raises(OutcomeUnknown):
        await town.portal.hubspot.update(Kind.DEALS, deal_id, {"amount": "5"})

    assert (await truth(town, Kind.DEALS, deal_id))["amount"] == "5"


async def test_a_write_that_never_left_is_a_plain_failure_and_tried_again(town: Town):
    async with client(town) as hubspot:
        api = hubspot._api
        nobody = HubSpotApi(
            api._http,
            base_url="http://127.0.0.1:1",
            token="x",
            pace=api._pace,
            meter=api._meter,
            attempts=3,
            tally=(tally := Tally()),
        )
        with pytest.raises(VendorDown, match="does not answer") as caught:
            await HubSpot(nobody).create(Kind.DEALS, {"dealname": "Never"})

    assert not isinstance(caught.value, OutcomeUnknown)
    assert tally.calls == 3


@pytest.mark.parametrize("retry_after", ["always", "never"])
async def test_too_many_in_ten_seconds_is_waited_out_by_reads_and_by_writes(town: Town, retry_after: str):
    deal_id = await a_deal(town)
    headers = {"Retry-After": "1"} if retry_after == "always" else {}
    await town.sandbox.hubspot(
        "faults", path=f"{DEALS}*", policy="TEN_SECONDLY_ROLLING", times=2, headers=headers
    )
    tally = Tally()

    assert (await town.portal.hubspot.counted(tally).page(Kind.DEALS)).records
    await town.sandbox.hubspot("faults", path=f"{DEALS}*", policy="TEN_SECONDLY", headers=headers)
    await town.portal.hubspot.counted(tally).update(Kind.DEALS, deal_id, {"amount": "7"})

    assert tally.faults == {"TEN_SECONDLY": 3}
    assert tally.waited_seconds >= 2.9
    assert (await truth(town, Kind.DEALS, deal_id))["amount"] == "7"


async def test_a_used_up_day_is_never_tried_again(town: Town):
    deal_id = await a_deal(town)
    await town.sandbox.hubspot("limits", daily=5)
    await town.sandbox.hubspot("spend", calls=5)
    before = await calls(town)

    for asked in (
        town.portal.hubspot.page(Kind.DEALS),
        town.portal.hubspot.update(Kind.DEALS, deal_id, {"amount": "1"}),
    ):
        with pytest.raises(VendorDown, match="until HubSpot's day ends") as caught:
            await asked
        assert caught.value.reason == "DAILY"
        assert not isinstance(caught.value, OutcomeUnknown)

    assert await calls(town) == before + 2


async def test_an_hour_to_wait_is_not_waited(town: Town):
    await town.sandbox.hubspot("faults", path=DEALS, status=503, headers={"Retry-After": "3600"})
    began = time.monotonic()

    with pytest.raises(VendorDown):
        await town.portal.hubspot.page(Kind.DEALS)

    assert time.monotonic() - began < 5


# The pace and the meter


async def test_two_processes_share_the_searches_of_a_second(town: Town):
    await town.sandbox.hubspot("search", settle=True)
    now, tallies = datetime.now(UTC), [Tally(), Tally()]

    async with client(town) as one, client(town) as other:
        began = time.monotonic()
        await asyncio.gather(
            *(
                hubspot.counted(tally).search(Kind.DEALS, since=now, until=now)
                for hubspot, tally in zip((one, other), tallies, strict=True)
                for _ in range(7)
            )
        )
        took = time.monotonic() - began

    assert sum(tally.calls for tally in tallies) == 14
    assert not any(tally.faults for tally in tallies)
    assert took >= 13 / 4 - 0.1
    assert (await town.sandbox.ask("hubspot"))["refused"]["SECONDLY"] == 0


async def test_two_processes_stay_within_the_burst_of_ten_seconds(town: Town):
    await town.sandbox.hubspot("limits", burst=40)

    async with client(town) as one, client(town) as other:
        # Each learns the limit from its first answer.
        await one.page(Kind.DEALS, limit=1)
        await other.page(Kind.DEALS, limit=1)
        await asyncio.gather(
            *(hubspot.page(Kind.DEALS, limit=1) for hubspot in (one, other) for _ in range(24))
        )

    state = await town.sandbox.ask("hubspot")
    assert state["calls"] == 50
    assert state["refused"]["TEN_SECONDLY"] == 0


async def test_a_refusal_of_one_process_holds_back_the_other(town: Town):
    await town.sandbox.hubspot("faults", path=DEALS, policy="TEN_SECONDLY", headers={"Retry-After": "2"})

    async with client(town) as one, client(town) as other:
        with pytest.raises(VendorDown):
            await one.impatient().page(Kind.DEALS)
        began = time.monotonic()
        await other.account()

    assert time.monotonic() - began >= 1.9


async def test_whoever_would_wait_too_long_is_told_so_at_once(town: Town):
    pace = Pace(town.portal.redis)
    for _ in range(2):
        await pace.refused("general", 30)
    waiting = [asyncio.create_task(pace.turn("general"))]
    await asyncio.sleep(0.1)

    with pytest.raises(VendorDown) as caught:
        await pace.turn("general")

    assert caught.value.reason == "pace"
    waiting[0].cancel()


async def test_without_redis_a_process_goes_on_at_a_quarter_of_the_pace():
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    line = redis.connect_briefly("redis://127.0.0.1:1")
    pace = Pace(line, clock=lambda: 1000.0, sleep=sleep)
    waits = [await pace.turn("search") for _ in range(3)]
    await pace.refused("general", 3)

    assert waits == [0, 1, 2]
    assert await pace.turn("general") == 3
    await line.aclose()


async def test_the_pace_is_kept_under_declared_keys_that_end(town: Town):
    await town.portal.hubspot.account()
    await town.portal.hubspot.search(Kind.DEALS, since=LONG_AGO, until=LONG_AGO)

    keys = [key for key in await town.keys() if "hubspot" in key]

    assert keys == ["cache:hubspot:general", "cache:hubspot:search"]
    for key in keys:
        assert 0 < await town.portal.redis.ttl(key) <= 300


async def test_calls_and_what_is_left_of_the_day_are_written_down(town: Town):
    await town.sandbox.hubspot("limits", daily=1000)
    await town.sandbox.hubspot("spend", calls=100)
    assert await town.portal.meter.allowance() is None

    await town.portal.hubspot.for_("pages").account()
    await town.portal.hubspot.account()

    allowance = await town.portal.meter.allowance()
    assert allowance
    assert (allowance.daily_limit, allowance.daily_left) == (1000, 898)
    assert {one.feature: one.calls for one in await town.portal.meter.today()} == {"pages": 1, "other": 1}


async def test_the_meter_writes_by_itself_and_when_it_is_closed(town: Town):
    async def written() -> int:
        return int(await town.value("SELECT coalesce(sum(calls), 0) FROM crm_calls"))

    meter = Meter(town.portal.database, every=timedelta(milliseconds=50))
    meter.called("sync")
    await eventually(written)
    meter.called("sync")
    await meter.close()

    assert await written() == 2

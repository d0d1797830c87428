"""One record, read again because somebody looks at it."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.crm.hubspot_town import history, in_haste, is_archived, row, some, synced
from tests.town import Town

from muster.crm.fields import Kind
from muster.errors import NotFound, VendorDown


@pytest.fixture
async def loaded(town: Town) -> Town:
    await in_haste(town)
    await synced(town)
    return town


async def test_a_record_is_as_hubspot_has_it_after_one_look(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)
    contact = (await some(loaded, Kind.CONTACTS, count=900))[-1]
    await loaded.sandbox.hubspot("search", lag=600)
    await loaded.sandbox.hubspot(
        f"deals/{deal}", properties={"dealname": "Fresh"}, tie=[{"type": "contacts", "id": contact}]
    )
    before = (await loaded.sandbox.ask("hubspot"))["calls"]

    fresh = await loaded.portal.crm_rereads.refresh(Kind.DEALS, deal)

    assert fresh.id == deal
    assert datetime.now(UTC) - fresh.seen_at < timedelta(seconds=5)
    assert (await row(loaded, Kind.DEALS, deal))["name"] == "Fresh"
    assert [source for _, source, _ in await history(loaded, Kind.DEALS, deal)] == ["refresh"]
    assert await loaded.value(
        "SELECT true FROM crm_associations WHERE from_id = %s AND to_id = %s", deal, contact
    )
    assert (await loaded.sandbox.ask("hubspot"))["calls"] - before == 3


async def test_a_look_that_finds_nothing_new_says_so_by_its_age(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)
    await loaded.execute("UPDATE crm_records SET seen_at = now() - interval '1 day'")

    fresh = await loaded.portal.crm_rereads.refresh(Kind.DEALS, deal)

    assert datetime.now(UTC) - fresh.seen_at < timedelta(seconds=5)
    assert await history(loaded, Kind.DEALS, deal) == []


async def test_one_that_is_gone_is_not_found_and_leaves_the_lists(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)
    await loaded.sandbox.hubspot(f"deals/{deal}", archived=True)

    with pytest.raises(NotFound):
        await loaded.portal.crm_rereads.refresh(Kind.DEALS, deal)

    assert await is_archived(loaded, Kind.DEALS, deal)
    with pytest.raises(NotFound):
        await loaded.portal.crm_rereads.refresh(Kind.DEALS, "123")


async def test_a_merged_one_gives_what_it_became(loaded: Town):
    one, other = await some(loaded, Kind.COMPANIES, count=2)
    merged = await loaded.sandbox.hubspot(f"companies/{one}", merge=other)

    fresh = await loaded.portal.crm_rereads.refresh(Kind.COMPANIES, one)

    assert fresh.id == merged["id"]
    assert (await row(loaded, Kind.COMPANIES, one))["merged_into"] == merged["id"]


async def test_nobody_waits_for_a_second_try(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)
    await loaded.sandbox.hubspot("faults", path="/crm/*", status=503, times=1)

    with pytest.raises(VendorDown):
        await loaded.portal.crm_rereads.refresh(Kind.DEALS, deal)

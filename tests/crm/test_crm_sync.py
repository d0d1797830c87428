"""The copy of HubSpot's records kept in step: what moved, left or came back, and what is not believed."""

import asyncio
import secrets
from datetime import UTC, datetime, timedelta

import pytest
from tests.crm.hubspot_town import (
    SOMEBODY,
    a_deal,
    counts,
    held,
    history,
    in_haste,
    is_archived,
    row,
    some,
    synced,
    truth,
    versions,
)
from tests.town import Town

from muster.crm.fields import Kind
from muster.crm.owners import Standing
from muster.errors import VendorDown, VendorRefused
from muster.platform.queue import Work

LISTED = "/crm/objects/2026-09"


@pytest.fixture
async def loaded(town: Town) -> Town:
    """A town whose copy holds all that HubSpot has."""
    await in_haste(town)
    run = await synced(town)
    assert run.status == "finished", run.reason
    return town


async def test_the_first_run_reads_everything_there_is(loaded: Town):
    assert {kind: await held(loaded, kind) for kind in Kind} == await counts(loaded)
    assert await loaded.value("SELECT count(*) FROM crm_changes") == 0
    run = await loaded.portal.crm_sync.find_whole(is_full=True)
    assert run
    assert run.seen == run.created == run.expected == sum((await counts(loaded)).values())
    assert run.calls > 0
    [deal] = await some(loaded, Kind.DEALS)
    assert (await row(loaded, Kind.DEALS, deal))["name"] == (await truth(loaded, Kind.DEALS, deal))[
        "dealname"
    ]


async def test_what_records_belong_to_is_read_with_them(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)

    tied = await loaded.portal.hubspot.associations(Kind.DEALS, Kind.CONTACTS, [deal])

    ours = await loaded.value(
        "SELECT array_agg(to_id) FROM crm_associations WHERE from_kind = 'deals' AND from_id = %s "
        "AND to_kind = 'contacts'",
        deal,
    )
    assert set(ours) == set(tied[deal])


async def test_who_owns_and_through_what_stages_deals_go_is_known(loaded: Town):
    assert await loaded.value("SELECT count(*) FROM crm_owners WHERE is_archived") > 0
    assert await loaded.value("SELECT count(*) FROM crm_stages WHERE is_won") > 0
    assert await loaded.value(
        "SELECT jsonb_array_length(choices) FROM crm_properties "
        "WHERE kind = 'companies' AND name = 'industry'"
    )


@pytest.mark.parametrize("is_full", [False, True])
async def test_a_run_that_finds_nothing_changed_writes_nothing(loaded: Town, is_full: bool):  # noqa: FBT001
    before = await versions(loaded)

    run = await synced(loaded, is_full=is_full)

    assert run.status == "finished"
    assert run.changes == run.drift == 0
    assert await versions(loaded) == before
    assert run.seen == (sum((await counts(loaded)).values()) if is_full else 0)


async def test_a_change_is_carried_over_and_becomes_history(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)
    before = (await truth(loaded, Kind.DEALS, deal))["dealname"]
    await loaded.sandbox.hubspot(f"deals/{deal}", properties={"dealname": "Renamed"})
    await in_haste(loaded)

    run = await synced(loaded)

    assert (run.is_full, run.updated) == (False, 1)
    assert (await row(loaded, Kind.DEALS, deal))["name"] == "Renamed"
    assert await history(loaded, Kind.DEALS, deal) == [("changed", "sync", {"dealname": [before, "Renamed"]})]


async def test_a_new_record_comes_with_what_it_belongs_to_on_either_side(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)
    made = await loaded.sandbox.hubspot(
        "contacts", properties={"email": "new@customer.example"}, tie=[{"type": "deals", "id": deal}]
    )
    await in_haste(loaded)

    run = await synced(loaded)

    assert run.created == 1
    assert await loaded.value(
        "SELECT true FROM crm_associations WHERE from_kind = 'deals' AND from_id = %s AND to_id = %s",
        deal,
        made["id"],
    )


async def test_what_search_does_not_know_yet_is_found_by_the_next_run(loaded: Town):
    await loaded.sandbox.hubspot("search", lag=30)
    deal = await a_deal(loaded)

    first = await synced(loaded)
    await loaded.sandbox.hubspot("search", settle=True)
    second = await synced(loaded)

    assert (first.created, second.created) == (0, 1)
    assert (await row(loaded, Kind.DEALS, deal))["name"] == "A deal"


async def test_search_that_is_behind_overwrites_nothing_newer(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)
    await loaded.sandbox.hubspot(f"deals/{deal}", properties={"dealname": "First"})
    await in_haste(loaded)
    await loaded.sandbox.hubspot("search", lag=30)
    await loaded.sandbox.hubspot(f"deals/{deal}", properties={"dealname": "Second"})
    await loaded.portal.crm_rereads.refresh(Kind.DEALS, deal)

    await synced(loaded)

    assert (await row(loaded, Kind.DEALS, deal))["name"] == "Second"


async def test_archiving_is_noticed_though_it_moves_no_time_of_a_change(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)
    await loaded.sandbox.hubspot(f"deals/{deal}", archived=True)
    await in_haste(loaded)

    run = await synced(loaded)

    assert (run.is_full, run.archived) == (False, 1)
    assert await is_archived(loaded, Kind.DEALS, deal)
    assert [what for what, _, _ in await history(loaded, Kind.DEALS, deal)] == ["archived"]


async def test_search_that_still_shows_the_archived_brings_nobody_back(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)
    await loaded.sandbox.hubspot(f"deals/{deal}", properties={"dealname": "Just changed"})
    await in_haste(loaded)
    await loaded.sandbox.hubspot("search", lag=30)
    await loaded.sandbox.hubspot(f"deals/{deal}", archived=True)
    async with loaded.portal.database.transaction() as tx:
        await loaded.portal.crm_rereads.ask(tx, Kind.DEALS, {deal: "webhook"})
    await loaded.portal.crm_rereads.work_off()

    run = await synced(loaded)

    assert run.restored == 0
    assert await is_archived(loaded, Kind.DEALS, deal)


async def test_what_is_restored_comes_back(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)
    await loaded.sandbox.hubspot(f"deals/{deal}", archived=True)
    await in_haste(loaded)
    await synced(loaded)
    await loaded.sandbox.hubspot(f"deals/{deal}", archived=False)
    await in_haste(loaded)

    run = await synced(loaded)

    assert run.restored == 1
    assert not await is_archived(loaded, Kind.DEALS, deal)


async def test_what_was_archived_before_we_came_is_here_as_soon_as_it_is_restored(town: Town):
    await in_haste(town)
    old = await a_deal(town, dealname="From before")
    await town.sandbox.hubspot(f"deals/{old}", archived=True)
    await in_haste(town)
    await synced(town)
    assert await is_archived(town, Kind.DEALS, old)
    assert (await row(town, Kind.DEALS, old))["fields"] == {}
    assert await held(town, Kind.DEALS) == (await counts(town))["deals"]

    await town.sandbox.hubspot(f"deals/{old}", archived=False)
    await in_haste(town)
    await town.execute("UPDATE crm_cursors SET known_until = now() + interval '20 minutes'")
    run = await synced(town)

    assert (run.is_full, run.restored, run.created) == (False, 1, 0)
    assert (await row(town, Kind.DEALS, old))["name"] == "From before"
    assert await held(town, Kind.DEALS) == (await counts(town))["deals"]
    again = await synced(town, is_full=True)
    assert again.changes == again.drift == 0


async def test_one_restored_and_another_archived_are_both_known_within_the_hour(loaded: Town):
    first, second = await some(loaded, Kind.DEALS, count=2)
    await loaded.sandbox.hubspot(f"deals/{first}", archived=True)
    await in_haste(loaded)
    await synced(loaded)
    await loaded.sandbox.hubspot(f"deals/{first}", archived=False)
    await loaded.sandbox.hubspot(f"deals/{second}", archived=True)
    await in_haste(loaded)
    await loaded.execute("UPDATE crm_cursors SET archived_known_until = now() - interval '2 hours'")

    run = await synced(loaded)

    assert (run.restored, run.archived) == (1, 1)


async def test_merged_records_lead_to_what_they_became(loaded: Town):
    one, other = await some(loaded, Kind.CONTACTS, count=2)
    merged = await loaded.sandbox.hubspot(f"contacts/{one}", merge=other)
    await in_haste(loaded)

    run = await synced(loaded)

    assert (run.created, run.merged) == (1, 2)
    for old in (one, other):
        assert (await row(loaded, Kind.CONTACTS, old))["merged_into"] == merged["id"]
        assert await is_archived(loaded, Kind.CONTACTS, old)
    assert (await synced(loaded, is_full=True)).changes == 0


async def test_an_owner_who_is_gone_or_deactivated_is_kept_and_marked(loaded: Town):
    owner = await loaded.value(
        "SELECT id FROM crm_owners WHERE NOT is_archived AND email <> '' ORDER BY id LIMIT 1"
    )
    await loaded.execute("INSERT INTO crm_owners (id, name) VALUES ('1', 'Nobody HubSpot knows')")
    await loaded.sandbox.hubspot(f"owners/{owner}", archived=True)

    await synced(loaded)

    assert await loaded.value("SELECT is_archived FROM crm_owners WHERE id = %s", owner)
    assert await loaded.value("SELECT is_gone FROM crm_owners WHERE id = '1'")


async def test_a_list_of_owners_that_lacks_most_of_the_active_ones_is_not_believed(loaded: Town):
    known = await loaded.value("SELECT count(*) FROM crm_owners WHERE NOT is_archived")
    await loaded.sandbox.hubspot(
        "faults", path="/crm/owners/*", status=200, body={"results": []}, skip=1
    )  # the deactivated ones are asked for first

    run = await synced(loaded)

    assert run.status == "finished"
    assert await loaded.value("SELECT count(*) FROM crm_owners WHERE NOT (is_archived OR is_gone)") == known


async def test_owners_who_are_all_deactivated_are_believed(loaded: Town):
    for owner in await loaded.value(
        "SELECT array_agg(id) FROM crm_owners WHERE NOT (is_archived OR is_queue)"
    ):
        await loaded.sandbox.hubspot(f"owners/{owner}", archived=True)

    await synced(loaded)

    assert not await loaded.value("SELECT count(*) FROM crm_owners WHERE NOT (is_archived OR is_queue)")


async def test_who_owns_is_shown_anew_as_soon_as_hubspot_or_the_directory_says_otherwise(loaded: Town):
    await loaded.portal.sync.run()
    ben = next(one for one in await loaded.portal.owners.list_all() if one.email == "ben@acme.test")
    assert ben.may_own

    await loaded.sandbox.hubspot(f"owners/{ben.id}", archived=True)
    await synced(loaded)
    assert (await loaded.portal.owners.by_id())[ben.id].standing is Standing.DEACTIVATED

    await loaded.sandbox.change("ben@acme.test", suspended=True)
    await loaded.portal.sync.run()
    assert (await loaded.portal.owners.by_id())[ben.id].standing is Standing.SUSPENDED


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Kind.DEALS, {"dealname": secrets.token_hex(6000)}),
        (Kind.CONTACTS, {"email": f"{secrets.token_hex(6000)}@customer.example"}),
        (Kind.COMPANIES, {"domain": f"{secrets.token_hex(6000)}.example"}),
    ],
)
async def test_a_record_with_a_long_name_or_address_is_kept_as_any_other(
    loaded: Town, kind: Kind, values: dict[str, str]
):
    made = await loaded.sandbox.hubspot(kind, properties=values)
    await in_haste(loaded)

    assert (await synced(loaded)).created == 1
    kept = await row(loaded, kind, str(made["id"]))
    assert kept["fields"].items() >= values.items()


async def test_a_record_that_cannot_be_written_keeps_no_other_waiting(loaded: Town):
    [contact] = await some(loaded, Kind.CONTACTS)
    now = datetime.now(UTC).isoformat()
    times = {"createdAt": now, "updatedAt": now, "archived": False}
    spoilt = {"id": "1", "properties": {"hs_lead_status": secrets.token_hex(6000)}, **times}
    fresh = {"id": contact, "properties": {"firstname": "Fresh"}, **times}
    await loaded.sandbox.hubspot(
        "faults",
        path=f"{LISTED}/contacts/search",
        status=200,
        body={"total": 2, "results": [spoilt, fresh]},
    )

    run = await synced(loaded)

    assert (run.status, run.created, run.updated) == ("finished", 0, 1)
    assert run.faults == {"record not written": 1}
    assert (await row(loaded, Kind.CONTACTS, contact))["fields"] == {"firstname": "Fresh"}


async def test_what_incremental_runs_missed_is_found_and_counted_as_drift(loaded: Town):
    [deal] = await some(loaded, Kind.DEALS)
    [company] = await some(loaded, Kind.COMPANIES)
    await loaded.execute(
        'UPDATE crm_records SET fields = fields || \'{"dealname": "Wrong"}\' '
        "WHERE kind = 'deals' AND id = %s",
        deal,
    )
    await loaded.execute("DELETE FROM crm_records WHERE kind = 'companies' AND id = %s", company)

    run = await synced(loaded, is_full=True)

    assert (run.updated, run.created, run.drift) == (1, 1, 2)


async def test_a_dry_run_counts_and_changes_nothing(loaded: Town):
    one, other = await some(loaded, Kind.DEALS, count=2)
    await loaded.sandbox.hubspot(f"deals/{one}", properties={"dealname": "Renamed"})
    await loaded.sandbox.hubspot(f"deals/{other}", archived=True)
    await a_deal(loaded)
    await in_haste(loaded)
    before = await versions(loaded)

    incremental = await synced(loaded, dry_run=True)
    full = await synced(loaded, dry_run=True, is_full=True)

    for run in (incremental, full):
        assert (run.created, run.updated, run.archived) == (1, 1, 1), run
    assert await versions(loaded) == before
    assert (await synced(loaded)).changes == 3


# What is not believed


async def test_an_empty_listing_is_refused_and_archives_nothing(loaded: Town):
    before = await held(loaded, Kind.COMPANIES)
    await loaded.sandbox.hubspot(
        "faults", path=f"{LISTED}/companies", method="GET", body={"results": []}, status=200, times=1
    )

    run = await synced(loaded, is_full=True)

    assert run.status == "refused"
    assert run.reason == f"HubSpot's listing held no companies where {before} are known; nothing was archived"
    assert await held(loaded, Kind.COMPANIES) == before


async def test_a_search_that_ends_early_is_made_again(loaded: Town):
    until = await loaded.portal.crm_sync.known_until(Kind.DEALS)
    await a_deal(loaded)
    await in_haste(loaded)
    await loaded.sandbox.hubspot(
        "faults", path=f"{LISTED}/deals/search", status=200, body={"results": [], "total": 5}
    )

    run = await synced(loaded)

    assert (run.status, run.created) == ("refused", 0)
    assert "counts 5 more than it shows" in str(run.reason)
    assert await loaded.portal.crm_sync.known_until(Kind.DEALS) == until
    assert (await synced(loaded)).created == 1


async def test_a_listing_cut_short_archives_nobody_who_is_there(loaded: Town):
    before = await held(loaded, Kind.DEALS)
    listed = (await loaded.portal.hubspot.page(Kind.DEALS, limit=100)).after
    ids = await some(loaded, Kind.DEALS, count=before)
    cut = [
        {
            "id": one,
            "properties": {},
            "createdAt": "2026-01-01T00:00:00Z",
            "updatedAt": "2020-01-01T00:00:00Z",
        }
        for one in ids[: before // 2 + 20]
    ]
    assert listed
    await loaded.sandbox.hubspot(
        "faults", path=f"{LISTED}/deals", method="GET", body={"results": cut}, status=200, times=1
    )

    run = await synced(loaded, is_full=True)

    assert run.status == "refused"
    assert run.reason
    assert "was cut short" in run.reason
    assert run.archived == 0
    assert await held(loaded, Kind.DEALS) == before


async def test_who_is_in_no_page_is_archived_only_by_hubspots_word(loaded: Town):
    await loaded.execute(
        "INSERT INTO crm_records (kind, id, fields, name, sort_name, search_text, created_at, modified_at, "
        "read_at) VALUES ('deals', '99', '{}', 'x', 'x', 'x', now(), now(), 1)"
    )

    run = await synced(loaded, is_full=True)

    assert (run.status, run.archived) == ("finished", 1)
    assert await is_archived(loaded, Kind.DEALS, "99")


# What goes wrong


@pytest.mark.parametrize(
    "fault",
    [{"status": 500}, {"policy": "TEN_SECONDLY_ROLLING", "headers": {"Retry-After": "1"}}, {"reset": True}],
    ids=["500", "429", "reset"],
)
async def test_a_passing_fault_is_asked_again_and_told(loaded: Town, fault: dict[str, object]):
    await loaded.sandbox.hubspot("faults", path=f"{LISTED}/*", times=2, **fault)

    run = await synced(loaded, is_full=True)

    assert run.status == "finished", run.reason
    assert run.retried == 2
    assert sum(run.faults.values()) == 2


async def test_a_run_that_hubspot_refuses_says_why(loaded: Town):
    await loaded.sandbox.hubspot("scopes", missing=["crm.objects.companies.read"])

    with pytest.raises(VendorRefused):
        await synced(loaded)

    run = await loaded.portal.crm_sync.find_last()
    assert run
    assert run.status == "failed"
    assert "crm.objects.companies.read" in str(run.reason)


async def test_a_day_whose_calls_are_used_up_ends_the_run_at_once(loaded: Town):
    await loaded.sandbox.hubspot("faults", path="/crm/*", policy="DAILY", times=1)

    with pytest.raises(VendorDown, match="used up"):
        await synced(loaded)


async def test_a_listing_that_broke_off_goes_on_where_it_came_to(loaded: Town):
    await loaded.sandbox.hubspot(
        "faults", path=f"{LISTED}/contacts", method="GET", skip=4, times=1, status=400, category="X"
    )
    with pytest.raises(VendorRefused):
        await synced(loaded, is_full=True)
    broken = await loaded.portal.crm_sync.find_last()
    assert broken
    assert await loaded.value("SELECT listed_to <> '' FROM crm_cursors WHERE kind = 'contacts'")

    run = await synced(loaded, is_full=True)

    assert (run.status, run.resumed) == ("finished", broken.id)
    assert run.seen == sum((await counts(loaded)).values())
    assert run.pages < 2 * broken.pages + 20
    assert run.archived == run.missed == 0


async def test_one_run_at_a_time_and_a_lost_one_is_fenced_off(loaded: Town):
    await loaded.sandbox.hubspot("faults", path="/crm/owners/*", delay=1.5, times=1)
    first = asyncio.create_task(loaded.portal.crm_sync.run())
    await asyncio.sleep(0.5)

    assert await loaded.portal.crm_sync.run() is None
    await loaded.execute(
        "UPDATE crm_syncs SET beat_at = now() - interval '2 minutes' WHERE status = 'running'"
    )
    second = await loaded.portal.crm_sync.run()

    assert second
    assert second.status == "finished"
    with pytest.raises(Exception, match="taken for dead"):
        await first


async def test_once_a_day_everything_is_listed(loaded: Town):
    assert not (await synced(loaded)).is_full
    await loaded.execute("UPDATE crm_syncs SET began_at = began_at - %s", timedelta(days=1))

    assert (await synced(loaded)).is_full
    assert not (await synced(loaded)).is_full


async def test_a_dry_run_that_waits_takes_the_place_of_no_scheduled_run(loaded: Town):
    await a_deal(loaded)
    await in_haste(loaded)

    await loaded.portal.crm_sync.ask(by=SOMEBODY, dry_run=True)

    job = next(job for job in loaded.portal.jobs if job.name == "crm.sync")
    await job.run(Work(job_id="1", attempt=1, request_id=""))

    runs = await loaded.value(
        "SELECT jsonb_agg(jsonb_build_array(dry_run, asked_by, created) ORDER BY id DESC) FROM crm_syncs"
    )
    assert runs[:2] == [[False, "schedule", 1], [True, SOMEBODY.email, 1]]
    assert not await loaded.portal.crm_sync.is_wanted()


async def test_while_listing_everything_fails_what_changes_is_read_all_the_same(loaded: Town):
    await loaded.execute("UPDATE crm_syncs SET began_at = began_at - %s", timedelta(days=1))
    await loaded.sandbox.hubspot(
        "faults", path=f"{LISTED}/deals", method="GET", times=1, status=400, category="X"
    )
    with pytest.raises(VendorRefused):
        await synced(loaded)

    run = await synced(loaded)

    assert (run.is_full, run.status) == (False, "finished")


async def test_more_records_than_search_shows_share_one_moment(loaded: Town):
    await in_haste(loaded)
    changed = await loaded.sandbox.hubspot("contacts/many", first=900, properties={"city": "Ghent"})
    await loaded.sandbox.hubspot("search", settle=True)

    run = await synced(loaded)

    assert run.updated == changed["changed"] == 900
    assert run.seen == 900

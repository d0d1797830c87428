"""Listing everybody over several chains, and going on where a listing broke off."""

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest
from tests.town import Town, eventually

from muster.errors import VendorDown
from muster.people.listing import Sharing
from muster.people.runs import SyncRun
from muster.people.sync import PeopleSync
from muster.platform.actor import System

TESTER = System("tester")
USERS = "/admin/directory/v1/users"
A_LETTER = re.compile(r"query=email%3A(.)%2A")


def sharing_sync(town: Town) -> PeopleSync:
    """A sync that shares its listing out after the first page, as for a large company, Google far away."""
    made = town.portal
    return PeopleSync(
        made.database,
        made.directory,
        made.sync.copy,
        made.removals,
        made.accounts,
        made.push,
        made.busts,
        sharing=Sharing(whole_pages=1, slow_page=timedelta(0)),
    )


async def hire(town: Town, count: int, *, prefix: str = "p") -> None:
    for number in range(count):
        await town.sandbox.tell(
            "people", {"primaryEmail": f"{prefix}{number}@acme.test", "name": {"givenName": "P"}}
        )


async def ran(sync: PeopleSync) -> SyncRun:
    run = await sync.run()
    assert run is not None
    return run


async def ran_with_census(town: Town) -> SyncRun:
    sync = sharing_sync(town)
    await sync.ask(by=TESTER, is_full=True)
    return await ran(sync)


async def calls(town: Town, path: str = USERS) -> list[str]:
    """The queries of the listing's calls, in order."""
    asked = await town.sandbox.ask(f"requests?path={path}")
    return [call["query"] for call in asked["requests"]]


async def here(town: Town) -> set[str]:
    found = await town.value("SELECT array_agg(email) FROM people WHERE removed_at IS NULL")
    return set(found)


@pytest.fixture
async def large(town: Town) -> Town:
    await hire(town, 300)
    return town


async def test_a_shared_listing_brings_everybody_once(large: Town):
    run = await ran(sharing_sync(large))

    assert (run.status, run.seen, run.created, run.missed) == ("finished", 800, 800, 0)
    assert run.chains > 30
    letters = {found.group(1) for query in await calls(large) if (found := A_LETTER.search(query))}
    assert set("abcdefghijklmnopqrstuvwxyz") <= letters
    assert len(await here(large)) == 800


async def test_a_small_company_is_one_chain(town: Town):
    run = await ran(town.portal.sync)

    assert run.chains == 1
    assert not [query for query in await calls(town) if A_LETTER.search(query)]


async def test_whoever_is_in_no_partition_is_found_by_the_census(large: Town):
    await large.sandbox.tell(
        "people", {"primaryEmail": "'odd@acme.test", "name": {"givenName": "Odd", "familyName": "One"}}
    )

    run = await ran_with_census(large)

    assert (run.status, run.seen) == ("finished", 801)
    assert "'odd@acme.test" in await here(large)


@pytest.mark.parametrize("kind", ["missing-users-key", "empty-users", "truncated"])
async def test_a_partition_that_is_cut_short_loses_nobody(large: Town, kind: str):
    await large.sandbox.fault(kind, query={"query": "email:p*"})

    run = await ran_with_census(large)

    assert (run.status, run.seen) == ("finished", 800)
    assert len(await here(large)) == 800


async def test_a_first_load_is_quick_and_the_run_that_follows_proves_it(large: Town):
    await large.sandbox.tell(
        "people", {"primaryEmail": "'odd@acme.test", "name": {"givenName": "Odd", "familyName": "One"}}
    )
    sync = sharing_sync(large)

    first = await ran(sync)
    assert (first.seen, first.is_proven) == (800, False)
    assert await sync.is_wanted()
    second = await ran(sync)
    third = await ran(sync)

    assert (second.seen, second.created, second.is_proven) == (801, 1, True)
    assert (third.is_proven, third.removed, third.missed) == (False, 0, 0)
    assert "'odd@acme.test" in await here(large)


async def test_a_listing_is_proved_anew_every_day(large: Town):
    sync = sharing_sync(large)
    await ran(sync)
    await ran(sync)
    assert not (await ran(sync)).is_proven
    await large.execute("UPDATE people_syncs SET finished_at = finished_at - interval '25 hours'")

    assert (await ran(sync)).is_proven


async def test_one_chain_proves_itself(town: Town):
    assert (await ran(town.portal.sync)).is_proven


async def test_an_unproven_listing_asks_about_whoever_it_lacks(large: Town):
    sync = sharing_sync(large)
    await ran(sync)
    await ran(sync)
    await large.sandbox.fault("missing-users-key", query={"query": "email:p*"})

    run = await ran(sync)

    assert (run.status, run.removed) == ("refused", 0)
    assert len(await here(large)) == 800


async def test_a_partition_that_is_refused_is_left_to_the_census(large: Town):
    await large.sandbox.fault("expired-token", query={"query": "email:p*"})
    await large.sandbox.fault("503", query={"query": "email:m*"}, times=2)

    run = await ran_with_census(large)

    assert (run.status, run.seen) == ("finished", 800)
    assert run.faults["backendError"] == 2


async def test_partitions_that_hold_nearly_nobody_are_not_trusted(large: Town):
    for letter in "abcdefghijklmnopqrstuvwxyz":
        await large.sandbox.fault("missing-users-key", query={"query": f"email:{letter}*"})

    run = await ran_with_census(large)

    assert (run.status, run.seen) == ("finished", 800)
    assert len(await here(large)) == 800


async def test_an_incomplete_partition_never_drives_a_removal(large: Town):
    await ran_with_census(large)
    await large.sandbox.fault("missing-users-key", query={"query": "email:p*"})

    run = await ran_with_census(large)

    assert (run.status, run.removed, run.held) == ("finished", 0, 0)
    assert len(await here(large)) == 800


async def test_a_census_that_is_cut_short_removes_nobody(large: Town):
    await ran_with_census(large)
    await large.sandbox.fault("missing-users-key", query={"fields": "nextPageToken,users(id)"})

    run = await ran_with_census(large)

    assert (run.status, run.removed, run.held) == ("finished", 0, 0)
    assert len(await here(large)) == 800


async def broken_off(town: Town, sync: PeopleSync) -> None:
    """A run that has written its first page and is stopped while it waits for the second."""
    await town.sandbox.fault("slow", page=2, seconds=30)
    running = asyncio.create_task(sync.run())
    await eventually(lambda: town.value("SELECT count(*) FROM people_pages"))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_listing_that_broke_off_is_resumed_where_it_was(large: Town):
    await broken_off(large, large.portal.sync)
    asked_before = len(await calls(large))

    run = await ran(large.portal.sync)

    assert (run.status, run.resumed, run.seen) == ("finished", 1, 800)
    assert len(await here(large)) == 800
    listed = [query for query in (await calls(large))[asked_before:] if "showDeleted" not in query]
    assert len(listed) == 1, "only the page that was not read yet"
    assert "pageToken" in listed[0]


async def test_a_resumed_run_asks_for_another_since_its_first_pages_are_old(large: Town):
    await broken_off(large, large.portal.sync)

    await ran(large.portal.sync)

    assert await large.portal.sync.is_wanted()
    assert (await ran(large.portal.sync)).resumed is None
    assert not await large.portal.sync.is_wanted()


async def test_a_token_that_is_too_old_has_the_listing_begin_anew(large: Town):
    await broken_off(large, large.portal.sync)
    await large.sandbox.tell("clock", {"days": 4})

    run = await ran(large.portal.sync)

    assert (run.status, run.resumed, run.seen) == ("finished", 1, 800)


async def test_a_listing_that_broke_off_days_ago_is_not_gone_on_with(large: Town):
    await broken_off(large, large.portal.sync)
    await large.execute("UPDATE people_chains SET began_at = now() - interval '4 days'")

    run = await ran(large.portal.sync)

    assert (run.status, run.resumed, run.seen) == ("finished", None, 800)


async def test_a_full_run_begins_anew(large: Town):
    await broken_off(large, large.portal.sync)
    await large.portal.sync.ask(by=TESTER, is_full=True)

    run = await ran(large.portal.sync)

    assert (run.status, run.resumed, run.is_full, run.seen) == ("finished", None, True, 800)


async def test_a_dry_run_goes_on_with_nothing_and_leaves_nothing_to_go_on_with(large: Town):
    await broken_off(large, large.portal.sync)
    await large.portal.sync.ask(by=TESTER, dry_run=True)

    run = await ran(large.portal.sync)

    assert (run.resumed, run.seen, run.created) == (None, 800, 300)


async def test_a_shared_listing_is_resumed_with_all_its_chains(large: Town):
    await large.sandbox.fault("slow", seconds=30, query={"query": "email:z*"})
    running = asyncio.create_task(sharing_sync(large).run())
    await eventually(lambda: large.value("SELECT count(*) > 25 FROM people_chains WHERE is_done"))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    asked_before = len(await calls(large))

    run = await ran(sharing_sync(large))

    assert (run.status, run.resumed, run.seen) == ("finished", 1, 800)
    assert len(await here(large)) == 800
    assert len(await calls(large)) - asked_before < 20


@pytest.mark.parametrize("kind", ["bad-token", "expired-token", "loop"])
async def test_an_unusable_token_restarts_the_chain(large: Town, kind: str):
    await large.sandbox.fault(kind)

    run = await ran(large.portal.sync)

    assert (run.status, run.seen, run.created) == ("finished", 800, 800)


async def test_pages_that_lead_in_a_circle_end_the_run_and_not_the_worker(large: Town):
    await large.sandbox.fault("loop", times=30)

    with pytest.raises(VendorDown, match="read before"):
        await large.portal.sync.run()


async def test_the_figures_of_a_run_tell_calls_and_failures_by_reason(large: Town):
    await large.sandbox.fault("userRateLimitExceeded", times=2)
    await large.sandbox.fault("503", page=4)

    run = await ran(large.portal.sync)

    assert run.status == "finished"
    assert run.faults["userRateLimitExceeded"] == 2
    assert run.faults["backendError"] == 1
    assert run.retried == 3
    assert run.calls >= 6


async def test_memory_of_what_was_listed_is_gone_after_a_finished_run(large: Town):
    await ran(sharing_sync(large))

    left: dict[str, Any] = {
        table: await large.value(f"SELECT count(*) FROM {table}")  # noqa: S608  names of ours
        for table in ("people_pages", "people_chains")
    }
    assert left == {"people_pages": 0, "people_chains": 0}

"""Groups and who is in them, within the quota and without losing anybody."""

import pytest
from tests.town import Town, eventually

from muster.errors import VendorRefused
from muster.people.runs import SyncRun
from muster.platform.actor import System

GROUPS = "/admin/directory/v1/groups"
TESTER = System("tester")


async def ran(town: Town) -> SyncRun:
    run = await town.portal.groups.run()
    assert run is not None
    return run


@pytest.fixture
async def grouped(town: Town) -> Town:
    await town.portal.sync.run()
    await ran(town)
    return town


async def members(town: Town, group: str) -> dict[str, str]:
    """Address → kind."""
    found = await town.value(
        "SELECT COALESCE(jsonb_object_agg(group_members.email, kind), '{}') FROM group_members "
        "JOIN groups ON groups.google_id = group_id WHERE groups.email = %s",
        group,
    )
    return dict(found)


async def member_calls(town: Town) -> int:
    asked = (await town.sandbox.ask("requests"))["requests"]
    return sum(call["path"].endswith("/members") for call in asked)


async def test_the_first_run_brings_all_groups_and_their_members(town: Town):
    await town.portal.sync.run()

    run = await ran(town)

    listed = await town.value("SELECT count(*) FROM groups WHERE removed_at IS NULL")
    assert (run.status, run.kind, run.created, run.seen) == ("finished", "groups", listed, listed)
    assert run.members_added > 500
    assert await town.value("SELECT count(*) FROM groups WHERE members_read_at IS NULL") == 0
    assert "customer" in (await members(town, "everyone@acme.test")).values()
    assert "group" in (await members(town, "everyone@acme.test")).values()
    assert (await members(town, "partners@acme.test"))["kim@gmail.test"] == "user"


async def test_a_first_look_is_no_event_in_anybodys_life(grouped: Town):
    assert await grouped.value("SELECT count(*) FROM people_changes WHERE source = 'groups'") == 0


async def test_with_nothing_new_no_members_are_read_and_nothing_is_written(grouped: Town):
    before = await grouped.value("SELECT array_agg(xmin::text ORDER BY google_id) FROM groups")
    calls = await member_calls(grouped)

    run = await ran(grouped)

    assert (run.created, run.updated, run.removed, run.members_added) == (0, 0, 0, 0)
    assert await member_calls(grouped) == calls
    assert await grouped.value("SELECT array_agg(xmin::text ORDER BY google_id) FROM groups") == before


async def test_who_joins_and_leaves_is_carried_over_and_told(grouped: Town):
    await grouped.sandbox.tell("groups/leadership@acme.test", {"remove": ["cy@acme.test"]})
    await grouped.sandbox.tell("groups/partners@acme.test", {"add": ["cy@acme.test", "lee@gmail.test"]})

    run = await ran(grouped)

    assert (run.updated, run.members_added, run.members_removed) == (2, 2, 1)
    assert "cy@acme.test" not in await members(grouped, "leadership@acme.test")
    assert {"cy@acme.test", "lee@gmail.test"} <= (await members(grouped, "partners@acme.test")).keys()
    told = await grouped.value(
        "SELECT jsonb_object_agg(kinds[1], fields->'group') FROM people_changes WHERE source = 'groups'"
    )
    assert told == {
        "left_group": ["leadership@acme.test", None],
        "joined_group": [None, "partners@acme.test"],
    }


async def test_one_in_anothers_place_is_found_when_the_groups_turn_comes(grouped: Town):
    """Google's own count and mark of the group stay as they were."""
    await grouped.sandbox.tell(
        "groups/leadership@acme.test", {"add": ["kim@gmail.test"], "remove": ["cy@acme.test"]}
    )
    await grouped.execute("UPDATE groups SET members_read_at = now() - interval '7 hours'")

    run = await ran(grouped)

    assert (run.updated, run.members_added, run.members_removed) == (0, 1, 1)


async def test_a_group_that_google_does_not_have_is_removed_with_its_members(grouped: Town):
    await grouped.sandbox.tell("groups/alumni@acme.test", {"deleted": True})

    run = await ran(grouped)

    assert run.removed == 1
    assert await grouped.value("SELECT removed_at IS NOT NULL FROM groups WHERE email = 'alumni@acme.test'")


async def test_a_listing_of_groups_that_is_cut_short_removes_none(grouped: Town):
    await grouped.sandbox.tell("faults", {"path": GROUPS, "kind": "missing-users-key"})
    await grouped.sandbox.tell("faults", {"path": GROUPS, "kind": "empty-users"})

    run = await ran(grouped)

    assert run.status == "refused"
    assert await grouped.value("SELECT count(*) FROM groups WHERE removed_at IS NOT NULL") == 0


@pytest.mark.parametrize("kind", ["missing-users-key", "empty-users", "truncated"])
async def test_a_group_shown_without_its_members_keeps_them(grouped: Town, kind: str):
    before = await members(grouped, "leadership@acme.test")
    await grouped.sandbox.tell("groups/leadership@acme.test", {"add": ["kim@gmail.test"]})
    await grouped.sandbox.tell("faults", {"path": f"{GROUPS}/*/members", "kind": kind})

    run = await ran(grouped)

    assert run.status == "finished"
    if kind != "truncated":  # all of them are on one page
        assert "fewer members than they have" in (run.reason or "")
        assert await members(grouped, "leadership@acme.test") == before
        run = await ran(grouped)
        assert run.reason is None
    assert "kim@gmail.test" in await members(grouped, "leadership@acme.test")


async def test_members_are_read_in_turn_even_where_nothing_shows_that_they_moved(grouped: Town):
    await grouped.execute(
        "UPDATE groups SET members_read_at = now() - interval '7 hours' WHERE email = 'leadership@acme.test'"
    )
    calls = await member_calls(grouped)

    await ran(grouped)

    assert await member_calls(grouped) == calls + 1


async def test_a_full_run_reads_every_groups_members(grouped: Town):
    calls = await member_calls(grouped)
    await grouped.portal.groups.ask(by=TESTER, is_full=True)

    run = await ran(grouped)

    assert await member_calls(grouped) - calls >= run.seen


async def test_a_dry_run_counts_groups_and_writes_none(town: Town):
    await town.portal.groups.ask(by=TESTER, dry_run=True)

    run = await ran(town)

    assert run.created > 10
    assert await town.value("SELECT count(*) FROM groups") == 0


async def test_groups_and_people_are_read_side_by_side(town: Town):
    """Each kind has its own turn: a long look into groups keeps no leaver in."""
    await town.sandbox.tell("faults", {"path": GROUPS, "kind": "slow", "seconds": 1})
    async with town.working():
        queues, jobs = town.portal.queues, {job.name: job for job in town.portal.jobs}
        await queues.nudge(jobs["people.groups"])
        await queues.nudge(jobs["people.sync"])

        async def both() -> bool:
            return bool(await town.portal.sync.find_whole() and await town.portal.groups.find_whole())

        await eventually(both)


async def test_a_refusal_for_the_quota_is_counted_by_its_reason_and_survived(town: Town):
    await town.sandbox.tell("faults", {"path": f"{GROUPS}/*/members", "kind": "quotaExceeded", "times": 3})

    run = await ran(town)

    assert (run.status, run.faults["quotaExceeded"]) == ("finished", 3)


async def test_a_group_that_is_shown_small_twice_is_small(grouped: Town):
    """Google counts somebody it never shows."""
    await grouped.execute(
        "UPDATE groups SET direct_members = 99, etag = '' WHERE email = 'leadership@acme.test'"
    )
    await grouped.sandbox.tell("groups/leadership@acme.test", {"remove": ["cy@acme.test"]})
    for _ in range(2):
        await grouped.sandbox.tell(
            "faults", {"path": f"{GROUPS}/*/members", "kind": "empty-users", "times": 1}
        )
        await ran(grouped)

    assert await members(grouped, "leadership@acme.test") == {}


async def test_a_group_that_may_not_be_read_keeps_none_of_the_others_from_it(town: Town):
    await town.portal.sync.run()
    await town.sandbox.tell("faults", {"path": f"{GROUPS}/*/members", "kind": "forbidden", "times": 3})

    run = await ran(town)

    assert run.status == "finished"
    assert "The members of 3 groups may not be read" in (run.reason or "")
    assert await town.value("SELECT count(*) FROM groups WHERE members_read_at IS NULL") == 3


async def test_where_no_group_may_be_read_the_run_says_so_at_once(town: Town):
    await town.sandbox.tell("faults", {"path": f"{GROUPS}/*/members", "kind": "forbidden", "times": 100})

    with pytest.raises(VendorRefused):
        await town.portal.groups.run()

    assert await member_calls(town) <= 8


async def test_leaving_with_the_group_itself_is_told(grouped: Town):
    await grouped.sandbox.tell("groups/leadership@acme.test", {"deleted": True})

    await ran(grouped)

    told = await grouped.value("SELECT count(*) FROM people_changes WHERE kinds = '{left_group}'")
    assert told == 15
    assert await members(grouped, "leadership@acme.test") == {}

"""One act on many records: previewed, done with progress, killed half way, cancelled, undone."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.crm.account import BEN, a_deal, colleague_changes, read_account, truth, writes
from tests.entries.command_line import CommandLine
from tests.town import Town, Visitor, eventually

from bench.rig.environment import as_environment
from muster.access.roles import Role
from muster.crm.edit_values import InvalidFields
from muster.crm.fields import Kind
from muster.errors import Conflict, Invalid
from muster.platform.actor import Origin, System


@pytest.fixture(autouse=True)
async def account(town: Town) -> None:
    await read_account(town)
    await town.sandbox.hubspot("limits", burst=None, search=None)
    await town.portal.grants.grant("ben@acme.test", Role.SALES, by=System("tester"))


async def deals(town: Town, count: int, **values: str) -> list[str]:
    return [await a_deal(town, dealname=f"Deal {number}", **values) for number in range(count)]


async def begun(town: Town, ids: list[str], fields: Mapping[str, str]) -> int:
    bulks = town.portal.editing.bulks
    plan = await bulks.plan(Kind.DEALS, ids, fields)
    return await bulks.begin(
        plan, kind=Kind.DEALS, what="edit", words="Some words", fields=fields, by=BEN, origin=Origin()
    )


async def amounts(town: Town, ids: list[str]) -> list[str]:
    return [(await truth(town, Kind.DEALS, one))["amount"] for one in ids]


async def test_a_plan_says_what_would_change_and_what_is_left_out(town: Town):
    ids = await deals(town, 3)
    same = await a_deal(town, dealtype="newbusiness")
    gone = await a_deal(town)
    await town.execute("UPDATE crm_records SET archived_at = now() WHERE id = %s", gone)

    plan = await town.portal.editing.bulks.plan(
        Kind.DEALS, [*ids, same, gone, "31400270999"], {"dealtype": "newbusiness"}
    )

    assert {change.id for change in plan.to_do} == set(ids)
    assert plan.skipped == {"like that already": 1, "gone from HubSpot": 1}
    assert await writes(town) == 0


async def test_what_cannot_be_is_refused_before_anything_begins(town: Town):
    ids = await deals(town, 1)
    bulks = town.portal.editing.bulks

    with pytest.raises(InvalidFields):
        await bulks.plan(Kind.DEALS, ids, {"amount": "much"})
    with pytest.raises(Invalid):
        await bulks.plan(Kind.DEALS, ids * 10_001, {"amount": "5"})
    with pytest.raises(Invalid):
        await begun(town, ids, {"amount": "1000"})


async def test_an_act_changes_each_record_and_says_so_in_the_audit_record(town: Town):
    ids = await deals(town, 12)
    bulk_id = await begun(town, ids, {"amount": "5"})

    await town.portal.editing.bulks.work_off()

    bulk = await town.portal.editing.bulks.get(bulk_id)
    assert (bulk.is_live, bulk.total, bulk.done) == (False, 12, 12)
    assert await amounts(town, ids) == ["5"] * 12
    assert await writes(town) == 12
    actions = await town.audited()
    assert actions.count("crm.edited") == 12
    assert (actions.count("crm.bulk_begun"), actions[-1]) == (1, "crm.bulk_ended")


async def test_records_are_read_several_at_a_call(town: Town):
    ids = await deals(town, 24)
    await begun(town, ids, {"amount": "5"})
    before = (await town.sandbox.ask("hubspot"))["calls"]

    await town.portal.editing.bulks.work_off()

    calls = (await town.sandbox.ask("hubspot"))["calls"] - before
    assert 24 < calls <= 24 + 12
    assert await amounts(town, ids) == ["5"] * 24


async def test_conflicts_and_refusals_are_counted_and_stop_nothing_else(town: Town):
    ids = await deals(town, 3)
    await colleague_changes(town, Kind.DEALS, ids[0], dealstage="contractsent")
    dated = await a_deal(town, closedate="2026-12-01T12:00:00Z")
    bulk_id = await begun(town, [*ids, dated], {"dealstage": "closedwon"})

    await town.portal.editing.bulks.work_off()

    bulk = await town.portal.editing.bulks.get(bulk_id)
    assert (bulk.conflicts, bulk.refused, bulk.done, bulk.is_live) == (1, 2, 1, False)
    async with town.signed_in("ben@acme.test") as ben:
        for page in (f"/crm/bulks/{bulk_id}", f"/crm/bulks/{bulk_id}/edits.csv"):
            assert (await ben.get(page)).text.replace("&#39;", "'").count("HubSpot's reference ") == 2


async def test_hubspot_down_stops_an_act_and_the_next_turn_goes_on(town: Town):
    ids = await deals(town, 12)
    bulk_id = await begun(town, ids, {"amount": "5"})
    await town.sandbox.hubspot("faults", status=429, policy="DAILY", times=4, skip=6)
    bulks = town.portal.editing.bulks

    await bulks.work_off()
    held_up = await bulks.get(bulk_id)
    await town.execute("UPDATE crm_edits SET next_at = now()")
    await bulks.work_off()

    assert held_up.is_live
    assert "used up" in held_up.held_up_by
    assert held_up.done < 12
    assert (await bulks.get(bulk_id)).done == 12
    assert await amounts(town, ids) == ["5"] * 12


async def test_an_act_is_cancelled_and_what_is_done_stays(town: Town):
    ids = await deals(town, 4)
    bulk_id = await begun(town, ids, {"amount": "5"})
    bulks = town.portal.editing.bulks
    first = await town.value("SELECT min(id) FROM crm_edits")
    await town.portal.editing.edits.send(first)

    bulk = await bulks.cancel(bulk_id, by=BEN, origin=Origin())

    assert (bulk.is_live, bulk.done, bulk.withdrawn) == (False, 1, 3)
    await bulks.work_off()
    assert await amounts(town, ids) == ["5", "1000", "1000", "1000"]
    with pytest.raises(Conflict):
        await bulks.cancel(bulk_id, by=BEN, origin=Origin())


async def test_undo_gives_each_back_what_it_had_unless_it_was_changed_since(town: Town):
    ids = [await a_deal(town, amount=str(number)) for number in (100, 200, 300)]
    bulks = town.portal.editing.bulks
    bulk_id = await begun(town, ids, {"amount": "5", "hs_priority": "high"})
    with pytest.raises(Conflict):
        await bulks.undo(bulk_id, by=BEN, origin=Origin())
    await bulks.work_off()
    await colleague_changes(town, Kind.DEALS, ids[2], amount="7")

    undo_id = await bulks.undo(bulk_id, by=BEN, origin=Origin())
    await bulks.work_off()

    undo = await bulks.get(undo_id)
    assert (undo.done, undo.conflicts) == (2, 1)
    assert await amounts(town, ids) == ["100", "200", "7"]
    assert not (await truth(town, Kind.DEALS, ids[0])).get("hs_priority")
    with pytest.raises(Conflict):
        await bulks.undo(bulk_id, by=BEN, origin=Origin())


async def test_an_edit_of_one_record_does_not_wait_for_a_bulk_that_has_not_reached_it(town: Town):
    ids = await deals(town, 2)
    await begun(town, ids, {"amount": "5"})

    edit = await town.portal.editing.edits.edit(
        Kind.DEALS, ids[0], {"amount": "9"}, {}, by=BEN, origin=Origin()
    )
    await town.portal.editing.bulks.work_off()

    assert edit
    assert edit.status == "done"
    assert await amounts(town, ids) == ["9", "5"]


@pytest.mark.parametrize("killed_after", [1, 7])
async def test_a_worker_killed_in_mid_act_leaves_nothing_undone_and_nothing_done_twice(
    town: Town, tmp_path: Path, killed_after: int
):
    ids = await deals(town, 24)
    await town.sandbox.hubspot("faults", method="PATCH", delay=0.3, times=1000)
    bulk_id = await begun(town, ids, {"amount": "5"})
    bulks = town.portal.editing.bulks
    muster = CommandLine(folder=tmp_path, settings=as_environment(town.portal.settings))
    worker = muster.start("worker", "--queues", "crm")
    try:

        async def is_half_way() -> bool:
            return (await bulks.get(bulk_id)).done >= killed_after

        await eventually(is_half_way, within=30)
    finally:
        worker.kill()
        worker.wait(10)
    assert (await bulks.get(bulk_id)).is_live
    held = await town.value("SELECT count(*) FROM crm_edits WHERE status = 'sending'")

    await bulks.work_off()
    assert (await bulks.get(bulk_id)).waiting == held
    await town.execute("UPDATE crm_edits SET held_until = now() WHERE status = 'sending'")
    await bulks.work_off()

    bulk = await bulks.get(bulk_id)
    assert (bulk.done, bulk.is_live) == (24, False)
    assert await amounts(town, ids) == ["5"] * 24
    assert await writes(town) <= 24 + held  # a call that the kill cut off may not have been carried out
    assert (await town.audited()).count("crm.edited") == 24


# Pages


async def post_many(visitor: Visitor, path: str, fields: list[tuple[str, str]]) -> Any:
    return await visitor.request(
        "POST",
        path,
        content=urlencode([*fields, ("csrf", await visitor.csrf())]),
        headers={"content-type": "application/x-www-form-urlencoded", "origin": visitor.base_url},
    )


async def test_chosen_records_are_changed_from_preview_to_undo(town: Town):
    ids = await deals(town, 3)
    async with town.signed_in("ben@acme.test") as ben:
        chosen = [("kind", "deals"), *(("ids", one) for one in ids)]
        choose = await post_many(ben, "/crm/bulks/preview", chosen)
        assert "Edit 3 deals" in choose.text
        wanted = [*chosen, ("set", "amount"), ("f_amount", "5,000")]
        preview = await post_many(ben, "/crm/bulks/preview", wanted)
        assert "3 of 3 would change" in preview.text
        assert "Amount: 1,000 → 5,000" in preview.text
        begun_ = await post_many(ben, "/crm/bulks", [*wanted, seen_in(preview)])
        page = await ben.get(begun_.headers["location"])
        assert "data-live" in page.text
        await town.portal.editing.bulks.work_off()
        page = await ben.get(begun_.headers["location"])
        assert "data-live" not in page.text
        undone = await ben.post(f"{begun_.headers['location']}/undo")
        await town.portal.editing.bulks.work_off()
        assert "It takes back" in (await ben.get(undone.headers["location"])).text
        assert "undone" in (await ben.get("/crm/bulks")).text
        lines = (await ben.get(f"{begun_.headers['location']}/edits.csv")).text
        assert "Amount: 1,000 → 5,000" in lines

    assert await amounts(town, ids) == ["1000"] * 3


async def test_all_that_match_a_list_are_changed(town: Town):
    await deals(town, 3, dealtype="newbusiness")
    other = await a_deal(town, dealname="Not one of them")
    async with town.signed_in("ben@acme.test") as ben:
        wanted = [("kind", "deals"), ("query", "q=deal&sort=name"), ("set", "amount"), ("f_amount", "5")]
        preview = await post_many(ben, "/crm/bulks/preview", wanted)
        assert "3 of 3 would change" in preview.text
        await post_many(ben, "/crm/bulks", [*wanted, seen_in(preview)])
        await town.portal.editing.bulks.work_off()

    assert await amounts(town, [other]) == ["1000"]


async def test_what_is_not_as_it_was_shown_is_not_begun(town: Town):
    one = await a_deal(town, dealname="Swap me", amount="1")
    other = await a_deal(town, dealname="Other", amount="1")
    async with town.signed_in("ben@acme.test") as ben:
        wanted = [("kind", "deals"), ("query", "q=swap"), ("set", "amount"), ("f_amount", "5")]
        seen = seen_in(await post_many(ben, "/crm/bulks/preview", wanted))
        unseen = await post_many(ben, "/crm/bulks", wanted)
        for deal, name in ((one, "Gone"), (other, "Swap me too")):
            await town.portal.editing.edits.edit(
                Kind.DEALS, deal, {"dealname": name}, {}, by=BEN, origin=Origin()
            )
        stale = await post_many(ben, "/crm/bulks", [*wanted, seen])

    assert (unseen.status_code, stale.status_code) == (409, 409)
    assert "look again" in stale.text
    assert await amounts(town, [one, other]) == ["1", "1"]


def seen_in(preview: Any) -> tuple[str, str]:
    found = re.search(r'name="seen" value="(\w+)"', preview.text)
    assert found
    return "seen", found.group(1)


async def test_what_is_wrong_is_said_in_the_preview(town: Town):
    ids = await deals(town, 1)
    async with town.signed_in("ben@acme.test") as ben:
        chosen = [("kind", "deals"), ("ids", ids[0])]
        wrong = await post_many(ben, "/crm/bulks/preview", [*chosen, ("set", "amount"), ("f_amount", "much")])
        assert wrong.status_code == 422
        assert "Amount is not a number" in wrong.text
        none = await post_many(ben, "/crm/bulks/preview", [*chosen, ("set", "hs_is_closed")])
        assert none.status_code == 422
        nothing = await post_many(ben, "/crm/bulks", chosen)
        assert nothing.status_code == 422


async def test_an_act_is_told_to_programs(town: Town):
    bulk_id = await begun(town, await deals(town, 2), {"amount": "5"})
    async with town.signed_in("cy@acme.test") as cy:
        told = (await cy.get(f"/api/v1/crm/bulks/{bulk_id}")).json()
        listed = (await cy.get("/api/v1/crm/bulks")).json()

    assert (told["bulk"]["total"], told["bulk"]["waiting"], told["stopped"]) == (2, 2, [])
    assert [one["id"] for one in listed["bulks"]] == [bulk_id]

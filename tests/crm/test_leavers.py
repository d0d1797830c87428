"""Offboarding: what leavers still own, and giving it to a colleague, with a way back."""

import re
from typing import Any

import pytest
from tests.crm.account import BEN, a_deal, colleague_changes, made, read_account, truth
from tests.town import Town

from muster.access.roles import Role
from muster.crm.fields import OWNER, Kind
from muster.crm.leavers import Share
from muster.crm.owners import OwnerCard
from muster.errors import Conflict, Invalid, NotFound
from muster.platform.actor import Origin, System


@pytest.fixture(autouse=True)
async def account(town: Town) -> None:
    await read_account(town)
    await town.sandbox.hubspot("limits", burst=None, search=None)
    for email, role in (("ben@acme.test", Role.SALES), ("cy@acme.test", Role.PEOPLE_TEAM)):
        await town.portal.grants.grant(email, role, by=System("tester"))


async def a_leaver(town: Town) -> OwnerCard:
    """Ben has left: what he owned he owned while he was here."""
    await town.execute("UPDATE people SET status = 'suspended' WHERE email = 'ben@acme.test'")
    await town.portal.cache.bust("people")
    owners = await town.portal.owners.list_all()
    return next(owner for owner in owners if owner.email == "ben@acme.test")


async def bens(town: Town) -> dict[Share, str]:
    owners = await town.portal.owners.list_all()
    ben = {OWNER: next(owner.id for owner in owners if owner.email == "ben@acme.test")}
    return {
        Share.OPEN_DEALS: await a_deal(town, deal_currency_code="EUR", **ben),
        Share.CLOSED_DEALS: await a_deal(
            town, dealstage="closedlost", closedate="2026-01-01T12:00:00Z", **ben
        ),
        Share.CONTACTS: await made(town, Kind.CONTACTS, email="hank@globex.test", **ben),
        Share.COMPANIES: await made(town, Kind.COMPANIES, name="Globex", **ben),
    }


async def owner_of(town: Town, kind: Kind, record_id: str) -> Any:
    return (await truth(town, kind, record_id)).get(OWNER)


async def ada(town: Town) -> str:
    return next(one.id for one in await town.portal.owners.list_all() if one.email == "ada@acme.test")


async def test_who_is_here_is_no_leaver_and_who_is_gone_is_with_all_they_own(town: Town):
    await bens(town)
    await a_deal(town)
    assert await town.portal.editing.leavers.list_all() == []
    assert (await town.portal.editing.leavers.count_without_owner())[Kind.DEALS] == 1

    ben = await a_leaver(town)

    [leaver] = await town.portal.editing.leavers.list_all()
    assert leaver.card.id == ben.id
    assert set(leaver.counts.values()) == {1}
    assert leaver.amounts == {"EUR": 1000}


async def test_records_of_an_owner_whom_hubspot_lists_no_more_are_found_too(town: Town):
    await a_deal(town)
    await town.execute("UPDATE crm_records SET owner_id = '99'")

    [leaver] = await town.portal.editing.leavers.list_all()

    assert (leaver.card.name, leaver.counts[Share.OPEN_DEALS]) == ("Owner 99", 1)


async def test_open_deals_and_contacts_are_given_to_a_colleague_and_back(town: Town):
    owned = await bens(town)
    ben, to = await a_leaver(town), await ada(town)
    async with town.signed_in("cy@acme.test") as cy:
        listed = await cy.get("/crm/leavers")
        assert ben.name in listed.text
        here = f"/crm/leavers/{ben.id}"
        preview = await cy.get(f"{here}?share=open+deals&share=contacts&to={to}")
        assert "2 records → " in preview.text
        token = await cy.csrf()
        seen = re.search(r'name="seen" value="(\w+)"', preview.text)
        assert seen
        begun = await cy.request(
            "POST",
            f"{here}/reassignment",
            content=f"csrf={token}&share=open+deals&share=contacts&to={to}&seen={seen.group(1)}",
            headers={"content-type": "application/x-www-form-urlencoded", "origin": cy.base_url},
        )
        assert begun.status_code == 303, begun.text
        await town.portal.editing.bulks.work_off()
        page = await cy.get(begun.headers["location"])
        assert "open deals, contacts → " in page.text
        assert await owner_of(town, Kind.DEALS, owned[Share.OPEN_DEALS]) == to
        assert await owner_of(town, Kind.CONTACTS, owned[Share.CONTACTS]) == to
        assert await owner_of(town, Kind.DEALS, owned[Share.CLOSED_DEALS]) == ben.id

        # Taking it back would give it to somebody HubSpot still knows as an owner.
        bulk_id = begun.headers["location"].rpartition("/")[2]
        assert (await cy.post(f"/crm/bulks/{bulk_id}/undo")).status_code == 403
        undone = await cy.post(f"/crm/reassignments/{bulk_id}/undo")
        assert undone.status_code == 303, undone.text
        await town.portal.editing.bulks.work_off()

    assert await owner_of(town, Kind.DEALS, owned[Share.OPEN_DEALS]) == ben.id
    assert "crm.bulk_begun" in await town.audited()


async def test_what_was_given_away_meanwhile_is_left_where_it_is(town: Town):
    owned = await bens(town)
    ben, to = await a_leaver(town), await ada(town)
    other = next(
        one.id for one in await town.portal.owners.list_all() if one.may_own and one.id not in {ben.id, to}
    )
    leavers = town.portal.editing.leavers
    plan = await leavers.plan(ben.id, [Share.COMPANIES], to)
    await colleague_changes(town, Kind.COMPANIES, owned[Share.COMPANIES], hubspot_owner_id=other)
    leaver = await leavers.get(ben.id)
    bulk_id = await leavers.reassign(
        plan, leaver, [Share.COMPANIES], to, by=System("ada@acme.test"), origin=Origin()
    )
    await town.portal.editing.bulks.work_off()

    assert (await town.portal.editing.bulks.get(bulk_id)).conflicts == 1
    assert await owner_of(town, Kind.COMPANIES, owned[Share.COMPANIES]) == other


async def test_nothing_is_given_to_who_is_gone_or_taken_from_who_is_here(town: Town):
    await bens(town)
    here = await ada(town)
    ben = await a_leaver(town)
    leavers = town.portal.editing.leavers

    with pytest.raises(Invalid):
        await leavers.plan(ben.id, [Share.OPEN_DEALS], ben.id)
    with pytest.raises(NotFound):
        await leavers.get(here)
    with pytest.raises(NotFound):
        await leavers.get("12345")


async def test_leavers_are_told_as_csv_and_to_programs(town: Town):
    await bens(town)
    ben = await a_leaver(town)
    async with town.signed_in("cy@acme.test") as cy:
        csv = (await cy.get("/crm/leavers.csv")).text
        told = (await cy.get("/api/v1/crm/leavers")).json()["leavers"]

    assert f"{ben.name},ben@acme.test,Suspended,1,1,1,1,1000" in csv
    assert (told[0]["owner_id"], told[0]["open_amounts"]) == (ben.id, {"EUR": "1000.00"})


async def test_what_a_deactivated_owner_had_is_not_given_back_and_the_undo_is_kept(town: Town):
    owners = await town.portal.owners.list_all()
    gone, to = next(one for one in owners if one.is_deactivated), await ada(town)
    deal = await a_deal(town)
    await town.execute(
        "UPDATE crm_records SET owner_id = %s, fields = fields || jsonb_build_object(%s::text, %s::text) "
        "WHERE id = %s",
        *(gone.id, OWNER, gone.id, deal),
    )
    bulks = town.portal.editing.bulks
    plan = await bulks.plan(Kind.DEALS, [deal], {OWNER: to})
    bulk_id = await bulks.begin(
        plan, kind=Kind.DEALS, what="reassign", words="Given", fields={OWNER: to}, by=BEN, origin=Origin()
    )
    await town.execute(
        "UPDATE crm_edits SET status = 'done', "
        "written = jsonb_build_object(%s::text, jsonb_build_array(%s::text, %s::text)) WHERE bulk_id = %s",
        *(OWNER, gone.id, to, bulk_id),
    )
    await bulks.work_off()

    with pytest.raises(Conflict, match="deactivated"):
        await bulks.undo(bulk_id, by=BEN, origin=Origin())

    assert (await bulks.get(bulk_id)).undone_by is None

"""What people do with customers, in a real browser against the real thing."""

import pytest
from playwright.async_api import Browser, Page, expect
from tests.browser.conftest import listen_for_complaints
from tests.crm.account import BEN, a_deal, colleague_changes, made, read_account, truth
from tests.town import Town

from muster.crm.fields import OWNER, Kind
from muster.platform.actor import Origin


@pytest.fixture(autouse=True)
async def account(town: Town) -> None:
    await read_account(town)
    await town.sandbox.hubspot("limits", burst=None, search=None)


async def sign_in(page: Page, email: str = "ada@acme.test") -> None:
    await page.goto(f"/sign-in/google?login_hint={email}")


async def test_a_field_is_edited_in_place_by_keyboard_and_escape_changes_nothing(town: Town, page: Page):
    deal = await a_deal(town)
    await sign_in(page)
    await page.goto(f"/crm/deals/{deal}")

    amount = page.locator("[data-field=amount]")
    await page.get_by_role("button", name="Edit Amount").focus()
    await page.keyboard.press("Enter")
    await page.keyboard.type("9999")
    await page.keyboard.press("Escape")
    await expect(amount).to_contain_text("1,000")
    await expect(page.get_by_role("button", name="Edit Amount")).to_be_focused()

    await amount.click()
    await page.keyboard.type("2,500")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Written to HubSpot: Amount.")).to_be_visible()
    await expect(amount).to_contain_text("2,500")

    await page.locator("[data-field=dealstage]").click()
    await page.locator(".inline-edit select").select_option(label="Contract sent")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Written to HubSpot: Stage.")).to_be_visible()
    there = await truth(town, Kind.DEALS, deal)
    assert (there["amount"], there["dealstage"]) == ("2500", "contractsent")


async def test_a_rule_of_the_account_asks_for_its_field_and_the_form_goes_on(town: Town, page: Page):
    deal = await a_deal(town)
    await sign_in(page)
    await page.goto(f"/crm/deals/{deal}")

    await page.locator("[data-field=dealstage]").click()
    await page.locator(".inline-edit select").select_option("closedwon")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#f_closedate-problem")).to_contain_text("must be filled in")
    await page.locator("#f_closedate").fill("2026-12-01")
    await page.get_by_role("button", name="Write to HubSpot").click()

    await expect(page.get_by_text("Written to HubSpot")).to_be_visible()
    await expect(page.get_by_text("refused")).to_have_count(0)
    assert (await truth(town, Kind.DEALS, deal))["dealstage"] == "closedwon"


async def test_a_conflict_is_settled_on_the_page(town: Town, page: Page):
    deal = await a_deal(town)
    await sign_in(page)
    await page.goto(f"/crm/deals/{deal}")
    await colleague_changes(town, Kind.DEALS, deal, amount="2000")

    await page.locator("[data-field=amount]").click()
    await page.keyboard.type("3000")
    await page.keyboard.press("Enter")
    conflict = page.get_by_role("region", name="Conflict")
    await expect(conflict).to_contain_text("2,000")
    await conflict.get_by_role("checkbox", name="Take mine for Amount").check()
    await conflict.get_by_role("button", name="Settle").click()

    await expect(page.get_by_text("Written to HubSpot: Amount.")).to_be_visible()
    assert (await truth(town, Kind.DEALS, deal))["amount"] == "3000"


async def test_an_edit_that_waits_shows_as_written_by_itself_once_hubspot_is_back(town: Town, page: Page):
    deal = await a_deal(town)
    await sign_in(page)
    await page.goto(f"/crm/deals/{deal}")
    await town.sandbox.hubspot("faults", status=503)
    await page.locator("[data-field=amount]").click()
    await page.keyboard.type("3000")
    await page.keyboard.press("Enter")
    await expect(page.get_by_text("Waiting to be written to HubSpot")).to_be_visible()
    await expect(page.locator("[data-field=amount]")).to_contain_text("→ 3,000")

    await town.execute("UPDATE crm_edits SET next_at = now()")
    await town.portal.editing.outbox.work_off()

    await expect(page.get_by_text("Waiting to be written to HubSpot")).to_have_count(0)
    await expect(page.locator("[data-field=amount]")).not_to_contain_text("waiting")
    await expect(page.locator("[data-field=amount]")).to_contain_text("3,000")


async def test_many_deals_are_changed_from_the_list_with_progress_and_taken_back(town: Town, page: Page):
    ids = [await a_deal(town, dealname=f"Deal {number}") for number in range(6)]
    await town.sandbox.hubspot("faults", method="PATCH", delay=0.4, times=100)
    await sign_in(page)
    async with town.working():
        await page.goto("/crm/deals")
        await page.get_by_role("button", name="Edit all 6 matching").click()
        await page.get_by_label("Priority", exact=True).select_option("high")
        await expect(page.get_by_role("checkbox", name="Change Priority")).to_be_checked()
        await page.get_by_role("button", name="Preview").click()
        await page.get_by_role("button", name="Change 6 deals").click()
        await expect(page.locator("[data-live]")).to_be_visible()
        await expect(page.get_by_role("main").get_by_text("Done", exact=True).first).to_be_visible()
        await expect(page.locator("[data-live]")).to_have_count(0)  # without a reload
        assert (await truth(town, Kind.DEALS, ids[0]))["hs_priority"] == "high"

        await page.get_by_role("button", name="Undo").click()
        await expect(page.get_by_text("It takes back")).to_be_visible()
        await expect(page.locator("[data-live]")).to_have_count(0)
    assert not (await truth(town, Kind.DEALS, ids[0])).get("hs_priority")


async def test_what_a_leaver_owned_is_given_to_a_colleague(town: Town, page: Page):
    owners = await town.portal.owners.list_all()
    ben = next(owner for owner in owners if owner.email == "ben@acme.test")
    ada = next(owner for owner in owners if owner.email == "ada@acme.test")
    deal = await a_deal(town, deal_currency_code="EUR", **{OWNER: ben.id})
    contact = await made(town, Kind.CONTACTS, email="hank@globex.test", **{OWNER: ben.id})
    await town.sandbox.change("ben@acme.test", suspended=True)
    await town.portal.sync.run()
    await town.portal.cache.bust("people")
    await sign_in(page)
    async with town.working():
        await page.goto("/crm/leavers")
        await page.get_by_role("link", name=ben.name).click()
        await page.get_by_role("checkbox", name="Contacts").check()
        await page.get_by_label("To whom").select_option(ada.id)
        await page.get_by_role("button", name="Preview").click()
        await page.get_by_role("button", name=f"Give 2 to {ada.name}").click()
        await expect(page.get_by_role("main").get_by_text("Done", exact=True).first).to_be_visible()
        await expect(page.locator("[data-live]")).to_have_count(0)
    for kind, record_id in ((Kind.DEALS, deal), (Kind.CONTACTS, contact)):
        assert (await truth(town, kind, record_id))[OWNER] == ada.id
    await page.goto("/crm/leavers")
    await expect(page.get_by_text("Everybody who owns customers is here")).to_be_visible()


async def test_without_javascript_a_record_is_edited_by_its_form(town: Town, browser: Browser):
    deal = await a_deal(town)
    context = await browser.new_context(base_url=town.base_url, java_script_enabled=False)
    page = await context.new_page()
    await sign_in(page)
    await page.goto(f"/crm/deals/{deal}")

    await page.locator("#edit > summary").click()
    await page.locator("#f_amount").fill("4,000")
    await page.locator("#f_description").fill("Two\nlines")
    await page.get_by_role("button", name="Write to HubSpot").click()
    await expect(page.get_by_text("Written to HubSpot: Amount, Description.")).to_be_visible()
    await page.locator("#edit > summary").click()
    await page.get_by_role("button", name="Write to HubSpot").click()

    await expect(page.get_by_text("Written to HubSpot")).to_have_count(0)  # nothing differs
    assert (await truth(town, Kind.DEALS, deal))["description"] == "Two\nlines"
    await context.close()


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_of_customers_fits_its_window(town: Town, browser: Browser, scheme: str, width: int):
    deal = await a_deal(town, dealname="A deal with a name that is as long as names of deals come to be")
    company = await made(town, Kind.COMPANIES, name="Globex")
    edits = town.portal.editing.edits
    await colleague_changes(town, Kind.DEALS, deal, amount="2000")
    await edits.edit(Kind.DEALS, deal, {"amount": "3000"}, {}, by=BEN, origin=Origin())
    await edits.edit(Kind.DEALS, deal, {"dealstage": "closedwon"}, {}, by=BEN, origin=Origin())
    bulks = town.portal.editing.bulks
    plan = await bulks.plan(Kind.DEALS, [deal], {"hs_priority": "high"})
    bulk_id = await bulks.begin(
        plan, kind=Kind.DEALS, what="edit", words="A word", fields={}, by=BEN, origin=Origin()
    )
    await town.sandbox.hubspot("faults", method="POST", reset=True)
    new = await edits.create(
        Kind.COMPANIES, {"name": "Globex"}, creation_key="of-a-test", by=BEN, origin=Origin()
    )
    context = await browser.new_context(
        base_url=town.base_url,
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = await context.new_page()
    complaints = listen_for_complaints(page)
    await sign_in(page)

    for path in (
        f"/crm/deals/{deal}",
        f"/crm/companies/{company}",
        f"/crm/deals/new?company={company}",
        "/crm/contacts/new",
        f"/crm/edits/{new.id}",
        "/crm/bulks",
        f"/crm/bulks/{bulk_id}",
        "/crm/leavers",
    ):
        await page.goto(path)
        overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, path
    await context.close()

    assert complaints == []

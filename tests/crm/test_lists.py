"""Lists of customers: what each filter leaves, in every order, page by page, and how it is counted."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.crm.records import (
    BEGAN,
    company,
    contact,
    days,
    deal,
    put,
    put_owner,
    put_stages,
    record,
    tie,
)
from tests.town import Town

from muster.crm.fields import Kind
from muster.crm.lists import FEW, FILTERS, LISTS, Filter
from muster.crm.mirror import Source
from muster.errors import Invalid
from muster.settings import Settings
from muster.wiring import portal

CY, BEN = "cy@acme.test", "ben@acme.test"


@pytest.fixture
async def customers(town: Town) -> Town:
    await town.portal.sync.run()
    await town.sandbox.change(BEN, suspended=True)
    await town.portal.sync.run()
    await put_stages(town)
    await put_owner(town, "1", "Cy", CY)
    await put_owner(town, "2", "Ben", BEN)
    await put_owner(town, "3", "Somebody else", "else@elsewhere.test")
    await put_owner(town, "4", "Inbound", is_queue=True)
    await put(
        town,
        deal("11", "Nordwind renewal", amount="1000", deal_currency_code="EUR", hubspot_owner_id="1"),
        deal("12", "Kestrel pilot", amount="2500.50", dealstage="offer", hubspot_owner_id="2", at=days(3)),
        deal("13", "Umbra licence", amount="400", dealstage="won", closedate="2026-06-01", at=days(5)),
        deal("14", "Ümbra 100%", dealstage="lost", closedate="1782950400000", hubspot_owner_id="3"),
        deal("15", "Vesta", amount="-50", dealstage="due", deal_currency_code="USD", hubspot_owner_id="4"),
        contact("21", "Anna", "Berg", email="anna@nordwind.example", lifecyclestage="lead"),
        contact("22", "Zoë", "Díaz", hubspot_owner_id="1", lifecyclestage="customer", at=days(2)),
        contact("23", "Émile", "Cohen", hubspot_owner_id="2", hs_lead_status="OPEN"),
        company("31", "Nordwind", domain="nordwind.example", industry="RETAIL", hubspot_owner_id="3"),
        company("32", "Kestrel", lifecyclestage="customer", city="Hamburg"),
    )
    await tie(town, Kind.DEALS, Kind.COMPANIES, {"11": ["31"], "12": ["32"], "15": ["31"]})
    await tie(town, Kind.DEALS, Kind.CONTACTS, {"11": ["21", "22"]})
    await tie(town, Kind.CONTACTS, Kind.COMPANIES, {"21": ["31"]})
    return town


async def found(town: Town, kind: Kind, **how: Any) -> set[str]:
    page = await town.portal.lists.find(kind, Filter(**how), me=CY)
    assert page.tally.total.count == len(page.rows)
    return {row.id for row in page.rows}


def day(text: str) -> Any:
    return datetime.fromisoformat(text).date()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, "11 12 13 14 15"),
        ({"q": "renewal"}, "11"),
        ({"q": "umbra"}, "13 14"),
        ({"q": "ÜMBRA licence"}, "13"),
        ({"q": "%"}, "14"),
        ({"q": "_"}, ""),
        ({"owner": "1"}, "11"),
        ({"owner": "me"}, "11"),
        ({"owner": "nobody"}, "13"),
        ({"owner": "orphaned"}, "12 14"),
        ({"owner": "unheard-of"}, ""),
        ({"pipeline": "renewals"}, "15"),
        ({"stage": ("new", "won")}, "11 13"),
        ({"state": "open"}, "11 12 15"),
        ({"state": "closed"}, "13 14"),
        ({"state": "won"}, "13"),
        ({"state": "lost"}, "14"),
        ({"amount_from": Decimal(400)}, "11 12 13"),
        ({"amount_to": Decimal(400)}, "13 15"),
        ({"amount_from": Decimal("2500.5"), "amount_to": Decimal("2500.50")}, "12"),
        ({"currency": "USD"}, "15"),
        ({"closes_from": day("2026-06-02")}, "14"),
        ({"closes_to": day("2026-06-01")}, "13"),
        ({"closes_from": day("2026-07-02"), "closes_to": day("2026-07-02")}, "14"),
        ({"created_from": BEGAN.date(), "created_to": BEGAN.date()}, "11 14 15"),
        ({"created_from": days(1).date()}, "12 13"),
        ({"changed_to": days(3).date()}, "11 12 14 15"),
        ({"changed_from": days(5).date(), "changed_to": day("9999-12-31")}, "13"),
        ({"company": "31"}, "11 15"),
        ({"contact": "22"}, "11"),
        ({"company": "31", "state": "open", "q": "vesta", "currency": "USD"}, "15"),
    ],
    ids=str,
)
async def test_every_filter_of_deals_leaves_exactly_those(
    customers: Town, how: dict[str, Any], expected: str
):
    assert await found(customers, Kind.DEALS, **how) == set(expected.split())


@pytest.mark.parametrize(
    ("kind", "how", "expected"),
    [
        (Kind.CONTACTS, {"q": "zoe diaz"}, "22"),
        (Kind.CONTACTS, {"q": "anna@nordwind"}, "21"),
        (Kind.CONTACTS, {"lifecycle": "lead"}, "21"),
        (Kind.CONTACTS, {"lead_status": "OPEN"}, "23"),
        (Kind.CONTACTS, {"owner": "me"}, "22"),
        (Kind.CONTACTS, {"owner": "nobody"}, "21"),
        (Kind.CONTACTS, {"owner": "orphaned"}, "23"),
        (Kind.CONTACTS, {"company": "31"}, "21"),
        (Kind.CONTACTS, {"deal": "11"}, "21 22"),
        (Kind.CONTACTS, {"created_from": days(1).date()}, "22"),
        (Kind.COMPANIES, {"q": "hamburg"}, "32"),
        (Kind.COMPANIES, {"industry": "RETAIL"}, "31"),
        (Kind.COMPANIES, {"lifecycle": "customer"}, "32"),
        (Kind.COMPANIES, {"owner": "orphaned"}, "31"),
        (Kind.COMPANIES, {"deal": "12"}, "32"),
        (Kind.COMPANIES, {"contact": "21"}, "31"),
    ],
    ids=str,
)
async def test_every_filter_of_contacts_and_companies_leaves_exactly_those(
    customers: Town, kind: Kind, how: dict[str, Any], expected: str
):
    page = await customers.portal.lists.find(kind, Filter(**how), me=CY)

    assert {row.id for row in page.rows} == set(expected.split())
    assert page.tally.total.count == len(page.rows)


async def test_whom_hubspot_never_named_is_gone_as_an_owner_everywhere(customers: Town):
    before = await found(customers, Kind.DEALS, owner="orphaned")
    await put(
        customers,
        deal("19", "Left behind", hubspot_owner_id="424242"),
        contact("29", "Left", "Behind", hubspot_owner_id="424242"),
    )

    assert await found(customers, Kind.DEALS, owner="orphaned") == {*before, "19"}
    assert "29" in await found(customers, Kind.CONTACTS, owner="orphaned")
    contacts = await customers.portal.lists.tally(Kind.CONTACTS, Filter(), me=CY)
    assert contacts.tabs["orphaned"].count == len(await found(customers, Kind.CONTACTS, owner="orphaned"))
    assert "424242" in {leaver.card.id for leaver in await customers.portal.editing.leavers.list_all()}
    async with customers.signed_in("ada@acme.test") as visitor:
        owners = (await visitor.get("/api/v1/crm/owners?standing=orphaned")).json()["owners"]
    [left] = [owner for owner in owners if owner["id"] == "424242"]
    assert (left["name"], left["open_deals"], left["contacts"]) == ("Owner 424242", 1, 1)


async def test_what_has_not_changed_for_some_days_is_stalled(customers: Town):
    now = datetime.now(UTC)
    await put(
        customers,
        deal("16", "Fresh", at=now),
        deal("17", "Nine days old", at=now - timedelta(days=9, hours=1)),
    )

    stalled = await found(customers, Kind.DEALS, stalled=8, created_from=(now - timedelta(days=30)).date())

    assert stalled == {"17"}
    assert "16" not in await found(customers, Kind.DEALS, stalled=1)


async def test_archived_and_merged_records_are_in_no_list(customers: Town):
    mirror = customers.portal.mirror
    asked = await mirror.number()
    async with customers.portal.database.transaction() as tx:
        await mirror.archive(tx, Kind.DEALS, ["11"], asked=asked, source=Source.SYNC)

    assert "11" not in await found(customers, Kind.DEALS)
    assert await customers.portal.lists.ids(Kind.DEALS, Filter(company="31")) == ["15"]
    assert [hit.id for hit in await customers.portal.lists.search("nordwind", limit=5)] == ["21", "31"]


async def many(town: Town, number: int) -> None:
    """Deals whose keys tie in every order."""
    await put(
        town,
        *(
            deal(
                str(1000 + n),
                f"Deal {n % 7}",
                at=BEGAN + timedelta(hours=n % 5),
                **({"amount": str(n % 4)} if n % 3 else {}),
                **({"closedate": f"2026-05-{1 + n % 6:02}"} if n % 4 else {}),
            )
            for n in range(number)
        ),
    )


@pytest.mark.parametrize("sort", list(LISTS[Kind.DEALS].labels))
async def test_pages_lead_through_everything_once_and_back(town: Town, sort: str):
    await many(town, 53)
    lists, wanted = town.portal.lists, Filter(sort=sort)
    forwards: list[list[str]] = []
    backwards: list[list[str]] = []
    after = ""
    while True:
        page = await lists.find(Kind.DEALS, wanted, after=after, limit=10)
        forwards.append([row.id for row in page.rows])
        if page.after is None:
            break
        after = page.after
    before = page.before
    while before:
        page = await lists.find(Kind.DEALS, wanted, before=before, limit=10)
        backwards.insert(0, [row.id for row in page.rows])
        before = page.before

    everything = [one for page_of_ids in forwards for one in page_of_ids]
    assert len(everything) == len(set(everything)) == 53
    assert backwards == forwards[:-1]
    assert everything == await lists.ids(Kind.DEALS, wanted)
    assert everything == [row.id async for row in await lists.stream(Kind.DEALS, wanted)]


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("name", lambda row: (row.name.casefold(), row.id)),
        ("amount", lambda row: (Decimal("-Infinity") if row.amount is None else row.amount, row.id)),
        ("closes", lambda row: (str(row.closes_on or ""), row.id)),
        ("created", lambda row: (row.created_at, row.id)),
        ("changed", lambda row: (row.modified_at, row.id)),
    ],
)
async def test_an_order_is_by_its_key_and_settles_ties_by_id(town: Town, sort: str, key: Any):
    await many(town, 40)
    up = await town.portal.lists.find(Kind.DEALS, Filter(sort=sort), limit=200)
    down = await town.portal.lists.find(Kind.DEALS, Filter(sort=f"-{sort}"), limit=200)

    assert up.rows == sorted(up.rows, key=key)
    assert [row.id for row in down.rows] == [row.id for row in up.rows][::-1]


async def test_going_on_neither_skips_nor_repeats_what_stayed_where_it_was(town: Town):
    await put(town, *(deal(str(100 + n), f"Deal {n:03}") for n in range(30)))
    lists, wanted = town.portal.lists, Filter(sort="name")
    first = await lists.find(Kind.DEALS, wanted, limit=10)
    assert first.after

    await put(town, deal("1", "Deal 000 and before"), deal("2", "Deal 015 and a half"))
    await put(town, deal("109", "Moved to the end", at=days(1)))  # the edge itself
    second = await lists.find(Kind.DEALS, wanted, after=first.after, limit=10)
    back = await lists.find(Kind.DEALS, wanted, before=second.before or "", limit=10)

    assert [row.name for row in second.rows][:7] == [
        *(f"Deal {n:03}" for n in range(10, 16)),
        "Deal 015 and a half",
    ]
    assert "Deal 000 and before" in {row.name for row in back.rows}
    assert not {row.id for row in back.rows} & {row.id for row in second.rows}


async def test_many_are_listed_as_few_are(town: Town):
    """More than FEW are read in the order of the list, fewer are found first."""
    await put(town, *(deal(str(n), f"Many {n:06}", amount="1") for n in range(10_000, 10_000 + FEW + 300)))
    lists = town.portal.lists

    for wanted in (Filter(q="many", sort="name"), Filter(q="many", sort="-changed"), Filter(sort="amount")):
        seen: list[str] = []
        after = ""
        while True:
            page = await lists.find(Kind.DEALS, wanted, after=after, limit=200)
            seen += [row.id for row in page.rows]
            if not page.after:
                break
            after = page.after
        assert page.tally.total.count == FEW + 300 == len(seen) == len(set(seen))
        assert seen == await lists.ids(Kind.DEALS, wanted)
    assert len(await lists.ids(Kind.DEALS, Filter(q="many"), limit=7)) == 7


async def test_a_text_longer_than_an_index_has_room_for_is_found_and_counted(customers: Town):
    await put(customers, deal("18", "Long", description="padding " * 400 + "needle"))

    for words in ("needle", "ne", "le"):
        assert "18" in await found(customers, Kind.DEALS, q=words)


async def test_tabs_and_stages_are_counted_with_sums_by_currency(customers: Town):
    tally = (await customers.portal.lists.find(Kind.DEALS, Filter(state="open", stage=("new",)))).tally

    assert tally.total.count == 1
    assert tally.total.amounts == {"EUR": Decimal(1000)}
    assert {key: one.count for key, one in tally.tabs.items()} == {
        "": 1,
        "open": 1,
        "closed": 0,
        "won": 0,
        "lost": 0,
    }
    assert {stage: one.count for (_, stage), one in tally.stages.items()} == {"new": 1, "offer": 1, "due": 1}

    everybody = (await customers.portal.lists.find(Kind.CONTACTS, Filter(owner="nobody"), me=CY)).tally
    assert {key: one.count for key, one in everybody.tabs.items()} == {
        "": 3,
        "me": 1,
        "nobody": 1,
        "orphaned": 1,
    }


async def test_a_write_by_another_process_is_counted_at_once(customers: Town, settings: Settings):
    lists = customers.portal.lists
    before = await lists.tally(Kind.DEALS, Filter(state="open"))
    assert (await lists.tally(Kind.DEALS, Filter(state="open"))).total == before.total

    async with portal(settings, application="another") as other:
        asked = await other.mirror.number()
        won = deal(
            "11", "Nordwind renewal", amount="1000", deal_currency_code="EUR", dealstage="won", at=days(9)
        )
        async with other.database.transaction() as tx:
            await other.mirror.take(tx, Kind.DEALS, [won], asked=asked, source=Source.WEBHOOK)

    after = await lists.tally(Kind.DEALS, Filter(state="open"))
    assert after.total.count == before.total.count - 1
    assert after.tabs["won"].count == before.tabs["won"].count + 1
    assert (await lists.owned())[Kind.DEALS].get("1") is None


async def test_ties_and_owners_that_change_are_counted_at_once(customers: Town):
    assert await found(customers, Kind.DEALS, company="32") == {"12"}
    await tie(customers, Kind.DEALS, Kind.COMPANIES, {"12": ["31"], "13": ["32"]})
    assert await found(customers, Kind.DEALS, company="32") == {"13"}

    await put_owner(customers, "5", "Ada", "ada@acme.test")
    await put(customers, deal("19", "Hers", hubspot_owner_id="5"))
    page = await customers.portal.lists.find(Kind.DEALS, Filter(owner="me"), me="ADA@acme.test")
    assert [row.id for row in page.rows] == ["19"]


@pytest.mark.parametrize(
    ("kind", "how", "says"),
    [
        (Kind.DEALS, {"state": "sold"}, "expected one of open, closed, won, lost"),
        (Kind.DEALS, {"sort": "colour"}, "expected one of name, -name, amount"),
        (Kind.DEALS, {"sort": "--name"}, "There is no order"),
        (Kind.DEALS, {"amount_from": Decimal("NaN")}, "expected a number"),
        (Kind.DEALS, {"amount_from": Decimal("Infinity")}, "expected a number"),
        (Kind.DEALS, {"amount_to": Decimal("1E-999999")}, "expected a number"),
        (Kind.DEALS, {"amount_from": Decimal(2), "amount_to": Decimal(1)}, "amount_from is beyond amount_to"),
        (Kind.DEALS, {"closes_from": day("2026-02-01"), "closes_to": day("2026-01-01")}, "closes_from"),
        (Kind.DEALS, {"industry": "RETAIL"}, "deals have no such filter; expected any of q, owner"),
        (Kind.CONTACTS, {"stage": ("new",)}, "contacts have no such filter"),
        (Kind.COMPANIES, {"sort": "amount"}, "expected one of name, -name, created"),
    ],
    ids=str,
)
async def test_a_filter_that_cannot_be_is_refused_with_what_is_expected(
    town: Town, kind: Kind, how: dict[str, Any], says: str
):
    with pytest.raises(Invalid, match=says):
        await town.portal.lists.find(kind, Filter(**how))
    with pytest.raises(Invalid):
        await town.portal.lists.stream(kind, Filter(**how))
    with pytest.raises(Invalid):
        await town.portal.lists.ids(kind, Filter(**how))


def test_every_filter_is_of_some_kind():
    assert {name for names in FILTERS.values() for name in names} == set(Filter.__struct_fields__)


async def test_a_search_of_all_kinds_prefers_names_that_begin_so(customers: Town):
    await put(
        customers, company("33", "The old Nordwind"), record(Kind.CONTACTS, "24", email="n@kestrel.test")
    )
    lists = customers.portal.lists

    hits = [(hit.kind, hit.id) for hit in await lists.search("Nordwind", limit=2)]

    assert hits[0] == (Kind.DEALS, "11")
    assert (Kind.COMPANIES, "31") in hits
    assert hits.index((Kind.COMPANIES, "31")) < hits.index((Kind.COMPANIES, "33"))
    assert [hit.id for hit in await lists.search("ke", limit=5)] == ["12", "32"]
    assert (await lists.search("%", limit=5)) == []

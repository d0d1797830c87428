"""Lists of people: searched, filtered, sorted, paged, downloaded; a person; a sync started by a button."""

import csv
import io
import re
from urllib.parse import urlsplit

import pytest
from tests.town import Town, Visitor, eventually, problem

from muster.platform.actor import System
from muster.platform.csv import _cell
from muster.platform.folding import folded

_ROW = re.compile(r'<a href="/people/(\d+)" data-row>')


@pytest.fixture
async def people(town: Town) -> Town:
    await town.portal.sync.run()
    return town


def _ids(page: str) -> list[str]:
    return _ROW.findall(page)


async def _walk(visitor: Visitor, path: str, *, rel: str = "next") -> list[list[str]]:
    """The ids of each page, following the link named `rel` to its end."""
    pages = []
    link: str | None = path
    while link:
        page = (await visitor.get(link)).text
        pages.append(_ids(page))
        found = re.search(rf'href="([^"]+)" rel="{rel}"', page)
        link = found.group(1).replace("&amp;", "&") if found else None
    return pages


@pytest.mark.parametrize(
    "sort",
    ["name", "-name", "email", "-email", "department", "joined", "-joined", "last_login", "-last_login"],
)
async def test_paging_shows_everybody_once_in_every_order(people: Town, sort: str):
    async with people.signed_in("ada@acme.test") as ada:
        pages = await _walk(ada, f"/people?sort={sort}")

        shown = [google_id for page in pages for google_id in page]
        assert len(shown) == 500
        assert len(set(shown)) == 500
        assert {len(page) for page in pages} == {50}


async def test_paging_back_leads_over_the_same_pages(people: Town):
    async with people.signed_in("cy@acme.test") as cy:
        forward = await _walk(cy, "/people")
        last = (await cy.get("/people?sort=-name")).text
        assert _ids(last) == list(reversed(forward[-1]))

        link = "/people"
        for _ in forward[1:]:
            page = (await cy.get(link)).text
            found = re.search(r'href="([^"]+)" rel="next"', page)
            assert found
            link = found.group(1).replace("&amp;", "&")
        backward = await _walk(cy, link, rel="prev")
        assert backward == list(reversed(forward))


async def test_a_search_finds_any_part_of_name_or_address_without_accents_or_case(people: Town):
    await people.sandbox.change("cy@acme.test", name={"givenName": "Zoë", "familyName": "Øster-Łukasz"})
    await people.portal.sync.run()

    async with people.signed_in("ada@acme.test") as ada:
        for words in ("zoe", "ZOË", "oster", "lukasz zo", "cy@acme"):
            found = (await ada.get("/people", params={"q": words})).text
            assert "Øster-Łukasz" in found, words
        assert "Nobody matches" in (await ada.get("/people?q=%25")).text
        assert "Nobody matches" in (await ada.get("/people?q=_____________________")).text


async def test_a_filter_shows_only_whom_it_names_and_counts_them(people: Town):
    suspended = await people.value("SELECT count(*) FROM people WHERE status = 'suspended'")

    async with people.signed_in("cy@acme.test") as cy:
        page = await cy.get("/people?status=suspended")

        assert len(_ids(page.text)) == min(suspended, 50)
        assert f"{suspended} people" in page.text


async def test_the_csv_holds_everybody_the_filter_does(people: Town):
    department = await people.value("SELECT department FROM people ORDER BY random() LIMIT 1")
    expected = await people.value(
        "SELECT count(*) FROM people WHERE department = %s AND removed_at IS NULL", department
    )

    async with people.signed_in("cy@acme.test") as cy:
        whole = await cy.get("/people.csv")
        some = await cy.get("/people.csv", params={"department": department})

        assert whole.headers["content-type"] == "text/csv; charset=utf-8"
        rows = list(csv.DictReader(io.StringIO(whole.content.decode("utf-8-sig"))))
        assert len(rows) == 500
        assert {row["Status"] for row in rows} == {"active", "guest", "suspended", "archived"}
        assert len(list(csv.DictReader(io.StringIO(some.content.decode("utf-8-sig"))))) == expected


async def test_a_wrong_filter_is_refused_before_a_download_begins(people: Town):
    async with people.signed_in("cy@acme.test") as cy:
        assert (await cy.get("/people.csv?sort=nonsense")).status_code == 422
        assert (await cy.get("/people.csv?status=nonsense")).status_code == 422


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_a_csv_begins_a_formula(start: str):
    assert _cell(f"{start}HYPERLINK(1)") == f"'{start}HYPERLINK(1)"


async def test_a_person_is_shown_with_those_above_and_below(people: Town):
    boss_id = await people.value(
        """
        SELECT boss.google_id FROM people AS boss JOIN people ON people.manager_email = boss.email
        GROUP BY boss.google_id ORDER BY count(*) DESC LIMIT 1
        """
    )
    report = await people.value(
        """
        SELECT people.name FROM people JOIN people AS boss ON people.manager_email = boss.email
        WHERE boss.google_id = %s ORDER BY people.sort_name LIMIT 1
        """,
        boss_id,
    )

    async with people.signed_in("cy@acme.test") as cy:
        page = await cy.get(f"/people/{boss_id}")

        assert page.status_code == 200
        assert "direct reports" in page.text
        assert report in page.text


async def test_when_and_how_people_sign_in_is_for_admins(people: Town):
    cy_id = await people.value("SELECT google_id FROM people WHERE email = 'cy@acme.test'")

    async with people.signed_in("cy@acme.test") as cy, people.signed_in("ada@acme.test") as ada:
        for path in ("/people", f"/people/{cy_id}", "/people.csv"):
            assert "Last sign-in" in (await ada.get(path)).text, path
            assert "Last sign-in" not in (await cy.get(path)).text, path
        assert "Two-step" not in (await cy.get(f"/people/{cy_id}")).text
        for path in ("/people", "/people.csv", "/api/v1/people"):
            assert (await cy.get(f"{path}?sort=-last_login")).status_code == 403, path


async def test_nobody_is_at_an_unknown_address(people: Town):
    async with people.signed_in("cy@acme.test") as cy:
        assert (await cy.get("/people/123")).status_code == 404


async def test_the_api_pages_with_a_cursor(people: Town):
    async with people.signed_in("cy@acme.test") as cy:
        first = (await cy.get("/api/v1/people?limit=200")).json()
        second = (await cy.get("/api/v1/people", params={"limit": 200, "after": first["after"]})).json()

        assert first["total"] == 500
        ids = [person["id"] for person in first["people"] + second["people"]]
        assert len(set(ids)) == 400
        refused = await cy.get("/api/v1/people?limit=1000")
        assert refused.status_code == 422
        assert "limit" in problem(refused)["detail"]


async def test_an_empty_directory_says_what_to_do(town: Town):
    async with town.signed_in("ada@acme.test") as ada, town.signed_in("cy@acme.test") as cy:
        assert "Run a sync" in (await ada.get("/people")).text
        assert "Run a sync" not in (await cy.get("/people")).text
        assert (await cy.get("/")).status_code == 200


async def test_an_admin_starts_a_sync_and_a_worker_does_it(town: Town):
    async with town.signed_in("ada@acme.test") as ada, town.working():
        started = await ada.post("/people/syncs")
        path = urlsplit(started.headers["location"]).path

        assert started.status_code == 303
        await eventually(lambda: _says(ada, path, "Finished"))
        assert "500" in (await ada.get(path)).text
        assert "people.sync_asked" in await town.audited()
        assert await town.value("SELECT asked_by FROM people_syncs") == "ada@acme.test"


async def test_a_sync_is_wanted_even_when_the_queue_cannot_be_told(town: Town):
    """The wish is a row; the schedule's next turn finds it."""
    asked = await town.portal.sync.ask(by=System("tester"))

    run = await town.portal.sync.run()

    assert run is not None
    assert run.id == asked


async def test_the_dashboard_counts_who_is_here(people: Town):
    active = await people.value("SELECT count(*) FROM people WHERE status = 'active'")

    async with people.signed_in("cy@acme.test") as cy:
        page = (await cy.get("/")).text

        assert f">{active}<" in page
        assert "checklist" not in page.lower().split("<main", 1)[1]


def test_letters_that_people_type_plain_fold_to_plain_ones():
    assert folded("Ærøskøbing ŁÓDŹ Đặng İstanbul Straße") == folded("aeroskobing lodz dang istanbul strasse")


async def _says(visitor: Visitor, path: str, word: str) -> bool:
    return word in (await visitor.get(path)).text

"""How the company is made up: the tree of org units and the chart of who leads whom."""

import csv
import io
import re

import pytest
from tests.town import Town

from muster.people.chart import Chart, ChartFilter, Lines, _Named
from muster.people.org_units import OrgUnits


@pytest.fixture
async def people(town: Town) -> Town:
    await town.portal.sync.run()
    return town


async def _lead(town: Town, email: str, manager: str) -> None:
    await town.sandbox.change(email, manager=manager)


async def _id(town: Town, email: str) -> str:
    return str(await town.value("SELECT google_id FROM people WHERE email = %s", email))


async def test_every_unit_counts_its_own_people_and_all_below(people: Town):
    units = {unit.path: unit for unit in await OrgUnits(people.portal.database).list_all()}

    assert units["/"].below == 500
    assert units["/Engineering"].below == sum(
        unit.people for unit in units.values() if unit.path.startswith("/Engineering")
    )
    assert units["/Engineering"].below == await people.value(
        "SELECT count(*) FROM people WHERE removed_at IS NULL AND org_unit LIKE '/Engineering%%'"
    )


async def test_units_are_there_from_peoples_paths_where_google_lists_none(people: Town):
    await people.execute("DELETE FROM org_units")

    units = [unit.path for unit in await OrgUnits(people.portal.database).list_all()]

    assert {"/", "/Engineering", "/Engineering/Platform"} <= set(units)
    assert units.index("/Engineering") < units.index("/Engineering/Platform")


async def test_units_are_paged_searched_sorted_and_downloaded(people: Town):
    async with people.signed_in("cy@acme.test") as cy:
        shown: list[str] = []
        after = ""
        while True:
            asked = {"limit": 5, "after": after}
            answer = (await cy.get("/api/v1/org-units", params=asked)).json()
            shown += [unit["path"] for unit in answer["org_units"]]
            if not (after := answer["after"] or ""):
                break
        table = (await cy.get("/people/org-units.csv?sort=-people")).content.decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(table)))
        found = (await cy.get("/people/org-units?q=ENGINEERING")).text

        assert len(shown) == len(set(shown)) == answer["total"] == len(rows)
        assert rows[0]["Path"] == "/"
        assert 'href="/people?org_unit=/Engineering/Data"' in found
        assert "/Sales" not in found
        assert (await cy.get("/people/org-units?after=/nowhere")).status_code == 422


async def test_the_chart_begins_with_whom_nobody_leads_and_counts_everybody_below(people: Town):
    chart = Chart(people.portal.database)

    (ada,) = (await chart.find(ChartFilter())).rows

    assert ada.email == "ada@acme.test"
    assert ada.size == 499
    reports = (await chart.find(ChartFilter(root=ada.id))).rows
    assert len(reports) == ada.reports
    assert sum(one.size for one in reports) + len(reports) == ada.size


async def test_a_manager_named_by_an_alias_leads(people: Town):
    await people.sandbox.change("ben@acme.test", aliases=["benny@acme.test"])
    await _lead(people, "cy@acme.test", "benny@acme.test")
    await people.portal.sync.run()
    chart = Chart(people.portal.database)

    ben = await chart.get(await _id(people, "ben@acme.test"))

    assert "cy@acme.test" in {one.email for one in (await chart.find(ChartFilter(root=ben.id))).rows}
    cy = await chart.get(await _id(people, "cy@acme.test"))
    assert (await chart.list_above(cy))[-1].id == ben.id


async def test_whoever_names_a_stranger_or_themselves_is_at_the_top(people: Town):
    await _lead(people, "ben@acme.test", "nobody@acme.test")
    await _lead(people, "cy@acme.test", "cy@acme.test")
    await people.portal.sync.run()

    top = (await Chart(people.portal.database).find(ChartFilter())).rows

    assert {"ada@acme.test", "ben@acme.test", "cy@acme.test"} <= {one.email for one in top}


async def test_managers_in_a_circle_are_shown_and_lead_on(people: Town):
    await _lead(people, "ben@acme.test", "cy@acme.test")
    await _lead(people, "cy@acme.test", "ben@acme.test")
    await people.portal.sync.run()

    async with people.signed_in("cy@acme.test") as cy:
        page = (await cy.get("/people/chart")).text
        ben = await _id(people, "ben@acme.test")

        assert "lead back to themselves" in page
        assert (await cy.get(f"/people/chart?root={ben}")).status_code == 200
        assert (await Chart(people.portal.database).get(ben)).size >= 1


async def test_the_chart_follows_the_next_sync(people: Town):
    chart = Chart(people.portal.database)
    ben_id = await _id(people, "ben@acme.test")
    before = (await chart.get(ben_id)).reports
    await _lead(people, "cy@acme.test", "ben@acme.test")
    await people.portal.sync.run()

    assert (await chart.get(ben_id)).reports == before + 1


async def test_the_chart_is_searched_and_downloaded(people: Town):
    async with people.signed_in("cy@acme.test") as cy:
        assert "cy@acme.test" in (await cy.get("/people/chart.csv?q=cy@acme")).text
        whole = (await cy.get("/people/chart.csv?q=acme.test&sort=name")).text
        assert len(whole.splitlines()) == 501
        assert "Nobody matches" in (await cy.get("/people/chart?q=zzzz")).text
        assert (await cy.get("/people/chart?root=unknown")).status_code == 404
        assert (await cy.get("/people/chart.csv?sort=x")).status_code == 422


async def test_each_page_of_the_directory_leads_to_the_others(people: Town):
    async with people.signed_in("cy@acme.test") as cy, people.signed_in("ada@acme.test") as ada:
        for path in ("/people/chart", "/people/org-units", "/people/syncs"):
            row = re.search(r'<nav class="places".*?</nav>', (await cy.get(path)).text, re.DOTALL)
            assert row, path
            assert 'href="/people/chart"' in row[0]
            assert "Removals" not in row[0]
        assert "Removals" in (await ada.get("/people/chart")).text


async def test_without_people_both_pages_say_what_to_do(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        assert "Run a sync" in (await ada.get("/people/chart")).text
        assert "Run a sync" in (await ada.get("/people/org-units")).text


def test_sizes_count_nobody_twice_in_a_circle_with_a_tail():
    lines = Lines.of(
        [
            _Named("a", 2, "A", "b"),  # named by B and C
            _Named("b", 1, "B", "a"),
            _Named("c", 3, "C", "a"),  # C is led by A and leads three
        ]
    )
    assert lines.circling == {"A", "B"}
    assert lines.sizes == {"A": 5, "B": 5, "C": 3}
    assert lines.chain("c") == ["B", "A", "C"]

"""The company's timeline: kinds, days, words, pages, CSV, and its picture."""

import csv
import io
import re
from datetime import UTC, date, datetime, timedelta

import pytest
from tests.town import Town

from muster.people.history import Day
from muster.people.timeline_chart import days_chart

CY = "cy@acme.test"


@pytest.fixture
async def changed(town: Town) -> Town:
    """A company in which some things have happened."""
    await town.portal.sync.run()
    await town.sandbox.change(CY, department="Brewing", name={"givenName": "Zoë", "familyName": "Øster"})
    await town.sandbox.change("ben@acme.test", suspended=True)
    await town.sandbox.tell("people", {"primaryEmail": "new@acme.test"})
    await town.portal.sync.run()
    return town


async def test_a_first_load_is_no_event_and_the_empty_timeline_says_from_when_it_tells(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        assert "Changes are told from the first sync on" in (await ada.get("/people/changes")).text
        await town.portal.sync.run()
        page = (await ada.get("/people/changes")).text

    assert "Nothing has changed yet" in page
    assert "was first read on" in page


async def test_what_happened_is_told_by_day_with_its_sync(changed: Town):
    async with changed.signed_in("ada@acme.test") as ada:
        page = (await ada.get("/people/changes")).text

    assert f'<time datetime="{datetime.now(UTC).date()}">' in page
    for told in (">Joined<", ">Suspended<", ">Renamed<", ">Moved<", "<ins>Zoë Øster</ins>", ">sync 2</a>"):
        assert told in page, told
    assert "3 changes" in page
    assert '<svg class="chart"' in page


async def test_tabs_count_each_kind_and_lead_to_it(changed: Town):
    async with changed.signed_in(CY) as cy:
        page = (await cy.get("/people/changes?kind=joined")).text
        refused = await cy.get("/people/changes?kind=nonsense")

    assert re.search(r'kind=suspended">Suspended<span class="count">1<', page)
    assert "new@acme.test" in page or "1 change" in page
    assert "Brewing" not in page
    assert refused.status_code == 422


async def test_a_name_is_found_as_it_was_as_it_is_and_without_accents(changed: Town):
    async with changed.signed_in(CY) as cy:
        for words in ("zoe", "OSTER", CY):
            found = (await cy.get("/api/v1/people/changes", params={"q": words})).json()["changes"]
            assert [one["email"] for one in found] == [CY], words
        assert "No such change" in (await cy.get("/people/changes?q=zzzz")).text


async def test_days_include_their_whole_length(changed: Town):
    today = datetime.now(UTC).date()
    yesterday = today - timedelta(days=1)
    async with changed.signed_in(CY) as cy:
        for query, count in (
            (f"from={today}&until={today}", 3),
            (f"until={yesterday}", 0),
            (f"from={yesterday}", 3),
            ("from=0001-01-01&until=9000-01-01", 3),
        ):
            found = (await cy.get(f"/api/v1/people/changes?{query}")).json()["changes"]
            assert len(found) == count, query
        for query in ("from=soon", "until=9999-12-31", "from=2026-02-30"):
            assert (await cy.get(f"/people/changes?{query}")).status_code == 422, query


async def test_pages_show_each_change_once_and_lead_back(changed: Town):
    await changed.execute(
        """
        INSERT INTO people_changes (google_id, kinds, source, name, email)
        SELECT n::text, '{joined}', 'listing', 'N', 'n@acme.test' FROM generate_series(1, 120) AS n
        """
    )
    async with changed.signed_in(CY) as cy:
        first = (await cy.get("/api/v1/people/changes")).json()
        second = (await cy.get(f"/api/v1/people/changes?before={first['before']}")).json()
        third = (await cy.get(f"/api/v1/people/changes?before={second['before']}")).json()
        back = (await cy.get(f"/api/v1/people/changes?after={third['after']}")).json()
        page = (await cy.get("/people/changes")).text

    ids = [one["id"] for page in (first, second, third) for one in page["changes"]]
    assert ids == sorted(set(ids), reverse=True)
    assert len(ids) == 123
    assert back["changes"] == second["changes"]
    assert 'rel="next">Older' in page


async def test_the_csv_holds_what_is_filtered(changed: Town):
    async with changed.signed_in(CY) as cy:
        answer = await cy.get("/people/changes.csv?kind=moved")
        refused = await cy.get("/people/changes.csv?kind=nonsense")

    rows = list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))
    assert [row["E-mail"] for row in rows] == [CY]
    assert "Department: Engineering → Brewing" in rows[0]["Before and after"]
    assert refused.status_code == 422


def test_the_picture_leads_to_each_day_on_which_something_happened():
    days = [
        Day(day=date(2026, 10, 1), came=2, went=1, other=0),
        Day(day=date(2026, 10, 2), came=0, went=0, other=0),
    ]

    drawn = days_chart(days, title="<b>")

    assert "/people/changes?from=2026-10-01&amp;until=2026-10-01" in drawn
    assert "2026-10-02" not in drawn
    assert "<b>" not in drawn
    assert drawn.count('<rect class="first"') == drawn.count('<rect class="second"') == 1

"""The list's filters, tabs and views of other days; what a search for words finds, and by which plan."""

import csv
import io
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from psycopg import sql
from tests.town import Town

from muster.people.roster import FEW, Filter, Roster, _matching

CY = "cy@acme.test"


@pytest.fixture
async def people(town: Town) -> Town:
    await town.portal.sync.run()
    return town


def _rows(answer: httpx2.Response) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"))))


async def test_every_state_has_its_tab_with_a_count(people: Town):
    await people.sandbox.change(CY, deleted=True)
    await people.portal.sync.run()
    await people.execute("UPDATE people SET status = 'guest' WHERE email = 'ben@acme.test'")
    gone = await people.value("SELECT count(*) FROM people WHERE status = 'deleted'")

    async with people.signed_in("ada@acme.test") as ada:
        page = (await ada.get("/people")).text
        counts = (await ada.get("/api/v1/people")).json()["counts"]
        deleted = (await ada.get("/api/v1/people?status=deleted&limit=200")).json()

    for label in ("Everybody here", "Active", "Guests", "Suspended", "Archived", "Deleted (restorable)"):
        assert f">{label}<span" in page, label
    assert ">Gone for good<span" in page
    assert counts["deleted"] == gone == deleted["total"]
    assert CY in {one["email"] for one in deleted["people"]}
    assert counts["here"] == sum(counts[one] for one in ("active", "guest", "suspended", "archived"))


async def test_an_org_unit_means_everything_below_it_and_nothing_beside(people: Town):
    await people.execute("UPDATE people SET org_unit = '/Salesforce' WHERE email = %s", CY)
    within = await people.value(
        "SELECT count(*) FROM people WHERE (org_unit = '/Sales' OR starts_with(org_unit, '/Sales/')) "
        "AND removed_at IS NULL"
    )

    async with people.signed_in(CY) as cy:
        for unit in ("/Sales", "/Sales/"):
            answer = (await cy.get("/api/v1/people", params={"org_unit": unit, "limit": 200})).json()
            assert answer["total"] == within
            assert {one["org_unit"].split("/")[1] for one in answer["people"]} == {"Sales"}
        assert (await cy.get("/api/v1/people?org_unit=/")).json()["total"] == 500
        assert (await cy.get("/api/v1/people", params={"org_unit": "/S%"})).json()["total"] == 0


async def test_only_administrators_are_listed_when_asked_for(people: Town):
    async with people.signed_in(CY) as cy:
        found = (await cy.get("/api/v1/people?admins=true&limit=200")).json()["people"]
        page = await cy.get("/people?admins=true")

    assert found
    assert all(one["is_admin"] or one["is_delegated_admin"] for one in found)
    assert 'name="admins" value="true" checked' in page.text
    assert 'href="/people?status=active&amp;admins=true"' in page.text


async def test_the_csv_holds_what_every_filter_leaves(people: Town):
    async with people.signed_in(CY) as cy:
        for query in (
            "org_unit=/Engineering",
            "admins=true",
            "manager=ada@acme.test",
            "q=an",
            "status=archived",
        ):
            listed = (await cy.get(f"/api/v1/people?{query}&limit=200")).json()
            rows = _rows(await cy.get(f"/people.csv?{query}"))
            assert len(rows) == listed["total"] > 0, query


async def test_list_counts_csv_and_api_show_another_day(people: Town):
    await people.execute("UPDATE people SET first_seen_at = now() - interval '10 days'")
    department = await people.value("SELECT department FROM people WHERE email = %s", CY)
    await people.sandbox.change(CY, department="Brewing", suspended=True)
    await people.sandbox.change("ben@acme.test", deleted=True)
    await people.sandbox.tell("people", {"primaryEmail": "new@acme.test"})
    await people.portal.sync.run()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()

    async with people.signed_in("ada@acme.test") as ada:
        now = (await ada.get("/api/v1/people")).json()
        then = (await ada.get(f"/api/v1/people?as_of={yesterday}")).json()
        brewing = (await ada.get(f"/api/v1/people?as_of={yesterday}&department=Brewing")).json()
        rows = {row["E-mail"]: row for row in _rows(await ada.get(f"/people.csv?as_of={yesterday}"))}
        page = (await ada.get(f"/people?as_of={yesterday}&q=cy@acme")).text
        refused = await ada.get(f"/people?as_of={yesterday}&sort=last_login")

    assert (now["total"], then["total"], len(rows)) == (500, 500, 500)
    assert then["counts"]["suspended"] == now["counts"]["suspended"] - 1
    assert brewing["total"] == 0
    assert rows[CY]["Department"] == department
    assert rows[CY]["Status"] == "active"
    assert "ben@acme.test" in rows
    assert "new@acme.test" not in rows
    assert "Last sign-in" not in rows[CY]
    assert "Back to now" in page
    assert f"?as_of={yesterday}" in page
    assert refused.status_code == 422


@pytest.mark.parametrize(
    "words", ["a", "an", "x", "zq", "acme", "lind", "ada lindqvist", "an zq", "_", "%", "\\", "'"]
)
async def test_a_search_finds_exactly_those_whose_text_holds_the_words(people: Town, words: str):
    """Few and many are read in different ways; both have to find the same."""
    texts = await people.portal.database.value(
        "SELECT array_agg(search_text) FROM people WHERE removed_at IS NULL"
    )
    expected = sum(all(word in text for word in words.split()) for text in texts)

    async with people.signed_in(CY) as cy:
        answer = (await cy.get("/api/v1/people", params={"q": words, "limit": 200})).json()

    assert answer["total"] == expected
    assert len(answer["people"]) == min(expected, 200)


async def test_many_are_paged_as_few_are(people: Town):
    """A search that finds more than FEW reads in the order of the list."""
    await people.execute(
        """
        INSERT INTO people (google_id, email, name, given_name, family_name, sort_name, search_text, status,
            title, department, org_unit, employee_id, manager_email, aliases, phones, locations, is_admin,
            is_guest, enrolled_2sv, suspended_reason, fingerprint)
        SELECT 'x' || n, n || '@many.test', 'Many', '', '', 'many' || lpad(n::text, 6, '0'), 'many ' || n,
            'active', '', '', '/', '', '', '{}', '[]', '{}', false, false, false, '', ''
        FROM generate_series(1, %s) AS n
        """,
        FEW + 500,
    )
    async with people.signed_in(CY) as cy:
        ids: list[str] = []
        after = ""
        while True:
            answer = (
                await cy.get("/api/v1/people", params={"q": "many", "limit": 200, "after": after})
            ).json()
            ids += [one["id"] for one in answer["people"]]
            after = answer["after"]
            if not after:
                break

    assert answer["total"] == FEW + 500 == len(ids) == len(set(ids))


async def test_a_very_long_text_is_searched_too(people: Town):
    await people.execute(
        "UPDATE people SET search_text = search_text || repeat(' padding', 400) || ' needle' "
        "WHERE email = %s",
        CY,
    )
    async with people.signed_in(CY) as cy:
        for words in ("needle", "ne", "le padd"):
            answer = (await cy.get("/api/v1/people", params={"q": words, "limit": 200})).json()
            assert CY in {one["email"] for one in answer["people"]}, words


async def test_a_search_for_words_alone_can_be_answered_from_its_narrow_index(people: Town):
    """However short the words; the table itself, eight times as wide, need not be read."""
    statement = sql.SQL("EXPLAIN SELECT status, count(*) FROM {} AS people GROUP BY status").format(
        _matching(Filter(q="zq"), removed_too=True)
    )
    async with people.portal.database.transaction() as tx:
        # A small company's table is read whole, and rightly so.
        await tx.execute("SET LOCAL enable_seqscan = off")
        await tx.execute("SET LOCAL enable_bitmapscan = off")
        plan = await tx.column(statement, {})

    assert any("Index Only Scan using people_scan on" in line for line in plan)


async def test_departments_are_offered_each_once_in_order(people: Town):
    expected = await people.value(
        "SELECT array_agg(DISTINCT department ORDER BY department) FROM people WHERE department <> ''"
    )

    assert await Roster(people.portal.database).list_departments() == expected

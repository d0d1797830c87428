"""A person in full: standing, line, groups, history, and how they stood on another day."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from tests.town import Town, Visitor, problem

CY = "cy@acme.test"


@pytest.fixture
async def people(town: Town) -> Town:
    await town.portal.sync.run()
    return town


async def _id(town: Town, email: str = CY) -> str:
    return str(await town.value("SELECT google_id FROM people WHERE email = %s", email))


async def _shown(visitor: Visitor, path: str) -> str:
    page = await visitor.get(path)
    assert page.status_code == 200, page.text
    return page.text


async def test_a_suspended_person_is_told_since_when_and_why(people: Town):
    await people.sandbox.change(CY, suspended=True, suspensionReason="ABUSE")
    await people.portal.sync.run()

    async with people.signed_in("ada@acme.test") as ada:
        page = await _shown(ada, f"/people/{await _id(people)}")

    assert "<strong>Suspended</strong> since" in page
    assert "by Google, for abuse" in page


async def test_a_deleted_person_is_shown_with_the_days_in_which_they_can_come_back(people: Town):
    await people.sandbox.change(CY, deleted=True)
    await people.portal.sync.run()
    await people.execute(
        "UPDATE people SET deleted_at = now() - interval '3 days 1 hour' WHERE email = %s", CY
    )

    async with people.signed_in("ada@acme.test") as ada:
        page = await _shown(ada, f"/people/{await _id(people)}")

    assert "can restore the account for 17 more days" in page
    assert "Send e-mail" not in page


async def test_somebody_gone_for_good_is_said_to_be(people: Town):
    await people.execute("UPDATE people SET status = 'purged', removed_at = now() WHERE email = %s", CY)

    async with people.signed_in("ada@acme.test") as ada:
        assert "Gone for good" in await _shown(ada, f"/people/{await _id(people)}")


async def test_the_line_leads_to_the_top_also_by_way_of_an_alias(people: Town):
    await people.sandbox.change("ben@acme.test", aliases=["the-boss@acme.test"])
    await people.portal.sync.run()
    await people.execute("UPDATE people SET manager_email = 'the-boss@acme.test' WHERE email = %s", CY)

    async with people.signed_in("ada@acme.test") as ada:
        person = (await ada.get(f"/api/v1/people/{await _id(people)}")).json()
        boss = (await ada.get(f"/api/v1/people/{await _id(people, 'ben@acme.test')}")).json()
        listed = (await ada.get("/api/v1/people?manager=ben@acme.test")).json()

    assert [one["email"] for one in person["managers"]] == ["ben@acme.test", "ada@acme.test"]
    assert person["manager"]["email"] == "ben@acme.test"
    assert person["line_ends"] == "top"
    assert CY in {one["email"] for one in boss["reports"]}
    assert CY in {one["email"] for one in listed["people"]}
    assert boss["reports_total"] == len(boss["reports"]) == listed["total"]


async def test_a_circle_of_managers_ends_and_is_said_to_be_one(people: Town):
    await people.execute("UPDATE people SET manager_email = %s WHERE email = 'ben@acme.test'", CY)
    await people.execute("UPDATE people SET manager_email = 'ben@acme.test' WHERE email = %s", CY)

    async with people.signed_in("ada@acme.test") as ada:
        person = (await ada.get(f"/api/v1/people/{await _id(people)}")).json()
        page = await _shown(ada, f"/people/{await _id(people)}")

    assert [one["email"] for one in person["managers"]] == ["ben@acme.test"]
    assert person["line_ends"] == "circle"
    assert "The line is a circle" in page


async def test_ones_own_manager_is_a_circle_of_one_and_no_report(people: Town):
    await people.execute("UPDATE people SET manager_email = email WHERE email = %s", CY)

    async with people.signed_in("ada@acme.test") as ada:
        person = (await ada.get(f"/api/v1/people/{await _id(people)}")).json()

    assert (person["managers"], person["line_ends"]) == ([], "circle")
    assert CY not in {one["email"] for one in person["reports"]}


async def test_a_manager_whom_the_directory_does_not_hold_is_named_by_address(people: Town):
    await people.execute("UPDATE people SET manager_email = 'who@else.test' WHERE email = %s", CY)

    async with people.signed_in("ada@acme.test") as ada:
        page = await _shown(ada, f"/people/{await _id(people)}")

    assert "who@else.test as manager, which is nobody&#39;s address" in page.replace("'", "&#39;")


async def test_groups_are_shown_with_the_way_to_each_even_where_they_contain_each_other(people: Town):
    await people.sandbox.tell("groups/on-call@acme.test", {"add": [CY]})
    await people.portal.groups.run()

    async with people.signed_in(CY) as cy:
        person = (await cy.get(f"/api/v1/people/{await _id(people)}")).json()
        page = await _shown(cy, f"/people/{await _id(people)}")

    groups = {group["email"]: group for group in person["groups"]}
    assert groups["on-call@acme.test"]["via"] == []
    circle = {"incidents@acme.test", "escalations@acme.test"} & groups.keys()
    assert len(circle) == 2
    ways = sorted([via["email"] for via in groups[email]["via"]] for email in circle)
    assert ways[0] == ["on-call@acme.test"]
    assert ways[1][0] == "on-call@acme.test"
    assert len(groups) == len(person["groups"])
    assert "via <a" in page


async def test_the_whole_company_as_a_member_means_everybody_who_is_here(people: Town):
    await people.portal.groups.run()
    whole = await people.value(
        "SELECT groups.email FROM groups JOIN group_members ON group_id = google_id WHERE kind = 'customer'"
    )
    await people.sandbox.change("ben@acme.test", suspended=True)
    await people.portal.sync.run()

    async with people.signed_in("ada@acme.test") as ada:
        here = (await ada.get(f"/api/v1/people/{await _id(people)}")).json()["groups"]
        kept_out = (await ada.get(f"/api/v1/people/{await _id(people, 'ben@acme.test')}")).json()["groups"]

    assert {group["email"] for group in here if group["is_everybody"]} >= {whole}
    assert not [group for group in kept_out if group["is_everybody"]]


async def test_the_history_tells_before_and_after_and_how_it_was_learned(people: Town):
    await people.sandbox.change(CY, department="Brewing", isAdmin=True)
    run = await people.portal.sync.run()
    assert run

    async with people.signed_in("ada@acme.test") as ada:
        page = await _shown(ada, f"/people/{await _id(people)}")

    assert "<ins>Brewing</ins>" in page
    assert "Made admin" in page
    assert f'<a href="/people/syncs/{run.id}">sync {run.id}</a>' in page


async def test_the_history_is_paged_to_its_end_and_back(people: Town):
    google_id = await _id(people)
    await people.execute(
        """
        INSERT INTO people_changes (google_id, kinds, source, name, email, fields)
        SELECT %s, '{moved}', 'push', 'Cy', 'cy@acme.test',
            jsonb_build_object('title', jsonb_build_array(n::text, (n + 1)::text))
        FROM generate_series(1, 45) AS n
        """,
        google_id,
    )
    async with people.signed_in(CY) as cy:
        address = f"/api/v1/people/{google_id}/changes?limit=20"
        first = (await cy.get(address)).json()
        second = (await cy.get(f"{address}&before={first['before']}")).json()
        third = (await cy.get(f"{address}&before={second['before']}")).json()
        back = (await cy.get(f"{address}&after={third['after']}")).json()
        page = await _shown(cy, f"/people/{google_id}")

    assert [len(one["changes"]) for one in (first, second, third)] == [20, 20, 5]
    assert (first["after"], third["before"]) == (None, None)
    assert back["changes"] == second["changes"]
    assert page.count('<li><span class="entry-name">') == 20
    assert "#history" in page


async def test_a_person_is_shown_as_they_were_on_another_day(people: Town):
    google_id = await _id(people)
    department = await people.value("SELECT department FROM people WHERE email = %s", CY)
    await people.execute("UPDATE people SET first_seen_at = now() - interval '10 days'")
    await people.sandbox.change(CY, department="Brewing", suspended=True)
    await people.portal.sync.run()
    await people.sandbox.change(CY, department="Baking")
    await people.portal.sync.run()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()

    async with people.signed_in("ada@acme.test") as ada:
        then = (await ada.get(f"/api/v1/people/{google_id}?as_of={yesterday}")).json()
        page = await _shown(ada, f"/people/{google_id}?as_of={yesterday}")
        now = (await ada.get(f"/api/v1/people/{google_id}")).json()
        today = (await ada.get(f"/api/v1/people/{google_id}?as_of={datetime.now(UTC).date()}")).json()

    assert (then["department"], then["status"]) == (department, "active")
    assert (now["department"], now["status"]) == ("Baking", "suspended")
    assert today["department"] == "Baking"
    assert "last_login_at" in now
    assert "last_login_at" not in then
    assert "Last sign-in" not in page
    assert "Back to now" in page
    assert "Brewing" not in page
    assert re.search(rf'<a href="/people/\d+\?as_of={yesterday}">Ada Lindqvist</a>', page)


async def test_what_is_not_known_yet_or_any_more_is_said(people: Town):
    google_id = await _id(people)
    async with people.signed_in(CY) as cy:
        early = await cy.get(f"/people/{google_id}?as_of=2020-01-01")
        listed = await cy.get("/people?as_of=2020-01-01")
        asked = await cy.get("/api/v1/people?as_of=2020-01-01")
        missing = await cy.get(f"/api/v1/people/{google_id}?as_of=2020-01-01")

    assert (early.status_code, missing.status_code) == (404, 404)
    assert "The directory knows Cy Marchetti-Rao since" in early.text
    assert "The directory is known since" in listed.text
    assert "known since" in problem(asked)["detail"]


@pytest.mark.parametrize(
    "as_of", ["2099-01-01", "2099-01-01T00:00:00Z", "yesterday", "2026-13-01", "1", "9999-12-31"]
)
async def test_a_day_to_come_or_no_day_at_all_is_refused_with_what_is_expected(people: Town, as_of: str):
    google_id = await _id(people)
    async with people.signed_in(CY) as cy:
        for path in (f"/api/v1/people/{google_id}", "/api/v1/people"):
            refused = await cy.get(f"{path}?as_of={as_of}")

            assert refused.status_code == 422, path
            assert "2026-10-01" in problem(refused)["detail"]
        for path in ("/people", "/people.csv", f"/people/{google_id}"):
            assert (await cy.get(f"{path}?as_of={as_of}")).status_code == 422, path


async def test_what_people_keep_private_is_for_those_who_may_see_it(people: Town):
    google_id = await _id(people)
    await people.execute(
        """
        UPDATE people SET emails = '[{"label": "home", "value": "cy@private.test"}]',
            custom_schemas = '{"Skills": {"known": [{"type": "work", "value": "Juggling"}]}}'
        WHERE google_id = %s
        """,
        google_id,
    )
    await people.execute(
        """
        INSERT INTO people_changes (google_id, kinds, source, name, email, fields) VALUES
        (%(id)s, '{changed}', 'push', 'Cy', 'cy@acme.test', '{"enrolled_2sv": [false, true]}'),
        (%(id)s, '{moved}', 'push', 'Cy', 'cy@acme.test',
         '{"title": ["A", "B"], "emails": [[], ["cy@private.test"]],
           "custom_schemas": [{}, {"Skills": "Juggling"}]}')
        """.replace("%(id)s", f"'{google_id}'")
    )
    paths = [
        f"/people/{google_id}",
        f"/api/v1/people/{google_id}",
        f"/api/v1/people/{google_id}/changes",
        "/people/changes",
        "/people/changes.csv",
        "/api/v1/people/changes",
    ]

    async with people.signed_in(CY) as cy, people.signed_in("ada@acme.test") as ada:
        for path in paths:
            mine, hers = (await cy.get(path)).text, (await ada.get(path)).text
            assert ("cy@private.test" in hers, "Juggling" in hers) == (True, True), path
            assert ("cy@private.test" in mine, "Juggling" in mine) == (False, False), path
            assert "2sv" not in mine, path
            assert "2-step" not in mine, path
        assert len((await cy.get(paths[2])).json()["changes"]) == 1
        assert len((await ada.get(paths[2])).json()["changes"]) == 2
        assert "emails" not in (await cy.get(paths[1])).json()
        assert (await ada.get(paths[1])).json()["enrolled_2sv"] in {True, False}

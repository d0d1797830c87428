"""Whoever is suspended or gone in the directory is out of Muster, and in again when they are back."""

import pytest
from tests.town import Town, eventually

from muster.access.roles import Role
from muster.platform.actor import System

OUT = [{"suspended": True}, {"archived": True}, {"deleted": True}]


@pytest.fixture
async def people(town: Town) -> Town:
    await town.portal.sync.run()
    return town


async def account(town: Town, email: str) -> tuple[str, bool]:
    """Role, and whether the account is kept out."""
    role, out = await town.value(
        """
        SELECT jsonb_build_array(COALESCE(max(role), 'member'), suspended_at IS NOT NULL)
        FROM accounts LEFT JOIN account_roles ON account_id = id WHERE email = %s GROUP BY id
        """,
        email,
    )
    return role, out


@pytest.mark.parametrize("change", OUT, ids=lambda change: next(iter(change)))
async def test_their_session_ends_with_the_sync_that_sees_it(people: Town, change: dict[str, bool]):
    async with people.signed_in("ben@acme.test") as ben:
        await people.sandbox.change("ben@acme.test", **change)

        await people.portal.sync.run()

        response = await ben.get("/people")
        assert (response.status_code, response.headers["location"]) == (303, "/sign-in?next=%2Fpeople")
    assert await account(people, "ben@acme.test") == ("member", True)
    assert "accounts.suspended" in await people.audited()


async def test_all_their_sessions_end_and_nobody_elses(people: Town):
    async with (
        people.signed_in("ben@acme.test") as one,
        people.signed_in("ben@acme.test") as other,
        people.signed_in("cy@acme.test") as cy,
    ):
        await people.sandbox.change("ben@acme.test", suspended=True)
        await people.portal.sync.run()

        assert (await one.get("/people")).status_code == 303
        assert (await other.get("/people")).status_code == 303
        assert (await cy.get("/people")).status_code == 200


async def test_their_role_is_void_and_written_down(people: Town):
    await people.portal.grants.invite("ben@acme.test", Role.SALES, by=System("test"))
    async with people.signed_in("ben@acme.test"):
        assert await account(people, "ben@acme.test") == ("sales", False)
    await people.sandbox.change("ben@acme.test", suspended=True)

    await people.portal.sync.run()

    assert await account(people, "ben@acme.test") == ("member", True)
    before, after = await people.value(
        "SELECT jsonb_build_array(before, after) FROM audit_log WHERE action = 'accounts.suspended'"
    )
    assert before == {"roles": ["sales"]}
    assert after["roles"] == []


async def test_push_ends_a_session_without_waiting_for_a_listing(people: Town):
    await people.portal.push.keep_open()
    await eventually(people.portal.push.live_since)
    async with people.signed_in("ben@acme.test") as ben, people.working():
        await people.sandbox.change("ben@acme.test", suspended=True)

        async def is_out() -> bool:
            return bool((await ben.get("/people")).status_code == 303)

        await eventually(is_out, within=10)


async def test_a_session_that_begins_at_the_very_moment_is_ended_by_the_clock(people: Town):
    """It was not there yet when the sessions were ended."""
    async with people.signed_in("ben@acme.test") as ben:
        await people.execute("UPDATE accounts SET suspended_at = now() WHERE email = 'ben@acme.test'")
        assert (await ben.get("/people")).status_code == 200

        assert await people.portal.accounts.end_sessions_of_suspended() == 1

        assert (await ben.get("/people")).status_code == 303


async def test_an_account_that_was_overlooked_is_closed_by_the_next_sync(people: Town):
    await people.sandbox.change("ben@acme.test", suspended=True)
    await people.portal.sync.run()
    await people.execute(
        "INSERT INTO accounts (google_id, email) SELECT google_id, email FROM people "
        "WHERE email = 'ben@acme.test'"
    )

    await people.portal.sync.run()

    assert await account(people, "ben@acme.test") == ("member", True)


async def test_whoever_the_directory_keeps_out_cannot_sign_in_and_is_asked_about(people: Town):
    async with people.signed_in("ben@acme.test"):
        pass
    # Google would not let them this far, unless they are back and the directory has not heard of it.
    await people.execute(
        "UPDATE accounts SET suspended_at = now(), suspended_because = 'is suspended' "
        "WHERE email = 'ben@acme.test'"
    )

    async with people.visitor() as ben:
        refused = await ben.sign_in("ben@acme.test")

        assert refused.status_code == 403
        assert "try again in a minute" in refused.text
        assert ben.session_id is None
        assert "accounts.refused" in await people.audited()
        assert await people.portal.rereads.count() == 1

        await people.portal.rereads.work_off()

        assert (await ben.sign_in("ben@acme.test")).status_code == 200


async def test_whoever_is_back_signs_in_again_with_the_role_of_anybody(people: Town):
    await people.portal.grants.invite("ben@acme.test", Role.SALES, by=System("test"))
    async with people.signed_in("ben@acme.test"):
        await people.sandbox.change("ben@acme.test", suspended=True)
        await people.portal.sync.run()
    await people.sandbox.change("ben@acme.test", suspended=False)

    await people.portal.sync.run()

    async with people.signed_in("ben@acme.test") as ben:
        assert (await ben.get("/people")).status_code == 200
    assert await account(people, "ben@acme.test") == ("member", False)
    assert "accounts.restored" in await people.audited()


async def test_a_removal_that_is_held_ends_nobodys_session(people: Town):
    """It may be a mistake of Google's, and somebody has to be able to say so."""
    async with people.signed_in("ben@acme.test") as ben:
        emails = await people.value(
            "SELECT array_agg(email) FROM (SELECT email FROM people WHERE removed_at IS NULL "
            "AND email NOT IN ('ada@acme.test', 'cy@acme.test', 'ben@acme.test') LIMIT 60) AS chosen"
        )
        await people.sandbox.tell(
            "people/many", {"emails": [*emails, "ben@acme.test"], "patch": {"deleted": True}}
        )

        run = await people.portal.sync.run()

        assert run is not None
        assert run.held == 61
        assert (await ben.get("/people")).status_code == 200


async def test_one_who_left_breaks_nothing_for_the_others(people: Town):
    manager = await people.value(
        "SELECT manager_email FROM people WHERE manager_email <> '' AND removed_at IS NULL LIMIT 1"
    )
    report = await people.value("SELECT google_id FROM people WHERE manager_email = %s LIMIT 1", manager)
    await people.sandbox.change(manager, deleted=True)

    await people.portal.sync.run()

    async with people.signed_in("cy@acme.test") as cy:
        for path in ("/", "/people", f"/people/{report}", "/people?status=deleted"):
            assert (await cy.get(path)).status_code == 200

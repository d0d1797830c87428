"""What happens between one step and the next: suspensions, renames and rotations that come in mid act."""

import asyncio
from datetime import timedelta

import psycopg
import pytest
from tests.town import Town, Visitor, eventually, past_the_triggers

from muster.access.account import Identity
from muster.access.gate import actor
from muster.access.roles import Permission, Role
from muster.errors import Conflict
from muster.platform import audit
from muster.platform.actor import Origin, System
from muster.platform.probe import Failed
from muster.platform.sessions import MOST_OF_ONE

TESTER = System("tester")
ADA, CY = "ada@acme.test", "cy@acme.test"


async def account(town: Town, email: str) -> int:
    found: int = await town.value("SELECT id FROM accounts WHERE email = %s ORDER BY id LIMIT 1", email)
    return found


async def google_id(town: Town, email: str) -> str:
    found: str = await town.value(
        "SELECT google_id FROM accounts WHERE email = %s ORDER BY id LIMIT 1", email
    )
    return found


async def suspend(town: Town, who: str) -> None:
    async with town.portal.database.transaction() as tx:
        await town.portal.accounts.suspend(tx, [who], because="left")


async def restore(town: Town, who: str) -> None:
    async with town.portal.database.transaction() as tx:
        await town.portal.accounts.restore(tx, [who])


async def test_a_role_given_while_a_suspension_waits_is_taken_by_it(town: Town):
    async with town.signed_in(CY):
        who, number = await google_id(town, CY), await account(town, CY)
        async with town.portal.database.transaction() as tx:
            await tx.execute("SELECT FROM accounts WHERE id = %s FOR UPDATE", [number])
            suspending = asyncio.create_task(suspend(town, who))
            await eventually(
                lambda: town.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            )
            await tx.execute("INSERT INTO account_roles VALUES (%s, 'admin', 'x')", [number])
        await suspending
        await restore(town, who)

        rights = await town.portal.rights.of(number)
        assert rights
        assert rights.roles == (Role.MEMBER,)


async def test_somebody_admitted_before_their_suspension_makes_no_token_after_it(town: Town):
    async with town.signed_in(CY):
        rights = await town.portal.rights.of(await account(town, CY))
        assert rights
        await suspend(town, await google_id(town, CY))

        with pytest.raises(Conflict):
            await town.portal.tokens.create(
                name="x",
                scopes=[Permission.SEE_PEOPLE.value],
                life=timedelta(days=1),
                by=actor(rights),
                origin=Origin(),
            )


async def test_a_role_given_to_a_group_while_somebody_leaves_it_does_not_stay_with_them(town: Town):
    await town.in_step()
    async with town.signed_in(CY) as cy:
        who = await google_id(town, CY)
        group = await town.value(
            "SELECT group_id FROM group_members WHERE member_id = %s ORDER BY 1 LIMIT 1", who
        )
        async with town.portal.database.transaction() as leaving:
            await leaving.execute("DELETE FROM group_members WHERE member_id = %s", [who])
            await town.portal.rights.members_changed(leaving)
            await town.portal.grants.grant_to_group(group, Role.AUDITOR, by=TESTER)
            assert (await cy.get("/checklist")).status_code == 200  # not committed yet

        assert (await cy.get("/checklist")).status_code == 403


async def test_a_role_goes_to_whoever_has_the_address_by_the_directory(town: Town):
    await town.in_step()
    async with town.signed_in(CY) as cy:
        await town.execute(
            "UPDATE people SET email = 'cyrus@acme.test' WHERE google_id = %s", await google_id(town, CY)
        )
        await town.portal.grants.grant("cyrus@acme.test", Role.AUDITOR, by=TESTER)

        assert (await cy.get("/checklist")).status_code == 200


async def test_a_role_is_taken_from_everybody_who_has_the_address(town: Town):
    async with town.signed_in(CY) as cy, town.signed_in(ADA) as ada:
        await town.portal.grants.grant(CY, Role.AUDITOR, by=TESTER)
        await town.execute(
            "INSERT INTO accounts (google_id, email, signed_in_at) VALUES ('999', %s, now())", CY
        )
        await ada.post("/admin/roles/revocations", {"holder": CY, "role": "auditor"})

        assert (await cy.get("/checklist")).status_code == 403


async def test_an_invitation_goes_to_the_first_who_comes_with_the_address_and_to_nobody_after(town: Town):
    await town.portal.grants.grant("new@acme.test", Role.AUDITOR, by=TESTER)
    async with town.signed_in(CY):
        came = Identity(google_id=await google_id(town, CY), email="new@acme.test", name="Cy")
        first = await town.portal.accounts.sign_in(came, Origin())
        later = Identity(google_id="424242", email="new@acme.test", name="Somebody else")
        second = await town.portal.accounts.sign_in(later, Origin())

        assert Role.AUDITOR in first.roles
        assert second.roles == (Role.MEMBER,)
        assert "accounts.invitation_claimed" in await town.audited()


async def rotated_twice(town: Town, visitor: Visitor) -> list[str]:
    """The three ids that one session had."""
    ids = [visitor.session_id or ""]
    for role in (Role.AUDITOR, Role.SALES):
        await town.portal.grants.grant(CY, role, by=TESTER)
        await visitor.get("/account")
        ids.append(visitor.session_id or "")
    assert len(set(ids)) == 3
    return ids


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_whichever_id_is_ended_all_that_the_session_had_are(town: Town, number: int):
    async with town.signed_in(CY) as cy, town.visitor() as thief:
        ids = await rotated_twice(town, cy)
        await town.portal.sessions.end(ids[number])

        for each in ids:
            answer = await thief.get("/account", headers={"cookie": f"muster_session={each}"})
            assert answer.status_code == 303


async def test_nobody_has_sessions_without_end(town: Town):
    async with town.signed_in(CY) as cy:
        number = await account(town, CY)
        for _ in range(MOST_OF_ONE + 5):
            async with town.visitor() as visitor:
                await visitor.sign_in(CY)
        assert len(await town.portal.sessions.list_of(number)) == MOST_OF_ONE
        assert (await cy.get("/account")).status_code == 303  # the one unseen for longest gave way


async def test_where_somebody_was_going_is_not_kept_without_end(town: Town):
    async with town.visitor() as visitor:
        await visitor.get("/sign-in/google?next=/" + "a" * 60_000)

    key = next(key for key in await town.keys() if ":attempt:" in key)
    assert (await town.portal.redis.memory_usage(key) or 0) < 4096


async def test_a_collector_gets_what_was_begun_earlier_and_committed_later(town: Town):
    async with town.signed_in(ADA) as ada:
        async with town.portal.database.transaction() as slow:
            await audit.record(slow, "test.slow", by=TESTER)
            async with town.portal.database.transaction() as quick:
                await audit.record(quick, "test.quick", by=TESTER)
            first = (await ada.get("/api/v1/audit?limit=200")).json()
        second = (await ada.get(f"/api/v1/audit?limit=200&after={first['after']}")).json()

        assert [one["action"] for one in second["entries"]] == ["test.slow"]


async def test_no_session_is_ended_without_a_trace(town: Town):
    async with town.signed_in(ADA) as ada, town.signed_in(CY) as cy:
        role = await town.value("SELECT current_user")
        await town.raw_execute(f"REVOKE INSERT ON audit_log FROM {role}")
        try:
            answer = await ada.post(f"/admin/sessions/{await account(town, CY)}/ended")
        finally:
            await town.raw_execute(f"GRANT INSERT ON audit_log TO {role}")

        assert answer.status_code == 503
        assert (await cy.get("/account")).status_code == 200


async def test_taking_everybodys_sessions_home_leaves_a_trace(town: Town):
    async with town.signed_in(ADA) as ada:
        await ada.get("/admin/sessions.csv")

    assert (await town.audited())[-1] == "sessions.exported"


async def test_the_portals_own_role_dates_no_entry_and_makes_up_no_proof(town: Town):
    await town.execute(
        "INSERT INTO audit_log (at, email, action, subject) VALUES ('2020-01-01', 'x', 'x.y', '')"
    )
    assert await town.value("SELECT now() - at < interval '1 minute' FROM audit_log")

    with pytest.raises(psycopg.errors.CheckViolation):
        await town.execute(
            "INSERT INTO audit_verifications (number, hash, is_full, took_ms) VALUES (99, 'x', true, 1)"
        )


async def test_an_entry_slipped_in_below_all_others_is_seen(town: Town):
    async with town.signed_in(ADA):
        await past_the_triggers(
            town.owner_url,
            "INSERT INTO audit_log (id, email, action, subject) OVERRIDING SYSTEM VALUE "
            "VALUES (-5, 'ada@acme.test', 'roles.granted', 'account:1')",
        )
        with pytest.raises(Failed, match="slipped in"):
            await town.portal.audit_log.verify()


async def test_guards_that_are_switched_off_are_missed(town: Town):
    await town.raw_execute("ALTER TABLE audit_log DISABLE TRIGGER audit_log_append_only")
    try:
        with pytest.raises(Failed, match="not all there"):
            await town.portal.audit_log.verify()
    finally:
        await town.raw_execute("ALTER TABLE audit_log ENABLE TRIGGER audit_log_append_only")

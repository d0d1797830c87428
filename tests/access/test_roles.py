"""Roles: given and taken, to people and to groups, and in force at the very next request everywhere."""

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tests.town import Town, Visitor, eventually, opened, problem, served

from muster.access.probe_account import ADDRESS
from muster.access.rights import RightsBook
from muster.access.roles import GRANTS, TITLES, Permission, Role, granted, label
from muster.embedded.valkey import Valkey
from muster.errors import Conflict, Invalid, NotFound
from muster.people.nesting import group_ids_of
from muster.platform.actor import System
from muster.platform.rights_cache import RightsCache
from muster.settings import Secret, Settings
from muster.wiring import portal

TESTER = System("tester")
CY = "cy@acme.test"


@contextlib.asynccontextmanager
async def twin_of(visitor: Visitor, settings: Settings) -> AsyncIterator[Visitor]:
    """The same browser's session, at another web process on the same servers."""
    async with (
        portal(settings, application="muster-other") as made,
        served(made, settings.port) as address,
        Visitor(address) as twin,
    ):
        twin.cookies.set("muster_session", visitor.session_id or "")
        yield twin


async def may_see_the_checklist(visitor: Visitor) -> bool:
    status = (await visitor.get("/checklist")).status_code
    assert status in {200, 403}
    return status == 200


async def test_a_role_counts_from_the_next_request_on_in_every_process(
    town: Town, new_settings: Callable[[], Settings]
):
    async with town.signed_in(CY) as cy, twin_of(cy, new_settings()) as twin:
        for _ in range(3):
            assert not await may_see_the_checklist(cy)
            await town.portal.grants.grant(CY, Role.AUDITOR, by=TESTER)
            assert await may_see_the_checklist(twin)
            twin.cookies.clear()
            assert await may_see_the_checklist(cy)
            await town.portal.grants.revoke(CY, Role.AUDITOR, by=TESTER)
            twin.cookies.set("muster_session", cy.session_id or "")
            assert not await may_see_the_checklist(cy)


async def test_what_one_process_reads_while_another_changes_it_is_not_kept(town: Town):
    async with town.signed_in(CY) as cy:
        account = await town.value("SELECT id FROM accounts WHERE email = %s", CY)
        cache = RightsCache(town.portal.redis)
        lease = await cache.lease(account)
        async with town.portal.database.reading() as statements:
            before = await town.portal.rights.read(statements, account)
        await town.portal.grants.grant(CY, Role.AUDITOR, by=TESTER)

        assert not await cache.keep(lease, msgspec.json.encode(before))
        assert await may_see_the_checklist(cy)


async def test_a_change_for_everybody_voids_what_was_being_read_too(town: Town):
    async with town.signed_in(CY) as cy:
        account = await town.value("SELECT id FROM accounts WHERE email = %s", CY)
        cache = RightsCache(town.portal.redis)
        lease = await cache.lease(account)
        async with town.portal.database.reading() as statements:
            before = await town.portal.rights.read(statements, account)
        await town.execute("INSERT INTO account_roles VALUES (%s, 'auditor', 'x')", account)
        await cache.forget_all()
        await cache.keep(lease, msgspec.json.encode(before))

        assert await may_see_the_checklist(cy)


async def test_a_process_that_dies_between_commit_and_telling_leaves_it_to_the_worker(town: Town):
    async with town.signed_in(CY) as cy:
        await may_see_the_checklist(cy)
        account = await town.value("SELECT id FROM accounts WHERE email = %s", CY)
        await town.execute("INSERT INTO account_roles VALUES (%s, 'auditor', 'x')", account)
        await town.execute("INSERT INTO rights_changes (account_id) VALUES (%s)", account)
        assert not await may_see_the_checklist(cy)  # as if it had died: nobody has told the cache

        assert await town.portal.rights.tell_again() >= 1

        assert await may_see_the_checklist(cy)
        assert await town.value("SELECT count(*) FROM rights_changes") == 0


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.stop()


async def test_a_role_taken_while_redis_is_away_is_gone_when_it_is_back(
    own_valkey: Valkey, settings: Settings
):
    async with opened(replace(settings, redis_url=Secret(own_valkey.url))) as town:
        await town.portal.grants.grant(CY, Role.AUDITOR, by=TESTER)
        async with town.signed_in(CY) as cy:
            assert await may_see_the_checklist(cy)
            own_valkey.stop()
            assert await town.portal.grants.revoke(CY, Role.AUDITOR, by=TESTER)
            assert (await cy.get("/checklist")).status_code == 503
            own_valkey.start()
            await eventually(lambda: all_told(town))

            assert not await may_see_the_checklist(cy)


async def all_told(town: Town) -> bool:
    return bool(await town.value("SELECT count(*) = 0 FROM rights_changes"))


async def test_a_group_gives_its_role_to_whoever_is_in_it_and_takes_it_from_whoever_leaves(town: Town):
    await town.in_step()
    group = await group_with(town, CY)
    async with town.signed_in(CY) as cy:
        assert not await may_see_the_checklist(cy)
        await town.portal.grants.grant_to_group(group, Role.AUDITOR, by=TESTER)
        assert await may_see_the_checklist(cy)
        async with town.portal.database.transaction() as tx:
            await tx.execute(
                "DELETE FROM group_members USING groups WHERE groups.google_id = group_id "
                "AND groups.email = %s AND member_id = (SELECT google_id FROM accounts WHERE email = %s)",
                [group, CY],
            )
            await town.portal.rights.members_changed(tx)
        assert not await may_see_the_checklist(cy)


async def group_with(town: Town, email: str) -> str:
    """A group that somebody is in directly, and not by being of the company."""
    found: str = await town.value(
        "SELECT groups.email FROM groups JOIN group_members ON groups.google_id = group_id "
        "JOIN people ON people.google_id = member_id WHERE people.email = %s ORDER BY 1 LIMIT 1",
        email,
    )
    return found


async def test_a_group_sync_that_sees_somebody_come_in_gives_them_the_role(town: Town):
    await town.in_step()
    group = "auditors@acme.test"
    await town.sandbox.tell("groups", {"email": group, "name": "Auditors"})
    await town.portal.groups.run()
    await town.portal.grants.grant_to_group(group, Role.AUDITOR, by=TESTER)
    async with town.signed_in(CY) as cy:
        assert not await may_see_the_checklist(cy)
        await town.sandbox.tell(f"groups/{group}", {"add": [CY]})
        await town.portal.groups.run()

        assert await may_see_the_checklist(cy)


async def test_a_group_within_a_group_counts_and_a_group_that_is_gone_does_not(town: Town):
    await town.in_step()
    inner = await group_with(town, CY)
    outer = await town.value("SELECT google_id FROM groups WHERE email <> %s ORDER BY email LIMIT 1", inner)
    await town.execute(
        "INSERT INTO group_members SELECT %s, google_id, 'group', email, 'MEMBER' FROM groups "
        "WHERE email = %s ON CONFLICT DO NOTHING",
        outer,
        inner,
    )
    await town.portal.grants.grant_to_group(outer, Role.AUDITOR, by=TESTER)
    async with town.signed_in(CY) as cy:
        assert await may_see_the_checklist(cy)
        await town.execute("UPDATE groups SET removed_at = now() WHERE google_id = %s", outer)
        await town.portal.rights.tell_again()
        async with town.portal.database.transaction() as tx:
            await town.portal.rights.members_changed(tx)
        assert not await may_see_the_checklist(cy)
        assert await town.portal.grants.revoke_from_group(outer, Role.AUDITOR, by=TESTER)


async def test_the_last_admin_stays(town: Town):
    await town.portal.grants.grant("ben@acme.test", Role.ADMIN, by=TESTER)
    async with town.signed_in("ben@acme.test"):
        with pytest.raises(Conflict, match="is the last admin"):
            await town.portal.grants.revoke("ben@acme.test", Role.ADMIN, by=TESTER)


async def test_an_invited_admin_who_never_came_does_not_count(town: Town):
    await town.portal.grants.grant("ben@acme.test", Role.ADMIN, by=TESTER)
    await town.portal.grants.grant(CY, Role.ADMIN, by=TESTER)
    async with town.signed_in("ben@acme.test"):
        with pytest.raises(Conflict, match="last admin"):
            await town.portal.grants.revoke("ben@acme.test", Role.ADMIN, by=TESTER)


async def test_of_two_admins_who_take_each_others_role_at_once_one_stays(town: Town):
    both = ("ben@acme.test", CY)
    for email in both:
        async with town.signed_in(email):
            pass
    for _ in range(20):
        for email in both:
            await town.portal.grants.grant(email, Role.ADMIN, by=TESTER)

        await asyncio.gather(
            *(town.portal.grants.revoke(email, Role.ADMIN, by=TESTER) for email in both),
            return_exceptions=True,
        )

        assert await town.value("SELECT count(*) FROM account_roles WHERE role = 'admin'") == 1


async def test_an_admin_of_the_settings_is_taken_out_there(town: Town):
    async with town.signed_in("ada@acme.test"):
        with pytest.raises(Conflict, match="ADMIN_EMAILS"):
            await town.portal.grants.revoke("ada@acme.test", Role.ADMIN, by=TESTER)


@pytest.mark.parametrize(
    ("email", "role", "refusal"),
    [
        ("mallory@evil.test", Role.SALES, Invalid),
        ("not an address", Role.SALES, Invalid),
        ("@acme.test", Role.SALES, Invalid),
        ("a@b@acme.test", Role.SALES, Invalid),
        (CY, Role.MEMBER, Invalid),
    ],
)
async def test_what_nobody_can_have_is_not_given(
    town: Town, email: str, role: Role, refusal: type[Exception]
):
    with pytest.raises(refusal):
        await town.portal.grants.grant(email, role, by=TESTER)

    assert await town.value("SELECT count(*) FROM account_roles") == 0


async def test_who_is_suspended_gets_no_role_and_who_is_unknown_loses_none(town: Town):
    async with town.signed_in(CY):
        await town.execute("UPDATE accounts SET suspended_at = now() WHERE email = %s", CY)
        with pytest.raises(Conflict, match="is suspended"):
            await town.portal.grants.grant(CY, Role.SALES, by=TESTER)
    with pytest.raises(NotFound):
        await town.portal.grants.revoke("nobody@acme.test", Role.SALES, by=TESTER)
    with pytest.raises(NotFound):
        await town.portal.grants.grant_to_group("nobody@acme.test", Role.SALES, by=TESTER)


async def test_a_role_that_this_release_does_not_know_grants_nothing(town: Town):
    async with town.signed_in(CY) as cy:
        await town.execute("INSERT INTO account_roles SELECT id, 'emperor', 'x' FROM accounts")
        async with town.portal.database.reading() as statements:
            account = await town.value("SELECT id FROM accounts WHERE email = %s", CY)
            rights = await town.portal.rights.read(statements, account)

        assert rights
        assert rights.roles == (Role.MEMBER,)
        assert not await may_see_the_checklist(cy)


async def test_a_grant_says_what_was_before_and_after(town: Town):
    await town.portal.grants.grant(CY, Role.SALES, by=TESTER)
    await town.portal.grants.grant(CY, Role.AUDITOR, by=TESTER)
    assert not await town.portal.grants.grant(CY, Role.AUDITOR, by=TESTER)

    before, after = await town.value(
        "SELECT jsonb_build_array(before, after) FROM audit_log WHERE action = 'roles.granted' "
        "ORDER BY id DESC LIMIT 1"
    )
    assert (before["roles"], after["roles"]) == (["sales"], ["auditor", "sales"])
    assert (await town.audited()).count("roles.granted") == 2


async def test_a_thousand_races_leave_nobody_with_what_they_may_no_longer_do(town: Town):
    """Readers of two processes read and keep all the while; after each change both are asked at once."""
    async with town.signed_in(CY):
        pass
    account = await town.value("SELECT id FROM accounts WHERE email = %s", CY)
    made = town.portal
    books = [
        made.rights,
        RightsBook(made.database, RightsCache(made.redis), made.busts, groups_of=group_ids_of),
    ]
    over = asyncio.Event()

    async def keep_reading(book: RightsBook) -> None:
        while not over.is_set():
            await book.of(account)

    readers = [asyncio.create_task(keep_reading(book)) for book in books for _ in range(2)]
    stale = 0
    for turn in range(500):
        change = made.grants.revoke if turn % 2 else made.grants.grant
        await change(CY, Role.AUDITOR, by=TESTER)
        for book in books:
            rights = await book.of(account, kept=await kept_for(town, account))
            assert rights
            stale += (Role.AUDITOR in rights.roles) == bool(turn % 2)
    over.set()
    await asyncio.gather(*readers)

    assert stale == 0


async def kept_for(town: Town, account: int) -> bytes | None:
    """What a request would be given along with its session."""
    body, epoch = await town.portal.redis.hmget(f"cache:rights:{account}", ["body", "epoch"])
    if not isinstance(body, bytes) or epoch != await town.portal.redis.get("cache:rights:epoch"):
        return None
    return body


LIVES = hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_who = st.sampled_from(["ben@acme.test", CY])
_role = st.sampled_from([Role.SALES, Role.AUDITOR, Role.OPERATIONS, Role.ADMIN])
_steps = st.one_of(
    st.tuples(st.just("grant"), _who, _role),
    st.tuples(st.just("revoke"), _who, _role),
    st.tuples(st.just("group"), st.booleans(), _role),
    st.tuples(st.just("join"), _who, st.booleans()),
    st.tuples(st.just("suspend"), _who),
    st.tuples(st.just("restore"), _who),
)


@dataclass
class Model:
    """What the two may do by what has happened so far."""

    own: dict[str, set[Role]] = field(default_factory=lambda: {"ben@acme.test": set(), CY: set()})
    members: set[str] = field(default_factory=set)
    group: set[Role] = field(default_factory=set)
    out: set[str] = field(default_factory=set)

    def roles(self, who: str) -> set[Role] | None:
        if who in self.out:
            return None
        return {Role.MEMBER} | self.own[who] | (self.group if who in self.members else set())


@LIVES
@given(steps=st.lists(_steps, min_size=6, max_size=25))
async def test_whatever_happens_to_roles_the_next_request_knows_it(town: Town, steps: list[tuple[Any, ...]]):
    await begin_lives(town)
    model = Model()
    made = town.portal
    for step in steps:
        await live(town, model, step)
        for who in model.own:
            account = await town.value("SELECT id FROM accounts WHERE email = %s", who)
            rights = await made.rights.of(account, kept=await kept_for(town, account))
            assert (set(rights.roles) if rights else None) == model.roles(who), (step, who)


async def begin_lives(town: Town) -> None:
    await town.execute("DELETE FROM group_roles")
    await town.execute("DELETE FROM account_roles")
    await town.execute("DELETE FROM group_members WHERE group_id = 'g1'")
    await town.execute(
        "INSERT INTO groups (google_id, email, name, description, aliases, direct_members, sort_name, "
        "search_text, etag) VALUES ('g1', 'g1@acme.test', '', '', '{}', 0, '', '', '') ON CONFLICT DO NOTHING"
    )
    for number, who in enumerate(("ben@acme.test", CY)):
        await town.execute(
            "INSERT INTO accounts (google_id, email) VALUES (%s, %s) "
            "ON CONFLICT (google_id) DO UPDATE SET suspended_at = NULL",
            f"person-{number}",
            who,
        )
    await town.portal.redis.flushdb()


async def live(town: Town, model: Model, step: tuple[Any, ...]) -> None:
    made = town.portal
    match step:
        case ("grant", who, role):
            with contextlib.suppress(Conflict):
                await made.grants.grant(who, role, by=TESTER)
                model.own[who].add(role)
        case ("revoke", who, role):
            with contextlib.suppress(Conflict):
                await made.grants.revoke(who, role, by=TESTER)
                model.own[who].discard(role)
        case ("group", True, role):
            await made.grants.grant_to_group("g1", role, by=TESTER)
            model.group.add(role)
        case ("group", False, role):
            await made.grants.revoke_from_group("g1", role, by=TESTER)
            model.group.discard(role)
        case ("join", who, comes):
            await join(town, who, comes=comes)
            (model.members.add if comes else model.members.discard)(who)
        case ("suspend", who):
            async with made.database.transaction() as tx:
                await made.accounts.suspend(tx, [await google_id(town, who)], because="left")
            model.out.add(who)
            model.own[who].clear()
        case ("restore", who):
            async with made.database.transaction() as tx:
                await made.accounts.restore(tx, [await google_id(town, who)])
            model.out.discard(who)


async def join(town: Town, who: str, *, comes: bool) -> None:
    async with town.portal.database.transaction() as tx:
        if comes:
            await tx.execute(
                "INSERT INTO group_members VALUES ('g1', %s, 'user', %s, 'MEMBER') ON CONFLICT DO NOTHING",
                [await google_id(town, who), who],
            )
        else:
            await tx.execute("DELETE FROM group_members WHERE member_id = %s", [await google_id(town, who)])
        await town.portal.rights.members_changed(tx)


async def google_id(town: Town, who: str) -> str:
    found: str = await town.value("SELECT google_id FROM accounts WHERE email = %s", who)
    return found


# The page


async def test_the_page_shows_the_table_and_who_has_what(town: Town):
    await town.portal.grants.grant("ben@acme.test", Role.SALES, by=TESTER)
    async with town.signed_in("ada@acme.test") as ada:
        page = (await ada.get("/admin/roles")).text

        assert all(TITLES[role].name in page for role in Role)
        assert all(permission.value.capitalize() in page.replace("&#39;", "'") for permission in Permission)
        assert "has not signed in yet" in page
        assert "ADMIN_EMAILS" in page
        assert ADDRESS not in page


async def test_the_page_gives_and_takes_and_shows_a_refusal_beside_the_form(town: Town):
    async with town.signed_in(CY), town.signed_in("ada@acme.test") as ada:
        given_ = await ada.post("/admin/roles/grants", {"holder": CY, "role": "auditor"})
        refused = await ada.post("/admin/roles/grants", {"holder": "x@evil.test", "role": "auditor"})
        unknown = await ada.post("/admin/roles/grants", {"holder": CY, "role": "emperor"})
        last = await ada.post("/admin/roles/revocations", {"holder": "ada@acme.test", "role": "admin"})
        taken = await ada.post("/admin/roles/revocations", {"holder": CY, "role": "auditor"})

        assert (given_.status_code, taken.status_code) == (303, 303)
        assert (refused.status_code, unknown.status_code, last.status_code) == (422, 422, 409)
        assert "Nobody of evil.test may sign in here" in refused.text
        assert "ADMIN_EMAILS" in last.text
    actions = await town.audited()
    assert actions.count("roles.revoked") == 1


async def test_a_group_that_holds_outsiders_needs_a_second_look(town: Town):
    await town.in_step()
    async with town.signed_in("ada@acme.test") as ada:
        fields = {"kind": "group", "holder": "partners@acme.test", "role": "sales"}
        warned = await ada.post("/admin/roles/grants", fields)
        given_ = await ada.post("/admin/roles/grants", {**fields, "is_sure": "true"})

        assert warned.status_code == 409
        assert "not people of the company" in warned.text
        assert given_.status_code == 303


@pytest.mark.parametrize(
    ("holder", "kind", "said"),
    [
        ("nobody@acme.test", "person", "The directory knows nobody with the address"),
        ("partners@acme.test", "person", "is the address of a group"),
        ("Other@Acme.test", "person", "is another address of cy@acme.test"),
        ("gone@acme.test", "person", "is suspended at Google"),
        ("everyone@acme.test", "group", "everybody in the company is in this group"),
        ("large@acme.test", "group", "60 people would have the role Sales: that is more than 50 at once."),
    ],
)
async def test_a_second_look_is_asked_for_and_enough(town: Town, holder: str, kind: str, said: str):
    await town.in_step()
    await town.execute("UPDATE people SET aliases = '{other@acme.test}' WHERE email = %s", CY)
    await town.execute(
        "UPDATE people SET email = 'gone@acme.test' "
        "WHERE google_id = (SELECT google_id FROM people WHERE status = 'suspended' LIMIT 1)"
    )
    await town.execute(
        "INSERT INTO groups (google_id, email, name, description, aliases, direct_members, sort_name, "
        "search_text, etag) VALUES ('large', 'large@acme.test', '', '', '{}', 0, '', '', '')"
    )
    await town.execute(
        "INSERT INTO group_members SELECT 'large', google_id, 'user', email, 'MEMBER' FROM people "
        "WHERE status = 'active' LIMIT 60"
    )
    async with town.signed_in("ada@acme.test") as ada:
        fields = {"kind": kind, "holder": holder, "role": "sales"}
        warned = await ada.post("/admin/roles/grants", fields)
        token = {"x-csrf-token": await ada.csrf(), "accept": "application/json"}
        by_program = await ada.request("POST", "/admin/roles/grants", json=fields, headers=token)
        given_ = await ada.post("/admin/roles/grants", {**fields, "is_sure": "true"})

        assert (warned.status_code, by_program.status_code, given_.status_code) == (409, 409, 303)
        assert said in warned.text
        assert "Yes, this is meant" in warned.text
        assert problem(by_program)["code"] == "needs_confirming"
        assert said in problem(by_program)["detail"]


async def test_whoever_is_here_or_signs_in_is_given_a_role_without_a_question(town: Town):
    await town.in_step()
    async with town.signed_in("ada@acme.test") as ada:
        given_ = await ada.post("/admin/roles/grants", {"holder": "BEN@acme.test", "role": "sales"})
        page = await ada.get(given_.headers["location"])
        made_up = await ada.get("/admin/roles?done=given&holder=cy@acme.test&role=admin")
        taken = await ada.post("/admin/roles/revocations", {"holder": "ben@acme.test", "role": "sales"})
        after = await ada.get(taken.headers["location"])

        assert "has the role Sales from the next click on." in page.text
        assert "cy@acme.test" not in made_up.text.replace('value="cy@acme.test"', "")
        assert "ben@acme.test no longer has the role Sales." in after.text


async def test_each_role_says_who_gave_it_and_when(town: Town):
    await town.in_step()
    for role, giver in ((Role.SALES, "first@acme.test"), (Role.AUDITOR, "second@acme.test")):
        await town.portal.grants.grant(CY, role, by=System(giver))
        await town.portal.grants.grant_to_group("partners@acme.test", role, by=System(giver))
    async with town.signed_in("ada@acme.test") as ada:
        page = (await ada.get("/admin/roles")).text
        table = (await ada.get("/admin/roles.csv")).text

    for name, giver in (("Sales", "first@acme.test"), ("Auditor", "second@acme.test")):
        assert len(re.findall(rf"<td[^>]*>{name}</td><td[^>]* class=\"[^\"]*\">by {giver}", page)) == 2
        assert re.search(rf"{CY}.*,{name.lower()},directly,{giver}", table)
        assert re.search(rf"partners@acme.test.*,{name.lower()},directly,{giver}", table)


@pytest.mark.parametrize("key", ["cache:rights:{}", "cache:rights:epoch", "cache:rate:read:account:{}"])
async def test_a_key_of_a_wrong_type_locks_nobody_out(town: Town, key: str):
    redis = town.portal.redis
    async with town.signed_in(CY) as cy:
        account = await town.value("SELECT id FROM accounts WHERE email = %s", CY)
        await cy.get("/people")
        await redis.delete(key.format(account))
        await redis.lpush(key.format(account), "planted")

        assert (await cy.get("/people")).status_code == 200
        assert await redis.type(key.format(account)) != b"list"
        assert await kept_for(town, account)


async def test_a_key_of_a_wrong_type_hides_nobody_whose_cached_rights_are_wrong(town: Town):
    redis = town.portal.redis
    async with town.signed_in("ada@acme.test") as ada, town.signed_in(CY) as cy:
        for visitor in (ada, cy):
            await visitor.get("/people")
        of_ada, of_cy = [
            await town.value("SELECT id FROM accounts WHERE email = %s", email)
            for email in ("ada@acme.test", CY)
        ]
        await redis.delete(f"cache:rights:{of_ada}")
        await redis.set(f"cache:rights:{of_ada}", "planted")
        body: Any = await redis.hget(f"cache:rights:{of_cy}", "body")
        await redis.hset(f"cache:rights:{of_cy}", "body", body.replace(b'"member"', b'"member","admin"'))

        assert await town.portal.rights.find_stale() == {of_cy: CY}


async def test_rights_that_are_kept_under_another_account_are_not_believed(town: Town):
    redis = town.portal.redis
    async with town.signed_in("ada@acme.test") as ada, town.signed_in(CY) as cy:
        for visitor in (ada, cy):
            await visitor.get("/people")
        of_ada, of_cy = [
            await town.value("SELECT id FROM accounts WHERE email = %s", email)
            for email in ("ada@acme.test", CY)
        ]
        body: Any = await redis.hget(f"cache:rights:{of_ada}", "body")
        await redis.hset(f"cache:rights:{of_cy}", "body", body)

        assert not await may_see_the_checklist(cy)


async def test_whoever_asks_why_is_told(town: Town):
    await town.in_step()
    group = await group_with(town, CY)
    await town.portal.grants.grant_to_group(group, Role.AUDITOR, by=TESTER)
    await town.portal.grants.grant(CY, Role.SALES, by=TESTER)
    async with town.signed_in(CY), town.signed_in("ada@acme.test") as ada:
        page = (await ada.get(f"/admin/roles?who={CY}")).text
        table = (await ada.get("/admin/roles.csv")).text

        assert "as one of <a href=" in page
        assert f"{CY},Cy" in table.replace('"', "") or CY in table
        assert f"group {group}" in table
        assert (await ada.get("/admin/roles?who=nobody@acme.test")).status_code == 200


@pytest.mark.parametrize("role", [one for one in Role if Permission.GRANT_ROLES not in GRANTS[one]])
async def test_nobody_but_an_admin_gives_roles(town: Town, role: Role):
    if role is not Role.MEMBER:
        await town.portal.grants.grant(CY, role, by=TESTER)
    async with town.signed_in(CY) as cy:
        answer = await cy.post("/admin/roles/grants", {"holder": CY, "role": "admin"})

        assert answer.status_code == 403
    assert await town.value("SELECT count(*) FROM account_roles WHERE role = 'admin'") == 0


def test_roles_add_up_and_the_weightiest_names_somebody():
    assert granted([Role.MEMBER, Role.AUDITOR]) == GRANTS[Role.MEMBER] | GRANTS[Role.AUDITOR]
    assert label(["sales", "member", "auditor"]) == "Auditor"
    assert label(["emperor"]) == "Member"
    assert GRANTS[Role.ADMIN] == frozenset(Permission)
    assert GRANTS.keys() == TITLES.keys() == set(Role)

"""The life of a session: it begins, gets another id, sits idle, is ended, and opens nothing afterwards."""

import asyncio
import html
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.town import Town, Visitor

from muster.access.account_page import device
from muster.access.roles import Role
from muster.platform.actor import System
from muster.platform.rate_limit import Limit
from muster.platform.sessions import Place, Session, Sessions, name_of, session_key

TESTER = System("tester")
_FREE = Limit(name="free", times=1_000_000, per=timedelta(minutes=1), fails_open=False)
CY = "cy@acme.test"
MAC = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/156.0.0.0 Safari/537.36"
)


async def is_in(visitor: Visitor) -> bool:
    return (await visitor.get("/people")).status_code == 200


async def with_id(town: Town, session_id: str | None) -> bool:
    async with town.visitor() as thief:
        answer = await thief.get("/people", headers={"cookie": f"muster_session={session_id}"})
        return answer.status_code == 200


async def test_a_day_after_signing_in_it_is_over_however_much_it_is_used(town: Town):
    async with town.signed_in(CY) as cy:
        key = session_key(cy.session_id or "")
        await town.portal.redis.pexpire(key, 300)
        while await town.portal.redis.exists(key):
            await is_in(cy)  # which must not make it longer

        assert not await is_in(cy)


async def test_when_rights_change_it_goes_on_under_another_id(town: Town):
    async with town.signed_in(CY) as cy:
        first, form = cy.session_id, await cy.csrf()
        await town.portal.grants.grant(CY, Role.AUDITOR, by=TESTER)
        assert await is_in(cy)

        assert cy.session_id != first
        assert await with_id(town, first)  # for what was on its way
        assert 0 < await town.portal.redis.pttl(session_key(first or "")) <= 10_000
        await town.portal.redis.delete(session_key(first or ""))
        assert not await with_id(town, first)
        answer = await cy.request("POST", "/account/sessions/ended", data={"csrf": form, "others": "true"})
        assert answer.status_code == 303  # a page that was open before still holds


async def test_two_requests_that_come_at_once_make_one_new_id(town: Town):
    async with town.signed_in(CY) as cy:
        await town.portal.grants.grant(CY, Role.AUDITOR, by=TESTER)
        cookie = {"cookie": f"muster_session={cy.session_id}"}
        async with town.visitor() as same:
            answers = await asyncio.gather(*(same.get("/people", headers=cookie) for _ in range(6)))

        assert {answer.status_code for answer in answers} == {200}
        assert sum("set-cookie" in answer.headers for answer in answers) == 1
        account = await town.value("SELECT id FROM accounts WHERE email = %s", CY)
        assert len(await town.portal.sessions.list_of(account)) == 1


async def test_ending_a_replaced_id_ends_what_replaced_it(town: Town):
    async with town.signed_in(CY) as cy:
        first = cy.session_id or ""
        await town.portal.grants.grant(CY, Role.AUDITOR, by=TESTER)
        assert await is_in(cy)

        await town.portal.sessions.end(first)

        assert not await is_in(cy)


async def test_your_sessions_are_listed_and_one_or_all_others_are_ended(town: Town):
    async with (
        town.signed_in(CY) as here,
        town.signed_in(CY) as there,
        town.signed_in(CY) as elsewhere,
        town.signed_in("ben@acme.test") as ben,
    ):
        page = (await here.get("/account")).text
        assert page.count('name="session"') == 2  # the one that asks is not offered

        ended = await here.post("/account/sessions/ended", {"session": name_of(there.session_id or "")})
        assert ended.status_code == 303
        assert [await is_in(one) for one in (here, there, elsewhere)] == [True, False, True]

        await here.post("/account/sessions/ended", {"others": "true"})
        assert [await is_in(one) for one in (here, elsewhere, ben)] == [True, False, True]
        assert (await town.audited())[-1] == "sessions.ended"


@pytest.mark.parametrize("name", ["all", "account:1", "", "x" * 64, "0" * 64, "../all", "attempt:x"])
async def test_what_names_no_session_of_yours_ends_nothing(town: Town, name: str):
    async with town.signed_in(CY) as cy:
        keys = await town.keys()
        answer = await cy.post("/account/sessions/ended", {"session": name})

        assert answer.status_code == 404
        assert {key for key in keys if key.startswith("sess:")} <= set(await town.keys())


async def test_your_own_session_is_known_and_stays_also_while_it_gets_another_id(town: Town):
    async with town.signed_in(CY) as cy:
        first, form = cy.session_id, await cy.csrf()
        await town.portal.grants.grant(CY, Role.AUDITOR, by=TESTER)
        await is_in(cy)
        renewed = cy.session_id
        assert renewed != first
        cy.cookies.clear()
        late = {"cookie": f"muster_session={first}"}  # set out before the other id was there

        page = (await cy.get("/account", headers=late)).text
        ended = await cy.request(
            "POST", "/account/sessions/ended", headers=late, data={"csrf": form, "others": "true"}
        )

        assert page.count("this one") == 1
        assert ended.status_code == 303
        assert await with_id(town, renewed)


async def test_no_page_links_to_what_one_may_not_see(town: Town):
    await town.portal.grants.grant(CY, Role.OPERATIONS, by=TESTER)
    async with town.signed_in(CY) as cy, town.signed_in("ada@acme.test") as ada:
        account = await town.value("SELECT id FROM accounts WHERE email = %s", CY)
        for path in (
            f"/admin/sessions/{account}",
            "/admin/sessions?q=nobody",
            f"/admin/roles?who={CY}",
            "/admin/settings",
            "/admin/reports",
        ):
            page = (await cy.get(path)).text
            links = set(re.findall(r'href="(/[^"#]*)"', page))
            for link in (html.unescape(one) for one in links if not one.startswith("/static/")):
                assert (await cy.get(link)).status_code != 403, (path, link)
        assert "/admin/audit" in (await ada.get(f"/admin/sessions/{account}")).text


async def test_somebody_elses_session_is_not_yours_to_end(town: Town):
    async with town.signed_in(CY) as cy, town.signed_in("ben@acme.test") as ben:
        answer = await cy.post("/account/sessions/ended", {"session": name_of(ben.session_id or "")})

        assert answer.status_code == 404
        assert await is_in(ben)


async def test_operations_see_everybodys_and_end_them(town: Town):
    await town.portal.grants.grant("ben@acme.test", Role.OPERATIONS, by=TESTER)
    async with town.signed_in(CY) as cy, town.signed_in("ben@acme.test") as ben:
        account = await town.value("SELECT id FROM accounts WHERE email = %s", CY)
        page = (await ben.get("/admin/sessions")).text
        assert f"/admin/sessions/{account}" in page
        assert cy.session_id
        assert cy.session_id not in page + (await ben.get(f"/admin/sessions/{account}")).text
        assert f"/admin/sessions/{account}" in (await ben.get("/admin/sessions?q=CY@acme")).text
        assert "Nobody who matches" in (await ben.get("/admin/sessions?q=zzz")).text
        assert CY in (await ben.get("/admin/sessions.csv")).text

        assert (await ben.post(f"/admin/sessions/{account}/ended")).status_code == 303
        assert not await is_in(cy)
        assert (await ben.post("/admin/sessions/999999/ended")).status_code == 404


async def test_an_auditor_sees_sessions_and_ends_none(town: Town):
    await town.portal.grants.grant("ben@acme.test", Role.AUDITOR, by=TESTER)
    async with town.signed_in(CY) as cy, town.signed_in("ben@acme.test") as ben:
        account = await town.value("SELECT id FROM accounts WHERE email = %s", CY)

        assert "End all" not in (await ben.get(f"/admin/sessions/{account}")).text
        assert (await ben.post(f"/admin/sessions/{account}/ended")).status_code == 403
        assert await is_in(cy)


async def test_the_list_of_all_loses_nobody_between_pages_even_of_one_moment(town: Town):
    moment = datetime.now(UTC)
    sessions = town.portal.sessions
    for number in range(120):
        at = moment - timedelta(milliseconds=number // 40)
        await sessions.start(Session(account_id=number % 3, sign_in=str(number), started_at=at))

    seen: list[str] = []
    place: Place | None = None
    while page := [one async for one in sessions.list_all(after=place)][:25]:
        seen += [one.session.sign_in for one in page]
        place = Place.of(page[-1])

    assert sorted(seen, key=int) == [str(number) for number in range(120)]


async def test_one_that_sat_idle_is_in_no_list(town: Town):
    async with town.signed_in(CY) as cy:
        account = await town.value("SELECT id FROM accounts WHERE email = %s", CY)
        await sit_idle(town, cy.session_id or "")

        assert await town.portal.sessions.list_of(account) == []
        assert [one async for one in town.portal.sessions.list_all()] == []
        assert not await is_in(cy)


async def sit_idle(town: Town, session_id: str) -> None:
    past = (await town.portal.redis.time())[0] * 1000 - 3_601_000
    await town.portal.redis.hset(session_key(session_id), "seen", past)


@pytest.mark.parametrize(
    ("told", "words"),
    [(MAC, "Chrome on Mac OS X"), ("curl/8.5", "curl"), ("", "an unknown device"), ("x" * 300, "x" * 40)],
)
def test_a_device_is_told_in_words(told: str, words: str):
    assert device(told) == words


LIVES = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
_number = st.integers(0, 5)
_steps = st.one_of(
    st.tuples(st.just("sign in")),
    st.tuples(st.just("use"), _number),
    st.tuples(st.just("idle"), _number),
    st.tuples(st.just("end"), _number),
    st.tuples(st.just("end others"), _number),
    st.tuples(st.just("end all")),
    st.tuples(st.just("rights"), st.sampled_from(["a", "b", "c"])),
)


@dataclass
class Life:
    """One account's sessions: the id each browser holds, and those that must open."""

    sessions: Sessions
    held: list[str] = field(default_factory=list)
    open: set[int] = field(default_factory=set)
    stamp: str = "a"

    async def do(self, town: Town, step: tuple[Any, ...]) -> None:
        number = step[1] if len(step) > 1 and isinstance(step[1], int) else 0
        match step[0]:
            case "sign in":
                session = Session(account_id=7, sign_in=str(len(self.held)), started_at=datetime.now(UTC))
                self.held.append(await self.sessions.start(session, stamp=self.stamp))
                self.open.add(len(self.held) - 1)
            case "rights":
                self.stamp = step[1]
            case "end all":
                await self.sessions.end_all(7)
                self.open.clear()
            case _ if number >= len(self.held):
                pass
            case "use":
                await self.use(number)
            case "idle":
                if number in self.open:
                    await sit_idle(town, self.held[number])
                self.open.discard(number)
            case "end":
                assert await self.sessions.end(self.held[number]) == (number in self.open)
                self.open.discard(number)
            case "end others" if number in self.open:
                await self.sessions.end_all(7, but=self.held[number])
                self.open = {number}

    async def use(self, number: int) -> None:
        """As the gate does: another id when the stamp is not that of today."""
        admission = await self.sessions.admit(self.held[number], "x", _FREE)
        assert (admission.session is not None) == (number in self.open)
        if admission.session and admission.stamp != self.stamp:
            renewed = await self.sessions.rotate(self.held[number], admission.session, stamp=self.stamp)
            assert renewed
            self.held[number] = renewed


@LIVES
@given(steps=st.lists(_steps, min_size=8, max_size=40))
async def test_in_whatever_order_exactly_those_open_that_should(town: Town, steps: list[tuple[Any, ...]]):
    await town.portal.redis.flushdb()
    life = Life(town.portal.sessions)
    for step in steps:
        await life.do(town, step)
        for number in range(len(life.held)):
            await life.use(number)
        listed = {one.session.sign_in for one in await life.sessions.list_of(7)}
        assert listed == {str(number) for number in life.open}
        assert {one.session.sign_in async for one in life.sessions.list_all()} == listed

"""Every route of the table, tried by those who may not. A new route is here without anybody adding it."""

import asyncio
import base64
from collections.abc import Awaitable, Callable

import pytest
from tests.access.routes import address, closed, unsafe
from tests.town import Town, Visitor

from muster.access.roles import GRANTS, Permission, Role
from muster.platform.actor import System
from muster.platform.sessions import session_key

ADMIN = "ada@acme.test"


async def test_there_are_routes_to_try(town: Town):
    assert len(closed(town)) >= 9
    assert len(unsafe(town)) >= 3


@pytest.mark.parametrize("cookie", [None, "unknown-session", "", "a" * 4000, "\x7f", "../../etc"], ids=repr)
async def test_without_a_session_nothing_opens(town: Town, cookie: str | None):
    async with town.visitor() as stranger:
        headers = {} if cookie is None else {"cookie": f"muster_session={cookie}"}
        for route in closed(town):
            response = await stranger.request(route.method, address(route), headers=headers)

            assert response.status_code in {303, 400, 401}, (route.method, route.path)
            if response.status_code == 303:
                assert response.headers["location"].startswith("/sign-in")


async def idle(town: Town, visitor: Visitor) -> None:
    hour_ago = int((await town.portal.redis.time())[0] - 3601) * 1000
    await town.portal.redis.hset(session_key(visitor.session_id or ""), "seen", hour_ago)


async def a_day_old(town: Town, visitor: Visitor) -> None:
    await town.portal.redis.pexpire(session_key(visitor.session_id or ""), 1)
    await asyncio.sleep(0.01)


async def signed_out(_: Town, visitor: Visitor) -> None:
    kept = visitor.session_id or ""
    await visitor.post("/sign-out")
    visitor.cookies.set("muster_session", kept)


async def ended_by_an_admin(town: Town, _: Visitor) -> None:
    await town.portal.sessions.end_all(
        await town.value("SELECT id FROM accounts WHERE google_id IS NOT NULL")
    )


async def of_somebody_suspended(town: Town, _: Visitor) -> None:
    async with town.portal.database.transaction() as tx:
        ids = await tx.column("SELECT google_id FROM accounts WHERE google_id IS NOT NULL")
        await town.portal.accounts.suspend(tx, ids, because="left")


async def of_another_release(town: Town, visitor: Visitor) -> None:
    await town.portal.redis.hset(session_key(visitor.session_id or ""), "session", b'{"role":"admin"}')


@pytest.mark.parametrize(
    "end", [idle, a_day_old, signed_out, ended_by_an_admin, of_somebody_suspended, of_another_release]
)
async def test_a_session_that_is_over_opens_nothing(
    town: Town, end: Callable[[Town, Visitor], Awaitable[None]]
):
    async with town.signed_in("ada@acme.test") as ada:
        token = await ada.csrf()
        await end(town, ada)

        for route in closed(town):
            response = await ada.request(route.method, address(route), headers={"x-csrf-token": token})
            assert response.status_code in {303, 401}, (route.method, route.path)
            assert response.headers.get("location", "/sign-in").startswith("/sign-in"), route.path


@pytest.mark.parametrize("role", [one for one in Role if one is not Role.ADMIN])
async def test_a_role_opens_what_its_row_of_the_table_says_and_nothing_else(town: Town, role: Role):
    if role is not Role.MEMBER:
        await town.portal.grants.grant("cy@acme.test", role, by=System("tester"))
    async with town.signed_in("cy@acme.test") as cy:
        token = await cy.csrf()
        before = await town.audited()
        beyond = [route for route in closed(town) if Permission(route.may) not in GRANTS[role]]
        assert beyond
        for route in beyond:
            response = await cy.request(route.method, address(route), headers={"x-csrf-token": token})
            assert response.status_code == 403, (route.method, route.path)
        within = [route for route in closed(town) if route not in beyond and route.method == "GET"]
        for route in within:
            response = await cy.get(address(route))
            assert response.status_code not in {401, 403, 500, 503}, (route.method, route.path)
        after = [action for action in await town.audited() if action not in before]
        assert set(after) <= {"audit.exported", "roles.exported", "sessions.exported"}


async def test_tokens_differ_from_page_to_page_and_all_hold(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        first, second = await ada.csrf(), await ada.csrf()

        assert first != second
        for token in (first, second):
            response = await ada.request("POST", "/people/syncs", headers={"x-csrf-token": token})
            assert response.status_code == 303


@pytest.mark.parametrize(
    "query",
    [
        "sort=nonsense",
        "status=nonsense",
        "after=%%%",
        "after=AAAA",
        "after=W10",
        "before=" + "A" * 3000,
        "limit=-1",
        "limit=many",
        "before=99999999999999999999999999",
        "before=x",
        "q=%00",
        "q=" + "%F0%9F%A6%8A" * 50,
        "q=%ff%fe",
        "department=%00",
        "next=//evil.test",
        "state[]=a&state[]=b",
        "a=b&a=b&=&&&",
    ],
)
async def test_malformed_queries_are_answered_without_a_fault_of_ours(town: Town, query: str):
    async with town.signed_in(ADMIN) as ada:
        for route in [one for one in town.portal.routes if one.method == "GET" and not one.bare]:
            response = await ada.get(f"{address(route)}?{query}")
            assert response.status_code < 500, (route.path, response.text[:300])


async def test_other_methods_and_addresses_get_a_page_that_says_so(town: Town):
    async with town.signed_in("cy@acme.test") as cy:
        assert (await cy.request("DELETE", "/people")).status_code == 405
        missing = await cy.get("/no/such/place")
        assert missing.status_code == 404
        assert missing.headers["x-request-id"] in missing.text


async def test_every_answer_carries_the_protective_headers(town: Town):
    async with town.visitor() as visitor:
        for path in ("/sign-in", "/no/such/place", "/people", "/static/app.css", "/livez", "/api/v1/people"):
            headers = (await visitor.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff", path
            assert "frame-ancestors 'none'" in headers["content-security-policy"], path
            assert headers["cross-origin-opener-policy"] == "same-origin", path
            assert headers["x-request-id"], path


async def test_one_caller_uses_up_its_own_allowance_only(town: Town):
    async with town.signed_in("cy@acme.test") as cy, town.signed_in("ada@acme.test") as ada:
        token = {"x-csrf-token": await cy.csrf()}
        statuses = [await _post(cy, token) for _ in range(300)]  # of which 120 a minute are granted

        assert set(statuses[:120]) == {403}
        assert 429 in statuses
        last = await cy.request("POST", "/people/syncs", headers=token)
        assert int(last.headers["retry-after"]) >= 1
        assert "r=0" in last.headers["ratelimit"]
        assert (await ada.request("POST", "/people/syncs")).status_code == 403


async def _post(visitor: Visitor, headers: dict[str, str]) -> int:
    return (await visitor.request("POST", "/people/syncs", headers=headers)).status_code


async def test_addresses_that_nothing_can_have_are_not_found(town: Town):
    async with town.signed_in("cy@acme.test") as cy:
        for path in ("/people/%00", "/people/syncs/99999999999999999999", "/people/" + "9" * 3000):
            assert (await cy.get(path)).status_code == 404, path


async def test_addresses_that_cannot_be_taken_apart_do_no_harm(town: Town):
    await town.portal.sync.run()
    async with town.signed_in("ada@acme.test") as ada:
        token = await ada.csrf()
        assert (await ada.get("/sign-in?next=http://[x")).status_code == 200
        forged = await ada.request(
            "POST", "/people/syncs", headers={"origin": "http://[x", "x-csrf-token": token}
        )
        assert forged.status_code == 403
        cursor = base64.urlsafe_b64encode(b'["joined","xx","1"]').decode()
        assert (await ada.get(f"/people?sort=joined&after={cursor}")).status_code == 422

"""Tokens of scripts: shown once, kept as a hash, good for what they were made for and no longer."""

import re
from typing import Any

import httpx2
import pytest
from tests.town import Town, Visitor, problem

from muster.access.roles import Permission, Role
from muster.platform.actor import System

TESTER = System("tester")
CY = "cy@acme.test"
SEE_PEOPLE = Permission.SEE_PEOPLE.value


async def token_of(visitor: Visitor, *scopes: str, name: str = "a script", days: int = 30) -> str:
    """A token made on the page, as its owner is shown it."""
    answer = await visitor.request(
        "POST",
        "/account/tokens",
        data={"csrf": await visitor.csrf(), "name": name, "days": str(days), "scope": list(scopes)},
        headers={"origin": visitor.base_url},
    )
    found = re.search(r"muster_[\w-]{43}", answer.text)
    assert found, answer.text[:2000]
    return found.group()


async def ask(town: Town, token: str, path: str = "/api/v1/people", **headers: str) -> httpx2.Response:
    return await town.raw.get(
        f"{town.base_url}{path}",
        headers={"authorization": f"Bearer {token}", "accept": "application/json", **headers},
    )


async def test_a_script_reads_what_its_owner_may(town: Town):
    await town.portal.sync.run()
    async with town.signed_in(CY) as cy:
        token = await token_of(cy, SEE_PEOPLE)

    answer = await ask(town, token)

    assert answer.status_code == 200
    assert answer.json()["total"] > 400
    assert "set-cookie" not in answer.headers
    assert answer.headers["ratelimit"]


async def test_what_the_database_keeps_signs_nobody_in(town: Town):
    async with town.signed_in(CY) as cy:
        token = await token_of(cy, SEE_PEOPLE)
        again = (await cy.get("/account")).text

        kept = await town.value("SELECT row_to_json(api_tokens)::text FROM api_tokens")
        assert token not in kept
        assert token[10:40] not in kept
        assert token not in again
        assert f"…{token[-4:]}" in again
    told = await town.value("SELECT string_agg(row_to_json(audit_log)::text, '') FROM audit_log")
    assert token not in told
    assert not [key for key in await town.keys() if token in key]


@pytest.mark.parametrize(
    "header",
    [
        "Bearer muster_" + "x" * 43,
        "Bearer muster_short",
        "Bearer",
        "",
        "Basic YWRhOmFkYQ==",
        "bearer\tmuster_",
        "Bearer " + "muster_" * 500,
        "Bearer muster_" + "é" * 43,
    ],
)
async def test_what_is_no_token_opens_nothing_even_with_a_good_session(town: Town, header: str):
    async with town.signed_in("ada@acme.test") as ada:
        answer = await ada.get("/api/v1/people", headers={"authorization": header.encode()})

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE api_tokens SET expires_at = now() - interval '1 second'",
        "UPDATE api_tokens SET revoked_at = now()",
        "UPDATE accounts SET suspended_at = now() WHERE email = 'cy@acme.test'",
    ],
)
async def test_a_token_ends_at_once(town: Town, ending: str):
    async with town.signed_in(CY) as cy:
        token = await token_of(cy, SEE_PEOPLE)
    assert (await ask(town, token)).status_code == 200

    await town.execute(ending)

    assert (await ask(town, token)).status_code == 401


async def test_revoking_it_on_the_page_ends_it(town: Town):
    async with town.signed_in(CY) as cy, town.signed_in("ben@acme.test") as ben:
        token = await token_of(cy, SEE_PEOPLE)
        number = await town.value("SELECT id FROM api_tokens")
        assert (await ben.post(f"/account/tokens/{number}/revocation")).status_code == 404
        assert (await ask(town, token)).status_code == 200

        assert (await cy.post(f"/account/tokens/{number}/revocation")).status_code == 303

        assert (await ask(town, token)).status_code == 401
        assert (await town.audited())[-1] == "tokens.revoked"


async def test_a_token_does_what_its_scopes_and_its_owners_roles_both_allow(town: Town):
    await town.portal.grants.grant(CY, Role.AUDITOR, by=TESTER)
    async with town.signed_in(CY) as cy:
        narrow = await token_of(cy, SEE_PEOPLE)
        broad = await token_of(cy, SEE_PEOPLE, Permission.SEE_AUDIT.value)

    refused = await ask(town, narrow, "/api/v1/audit")
    assert refused.status_code == 403
    assert problem(refused)["detail"] == (
        "This token may not read the audit log: it was made without that scope."
    )
    assert (await ask(town, broad, "/api/v1/audit")).status_code == 200
    await town.portal.grants.revoke(CY, Role.AUDITOR, by=TESTER)
    refused = await ask(town, broad, "/api/v1/audit")
    assert refused.status_code == 403
    assert "its owner's roles no longer allow it" in problem(refused)["detail"]
    assert (await ask(town, broad)).status_code == 200


async def test_an_address_that_leads_nowhere_is_not_found_whoever_asks(town: Town):
    async with town.signed_in(CY) as cy:
        token = await token_of(cy, SEE_PEOPLE)
        with_session = await cy.get("/api/v1/unknown")
    with_token = await ask(town, token, "/api/v1/unknown")
    with_none = await town.raw.get(f"{town.base_url}/api/v2/people")

    for answer in (with_session, with_token, with_none):
        assert answer.status_code == 404
        assert problem(answer)["code"] == "not_found"


async def test_only_what_opens_something_is_offered(town: Town):
    asked = {
        one.value
        for route in town.portal.routes
        if route.path.startswith("/api/v1/")
        for one in (route.may, *route.shows)
    }
    async with town.signed_in("ada@acme.test") as ada:
        offered = set(re.findall(r'name="scope" value="([^"]+)"', (await ada.get("/account")).text))

    assert offered == asked
    assert Permission.SEE_AUDIT in offered
    assert Permission.GRANT_ROLES not in offered


async def test_a_scope_beside_a_routes_own_shows_more_of_the_answer(town: Town):
    await town.in_step()
    person = await town.value("SELECT google_id FROM people WHERE email = %s", CY)
    async with town.signed_in("ada@acme.test") as ada:
        narrow = await token_of(ada, SEE_PEOPLE)
        broad = await token_of(ada, *town.portal.tokens.scopes)

    less = (await ask(town, narrow, f"/api/v1/people/{person}")).json()
    more = (await ask(town, broad, f"/api/v1/people/{person}")).json()

    assert {"last_login_at", "emails", "custom_schemas", "enrolled_2sv"} <= more.keys() - less.keys()


async def test_a_token_is_for_the_interface_of_programs_and_for_its_header_alone(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        token = await token_of(ada, *town.portal.tokens.scopes)

    assert (await ask(town, token, "/people")).status_code in {303, 401}
    assert (await ask(town, token, "/people.csv")).status_code in {303, 401}
    assert (await ask(town, token, "/account")).status_code in {303, 401}
    in_address = await town.raw.get(f"{town.base_url}/api/v1/people?access_token={token}&token={token}")
    assert in_address.status_code == 401


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": "x" * 61}, "needs a name"),
        ({"days": "0"}, "lives from 1 to 365 days"),
        ({"days": "9999"}, "lives from 1 to 365 days"),
        ({"scope": []}, "tick at least one box"),
        ({"scope": ["read the audit log"]}, "cannot give a token what you may not do"),
        ({"scope": ["fly"]}, "cannot give a token what you may not do"),
    ],
)
async def test_a_token_that_cannot_be_is_refused_on_the_page(town: Town, fields: dict[str, Any], said: str):
    async with town.signed_in(CY) as cy:
        form = {"csrf": await cy.csrf(), "name": "x", "days": "30", "scope": [SEE_PEOPLE], **fields}
        answer = await cy.request("POST", "/account/tokens", data=form, headers={"origin": cy.base_url})

        assert answer.status_code == 422
        assert said in answer.text
    assert await town.value("SELECT count(*) FROM api_tokens") == 0


async def test_a_scope_that_opens_nothing_is_refused(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        form = {"csrf": await ada.csrf(), "name": "x", "days": "30", "scope": Permission.CLEAR_REPORTS.value}
        answer = await ada.request("POST", "/account/tokens", data=form, headers={"origin": ada.base_url})

        assert answer.status_code == 422
        assert "Nothing under /api/v1 asks for this" in answer.text
    assert await town.value("SELECT count(*) FROM api_tokens") == 0


async def test_there_are_not_more_than_twenty(town: Town):
    async with town.signed_in(CY) as cy:
        await token_of(cy, SEE_PEOPLE)
        await town.execute(
            "INSERT INTO api_tokens (account_id, name, digest, last_four, scopes, expires_at) "
            "SELECT account_id, name, n::text::bytea, '', '{}', now() + interval '1 day' "
            "FROM api_tokens, generate_series(1, 19) AS n"
        )
        form = {"csrf": await cy.csrf(), "name": "x", "days": "30", "scope": [SEE_PEOPLE]}
        answer = await cy.request("POST", "/account/tokens", data=form, headers={"origin": cy.base_url})

        assert answer.status_code == 422
        assert "the most there may be" in answer.text


async def test_its_use_is_noted_once_a_minute_and_told_in_the_log(town: Town):
    async with town.signed_in(CY) as cy:
        token = await token_of(cy, SEE_PEOPLE)
    noted = "SELECT xmin::text FROM api_tokens"
    for _ in range(3):
        await ask(town, token)
    first = await town.value(noted)
    await ask(town, token)

    assert await town.value(noted) == first
    assert await town.value("SELECT last_used_by FROM api_tokens") == "127.0.0.1"
    await town.execute("UPDATE api_tokens SET last_used_at = now() - interval '2 minutes'")
    await ask(town, token)
    assert await town.value("SELECT now() - last_used_at < interval '1 minute' FROM api_tokens")


async def test_a_token_never_comes_into_the_process_log(town: Town, caplog: pytest.LogCaptureFixture):
    async with town.signed_in(CY) as cy:
        token = await token_of(cy, SEE_PEOPLE)
    with caplog.at_level("DEBUG"):
        await ask(town, token)
        await ask(town, token[:-1] + "x")

    assert token not in caplog.text
    assert token[:-1] not in caplog.text

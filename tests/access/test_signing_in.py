"""Signing in and out, and what a session is."""

import hashlib
from urllib.parse import parse_qs, urlsplit

import httpx2
from tests.town import Town, path_of

from muster.access.google_signin import GoogleSignIn
from muster.access.roles import Role
from muster.access.web import safe_path
from muster.platform.actor import System
from muster.platform.vault import Vault


async def test_a_colleague_signs_in_and_lands_where_they_were_going(town: Town):
    async with town.visitor() as ada:
        response = await ada.sign_in("ada@acme.test", "/people")

        assert response.status_code == 200
        assert path_of(str(response.url)) == "/people"
        assert ada.session_id


async def test_a_page_without_a_session_leads_to_sign_in_and_back(town: Town):
    async with town.visitor() as stranger:
        response = await stranger.get("/people?q=zoe")

        assert response.status_code == 303
        assert response.headers["location"] == "/sign-in?next=%2Fpeople%3Fq%3Dzoe"


async def test_a_program_without_a_session_is_told_so_in_json(town: Town):
    async with town.visitor() as program:
        response = await program.get("/api/v1/people", headers={"accept": "application/json"})

        assert response.status_code == 401
        assert response.json()["code"] == "not_signed_in"
        assert response.json()["requestId"] == response.headers["x-request-id"]


async def test_the_admin_of_the_settings_is_an_admin_and_the_record_says_so(town: Town):
    async with town.signed_in("ada@acme.test"):
        role = await town.value("SELECT string_agg(role, ',') FROM account_roles")

        assert role == "admin"
        assert await town.audited() == ["accounts.created", "roles.granted", "accounts.signed_in"]


async def test_somebody_invited_signs_in_with_the_role_they_were_given(town: Town):
    await town.portal.grants.invite("Ben@acme.test", Role.SALES, by=System("test"))

    async with town.signed_in("ben@acme.test"):
        assert await town.value("SELECT string_agg(role, ',') FROM account_roles") == "sales"
        assert await town.value("SELECT count(*) FROM accounts") == 1


async def test_inviting_twice_changes_nothing(town: Town):
    await town.portal.grants.invite("ben@acme.test", Role.SALES, by=System("test"))
    await town.portal.grants.invite("ben@acme.test", Role.ADMIN, by=System("test"))

    assert await town.value("SELECT array_agg(role) FROM account_roles") == ["sales"]
    assert await town.audited() == ["accounts.invited", "roles.granted"]


async def test_an_account_follows_its_person_through_a_change_of_address(town: Town):
    async with town.signed_in("cy@acme.test"):
        first = await town.value("SELECT id FROM accounts")
    await town.sandbox.change("cy@acme.test", primaryEmail="cy.new@acme.test")

    async with town.signed_in("cy.new@acme.test"):
        assert await town.value("SELECT array_agg(id) FROM accounts") == [first]
        assert await town.value("SELECT email FROM accounts") == "cy.new@acme.test"


async def test_a_reissued_address_does_not_open_the_account_of_whoever_had_it(town: Town):
    async with town.signed_in("cy@acme.test"):
        pass
    await town.sandbox.change("cy@acme.test", primaryEmail="old.cy@acme.test")
    await town.sandbox.change("old.cy@acme.test", aliases=[])
    await town.sandbox.tell("people", {"primaryEmail": "cy@acme.test", "name": {"givenName": "New"}})

    async with town.signed_in("cy@acme.test"):
        assert await town.value("SELECT count(*) FROM accounts") == 2


async def test_signing_out_ends_the_session_on_the_server(town: Town):
    async with town.signed_in("cy@acme.test") as cy:
        stolen = cy.session_id
        response = await cy.post("/sign-out")

        assert response.headers["location"] == "/sign-in"
        assert cy.session_id is None
        replayed = await cy.get("/", headers={"cookie": f"muster_session={stolen}"})
        assert replayed.status_code == 303
        assert (await town.audited())[-1] == "accounts.signed_out"


async def test_redis_holds_the_hash_of_a_session_and_never_its_id(town: Town):
    async with town.signed_in("cy@acme.test") as cy:
        session_id = cy.session_id or ""
        digest = hashlib.sha256(session_id.encode()).hexdigest()

        keys = await town.keys()
        assert f"sess:{digest}" in keys
        assert not any(session_id in key for key in keys)
        assert 86_000_000 < await town.portal.redis.pttl(f"sess:{digest}") <= 86_400_000


async def test_every_key_is_of_one_of_the_three_namespaces(town: Town):
    async with town.signed_in("ada@acme.test") as ada, town.working():
        await ada.post("/people/syncs")

        assert {key.split(":")[0] for key in await town.keys()} == {"sess", "cache", "queue"}


async def test_a_session_id_from_before_signing_in_is_worth_nothing_after(town: Town):
    async with town.signed_in("cy@acme.test") as cy:
        before = cy.session_id
        await cy.sign_in("cy@acme.test")

        assert cy.session_id != before
        replayed = await cy.get("/", headers={"cookie": f"muster_session={before}"})
        assert replayed.status_code == 303


async def test_cookies_are_out_of_reach_of_scripts_and_other_sites(town: Town):
    async with town.visitor() as visitor:
        begun = await visitor.get("/sign-in/google?login_hint=cy@acme.test")

        cookie = begun.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "path=/" in cookie


async def test_sign_in_says_so_when_google_is_away(town: Town):
    await town.sandbox.tell(
        "faults", {"path": "/.well-known/openid-configuration", "kind": "backendError", "times": 1}
    )
    async with town.visitor() as visitor:
        response = await visitor.get("/sign-in/google")

        assert response.status_code == 503
        assert "Google" in response.text
        assert response.headers["x-request-id"] in response.text


async def test_a_new_signing_key_of_google_is_fetched_when_first_seen(town: Town):
    async with town.signed_in("cy@acme.test"):
        pass
    await town.sandbox.tell("keys/rotate")

    async with town.signed_in("cy@acme.test") as cy:
        assert cy.session_id


def test_next_never_leads_away_from_the_portal():
    for away in (
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test",
        "\\\\evil.test",
        "javascript:alert(1)",
        "/people\r\nset-cookie: x=y",
        "people",
        "",
        "/\tevil",
        "http:/evil.test",
    ):
        assert safe_path(away) == "/", away
    assert safe_path("/people?q=a&sort=-name") == "/people?q=a&sort=-name"


async def test_google_is_always_told_to_ask_which_account(town: Town):
    """Another site's link must not sign anybody in by itself, whoever it hints at."""
    issuer = "https://accounts.google.com"
    described = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/o/oauth2/v2/auth",
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/keys",
    }
    answering = httpx2.MockTransport(lambda _: httpx2.Response(200, json=described))
    async with httpx2.AsyncClient(transport=answering) as http:
        google = GoogleSignIn(
            http,
            town.portal.redis,
            Vault("k" * 40),
            issuer=issuer,
            client_id="id",
            client_secret="secret",
            allowed_domains=["acme.test"],
        )
        begun = await google.begin(
            next_path="/", redirect_uri="https://portal.example/x", login_hint="cy@acme.test"
        )

    query = parse_qs(urlsplit(begun.url).query)
    assert query["prompt"] == ["select_account"]
    assert query["login_hint"] == ["cy@acme.test"]

"""Sign-ins that must not work: forged tokens, foreign flows, the wrong people. None may leave a session."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from tests.town import Town, Visitor, served

from muster.settings import Secret, Settings
from muster.wiring import portal

NOW = int(time.time())

FORGERIES: dict[str, dict[str, Any]] = {
    "no hd": {"claims": {"hd": None}},
    "wrong hd": {"claims": {"hd": "evil.test"}},
    "empty hd": {"claims": {"hd": ""}},
    "hd of a subdomain": {"claims": {"hd": "sub.acme.test"}},
    "hd that only ends alike": {"claims": {"hd": "notacme.test"}},
    "hd with the domain as a prefix": {"claims": {"hd": "acme.test.evil.test"}},
    "hd as a list": {"claims": {"hd": ["acme.test"]}},
    "e-mail not verified": {"claims": {"email_verified": False}},
    "e-mail verified by word": {"claims": {"email_verified": "true"}},
    "e-mail verification missing": {"claims": {"email_verified": None}},
    "no e-mail": {"claims": {"email": None}},
    "expired": {"claims": {"iat": NOW - 7200, "exp": NOW - 3600}},
    "expired a minute ago": {"claims": {"exp": NOW - 60}},
    "no expiry": {"claims": {"exp": None}},
    "issued in the future": {"claims": {"iat": NOW + 3600, "exp": NOW + 7200}},
    "no time of issue": {"claims": {"iat": None}},
    "not valid yet": {"claims": {"nbf": NOW + 3600}},
    "wrong audience": {"claims": {"aud": "another-client"}},
    "no audience": {"claims": {"aud": None}},
    "audience of others": {"claims": {"aud": ["another-client", "a-third"]}},
    "authorised party of others": {"claims": {"azp": "another-client"}},
    "wrong issuer": {"claims": {"iss": "https://accounts.evil.test"}},
    "issuer of the real Google": {"claims": {"iss": "https://accounts.google.com"}},
    "no issuer": {"claims": {"iss": None}},
    "no subject": {"claims": {"sub": None}},
    "subject as a number": {"claims": {"sub": 1}},
    "foreign nonce": {"claims": {"nonce": "somebody-elses"}},
    "no nonce": {"claims": {"nonce": None}},
    "empty nonce": {"claims": {"nonce": ""}},
    "signed by a stranger": {"key": "unknown"},
    "signed by a stranger under a known key id": {"key": "other-same-kid"},
    "HS256 with the public key": {"key": "hs256-with-public-key"},
    "not signed at all": {"key": "none"},
    "no key id": {"header": {"kid": None}},
    "not a token": {"response": {"id_token": "not.a.token"}},
    "an empty token": {"response": {"id_token": ""}},
    "a token without signature": {"response": {"id_token": "eyJhbGciOiJSUzI1NiJ9.e30."}},
    "no token": {"response": {"id_token": None}},
}


async def _assert_no_session(town: Town, visitor: Visitor) -> None:
    assert visitor.session_id is None
    assert not [key for key in await town.keys() if key.startswith("sess:") and ":attempt:" not in key]
    assert "accounts.signed_in" not in await town.audited()


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forged_token_opens_nothing(town: Town, forgery: dict[str, Any]):
    await town.sandbox.tell("id-token", forgery)

    async with town.visitor() as attacker:
        response = await attacker.sign_in("cy@acme.test")

        assert response.status_code in {403, 502}, response.text
        await _assert_no_session(town, attacker)


@pytest.mark.parametrize("email", ["mallory@evil.test", "kim@gmail.test"])
async def test_people_of_elsewhere_stay_outside(town: Town, email: str):
    async with town.visitor() as outsider:
        response = await outsider.sign_in(email)

        assert response.status_code == 403
        assert "company account" in response.text
        await _assert_no_session(town, outsider)


async def test_a_suspended_colleague_is_stopped_by_google(town: Town):
    await town.sandbox.change("cy@acme.test", suspended=True)

    async with town.visitor() as cy:
        await cy.sign_in("cy@acme.test")

        await _assert_no_session(town, cy)


async def test_an_answer_of_google_is_good_once(town: Town):
    async with town.visitor() as cy:
        callback = await _callback(cy, "cy@acme.test")
        await cy.get(callback)
        replayed = await cy.get(callback)

        assert replayed.status_code == 403


async def test_an_answer_caught_from_one_browser_is_no_use_in_another(town: Town):
    async with town.visitor() as victim, town.visitor() as attacker:
        callback = await _callback(victim, "cy@acme.test")
        await attacker.get("/sign-in/google?login_hint=cy@acme.test")
        response = await attacker.get(callback)

        assert response.status_code == 403
        await _assert_no_session(town, attacker)


async def test_a_browser_without_the_cookie_of_the_attempt_gets_nothing(town: Town):
    async with town.visitor() as victim, town.visitor() as attacker:
        response = await attacker.get(await _callback(victim, "cy@acme.test"))

        assert response.status_code == 403
        await _assert_no_session(town, attacker)


async def test_the_attackers_own_code_cannot_be_planted_in_the_victims_sign_in(town: Town):
    async with town.visitor() as victim, town.visitor() as attacker:
        planted = parse_qs(urlsplit(await _callback(attacker, "ben@acme.test")).query)["code"][0]
        response = await victim.get(_with(await _callback(victim, "cy@acme.test"), code=planted))

        assert response.status_code == 403
        await _assert_no_session(town, victim)


@pytest.mark.parametrize(
    "changed",
    [
        {"state": "guessed"},
        {"state": ""},
        {"code": "guessed"},
        {"code": ""},
        {"error": "access_denied"},
        {"state": "x" * 5000},
        {"code": "x\0y"},
    ],
    ids=str,
)
async def test_a_callback_that_was_tampered_with_opens_nothing(town: Town, changed: dict[str, str]):
    async with town.visitor() as attacker:
        response = await attacker.get(_with(await _callback(attacker, "cy@acme.test"), **changed))

        assert response.status_code in {403, 422}
        await _assert_no_session(town, attacker)


async def test_a_planted_session_cookie_is_not_taken_over(town: Town):
    async with town.visitor() as victim:
        victim.cookies.set("muster_session", "planted-by-the-attacker")
        await victim.sign_in("cy@acme.test")
        sessions = [cookie.value for cookie in victim.cookies.jar if cookie.name == "muster_session"]

        assert any(value and value != "planted-by-the-attacker" for value in sessions)
        async with httpx2.AsyncClient() as attacker:
            response = await attacker.get(
                f"{town.base_url}/people", headers={"cookie": "muster_session=planted-by-the-attacker"}
            )
        assert response.status_code == 303


async def test_sign_in_is_closed_when_it_is_hammered(town: Town):
    async with town.visitor() as attacker:
        statuses = [
            (await attacker.get("/sign-in/google/callback?state=a&code=b")).status_code for _ in range(400)
        ]

        assert statuses[:300] == [403] * 300
        assert 429 in statuses


async def _callback(visitor: Visitor, email: str) -> str:
    """The address Google would send this browser back to, not yet visited."""
    begun = await visitor.get(f"/sign-in/google?login_hint={email}")
    async with httpx2.AsyncClient() as google:
        answered = await google.get(begun.headers["location"])
    return str(answered.headers["location"])


def _with(address: str, **changed: str) -> str:
    parts = urlsplit(address)
    return parts._replace(query=urlencode({**dict(parse_qsl(parts.query)), **changed})).geturl()


async def test_what_is_kept_of_a_sign_in_under_way_is_sealed_to_its_own_state(town: Town):
    async with town.visitor() as one, town.visitor() as other:
        mine, theirs = await _callback(one, "cy@acme.test"), await _callback(other, "ben@acme.test")
        keys = sorted(key for key in await town.keys() if ":attempt:" in key)
        kept: list[Any] = [await town.portal.redis.get(key) for key in keys]
        assert not any(b"verifier" in one or b"nonce" in one for one in kept)
        for key, swapped in zip(keys, reversed(kept), strict=True):
            await town.portal.redis.set(key, swapped, ex=60)

        assert (await one.get(mine)).status_code == 403
        assert (await other.get(theirs)).status_code == 403
        await _assert_no_session(town, one)


async def test_a_sign_in_that_began_before_the_key_was_changed_is_finished_after(
    town: Town, new_settings: Callable[[], Settings]
):
    settings = town.portal.settings
    later = replace(
        new_settings(),
        secret_key=Secret("another-key-of-forty-characters-at-least"),
        secret_key_fallbacks=(settings.secret_key,),
        public_url=settings.public_url,
    )
    async with town.visitor() as cy, portal(later, application="muster-later") as made:
        callback = urlsplit(await _callback(cy, "cy@acme.test"))
        async with served(made, later.port) as address:
            answer = await town.raw.get(
                f"{address}{callback.path}?{callback.query}",
                headers={"cookie": f"muster_attempt={cy.cookies.get('muster_attempt')}"},
            )

        assert answer.status_code == 303
        assert "muster_session" in answer.headers["set-cookie"]

"""Sign-ins that must not work: forged tokens, foreign flows, the wrong people. None may leave a session."""

import base64
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


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


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
    "hd that looks alike": {"claims": {"hd": "\u0430cme.test"}},
    "hd that folds to ours": {"claims": {"hd": "acme.te\u017ft"}},
    "hd with a dot behind": {"claims": {"hd": "acme.test."}},
    "hd in capitals": {"claims": {"hd": "ACME.TEST"}},
    "hd with room before it": {"claims": {"hd": " acme.test"}},
    "hd said twice, the last one foreign": {"again": {"hd": "evil.test"}},
    "e-mail of elsewhere under our hd": {"claims": {"email": "cy@evil.test"}},
    "e-mail that looks like the administrator's": {"claims": {"email": "ada@acme.te\u017ft"}},
    "e-mail with two domains": {"claims": {"email": "cy@acme.test@evil.test"}},
    "e-mail as a list": {"claims": {"email": ["cy@acme.test"]}},
    "verified e-mail taken back": {"again": {"email_verified": False}},
    "wrong audience": {"claims": {"aud": "another-client"}},
    "no audience": {"claims": {"aud": None}},
    "audience of others": {"claims": {"aud": ["another-client", "a-third"]}},
    "audience of ours among others": {"claims": {"aud": ["ours", "another-client"], "azp": None}},
    "audience of ours among others, for another party": {
        "claims": {"aud": ["ours", "another-client"], "azp": "another-client"}
    },
    "authorised party of others": {"claims": {"azp": "another-client"}},
    "wrong issuer": {"claims": {"iss": "https://accounts.evil.test"}},
    "issuer of the real Google": {"claims": {"iss": "https://accounts.google.com"}},
    "no issuer": {"claims": {"iss": None}},
    "no subject": {"claims": {"sub": None}},
    "subject as a number": {"claims": {"sub": 1}},
    "foreign nonce": {"claims": {"nonce": "somebody-elses"}},
    "no nonce": {"claims": {"nonce": None}},
    "empty nonce": {"claims": {"nonce": ""}},
    "hash of another access token": {"claims": {"at_hash": "c3RyYW5nZXJzLWF0LWhhc2g"}},
    "hash of the access token as a number": {"claims": {"at_hash": 7}},
    "signed by a stranger": {"key": "unknown"},
    "signed by a stranger who sends the key along": {"key": "embedded"},
    "signed by a stranger who says where the key is": {
        "key": "unknown",
        "header": {"jku": "https://evil.test/keys", "x5u": "https://evil.test/certificate"},
    },
    "signed under the name of another published key": {"key": "other-kid"},
    "signed rightly with RS512": {"sealed": "RS512"},
    "signed rightly with PS256": {"sealed": "PS256"},
    "signed with ES256": {"sealed": "ES256"},
    "signed with RS512 that calls itself RS256": {"sealed": "RS512", "header": {"alg": "RS256"}},
    "with an extension that must be understood": {"header": {"crit": ["exp2"], "exp2": NOW - 1}},
    "compressed, it says": {"header": {"zip": "DEF"}, "key": "unknown"},
    "a key id that is a path": {"header": {"kid": "../../../dev/null"}},
    "a key id that is a number": {"header": {"kid": 1}},
    "an algorithm that is a list": {"header": {"alg": ["RS256"]}},
    "signed by a stranger under a known key id": {"key": "other-same-kid"},
    "HS256 with the public key": {"key": "hs256-with-public-key"},
    "not signed at all": {"key": "none"},
    "not signed at all, in odd letters": {"key": "none", "header": {"alg": "nOnE"}},
    "not signed, but called RS256": {"key": "none", "header": {"alg": "RS256"}},
    "no key id": {"header": {"kid": None}},
    "not a token": {"response": {"id_token": "not.a.token"}},
    "an empty token": {"response": {"id_token": ""}},
    "a token without signature": {"response": {"id_token": "eyJhbGciOiJSUzI1NiJ9.e30."}},
    "a token without end": {"key": "unknown", "claims": {"padding": "x" * 2_000_000}},
    "a token with its claims nested without end": {
        "response": {"id_token": f"{_part(b'{}')}.{_part(b'[' * 50_000)}.{_part(b'x')}"}
    },
    "a token whose header is nested without end": {
        "response": {"id_token": f"{_part(b'[' * 50_000)}.{_part(b'{}')}.{_part(b'x')}"}
    },
    "a token that is encrypted": {"response": {"id_token": "a.b.c.d.e"}},
    "a token that is a list": {"response": {"id_token": ["a.b.c"]}},
    "no token": {"response": {"id_token": None}},
}


async def _assert_no_session(town: Town, visitor: Visitor) -> None:
    assert visitor.session_id is None
    assert not [key for key in await town.keys() if key.startswith("sess:") and ":attempt:" not in key]
    assert "accounts.signed_in" not in await town.audited()


@pytest.mark.parametrize("forgery", FORGERIES.values(), ids=FORGERIES.keys())
async def test_a_forged_token_opens_nothing(town: Town, forgery: dict[str, Any]):
    if forgery.get("key") == "other-kid":
        await town.sandbox.tell("keys/rotate")
    await town.sandbox.tell("id-token", _meant_for(town, forgery))

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
        {"iss": "https://accounts.evil.test"},
        {"state": "\u017f"},
    ],
    ids=str,
)
async def test_a_callback_that_was_tampered_with_opens_nothing(town: Town, changed: dict[str, str]):
    async with town.visitor() as attacker:
        response = await attacker.get(_with(await _callback(attacker, "cy@acme.test"), **changed))

        assert response.status_code in {403, 422}
        await _assert_no_session(town, attacker)


@pytest.mark.parametrize("name", ["state", "code", "iss"])
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_callback_that_says_something_twice_opens_nothing(town: Town, name: str, *, is_first: bool):
    async with town.visitor() as attacker:
        parts = urlsplit(await _callback(attacker, "cy@acme.test"))
        planted = urlencode({name: "planted-by-the-attacker"})
        query = f"{planted}&{parts.query}" if is_first else f"{parts.query}&{planted}"
        response = await attacker.get(parts._replace(query=query).geturl())

        assert response.status_code in {403, 422}
        await _assert_no_session(town, attacker)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_callback_comes_by_get_alone(town: Town, method: str):
    async with town.visitor() as attacker:
        address = await _callback(attacker, "cy@acme.test")
        response = await attacker.request(method, address, data=dict(parse_qsl(urlsplit(address).query)))

        assert response.status_code == 405
        await _assert_no_session(town, attacker)


async def test_the_state_of_a_finished_attempt_takes_no_fresh_code(town: Town):
    async with town.visitor() as cy:
        finished = await _callback(cy, "cy@acme.test")
        assert (await cy.get(finished)).status_code == 303
        fresh = parse_qs(urlsplit(await _callback(cy, "ben@acme.test")).query)["code"][0]
        cy.cookies.delete("muster_session")

        assert (await cy.get(_with(finished, code=fresh))).status_code == 403
        assert cy.session_id is None


async def test_the_state_of_another_attempt_of_the_same_browser_takes_no_code_but_its_own(town: Town):
    async with town.visitor() as cy:
        one, other = await _callback(cy, "cy@acme.test"), await _callback(cy, "ben@acme.test")
        code = parse_qs(urlsplit(other).query)["code"][0]

        assert (await cy.get(_with(one, code=code))).status_code == 403
        await _assert_no_session(town, cy)


async def test_there_are_attacks_enough():
    """Those of FORGERIES alone, each another one."""
    told = {repr(forgery) for forgery in FORGERIES.values()}

    assert len(told) == len(FORGERIES) >= 60


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


def _meant_for(town: Town, forgery: dict[str, Any]) -> dict[str, Any]:
    """With our client id where an audience says "ours"."""
    audience = forgery.get("claims", {}).get("aud")
    if not isinstance(audience, list):
        return forgery
    ours = [town.portal.settings.google_client_id if one == "ours" else one for one in audience]
    return forgery | {"claims": forgery["claims"] | {"aud": ours}}


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

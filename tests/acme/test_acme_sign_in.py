"""The sign-in page, codes and ID tokens: the honest way, and everything that must not work."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from tests.acme.conftest import Sandbox


def test_discovery_names_every_endpoint(acme: Sandbox) -> None:
    issuer = acme.settings["issuer"]
    found = acme.http.get("/.well-known/openid-configuration").json()

    assert found["issuer"] == issuer
    assert found["authorization_endpoint"] == f"{issuer}/o/oauth2/v2/auth"
    assert found["token_endpoint"] == f"{issuer}/token"
    assert found["jwks_uri"] == f"{issuer}/jwks"


def test_a_hint_signs_in_without_a_page(acme: Sandbox) -> None:
    back = acme.arrived(acme.authorize("ada@acme.test"))

    assert back["state"] == "some-state"
    assert back["iss"] == acme.settings["issuer"]
    assert back["code"]


def test_an_id_token_says_who_it_is(acme: Sandbox) -> None:
    answer = acme.exchange(acme.code("ada@acme.test")).json()
    claims = acme.verified(answer["id_token"])
    half = sha256(answer["access_token"].encode()).digest()[:16]

    assert claims["sub"] == acme.get("/users/ada@acme.test").json()["id"]
    assert claims["email"] == "ada@acme.test"
    assert claims["email_verified"] is True
    assert claims["hd"] == "acme.test"
    assert claims["nonce"] == "some-nonce"
    assert claims["azp"] == claims["aud"] == acme.settings["client_id"]
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["at_hash"] == urlsafe_b64encode(half).decode().rstrip("=")
    assert {"name", "given_name", "family_name", "picture"} <= claims.keys()


def test_userinfo_tells_the_same(acme: Sandbox) -> None:
    answer = acme.exchange(acme.code("cy@acme.test")).json()
    sent = {"Authorization": f"Bearer {answer['access_token']}"}

    info = acme.http.get("/userinfo", headers=sent).json()

    assert info.items() <= acme.verified(answer["id_token"]).items()
    assert acme.http.get("/userinfo").status_code == 401


def test_strangers_get_tokens_that_show_it(acme: Sandbox) -> None:
    mallory = acme.verified(acme.id_token("mallory@evil.test"))
    kim = acme.verified(acme.id_token("kim@gmail.test"))

    assert mallory["hd"] == "evil.test"
    assert "hd" not in kim


def test_without_a_hint_the_page_offers_accounts(acme: Sandbox) -> None:
    page = acme.authorize()

    assert page.status_code == 200
    for email in ("ada@acme.test", "ben@acme.test", "cy@acme.test", "mallory@evil.test", "kim@gmail.test"):
        assert email in page.text


def test_the_beginning_of_an_address_finds_people(acme: Sandbox) -> None:
    someone = acme.get("/users").json()["users"][42]["primaryEmail"]

    assert someone in acme.authorize(someone[:6]).text
    assert "Nobody here" in acme.authorize("<b>nobody</b>").text
    assert "<b>nobody" not in acme.authorize("<b>nobody</b>").text


def test_no_page_where_none_is_wanted(acme: Sandbox) -> None:
    assert acme.arrived(acme.authorize(prompt="none"))["error"] == "interaction_required"


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "other"},
        {"redirect_uri": "http://evil.test/sign-in/google/callback"},
        {"redirect_uri": "http://127.0.0.1:8000/elsewhere"},
        {"redirect_uri": "http://127.0.0.1:8000/sign-in/google/callback?next=x"},
        {"redirect_uri": "http://ada@127.0.0.1:8000/sign-in/google/callback"},
        {"redirect_uri": "http://[bad/sign-in/google/callback"},
        {"redirect_uri": None},
        {"response_type": "token"},
        {"scope": "email"},
        {"code_challenge": None},
        {"code_challenge": "short"},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": None},
    ],
)
def test_a_wrong_request_is_answered_with_a_page_and_sent_nowhere(
    acme: Sandbox, change: dict[str, str | None]
) -> None:
    reply = acme.authorize("ada@acme.test", **change)

    assert reply.status_code == 400
    assert "location" not in reply.headers


@pytest.mark.parametrize("host", ["localhost:3000", "127.0.0.1", "[::1]:8443"])
def test_any_loopback_host_may_be_returned_to(acme: Sandbox, host: str) -> None:
    assert (
        acme.authorize("ada@acme.test", redirect_uri=f"http://{host}/sign-in/google/callback").status_code
        == 302
    )


@pytest.mark.parametrize("change", ["suspended", "archived", "deleted"])
def test_who_left_cannot_sign_in(acme: Sandbox, change: str) -> None:
    acme.order("people/ben@acme.test", **{change: True})

    assert acme.authorize("ben@acme.test").status_code == 403


# Codes


def refusal(reply: Any) -> tuple[int, str]:
    answer = reply.json()
    assert set(answer) == {"error", "error_description"}
    return reply.status_code, answer["error"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"code_verifier": "w" * 64}, (400, "invalid_grant")),
        ({"code_verifier": "é" * 64}, (400, "invalid_grant")),
        ({"code_verifier": None}, (400, "invalid_grant")),
        ({"redirect_uri": "http://localhost:8000/sign-in/google/callback"}, (400, "redirect_uri_mismatch")),
        ({"client_secret": "guess"}, (401, "invalid_client")),
        ({"client_secret": None}, (401, "invalid_client")),
        ({"client_id": "other"}, (401, "invalid_client")),
        ({"grant_type": "password"}, (400, "unsupported_grant_type")),
        ({"grant_type": None}, (400, "unsupported_grant_type")),
    ],
)
def test_a_code_is_not_exchanged_on_wrong_terms(
    acme: Sandbox, change: dict[str, str | None], expected: tuple[int, str]
) -> None:
    assert refusal(acme.exchange(acme.code("ada@acme.test"), **change)) == expected


def test_a_guessed_code_is_refused(acme: Sandbox) -> None:
    assert refusal(acme.exchange("4/0Aguess")) == (400, "invalid_grant")


def test_a_code_works_once(acme: Sandbox) -> None:
    code = acme.code("ada@acme.test")

    assert acme.exchange(code).status_code == 200
    assert refusal(acme.exchange(code)) == (400, "invalid_grant")


def test_a_code_is_spent_by_a_wrong_verifier(acme: Sandbox) -> None:
    code = acme.code("ada@acme.test")
    acme.exchange(code, code_verifier="w" * 64)

    assert refusal(acme.exchange(code)) == (400, "invalid_grant")


def test_the_client_may_name_itself_by_basic_authentication(acme: Sandbox) -> None:
    form = {
        "grant_type": "authorization_code",
        "code": acme.code("ada@acme.test"),
        "redirect_uri": "http://127.0.0.1:8000/sign-in/google/callback",
        "code_verifier": "v" * 64,
    }
    secret = (acme.settings["client_id"], acme.settings["client_secret"])

    assert acme.http.post("/token", data=form, auth=secret).status_code == 200


# Keys


def test_keys_may_be_kept_for_a_while(acme: Sandbox) -> None:
    assert "max-age=" in acme.http.get("/jwks").headers["cache-control"]


def test_a_rotated_key_signs_while_the_old_one_is_still_published(acme: Sandbox) -> None:
    before = acme.id_token("ada@acme.test")
    kid = acme.order("keys/rotate")["kid"]
    after = acme.id_token("ada@acme.test")

    assert jwt.get_unverified_header(after)["kid"] == kid
    assert acme.verified(before)["sub"] == acme.verified(after)["sub"]
    assert len(acme.keys()) == 2


# Forged ID tokens


def test_claims_are_changed_and_removed_for_as_many_sign_ins_as_asked(acme: Sandbox) -> None:
    acme.order("id-token", claims={"hd": None, "email_verified": False, "aud": "other", "iss": 5}, times=2)

    for _ in range(2):
        claims = jwt.decode(acme.id_token("ada@acme.test"), options={"verify_signature": False})
        assert "hd" not in claims
        assert claims["email_verified"] is False
        assert claims["aud"] == "other"
    assert acme.verified(acme.id_token("ada@acme.test"))["hd"] == "acme.test"


def test_an_unknown_key_is_not_published(acme: Sandbox) -> None:
    acme.order("id-token", key="unknown")

    assert jwt.get_unverified_header(acme.id_token("ada@acme.test"))["kid"] not in set(acme.keys())


def test_another_key_under_the_same_name_does_not_verify(acme: Sandbox) -> None:
    acme.order("id-token", key="other-same-kid")

    with pytest.raises(jwt.InvalidSignatureError):
        acme.verified(acme.id_token("ada@acme.test"))


def test_the_public_key_is_used_as_a_secret(acme: Sandbox) -> None:
    acme.order("id-token", key="hs256-with-public-key")
    token = acme.id_token("ada@acme.test")
    header = jwt.get_unverified_header(token)
    text, _, mark = token.rpartition(".")
    pem = acme.keys()[header["kid"]].key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    expected = hmac.digest(pem, text.encode(), "sha256")

    assert header["alg"] == "HS256"
    assert urlsafe_b64encode(expected).decode().rstrip("=") == mark


def test_a_token_without_a_signature(acme: Sandbox) -> None:
    acme.order("id-token", key="none")
    token = acme.id_token("ada@acme.test")

    assert token.endswith(".")
    assert jwt.get_unverified_header(token)["alg"] == "none"


def test_the_token_response_itself_is_changed(acme: Sandbox) -> None:
    acme.order("id-token", response={"id_token": None, "token_type": "mac"})

    answer = acme.exchange(acme.code("ada@acme.test")).json()

    assert "id_token" not in answer
    assert answer["token_type"] == "mac"

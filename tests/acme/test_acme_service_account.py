"""Domain-wide delegation: what the token endpoint and the Directory demand of a program."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from acme.safe import new_key

if TYPE_CHECKING:
    from tests.acme.conftest import Sandbox

USER_SCOPE = "https://www.googleapis.com/auth/admin.directory.user.readonly"
NOW = int(time.time())


def test_an_honest_assertion_is_traded_for_an_hour(acme: Sandbox) -> None:
    answer = acme.trade(acme.assertion()).json()

    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 3599


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"iss": "someone@else.iam.gserviceaccount.com"}, "invalid_grant"),
        ({"aud": "https://oauth2.googleapis.com/token"}, "invalid_grant"),
        ({"sub": "nobody@acme.test"}, "invalid_grant"),
        ({"sub": "ben@acme.test"}, "unauthorized_client"),
        ({"sub": None}, "unauthorized_client"),
        ({"scope": "https://www.googleapis.com/auth/admin.directory.user"}, "unauthorized_client"),
        ({"scope": None}, "invalid_scope"),
        ({"iat": NOW - 7200, "exp": NOW - 3600}, "invalid_grant"),
        ({"exp": NOW + 7200}, "invalid_grant"),
        ({"iat": NOW + 86_400, "exp": NOW + 87_000}, "invalid_grant"),
        ({"exp": None}, "invalid_grant"),
        ({"iat": "soon"}, "invalid_grant"),
    ],
)
def test_a_dishonest_assertion_is_refused(acme: Sandbox, claims: dict[str, Any], error: str) -> None:
    reply = acme.trade(acme.assertion(**claims))

    assert reply.status_code in {400, 401}
    assert reply.json()["error"] == error


def test_another_key_does_not_do(acme: Sandbox) -> None:
    claims = jwt.decode(acme.assertion(), options={"verify_signature": False})

    forged = jwt.encode(claims, new_key().pem, algorithm="RS256")

    assert acme.trade(forged).json() == {
        "error": "invalid_grant",
        "error_description": "Invalid JWT Signature.",
    }


@pytest.mark.parametrize("assertion", ["", "a.b.c", "é", jwt.encode({}, "k" * 32, algorithm="HS256")])
def test_nonsense_is_refused_calmly(acme: Sandbox, assertion: str) -> None:
    assert acme.trade(assertion).json()["error"] == "invalid_grant"


def test_a_suspended_admin_cannot_be_impersonated(acme: Sandbox) -> None:
    acme.order("people/ada@acme.test", suspended=True)

    assert acme.trade(acme.assertion()).json()["error"] == "invalid_grant"


def test_the_directory_wants_a_token(acme: Sandbox) -> None:
    address = "/admin/directory/v1/users?customer=my_customer"
    without = acme.http.get(address)
    made_up = acme.http.get(address, headers={"Authorization": "Bearer ya29.guess"})

    assert (without.status_code, without.json()["error"]["errors"][0]["reason"]) == (401, "required")
    assert (made_up.status_code, made_up.json()["error"]["errors"][0]["reason"]) == (401, "authError")


@pytest.mark.parametrize(
    "path", ["/groups", "/groups/all@acme.test/members", "/customer/my_customer/orgunits"]
)
def test_a_token_opens_only_what_its_scopes_name(acme: Sandbox, path: str) -> None:
    token = acme.trade(acme.assertion(scope=USER_SCOPE)).json()["access_token"]
    reply = acme.get(path, token=token)

    assert acme.get("/users", token=token).status_code == 200
    assert (reply.status_code, reply.json()["error"]["errors"][0]["reason"]) == (
        403,
        "insufficientPermissions",
    )


def test_a_page_token_is_no_access_token(acme: Sandbox) -> None:
    token = "ya29." + acme.get("/users").json()["nextPageToken"]

    assert acme.get("/users", token=token).status_code == 401

"""The sandbox as others meet it: its own process, on a free port, set back to the start for every test."""

from __future__ import annotations

import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import jwt
import msgspec
import pytest
from tests.acme.hubspot_client import HubSpotClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

DIRECTORY = "/admin/directory/v1"
CALLBACK = "http://127.0.0.1:8000/sign-in/google/callback"
VERIFIER = "v" * 64
SCOPE_ROOT = "https://www.googleapis.com/auth/admin.directory"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Sandbox:
    """A client of one sandbox; knows nothing but what the sandbox writes into its home."""

    def __init__(self, home: Path, process: subprocess.Popen[str]) -> None:
        self.home = home
        self.process = process
        self.settings: dict[str, str] = msgspec.json.decode((home / "acme.json").read_bytes())
        with open(self.settings["service_account"], "rb") as file:  # noqa: PTH123  the path as it is written
            self.service_account: dict[str, str] = msgspec.json.decode(file.read())
        self.http = httpx2.Client(base_url=self.settings["issuer"], timeout=10)
        self._token = ""

    def order(self, what: str, **fields: Any) -> dict[str, Any]:
        reply = self.http.post(f"/sandbox/{what}", json=fields)
        reply.raise_for_status()
        answer: dict[str, Any] = reply.json()
        return answer

    def assertion(self, **claims: Any) -> str:
        """An honest one but for the claims given; None takes one away."""
        now = int(time.time())
        honest = {
            "iss": self.service_account["client_email"],
            "sub": self.settings["admin_email"],
            "scope": f"{SCOPE_ROOT}.user.readonly {SCOPE_ROOT}.group.readonly "
            f"{SCOPE_ROOT}.group.member.readonly {SCOPE_ROOT}.orgunit.readonly",
            "aud": self.service_account["token_uri"],
            "iat": now,
            "exp": now + 3600,
        }
        chosen = {name: value for name, value in (honest | claims).items() if value is not None}
        return jwt.encode(chosen, self.service_account["private_key"], algorithm="RS256")

    def trade(self, assertion: str) -> httpx2.Response:
        return self.http.post("/token", data={"grant_type": JWT_BEARER, "assertion": assertion})

    def get(
        self, path: str, *, token: str = "", headers: dict[str, str] | None = None, **params: Any
    ) -> httpx2.Response:
        """A call of the Directory API; users and groups are those of the customer unless said otherwise."""
        if path in {"/users", "/groups"} and not {"domain", "userKey", "customer"} & params.keys():
            params["customer"] = "my_customer"
        sent = {"Authorization": f"Bearer {token or self.token()}"} | (headers or {})
        return self.http.get(DIRECTORY + path, params=params, headers=sent)

    def post(self, path: str, body: object, *, token: str = "", **params: Any) -> httpx2.Response:
        """A call with a body; `path` from the root, since stopping a channel is not below the directory."""
        sent = {"Authorization": f"Bearer {token or self.token()}"}
        return self.http.post(path, params=params, json=body, headers=sent)

    def token(self) -> str:
        if not self._token:
            self._token = self.trade(self.assertion()).json()["access_token"]
        return self._token

    def ask(self, what: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get(f"/sandbox/{what}").json()
        return answer

    def every(self, key: str, path: str, **params: Any) -> list[dict[str, Any]]:
        """All pages of a listing."""
        found: list[dict[str, Any]] = []
        while True:
            reply = self.get(path, **params)
            assert reply.status_code == 200, reply.text
            page = reply.json()
            found += page.get(key, [])
            if "nextPageToken" not in page:
                return found
            params["pageToken"] = page["nextPageToken"]

    def authorize(self, email: str = "", **changes: str | None) -> httpx2.Response:
        honest: dict[str, str | None] = {
            "client_id": self.settings["client_id"],
            "redirect_uri": CALLBACK,
            "response_type": "code",
            "scope": "openid email profile",
            "state": "some-state",
            "nonce": "some-nonce",
            "code_challenge": challenge(VERIFIER),
            "code_challenge_method": "S256",
            "login_hint": email or None,
        }
        params = {name: value for name, value in (honest | changes).items() if value is not None}
        return self.http.get("/o/oauth2/v2/auth", params=params)

    def arrived(self, redirect: httpx2.Response) -> dict[str, str]:
        """What the browser carries to the callback."""
        assert redirect.status_code == 302, redirect.text
        return dict(parse_qsl(urlsplit(redirect.headers["location"]).query))

    def code(self, email: str) -> str:
        return self.arrived(self.authorize(email))["code"]

    def exchange(self, code: str, **changes: str | None) -> httpx2.Response:
        honest: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self.settings["client_id"],
            "client_secret": self.settings["client_secret"],
            "redirect_uri": CALLBACK,
            "code_verifier": VERIFIER,
        }
        form = {name: value for name, value in (honest | changes).items() if value is not None}
        return self.http.post("/token", data=form)

    def id_token(self, email: str) -> str:
        token: str = self.exchange(self.code(email)).json()["id_token"]
        return token

    def keys(self) -> dict[str, jwt.PyJWK]:
        return {key["kid"]: jwt.PyJWK(key) for key in self.http.get("/jwks").json()["keys"]}

    def verified(self, token: str) -> dict[str, Any]:
        """As a careful client reads an ID token."""
        key = self.keys()[jwt.get_unverified_header(token)["kid"]]
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=self.settings["client_id"],
            issuer=self.settings["issuer"],
        )
        return claims


def challenge(verifier: str) -> str:
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).decode().rstrip("=")


@contextmanager
def running(home: Path, *options: str) -> Iterator[Sandbox]:
    """A sandbox that has said it is open; stopped at the end."""
    command = [sys.executable, "-m", "acme", "--port", "0", "--home", str(home), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline().startswith("Acme is open at http://127.0.0.1:")
            sandbox = Sandbox(home, process)
            yield sandbox
            sandbox.http.close()
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def _sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running(tmp_path_factory.mktemp("acme") / "home") as sandbox:
        yield sandbox


@pytest.fixture
def acme(_sandbox: Sandbox) -> Sandbox:
    _sandbox.order("reset")
    return _sandbox


@pytest.fixture
def hub(acme: Sandbox) -> HubSpotClient:
    return HubSpotClient(acme)


@pytest.fixture
def start() -> Callable[..., AbstractContextManager[Sandbox]]:
    """For tests that need a process of their own; used in a `with`."""
    return running

"""The page that signs people in: it checks the request, asks who one is, and sends back a code."""

import secrets
import time
from urllib.parse import urlencode, urlsplit

import msgspec
from jinja2 import Environment, PackageLoader
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from acme.accounts import Account, Accounts
from acme.identity import CLIENT_ID, Identity

CALLBACK_PATH = "/sign-in/google/callback"
CODE_LIFE_SECONDS = 60
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_CARRIED = (
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "nonce",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "hd",
)


class Grant(msgspec.Struct, frozen=True):
    """What a code stands for."""

    account: Account
    redirect_uri: str
    challenge: str
    scope: str
    nonce: str | None
    made_at: float


class Grants:
    """Codes that were given out and not yet used."""

    def __init__(self) -> None:
        self._by_code: dict[str, Grant] = {}

    def give(self, grant: Grant) -> str:
        self._drop_expired()
        code = f"4/0A{secrets.token_urlsafe(48)}"
        self._by_code[code] = grant
        return code

    def take(self, code: str) -> Grant | None:
        """Works once, whatever becomes of it, and for a minute."""
        grant = self._by_code.pop(code, None)
        return grant if grant and time.monotonic() - grant.made_at < CODE_LIFE_SECONDS else None

    def _drop_expired(self) -> None:
        """Codes stand in the order of their making."""
        oldest = time.monotonic() - CODE_LIFE_SECONDS
        while self._by_code and next(iter(self._by_code.values())).made_at < oldest:
            del self._by_code[next(iter(self._by_code))]


class SignIn:
    def __init__(self, identity: Identity, accounts: Accounts, grants: Grants) -> None:
        self._identity = identity
        self._accounts = accounts
        self._grants = grants
        self._pages = Environment(loader=PackageLoader("acme"), autoescape=True)

    def routes(self) -> list[Route]:
        return [Route("/o/oauth2/v2/auth", self._authorize, methods=["GET"])]

    async def _authorize(self, request: Request) -> Response:
        """With a `login_hint` that is somebody's: straight back with a code. Otherwise: who are you?"""
        params = dict(request.query_params)
        if (wrong := _what_is_wrong(params)) is not None:
            return self._refused("Access blocked: authorization error", wrong, 400)
        hint = params.get("login_hint", "")
        account = self._accounts.find(hint) if hint else None
        if account is not None:
            return self._signed_in(account, params)
        if params.get("prompt") == "none":
            return self._back(params, {"error": "interaction_required"})
        return self._chooser(params, hint)

    def _signed_in(self, account: Account, params: dict[str, str]) -> Response:
        if account.blocked is not None:
            return self._refused("You can’t sign in with this account", account.blocked, 403)
        grant = Grant(
            account=account,
            redirect_uri=params["redirect_uri"],
            challenge=params["code_challenge"],
            scope=params["scope"],
            nonce=params.get("nonce"),
            made_at=time.monotonic(),
        )
        code = self._grants.give(grant)
        hosted = {"hd": account.hosted_domain} if account.hosted_domain else {}
        return self._back(params, {"code": code, "scope": params["scope"], "authuser": "0", **hosted})

    def _back(self, params: dict[str, str], outcome: dict[str, str]) -> Response:
        state = {"state": params["state"]} if "state" in params else {}
        query = urlencode({**state, "iss": self._identity.issuer, **outcome})
        return RedirectResponse(f"{params['redirect_uri']}?{query}", 302, {"Cache-Control": "no-store"})

    def _chooser(self, params: dict[str, str], hint: str) -> Response:
        carried = {name: params[name] for name in _CARRIED if name in params}
        found = self._accounts.starting_with(hint) if hint else []
        cancelled = self._back(params, {"error": "access_denied"}).headers["location"]
        page = self._pages.get_template("chooser.html").render(
            accounts=[
                (account, f"?{urlencode({**carried, 'login_hint': account.email})}")
                for account in (found or self._accounts.offered())
            ],
            carried=carried,
            hint=hint,
            is_unknown=bool(hint) and not found,
            cancelled=cancelled,
            application=urlsplit(params["redirect_uri"]).netloc,
        )
        return HTMLResponse(page)

    def _refused(self, title: str, reason: str, status: int) -> Response:
        page = self._pages.get_template("refused.html").render(title=title, reason=reason, status=status)
        return HTMLResponse(page, status)


def _what_is_wrong(params: dict[str, str]) -> str | None:
    """The first thing Google would refuse, in its words."""
    scopes = params.get("scope", "").split()
    checks = (
        (params.get("client_id") == CLIENT_ID, "Error 401: invalid_client"),
        (_may_return_to(params.get("redirect_uri", "")), "Error 400: redirect_uri_mismatch"),
        (params.get("response_type") == "code", "Error 400: unsupported_response_type"),
        ("openid" in scopes, "Error 400: invalid_scope"),
        (
            params.get("code_challenge_method") == "S256",
            "Error 400: invalid_request (PKCE with S256 is required)",
        ),
        (43 <= len(params.get("code_challenge", "")) <= 128, "Error 400: invalid_request (code_challenge)"),
    )
    return next((wrong for holds, wrong in checks if not holds), None)


def _may_return_to(redirect_uri: str) -> bool:
    try:
        address = urlsplit(redirect_uri)
    except ValueError:
        return False
    is_plain = not (address.query or address.fragment or address.username)
    return (
        is_plain
        and address.scheme in {"http", "https"}
        and address.hostname in _LOOPBACK
        and address.path == CALLBACK_PATH
    )

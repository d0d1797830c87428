"""The endpoints programs talk to: discovery, keys, tokens and userinfo."""

import hmac
from base64 import b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.access_tokens import LIFE_SECONDS, AccessTokens
from acme.accounts import Accounts
from acme.google_error import OAuthError
from acme.id_tokens import IdTokens
from acme.identity import CLIENT_ID, Identity
from acme.safe import Safe
from acme.service_account import JWT_BEARER, ServiceAccount
from acme.sign_in import Grants

_KEYS_FRESH_SECONDS = 3_600


class Tokens:
    def __init__(
        self,
        identity: Identity,
        safe: Safe,
        accounts: Accounts,
        grants: Grants,
        access_tokens: AccessTokens,
        id_tokens: IdTokens,
        service_account: ServiceAccount,
    ) -> None:
        self._identity = identity
        self._safe = safe
        self._accounts = accounts
        self._grants = grants
        self._access_tokens = access_tokens
        self._id_tokens = id_tokens
        self._service_account = service_account

    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/openid-configuration", self._discovery),
            Route("/jwks", self._jwks),
            Route("/token", self._token, methods=["POST"]),
            Route("/userinfo", self._userinfo, methods=["GET", "POST"]),
        ]

    async def _discovery(self, _: Request) -> Response:
        issuer = self._identity.issuer
        return _json(
            {
                "issuer": issuer,
                "authorization_endpoint": f"{issuer}/o/oauth2/v2/auth",
                "token_endpoint": self._identity.token_uri,
                "userinfo_endpoint": f"{issuer}/userinfo",
                "jwks_uri": f"{issuer}/jwks",
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", JWT_BEARER],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "email", "profile"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                "claims_supported": _CLAIMS,
            },
            cache=f"public, max-age={_KEYS_FRESH_SECONDS}",
        )

    async def _jwks(self, _: Request) -> Response:
        cache = f"public, max-age={_KEYS_FRESH_SECONDS}, must-revalidate, no-transform"
        return _json(self._id_tokens.published_keys(), cache=cache)

    async def _token(self, request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        match form.get("grant_type"):
            case "authorization_code":
                return _json(self._for_code(request, form))
            case grant_type if grant_type == JWT_BEARER:
                return _json(self._for_assertion(form))
            case grant_type:
                raise OAuthError(400, "unsupported_grant_type", f"Invalid grant_type: {grant_type or ''}")

    def _for_assertion(self, form: dict[str, str]) -> dict[str, Any]:
        subject, scopes = self._service_account.accept(form.get("assertion", ""))
        token = self._access_tokens.make(subject, scopes)
        return {"access_token": token, "expires_in": LIFE_SECONDS - 1, "token_type": "Bearer"}

    def _for_code(self, request: Request, form: dict[str, str]) -> dict[str, Any]:
        self._check_client(request, form)
        grant = self._grants.take(form.get("code", ""))
        if grant is None:
            raise OAuthError(400, "invalid_grant", "Malformed auth code.")
        if form.get("redirect_uri") != grant.redirect_uri:
            raise OAuthError(400, "redirect_uri_mismatch", "Bad Request")
        if "code_verifier" not in form:
            raise OAuthError(400, "invalid_grant", "Missing code verifier.")
        if not hmac.compare_digest(_challenge(form["code_verifier"]), grant.challenge.encode()):
            raise OAuthError(400, "invalid_grant", "Invalid code verifier.")
        access_token = self._access_tokens.make(grant.account.id, grant.scope.split())
        return self._id_tokens.response(grant.account, grant.nonce, grant.scope, access_token)

    def _check_client(self, request: Request, form: dict[str, str]) -> None:
        client_id, client_secret = _basic(request) or (
            form.get("client_id", ""),
            form.get("client_secret", ""),
        )
        if client_id != CLIENT_ID:
            raise OAuthError(401, "invalid_client", "The OAuth client was not found.")
        if not hmac.compare_digest(client_secret.encode(), self._safe.secrets.client_secret.encode()):
            raise OAuthError(401, "invalid_client", "The provided client secret is invalid.")

    async def _userinfo(self, request: Request) -> Response:
        token = self._access_tokens.find(request)
        account = self._accounts.find(token.subject) if token and "openid" in token.scopes else None
        if account is None:
            raise OAuthError(401, "invalid_request", "Invalid Credentials")
        return _json(account.profile())


_CLAIMS = [
    *("aud", "email", "email_verified", "exp", "family_name", "given_name"),
    *("hd", "iat", "iss", "name", "picture", "sub"),
]


def _json(content: dict[str, Any], *, cache: str = "no-store") -> Response:
    return Response(
        msgspec.json.encode(content), 200, {"Cache-Control": cache}, "application/json; charset=utf-8"
    )


def _challenge(verifier: str) -> bytes:
    return urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=")


def _basic(request: Request) -> tuple[str, str] | None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, client_secret = b64decode(encoded).decode().partition(":")
    except ValueError:
        return None
    return client_id, client_secret

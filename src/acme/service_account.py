"""The service account with domain-wide delegation: it may act as an admin, with the four reading scopes."""

import time
from typing import Any

import jwt

from acme.company import SCOPES
from acme.google_error import OAuthError
from acme.identity import SERVICE_ACCOUNT_EMAIL, Identity
from acme.safe import Safe
from acme.tenant import Tenant

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LONGEST_SECONDS = 3_600
_CLOCK_SKEW_SECONDS = 60


class ServiceAccount:
    def __init__(self, identity: Identity, safe: Safe, tenant: Tenant) -> None:
        self._token_uri = identity.token_uri
        self._public_key = safe.secrets.service_account.private.public_key()
        self._tenant = tenant

    def accept(self, assertion: str) -> tuple[str, list[str]]:
        """The id of the admin it acts as, and the scopes granted. Raises OAuthError in Google's words."""
        claims = self._verified(assertion)
        _check_times(claims)
        scopes = str(claims.get("scope", "")).split()
        if not scopes:
            raise OAuthError(400, "invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        if not set(scopes) <= set(SCOPES):
            raise _not_delegated()
        return self._admin_id(claims), scopes

    def _verified(self, assertion: str) -> dict[str, Any]:
        try:
            claims = jwt.decode(
                assertion,
                self._public_key,
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_exp": False, "verify_iat": False, "verify_sub": False},
            )
        except jwt.InvalidSignatureError:
            raise OAuthError(400, "invalid_grant", "Invalid JWT Signature.") from None
        except jwt.InvalidTokenError as error:
            raise OAuthError(400, "invalid_grant", f"Invalid JWT: {error}") from None
        if claims.get("iss") != SERVICE_ACCOUNT_EMAIL:
            raise OAuthError(400, "invalid_grant", "Invalid grant: account not found")
        if claims.get("aud") != self._token_uri:
            raise OAuthError(400, "invalid_grant", "Invalid JWT: Failed audience check.")
        return claims

    def _admin_id(self, claims: dict[str, Any]) -> str:
        """Without a subject the service account would act as itself, which may read nothing here."""
        if "sub" not in claims:
            raise _not_delegated()
        person = self._tenant.find(str(claims["sub"]))
        if person is None or not person.may_sign_in:
            raise OAuthError(400, "invalid_grant", "Invalid email or User ID")
        if not person.is_admin:
            raise _not_delegated()
        return person.id


def _check_times(claims: dict[str, Any]) -> None:
    now = time.time()
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    if (
        not isinstance(issued_at, int | float)
        or not isinstance(expires_at, int | float)
        or issued_at > now + _CLOCK_SKEW_SECONDS
        or expires_at <= now
        or not 0 < expires_at - issued_at <= _LONGEST_SECONDS
    ):
        raise OAuthError(
            400,
            "invalid_grant",
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
            "Check your iat and exp values in the JWT claim.",
        )


def _not_delegated() -> OAuthError:
    return OAuthError(
        401,
        "unauthorized_client",
        "Client is unauthorized to retrieve access tokens using this method, "
        "or client not authorized for any of the scopes requested.",
    )

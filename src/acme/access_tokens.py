"""Access tokens, and what each may be used for."""

import time

import msgspec
from starlette.requests import Request

from acme.google_error import GoogleError
from acme.seal import Seal

LIFE_SECONDS = 3_600
_PREFIX = "ya29."


class AccessToken(msgspec.Struct, frozen=True):
    subject: str
    """The id of the person it speaks for."""
    scopes: list[str]
    expires_at: int


class AccessTokens:
    def __init__(self, seal: Seal) -> None:
        self._seal = seal

    def make(self, subject: str, scopes: list[str]) -> str:
        return _PREFIX + self._seal.close(AccessToken(subject, scopes, int(time.time()) + LIFE_SECONDS))

    def find(self, request: Request) -> AccessToken | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.startswith(_PREFIX):
            return None
        opened = self._seal.open(AccessToken, token.removeprefix(_PREFIX))
        return opened if opened and opened.expires_at > time.time() else None

    def check(self, request: Request, scope: str) -> AccessToken:
        """Raises GoogleError 401 without a good token, 403 where it lacks the scope."""
        if "authorization" not in request.headers:
            raise GoogleError(401, "required", "Login Required.")
        token = self.find(request)
        if token is None:
            raise GoogleError(401, "authError", "Invalid Credentials")
        if scope not in token.scopes:
            raise GoogleError(
                403, "insufficientPermissions", "Request had insufficient authentication scopes."
            )
        return token

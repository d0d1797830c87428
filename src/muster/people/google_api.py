"""How Google's interfaces are called: with a token for each scope, at the pace of the quota, tried again.

https://developers.google.com/workspace/admin/directory/v1/guides/handle-errors
"""

import asyncio
import random
import time
from datetime import timedelta
from typing import Literal, TypeVar

import httpx2
import jwt
import msgspec

from muster.errors import SettingsError, VendorDown, VendorRefused
from muster.people.throttle import Throttle
from muster.platform.outbound import ATTEMPT
from muster.platform.tally import Tally

Shape = TypeVar("Shape")

VENDOR = "Google Directory"
ATTEMPTS = 7
LONGEST_WAIT = timedelta(seconds=30)

_SCOPE = "https://www.googleapis.com/auth/admin.directory."
USERS, GROUPS = _SCOPE + "user.readonly", _SCOPE + "group.readonly"
MEMBERS, ORG_UNITS = _SCOPE + "group.member.readonly", _SCOPE + "orgunit.readonly"
SCOPES = (USERS, GROUPS, MEMBERS, ORG_UNITS)

_THROTTLED = frozenset({"userRateLimitExceeded", "rateLimitExceeded", "quotaExceeded"})
_PASSING_REASONS = _THROTTLED | {
    "backendError",
    "unknownError",
    "failedPrecondition",
    "internalError",
    "transientError",
}
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})

SET_UP = {
    "domainCannotUseApis": "API access is off for the domain: Admin console → Security → API controls",
    "accessNotConfigured": "the Admin SDK API is off: enable it in the key's Google Cloud project",
    "forbidden": "GOOGLE_ADMIN_EMAIL may not read this: name an administrator who may",
    "insufficientPermissions": "the scope is not among those delegated: Admin console → Security → "
    "API controls → Domain-wide delegation",
    "unauthorized_client": "domain-wide delegation is missing: Admin console → Security → API controls → "
    "Domain-wide delegation, with the service account's client id and the scope",
    "invalid_grant": "the service account's key or GOOGLE_ADMIN_EMAIL is not accepted",
}
"""Google's word for a set-up that is not right → what is missing, and where it is clicked."""


class ServiceAccount(msgspec.Struct):
    client_email: str
    private_key: str
    token_uri: str
    private_key_id: str = ""
    client_id: str = ""


class _Token(msgspec.Struct):
    access_token: str
    expires_in: int


class _Reason(msgspec.Struct):
    reason: str = ""


class _ErrorBody(msgspec.Struct):
    message: str = ""
    errors: list[_Reason] = []


class _Error(msgspec.Struct):
    error: _ErrorBody | str = ""
    error_description: str = ""


class Credentials:
    """Access tokens of the service account in the administrator's name, one for each scope.

    One for all would be refused whole where a single scope is not delegated.
    """

    def __init__(self, http: httpx2.AsyncClient, *, service_account: str | None, admin_email: str) -> None:
        self._http = http
        self._service_account = service_account
        self._admin_email = admin_email
        self._tokens: dict[str, tuple[str, float]] = {}
        self._minting = asyncio.Lock()

    async def token(self, scope: str) -> str:
        """Raises VendorDown, VendorRefused with what is missing, SettingsError."""
        async with self._minting:
            token, expires = self._tokens.get(scope, ("", 0.0))
            return token if expires > time.monotonic() else await self._mint(scope)

    def forget(self, scope: str) -> None:
        """Have the next token minted anew: one of an hour ago opens what has been closed since."""
        self._tokens.pop(scope, None)

    def account(self) -> ServiceAccount:
        """Raises SettingsError."""
        if not self._service_account or not self._admin_email:
            raise SettingsError(
                "GOOGLE_SERVICE_ACCOUNT (a key file or its JSON) and GOOGLE_ADMIN_EMAIL are not both set; "
                "the directory is read with them"
            )
        try:
            return msgspec.json.decode(self._service_account, type=ServiceAccount)
        except msgspec.DecodeError as error:
            raise SettingsError(f"GOOGLE_SERVICE_ACCOUNT is not a service account's key: {error}") from error

    async def _mint(self, scope: str) -> str:
        account = self.account()
        try:
            response = await self._http.post(
                account.token_uri,
                data={
                    "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                    "assertion": _assertion(account, self._admin_email, scope),
                },
            )
        except httpx2.HTTPError as error:
            raise unreachable(error) from error
        expect(response)
        fresh = decoded(response.content, _Token)
        self._tokens[scope] = (fresh.access_token, time.monotonic() + fresh.expires_in - 60)
        return fresh.access_token


class GoogleApi:
    def __init__(
        self,
        http: httpx2.AsyncClient,
        credentials: Credentials,
        throttle: Throttle,
        tally: Tally | None = None,
        *,
        attempts: int = ATTEMPTS,
    ) -> None:
        self.credentials = credentials
        self._attempts = attempts
        self._http = http
        self._throttle = throttle
        self._tally = tally or Tally()

    def counted(self, tally: Tally) -> "GoogleApi":
        """The same, with what it does counted in `tally`."""
        return GoogleApi(self._http, self.credentials, self._throttle, tally, attempts=self._attempts)

    def impatient(self) -> "GoogleApi":
        """The same, that takes the first answer for the answer, whatever it is."""
        return GoogleApi(self._http, self.credentials, self._throttle, self._tally, attempts=1)

    async def get(self, url: str, query: dict[str, str], *, scope: str) -> httpx2.Response:
        """An answer that is not a passing failure, after as many tries as it takes, up to `attempts`.

        Raises VendorDown; a lasting failure is an answer, too.
        """
        return await self._patiently("GET", url, scope=scope, query=query)

    async def post(
        self, url: str, query: dict[str, str], body: msgspec.Struct, *, scope: str
    ) -> httpx2.Response:
        return await self._patiently("POST", url, scope=scope, query=query, body=body)

    async def _patiently(
        self,
        method: Literal["GET", "POST"],
        url: str,
        *,
        scope: str,
        query: dict[str, str],
        body: msgspec.Struct | None = None,
    ) -> httpx2.Response:
        problem: VendorDown | None = None
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(_wait(attempt - 1))
            try:
                response = await self._once(method, url, attempt + 1, scope=scope, query=query, body=body)
            except VendorDown as error:
                problem = error
                self._tally.faults[error.reason or "unreachable"] += 1
                continue
            if not is_passing(response):
                return response
            said = reason(response) or str(response.status_code)
            self._tally.faults[said] += 1
            if response.status_code == 401:
                self.credentials.forget(scope)
            if said in _THROTTLED or response.status_code == 429:
                self._throttle.refused()
            problem = VendorDown(VENDOR, explained(response), reason=said)
        raise problem or VendorDown(VENDOR, "was not asked")

    async def _once(
        self,
        method: Literal["GET", "POST"],
        url: str,
        attempt: int,
        *,
        scope: str,
        query: dict[str, str],
        body: msgspec.Struct | None = None,
    ) -> httpx2.Response:
        authorization = f"Bearer {await self.credentials.token(scope)}"
        with self._tally.waiting():
            await self._throttle.turn()
        self._tally.calls += 1
        headers = {"authorization": authorization}
        content = None
        if body is not None:
            headers["content-type"], content = "application/json", msgspec.json.encode(body)
        try:
            response = await self._http.request(
                method, url, params=query, headers=headers, content=content, extensions={ATTEMPT: attempt}
            )
        except httpx2.HTTPError as error:
            raise unreachable(error) from error
        return response


def unreachable(error: httpx2.HTTPError) -> VendorDown:
    return VendorDown(VENDOR, f"does not answer ({type(error).__name__})", reason="unreachable")


def is_passing(response: httpx2.Response) -> bool:
    if response.status_code in _PASSING_STATUSES or response.status_code == 401:
        return True
    return response.status_code in {400, 403} and reason(response) in _PASSING_REASONS


def expect(response: httpx2.Response) -> None:
    """Raises VendorDown or VendorRefused, in Google's words and ours, for anything but success."""
    if response.is_success:
        return
    failure = VendorDown if response.status_code in _PASSING_STATUSES else VendorRefused
    raise failure(VENDOR, explained(response), reason=reason(response))


def reason(response: httpx2.Response) -> str:
    """Google's word for what is wrong, or "" when there is none or the body is plain text or HTML."""
    if response.is_success:
        return ""
    body = _error_body(response)
    if isinstance(body.error, str):
        return body.error
    return next((one.reason for one in body.error.errors), "")


def explained(response: httpx2.Response) -> str:
    why, body = reason(response), _error_body(response)
    said = body.error_description if isinstance(body.error, str) else body.error.message
    return f"{response.status_code} {why}".strip() + "".join(
        f": {part}" for part in (said, SET_UP.get(why, "")) if part
    )


def decoded(content: bytes | msgspec.Raw, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(content, type=shape)
    except msgspec.DecodeError as error:
        raise VendorDown(VENDOR, f"an answer that cannot be read: {error}") from error


def _error_body(response: httpx2.Response) -> _Error:
    try:
        return msgspec.json.decode(response.content, type=_Error)
    except msgspec.DecodeError:
        return _Error()


def _assertion(account: ServiceAccount, admin_email: str, scope: str) -> str:
    """https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests"""
    now = int(time.time())
    claims = {
        "iss": account.client_email,
        "sub": admin_email,
        "scope": scope,
        "aud": account.token_uri,
        "iat": now,
        "exp": now + 3600,
    }
    try:
        return jwt.encode(claims, account.private_key, "RS256", headers={"kid": account.private_key_id})
    except (ValueError, jwt.PyJWTError) as error:
        raise SettingsError("GOOGLE_SERVICE_ACCOUNT holds a private key that cannot be read") from error


def _wait(attempt: int) -> float:
    """Seconds: exponential with jitter, as Google asks for, and capped."""
    longest: float = min(0.25 * 2**attempt, LONGEST_WAIT.total_seconds())
    return random.uniform(0.5, 1) * longest  # noqa: S311  jitter, not a secret

"""Faults by script, not by chance: which call fails, how often, and how."""

import asyncio
from fnmatch import fnmatchcase
from urllib.parse import parse_qsl

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from acme.google_error import GoogleError, OAuthError

_QUOTA = "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user'"
_ERRORS: dict[str, GoogleError | OAuthError] = {
    "userRateLimitExceeded": GoogleError(
        403, "userRateLimitExceeded", "User Rate Limit Exceeded", "usageLimits"
    ),
    "rateLimitExceeded": GoogleError(403, "rateLimitExceeded", "Rate Limit Exceeded", "usageLimits"),
    "quotaExceeded": GoogleError(403, "quotaExceeded", _QUOTA, "usageLimits"),
    "429": GoogleError(429, "rateLimitExceeded", _QUOTA),
    "500": GoogleError(500, "internalError", "Internal Error"),
    "502": GoogleError(502, "badGateway", "Bad Gateway"),
    "503": GoogleError(503, "backendError", "The service is currently unavailable."),
    "backendError": GoogleError(503, "backendError", "Backend Error"),
    "504": GoogleError(504, "gatewayTimeout", "Deadline expired before operation could complete."),
    "failedPrecondition": GoogleError(400, "failedPrecondition", "Precondition check failed."),
    "unknownError": GoogleError(500, "unknownError", "Unknown Error."),
    "domainCannotUseApis": GoogleError(403, "domainCannotUseApis", "Domain cannot use apis."),
    "forbidden": GoogleError(403, "forbidden", "Not Authorized to access this resource/api"),
    "accessNotConfigured": GoogleError(
        403,
        "accessNotConfigured",
        "Admin SDK API has not been used in project 104729 before or it is disabled.",
        "usageLimits",
    ),
    "insufficientPermissions": GoogleError(
        403, "insufficientPermissions", "Request had insufficient authentication scopes."
    ),
    "authError": GoogleError(401, "authError", "Invalid Credentials"),
    "notFound": GoogleError(404, "notFound", "Resource Not Found: userKey"),
    "conditionNotMet": GoogleError(412, "conditionNotMet", "User is deleted."),
    "invalid_grant": OAuthError(400, "invalid_grant", "Invalid email or User ID"),
    "unauthorized_client": OAuthError(
        401, "unauthorized_client", "Client is unauthorized to retrieve access tokens using this method."
    ),
}
_HTML = (
    "<!DOCTYPE html><html lang=en><title>Error 502 (Server Error)!!1</title><p><b>502.</b> That’s an error."
)
SPOILT = {"missing-users-key", "empty-users", "truncated", "bad-token", "expired-token", "loop"}
"""Kinds that leave the call a 200; the listing itself makes them."""
KINDS = frozenset(_ERRORS) | SPOILT | {"html", "text", "slow", "drop"}
_SPOILT_KEY = "acme.spoilt"


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    """`times` calls of a path fail, from the `page`-th from now on (None: the next).

    `path` may hold `*`; `query` names parameters the call must also have; `seconds` is for `slow`.
    """

    path: str
    kind: str
    page: int | None = None
    times: int = 1
    query: dict[str, str] = {}
    seconds: float = 1.0
    seen: int = 0

    def concerns(self, path: str, query: dict[str, str]) -> bool:
        return fnmatchcase(path, self.path) and self.query.items() <= query.items()

    def strikes(self) -> bool:
        """Counts one more call that concerns it."""
        self.seen += 1
        first = self.page or 1
        return first <= self.seen < first + self.times

    @property
    def is_spent(self) -> bool:
        return self.seen + 1 >= (self.page or 1) + self.times


class Faults:
    """Middleware in front of everything but the scripts' own paths."""

    def __init__(self, app: ASGIApp, queue: list[Fault]) -> None:
        self._app = app
        self._queue = queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._next(scope) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
        elif fault.kind == "drop":
            await _drop(send)
        elif fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            await self._app(scope, receive, send)
        elif fault.kind in SPOILT:
            await self._app({**scope, _SPOILT_KEY: fault.kind}, receive, send)
        else:
            await _response(fault.kind)(scope, receive, send)

    def _next(self, scope: Scope) -> Fault | None:
        path: str = scope["path"]
        if not self._queue or path.startswith("/sandbox/"):
            return None
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        # Every fault counts every call, so that two scripts for one path keep their own count.
        striking = [fault for fault in self._queue if fault.concerns(path, query) and fault.strikes()]
        self._queue[:] = [fault for fault in self._queue if not fault.is_spent]
        return striking[0] if striking else None


def spoilt(request: Request) -> str | None:
    """The kind of fault the handler itself must make."""
    kind: str | None = request.scope.get(_SPOILT_KEY)
    return kind


def _response(kind: str) -> Response:
    if kind == "html":
        return HTMLResponse(_HTML, 502)
    if kind == "text":
        return PlainTextResponse("Service Unavailable", 503)
    error = _ERRORS[kind]
    return Response(error.body(), error.status, media_type="application/json; charset=UTF-8")


async def _drop(send: Send) -> None:
    """A body cut short: the server closes a connection whose reply was left unfinished."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"kind": "admin#dir', "more_body": True})

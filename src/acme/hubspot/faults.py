"""What goes wrong at HubSpot by script: any answer, none, a late one, or one that comes after it wrote."""

import asyncio
from fnmatch import fnmatchcase
from typing import Any
from uuid import uuid4

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from acme.hubspot.errors import HubSpotError, answer

_OURS = ("/crm/", "/account-info/")
_LONGEST_HANG_SECONDS = 600.0
_WORDS = {
    500: ("INTERNAL_ERROR", "internal error"),
    502: ("BAD_GATEWAY", "bad gateway"),
    503: ("SERVICE_UNAVAILABLE", "service unavailable"),
    504: ("GATEWAY_TIMEOUT", "gateway timeout"),
}


class HubSpotFault(msgspec.Struct, forbid_unknown_fields=True):
    """`times` calls fail, after `skip` that do not. `path` may hold `*`.

    Without anything else the call is answered as always, after `delay` seconds. `status` answers that, with
    `body` (JSON), `text`, or HubSpot's own shape; `policy` makes a 429 that names it. `hang` never answers;
    `reset` cuts the connection within an answer. `after_write`: all this only once the call has been
    carried out; by itself it hangs then.
    """

    path: str = "/crm/*"
    method: str | None = None
    times: int = 1
    skip: int = 0
    delay: float = 0.0
    status: int | None = None
    body: Any = None
    text: str | None = None
    headers: dict[str, str] = {}
    category: str | None = None
    message: str | None = None
    policy: str | None = None
    hang: bool = False
    reset: bool = False
    after_write: bool = False
    seen: int = 0

    def concerns(self, method: str, path: str) -> bool:
        return self.method in {None, method} and fnmatchcase(path, self.path)

    def strikes(self) -> bool:
        """Counts one more call that concerns it."""
        self.seen += 1
        return self.skip < self.seen <= self.skip + self.times

    @property
    def is_spent(self) -> bool:
        return self.seen >= self.skip + self.times

    @property
    def leaves_it_be(self) -> bool:
        return (
            self.status is None and self.policy is None and not (self.hang or self.reset or self.after_write)
        )

    def response(self) -> Response:
        if self.policy is not None:
            response = answer(
                {
                    "status": "error",
                    "message": f"You have reached your {self.policy.lower()} limit.",
                    "errorType": "RATE_LIMIT",
                    "correlationId": str(uuid4()),
                    "policyName": self.policy,
                },
                self.status or 429,
            )
        elif self.text is not None:
            response = Response(self.text, self.status or 200, media_type="text/html; charset=utf-8")
        elif self.body is not None:
            response = answer(self.body, self.status or 200)
        else:
            status = self.status or 500
            category, message = _WORDS.get(status, ("VALIDATION_ERROR", "refused by script"))
            response = HubSpotError(status, self.category or category, self.message or message).answer()
        response.headers.update(self.headers)
        return response


class HubSpotFaults:
    """Middleware in front of HubSpot's own paths."""

    def __init__(self, app: ASGIApp, queue: list[HubSpotFault]) -> None:
        self._app = app
        self._queue = queue

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fault = self._next(scope) if self._queue and scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        if fault.after_write:
            await self._app(scope, receive, _nowhere)
        await asyncio.sleep(fault.delay)
        if fault.leaves_it_be:
            await self._app(scope, receive, send)
        elif fault.reset:
            await _cut(send)
        elif fault.status is not None or fault.policy is not None:
            await fault.response()(scope, receive, send)
        else:
            await _hang(receive)

    def _next(self, scope: Scope) -> HubSpotFault | None:
        path: str = scope["path"]
        if not path.startswith(_OURS):
            return None
        # Every fault counts every call, so that two scripts for one path keep their own count.
        striking = [each for each in self._queue if each.concerns(scope["method"], path) and each.strikes()]
        self._queue[:] = [each for each in self._queue if not each.is_spent]
        return striking[0] if striking else None


async def _nowhere(_: Message) -> None:
    """Where an answer goes that nobody will get."""


async def _hang(receive: Receive) -> None:
    """Until the caller gives up."""
    async with asyncio.timeout(_LONGEST_HANG_SECONDS):
        while (await receive())["type"] != "http.disconnect":
            pass


async def _cut(send: Send) -> None:
    """The server closes a connection whose reply was left unfinished."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"results":[{"id":', "more_body": True})

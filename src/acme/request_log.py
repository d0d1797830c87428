"""What was asked of the sandbox lately."""

from collections import deque

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REMEMBERED = 20_000


class Call(msgspec.Struct, frozen=True):
    method: str
    path: str
    query: str
    status: int
    """0 where no reply was begun."""
    request_id: str
    """The caller's own, by X-Request-Id."""


class RequestLog:
    """Middleware; the scripts' own calls are not remembered."""

    def __init__(self, app: ASGIApp, calls: deque[Call]) -> None:
        self._app = app
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/sandbox/"):
            await self._app(scope, receive, send)
            return
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            query = scope["query_string"].decode("latin-1")
            given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
            self._calls.append(Call(scope["method"], scope["path"], query, status, given))


def empty_log() -> deque[Call]:
    return deque(maxlen=_REMEMBERED)

"""Answers that take as long as Google's, and cost nothing meanwhile."""

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send


class Latency:
    """Middleware; only the Directory API is as far away as that."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/admin/"):
            await asyncio.sleep(self._seconds)
        await self._app(scope, receive, send)

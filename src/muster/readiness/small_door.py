"""What a process that serves no pages answers: the routes for machines, without anything before them."""

import secrets

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from muster.platform.routes import Request
from muster.readiness.health_pages import HealthPages


def small_door(pages: HealthPages) -> ASGIApp:
    handlers = {route.path: route.handler for route in pages.bare()}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        handler = handlers.get(scope["path"]) if scope["method"] in {"GET", "HEAD"} else None
        if handler is None:
            await PlainTextResponse("Nothing is at this address.\n", 404)(scope, receive, send)
            return
        scope["state"] = {"request_id": secrets.token_hex(8)}
        answer = await handler(Request(scope, receive))
        if not isinstance(answer, Response):
            raise TypeError(f"{scope['path']} answers no response of its own")
        answer.headers["x-content-type-options"] = "nosniff"
        await answer(scope, receive, send)

    return app

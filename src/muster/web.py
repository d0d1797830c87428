"""Entry 1, the web: middleware in the order a request meets it, every slice's routes, errors to answers."""

import asyncio
import contextlib
import re
import secrets
import signal
import socket
import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from os import PathLike
from urllib.parse import urlencode

import msgspec
import uvicorn
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, Mount, Router
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from muster.errors import MusterError, NotSignedIn
from muster.platform.effort import Effort
from muster.platform.http_limits import LimitedHttp
from muster.platform.listening import listen
from muster.platform.pages import PACKAGE, Pages
from muster.platform.prometheus import IN_FLIGHT, REQUEST_SECONDS, REQUESTS
from muster.platform.routes import Problem, Request, Route
from muster.platform.security_headers import SecurityHeaders
from muster.platform.telemetry import begin, logger
from muster.platform.tracing import span
from muster.readiness.waiting import until_ready
from muster.settings import Settings
from muster.wiring import Portal, portal

STATUSES = {
    "not_signed_in": HTTPStatus.UNAUTHORIZED,
    "not_allowed": HTTPStatus.FORBIDDEN,
    "sign_in_refused": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "conflict": HTTPStatus.CONFLICT,
    "needs_confirming": HTTPStatus.CONFLICT,
    "invalid": HTTPStatus.UNPROCESSABLE_ENTITY,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too_many": HTTPStatus.TOO_MANY_REQUESTS,
    "unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "vendor_down": HTTPStatus.SERVICE_UNAVAILABLE,
    "vendor_refused": HTTPStatus.BAD_GATEWAY,
}
"""Error code → status; the only place where the two meet. Any other code is a bug: 500."""

TITLES = {
    HTTPStatus.UNAUTHORIZED: "Please sign in",
    HTTPStatus.FORBIDDEN: "This is not open to you",
    HTTPStatus.NOT_FOUND: "There is nothing here",
    HTTPStatus.METHOD_NOT_ALLOWED: "This address does not do that",
    HTTPStatus.CONFLICT: "Somebody was faster",
    HTTPStatus.UNPROCESSABLE_ENTITY: "That could not be understood",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "That is too much at once",
    HTTPStatus.TOO_MANY_REQUESTS: "A little slower, please",
    HTTPStatus.BAD_GATEWAY: "Another service refused",
    HTTPStatus.SERVICE_UNAVAILABLE: "Something we need is away",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something went wrong here",
}

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_REQUEST_ID = re.compile(r"^[\w-]{8,64}$")
_DRAIN_SECONDS = 20
_AGAIN_SECONDS = 5
LEADS_NOWHERE = "/{anywhere:path}"
"""How the addresses end that take whatever no route has."""

HUNG_UP = 499
"""Whoever asked was gone before the answer; the number is nginx's."""
_OURS_AWAY = "One of Muster's own servers does not answer. Nothing was lost; please try again in a minute."
_A_BUG = "This is a fault of Muster's own. It has been written down under the request id below."


def application(made: Portal) -> ASGIApp:
    """Muster as an ASGI application. Outermost first: log and request id, headers, errors, compression."""
    app: ASGIApp = GZipMiddleware(_Router(made), minimum_size=1024, compresslevel=5)
    app = Errors(app, made.pages)
    app = SecurityHeaders(app, https=made.settings.is_https)
    return RequestLog(app)


class RequestLog:
    """Gives every request its id, counts and times it, and writes one line about it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        address = scope["client"][0] if scope.get("client") else ""
        state = scope["state"] = {"request_id": request_id, "address": address}
        started, status = time.perf_counter(), 0
        effort = begin(reqId=request_id)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    *(state["allowance"].headers() if "allowance" in state else ()),
                    *state.get("headers", ()),
                ]
            await send(message)

        IN_FLIGHT.inc()
        try:
            with span(scope["method"], "server", http__request__method=scope["method"]) as tell:
                await self._app(scope, receive, send_with_id)
                status = status or HUNG_UP
                route = state["route"].path if "route" in state else "(none)"
                tell(f"{scope['method']} {route}", http__route=route, http__response__status_code=status)
        except BaseException:
            status = status or 500
            raise
        finally:
            IN_FLIGHT.dec()
            self._count(scope, status, time.perf_counter() - started, effort)

    def _count(self, scope: Scope, status: int, seconds: float, effort: Effort) -> None:
        route: Route | None = scope["state"].get("route")
        # The route's own pattern: a path as it was typed would make a new series for each.
        name = route.path if route else "(none)"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        REQUESTS.labels(method, name, status).inc()
        REQUEST_SECONDS.labels(method, name).observe(seconds)
        if not (route and route.bare and status < 400):
            logger.info(
                "request",
                method=scope["method"],
                path=scope["path"],
                route=name,
                status=status,
                ms=round(seconds * 1000, 1),
                **effort.told(),
            )


class Errors:
    """The web edge: whatever was raised becomes a page, or problem+json for programs."""

    def __init__(self, app: ASGIApp, pages: Pages) -> None:
        self._app = app
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = False

        async def send_noticing(message: Message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_noticing)
        except Exception as error:
            if began:
                logger.exception("answer_broke_off")
                raise
            await self._answer_at_all_costs(Request(scope, receive), error)(scope, receive, send)

    def _answer_at_all_costs(self, request: Request, error: Exception) -> Response:
        try:
            answer = self._answer(request, error)
        except Exception:  # noqa: BLE001  the page that says so may be what is broken
            logger.exception("error_page_failed")
            return Response(_A_BUG, status_code=500, media_type="text/plain")
        if isinstance(error, HTTPException):
            answer.headers.update(error.headers or {})
        return answer

    def _answer(self, request: Request, error: Exception) -> Response:
        if isinstance(error, NotSignedIn) and _is_page(request):
            return RedirectResponse(_sign_in_address(request), status_code=303)
        status, code, explanation = _judged(error)
        if status >= 500:
            logger.error(
                "request_failed", code=code, method=request.method, path=request.url.path, exc_info=error
            )
        if _is_page(request):
            page = self._pages.render(
                request,
                "error.html",
                title=_title(status),
                status=status.value,
                explanation=explanation,
                onward=_onward(code),
            )
            page.headers.update(_advice(status))
            return page
        problem = Problem(
            title=_title(status),
            status=status.value,
            detail=explanation,
            code=code,
            request_id=request.scope["state"]["request_id"],
        )
        return Response(
            msgspec.json.encode(problem),
            status_code=status.value,
            media_type="application/problem+json",
            headers=_advice(status) | (_challenge(request) if isinstance(error, NotSignedIn) else {}),
        )


class _Number(IntegerConvertor):
    """Of so many digits as a number in PostgreSQL may have: Python itself refuses thousands of them."""

    regex = "[0-9]{1,19}"


register_url_convertor("int", _Number())


class _Guarded:
    """A guarded route in the form Starlette's router takes as an application of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


class _Router(Router):
    def __init__(self, made: Portal) -> None:
        guarded: list[BaseRoute] = [
            StarletteRoute(route.path, _Guarded(made.gate.guard(route)), methods=[route.method])
            for route in made.routes
        ]
        # Redirecting by itself it would believe the Host header.
        super().__init__(
            [Mount("/static", Static(directory=PACKAGE / "static")), *guarded], redirect_slashes=False
        )

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # has Starlette raise for 404 and 405 instead of answering by itself
        try:
            await super().__call__(scope, receive, send)
        except HTTPException as error:
            if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
                path, methods = self._found_at(scope)
                if path.endswith(LEADS_NOWHERE):
                    raise HTTPException(HTTPStatus.NOT_FOUND) from None
                error.headers = {"allow": ", ".join(sorted(methods))}
            raise

    def _found_at(self, scope: Scope) -> tuple[str, set[str]]:
        """The address as it is declared, and the methods of every route that has it: Starlette by itself
        would name the first one's only.
        """
        routes = [route for route in self.routes if isinstance(route, StarletteRoute)]
        path = next(route.path for route in routes if route.matches(scope)[0] is not Match.NONE)
        return path, {method for route in routes if route.path == path for method in route.methods or ()}


class Static(StaticFiles):
    """Files of this release: kept for good under `?v=`, asked for again without it."""

    @override
    def file_response(
        self, full_path: str | PathLike[str], stat_result: object, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)  # type: ignore[arg-type]
        versioned = scope["query_string"].startswith(b"v=")
        MutableHeaders(raw=response.raw_headers)["cache-control"] = (
            "public, max-age=31536000, immutable" if versioned else "no-cache"
        )
        return response


class Server(uvicorn.Server):
    """uvicorn, told to stop by us: its own handlers end the process before our servers are closed."""

    @contextlib.contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


async def serve(settings: Settings) -> None:
    """Run the web until SIGTERM: requests under way are finished, new ones no longer taken.

    Raises MusterError when the port cannot be had.
    """
    listening = listen(settings.host, settings.port)
    name = f"web-{socket.gethostname()}-{secrets.token_hex(4)}"
    async with portal(settings, application="muster-web") as made, made.watch.standing_by(name):
        config = uvicorn.Config(
            application(made),
            http=LimitedHttp,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        logger.info("web_started", address=f"http://{settings.host}:{listening.getsockname()[1]}")
        # Whoever asks meanwhile is told that it is not ready, and goes on being answered.
        waiting = asyncio.create_task(until_ready(made.health))
        await Server(config).serve([listening])
        waiting.cancel()
        await asyncio.wait({waiting})
        logger.info("web_stopped")


def _request_id(scope: Scope) -> str:
    """The caller's own where it has the form of one, so that a proxy's log and ours can be joined."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.match(given := value.decode("latin-1")):
            return str(given)
    return secrets.token_hex(8)


def _judged(error: Exception) -> tuple[HTTPStatus, str, str]:
    """Status, code, and words that are safe to show."""
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        said: Mapping[int, str] = {404: "Nothing is at this address.", 405: "Try it another way."}
        return (
            status,
            status.phrase.lower().replace(" ", "_"),
            said.get(status, "The request is not as expected."),
        )
    if isinstance(error, MusterError) and error.code in STATUSES:
        safe = _OURS_AWAY if error.code == "unavailable" else str(error)
        return STATUSES[error.code], error.code, safe
    return HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", _A_BUG


def _onward(code: str) -> dict[str, str]:
    """The button of an error page."""
    if code == "sign_in_refused":
        return {"href": "/sign-in/google", "label": "Use another account"}
    if code == "unavailable":
        return {"href": "/status", "label": "What works and what does not"}
    return {"href": "/", "label": "Back to the dashboard"}


def _title(status: HTTPStatus) -> str:
    return TITLES.get(status, status.phrase)


def _advice(status: HTTPStatus) -> dict[str, str]:
    """When to come again: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after."""
    return {"retry-after": str(_AGAIN_SECONDS)} if status is HTTPStatus.SERVICE_UNAVAILABLE else {}


def _challenge(request: Request) -> dict[str, str]:
    """What may be tried instead: https://www.rfc-editor.org/rfc/rfc6750#section-3."""
    was_tried = "authorization" in request.headers
    return {"www-authenticate": 'Bearer error="invalid_token"' if was_tried else "Bearer"}


def _is_page(request: Request) -> bool:
    if request.url.path.startswith("/api/"):
        return False
    accepts = request.headers.get("accept", "")
    return "text/html" in accepts or ("json" not in accepts and request.url.path not in {"/livez", "/readyz"})


def _sign_in_address(request: Request) -> str:
    if request.method != "GET" or request.url.path == "/":
        return "/sign-in"
    query = f"?{request.url.query}" if request.url.query else ""
    return f"/sign-in?{urlencode({'next': request.url.path + query})}"

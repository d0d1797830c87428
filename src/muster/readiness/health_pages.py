"""For machines: is this process alive, is it ready, and its figures."""

import hmac
from datetime import datetime

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response

from muster import __version__
from muster.access.roles import Permission
from muster.platform.addresses import is_loopback
from muster.platform.routes import API, Anyone, Request, Route
from muster.readiness.figures import Figures
from muster.readiness.health import Health, Report, State

FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
"""By these a request is known to come through a proxy: from whom, only the proxy knows."""

_SETTLED = "no-store"


class Measured(msgspec.Struct, frozen=True):
    status: State
    time: datetime


class Ready(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What anybody may know, in the shape of the IETF's expired health+json draft."""

    status: State
    release_id: str
    checks: dict[str, list[Measured]] = {}


class HealthPages:
    def __init__(self, health: Health, figures: Figures, *, metrics_token: str | None) -> None:
        self._health = health
        self._figures = figures
        self._metrics_token = metrics_token

    def routes(self) -> list[Route]:
        return [
            *self.bare(),
            Route(path=f"{API}/health", handler=self.details, may=Permission.SEE_CHECKLIST, returns=Report),
        ]

    def bare(self) -> list[Route]:
        """Those that a worker answers too, without a session and without Redis."""
        return [
            Route(path="/livez", handler=self.live, may=Anyone.MAY, bare=True),
            Route(path="/readyz", handler=self.ready, may=Anyone.MAY, bare=True),
            Route(path="/metrics", handler=self.metrics, may=Anyone.MAY, bare=True),
        ]

    async def live(self, request: Request) -> Response:
        """Asks nobody: a process that is alive must not be restarted because a server is away."""
        return _answer(Ready(status=State.PASS, release_id=__version__))

    async def ready(self, request: Request) -> Response:
        """Without reasons, which are for people who are signed in."""
        report = await self._health.report()
        checks = {one.name: [Measured(one.status, one.time)] for one in report.components}
        return _answer(Ready(status=report.status, release_id=__version__, checks=checks))

    async def details(self, request: Request) -> Report:
        """Show each component with its time, its age, its last error and since when it is so."""
        return await self._health.report()

    async def metrics(self, request: Request) -> Response:
        """Prometheus text, for who has the token; where none is set, for this machine alone."""
        if refusal := self._refusal(request):
            return refusal
        await self._figures.refresh()
        return Response(
            generate_latest(), media_type=CONTENT_TYPE_LATEST, headers={"cache-control": _SETTLED}
        )

    def _refusal(self, request: Request) -> Response | None:
        if self._metrics_token is not None:
            given = request.headers.get("authorization", "")
            if hmac.compare_digest(given.encode(), f"Bearer {self._metrics_token}".encode()):
                return None
            headers = {"www-authenticate": "Bearer"}
            return PlainTextResponse("Metrics are for who has METRICS_TOKEN.\n", 401, headers)
        came_through = any(name in request.headers for name in FORWARDED)
        if request.client and is_loopback(request.client.host) and not came_through:
            return None
        return PlainTextResponse("Metrics are for this machine alone, unless METRICS_TOKEN is set.\n", 403)


def _answer(ready: Ready) -> Response:
    is_down = ready.status is State.FAIL
    return Response(
        msgspec.json.encode(ready),
        status_code=503 if is_down else 200,
        media_type="application/health+json",
        headers={"cache-control": _SETTLED} | ({"retry-after": "5"} if is_down else {}),
    )

"""What the company's on-call hears: a webhook that takes alerts, and a dead-man switch that takes pings.

Both keep what they got, and can be told to refuse or to hang. A message that comes again under the
Idempotency-Key of an earlier one is counted as a repetition and not kept twice.
"""

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.orders import json, order, read
from acme.tenant import Change

_REMEMBERED = 1000
_HANGS_FOR_SECONDS = 60.0
SWITCH = "11111111-2222-4333-8444-555555555555"


class Behaviour(msgspec.Struct, forbid_unknown_fields=True):
    """How the next `times` messages of a sink fare; 0 is from now on."""

    how: Literal["take", "refuse", "hang"]
    times: int = 0
    status: int = 503


class Kept(msgspec.Struct, frozen=True):
    sink: str
    key: str
    title: str
    message: str
    kind: str
    at: datetime
    """`kind` is apprise's type: info, success, warning or failure."""


class Ping(msgspec.Struct, frozen=True):
    """`what` is start, success or fail."""

    what: str
    body: str
    at: datetime


class _Sent(msgspec.Struct):
    title: str = ""
    message: str = ""
    type: str = ""


class AlertSink:
    def __init__(self) -> None:
        self._kept: deque[Kept] = deque(maxlen=_REMEMBERED)
        self._pings: deque[Ping] = deque(maxlen=_REMEMBERED)
        self._repeated = 0
        self._behaviours: dict[str, Behaviour] = {}

    def routes(self) -> list[Route]:
        return [
            Route("/alerts/{sink}", self._take, methods=["POST"]),
            Route(f"/ping/{SWITCH}", self._ping, methods=["GET", "POST"]),
            Route(f"/ping/{SWITCH}/{{what}}", self._ping, methods=["GET", "POST"]),
            Route("/sandbox/alerts", self._show),
            order("/sandbox/alerts/{sink}", self._behave),
            order("/sandbox/alerts", self._forget),
        ]

    async def _take(self, request: Request) -> Response:
        sink = request.path_params["sink"]
        if refusal := await self._fare(sink):
            return refusal
        sent = await read(request, _Sent)
        key = request.headers.get("idempotency-key", "")
        if key and any(one.key == key and one.sink == sink for one in self._kept):
            self._repeated += 1
        else:
            self._kept.append(Kept(sink, key, sent.title, sent.message, sent.type, datetime.now(UTC)))
        return json({"taken": True})

    async def _ping(self, request: Request) -> Response:
        if refusal := await self._fare("ping"):
            return refusal
        body = (await request.body()).decode(errors="replace")
        self._pings.append(Ping(request.path_params.get("what", "success"), body, datetime.now(UTC)))
        return Response("OK", media_type="text/plain")

    async def _fare(self, sink: str) -> Response | None:
        """What a sink answers that was told not to take anything."""
        behaviour = self._behaviours.get(sink)
        if behaviour is None or behaviour.how == "take":
            return None
        if behaviour.times:
            behaviour.times -= 1
            if not behaviour.times:
                del self._behaviours[sink]
        if behaviour.how == "hang":
            await asyncio.sleep(_HANGS_FOR_SECONDS)
        return Response("not now", behaviour.status, media_type="text/plain")

    async def _show(self, _: Request) -> Response:
        return json({"kept": list(self._kept), "pings": list(self._pings), "repeated": self._repeated})

    async def _behave(self, request: Request) -> Response:
        behaviour = await read(request, Behaviour)
        self._behaviours[request.path_params["sink"]] = behaviour
        return json({"sink": request.path_params["sink"], "how": behaviour.how})

    async def _forget(self, _: Request) -> Response:
        self.rewound()
        return json({})

    def changed(self, change: Change) -> None:
        """Whoever is on call hears nothing of who works there."""

    def rewound(self) -> None:
        self._kept.clear()
        self._pings.clear()
        self._behaviours.clear()
        self._repeated = 0

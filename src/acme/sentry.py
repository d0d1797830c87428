"""Where errors are reported to: takes Sentry's envelopes, and shows scripts what arrived.

https://develop.sentry.dev/sdk/data-model/envelopes/
"""

import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.orders import json, order, read

_KEPT = 1_000
_LARGEST = 20 * 2**20
KEY = "5e1f0acme5e1f0acme5e1f0acme5e1f0"
PROJECT = 1


class Mood(msgspec.Struct, forbid_unknown_fields=True):
    """How envelopes are answered: with `status`, and, if `is_lossy`, kept nowhere."""

    status: int = 200
    is_lossy: bool = False


class Sentry:
    def __init__(self, address: str) -> None:
        self.dsn = f"{address.replace('://', f'://{KEY}@', 1)}/{PROJECT}"
        self._events: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._mood = Mood()

    def routes(self) -> list[Route]:
        return [
            Route(f"/api/{PROJECT}/envelope/", self._take, methods=["POST"]),
            Route("/sandbox/sentry", self._list),
            Route("/sandbox/sentry/{event_id}", self._show),
            order("/sandbox/sentry/mood", self._set_mood),
            order("/sandbox/sentry/reset", self._reset),
        ]

    async def _take(self, request: Request) -> Response:
        if f"sentry_key={KEY}" not in request.headers.get("x-sentry-auth", ""):
            return json({"detail": "bad sentry DSN public key"}, 403)
        if self._mood.status != 200:
            return json({"detail": "as it was told to"}, self._mood.status)
        try:
            header, items = _opened(_plain(await request.body(), request.headers.get("content-encoding", "")))
        except (ValueError, EOFError, OSError, zlib.error) as error:  # gzip says what is none by OSError
            return json({"detail": f"bad envelope: {error}"}, 400)
        if not self._mood.is_lossy:
            self._events += [event for kind, event in items if kind == "event"]
        return json({"id": header.get("event_id", "")})

    async def _list(self, _: Request) -> Response:
        return json({"count": len(self._events), "events": list(self._events)})

    async def _show(self, request: Request) -> Response:
        wanted = request.path_params["event_id"]
        found = next((event for event in self._events if event.get("event_id") == wanted), None)
        return json({"error": "no such event"}, 404) if found is None else json(found)

    async def _set_mood(self, request: Request) -> Response:
        self._mood = await read(request, Mood)
        return json({})

    async def _reset(self, _: Request) -> Response:
        self._mood = Mood()
        self._events.clear()
        return json({})


def _plain(body: bytes, encoding: str) -> bytes:
    """Raises ValueError for what is packed otherwise, or into too little."""
    if encoding == "gzip":
        body = gzip.decompress(body)
    elif encoding == "deflate":
        body = zlib.decompress(body)
    elif encoding:
        raise ValueError(f"{encoding} is not understood here")
    if len(body) > _LARGEST:
        raise ValueError("too large")
    return body


def _opened(envelope: bytes) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    """Its header, and its items as kind and content. Raises ValueError."""
    header, _, rest = envelope.partition(b"\n")
    return msgspec.json.decode(header, type=dict[str, Any]), list(_items(rest))


def _items(rest: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    while rest.strip():
        line, _, rest = rest.partition(b"\n")
        described = msgspec.json.decode(line, type=dict[str, Any])
        length = described.get("length")
        if isinstance(length, int):
            content, rest = rest[:length], rest[length:].removeprefix(b"\n")
        else:
            content, _, rest = rest.partition(b"\n")
        kind = str(described.get("type", ""))
        yield kind, msgspec.json.decode(content, type=dict[str, Any]) if kind == "event" else {}

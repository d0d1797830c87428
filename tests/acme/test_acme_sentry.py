"""The sandbox's Sentry, as any client of Sentry's meets it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import pytest

if TYPE_CHECKING:
    import httpx2
    from tests.acme.conftest import Sandbox

EVENT = {"event_id": "a" * 32, "message": "two\nlines"}


def envelope(*items: tuple[dict[str, Any], bytes], **header: str) -> bytes:
    lines = [msgspec.json.encode(header)]
    for described, content in items:
        lines += [msgspec.json.encode(described), content]
    return b"\n".join(lines) + b"\n"


def send(acme: Sandbox, body: bytes, *, key: str | None = None, **headers: str) -> httpx2.Response:
    dsn = urlsplit(acme.settings["sentry_dsn"])
    auth = f"Sentry sentry_version=7, sentry_key={key or dsn.username}"
    return acme.http.post(
        f"/api{dsn.path}/envelope/", content=body, headers={"x-sentry-auth": auth, **headers}
    )


@pytest.fixture(autouse=True)
def emptied(acme: Sandbox) -> None:
    acme.order("sentry/reset")


def test_an_event_is_taken_and_shown(acme: Sandbox) -> None:
    content = msgspec.json.encode(EVENT)
    body = envelope(
        ({"type": "attachment", "length": 5}, b"a\nb\nc"),
        ({"type": "event", "length": len(content)}, content),
        event_id="a" * 32,
    )

    assert send(acme, body).json() == {"id": "a" * 32}
    assert acme.http.get("/sandbox/sentry").json() == {"count": 1, "events": [EVENT]}
    assert acme.http.get(f"/sandbox/sentry/{'a' * 32}").json() == EVENT
    assert acme.http.get("/sandbox/sentry/other").status_code == 404


def test_one_without_a_length_and_packed_is_taken_as_well(acme: Sandbox) -> None:
    body = envelope(({"type": "event"}, msgspec.json.encode(EVENT)), event_id="a" * 32)

    assert send(acme, gzip.compress(body), **{"content-encoding": "gzip"}).status_code == 200
    assert acme.http.get("/sandbox/sentry").json()["count"] == 1


def test_what_is_no_envelope_or_no_key_of_the_project_is_refused(acme: Sandbox) -> None:
    assert send(acme, b"nonsense").status_code == 400
    assert send(acme, b"not packed", **{"content-encoding": "gzip"}).status_code == 400
    assert send(acme, envelope(), **{"content-encoding": "br"}).status_code == 400
    assert send(acme, envelope(), key="other").status_code == 403


def test_it_can_be_in_a_mood(acme: Sandbox) -> None:
    body = envelope(({"type": "event"}, msgspec.json.encode(EVENT)), event_id="a" * 32)
    acme.order("sentry/mood", status=429)
    assert send(acme, body).status_code == 429

    acme.order("sentry/mood", is_lossy=True)
    assert send(acme, body).status_code == 200

    assert acme.http.get("/sandbox/sentry").json()["count"] == 0

"""What this web process answered, written down by the minute: who watches is another process."""

import os
import socket
from collections.abc import Iterator
from datetime import timedelta
from http import HTTPStatus
from typing import NamedTuple

from muster.platform.database import Database
from muster.platform.prometheus import REQUESTS

KEPT_FOR = timedelta(hours=6)
CALLBACK = "/sign-in/google/callback"
_AWAY = HTTPStatus.SERVICE_UNAVAILABLE
"""A server that is away has an alert of its own."""


class Counts(NamedTuple):
    requests: int = 0
    faults: int = 0
    refused_sign_ins: int = 0

    def since(self, before: "Counts") -> "Counts":
        return Counts(*(now - then for now, then in zip(self, before, strict=True)))


class WebMinutes:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._written = Counts()

    async def write(self, name: str) -> None:
        """What was answered since the last time. Raises Unavailable, and it is in the next then."""
        now = _counts()
        async with self._database.transaction() as tx:
            await tx.execute(
                _ADD, [f"{socket.gethostname()}:{os.getpid()}:{name}"[:100], *now.since(self._written)]
            )
            await tx.execute("DELETE FROM web_minutes WHERE minute < now() - %s", [KEPT_FOR])
        self._written = now


def _counts() -> Counts:
    requests = faults = refused = 0
    for route, status, times in _answers():
        requests += times
        faults += times if status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != _AWAY else 0
        refused += times if route == CALLBACK and 400 <= status < 500 else 0
    return Counts(requests, faults, refused)


def _answers() -> Iterator[tuple[str, int, int]]:
    for metric in REQUESTS.collect():
        for sample in metric.samples:
            if sample.name.endswith("_total"):
                yield sample.labels["route"], int(sample.labels["status"]), int(sample.value)


_ADD = """
INSERT INTO web_minutes (minute, process, requests, faults, refused_sign_ins)
VALUES (date_trunc('minute', now()), %s, %s, %s, %s)
ON CONFLICT (minute, process) DO UPDATE SET
    requests = web_minutes.requests + excluded.requests, faults = web_minutes.faults + excluded.faults,
    refused_sign_ins = web_minutes.refused_sign_ins + excluded.refused_sign_ins
"""

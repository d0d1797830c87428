"""Webhooks on their way: under a hundred events a call, signed, and tried again for a day, a quick one."""

import asyncio
import hmac
import re
from base64 import b64encode
from collections import deque
from collections.abc import Coroutine
from hashlib import sha256
from typing import Literal

import httpx2
import msgspec

from acme.hubspot.kinds import Kind
from acme.hubspot.moments import SECOND
from acme.hubspot.portal import Happening, Portal
from acme.hubspot.records import Record
from acme.hubspot.webhook_events import Event, Form, event_of

_MOST_EVENTS = 99
_PATIENCE_SECONDS = 5.0
_TRIES = 11  # once, and ten times more
_GATHERING_SECONDS = 0.05
_AT_ONCE = 10
_REMEMBERED = 200
_LOOPBACK = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\])(:\d+)?/\S*")
_OLD, _AHEAD = -360 * SECOND, 600 * SECOND

FaultKind = Literal["lost", "doubled", "shuffled", "late", "forged", "old", "future"]


class WebhookFault(msgspec.Struct, forbid_unknown_fields=True):
    """The next `times` calls fare so. `shuffled`: each event by itself, the last one first."""

    kind: FaultKind
    times: int = 1
    seconds: float = 1.0


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """Those of the app. `day_seconds`: how long the day takes that HubSpot keeps trying."""

    target: str | None = None
    form: Form = "object"
    day_seconds: float = 20.0
    is_paused: bool = False


class Sent(msgspec.Struct, frozen=True):
    """One try."""

    events: int
    attempt: int
    status: int | None
    """None without an answer."""


class Webhooks:
    def __init__(self, portal: Portal, secret: str, target: str | None) -> None:
        self._portal = portal
        self._secret = secret
        self._first_target = target
        self._client: httpx2.AsyncClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.rewound()

    def rewound(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.settings = Settings(self._first_target)
        self.faults: list[WebhookFault] = []
        self.sent: deque[Sent] = deque(maxlen=_REMEMBERED)
        self.delivered = self.given_up = self.pending = 0
        self._events = 0
        self._waiting: list[Event] = []
        self._free = asyncio.Semaphore(_AT_ONCE)

    def record_changed(self, kind: Kind, record: Record) -> None:
        """Events tell more than that."""

    def happened(self, happening: Happening) -> None:
        """Returns at once."""
        if self.settings.target is None or self.settings.is_paused:
            return
        self._events += 1
        self._waiting.append(event_of(happening, 3_100_000_000 + self._events, self.settings.form))
        self.pending += 1
        if len(self._waiting) == 1:
            self._start(self._gather(self._waiting))

    async def _gather(self, events: list[Event]) -> None:
        """What happens together travels together."""
        await asyncio.sleep(_GATHERING_SECONDS)
        self._waiting = []
        fault = self._fault()
        kind = None if fault is None else fault.kind
        if kind == "shuffled":
            batches = [[event] for event in reversed(events)]
        else:
            batches = [events[at : at + _MOST_EVENTS] for at in range(0, len(events), _MOST_EVENTS)]
        if kind == "lost":
            self.pending -= len(events)
            return
        if kind == "late" and fault is not None:
            await asyncio.sleep(fault.seconds)
        for batch in batches:
            for _ in range(2 if kind == "doubled" else 1):
                self._start(self._deliver(batch, kind))
            if kind == "doubled":
                self.pending += len(batch)

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _fault(self) -> WebhookFault | None:
        if not self.faults:
            return None
        fault = self.faults[0]
        fault.times -= 1
        if not fault.times:
            self.faults.pop(0)
        return fault

    async def _deliver(self, events: list[Event], fault: FaultKind | None) -> None:
        for attempt in range(_TRIES):
            target = self.settings.target
            if target is None:
                break
            async with self._free:
                status = await self._post(
                    target, [each | {"attemptNumber": attempt} for each in events], fault
                )
            self.sent.append(Sent(len(events), attempt, status))
            if status is not None and 200 <= status < 300:
                self.delivered += len(events)
                break
            if attempt == _TRIES - 1:
                self.given_up += len(events)
                break
            # Twice as long each time, a day in all.
            await asyncio.sleep(self.settings.day_seconds * 2**attempt / (2 ** (_TRIES - 1) - 1))
        self.pending -= len(events)

    async def _post(self, target: str, events: list[Event], fault: FaultKind | None) -> int | None:
        if self._client is None:
            self._client = httpx2.AsyncClient(trust_env=False, timeout=_PATIENCE_SECONDS)
        body = msgspec.json.encode(events)
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                headers = self._headers(target, body, fault)
                answer = await self._client.post(target, content=body, headers=headers)
        except (httpx2.TransportError, TimeoutError):
            return None
        return answer.status_code

    def _headers(self, target: str, body: bytes, fault: FaultKind | None) -> dict[str, str]:
        moment = self._portal.now() + {"old": _OLD, "future": _AHEAD}.get(fault or "", 0)
        secret = "another secret" if fault == "forged" else self._secret
        return {
            "Content-Type": "application/json;charset=utf-8",
            "User-Agent": "HubSpot Connect 2.0 (namespace: webhooks-nio-http-client)",
            "X-HubSpot-Request-Timestamp": str(moment),
            "X-HubSpot-Signature-v3": signature(secret, target, body, moment),
            "X-HubSpot-Signature": sha256(secret.encode() + body).hexdigest(),
            "X-HubSpot-Signature-Version": "v1",
        }


def is_loopback(address: str) -> bool:
    """The sandbox sends nothing to anybody else's machine."""
    return _LOOPBACK.fullmatch(address) is not None


def signature(secret: str, uri: str, body: bytes, moment: int) -> str:
    """Version 3."""
    signed = b"POST" + uri.encode() + body + str(moment).encode()
    return b64encode(hmac.digest(secret.encode(), signed, "sha256")).decode()

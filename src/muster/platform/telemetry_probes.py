"""Canaries through the log and to Sentry: that they arrive, and that what was planted in them does not."""

import json
import logging
import secrets
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import httpx2
import structlog
from typing_extensions import override

from muster.platform.error_reports import ErrorReports
from muster.platform.probe import Failed, NotApplicable, Probe
from muster.platform.telemetry import Lines

CANARY_EVERY = timedelta(hours=6)
"""Sentry counts what it takes, and somebody pays for it."""

_FIELDS: dict[str, type] = {"level": int, "time": int, "pid": int, "hostname": str, "name": str, "msg": str}
_COLOURS = "\x1b["


class Planted:
    """Made-up secrets of every form that a portal handles, and a text that holds them all."""

    def __init__(self) -> None:
        word = secrets.token_urlsafe
        self.secrets = {
            "session id": word(32),
            "API token": f"muster_{word(32)}",
            "Google token": f"ya29.{word(24)}",
            "HubSpot token": f"pat-eu1-{secrets.token_hex(8)}",
            "client secret": f"GOCSPX-{word(20)}",
            "JWT": f"{word(24)}.{word(48)}",
            "bearer token": word(18),
            "database password": secrets.token_hex(9),
            "Redis password": secrets.token_hex(9),
            "cookie": secrets.token_hex(9),
            "named password": secrets.token_hex(9),
        }
        hidden = self.secrets
        self.text = "\n".join(
            (
                *(hidden[name] for name in ("session id", "API token", "Google token", "HubSpot token")),
                hidden["client secret"],
                f"eyJ{hidden['JWT']}.{word(8)}",
                f"Authorization: Bearer {hidden['bearer token']}",
                f"postgresql://muster:{hidden['database password']}@db.invalid/muster",
                f"redis://:{hidden['Redis password']}@redis.invalid:6379",
                f"Cookie: muster_session={hidden['cookie']}; theme=dark",
                f"{{'password': '{hidden['named password']}'}}",
            )
        )

    def found_in(self, text: str) -> list[str]:
        return [name for name, secret in self.secrets.items() if secret in text]


class LogProbe:
    def probes(self) -> list[Probe]:
        return [Probe(row="logs.readable", ask=self.readable)]

    async def readable(self) -> str:
        handler, planted = _handler(), Planted()
        lines = _canaries(handler, planted)
        if found := planted.found_in("\n".join(lines)):
            raise Failed(f"a line of the log held what was planted in it: {', '.join(found)}")
        without = f"none of {len(planted.secrets)} planted secrets in them"
        if handler.readable:
            _check_characters(lines)
            return f"{len(lines)} lines for the terminal that reads along (JSON elsewhere), {without}"
        for line in lines:
            _check_fields(line)
        return f"{len(lines)} lines with Pino's fields, error and stack included, {without}"


def _handler() -> Lines:
    """Where this process's lines go. Raises Failed if some go elsewhere."""
    handlers = logging.getLogger().handlers
    ours = next((one for one in handlers if isinstance(one, Lines)), None)
    if ours is None:
        raise Failed("lines of the log do not go through Muster's handler: something has configured another")
    terminals = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    if any(getattr(one, "stream", None) in terminals for one in handlers if one is not ours):
        raise Failed("a handler beside Muster's writes lines that nobody cleans")
    return ours


def _canaries(handler: Lines, planted: Planted) -> list[str]:
    """A line of ours and one of a library's, as they would be written; nobody has to read them."""
    tap = _Tap(handler)
    loose = logging.Logger("muster.canary")  # noqa: LOG001  of its own, so that no other handler hears it
    loose.addHandler(tap)
    try:
        int(planted.text)
    except ValueError as error:
        structlog.wrap_logger(loose).error(
            f"canary {planted.text}", client_secret=planted.text, note=planted.text, exc_info=error
        )
        loose.warning("canary %s", planted.text, exc_info=error)
    return tap.lines


class _Tap(logging.Handler):
    def __init__(self, handler: Lines) -> None:
        super().__init__()
        self._handler = handler
        self.lines: list[str] = []

    @override
    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self._handler.format(record))


def _check_fields(line: str) -> None:
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise Failed("a line of the log is no JSON") from error
    wrong = [name for name, kind in _FIELDS.items() if not isinstance(told.get(name), kind)]
    cause = told.get("err")
    if not isinstance(cause, dict) or not {"type", "message", "stack"} <= cause.keys():
        wrong.append("err")
    if wrong:
        raise Failed(f"a line of the log lacks what Pino's have: {', '.join(wrong)}")


def _check_characters(lines: Sequence[str]) -> None:
    for line in lines:
        if any(not char.isprintable() and char != "\n" for char in line.replace(_COLOURS, "")):
            raise Failed("a line of the log held a character that a terminal acts on")


class ErrorProbe:
    """`sandbox` is where the sandbox's Sentry is, which can be asked what arrived; "" for a real one."""

    def __init__(self, reports: ErrorReports | None, http: httpx2.AsyncClient, *, sandbox: str) -> None:
        self._reports = reports
        self._http = http
        self._sandbox = sandbox
        self._taken: tuple[str, float] | None = None

    def probes(self) -> list[Probe]:
        return [Probe(row="sentry.arrives", ask=self.arrives)]

    async def arrives(self) -> str:
        if self._reports is None:
            raise NotApplicable("SENTRY_DSN is not set: errors are in the log and nowhere else")
        if self._sandbox:
            return await self._seen_to_arrive(self._reports)
        return await self._taken_lately(self._reports)

    async def _seen_to_arrive(self, reports: ErrorReports) -> str:
        planted = Planted()
        event_id = await reports.try_out(planted.text)
        try:
            answer = await self._http.get(f"{self._sandbox}/sandbox/sentry/{event_id}")
        except httpx2.HTTPError as error:
            raise Failed(f"the sandbox does not say what arrived ({type(error).__name__})") from error
        if answer.status_code != 200:
            raise Failed(f"event {event_id} was taken and did not arrive: {answer.status_code}")
        if found := planted.found_in(answer.text):
            raise Failed(f"event {event_id} arrived with what was planted in it: {', '.join(found)}")
        return f"event {event_id} arrived at the sandbox, without its {len(planted.secrets)} planted secrets"

    async def _taken_lately(self, reports: ErrorReports) -> str:
        """Acceptance is what can be shown of a real Sentry: it lets nobody who sends read."""
        now = time.monotonic()
        if reports.trouble or not self._taken or now - self._taken[1] > CANARY_EVERY.total_seconds():
            self._taken = (await reports.try_out(Planted().text), now)
        event_id, at = self._taken
        return (
            f"{reports.host} took canary {event_id} {(now - at) / 60:.0f} min ago, and every report since; "
            "that it is kept there, and without its planted secrets, is seen by looking it up"
        )

"""Bugs, reported to Sentry: what the log has as an error with a cause nobody expected, cleaned as the log is.

The SDK is imported where a DSN is set and nowhere else, and none of its integrations are used: it looks at
no request, no local variable and no library. What is sent is what is put together here.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect
from typing_extensions import override

from muster import __version__
from muster.errors import Refusal, SettingsError, Unavailable, VendorDown, VendorError, VendorRefused
from muster.platform import effort
from muster.platform.redaction import Redaction
from muster.platform.telemetry import bound, error_of

if TYPE_CHECKING:
    from types import TracebackType

    from sentry_sdk.types import Event, Hint

    from muster.platform.sentry_line import Line

VENDOR = "Sentry"
PER_KIND, PER_MINUTE = 5, 60
"""Reports a minute of one error, and of all."""

FLUSHED_WITHIN = 2.0
ANSWERS_WITHIN = 10.0
_REMEMBERED = 200

EXPECTED = (
    *(Refusal, VendorError, Unavailable, SettingsError),
    *(ClientDisconnect, ConnectionError, asyncio.CancelledError, KeyboardInterrupt, SystemExit),
)
"""What happens to a portal in good order: somebody's mistake, somebody else's outage, a browser that left."""

_LEVELS = {logging.ERROR: "error", logging.CRITICAL: "fatal"}
_FIELDS = ("event", "exc_info", "level", "reqId", "jobId", "job", "account")


class ErrorReports:
    def __init__(self, dsn: str, *, redaction: Redaction, environment: str, process: str) -> None:
        import sentry_sdk  # noqa: PLC0415  some ten megabytes, for who has a DSN
        from sentry_sdk.utils import event_from_exception  # noqa: PLC0415

        from muster.platform.sentry_line import Line  # noqa: PLC0415

        self.host = urlsplit(dsn).hostname or ""
        self._redaction = redaction
        self._process = process
        self._event_from = event_from_exception
        self._client = sentry_sdk.Client(
            dsn=dsn,
            transport=Line,
            release=f"muster@{__version__}",
            environment=environment,
            before_send=self._cleaned,
            default_integrations=False,
            auto_enabling_integrations=False,
            include_local_variables=False,
            send_client_reports=False,
            auto_session_tracking=False,
            enable_backpressure_handling=False,
            max_request_body_size="never",
            spotlight=False,
            http_proxy="",
            https_proxy="",
            _experiments={"transport_compression_level": 6},
        )
        self._flood = _Flood()
        self._handler = _Handler(self)

    def __enter__(self) -> Self:
        logging.getLogger().addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        """Reports what ends the block, and waits for what is under way, but not for long."""
        logging.getLogger().removeHandler(self._handler)
        if error:
            self.report(error, level="fatal", event="process_crashed", fields={})
        self._client.close(timeout=FLUSHED_WITHIN)

    def report(
        self, error: BaseException | None, *, level: str, event: str, fields: dict[str, Any]
    ) -> str | None:
        """The id of the event, None for what is expected or was reported often enough."""
        if isinstance(error, EXPECTED) or not self._flood.lets_through(_kind(error, event)):
            return None
        return self._capture(error, level=level, event=event, fields=fields)

    async def try_out(self, planted: str) -> str:
        """Send an error that is none, with `planted` wherever a secret may slip in; the id under which Sentry
        took it. Raises VendorDown or VendorRefused.
        """
        event_id = self._capture(
            _canary(planted),
            level="info",
            event=f"canary {planted}",
            fields={"client_secret": planted, "note": planted, "nested": [{"told": planted}]},
            fingerprint=["muster-canary"],
        )
        if event_id is None:
            raise VendorDown(VENDOR, "the SDK did not take the canary")
        return await self._taken(event_id)

    async def _taken(self, event_id: str) -> str:
        deadline = time.monotonic() + ANSWERS_WITHIN
        while (fate := self._line.fates.get(event_id)) is None:
            if time.monotonic() > deadline:
                raise VendorDown(VENDOR, f"{self.host} has not answered within {ANSWERS_WITHIN:.0f} s")
            await asyncio.sleep(0.02)
        if fate == "":
            return event_id
        failure = VendorRefused if fate.startswith("4") and not fate.startswith("429") else VendorDown
        raise failure(VENDOR, f"{self.host}: {fate}")

    @property
    def trouble(self) -> str:
        """Why the last report was not taken, "" if it was."""
        return self._line.trouble

    @property
    def _line(self) -> "Line":
        return self._client.transport  # type: ignore[return-value]  # the one it was given

    def _capture(
        self,
        error: BaseException | None,
        *,
        level: str,
        event: str,
        fields: dict[str, Any],
        fingerprint: list[str] | None = None,
    ) -> str | None:
        told: Event = {"message": event}
        hint: Hint = {}
        if error is not None:
            told, hint = self._event_from(error, client_options=self._client.options)
        told |= {
            "level": level,  # type: ignore[typeddict-item]
            "logger": event,
            "tags": self._tags(),
            "extra": {key: value for key, value in fields.items() if key not in _FIELDS},
            "breadcrumbs": {"values": _crumbs()},
        }
        if fingerprint:
            told["fingerprint"] = fingerprint
        if account := bound().get("account"):
            told["user"] = {"id": str(account)}
        return self._client.capture_event(told, hint)

    def _tags(self) -> dict[str, str]:
        fields = bound()
        names = {"request_id": "reqId", "job_id": "jobId", "job": "job"}
        return {"process": self._process} | {
            tag: str(fields[name]) for tag, name in names.items() if fields.get(name)
        }

    def _cleaned(self, event: "Event", _: "Hint") -> "Event":
        """The last that happens to an event: whoever put what into it."""
        if request := event.get("request"):
            event["request"] = {key: request[key] for key in ("method", "url") if key in request}
        event["user"] = {"id": (event.get("user") or {}).get("id", "")}
        clean: Event = self._redaction.value(event, lines=True)
        return clean


class Canary(Exception):
    """Sent on purpose: nothing is wrong."""


def _canary(planted: str) -> Canary:
    try:
        int(planted)
    except ValueError as error:
        canary = Canary(f"nothing is wrong; this was sent to see it arrive: {planted}")
        canary.__cause__ = error
        return canary
    raise ValueError("a planted secret is no number")


class _Handler(logging.Handler):
    """Hears every line of the log that is written: errors are reported, the others told of with the next."""

    def __init__(self, reports: ErrorReports) -> None:
        super().__init__(logging.INFO)
        self._reports = reports

    @override
    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = record.msg if isinstance(record.msg, dict) else {}
        event = str(fields.get("event") or record.getMessage())
        if record.levelno < logging.ERROR:
            if at_hand := effort.at_hand():
                at_hand.lines.append(_crumb(record, event, fields))
            return
        try:
            error = error_of(fields.get("exc_info") or record.exc_info)
            level = _LEVELS.get(record.levelno, "error")
            self._reports.report(error, level=level, event=event, fields=fields)
        except Exception:  # noqa: BLE001  telling of an error must not be another
            logging.getLogger("muster").warning("error_not_reported", extra={"about": event})


def _crumb(record: logging.LogRecord, event: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
        "level": record.levelname.lower(),
        "category": record.name,
        "message": event,
        "data": {key: value for key, value in fields.items() if key not in _FIELDS},
    }


def _crumbs() -> list[dict[str, Any]]:
    at_hand = effort.at_hand()
    return list(at_hand.lines) if at_hand else []


def _kind(error: BaseException | None, event: str) -> str:
    """Errors of one type that come from one line are of one kind."""
    if error is None:
        return event
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__qualname__} {where}"


class _Flood:
    """One error that comes a thousand times a second is one to know of, not a thousand to send."""

    def __init__(self) -> None:
        self._kinds: OrderedDict[str, list[float]] = OrderedDict()
        self._all: list[float] = []

    def lets_through(self, kind: str) -> bool:
        now = time.monotonic()
        self._all = [at for at in self._all if now - at < 60]
        of_kind = [at for at in self._kinds.pop(kind, []) if now - at < 60]
        passes = len(of_kind) < PER_KIND and len(self._all) < PER_MINUTE
        if passes:
            of_kind.append(now)
            self._all.append(now)
        self._kinds[kind] = of_kind
        if len(self._kinds) > _REMEMBERED:
            self._kinds.popitem(last=False)
        return passes

"""Log lines that Pino's tools read."""

import json
import logging
import os
import re
import socket
import sys
import traceback
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

from muster.platform import effort
from muster.platform.effort import Effort
from muster.platform.redaction import Redaction

PINO_LEVELS = {"trace": 10, "debug": 20, "info": 30, "warn": 40, "warning": 40, "error": 50, "critical": 60}
_PYTHON_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_QUIET = ("httpcore2", "httpx2", "asyncio", "bullmq", "alembic.runtime.migration", "urllib3", "uvicorn")

_NO_HEADER = re.compile(r"[^A-Za-z0-9_.:-]")

logger: structlog.stdlib.BoundLogger = structlog.get_logger("muster")
bind = bind_contextvars


def begin(**fields: Any) -> Effort:
    """A request or a job begins: `fields` stand in each line about it, and what it costs is counted anew."""
    clear_contextvars()
    bind_contextvars(**fields)
    return effort.begin()


def trail() -> str:
    """By which the log of somebody we ask can be joined to ours: the request's id, or else the job's."""
    bound = get_contextvars()
    found = str(bound.get("reqId") or bound.get("jobId") or "")
    return _NO_HEADER.sub("-", found)[:100]


class Lines(logging.StreamHandler[TextIO]):
    """Where every line of this process goes, ours and the libraries', JSON or `readable`."""

    def __init__(
        self, stream: TextIO, redaction: Redaction, *, name: str, readable: bool, plain: bool
    ) -> None:
        super().__init__(stream)
        self.readable = readable
        self.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                foreign_pre_chain=_SHARED,
                processors=[
                    _folded,
                    _Clean(redaction),
                    *(_readable(plain=plain) if readable else [_pino(name), _as_json]),
                ],
            )
        )

    @override
    def handleError(self, record: logging.LogRecord) -> None:
        """A line that cannot be made says so instead of printing what it was to be made of."""
        if not isinstance(sys.exc_info()[1], OSError | ValueError):  # whoever read it is gone
            where = f"{record.pathname}:{record.lineno}"
            told = {"msg": "log_line_failed", "levelno": logging.WARNING, "levelname": "WARNING", "at": where}
            self.emit(logging.makeLogRecord({**told, "name": record.name}))


def configure(
    level: str,
    *,
    name: str,
    colours: bool | None = None,
    plain: bool = False,
    stream: TextIO | None = None,
    secrets: Iterable[str] = (),
) -> None:
    """JSON lines on `stream` (standard output), readable ones if it is a terminal or `colours` says so;
    `plain` has those without colours. What is among `secrets` is in no line.
    """
    stream = stream or sys.stdout
    readable = stream.isatty() if colours is None else colours
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [Lines(stream, Redaction(secrets), name=name, readable=readable, plain=plain)]
    root.setLevel(_PYTHON_LEVELS[level])
    # The pool tells of every attempt; whoever asks it for a connection says what that means.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    for quiet in _QUIET:
        logging.getLogger(quiet).setLevel(max(logging.WARNING, _PYTHON_LEVELS[level]))
    logging.captureWarnings(capture=True)
    # No line has these, and finding them out is a fifth of the cost of one.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    sys.excepthook = _crashed


def _crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What ends the process is a line of the log, too, and cleaned as one."""
    if isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        logger.critical("process_crashed", exc_info=error)


_SHARED: Sequence[Processor] = (
    merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
)


def _folded(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """The exception as Pino's `err`, in words: what follows looks at words alone."""
    if error := _error(event.pop("exc_info", None) or event["_record"].exc_info):
        event["err"] = error
    return event


class _Clean:
    """Nothing leaves this process's log that must not be read there, or that a terminal would act on."""

    def __init__(self, redaction: Redaction) -> None:
        self._redaction = redaction

    def __call__(self, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
        clean = self._redaction.value
        for key, value in event.items():
            if type(value) not in _HARMLESS and key not in _OURS:
                event[key] = clean(value, name=key, lines=key == "err")
        return event


_OURS = frozenset({"_record", "_from_structlog", "level"})
_HARMLESS = frozenset({int, float, bool, type(None)})


def _readable(*, plain: bool) -> list[Processor]:
    def told(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        if error := event.pop("err", None):
            event["exception"] = error["stack"]
        return event

    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        told,
        structlog.dev.ConsoleRenderer(
            colors=not plain,
            pad_event_to=20,
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,
        ),
    ]


def _pino(name: str) -> Processor:
    """The fields of https://getpino.io/#/docs/api?id=logger: level, time, pid, hostname, name, msg, err."""
    fixed = {"pid": os.getpid(), "hostname": socket.gethostname(), "name": name}

    def render(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        record: logging.LogRecord = event.pop("_record")
        event.pop("_from_structlog", None)
        line: dict[str, Any] = {
            "level": PINO_LEVELS.get(event.pop("level", "info"), 30),
            "time": int(record.created * 1000),
            **fixed,
        }
        message = event.pop("event")
        if not line.keys().isdisjoint(event):
            event = {f"{key}_" if key in line else key: value for key, value in event.items()}
        return {**line, **event, "msg": str(message)}

    return render


_encoder = json.JSONEncoder(default=str)


def _as_json(_: WrappedLogger, __: str, event: EventDict) -> str:
    return _encoder.encode(event)


def _error(exc_info: Any) -> dict[str, str] | None:
    error = error_of(exc_info)
    if error is None:
        return None
    return {
        "type": type(error).__name__,
        "message": str(error),
        "stack": "".join(traceback.format_exception(error)).rstrip(),
    }


def error_of(exc_info: Any) -> BaseException | None:
    """The exception that a record of the log is about, in whichever way it was named."""
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    return error if isinstance(error, BaseException) else None

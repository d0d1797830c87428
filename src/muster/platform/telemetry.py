"""Log lines that Pino's tools read."""

import logging
import os
import socket
import sys
import traceback
from typing import Any, TextIO

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars, merge_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

PINO_LEVELS = {"trace": 10, "debug": 20, "info": 30, "warn": 40, "warning": 40, "error": 50, "critical": 60}
_PYTHON_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
}
_QUIET = ("httpcore2", "httpx2", "asyncio", "bullmq", "alembic.runtime.migration", "uvicorn")

logger: structlog.stdlib.BoundLogger = structlog.get_logger("muster")
bind, unbind_all = bind_contextvars, clear_contextvars


def configure(level: str, *, name: str, colours: bool | None = None, stream: TextIO | None = None) -> None:
    """JSON lines on `stream` (standard output), readable ones if it is a terminal or `colours` says so."""
    stream = stream or sys.stdout
    readable = stream.isatty() if colours is None else colours
    shared: list[Processor] = [
        merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=_readable() if readable else [_pino(name), structlog.processors.JSONRenderer()],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(_PYTHON_LEVELS[level])
    # The pool tells of every attempt; whoever asks it for a connection says what that means.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    for quiet in _QUIET:
        logging.getLogger(quiet).setLevel(max(logging.WARNING, _PYTHON_LEVELS[level]))


def _readable() -> list[Processor]:
    return [
        structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.dev.ConsoleRenderer(pad_event_to=20, sort_keys=False),
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
        if error := _error(event.pop("exc_info", None) or record.exc_info):
            line["err"] = error
        message = event.pop("event")
        return {**line, **event, "msg": str(message)}

    return render


def _error(exc_info: Any) -> dict[str, str] | None:
    if exc_info is True:
        exc_info = sys.exc_info()
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if not isinstance(error, BaseException):
        return None
    return {
        "type": type(error).__name__,
        "message": str(error),
        "stack": "".join(traceback.format_exception(error)).rstrip(),
    }

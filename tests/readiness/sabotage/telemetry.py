"""What is broken of the log and of the way by which errors are told."""

import io
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.typing import EventDict, Processor
from tests.readiness.sabotage.siege import Siege, saboteur

from muster.platform.telemetry import Lines


def the_lines() -> Lines:
    return next(one for one in logging.getLogger().handlers if isinstance(one, Lines))


@contextmanager
def without(processor: str, *instead: Processor) -> Iterator[None]:
    """The log without one of the steps by which a line is made, or with others in its place."""
    formatter = the_lines().formatter
    assert isinstance(formatter, structlog.stdlib.ProcessorFormatter)
    before: Any = formatter.processors
    at = next(i for i, step in enumerate(before) if processor in f"{type(step).__name__} {step!r}")
    formatter.processors = (*before[:at], *instead, *before[at + 1 :])
    yield
    formatter.processors = before


@saboteur("logs.readable", sees="a line of the log held what was planted in it: session id")
async def nothing_cleans_the_lines(_: Siege) -> AsyncIterator[None]:
    with without("_Clean"):
        yield


@saboteur("logs.readable", sees="a line of the log lacks what Pino's have: level, time")
async def lines_have_the_fields_of_another_logger(_: Siege) -> AsyncIterator[None]:
    def logfmt(_: Any, __: str, event: EventDict) -> EventDict:
        return {"severity": event["level"], "message": event["event"]}

    with without("_pino", logfmt):
        yield


@saboteur("logs.readable", sees="do not go through Muster's handler")
async def a_library_configures_the_log_anew(_: Siege) -> AsyncIterator[None]:
    root = logging.getLogger()
    before = list(root.handlers)
    root.handlers = [one for one in before if not isinstance(one, Lines)] + [
        logging.StreamHandler(io.StringIO())
    ]
    yield
    root.handlers = before


@saboteur("logs.readable", sees="a handler beside Muster's writes lines that nobody cleans")
async def a_library_writes_to_the_terminal_besides(_: Siege) -> AsyncIterator[None]:
    besides = logging.StreamHandler(sys.stderr)
    logging.getLogger().addHandler(besides)
    yield
    logging.getLogger().removeHandler(besides)


@saboteur("sentry.arrives", sees="127.0.0.1: 403")
async def the_project_was_removed_at_sentry(siege: Siege) -> AsyncIterator[None]:
    await siege.town.sandbox.tell("sentry/mood", {"status": 403})
    yield
    await siege.town.sandbox.tell("sentry/mood", {})


@saboteur("sentry.arrives", sees="was taken and did not arrive: 404")
async def sentry_drops_what_it_took(siege: Siege) -> AsyncIterator[None]:
    await siege.town.sandbox.tell("sentry/mood", {"is_lossy": True})
    yield
    await siege.town.sandbox.tell("sentry/mood", {})


@saboteur("sentry.arrives", sees="arrived with what was planted in it: session id")
async def nothing_cleans_the_reports(siege: Siege) -> AsyncIterator[None]:
    reports = siege.town.portal.reports
    assert reports
    options: dict[str, Any] = reports._client.options
    before = options["before_send"]
    options["before_send"] = None
    yield
    options["before_send"] = before

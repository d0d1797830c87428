"""What a job holds, as it may be shown: masked by name and by form, and bounded.

Any client of BullMQ may have written it, so nothing in it is believed; the templates escape it.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from muster.platform.pages import in_words
from muster.platform.queue_view import LONGEST, Brief, Text, Whole, decoded
from muster.platform.redaction import Redaction, printable

_REQUEST = ("request_id", "requestId", "reqId")
_SOON = timedelta(seconds=1)
_redaction = Redaction()


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field as JSON in lines, or why it is not shown."""

    text: str
    why_not: str = ""


def job_of(job: Brief) -> Brief:
    """The job with every text of its own made harmless."""
    progress = job.progress and msgspec.structs.replace(job.progress, words=text_of(job.progress.words))
    return msgspec.structs.replace(
        job,
        name=text_of(job.name),
        worker=text_of(job.worker),
        reason=text_of(job.reason, lines=True),
        progress=progress,
    )


def text_of(text: str, *, lines: bool = False) -> str:
    shown = _redaction.text(text) if lines else printable(_redaction.text(text))
    return _whole(printable(shown, lines=True) if lines else shown)


def value_of(field: Text) -> msgspec.Raw:
    """What a field says as JSON, masked; null if it is longer than may be shown, or no JSON."""
    return msgspec.Raw((_masked(field, indent=None) or "null").encode())


def json_of(field: Text) -> Field:
    """As lines of JSON; masked first, so what cannot be read as JSON is not shown at all."""
    if not field.length or field.kept.strip() == "null":
        return Field(text="")
    if not field.kept:
        return Field(text="", why_not=f"{_size(field.length)}: more than the {_size(LONGEST)} shown here.")
    if text := _masked(field, indent=2):
        return Field(text=text)
    return Field(text="", why_not=f"{_size(field.length)} that are no JSON, or nested too deep.")


def stack_of(field: Text) -> str:
    """Where the last attempt failed; what was cut is no JSON any more and shown as it is."""
    match decoded(field.kept) if field.kept else None:
        case [*_, str() as last]:
            return text_of(last, lines=True)
        case []:
            return ""
        case _:
            return text_of(field.kept, lines=True)


def lines_of(job: Whole) -> list[str]:
    return [text_of(line) for line in job.lines]


def request_of(job: Whole) -> str:
    """The request that asked for it, by our convention in its data."""
    found = decoded(job.data.kept) if job.data.kept else None
    if not isinstance(found, dict):
        return ""
    given = next((found[name] for name in _REQUEST if isinstance(found.get(name), str)), "")
    return text_of(given[:100])


def until(moment: datetime | None, now: datetime | None = None) -> str:
    """How soon: "in 40 s", "due now"."""
    if moment is None:
        return "not said"
    left = moment - (now or datetime.now(UTC))
    return f"in {in_words(left.total_seconds())}" if left > _SOON else "due now"


def took(seconds: float) -> str:
    """Most jobs take less than a second: "9 ms"."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else in_words(seconds)


def often(seconds: float) -> str:
    """A round stretch of time: "15 s", "1 h"."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size and not seconds % size:
            return f"{seconds / size:.0f} {unit}"
    return in_words(seconds)


def _masked(field: Text, *, indent: int | None) -> str:
    """Empty for what is no JSON, or is null."""
    found = decoded(field.kept) if field.kept else None
    try:
        masked: Any = _redaction.value(found, lines=True)
        return "" if found is None else _whole(json.dumps(masked, ensure_ascii=False, indent=indent))
    except RecursionError:
        return ""


def _size(length: int) -> str:
    return f"{length:,} bytes" if length < 10_000 else f"{length / 1024:,.0f} KB"


def _whole(text: str) -> str:
    """Without halves of characters, which JSON may spell and no page can be encoded with."""
    return text.encode(errors="replace").decode()

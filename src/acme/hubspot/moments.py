"""Moments as HubSpot writes and reads them: ISO 8601 with milliseconds, or milliseconds since 1970."""

from datetime import UTC, datetime
from functools import lru_cache

SECOND = 1_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR


def iso(moment: int) -> str:
    day, rest = divmod(moment, DAY)
    hour, rest = divmod(rest, HOUR)
    minute, rest = divmod(rest, 60 * SECOND)
    return f"{_date(day)}T{hour:02d}:{minute:02d}:{rest // SECOND:02d}.{rest % SECOND:03d}Z"


@lru_cache(2_048)
def _date(day: int) -> str:
    """Most moments of a portal fall on a few hundred days."""
    return datetime.fromtimestamp(day * DAY // SECOND, UTC).date().isoformat()


def parsed(text: str) -> int | None:
    """Milliseconds; None for what is no moment."""
    if text.removeprefix("-").isdecimal() and len(text) <= 14:
        return int(text)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return int(at.timestamp() // 1 * 1_000) + at.microsecond // 1_000

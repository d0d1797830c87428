"""Moments as HubSpot writes and reads them: ISO 8601 with milliseconds, or milliseconds since 1970."""

from datetime import UTC, datetime

SECOND = 1_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR


def iso(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1_000, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


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

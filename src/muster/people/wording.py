"""A person's standing and history in words, as far as the reader may know of them."""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from muster.access.roles import Permission
from muster.errors import Invalid
from muster.people.history import FIELDS, KINDS, PRIVATE_FIELDS, SIGN_IN_FIELDS, Change
from muster.people.person import UNDELETE_WINDOW
from muster.platform.actor import Actor

_EXPECTED_MOMENT = (
    "expected a date, whose end is meant (2026-10-01), or a time (2026-10-01T09:30:00Z), and none to come"
)
_REASONS = {
    "ADMIN": "by an administrator",
    "ABUSE": "by Google, for abuse",
    "UNDER13": "by Google, for being under age",
    "WEB_LOGIN_REQUIRED": "by Google, until they sign in on the web once",
}
"""https://developers.google.com/workspace/admin/directory/reference/rest/v1/users: `suspensionReason`."""

_SOURCES = {
    "listing": "read in",
    "push": "told by Google's push",
    "confirmed": "confirmed by Google",
    "released": "released",
    "groups": "read with the groups in",
}


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One field's change; what was empty is "nothing", and a side that says nothing is ""."""

    label: str
    before: str
    after: str

    @property
    def said(self) -> str:
        return " → ".join(side for side in (self.before, self.after) if side)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A change as a timeline shows it."""

    id: int
    google_id: str
    at: datetime
    kinds: list[str]
    labels: list[str]
    name: str
    email: str
    learned: str
    by_email: str
    sync_id: int | None
    lines: list[Line]

    @property
    def day(self) -> date:
        return self.at.date()


def seen_fields(actor: Actor) -> tuple[str, ...]:
    """The fields of a history that the actor may read."""
    private = actor.may(Permission.SEE_PRIVATE)
    sign_ins = actor.may(Permission.SEE_SIGN_INS)
    return tuple(
        field
        for field in FIELDS
        if (private or field not in PRIVATE_FIELDS) and (sign_ins or field not in SIGN_IN_FIELDS)
    )


def told(change: Change, sees: Collection[str]) -> Entry:
    return Entry(
        id=change.id,
        google_id=change.google_id,
        at=change.at.astimezone(UTC),
        kinds=change.kinds,
        labels=[KINDS.get(kind, kind) for kind in change.kinds],
        name=change.name,
        email=change.email,
        learned=_SOURCES.get(change.source, change.source),
        by_email=change.by_email,
        sync_id=change.sync_id,
        lines=[_line(field, before, after) for field, (before, after) in seen(change, sees).items()],
    )


def seen(change: Change, sees: Collection[str]) -> dict[str, list[Any]]:
    """Field → [before, after], in the order in which they are listed everywhere."""
    return {field: change.fields[field] for field in FIELDS if field in sees and field in change.fields}


def _line(field: str, before: Any, after: Any) -> Line:
    if field == "group":  # joined or left: the other side is no news
        return Line(label=FIELDS[field], before=before or "", after=after or "")
    if field == "suspended_reason":
        before, after = reason(before), reason(after)
    return Line(label=FIELDS[field], before=said(before), after=said(after))


def said(value: Any) -> str:
    """A value of a field in words."""
    if value in (None, "", [], {}):
        return "nothing"
    match value:
        case bool():
            return "yes" if value else "no"
        case {"label": label, "value": text}:
            return f"{text} ({label})" if label else str(text)
        case list():
            return ", ".join(map(said, value))
        case dict():
            return said(value["value"]) if "value" in value else said_each(value)
    return str(value)


def said_each(fields: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {said(value)}" for name, value in fields.items())


def reason(suspended_reason: str) -> str:
    """Why somebody is suspended, Google's word for it where we have none."""
    return _REASONS.get(suspended_reason, suspended_reason)


def restorable_until(deleted_at: datetime | None) -> datetime | None:
    return deleted_at + UNDELETE_WINDOW if deleted_at else None


def days_left(until: datetime, now: datetime) -> int:
    """Begun days count whole, as people count them."""
    return max(0, -((now - until) // timedelta(days=1)))


def moment_of(text: str, name: str = "as_of") -> datetime | None:
    """The moment that `text` means, "" for none. Raises Invalid for one that is malformed or to come."""
    if not text:
        return None
    now = datetime.now(UTC)
    try:
        if len(text) <= len("2026-10-01"):
            day = date.fromisoformat(text)
            moment = end_of(day)
            is_to_come = day > now.date()
        else:
            moment = datetime.fromisoformat(text)
            moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
            is_to_come = moment > now
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{name}: {text!r} cannot be read; {_EXPECTED_MOMENT}.") from error
    if is_to_come:
        raise Invalid(f"{name}: {text} is still to come; {_EXPECTED_MOMENT}.")
    return moment


def day_of(text: str, name: str) -> date | None:
    """Raises Invalid."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        end_of(day)
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{name}: {text!r} is no date of ours; expected one like 2026-10-01.") from error
    return day


def start_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def end_of(day: date) -> datetime:
    return start_of(day) + timedelta(days=1) - timedelta(microseconds=1)

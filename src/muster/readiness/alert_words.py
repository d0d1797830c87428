"""What an alert says, to somebody who was asleep: what is wrong, since when, what was seen, what to do."""

from datetime import datetime, timedelta

from muster.platform.notify import Tone
from muster.readiness.alerts import STEADY_AFTER, Notice, Severity
from muster.readiness.checklist import Row

LONGEST_TITLE = 120


def title(row: Row, notice: Notice, severity: Severity, *, lasted: timedelta) -> str:
    words = {
        Notice.OPENED: f"[{severity.value}] Failing: {row.title} ({row.id})",
        Notice.REMINDER: f"[{severity.value}] Still failing after {in_words(lasted)}: {row.title} ({row.id})",
        Notice.RECOVERED: f"[recovered] Holds again after {in_words(lasted)}: {row.title} ({row.id})",
    }
    return words[notice][:LONGEST_TITLE]


def body(
    row: Row,
    notice: Notice,
    *,
    evidence: str,
    since: datetime,
    lasted: timedelta,
    follow: int,
    is_flapping: bool,
    alert_href: str,
    row_href: str,
) -> str:
    if notice is Notice.RECOVERED:
        lines = [
            f"Holds again: {row.promise}",
            f"It failed from {moment(since)} for {in_words(lasted)}.",
            f"Seen now: {evidence}",
            alert_href,
        ]
        return "\n".join(lines)
    lines = [
        f"Does not hold: {row.promise}",
        f"Since: {moment(since)} ({in_words(lasted)} ago)",
        f"Seen: {evidence}",
        f"What to do: {row.remedy}",
    ]
    if follow:
        things = "1 other promise" if follow == 1 else f"{follow} other promises"
        lines.append(f"Because of it, {things} could not be looked at; they have no alert of their own.")
    if is_flapping:
        lines.append(
            "It has come and gone several times within an hour, so this alert stays open until it has held "
            f"for {STEADY_AFTER} minutes."
        )
    lines += [f"This alert: {alert_href}", f"What is looked at: {row_href}", f"Runbook: {runbook(row)}"]
    return "\n".join(lines)


def tone(notice: Notice, severity: Severity) -> Tone:
    if notice is Notice.RECOVERED:
        return Tone.SUCCESS
    return Tone.FAILURE if severity is Severity.CRITICAL else Tone.WARNING


def runbook(row: Row) -> str:
    if row.id.startswith("rule."):
        return "docs/operating.md, Alerts"
    return f"docs/runbooks/{row.id}.md"


def moment(at: datetime) -> str:
    return f"{at:%d %b %Y %H:%M} UTC".lstrip("0")


def in_words(lasted: timedelta) -> str:
    minutes = max(0, round(lasted.total_seconds() / 60))
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    named = "1 day" if days == 1 else f"{days} days"
    return f"{named} {hours} h" if hours else named

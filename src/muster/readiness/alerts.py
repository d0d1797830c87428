"""When what fails becomes an alert, when people hear of it, and when it is over: the policy, and no more.

Nothing here knows a clock or a table, so that everything here can be tried in every order.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import msgspec

OPENS_AFTER = 3
"""Failures in a row: one look may be unlucky, and a restart takes longer than a minute."""

CLOSES_AFTER = 2
REMINDED_EVERY = timedelta(hours=4)

FLAPS_AT = 3
FLAPS_WITHIN = timedelta(hours=1)
STEADY_AFTER = 15
"""Whoever opens for the third time within an hour has to hold for so many looks before it counts as over:
one alert that stays, in place of a message every few minutes.
"""


class Severity(StrEnum):
    """Critical gets somebody up at night: people are shut out, or something may be lost or stolen."""

    CRITICAL = "critical"
    WARNING = "warning"


class Notice(StrEnum):
    """What people are told of an alert."""

    OPENED = "opened"
    REMINDER = "reminder"
    RECOVERED = "recovered"


CRITICAL = frozenset(
    {
        "postgresql.answers",
        "postgresql.durable",
        "redis.persistence",
        "redis.policy",
        "sessions.stored",
        "signin.discovery",
        "signin.refuses",
        "access.offboarded",
        "audit.chained",
        "web.csrf",
        "web.headers",
        "workers.alive",
        "jobs.canary",
        "rule.errors",
        "rule.disk",
        "rule.login_abuse",
    }
)


_BY_WORKERS = (
    *("jobs.canary", "cache.busts", "cache.hooks", "access.roles", "access.offboarded"),
    *("directory.fresh", "directory.groups", "directory.push", "directory.removals"),
    *("hubspot.fresh", "hubspot.webhooks", "hubspot.written"),
    *("alerts.heartbeat", "rule.backlog", "rule.worker_gone"),
)
_BY_GOOGLE = ("directory.fresh", "directory.groups", "directory.push", "directory.quota")
_BY_HUBSPOT = ("hubspot.fresh", "hubspot.allowance", "hubspot.webhooks", "hubspot.written")

FOLLOWS: Mapping[str, tuple[str, ...]] = {
    row: tuple(
        first
        for first, followers in (
            ("workers.alive", _BY_WORKERS),
            ("directory.reachable", _BY_GOOGLE),
            ("hubspot.reachable", _BY_HUBSPOT),
        )
        if row in followers
    )
    for row in (*_BY_WORKERS, *_BY_GOOGLE, *_BY_HUBSPOT)
}
"""Rows that fail, some at once and some after a while, because another does, and cannot tell that by
themselves: to each, what to look at first.
"""


def severity_of(subject: str) -> Severity:
    return Severity.CRITICAL if subject in CRITICAL else Severity.WARNING


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How a subject stands between two looks: a row of the checklist, or a rule on figures.

    `opened_at`, `told_at` and `is_acknowledged` are of the alert that is open. `openings` are the latest.
    """

    failures: int = 0
    successes: int = 0
    failing_since: datetime | None = None
    openings: tuple[datetime, ...] = ()
    opened_at: datetime | None = None
    told_at: datetime | None = None
    is_acknowledged: bool = False

    @property
    def is_open(self) -> bool:
        return self.opened_at is not None

    @property
    def is_flapping(self) -> bool:
        """Whether the open alert is one of so many lately that it is held open."""
        opened_at = self.opened_at
        return opened_at is not None and len(_lately(self.openings, opened_at)) >= FLAPS_AT


class Step(NamedTuple):
    """What one look changed. `has_opened` and `has_closed` are of the alert, `notice` is what to say."""

    standing: Standing
    has_opened: bool = False
    has_closed: bool = False
    notice: Notice | None = None


def look(standing: Standing, now: datetime, *, held: bool | None, is_muted: bool = False) -> Step:
    """Take in what was just seen; `held` is None where nothing could be seen, which changes no count.

    While it `is_muted`, alerts open and close and nobody is told; if one is still open after, people hear
    of it then.
    """
    if held:
        step = _held(standing)
    elif held is None:
        step = Step(standing)
    else:
        step = _failed(standing, now)
    return _muted(step) if is_muted else _told(step, now)


def _held(standing: Standing) -> Step:
    successes = standing.successes + 1
    needed = STEADY_AFTER if standing.is_flapping else CLOSES_AFTER
    if standing.is_open and successes >= needed:
        notice = Notice.RECOVERED if standing.told_at else None
        return Step(Standing(successes=successes, openings=standing.openings), has_closed=True, notice=notice)
    since = standing.failing_since if standing.is_open else None
    return Step(
        msgspec.structs.replace(standing, failures=0, successes=successes, failing_since=since),
    )


def _failed(standing: Standing, now: datetime) -> Step:
    failures = standing.failures + 1
    seen = msgspec.structs.replace(
        standing, failures=failures, successes=0, failing_since=standing.failing_since or now
    )
    if standing.is_open or failures < OPENS_AFTER:
        return Step(seen)
    openings = (*_lately(standing.openings, now), now)
    return Step(msgspec.structs.replace(seen, opened_at=now, openings=openings), has_opened=True)


def _told(step: Step, now: datetime) -> Step:
    standing = step.standing
    if not standing.is_open:
        return step
    notice = None
    if standing.told_at is None:
        notice = Notice.OPENED
    elif not standing.is_acknowledged and now - standing.told_at >= REMINDED_EVERY:
        notice = Notice.REMINDER
    if notice is None:
        return step
    return step._replace(standing=msgspec.structs.replace(standing, told_at=now), notice=notice)


def _muted(step: Step) -> Step:
    return step._replace(notice=None)


def _lately(openings: tuple[datetime, ...], now: datetime) -> tuple[datetime, ...]:
    return tuple(one for one in openings if now - one <= FLAPS_WITHIN)


def blamed(failed: Mapping[str, str | None]) -> dict[str, str | None]:
    """Those that failed, each with what comes first: by its own word, or as is known of such rows."""
    return {
        row: named or next((first for first in FOLLOWS.get(row, ()) if first in failed), None)
        for row, named in failed.items()
    }


def root_of(subject: str, failing: Mapping[str, str | None]) -> str:
    """What has to be mended for `subject` to be tried at all, itself if nothing has.

    `failing` are those that failed, each with what it says comes first. What comes first and did not fail
    is no excuse. Those that blame each other in a circle have one of them in common.
    """
    path = [subject]
    while (first := failing.get(path[-1])) and first in failing:
        if first in path:
            return min(path[path.index(first) :])
        path.append(first)
    return path[-1]

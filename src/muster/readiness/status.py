"""What works and what does not, in the words of whoever uses it rather than of whoever runs it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import msgspec

from muster.errors import MusterError
from muster.platform.database import Database
from muster.platform.patience import answered, shared
from muster.readiness.health import ASKED_FOR, Health, Report, Standing, State

DAYS = 14
REMEMBERED_FOR = 300.0
"""Seconds for which the past is not asked for again: two weeks of proofs are some hundred thousand rows."""

_BRIEFLY = 10
"""So many minutes of a day may fail without the day counting as one on which it did not work."""


class Works(StrEnum):
    YES = "works"
    PARTLY = "works in part"
    NO = "does not work"


@dataclass(frozen=True, kw_only=True, slots=True)
class Capability:
    """Something people do here. It does not work without what it `needs`, and in part without what it is
    `helped_by`; `rows` are the promises of the checklist whose past is its past.
    """

    name: str
    needs: tuple[str, ...]
    helped_by: tuple[str, ...]
    rows: tuple[str, ...]
    when_partly: str
    when_not: str
    is_about_customers: bool = False


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """`worked` is None where nobody looked."""

    day: date
    worked: Works | None
    failed_minutes: int


class Capable(msgspec.Struct, frozen=True, kw_only=True):
    """A capability at this moment; `days` are its past, the oldest first, empty where it is not known."""

    name: str
    works: Works
    meaning: str
    since: datetime | None
    days: list[Day]


_PAGES = ("postgresql", "migrations", "redis")

CAPABILITIES = (
    Capability(
        name="Signing in",
        needs=_PAGES,
        helped_by=("sign_in",),
        rows=("signin.discovery", "sessions.stored"),
        when_partly="Google's sign-in does not answer as it should. Whoever is signed in stays so; signing in anew may fail.",  # noqa: E501
        when_not="Nobody can sign in, and pages ask you to. Your session is not lost: it goes on when this is over.",  # noqa: E501
    ),
    Capability(
        name="People and groups",
        needs=_PAGES,
        helped_by=("directory", "cache"),
        rows=("postgresql.answers", "directory.fresh", "directory.groups"),
        when_partly="Everything can be read, but what changed at Google lately may be missing, or pages are slow.",  # noqa: E501
        when_not="The directory cannot be read here. In Gmail and Google's own contacts it still can.",
    ),
    Capability(
        name="Customers",
        needs=_PAGES,
        helped_by=("hubspot", "cache"),
        rows=("postgresql.answers", "hubspot.fresh", "hubspot.reachable"),
        when_partly="Everything can be read, but what changed in HubSpot lately may be missing, or pages are slow.",  # noqa: E501
        when_not="Customers cannot be read here. In HubSpot itself they still can.",
        is_about_customers=True,
    ),
    Capability(
        name="Changing customers",
        needs=_PAGES,
        helped_by=("hubspot", "queue", "workers"),
        rows=("hubspot.written", "hubspot.reachable"),
        when_partly="What you change is kept and reaches HubSpot later; nothing is lost, and you need not do it again.",  # noqa: E501
        when_not="Nothing can be changed here for now. Change what is urgent in HubSpot itself.",
        is_about_customers=True,
    ),
    Capability(
        name="Background work",
        needs=("postgresql", "migrations", "queue", "workers"),
        helped_by=(),
        rows=("workers.alive", "jobs.canary"),
        when_partly="Syncs and other work in the background are late. Pages work; what they show grows older.",  # noqa: E501
        when_not="Syncs and other work in the background stand still. Pages may work; what they show grows older, and what waits is done later.",  # noqa: E501
    ),
)

_FINE = "Nothing to mind."

_PAST = """
SELECT row, (at AT TIME ZONE 'UTC')::date AS day,
    count(DISTINCT date_trunc('minute', at)) FILTER (WHERE held IS FALSE) AS failed
FROM proofs WHERE row = ANY(%s) AND at >= (now() AT TIME ZONE 'UTC')::date - %s::int GROUP BY row, day
"""


class _DayOfRow(msgspec.Struct, frozen=True):
    row: str
    day: date
    failed: int


_Past = Mapping[tuple[str, date], _DayOfRow]


class Status:
    def __init__(self, health: Health, database: Database, *, has_hubspot: bool) -> None:
        self._health = health
        self._database = database
        self._capabilities = [one for one in CAPABILITIES if has_hubspot or not one.is_about_customers]
        self._past: tuple[float, _Past] = (-REMEMBERED_FOR, {})
        self._reading: asyncio.Task[None] | None = None

    async def now(self) -> list[Capable]:
        """Without its past."""
        report = await self._health.report()
        return [_capable(one, report, []) for one in self._capabilities]

    async def now_and_before(self) -> list[Capable]:
        report = await self._health.report()
        past = await self._read_past()
        return [_capable(one, report, _days(one, past)) for one in self._capabilities]

    async def _read_past(self) -> _Past:
        """As it was last known, where PostgreSQL does not tell it."""
        if time.monotonic() - self._past[0] > REMEMBERED_FOR:
            if self._reading is None or self._reading.done():
                self._reading = shared(self._read())
            try:
                await answered(_outcome(self._reading), within=ASKED_FOR)
            except (MusterError, TimeoutError):
                return self._past[1]
        return self._past[1]

    async def _read(self) -> None:
        rows = sorted({row for one in self._capabilities for row in one.rows})
        found = await self._database.rows(
            _DayOfRow, _PAST, [rows, DAYS - 1], deadline=timedelta(seconds=ASKED_FOR)
        )
        self._past = (time.monotonic(), {(one.row, one.day): one for one in found})


async def _outcome(task: asyncio.Task[None]) -> None:
    await asyncio.shield(task)


def _capable(capability: Capability, report: Report, days: list[Day]) -> Capable:
    needed = _found(report, capability.needs)
    helping = _found(report, capability.helped_by)
    broken = [one for one in needed if one.status is State.FAIL]
    lacking = [one for one in (*needed, *helping) if one.status is not State.PASS]
    works = Works.NO if broken else Works.PARTLY if lacking else Works.YES
    return Capable(
        name=capability.name,
        works=works,
        meaning={Works.NO: capability.when_not, Works.PARTLY: capability.when_partly}.get(works, _FINE),
        since=min((one.since for one in broken or lacking), default=None),
        days=days,
    )


def _found(report: Report, names: tuple[str, ...]) -> list[Standing]:
    return [one for name in names if (one := report.of(name))]


def _days(capability: Capability, past: _Past) -> list[Day]:
    """The worst of its rows on each day."""
    if not past:
        return []
    today = datetime.now(UTC).date()
    days = []
    for back in range(DAYS - 1, -1, -1):
        day = today - timedelta(days=back)
        known = [past[row, day] for row in capability.rows if (row, day) in past]
        failed = max((one.failed for one in known), default=0)
        days.append(
            Day(
                day=day,
                worked=_judged(failed) if known else None,
                failed_minutes=failed,
            )
        )
    return days


def _judged(failed_minutes: int) -> Works:
    if not failed_minutes:
        return Works.YES
    return Works.PARTLY if failed_minutes < _BRIEFLY else Works.NO

"""Metrics: each is declared once, with its question, who may see it, what busts it and the list behind it.

What all of them hold is of one shape, so that page, API and daily snapshot need to know none of them.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

from muster.access.roles import Permission
from muster.errors import Unavailable
from muster.platform.actor import Actor
from muster.platform.cache import LONGEST, Cache, Cached, Want
from muster.platform.database import Database, Parameters, Statement
from muster.platform.telemetry import logger

Shape = TypeVar("Shape")

TTL = timedelta(minutes=30)
"""Busts end what has changed; what moves with the days alone may be as old as this."""


class Section(StrEnum):
    PEOPLE = "People"
    CUSTOMERS = "Customers"
    SECURITY = "Security"


class Source(StrEnum):
    """Whose word the numbers are made of."""

    GOOGLE = "Google"
    HUBSPOT = "HubSpot"


class Picture(StrEnum):
    """How `rows` are drawn: as lengths, as shares of a whole, or as parts of a length."""

    NONE = "none"
    BARS = "bars"
    SHARES = "shares"
    PARTS = "parts"
    MONTHS = "months"
    PEOPLE = "people"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A number. `name` is the same from release to release; `unit` is "", "%" or a currency."""

    name: str
    label: str
    value: float
    unit: str = ""
    href: str = ""
    is_worry: bool = False


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A number of several alike. `part` is how much of it something holds for: who has 2-step of all there
    are, or an amount by how likely it is to come.
    """

    label: str
    value: float
    part: float | None = None
    unit: str = ""
    href: str = ""


class Month(msgspec.Struct, frozen=True):
    """How many came and went in the month that `month` falls in."""

    month: date
    joined: int
    left: int


class Newcomer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    email: str
    title: str
    department: str
    joined_on: date


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """What a metric says. The first figure is the one to look at; there is none where nothing is known, and
    `note` says why.
    """

    figures: list[Figure] = []
    rows: list[Row] = []
    months: list[Month] = []
    people: list[Newcomer] = []
    note: str = ""


class Point(msgspec.Struct, frozen=True, array_like=True):
    day: date
    value: float


Trends = dict[str, list[Point]]
"""Metric → its first figure, day by day, the oldest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """`read` asks the origin, one question each; `href` is the list behind the number, for whoever
    `href_may`.
    """

    id: str
    title: str
    question: str
    section: Section
    source: Source
    may: Permission
    tags: tuple[str, ...]
    read: Callable[[], Awaitable[Value]]
    href: str = ""
    href_may: Permission | None = None
    picture: Picture = Picture.NONE
    ttl: timedelta = TTL
    is_followed: bool = True
    """Whether its first figure of one day compares with that of another."""

    def href_for(self, actor: Actor) -> str:
        return self.href if self.href_may is None or actor.may(self.href_may) else ""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A metric as it was read; without a value it could not be, and `problem` says so."""

    metric: Metric
    value: Value | None
    as_of: datetime | None
    is_stale: bool = False
    problem: str = ""


class Metrics:
    def __init__(self, cache: Cache, metrics: Iterable[Metric]) -> None:
        self._cache = cache
        self.all = tuple(metrics)
        known = [metric.id for metric in self.all]
        if len(set(known)) != len(known):
            raise LookupError(f"two metrics are called the same, among {', '.join(known)}")

    def seen_by(self, actor: Actor) -> list[Metric]:
        return [metric for metric in self.all if actor.may(metric.may)]

    async def read(self, metrics: Sequence[Metric]) -> list[Reading]:
        """Each by itself: one that fails says so in its place. All that is kept comes with one trip."""
        found = await self._cache.get_all([_want(metric) for metric in metrics])
        return [_reading(metric, one) for metric, one in zip(metrics, found, strict=True)]

    async def read_with_trends(
        self, metrics: Sequence[Metric], trends: Want[Trends]
    ) -> tuple[list[Reading], Trends]:
        """On the same trip how they moved, where that can be told."""
        wants: list[Want[Any]] = [*(_want(metric) for metric in metrics), trends]
        *found, moved = await self._cache.get_all(wants)
        readings = [_reading(metric, one) for metric, one in zip(metrics, found, strict=True)]
        return readings, moved.value if isinstance(moved, Cached) else {}


def _want(metric: Metric) -> Want[Value]:
    return Want(
        key=f"metric:{metric.id}",
        shape=Value,
        load=metric.read,
        tags=metric.tags,
        ttl=metric.ttl,
        stale_if_error=LONGEST,
        refresh_early=True,
    )


def _reading(metric: Metric, found: Cached[Value] | Exception) -> Reading:
    if isinstance(found, Cached):
        return Reading(metric=metric, value=found.value, as_of=found.made_at, is_stale=found.is_stale)
    if isinstance(found, Unavailable):
        logger.warning("metric_unread", metric=metric.id, error=str(found))
        problem = "A server of Muster's own does not answer."
    else:
        logger.error("metric_failed", metric=metric.id, exc_info=found)
        problem = "This is a fault of Muster's own; it has been written down."
    return Reading(metric=metric, value=None, as_of=None, problem=problem)


async def sole(
    database: Database, shape: type[Shape], statement: Statement, parameters: Parameters = None
) -> Shape:
    """The one row of an aggregate."""
    found = await database.row(shape, statement, parameters)
    if found is None:
        raise LookupError("an aggregate gave no row")
    return found


def percent(part: float, whole: float) -> float:
    """Never 100 while something is missing."""
    return 100.0 if part == whole else min(round(100 * part / whole, 1), 99.9)

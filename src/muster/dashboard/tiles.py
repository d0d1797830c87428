"""A metric as the first page shows it: its number, its picture, how old it is, and where it leads."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec
from markupsafe import Markup

from muster.dashboard import charts
from muster.dashboard.metrics import Figure, Newcomer, Picture, Point, Reading, Row, Section
from muster.platform.actor import Actor

_STEPS = ((1e9, 1e9, "bn"), (1e6, 1e6, "m"), (1e4, 1e3, "k"))
"""From which value on it is said in which unit."""


class Number(msgspec.Struct, frozen=True, kw_only=True):
    """A figure in words; `exact` is what stands there when it is pointed at."""

    label: str
    words: str
    exact: str
    href: str
    is_worry: bool


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """`first` is the number to look at, `picture` what it is made of, `since` how it moved."""

    id: str
    title: str
    question: str
    href: str
    section: Section
    first: Number | None
    numbers: list[Number]
    picture: Markup | None
    legend: list[tuple[str, str]]
    months: list[tuple[str, int, int]]
    people: list[Newcomer]
    note: str
    trend: Markup | None
    since: str
    as_of: datetime | None
    is_stale: bool
    problem: str

    @property
    def name(self) -> str:
        """For an element's id."""
        return self.id.replace(".", "-")

    @property
    def is_wide(self) -> bool:
        return self.picture is not None or bool(self.people)

    @property
    def knows_nothing(self) -> bool:
        return self.first is None and not self.problem


def tile(reading: Reading, actor: Actor, points: Sequence[Point]) -> Tile:
    """As `actor` may see it: without links to what they may not open."""
    metric, value = reading.metric, reading.value
    points = points if metric.is_followed else []
    leads = metric.href_for(actor)
    numbers = [_number(one) for one in value.figures] if value else []
    return Tile(
        id=metric.id,
        title=metric.title,
        question=metric.question,
        href=leads,
        section=metric.section,
        first=numbers[0] if numbers else None,
        numbers=numbers[1:],
        picture=_drawn(reading) if value else None,
        legend=_LEGENDS.get(metric.picture, []),
        months=[(f"{m.month:%B %Y}", m.joined, m.left) for m in value.months] if value else [],
        people=value.people if value else [],
        note=value.note if value else "",
        trend=_trend(metric.title, points),
        since=_since(points),
        as_of=reading.as_of,
        is_stale=reading.is_stale,
        problem=reading.problem,
    )


def words(value: float, unit: str = "") -> str:
    """As it is said at a glance: 1.24m EUR, 84.2 %, 12,345."""
    if unit == "%":
        return f"{_plain(value)} %"
    if not unit:
        return _plain(value)
    size, letter = next(((size, letter) for least, size, letter in _STEPS if abs(value) >= least), (1.0, ""))
    scaled = value / size
    digits = 0 if not letter or abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2
    return f"{scaled:,.{digits}f}{letter} {unit}"


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _number(one: Figure) -> Number:
    return Number(
        label=one.label,
        words=words(one.value, one.unit),
        exact=f"{one.value:,.2f} {one.unit}" if one.unit not in {"", "%"} else "",
        href=one.href,
        is_worry=one.is_worry,
    )


_LEGENDS = {
    Picture.MONTHS: [("first", "Joined"), ("second", "Left")],
    Picture.PARTS: [("whole", "Open"), ("first", "Likely, by the stage's probability")],
}


def _drawn(reading: Reading) -> Markup | None:
    value, metric = reading.value, reading.metric
    if value is None:
        return None
    if value.months:
        return charts.joined_and_left(value.months, title="People who joined and left, by month")
    drawn = _BARS.get(metric.picture)
    return drawn(value.rows, metric.title) if drawn and value.rows else None


def _lengths(rows: Iterable[Row], title: str) -> Markup:
    return charts.bars([charts.Bar(row.label, row.value, row.href or None) for row in rows], title=title)


def _parts(rows: Iterable[Row], title: str) -> Markup:
    return charts.bars(
        [
            charts.Bar(
                row.label, row.value, row.href or None, row.part, words(row.value, row.unit or " ").strip()
            )
            for row in rows
        ],
        title=title,
    )


def _shares(rows: Iterable[Row], title: str) -> Markup:
    return charts.shares(
        [
            charts.Bar(
                row.label,
                row.value,
                row.href or None,
                row.part,
                f"{row.part or 0:,.0f} of {row.value:,.0f}",
            )
            for row in rows
        ],
        title=title,
    )


_BARS: dict[Picture, Callable[[Iterable[Row], str], Markup]] = {
    Picture.BARS: _lengths,
    Picture.PARTS: _parts,
    Picture.SHARES: _shares,
}


def _trend(title: str, points: Sequence[Point]) -> Markup | None:
    if len(points) < 2:
        return None
    return charts.trend([point.value for point in points], title=f"{title}, last {len(points)} days")


def _since(points: Sequence[Point]) -> str:
    """How much it moved since the first of the points."""
    if len(points) < 2:
        return ""
    moved, days = points[-1].value - points[0].value, (points[-1].day - points[0].day).days
    if not moved:
        return "unchanged"
    return f"{'+' if moved > 0 else '−'}{_plain(abs(moved))} in {days} {'day' if days == 1 else 'days'}"

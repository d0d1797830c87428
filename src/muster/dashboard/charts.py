"""Pictures of numbers: SVG drawn on the server, coloured by the style sheet.

Horizontal positions are percentages and the SVG takes the width it is given, so nothing is measured in
the browser and text keeps its size on every screen.
"""

from collections.abc import Sequence
from datetime import date

import msgspec
from markupsafe import Markup

from muster.dashboard.metrics import Month

_LABEL_LENGTH = 34  # the longest label that fits beside its value on a phone
_ROW_PX, _BAR_PX = 28, 24
_TOP_PX, _PLOT_PX, _AXIS_PX = 10, 130, 36
_MARGIN = 7.0  # per cent of the width, left of the first month, for the scale's figures
_MONTHS_NAMED = 13  # more names than this run into each other on a phone


class Bar(msgspec.Struct, frozen=True):
    """`part` of the value is marked below it; `words` stand at its end in place of the value."""

    label: str
    value: float
    href: str | None = None
    part: float | None = None
    words: str = ""


def bars(points: Sequence[Bar], *, title: str, at_most: int = 12) -> Markup:
    """One horizontal bar a point, in the order given; those beyond `at_most` are added up in the last one."""
    shown = _folded(points, at_most)
    peak = max((point.value for point in shown), default=0)
    rows = Markup().join(_bar(point, row * _ROW_PX, peak) for row, point in enumerate(shown))
    return Markup(
        '<svg class="chart" width="100%" height="{height}" role="group" aria-label="{title}">{rows}</svg>'
    ).format(height=len(shown) * _ROW_PX, title=title, rows=rows)


def shares(points: Sequence[Bar], *, title: str, at_most: int = 12) -> Markup:
    """One bar a point, as long as its `part` is of its value; only the first ones where there are more."""
    rows = Markup().join(_share(point, row * _ROW_PX) for row, point in enumerate(points[:at_most]))
    return Markup(
        '<svg class="chart" width="100%" height="{height}" role="group" aria-label="{title}">{rows}</svg>'
    ).format(height=min(len(points), at_most) * _ROW_PX, title=title, rows=rows)


def trend(values: Sequence[float], *, title: str) -> Markup:
    """A line from the first to the last, as high as the difference between least and most."""
    least, most = min(values), max(values)
    height = (most - least) or 1
    # A line that never moved lies in the middle.
    points = " ".join(
        f"{i * 100 / (len(values) - 1):.1f},{(most - value) / height * 20 + 2 if most > least else 12:.1f}"
        for i, value in enumerate(values)
    )
    return Markup(
        '<svg class="trend" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label="{title}">'
        '<polyline points="{points}" vector-effect="non-scaling-stroke"/></svg>'
    ).format(title=title, points=points)


def joined_and_left(months: Sequence[Month], *, title: str) -> Markup:
    """Two columns a month, with a scale; a month's figures show when it is pointed at."""
    top = _scale_top(max((max(m.joined, m.left) for m in months), default=0))
    band = (100 - _MARGIN) / max(len(months), 1)
    named_every = -(-len(months) // _MONTHS_NAMED)
    parts = [_gridline(value, top) for value in (top, top // 2)]
    parts += [_month(m, _MARGIN + i * band, band, top) for i, m in enumerate(months)]
    parts.append(_gridline(0, top))
    parts += [
        _month_name(m.month, _MARGIN + (i + 0.5) * band, is_first=i == 0)
        for i, m in enumerate(months)
        if i % named_every == 0
    ]
    return Markup(
        '<svg class="chart" width="100%" height="{height}" role="img" aria-label="{title}">'
        "<desc>{said}</desc>{parts}</svg>"
    ).format(
        height=_TOP_PX + _PLOT_PX + _AXIS_PX,
        title=title,
        said="; ".join(_said(m) for m in months),
        parts=Markup().join(parts),
    )


def _folded(points: Sequence[Bar], at_most: int) -> list[Bar]:
    if len(points) <= at_most:
        return list(points)
    rest = points[at_most - 1 :]
    parts = [point.part for point in rest if point.part is not None]
    together = Bar(f"{len(rest)} others", sum(one.value for one in rest), part=sum(parts) if parts else None)
    return [*points[: at_most - 1], together]


def _bar(point: Bar, y: int, peak: float) -> Markup:
    # A bar too thin to see would say "none".
    width = max(point.value / peak * 100, 0.5) if point.value else 0
    row = Markup(
        '<title>{label}: {value}</title><rect class="hit" y="{y}" width="100%" height="{height}"/>'
        '<rect class="bar" y="{y}" width="{width}%" height="{height}" rx="4"/>{part}'
        '<text class="bar-label" x="8" y="{text_y}">{short}</text>'
        '<text x="100%" dx="-8" y="{text_y}" text-anchor="end">{value}</text>'
    ).format(
        label=point.label,
        short=_shortened(point.label),
        value=point.words or f"{point.value:,.0f}",
        y=y,
        text_y=y + 16,
        width=round(width, 1),
        height=_BAR_PX,
        part=_part(point.part / peak * 100, y) if point.part and point.part > 0 < peak else "",
    )
    return _led(row, point)


def _part(width: float, y: int) -> Markup:
    """Below the bar's words, which must stay readable."""
    return Markup('<rect class="part" y="{}" width="{}%" height="3" rx="1.5"/>').format(
        y + _BAR_PX - 3, round(width, 1)
    )


def _share(point: Bar, y: int) -> Markup:
    width = 100 * (point.part or 0) / point.value if point.value else 0
    row = Markup(
        '<title>{label}: {words}</title><rect class="track" y="{y}" width="100%" height="{height}" rx="4"/>'
        '<rect class="bar" y="{y}" width="{width}%" height="{height}" rx="4"/>'
        '<text class="bar-label" x="8" y="{text_y}">{short}</text>'
        '<text x="100%" dx="-8" y="{text_y}" text-anchor="end">{words}</text>'
    ).format(
        label=point.label,
        short=_shortened(point.label),
        words=point.words,
        y=y,
        text_y=y + 16,
        width=round(width, 1),
        height=_BAR_PX,
    )
    return _led(row, point)


def _led(row: Markup, point: Bar) -> Markup:
    """Within a link, where there is somewhere to go."""
    if point.href is None:
        return Markup("<g>{}</g>").format(row)
    return Markup('<a href="{}">{}</a>').format(point.href, row)


def _shortened(label: str) -> str:
    return label if len(label) <= _LABEL_LENGTH else label[: _LABEL_LENGTH - 1].rstrip() + "…"


def _scale_top(peak: int) -> int:
    """The least round number not below `peak` whose half is whole."""
    unit: int = 10 ** (len(str(peak)) - 1)
    return next(top for digit in (1, 2, 4, 6, 8, 10) if (top := digit * unit) >= peak and top % 2 == 0)


def _gridline(value: int, top: int) -> Markup:
    y = _TOP_PX + round(_PLOT_PX * (1 - value / top)) + 0.5  # half a pixel keeps the line sharp
    return Markup(
        '<line class="{kind}" x1="{margin}%" x2="100%" y1="{y}" y2="{y}"/>'
        '<text x="{margin}%" dx="-6" y="{text_y}" text-anchor="end">{value}</text>'
    ).format(kind="grid" if value else "base", margin=_MARGIN, y=y, text_y=y + 3.5, value=f"{value:,}")


def _month(m: Month, x: float, band: float, top: int) -> Markup:
    return Markup(
        '<g class="band"><title>{said}</title>'
        '<rect class="hit" x="{x}%" y="{top}" width="{band}%" height="{height}"/>{joined}{left}</g>'
    ).format(
        said=_said(m),
        x=round(x, 2),
        top=_TOP_PX,
        band=round(band, 2),
        height=_PLOT_PX,
        joined=_column("first", m.joined / top, x + band * 0.16, band * 0.32),
        left=_column("second", m.left / top, x + band * 0.52, band * 0.32),
    )


def _column(kind: str, share: float, x: float, width: float) -> Markup:
    height = round(_PLOT_PX * share, 1)
    return Markup('<rect class="{}" x="{}%" y="{}" width="{}%" height="{}" rx="2"/>').format(
        kind, round(x, 2), round(_TOP_PX + _PLOT_PX - height, 1), round(width, 2), height
    )


def _month_name(month: date, x: float, *, is_first: bool) -> Markup:
    y = _TOP_PX + _PLOT_PX + 16
    name = Markup('<text x="{x}%" y="{y}" text-anchor="middle">{name}</text>').format(
        x=round(x, 2), y=y, name=f"{month:%b}"
    )
    # The year stands under January, and under the first month unless January follows at once.
    if month.month != 1 and not (is_first and month.month < 12):
        return name
    return name + Markup('<text x="{x}%" y="{y}" text-anchor="middle">{year}</text>').format(
        x=round(x, 2), y=y + 15, year=month.year
    )


def _said(m: Month) -> str:
    return f"{m.month:%B %Y}: {m.joined:,} joined, {m.left:,} left"

"""Changes by day as a picture: SVG drawn on the server, coloured by the style sheet."""

from collections.abc import Sequence

from markupsafe import Markup

from muster.people.history import Day

_TOP_PX, _PLOT_PX, _AXIS_PX = 10, 72, 20
_MARGIN = 5.0  # per cent of the width, for the scale's figure
_NAMED_EVERY = 7


def days_chart(days: Sequence[Day], *, title: str) -> Markup:
    """A column a day, of who came, who went and what else changed; each leads to that day's list."""
    peak = max((day.came + day.went + day.other for day in days), default=0) or 1
    band = (100 - _MARGIN) / max(len(days), 1)
    columns = [_column(day, _MARGIN + i * band, band, peak) for i, day in enumerate(days)]
    names = [
        _name(day, _MARGIN + (i + 0.5) * band)
        for i, day in enumerate(days)
        if (len(days) - 1 - i) % _NAMED_EVERY == 0
    ]
    return Markup(
        '<svg class="chart" width="100%" height="{height}" role="group" aria-label="{title}">'
        '<line class="grid" x1="{margin}%" x2="100%" y1="{top}" y2="{top}"/>'
        '<text x="{margin}%" dx="-6" y="{text_y}" text-anchor="end">{peak}</text>{columns}'
        '<line class="base" x1="{margin}%" x2="100%" y1="{base}" y2="{base}"/>{names}</svg>'
    ).format(
        height=_TOP_PX + _PLOT_PX + _AXIS_PX,
        title=title,
        margin=_MARGIN,
        top=_TOP_PX + 0.5,  # half a pixel keeps the line sharp
        text_y=_TOP_PX + 4,
        base=_TOP_PX + _PLOT_PX + 0.5,
        peak=f"{peak:,}",
        columns=Markup().join(columns),
        names=Markup().join(names),
    )


def _column(day: Day, x: float, band: float, peak: int) -> Markup:
    drawn, floor = [], float(_TOP_PX + _PLOT_PX)
    for kind, count in (("first", day.came), ("second", day.went), ("third", day.other)):
        if count:
            height = max(_PLOT_PX * count / peak, 1.5)  # thinner would say "none"
            floor -= height
            drawn.append(
                Markup('<rect class="{}" x="{}%" y="{}" width="{}%" height="{}"/>').format(
                    kind, round(x + band * 0.2, 2), round(floor, 1), round(band * 0.6, 2), round(height, 1)
                )
            )
    column = Markup(
        '<title>{said}</title><rect class="hit" x="{x}%" y="{y}" width="{band}%" height="{height}"/>{drawn}'
    ).format(
        said=_said(day),
        x=round(x, 2),
        y=_TOP_PX,
        band=round(band, 2),
        height=_PLOT_PX,
        drawn=Markup().join(drawn),
    )
    if not drawn:
        return Markup('<g class="band">{}</g>').format(column)
    address = f"/people/changes?from={day.day}&until={day.day}"
    return Markup('<a class="band" href="{}" aria-label="{}">{}</a>').format(address, _said(day), column)


def _name(day: Day, x: float) -> Markup:
    return Markup('<text x="{x}%" y="{y}" text-anchor="middle">{day}</text>').format(
        x=round(x, 2), y=_TOP_PX + _PLOT_PX + 16, day=f"{day.day.day} {day.day:%b}"
    )


def _said(day: Day) -> str:
    return f"{day.day.day} {day.day:%B}: {day.came:,} came, {day.went:,} went, {day.other:,} other changes"

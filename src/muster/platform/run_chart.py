"""A picture of the last runs: how long each took, and how it ended. SVG, coloured by the style sheet."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from markupsafe import Markup

from muster.platform.pages import in_words

_HEIGHT_PX, _LEAST_PX = 56, 3


class Run(Protocol):
    @property
    def status(self) -> str: ...
    @property
    def seconds(self) -> float: ...


AnyRun = TypeVar("AnyRun", bound=Run)


def columns(runs: Sequence[AnyRun], *, places: int, called: Callable[[AnyRun], str]) -> Markup:
    """One column a run, oldest first; the newest stands at the right edge, however few there are."""
    longest = max((run.seconds for run in runs), default=0) or 1
    band = 100 / places
    start = places - len(runs)
    drawn = Markup().join(
        _column(run, called(run), (start + place) * band, band, run.seconds / longest)
        for place, run in enumerate(runs)
    )
    return Markup(
        '<svg class="chart runs" width="100%" height="{height}" role="img" aria-label="{title}">{drawn}'
        '<line class="base" x1="0" x2="100%" y1="{base}" y2="{base}"/></svg>'
    ).format(
        height=_HEIGHT_PX + 1,
        title=f"Seconds of the last {len(runs)} runs, the longest {in_words(longest)}",
        drawn=drawn,
        base=_HEIGHT_PX + 0.5,
    )


def _column(run: Run, name: str, x: float, band: float, share: float) -> Markup:
    height = max(_LEAST_PX, round(_HEIGHT_PX * share, 1))
    return Markup(
        '<g class="band" data-status="{status}"><title>{said}</title>'
        '<rect class="hit" x="{x}%" y="0" width="{band}%" height="{full}"/>'
        '<rect class="took" x="{inner}%" y="{y}" width="{width}%" height="{height}" rx="1.5"/></g>'
    ).format(
        status=run.status,
        said=f"{name}: {run.status} after {in_words(run.seconds)}",
        x=round(x, 2),
        band=round(band, 2),
        full=_HEIGHT_PX,
        inner=round(x + band * 0.15, 2),
        y=round(_HEIGHT_PX - height, 1),
        width=round(band * 0.7, 2),
        height=height,
    )

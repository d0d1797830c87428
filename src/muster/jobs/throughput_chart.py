"""Jobs done and failed by the quarter of an hour, as a picture. SVG, coloured by the style sheet."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from markupsafe import Markup

from muster.platform.queue_view import BAR

_HEIGHT = 36
_LEAST = 2


def picture(queue: str, completed: Sequence[int], failed: Sequence[int], now: datetime) -> Markup:
    """One column a bar, the newest at the right; as high as the busiest of its queue."""
    busiest = max((a + b for a, b in zip(completed, failed, strict=True)), default=0) or 1
    heights = [(_height(a, busiest), _height(b, busiest)) for a, b in zip(completed, failed, strict=True)]
    return Markup(
        '<svg class="chart throughput" width="100%" height="{height}" viewBox="0 0 {places} {height}" '
        'preserveAspectRatio="none" role="img" aria-label="{title}">'
        '<path class="done" d="{done}"/><path class="broken" d="{broken}"/>{bands}'
        '<line class="base" x1="0" x2="{places}" y1="{height}" y2="{height}"/></svg>'
    ).format(
        height=_HEIGHT,
        places=len(completed),
        title=f"{queue}, last 24 hours: {sum(completed):,} completed, {sum(failed):,} failed",
        done="".join(_bar(place, _HEIGHT - a, a) for place, (a, _) in enumerate(heights)),
        broken="".join(_bar(place, _HEIGHT - a - b, b) for place, (a, b) in enumerate(heights)),
        bands=Markup().join(_bands(completed, failed, now)),
    )


def _height(jobs: int, busiest: int) -> float:
    return max(_LEAST, round((_HEIGHT - _LEAST) * jobs / busiest, 1)) if jobs > 0 else 0


def _bar(place: int, top: float, height: float) -> str:
    return f"M{place + 0.1:.1f} {top:g}h.8v{height:g}h-.8z" if height else ""


def _bands(completed: Sequence[int], failed: Sequence[int], now: datetime) -> Iterator[Markup]:
    width = int(BAR.total_seconds())
    newest = int(now.timestamp()) // width * width
    for place, (done, broken) in enumerate(zip(completed, failed, strict=True)):
        if done or broken:
            start = datetime.fromtimestamp(newest - (len(completed) - 1 - place) * width, UTC)
            said = f"{start:%H:%M} UTC: {done:,} completed, {broken:,} failed"
            yield Markup(
                '<g class="band"><title>{said}</title>'
                '<rect class="hit" x="{place}" width="1" height="{height}"/></g>'
            ).format(said=said, place=place, height=_HEIGHT)

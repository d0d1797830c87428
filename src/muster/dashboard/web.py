"""The first page, and the same numbers for programs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from starlette.responses import Response

from muster.access.roles import Permission
from muster.dashboard.metrics import Figure, Metrics, Month, Newcomer, Reading, Row, Section, Source
from muster.dashboard.people_metrics import HEADCOUNT
from muster.dashboard.snapshots import Kept, Snapshots
from muster.dashboard.sources import Sources
from muster.dashboard.tiles import tile
from muster.errors import NotFound
from muster.people.removals import Removals
from muster.platform.pages import Pages
from muster.platform.routes import API, Nav, Request, Route


class MetricAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A metric and what it says. `figures` are its numbers, the first one foremost; `rows`, `months` and
    `people` are what they are made of, where it tells. Where it could not be read, `problem` says why.
    """

    id: str
    title: str
    question: str
    section: Section
    source: Source
    href: str
    as_of: datetime | None
    is_stale: bool
    figures: list[Figure]
    rows: list[Row]
    months: list[Month]
    people: list[Newcomer]
    note: str
    problem: str


class SourceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """When what the numbers are made of was last read to the end, and how the last run went."""

    source: Source
    read_at: datetime | None
    status: str
    reason: str


class MetricsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    metrics: list[MetricAnswer]
    sources: list[SourceAnswer]


class AskHistory(msgspec.Struct, frozen=True, kw_only=True):
    """`days` back from today."""

    days: Annotated[int, msgspec.Meta(ge=1, le=3660)] = 90


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every figure by day, the oldest first; days on which it was not read are left out."""

    id: str
    figures: list[Kept]


class DashboardPages:
    def __init__(
        self,
        metrics: Metrics,
        snapshots: Snapshots,
        sources: Sources,
        removals: Removals,
        pages: Pages,
        *,
        checklist: Callable[[], Awaitable[Mapping[str, int]]],
    ) -> None:
        """`checklist` tells how many rows stand at each status."""
        self._metrics = metrics
        self._snapshots = snapshots
        self._sources = sources
        self._removals = removals
        self._pages = pages
        self._checklist = checklist

    def routes(self) -> list[Route]:
        nav = Nav(label="Dashboard", icon="dashboard", order=1)
        use, api = Permission.USE_PORTAL, f"{API}/metrics"
        return [
            Route(path="/", handler=self.show, may=use, nav=nav),
            Route(path=api, handler=self.list_metrics, may=use, returns=MetricsAnswer),
            Route(
                path=f"{api}/{{metric_id}}/history",
                handler=self.show_metric_history,
                may=use,
                reads=AskHistory,
                returns=HistoryAnswer,
            ),
        ]

    async def show(self, request: Request) -> Response:
        actor = request.actor
        readings, trends = await self._metrics.read_with_trends(
            self._metrics.seen_by(actor), self._snapshots.want()
        )
        tiles = [tile(one, actor, trends.get(one.metric.id, [])) for one in readings]
        health = await self._sources.read()
        return self._pages.render(
            request,
            "dashboard.html",
            title="Dashboard",
            sections={
                section: [one for one in tiles if one.section is section]
                for section in Section
                if any(one.section is section for one in tiles)
            },
            is_empty=_holds_nobody(readings),
            health=health,
            is_live=any(one.is_running for one in health.values()),
            checklist=await self._checklist() if actor.may(Permission.SEE_CHECKLIST) else None,
            removal_waiting=await self._removals.find_waiting()
            if actor.may(Permission.DECIDE_REMOVALS)
            else None,
        )

    async def list_metrics(self, request: Request) -> MetricsAnswer:
        """Every number of the first page that you may see, what it is made of and how old it is."""
        readings = await self._metrics.read(self._metrics.seen_by(request.actor))
        health = await self._sources.read()
        return MetricsAnswer(
            metrics=[_answer(one, request) for one in readings],
            sources=[
                SourceAnswer(source=one.source, read_at=one.read_at, status=one.status, reason=one.reason)
                for one in health.values()
            ],
        )

    async def show_metric_history(self, request: Request, asked: AskHistory) -> HistoryAnswer:
        """What a metric said at the end of each day."""
        wanted = request.path_params["metric_id"]
        metric = next((one for one in self._metrics.seen_by(request.actor) if one.id == wanted), None)
        if metric is None:
            raise NotFound("There is no metric of this name, or you may not see it.")
        return HistoryAnswer(id=metric.id, figures=await self._snapshots.history(metric, days=asked.days))


def _holds_nobody(readings: Sequence[Reading]) -> bool:
    """Whether the directory is known to be empty."""
    headcount = next((one.value for one in readings if one.metric.id == HEADCOUNT), None)
    return headcount is not None and not headcount.figures[0].value


def _answer(reading: Reading, request: Request) -> MetricAnswer:
    metric, value = reading.metric, reading.value
    return MetricAnswer(
        id=metric.id,
        title=metric.title,
        question=metric.question,
        section=metric.section,
        source=metric.source,
        href=metric.href_for(request.actor),
        as_of=reading.as_of,
        is_stale=reading.is_stale,
        figures=value.figures if value else [],
        rows=value.rows if value else [],
        months=value.months if value else [],
        people=value.people if value else [],
        note=value.note if value else "",
        problem=reading.problem,
    )

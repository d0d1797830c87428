"""How the company is made up: its org units and its org chart, as pages, CSV and JSON."""

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Annotated

import msgspec
from starlette.responses import Response

from muster.access.roles import Permission
from muster.people.chart import NODES, Chart, ChartFilter, Node
from muster.people.org_units import ORDERS, OrgUnit, OrgUnits
from muster.people.org_units import PAGE as UNITS_PAGE
from muster.people.sync import PeopleSync
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages
from muster.platform.paging import Cut, ListQuery, href, links
from muster.platform.routes import Nav, Request, Route


class ListUnits(ListQuery, frozen=True, kw_only=True):
    q: str = ""
    sort: str = "tree"
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = UNITS_PAGE


class ShowChart(ListQuery, frozen=True, kw_only=True):
    """Those led by `root`, or who match `q`, or else those nobody leads."""

    root: str = ""
    q: str = ""
    sort: str = "-size"

    def filter(self) -> ChartFilter:
        return ChartFilter(root=self.root, q=self.q, sort=self.sort)


class OrgUnitsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of units; `after` is the cursor of the next page, absent on the last."""

    org_units: list[OrgUnit]
    total: int
    after: str | None


class OrgPages:
    def __init__(self, units: OrgUnits, chart: Chart, sync: PeopleSync, pages: Pages) -> None:
        self._units = units
        self._chart = chart
        self._sync = sync
        self._pages = pages

    def routes(self) -> list[Route]:
        see = Permission.SEE_PEOPLE
        chart = Nav(label="Chart", icon="groups", order=3, under="/people", is_top=False)
        units = Nav(label="Org units", icon="companies", order=4, under="/people", is_top=False)
        return [
            Route(path="/people/chart", handler=self.show_chart, may=see, reads=ShowChart, nav=chart),
            Route(path="/people/chart.csv", handler=self.download_chart, may=see, reads=ShowChart),
            Route(path="/people/org-units", handler=self.list_units, may=see, reads=ListUnits, nav=units),
            Route(path="/people/org-units.csv", handler=self.download_units, may=see, reads=ListUnits),
            Route(
                path="/api/v1/org-units",
                handler=self.answer_units,
                may=see,
                reads=ListUnits,
                returns=OrgUnitsAnswer,
            ),
        ]

    async def list_units(self, request: Request, asked: ListUnits) -> Response:
        found = await self._units.find(
            q=asked.q, sort=asked.sort, after=asked.after, before=asked.before, limit=asked.limit
        )
        cut: Cut[Node] = Cut(rows=[], after=found.after, before=found.before)
        return self._pages.render(
            request,
            "org_units.html",
            title="Org units",
            units=found.units,
            total=found.total,
            most=max((unit.below for unit in found.units), default=0),
            synced_at=await self._sync.synced_at(),
            may_sync=request.actor.may(Permission.SYNC_PEOPLE),
            **links("/people/org-units", "/people/org-units.csv", asked, cut, ORDERS),
        )

    async def download_units(self, request: Request, asked: ListUnits) -> Response:
        rows = _one_by_one(await self._units.list_all(q=asked.q, sort=asked.sort))
        return CsvResponse(
            "org-units.csv", list(_UNIT_COLUMNS), rows, lambda row: [of(row) for of in _UNIT_COLUMNS.values()]
        )

    async def answer_units(self, request: Request, asked: ListUnits) -> OrgUnitsAnswer:
        """List org units with how many people are in each and below it."""
        found = await self._units.find(
            q=asked.q, sort=asked.sort, after=asked.after, before=asked.before, limit=asked.limit
        )
        return OrgUnitsAnswer(org_units=found.units, total=found.total, after=found.after)

    async def show_chart(self, request: Request, asked: ShowChart) -> Response:
        wanted = asked.filter()
        root = await self._chart.get(wanted.root) if wanted.root else None
        found = await self._chart.find(wanted, after=asked.after, before=asked.before, limit=asked.limit)
        is_whole = not (wanted.root or wanted.q or asked.after or asked.before)
        return self._pages.render(
            request,
            "chart.html",
            title=f"{root.name} in the org chart" if root else "Org chart",
            root=root,
            above=await self._chart.list_above(root) if root else [],
            nodes=found.rows,
            below=await self._chart.list_reports(found.rows),
            circles=await self._chart.list_in_circles() if is_whole else [],
            total=await self._chart.count(wanted),
            synced_at=await self._sync.synced_at(),
            may_sync=request.actor.may(Permission.SYNC_PEOPLE),
            whole_href=href("/people/chart", asked, root="", q=""),
            **links("/people/chart", "/people/chart.csv", asked, found, NODES.labels),
        )

    async def download_chart(self, request: Request, asked: ShowChart) -> Response:
        NODES.check(asked.sort)
        rows = self._chart.stream(asked.filter())
        return CsvResponse(
            "chart.csv", list(_NODE_COLUMNS), rows, lambda row: [of(row) for of in _NODE_COLUMNS.values()]
        )


async def _one_by_one(units: Iterable[OrgUnit]) -> AsyncGenerator[OrgUnit, None]:
    for unit in units:
        yield unit


_UNIT_COLUMNS: dict[str, Callable[[OrgUnit], object]] = {
    "Path": lambda row: row.path,
    "Name": lambda row: row.name,
    "Description": lambda row: row.description,
    "People": lambda row: row.people,
    "People with everything below": lambda row: row.below,
}
_NODE_COLUMNS: dict[str, Callable[[Node], object]] = {
    "Name": lambda row: row.name,
    "E-mail": lambda row: row.email,
    "Title": lambda row: row.title,
    "Department": lambda row: row.department,
    "Status": lambda row: row.status.value,
    "Manager": lambda row: row.manager_email,
    "Reports": lambda row: row.reports,
    "Everybody below": lambda row: row.size,
}

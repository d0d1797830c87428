"""The first page."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.responses import Response

from muster.access.roles import Permission
from muster.dashboard import charts
from muster.dashboard.overview import Overviews
from muster.people.removals import Removals
from muster.platform.pages import Pages
from muster.platform.routes import Nav, Request, Route


class DashboardPages:
    def __init__(
        self,
        overviews: Overviews,
        removals: Removals,
        pages: Pages,
        *,
        checklist: Callable[[], Awaitable[Mapping[str, int]]],
    ) -> None:
        """`checklist` tells how many rows stand at each status."""
        self._overviews = overviews
        self._removals = removals
        self._pages = pages
        self._checklist = checklist

    def routes(self) -> list[Route]:
        nav = Nav(label="Dashboard", icon="dashboard", order=1)
        return [Route(path="/", handler=self.show, may=Permission.USE_PORTAL, nav=nav)]

    async def show(self, request: Request) -> Response:
        overview = await self._overviews.read()
        departments = [charts.Bar(one.name, one.people, one.href) for one in overview.by_department]
        sees_checklist = request.actor.may(Permission.SEE_CHECKLIST)
        return self._pages.render(
            request,
            "dashboard.html",
            title="Dashboard",
            overview=overview,
            checklist=await self._checklist() if sees_checklist else None,
            removal_waiting=await self._removals.find_waiting()
            if request.actor.may(Permission.DECIDE_REMOVALS)
            else None,
            charts={
                "departments": charts.bars(departments, title="People by department"),
                "months": charts.joined_and_left(
                    overview.joiners_by_month, title="People who joined and left, by month"
                ),
            },
        )

"""The settings in force, for whoever keeps the portal running."""

from collections.abc import Mapping

from starlette.responses import Response

from muster import __version__
from muster.access.roles import Permission
from muster.errors import NotFound
from muster.platform import audit
from muster.platform.database import Database
from muster.platform.error_reports import ErrorReports
from muster.platform.pages import Pages
from muster.platform.routes import Nav, Request, Route


class SettingsPage:
    def __init__(
        self,
        database: Database,
        pages: Pages,
        reports: ErrorReports | None,
        *,
        shown: Mapping[str, str],
        environment: str,
        meanings: Mapping[str, Mapping[str, str]],
    ) -> None:
        """`shown` is setting → value with secrets hidden; `meanings` is group → setting → what it is."""
        self._database = database
        self._pages = pages
        self._reports = reports
        self._shown = shown
        self._environment = environment
        self._meanings = meanings

    def routes(self) -> list[Route]:
        nav = Nav(label="Settings", icon="settings", order=40, under="/admin/roles", is_top=False)
        return [
            Route(path="/admin/settings", handler=self.show, may=Permission.SEE_SETTINGS, nav=nav),
            # Who only looks has the settings, too; this sends something to somebody else.
            Route(
                path="/admin/settings/canaries",
                method="POST",
                handler=self.try_reports,
                may=Permission.PROVE_CHECKLIST,
            ),
        ]

    async def show(self, request: Request) -> Response:
        return self._page(request)

    async def try_reports(self, request: Request) -> Response:
        """Send an error that is none, and show under which id it was taken."""
        if self._reports is None:
            raise NotFound("SENTRY_DSN is not set: errors are reported nowhere.")
        event_id = await self._reports.try_out("password=planted-to-be-hidden")
        async with self._database.transaction() as tx:
            await audit.record(
                tx,
                "errors.canary_sent",
                by=request.actor,
                after={"host": self._reports.host, "event": event_id},
                origin=request.origin,
            )
        return self._page(request, event_id=event_id)

    def _page(self, request: Request, *, event_id: str = "") -> Response:
        return self._pages.render(
            request,
            "settings.html",
            title="Settings",
            release=__version__,
            environment=self._environment,
            reports_to=self._reports.host if self._reports else "",
            may_try=request.actor.may(Permission.PROVE_CHECKLIST),
            event_id=event_id,
            groups=[
                (
                    group,
                    [
                        (name, self._shown[name], meaning)
                        for name, meaning in of_group.items()
                        if name in self._shown
                    ],
                )
                for group, of_group in self._meanings.items()
            ],
        )

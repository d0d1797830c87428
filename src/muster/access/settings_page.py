"""The settings in force, for whoever keeps the portal running."""

from collections.abc import Mapping

from starlette.responses import Response

from muster import __version__
from muster.access.roles import Permission
from muster.platform.pages import Pages
from muster.platform.routes import Nav, Request, Route


class SettingsPage:
    def __init__(
        self,
        pages: Pages,
        *,
        shown: Mapping[str, str],
        environment: str,
        meanings: Mapping[str, Mapping[str, str]],
    ) -> None:
        """`shown` is setting → value with secrets hidden; `meanings` is group → setting → what it is."""
        self._pages = pages
        self._shown = shown
        self._environment = environment
        self._meanings = meanings

    def routes(self) -> list[Route]:
        nav = Nav(label="Settings", icon="settings", order=40, under="/admin/roles", is_top=False)
        return [Route(path="/admin/settings", handler=self.show, may=Permission.SEE_SETTINGS, nav=nav)]

    async def show(self, request: Request) -> Response:
        return self._pages.render(
            request,
            "settings.html",
            title="Settings",
            release=__version__,
            environment=self._environment,
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

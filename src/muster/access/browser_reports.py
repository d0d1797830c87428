"""Reports of browsers that a page broke the content security policy: a hole that somebody tries, or a bug."""

from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.account_page import device
from muster.access.roles import Permission
from muster.platform import audit
from muster.platform.database import Database
from muster.platform.pages import Pages
from muster.platform.rate_limit import Limit
from muster.platform.routes import Anyone, Nav, Request, Route, from_json
from muster.platform.security_headers import REPORTS

REPORTING = Limit(name="report", times=30, per=timedelta(minutes=1), fails_open=False)
MOST_KINDS = 500
MOST_AT_ONCE = 20
_LONGEST = 100
"""Letters of a field; of all five no more than an index can hold, whatever the letters."""

_EXTENSIONS = (
    *("chrome-extension", "moz-extension", "safari-extension", "safari-web-extension"),
    "webkit-masked-url",
)
"""What a browser's own extensions do to a page is nothing that Muster could mend."""


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    directive: str
    blocked: str
    page: str
    source: str


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Reports of one kind, counted."""

    directive: str
    blocked: str
    page: str
    source: str
    browser: str
    times: int
    first_seen: datetime
    last_seen: datetime


class BrowserReports:
    def __init__(self, database: Database, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    def routes(self) -> list[Route]:
        see = Permission.SEE_SETTINGS
        nav = Nav(label="Browser reports", icon="files", order=50, under="/admin/roles", is_top=False)
        return [
            Route(
                path=REPORTS,
                method="POST",
                handler=self.take,
                may=Anyone.MAY,
                limit=REPORTING,
                max_body_bytes=32 * 1024,
            ),
            Route(path="/admin/reports", handler=self.show, may=see, nav=nav),
            Route(
                path="/admin/reports/cleared",
                method="POST",
                handler=self.clear,
                may=Permission.CLEAR_REPORTS,
            ),
        ]

    async def take(self, request: Request) -> Response:
        reports = _reports(await request.body())
        browser = device(request.headers.get("user-agent", "")[:200])[:_LONGEST]
        for report in reports[:MOST_AT_ONCE]:
            await self._database.execute(
                _KEEP, [report.directive, report.blocked, report.page, report.source, browser]
            )
        if reports:
            await self._database.execute(_FORGET, [MOST_KINDS])
        return Response(status_code=204)

    async def show(self, request: Request) -> Response:
        return self._pages.render(
            request,
            "browser_reports.html",
            title="Browser reports",
            may_clear=request.actor.may(Permission.CLEAR_REPORTS),
            reports=await self._database.rows(
                Kept,
                """
                SELECT directive, blocked, page, source, browser, times, first_seen, last_seen
                FROM browser_reports ORDER BY last_seen DESC, id DESC LIMIT 100
                """,
            ),
        )

    async def clear(self, request: Request) -> Response:
        async with self._database.transaction() as tx:
            cleared = await tx.execute("DELETE FROM browser_reports")
            await audit.record(
                tx, "reports.cleared", by=request.actor, before={"kinds": cleared}, origin=request.origin
            )
        return RedirectResponse("/admin/reports", status_code=303)


def _reports(body: bytes) -> list[_Report]:
    """Of both forms: the Reporting API's list, and the single report that `report-uri` sends.

    https://www.w3.org/TR/CSP3/#reporting. Raises Invalid for what is neither.
    """
    sent = from_json(body, object)
    bodies = sent if isinstance(sent, list) else [sent]
    found = (_report(one) for one in bodies if isinstance(one, dict))
    return [one for one in found if one and not one.blocked.startswith(_EXTENSIONS)]


def _report(sent: dict[str, Any]) -> _Report | None:
    told = sent.get("csp-report", sent.get("body"))
    if not isinstance(told, dict):
        return None

    def field(*names: str) -> str:
        return next((str(told[name]) for name in names if told.get(name) is not None), "")

    line = field("lineNumber", "line-number")
    source = _path(field("sourceFile", "source-file"))
    return _Report(
        directive=_short(field("effectiveDirective", "effective-directive", "violated-directive")),
        blocked=_short(_host(field("blockedURL", "blocked-uri"))),
        page=_short(_path(field("documentURL", "document-uri") or str(sent.get("url") or ""))),
        source=_short(f"{source}:{line}" if source and line else source),
    )


def _host(url: str) -> str:
    """Scheme and host of an address; "inline" and its like stay as they are."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "not an address"
    return (
        f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else parts.scheme or parts.path
    )


def _path(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return parts.path if parts.scheme in {"http", "https"} else ""


def _short(text: str) -> str:
    return "".join(char for char in text if char.isprintable())[:_LONGEST]


_KEEP = """
INSERT INTO browser_reports (directive, blocked, page, source, browser) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (directive, blocked, page, source, browser)
    DO UPDATE SET times = browser_reports.times + 1, last_seen = now()
"""

_FORGET = """
DELETE FROM browser_reports WHERE id IN (
    SELECT id FROM browser_reports ORDER BY last_seen DESC, id DESC OFFSET %s
)
"""

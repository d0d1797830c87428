"""The company's timeline: who joined, left, moved and was changed, as a page and as CSV."""

from datetime import timedelta
from itertools import groupby
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from muster.access.roles import Permission
from muster.people import wording
from muster.people.history import COUNTED, KINDS, ChangeFilter, History
from muster.people.sync import PeopleSync
from muster.people.timeline_chart import days_chart
from muster.people.wording import Entry
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages
from muster.platform.routes import Nav, Request, Route

CHART_DAYS = 30
ChangeId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class ListChanges(msgspec.Struct, frozen=True, kw_only=True):
    """`from` and `until` are days, both included. `before` and `after` are ids of changes: the page goes on
    with older ones, or with newer ones.
    """

    kind: str = ""
    q: str = ""
    since: str = msgspec.field(default="", name="from")
    until: str = ""
    before: ChangeId | None = None
    after: ChangeId | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50

    def filter(self, sees: tuple[str, ...], *, google_id: str = "") -> ChangeFilter:
        """Raises Invalid for a day that cannot be read."""
        since, until = wording.day_of(self.since, "from"), wording.day_of(self.until, "until")
        return ChangeFilter(
            sees=sees,
            kind=self.kind,
            q=self.q,
            google_id=google_id,
            since=wording.start_of(since) if since else None,
            until=wording.start_of(until + timedelta(days=1)) if until else None,
        )


class ChangePages:
    def __init__(self, history: History, sync: PeopleSync, pages: Pages) -> None:
        self._history = history
        self._sync = sync
        self._pages = pages

    def routes(self) -> list[Route]:
        see = Permission.SEE_PEOPLE
        nav = Nav(label="Changes", icon="changes", order=5, under="/people", is_top=False)
        return [
            Route(path="/people/changes", handler=self.list_changes, may=see, reads=ListChanges, nav=nav),
            Route(path="/people/changes.csv", handler=self.download, may=see, reads=ListChanges),
        ]

    async def list_changes(self, request: Request, asked: ListChanges) -> Response:
        sees = wording.seen_fields(request.actor)
        wanted = asked.filter(sees)
        found = await self._history.page(wanted, before=asked.before, after=asked.after, limit=asked.limit)
        counts = await self._history.count(wanted)
        kinds = [kind for kind in KINDS if counts.by_kind.get(kind) or kind == asked.kind]
        filtered = bool(asked.kind or asked.q or asked.since or asked.until)
        days = await self._history.list_days(ChangeFilter(sees=sees), days=CHART_DAYS)
        return self._pages.render(
            request,
            "changes.html",
            title="Changes",
            days=[
                (day, list(entries))
                for day, entries in groupby(
                    (wording.told(change, sees) for change in found.changes), lambda entry: entry.day
                )
            ],
            filters=asked,
            filtered=filtered,
            counts=counts,
            counted=COUNTED,
            total=counts.by_kind.get(asked.kind, 0) if asked.kind else counts.total,
            tabs=[
                {"key": "", "label": "All", "count": counts.total, "href": _href(asked, kind="")},
                *(
                    {
                        "key": kind,
                        "label": KINDS[kind],
                        "count": counts.by_kind.get(kind, 0),
                        "href": _href(asked, kind=kind),
                    }
                    for kind in kinds
                ),
            ],
            chart=days_chart(days, title=f"Changes a day, last {CHART_DAYS} days")
            if any(day.came or day.went or day.other for day in days)
            else None,
            chart_days=days,
            older_href=_href(asked, before=str(found.older)) if found.older else None,
            newer_href=_href(asked, after=str(found.newer)) if found.newer else None,
            csv_href=_href(asked, path="/people/changes.csv"),
            began_at=await self._history.began_at(),
            synced_at=await self._sync.synced_at(),
        )

    async def download(self, request: Request, asked: ListChanges) -> Response:
        sees = wording.seen_fields(request.actor)
        changes = self._history.stream(asked.filter(sees))
        return CsvResponse(
            "changes.csv", _COLUMNS, changes, lambda change: _cells(wording.told(change, sees))
        )


_COLUMNS = ["At", "Id", "Name", "E-mail", "What", "Before and after", "Learned", "Sync", "By"]


def _cells(entry: Entry) -> list[object]:
    return [
        entry.at,
        entry.google_id,
        entry.name,
        entry.email,
        ", ".join(entry.labels),
        "; ".join(f"{line.label}: {line.said}" for line in entry.lines),
        entry.learned,
        entry.sync_id,
        entry.by_email,
    ]


def _href(asked: ListChanges, *, path: str = "/people/changes", **over: str) -> str:
    """Only what differs from a list without filters stands in it, and no page but the first unless named."""
    query = {"kind": asked.kind, "q": asked.q, "from": asked.since, "until": asked.until} | over
    if asked.limit != 50:
        query["limit"] = str(asked.limit)
    kept = {name: value for name, value in query.items() if value}
    return f"{path}?{urlencode(kept)}" if kept else path

"""Alerts as pages: what is open, what was, who was told on which channel, and what people do about it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.roles import Permission
from muster.errors import Invalid
from muster.platform import audit
from muster.platform.database import Database
from muster.platform.notices import ChannelState, Delivery, NoticeRow, Notices
from muster.platform.notify import Channel
from muster.platform.pages import Pages
from muster.platform.routes import Nav, Request, Route
from muster.readiness.alert_book import (
    GROUPS,
    LONGEST_REASON,
    LONGEST_SILENCE,
    LONGEST_WINDOW,
    SUBJECTS,
    AlertBook,
)
from muster.readiness.alert_words import in_words, runbook
from muster.readiness.alerts import REMINDED_EVERY
from muster.readiness.watch import Watch, WatchState

_HOUR = timedelta(hours=1)
SILENCES = {
    1: "1 hour",
    4: "4 hours",
    12: "12 hours",
    24: "1 day",
    72: "3 days",
    168: "7 days",
    720: "30 days",
}
WINDOWS = {1: "1 hour", 2: "2 hours", 4: "4 hours", 8: "8 hours", 24: "1 day", 72: "3 days", 168: "7 days"}
"""Hours → what they are called."""

_Reason = Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)]


class Acknowledge(msgspec.Struct, frozen=True, kw_only=True):
    """`note` says what is going to be done."""

    note: _Reason


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    reason: _Reason
    hours: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_SILENCE // _HOUR)]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """`about` are rows, rules or groups of the checklist. `starts_at` is in UTC; "" is now."""

    about: tuple[str, ...]
    reason: _Reason
    hours: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_WINDOW // _HOUR)]
    starts_at: str = ""

    def span(self) -> tuple[datetime, datetime]:
        """Raises Invalid."""
        now = datetime.now(UTC)
        try:
            starts_at = datetime.fromisoformat(self.starts_at) if self.starts_at else now
            starts_at = starts_at if starts_at.tzinfo else starts_at.replace(tzinfo=UTC)
            return starts_at, starts_at + timedelta(hours=self.hours)
        except (ValueError, OverflowError) as error:
            raise Invalid("starts_at is no time; expected as 2026-11-24T18:00, in UTC") from error


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    """A notice with how far it came on each channel."""

    title: str
    body: str
    kind: str
    at: datetime
    deliveries: list[Delivery]


class AlertPages:
    def __init__(
        self, database: Database, book: AlertBook, notices: Notices, watch: Watch, pages: Pages
    ) -> None:
        self._database = database
        self._book = book
        self._notices = notices
        self._watch = watch
        self._pages = pages

    def routes(self) -> list[Route]:
        see, handle = Permission.SEE_ALERTS, Permission.HANDLE_ALERTS
        nav = Nav(label="Alerts", icon="alerts", order=10)
        one = "/alerts/{alert_id:int}"
        return [
            Route(path="/alerts", handler=self.show, may=see, nav=nav),
            Route(path=one, handler=self.show_one, may=see),
            Route(
                path=f"{one}/acknowledgement",
                method="POST",
                handler=self.acknowledge,
                may=handle,
                reads=Acknowledge,
            ),
            Route(path=f"{one}/silence", method="POST", handler=self.silence, may=handle, reads=Silence),
            Route(path="/alerts/quiets", method="POST", handler=self.plan, may=handle, reads=Plan),
            Route(path="/alerts/quiets/{quiet_id:int}/end", method="POST", handler=self.end, may=handle),
            Route(path="/alerts/tests", method="POST", handler=self.test, may=handle),
        ]

    async def show(self, request: Request) -> Response:
        now = datetime.now(UTC)
        tests = await self._told(await self._notices.latest(["test", "canary"]))
        return self._pages.render(
            request,
            "alerts.html",
            title="Alerts",
            open_alerts=await self._book.list_open(),
            past=await self._book.list_past(),
            quiets=[(one, one.is_in_force(now)) for one in await self._book.list_quiets(now)],
            channels=[_channel(one, await self._notices.state_of(one)) for one in self._notices.channels.all],
            watched=_watched(await self._watch.state()),
            tests=tests,
            groups=GROUPS,
            subjects=list(SUBJECTS.values()),
            windows=WINDOWS,
            now=now,
            may_handle=request.actor.may(Permission.HANDLE_ALERTS),
        )

    async def show_one(self, request: Request) -> Response:
        alert = await self._book.get(request.path_params["alert_id"])
        now = datetime.now(UTC)
        covering = [one for one in await self._book.list_quiets(now) if one.covers(alert.row)]
        return self._pages.render(
            request,
            "alert.html",
            title=alert.row.title,
            alert=alert,
            events=await self._book.events(alert.id),
            told=await self._told(await self._notices.list_of_alert(alert.id)),
            earlier=[one for one in await self._book.list_past(alert.subject) if one.id != alert.id][:10],
            quiet=next((one for one in covering if one.is_in_force(now)), None),
            silences=SILENCES,
            reminded_every=in_words(REMINDED_EVERY),
            runbook=runbook(alert.row),
            is_row=not alert.subject.startswith("rule."),
            may_handle=request.actor.may(Permission.HANDLE_ALERTS),
        )

    async def acknowledge(self, request: Request, asked: Acknowledge) -> Response:
        alert_id: int = request.path_params["alert_id"]
        await self._book.acknowledge(alert_id, asked.note, by=request.actor, origin=request.origin)
        return RedirectResponse(f"/alerts/{alert_id}", status_code=303)

    async def silence(self, request: Request, asked: Silence) -> Response:
        alert_id: int = request.path_params["alert_id"]
        until = datetime.now(UTC) + timedelta(hours=asked.hours)
        await self._book.silence(alert_id, asked.reason, until, by=request.actor, origin=request.origin)
        return RedirectResponse(f"/alerts/{alert_id}", status_code=303)

    async def plan(self, request: Request, asked: Plan) -> Response:
        starts_at, ends_at = asked.span()
        await self._book.plan(
            asked.about, asked.reason, starts_at, ends_at, by=request.actor, origin=request.origin
        )
        return RedirectResponse("/alerts#quiet", status_code=303)

    async def end(self, request: Request) -> Response:
        await self._book.end_quiet(request.path_params["quiet_id"], by=request.actor, origin=request.origin)
        return RedirectResponse("/alerts#quiet", status_code=303)

    async def test(self, request: Request) -> Response:
        async with self._database.transaction() as tx:
            notice_id = await self._watch.test(tx, by=request.actor.email)
            await audit.record(
                tx, "alerts.tested", by=request.actor, subject=f"notice:{notice_id}", origin=request.origin
            )
        return RedirectResponse("/alerts#channels", status_code=303)

    async def _told(self, notices: Sequence[NoticeRow]) -> list[_Told]:
        deliveries = await self._notices.deliveries([one.id for one in notices])
        return [
            _Told(
                title=one.title,
                body=one.body,
                kind=one.kind,
                at=one.at,
                deliveries=[each for each in deliveries if each.notice_id == one.id],
            )
            for one in notices
        ]


def _channel(channel: Channel, state: ChannelState) -> dict[str, object]:
    is_well = state.accepted_at is not None and state.waiting_since is None
    return {
        "name": channel.name,
        "status": "proved" if is_well else "failed" if state.last_error else "waiting",
        "says": "takes messages" if is_well else "refuses" if state.last_error else "not heard yet",
        "state": state,
    }


def _watched(state: WatchState) -> dict[str, object]:
    return {
        "at": state.looked_at,
        "by": state.looked_by,
        "pinged_at": state.pinged_at,
        "ping_error": state.ping_error,
    }

"""Alerts for programs: what is open and was, and what people do about it."""

from datetime import UTC, datetime, timedelta

import msgspec

from muster.access.roles import Permission
from muster.platform import audit
from muster.platform.database import Database
from muster.platform.notices import Notices
from muster.platform.routes import API, Request, Route
from muster.readiness.alert_book import Alert, AlertBook, Event, Quiet
from muster.readiness.alert_words import runbook
from muster.readiness.alerts_web import Acknowledge, Plan, Silence
from muster.readiness.watch import Watch


class AlertShape(msgspec.Struct, frozen=True, kw_only=True):
    """An alert; it is over if it has a `closed_at`. `seconds` is for how long it has failed, or did."""

    id: int
    subject: str
    title: str
    severity: str
    failing_since: datetime
    opened_at: datetime
    closed_at: datetime | None
    seconds: int
    evidence: str
    remedy: str
    runbook: str
    acknowledged_by: str
    note: str


class AlertsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    open: list[AlertShape]
    past: list[AlertShape]
    quiets: list[Quiet]


class DeliveryShape(msgspec.Struct, frozen=True, kw_only=True):
    """How far a notice came on a channel: accepted, waiting or given up."""

    notice: str
    channel: str
    state: str
    tries: int
    last_error: str
    accepted_at: datetime | None


class AlertAnswer(msgspec.Struct, frozen=True, kw_only=True):
    alert: AlertShape
    events: list[Event]
    deliveries: list[DeliveryShape]


class QuietAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: int


class NoticeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: int


class AlertsApi:
    def __init__(self, database: Database, book: AlertBook, notices: Notices, watch: Watch) -> None:
        self._database = database
        self._book = book
        self._notices = notices
        self._watch = watch

    def routes(self) -> list[Route]:
        see, handle = Permission.SEE_ALERTS, Permission.HANDLE_ALERTS
        base = f"{API}/alerts"
        one = f"{base}/{{alert_id:int}}"
        return [
            Route(path=base, handler=self.list_alerts, may=see, returns=AlertsAnswer),
            Route(path=one, handler=self.show_alert, may=see, returns=AlertAnswer),
            Route(
                path=f"{one}/acknowledgement",
                method="POST",
                handler=self.acknowledge_alert,
                may=handle,
                reads=Acknowledge,
                returns=AlertAnswer,
            ),
            Route(
                path=f"{one}/silence",
                method="POST",
                handler=self.silence_alert,
                may=handle,
                reads=Silence,
                returns=QuietAnswer,
            ),
            Route(
                path=f"{base}/quiets",
                method="POST",
                handler=self.plan_maintenance,
                may=handle,
                reads=Plan,
                returns=QuietAnswer,
            ),
            Route(
                path=f"{base}/quiets/{{quiet_id:int}}/end",
                method="POST",
                handler=self.end_quiet,
                may=handle,
                returns=QuietAnswer,
            ),
            Route(
                path=f"{base}/tests", method="POST", handler=self.send_test, may=handle, returns=NoticeAnswer
            ),
        ]

    async def list_alerts(self, request: Request) -> AlertsAnswer:
        """List open alerts, the latest past ones, and the silences and maintenance windows."""
        return AlertsAnswer(
            open=[_shape(one) for one in await self._book.list_open()],
            past=[_shape(one) for one in await self._book.list_past()],
            quiets=await self._book.list_quiets(datetime.now(UTC)),
        )

    async def show_alert(self, request: Request) -> AlertAnswer:
        """Show an alert with its history and how far each notice came."""
        return await self._answer(request.path_params["alert_id"])

    async def acknowledge_alert(self, request: Request, asked: Acknowledge) -> AlertAnswer:
        """Take an alert on: nobody is reminded any more, and its end is told."""
        alert_id: int = request.path_params["alert_id"]
        await self._book.acknowledge(alert_id, asked.note, by=request.actor, origin=request.origin)
        return await self._answer(alert_id)

    async def silence_alert(self, request: Request, asked: Silence) -> QuietAnswer:
        """Have nobody told of what an alert is about, for some hours."""
        until = datetime.now(UTC) + timedelta(hours=asked.hours)
        quiet_id = await self._book.silence(
            request.path_params["alert_id"], asked.reason, until, by=request.actor, origin=request.origin
        )
        return QuietAnswer(id=quiet_id)

    async def plan_maintenance(self, request: Request, asked: Plan) -> QuietAnswer:
        """Plan a window in which failures of some rows or groups do not count."""
        starts_at, ends_at = asked.span()
        quiet_id = await self._book.plan(
            asked.about, asked.reason, starts_at, ends_at, by=request.actor, origin=request.origin
        )
        return QuietAnswer(id=quiet_id)

    async def end_quiet(self, request: Request) -> QuietAnswer:
        """End a silence or a maintenance window before its time."""
        quiet_id: int = request.path_params["quiet_id"]
        await self._book.end_quiet(quiet_id, by=request.actor, origin=request.origin)
        return QuietAnswer(id=quiet_id)

    async def send_test(self, request: Request) -> NoticeAnswer:
        """Send a test notice to every channel."""
        async with self._database.transaction() as tx:
            notice_id = await self._watch.test(tx, by=request.actor.email)
            await audit.record(
                tx, "alerts.tested", by=request.actor, subject=f"notice:{notice_id}", origin=request.origin
            )
        return NoticeAnswer(id=notice_id)

    async def _answer(self, alert_id: int) -> AlertAnswer:
        alert = await self._book.get(alert_id)
        notices = {one.id: one for one in await self._notices.list_of_alert(alert_id)}
        return AlertAnswer(
            alert=_shape(alert),
            events=await self._book.events(alert_id),
            deliveries=[
                DeliveryShape(
                    notice=notices[one.notice_id].kind,
                    channel=one.name,
                    state=one.state,
                    tries=one.tries,
                    last_error=one.last_error,
                    accepted_at=one.accepted_at,
                )
                for one in await self._notices.deliveries(list(notices))
            ],
        )


def _shape(alert: Alert) -> AlertShape:
    return AlertShape(
        id=alert.id,
        subject=alert.subject,
        title=alert.row.title,
        severity=alert.severity,
        failing_since=alert.failing_since,
        opened_at=alert.opened_at,
        closed_at=alert.closed_at,
        seconds=int(alert.lasted.total_seconds()),
        evidence=alert.evidence,
        remedy=alert.row.remedy,
        runbook=runbook(alert.row),
        acknowledged_by=alert.acknowledged_by,
        note=alert.note,
    )

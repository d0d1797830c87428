"""Alerts as they are kept: what each look changes, what people do about them, and when they are not told."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from muster.errors import Conflict, Invalid, NotFound
from muster.platform import audit
from muster.platform.actor import Origin, Who
from muster.platform.database import Database, Statements, Transaction
from muster.platform.notices import Notices
from muster.readiness import alert_words
from muster.readiness.alert_rules import RULES
from muster.readiness.alerts import STEADY_AFTER, Notice, Severity, Standing, Step, look, severity_of
from muster.readiness.checklist import ROWS, Row

LONGEST_SILENCE = timedelta(days=30)
LONGEST_WINDOW = timedelta(days=7)
LONGEST_REASON = 500
EVIDENCE_KEPT = 1000
PAST = 50

SUBJECTS: Mapping[str, Row] = {row.id: row for row in (*ROWS, *RULES)}
GROUPS = tuple(dict.fromkeys(row.group for row in SUBJECTS.values()))


class Kind(StrEnum):
    """A silence is of one alert: it goes on being watched. In a maintenance window failures do not count."""

    SILENCE = "silence"
    MAINTENANCE = "maintenance"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a look showed of one subject; `held` is None where it could not be tried. `follow` are others
    that could not be tried because of it.
    """

    row: Row
    held: bool | None
    evidence: str
    at: datetime
    follow: int = 0


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    subject: str
    severity: Severity
    failing_since: datetime
    opened_at: datetime
    closed_at: datetime | None
    told_at: datetime | None
    evidence: str
    is_flapping: bool
    acknowledged_at: datetime | None
    acknowledged_by: str
    note: str

    @property
    def is_open(self) -> bool:
        return self.closed_at is None

    @property
    def row(self) -> Row:
        return SUBJECTS.get(self.subject) or _gone(self.subject)

    @property
    def lasted(self) -> timedelta:
        return (self.closed_at or datetime.now(UTC)) - self.failing_since

    @property
    def duration(self) -> str:
        return alert_words.in_words(self.lasted)

    @property
    def href(self) -> str:
        return f"/alerts/{self.id}"


class Event(msgspec.Struct, frozen=True, kw_only=True):
    at: datetime
    what: str
    who: str
    words: str


class Quiet(msgspec.Struct, frozen=True, kw_only=True):
    """A silence or a maintenance window; `subjects` are rows, rules or groups."""

    id: int
    kind: Kind
    subjects: list[str]
    reason: str
    made_by: str
    starts_at: datetime
    ends_at: datetime
    ended_by: str

    def covers(self, row: Row) -> bool:
        return row.id in self.subjects or row.group in self.subjects

    def is_in_force(self, now: datetime) -> bool:
        return self.starts_at <= now < self.ends_at


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    subject: str
    failures: int
    successes: int
    failing_since: datetime | None
    openings: tuple[datetime, ...]
    seen_at: datetime
    alert_id: int | None
    opened_at: datetime | None
    told_at: datetime | None
    is_acknowledged: bool

    def standing(self) -> Standing:
        return Standing(
            failures=self.failures,
            successes=self.successes,
            failing_since=self.failing_since,
            openings=self.openings,
            opened_at=self.opened_at,
            told_at=self.told_at,
            is_acknowledged=self.is_acknowledged,
        )


class AlertBook:
    def __init__(self, database: Database, notices: Notices, *, public_url: str) -> None:
        self._database = database
        self._notices = notices
        self._public_url = public_url

    # What a look changes

    async def take_in(self, tx: Transaction, seen: Sequence[Seen], now: datetime) -> None:
        """Count what was seen, each proof once; open, tell and close what comes of it."""
        kept = {one.subject: one for one in await tx.rows(_Kept, _STANDINGS)}
        quiets = await self._in_force(tx, now)
        standings = []
        for one in seen:
            before = kept.get(one.row.id)
            step = _step(before, one, quiets, now)
            alert_id = before.alert_id if before else None
            if step.has_opened:
                alert_id = await self._open(tx, one, step, now)
            if alert_id:
                await self._follow(tx, alert_id, one, step, before, now)
            standings.append(_row_of(one, step, before))
        await tx.execute(_KEEP, [msgspec.json.encode(standings).decode()])
        await tx.execute(_FORGET, [now, [one.row.id for one in seen]])

    async def adopt(self, tx: Transaction, seen: Seen, standing: Standing) -> None:
        """Take over an alert that was opened and told while nothing could be written down."""
        if standing.opened_at is None or await tx.value(
            "SELECT id FROM alerts WHERE subject = %s AND closed_at IS NULL", [seen.row.id]
        ):
            return
        step = Step(standing)
        alert_id = await self._open(tx, seen, step, standing.opened_at)
        if standing.told_at:
            await tx.execute("UPDATE alerts SET told_at = %s WHERE id = %s", [standing.told_at, alert_id])
            await _note(tx, alert_id, "told", standing.told_at, words="from memory: PostgreSQL was away")
        await tx.execute(_KEEP, [msgspec.json.encode([_row_of(seen, step, None)]).decode()])

    def letter(
        self,
        one: Seen,
        standing: Standing,
        notice: Notice,
        now: datetime,
        *,
        since: datetime,
        alert_id: int | None,
    ) -> tuple[str, str]:
        """Title and text."""
        lasted, severity = now - since, severity_of(one.row.id)
        is_rule = one.row.id.startswith("rule.")
        return (
            alert_words.title(one.row, notice, severity, lasted=lasted),
            alert_words.body(
                one.row,
                notice,
                evidence=one.evidence,
                since=since,
                lasted=lasted,
                follow=one.follow,
                is_flapping=standing.is_flapping,
                alert_href=f"{self._public_url}/alerts{f'/{alert_id}' if alert_id else ''}",
                row_href=f"{self._public_url}/{'alerts' if is_rule else f'checklist#{one.row.id}'}",
            ),
        )

    async def _open(self, tx: Transaction, one: Seen, step: Step, now: datetime) -> int:
        since = step.standing.failing_since or now
        alert_id: int = await tx.value(
            "INSERT INTO alerts (subject, severity, failing_since, opened_at, evidence, is_flapping) "
            "VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
            [
                one.row.id,
                severity_of(one.row.id),
                since,
                now,
                one.evidence[:EVIDENCE_KEPT],
                step.standing.is_flapping,
            ],
        )
        await _note(tx, alert_id, "opened", now, words=one.evidence)
        return alert_id

    async def _follow(
        self, tx: Transaction, alert_id: int, one: Seen, step: Step, before: _Kept | None, now: datetime
    ) -> None:
        if one.held is False and not step.has_opened:
            await tx.execute(
                "UPDATE alerts SET evidence = %s WHERE id = %s", [one.evidence[:EVIDENCE_KEPT], alert_id]
            )
        if step.has_closed:
            await tx.execute("UPDATE alerts SET closed_at = %s WHERE id = %s", [now, alert_id])
            await _note(tx, alert_id, "closed", now, words=one.evidence)
        if step.notice:
            since = step.standing.failing_since or (before and before.failing_since) or now
            title, body = self.letter(one, step.standing, step.notice, now, since=since, alert_id=alert_id)
            tone = alert_words.tone(step.notice, severity_of(one.row.id))
            await self._notices.write(
                tx, step.notice.value, title=title, body=body, tone=tone, now=now, alert_id=alert_id
            )
            await tx.execute("UPDATE alerts SET told_at = %s WHERE id = %s", [now, alert_id])

    # Reading

    async def list_open(self) -> list[Alert]:
        return await self._database.rows(
            Alert, f"{_ALERTS} WHERE closed_at IS NULL ORDER BY severity, opened_at DESC LIMIT 200"
        )

    async def list_past(self, subject: str = "") -> list[Alert]:
        return await self._database.rows(
            Alert,
            f"{_ALERTS} WHERE closed_at IS NOT NULL AND (%s = '' OR subject = %s) "
            "ORDER BY opened_at DESC, id DESC LIMIT %s",
            [subject, subject, PAST],
        )

    async def get(self, alert_id: int) -> Alert:
        """Raises NotFound."""
        found = await self._database.row(Alert, f"{_ALERTS} WHERE id = %s", [alert_id])
        if found is None:
            raise NotFound("There is no alert of this number.")
        return found

    async def events(self, alert_id: int) -> list[Event]:
        return await self._database.rows(
            Event,
            "SELECT at, what, who, words FROM alert_events WHERE alert_id = %s "
            "ORDER BY at DESC, id DESC LIMIT 200",
            [alert_id],
        )

    async def list_quiets(self, now: datetime) -> list[Quiet]:
        """Those in force and to come, then the latest of the past."""
        return await self._database.rows(
            Quiet, f"{_QUIETS} ORDER BY (ends_at > %s) DESC, ends_at DESC, id DESC LIMIT 30", [now]
        )

    async def open_by_subject(self) -> dict[str, int]:
        """Row or rule → its open alert."""
        async with self._database.reading() as statements:
            return await statements.pairs("SELECT subject, id FROM alerts WHERE closed_at IS NULL")

    # What people do

    async def acknowledge(self, alert_id: int, note: str, *, by: Who, origin: Origin) -> None:
        """Somebody is at it: nobody is reminded any more, and its end is told. Raises NotFound, Conflict."""
        note = _said(note, "Say what you are going to do, in a few words.")
        async with self._database.transaction() as tx:
            alert = await self._get_open(tx, alert_id)
            await tx.execute(
                "UPDATE alerts SET acknowledged_at = now(), acknowledged_by = %s, note = %s WHERE id = %s",
                [by.email, note, alert_id],
            )
            await _note(tx, alert_id, "acknowledged", datetime.now(UTC), who=by.email, words=note)
            await audit.record(
                tx,
                "alerts.acknowledged",
                by=by,
                subject=f"alert:{alert_id}",
                after={"about": alert.subject, "note": note},
                origin=origin,
            )

    async def silence(self, alert_id: int, reason: str, until: datetime, *, by: Who, origin: Origin) -> int:
        """Nobody is told of what this alert is about until then. Raises NotFound, Conflict, Invalid."""
        now = datetime.now(UTC)
        async with self._database.transaction() as tx:
            alert = await self._get_open(tx, alert_id)
            quiet_id = await self._quieten(
                tx,
                Kind.SILENCE,
                [alert.subject],
                reason,
                now,
                until,
                longest=LONGEST_SILENCE,
                by=by,
                origin=origin,
            )
            await _note(
                tx,
                alert_id,
                "silenced",
                now,
                who=by.email,
                words=f"until {alert_words.moment(until)}: {reason.strip()}",
            )
        return quiet_id

    async def plan(
        self,
        subjects: Sequence[str],
        reason: str,
        starts_at: datetime,
        ends_at: datetime,
        *,
        by: Who,
        origin: Origin,
    ) -> int:
        """A maintenance window. Raises Invalid."""
        if not subjects or (
            unknown := [one for one in subjects if one not in SUBJECTS and one not in GROUPS]
        ):
            raise Invalid(
                f"There is no row or group called {unknown[0]}."
                if subjects
                else "Name a row or a group, at least."
            )
        async with self._database.transaction() as tx:
            return await self._quieten(
                tx,
                Kind.MAINTENANCE,
                list(dict.fromkeys(subjects)),
                reason,
                starts_at,
                ends_at,
                longest=LONGEST_WINDOW,
                by=by,
                origin=origin,
            )

    async def end_quiet(self, quiet_id: int, *, by: Who, origin: Origin) -> None:
        """Before its time. Raises NotFound, Conflict."""
        async with self._database.transaction() as tx:
            quiet = await tx.row(Quiet, f"{_QUIETS} WHERE id = %s FOR UPDATE", [quiet_id])
            if quiet is None:
                raise NotFound("There is no silence or window of this number.")
            if quiet.ends_at <= datetime.now(UTC):
                raise Conflict("It is over already.")
            await tx.execute(
                "UPDATE alert_quiets SET ends_at = now(), starts_at = least(starts_at, now()), ended_by = %s "
                "WHERE id = %s",
                [by.email, quiet_id],
            )
            await audit.record(
                tx,
                "alerts.quiet_ended",
                by=by,
                subject=f"quiet:{quiet_id}",
                before={"kind": quiet.kind, "about": quiet.subjects, "until": quiet.ends_at},
                origin=origin,
            )

    async def _quieten(
        self,
        tx: Transaction,
        kind: Kind,
        subjects: Sequence[str],
        reason: str,
        starts_at: datetime,
        ends_at: datetime,
        *,
        longest: timedelta,
        by: Who,
        origin: Origin,
    ) -> int:
        reason = _said(reason, "Say why, for whoever wonders that nobody was told.")
        if ends_at <= max(starts_at, datetime.now(UTC)):
            raise Invalid("Its end has to lie ahead, and after its beginning.")
        if ends_at - starts_at > longest:
            raise Invalid(f"It may last for {longest.days} days at most.")
        quiet_id: int = await tx.value(
            "INSERT INTO alert_quiets (kind, subjects, reason, made_by, starts_at, ends_at) "
            "VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
            [kind, list(subjects), reason, by.email, starts_at, ends_at],
        )
        await audit.record(
            tx,
            "alerts.silenced" if kind is Kind.SILENCE else "alerts.maintenance_planned",
            by=by,
            subject=f"quiet:{quiet_id}",
            after={"about": list(subjects), "reason": reason, "from": starts_at, "until": ends_at},
            origin=origin,
        )
        return quiet_id

    async def _get_open(self, tx: Transaction, alert_id: int) -> Alert:
        alert = await tx.row(Alert, f"{_ALERTS} WHERE id = %s FOR UPDATE", [alert_id])
        if alert is None:
            raise NotFound("There is no alert of this number.")
        if not alert.is_open:
            raise Conflict("This alert is over.")
        return alert

    async def _in_force(self, tx: Statements, now: datetime) -> list[Quiet]:
        return await tx.rows(Quiet, f"{_QUIETS} WHERE starts_at <= %s AND ends_at > %s", [now, now])


def _step(before: _Kept | None, one: Seen, quiets: Collection[Quiet], now: datetime) -> Step:
    covering = [quiet for quiet in quiets if quiet.covers(one.row)]
    held = one.held
    if before and one.at <= before.seen_at:
        held = None  # counted already
    if held is False and any(quiet.kind is Kind.MAINTENANCE for quiet in covering):
        held = None
    return look(before.standing() if before else Standing(), now, held=held, is_muted=bool(covering))


def _row_of(one: Seen, step: Step, before: _Kept | None) -> dict[str, Any]:
    standing = step.standing
    return {
        "subject": one.row.id,
        "failures": standing.failures,
        "successes": min(standing.successes, STEADY_AFTER),
        "failing_since": standing.failing_since,
        "openings": standing.openings,
        "seen_at": max(one.at, before.seen_at) if before else one.at,
    }


async def _note(
    tx: Transaction, alert_id: int, what: str, at: datetime, *, who: str = "", words: str = ""
) -> None:
    await tx.execute(
        "INSERT INTO alert_events (alert_id, at, what, who, words) VALUES (%s, %s, %s, %s, %s)",
        [alert_id, at, what, who, words[:EVIDENCE_KEPT]],
    )


def _said(words: str, wish: str) -> str:
    """Raises Invalid where nothing was said, or too much."""
    words = words.strip()
    if not words:
        raise Invalid(wish)
    if len(words) > LONGEST_REASON:
        raise Invalid(f"That is too long: {LONGEST_REASON} letters at most.")
    return words


def _gone(subject: str) -> Row:
    """Of an earlier release."""
    return Row(
        id=subject,
        group="Earlier",
        title=subject,
        promise="This release promises nothing of this name.",
        remedy="Nothing: this release does not look at it.",
    )


_ALERTS = """
SELECT id, subject, severity, failing_since, opened_at, closed_at, told_at, evidence, is_flapping,
       acknowledged_at, acknowledged_by, note FROM alerts
"""

_QUIETS = "SELECT id, kind, subjects, reason, made_by, starts_at, ends_at, ended_by FROM alert_quiets"

_STANDINGS = """
SELECT s.subject, s.failures, s.successes, s.failing_since, s.openings, s.seen_at, alerts.id AS alert_id,
       alerts.opened_at, alerts.told_at, alerts.acknowledged_at IS NOT NULL AS is_acknowledged
FROM alert_standings AS s LEFT JOIN alerts ON alerts.subject = s.subject AND alerts.closed_at IS NULL
FOR UPDATE OF s
"""

_KEEP = """
INSERT INTO alert_standings (subject, failures, successes, failing_since, openings, seen_at)
SELECT * FROM jsonb_to_recordset(%s::jsonb) AS one
    (subject text, failures int, successes int, failing_since timestamptz, openings timestamptz[],
     seen_at timestamptz)
ON CONFLICT (subject) DO UPDATE SET
    failures = excluded.failures, successes = excluded.successes, failing_since = excluded.failing_since,
    openings = excluded.openings, seen_at = excluded.seen_at
"""

_FORGET = "UPDATE alerts SET closed_at = %s WHERE closed_at IS NULL AND NOT subject = ANY(%s)"
"""What this release does not look at is nobody's alert."""

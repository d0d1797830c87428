"""What people are to be told: written down in one transaction with why, then brought to every channel.

Each channel has its own row, its own tries and its own back-off, so that one that refuses holds up no other.
A message may reach a channel twice if whoever sent it died before writing that down; both carry one key.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from muster.platform.database import Database, Transaction
from muster.platform.notify import DEADLINE, Channel, Channels, Letter, NotDelivered, Tone
from muster.platform.telemetry import logger

FIRST_PAUSE = timedelta(seconds=15)
LONGEST_PAUSE = timedelta(minutes=15)
TRIED_FOR = timedelta(hours=24)
KEPT_FOR = timedelta(days=400)
HELD = timedelta(seconds=DEADLINE * 2)
"""Whoever takes a row to send it has it for so long; after that, they are taken for dead."""

_AT_ONCE = 20


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """How far a notice came on one channel."""

    id: int
    notice_id: int
    channel: str
    name: str
    tries: int
    last_error: str
    accepted_at: datetime | None
    given_up_at: datetime | None

    @property
    def state(self) -> str:
        if self.accepted_at:
            return "accepted"
        return "given up" if self.given_up_at else "waiting"


class NoticeRow(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    alert_id: int | None
    kind: str
    title: str
    body: str
    at: datetime


class _Due(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    notice_id: int
    alert_id: int | None
    channel: str
    tries: int
    written_at: datetime
    title: str
    body: str
    tone: Tone


class ChannelState(msgspec.Struct, frozen=True, kw_only=True):
    """How a channel did lately; `waiting_since` is of the oldest notice that it has not taken."""

    canary_at: datetime | None
    accepted_at: datetime | None
    waiting_since: datetime | None
    last_error: str
    given_up: int


class Notices:
    def __init__(self, database: Database, channels: Channels) -> None:
        self._database = database
        self.channels = channels

    async def write(
        self,
        tx: Transaction,
        kind: str,
        *,
        title: str,
        body: str,
        tone: Tone,
        now: datetime,
        alert_id: int | None = None,
        to: Sequence[Channel] | None = None,
    ) -> int:
        """Have every channel, or those named, told once `tx` is committed; the number of the notice."""
        notice_id: int = await tx.value(
            "INSERT INTO notices (alert_id, kind, tone, title, body, at) VALUES (%s, %s, %s, %s, %s, %s) "
            "RETURNING id",
            [alert_id, kind, tone, title, body, now],
        )
        for channel in self.channels.all if to is None else to:
            await tx.execute(
                "INSERT INTO deliveries (notice_id, channel, name, next_try_at) VALUES (%s, %s, %s, %s)",
                [notice_id, channel.id, channel.name, now],
            )
        return notice_id

    async def deliver(self, now: datetime) -> int:
        """Send what is due, all channels side by side; how many were accepted."""
        due: dict[str, list[_Due]] = defaultdict(list)
        for one in await self._take(now):
            due[one.channel].append(one)
        accepted = await asyncio.gather(
            *(self._deliver_to(one, due[one.id], now) for one in self.channels.all)
        )
        return sum(accepted)

    async def list_of_alert(self, alert_id: int) -> list[NoticeRow]:
        return await self._database.rows(
            NoticeRow,
            f"{_NOTICES} WHERE alert_id = %s ORDER BY id DESC LIMIT 50",
            [alert_id],
        )

    async def latest(self, kinds: Sequence[str]) -> list[NoticeRow]:
        return await self._database.rows(
            NoticeRow,
            f"{_NOTICES} WHERE kind = ANY(%s) ORDER BY id DESC LIMIT 5",
            [list(kinds)],
        )

    async def deliveries(self, notice_ids: Sequence[int]) -> list[Delivery]:
        return await self._database.rows(
            Delivery,
            "SELECT id, notice_id, channel, name, tries, last_error, accepted_at, given_up_at "
            "FROM deliveries WHERE notice_id = ANY(%s) ORDER BY id",
            [list(notice_ids)],
        )

    async def state_of(self, channel: Channel) -> ChannelState:
        found = await self._database.row(ChannelState, _STATE, [channel.id])
        if found is None:
            raise LookupError("an aggregate always has a row")
        return found

    async def sweep(self, tx: Transaction, now: datetime) -> None:
        await tx.execute("DELETE FROM notices WHERE at < %s", [now - KEPT_FOR])

    async def _take(self, now: datetime) -> list[_Due]:
        """Rows that are due, ours to send; nobody else takes them meanwhile."""
        known = [one.id for one in self.channels.all]
        async with self._database.transaction() as tx:
            await tx.execute(_FORGOTTEN, [now, known])
            return await tx.rows(
                _Due, _TAKE, {"now": now, "until": now + HELD, "known": known, "most": _AT_ONCE}
            )

    async def _deliver_to(self, channel: Channel, due: Sequence[_Due], now: datetime) -> int:
        """One after another: a channel hears of an end after its beginning."""
        accepted = 0
        for one in due:
            try:
                await self.channels.send(channel, _letter(one))
            except NotDelivered as error:
                logger.warning(
                    "notice_not_delivered", channel=channel.name, notice=one.notice_id, error=str(error)
                )
                await self._database.execute(_REFUSED, _refusal(one, str(error), now))
            else:
                logger.info("notice_delivered", channel=channel.name, notice=one.notice_id)
                await self._database.execute(_ACCEPTED, [now, one.id])
                accepted += 1
        return accepted


def _letter(due: _Due) -> Letter:
    thread = f"muster-alert-{due.alert_id}" if due.alert_id else f"muster-notice-{due.notice_id}"
    return Letter(
        title=due.title, body=due.body, tone=due.tone, key=f"muster-notice-{due.notice_id}", thread=thread
    )


def pause_after(tries: int) -> timedelta:
    """15 s, 30 s, 1 min, … 15 min."""
    return min(FIRST_PAUSE * (1 << min(tries - 1, 10)), LONGEST_PAUSE)


def _refusal(due: _Due, why: str, now: datetime) -> list[object]:
    gives_up = now - due.written_at >= TRIED_FOR
    return [why, now + pause_after(due.tries), now if gives_up else None, due.id]


_NOTICES = "SELECT id, alert_id, kind, title, body, at FROM notices"

_TAKE = """
WITH due AS (
    SELECT id FROM deliveries
    WHERE accepted_at IS NULL AND given_up_at IS NULL AND next_try_at <= %(now)s
      AND (taken_until IS NULL OR taken_until < %(now)s) AND channel = ANY(%(known)s)
    ORDER BY id FOR UPDATE SKIP LOCKED LIMIT %(most)s
), taken AS (
    UPDATE deliveries SET taken_until = %(until)s, tries = tries + 1 FROM due
    WHERE deliveries.id = due.id RETURNING deliveries.*
)
SELECT taken.id, taken.notice_id, notices.alert_id, taken.channel, taken.tries, notices.at AS written_at,
       notices.title, notices.body, notices.tone
FROM taken JOIN notices ON notices.id = taken.notice_id ORDER BY taken.id
"""

_ACCEPTED = "UPDATE deliveries SET accepted_at = %s, taken_until = NULL, last_error = '' WHERE id = %s"

_REFUSED = """
UPDATE deliveries SET last_error = %s, next_try_at = %s, given_up_at = %s, taken_until = NULL WHERE id = %s
"""

_FORGOTTEN = """
UPDATE deliveries SET given_up_at = %s, last_error = 'ALERT_URLS names this channel no more'
WHERE accepted_at IS NULL AND given_up_at IS NULL AND NOT channel = ANY(%s)
"""

_STATE = """
SELECT max(notices.at) FILTER (WHERE notices.kind = 'canary') AS canary_at,
       max(deliveries.accepted_at) FILTER (WHERE notices.kind = 'canary') AS accepted_at,
       min(notices.at) FILTER (WHERE deliveries.accepted_at IS NULL AND deliveries.given_up_at IS NULL
                               AND deliveries.tries > 0) AS waiting_since,
       coalesce((array_agg(deliveries.last_error ORDER BY deliveries.id DESC)
                 FILTER (WHERE deliveries.accepted_at IS NULL AND deliveries.last_error <> ''))[1],
                '') AS last_error,
       (count(*) FILTER (WHERE deliveries.given_up_at > notices.at
                         AND deliveries.given_up_at > now() - interval '1 day'))::int AS given_up
FROM deliveries JOIN notices ON notices.id = deliveries.notice_id WHERE deliveries.channel = %s
  AND notices.at > now() - interval '8 days'
"""

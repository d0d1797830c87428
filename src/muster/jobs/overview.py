"""Everything about jobs at a glance: queues, what is due, and who works."""

import asyncio
from datetime import UTC, datetime

import msgspec

from muster.jobs.acts import JobActs
from muster.jobs.shown import text_of
from muster.platform.heartbeat import Heartbeats, WorkerSeen
from muster.platform.queue_view import QueueView, Schedule, Seen


class QueueCard(msgspec.Struct, frozen=True, kw_only=True):
    """A queue. `waiting` counts all that may run now; `paused_by` is empty where another tool did it.

    `completed` and `failed` are jobs a quarter of an hour over the last 24 hours, the newest last.
    """

    name: str
    counts: dict[str, int]
    waiting: int
    at_once: int | None
    is_paused: bool
    paused_by: str
    paused_at: datetime | None
    oldest_waiting_at: datetime | None
    completed: list[int]
    failed: list[int]


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    queues: list[QueueCard]
    schedules: list[Schedule]
    workers: list[WorkerSeen]
    seen_at: datetime


class Overviews:
    def __init__(self, view: QueueView, acts: JobActs, heartbeats: Heartbeats) -> None:
        self._view = view
        self._acts = acts
        self._heartbeats = heartbeats

    async def look(self) -> Overview:
        seen, schedules = await asyncio.gather(self._view.look(), self._view.schedules())
        return Overview(
            queues=[await self._card(one) for one in seen],
            schedules=[_harmless(one) for one in schedules],
            workers=await self._heartbeats.list_alive(),
            seen_at=datetime.now(UTC),
        )

    async def queue(self, name: str) -> QueueCard:
        """`name` is one of the queues."""
        return await self._card(next(one for one in await self._view.look() if one.name == name))

    async def _card(self, seen: Seen) -> QueueCard:
        paused = await self._acts.paused(seen.name) if seen.is_paused else None
        return QueueCard(
            **msgspec.structs.asdict(seen),
            waiting=seen.counts["waiting"] + seen.counts["prioritized"],
            paused_by=paused.by if paused else "",
            paused_at=paused.at if paused else None,
        )


def _harmless(schedule: Schedule) -> Schedule:
    last = schedule.last and msgspec.structs.replace(schedule.last, reason=text_of(schedule.last.reason))
    return msgspec.structs.replace(
        schedule,
        name=text_of(schedule.name),
        pattern=text_of(schedule.pattern),
        zone=text_of(schedule.zone),
        last=last,
    )

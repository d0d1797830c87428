"""What is done to jobs by hand, each act written down with who did it."""

from datetime import datetime
from typing import Any

import msgspec

from muster.platform import audit
from muster.platform.actor import Actor, Origin
from muster.platform.database import Database
from muster.platform.queue_desk import QueueDesk, Retried
from muster.platform.queue_view import Brief


class Paused(msgspec.Struct, frozen=True, kw_only=True):
    """Who paused a queue and when; nobody known, if another tool did."""

    by: str
    at: datetime | None


class JobActs:
    """Redis is told first, then the record: who cannot be written down has done nothing that is not plain
    from the queue itself, and the chain of the record is held for no longer than its own row takes.
    """

    def __init__(self, database: Database, desk: QueueDesk) -> None:
        self._database = database
        self._desk = desk

    async def retry(self, queue: str, job_id: str, *, by: Actor, origin: Origin) -> Brief:
        async with self._database.transaction() as tx:
            job = await self._desk.retry(queue, job_id)
            await audit.record(
                tx,
                "jobs.retried",
                by=by,
                subject=_subject(queue, job_id),
                before={"name": job.name, "state": job.state, "attempts_made": job.attempts_made},
                after={"state": "waiting"},
                origin=origin,
            )
        return job

    async def retry_failed(self, queue: str, name: str, *, by: Actor, origin: Origin) -> Retried:
        async with self._database.transaction() as tx:
            retried = await self._desk.retry_failed(queue, name=name)
            if retried.retried:
                await audit.record(
                    tx,
                    "jobs.all_retried",
                    by=by,
                    subject=_subject(queue),
                    before={"name": name, "failed": retried.retried + retried.left},
                    after={"failed": retried.left},
                    origin=origin,
                )
        return retried

    async def discard(self, queue: str, job_id: str, *, by: Actor, origin: Origin) -> Brief:
        async with self._database.transaction() as tx:
            job = await self._desk.discard(queue, job_id)
            await audit.record(
                tx,
                "jobs.discarded",
                by=by,
                subject=_subject(queue, job_id),
                before={"name": job.name, "state": job.state, "added_at": job.added_at},
                origin=origin,
            )
        return job

    async def pause(self, queue: str, *, by: Actor, origin: Origin) -> None:
        async with self._database.transaction() as tx:
            if await self._desk.pause(queue):
                await self._record_pause(tx, queue, by, origin, is_paused=True)

    async def resume(self, queue: str, *, by: Actor, origin: Origin) -> None:
        async with self._database.transaction() as tx:
            if await self._desk.resume(queue):
                await self._record_pause(tx, queue, by, origin, is_paused=False)

    async def run_schedule(self, queue: str, key: str, *, by: Actor, origin: Origin) -> str:
        """The id of the job that does it."""
        async with self._database.transaction() as tx:
            job_id = await self._desk.run_schedule(queue, key, request_id=origin.request_id)
            await audit.record(
                tx,
                "jobs.schedule_run",
                by=by,
                subject=f"schedule:{queue}/{key}"[:_LONGEST],
                after={"job": job_id},
                origin=origin,
            )
        return job_id

    async def paused(self, queue: str) -> Paused:
        """Who paused a queue that is paused."""
        last = await self._database.row(_Last, _LAST, [_subject(queue)])
        if last is None or last.action != _PAUSED:
            return Paused(by="", at=None)
        return Paused(by=last.email, at=last.at)

    async def _record_pause(self, tx: Any, queue: str, by: Actor, origin: Origin, *, is_paused: bool) -> None:
        await audit.record(
            tx,
            _PAUSED if is_paused else _RESUMED,
            by=by,
            subject=_subject(queue),
            before={"paused": not is_paused},
            after={"paused": is_paused},
            origin=origin,
        )


class _Last(msgspec.Struct, frozen=True):
    action: str
    email: str
    at: datetime


_LONGEST = 300
_PAUSED, _RESUMED = "jobs.paused", "jobs.resumed"

_LAST = """
SELECT action, email, at FROM audit_log
WHERE subject = %s AND action IN ('jobs.paused', 'jobs.resumed') ORDER BY id DESC LIMIT 1
"""


def _subject(queue: str, job_id: str = "") -> str:
    return f"job:{queue}/{job_id}"[:_LONGEST] if job_id else f"queue:{queue}"

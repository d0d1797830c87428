"""One act on many records: previewed, done one by one like every other edit, cancelled and undone."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from psycopg import sql

from muster.crm.edit_rows import Status
from muster.crm.edit_values import EditValues
from muster.crm.edits import Edits, drop_bulk
from muster.crm.fields import OWNER, Kind
from muster.errors import Conflict, Invalid, NotFound, SettingsError, Unavailable, VendorError
from muster.platform import audit
from muster.platform.actor import Origin, System, Who
from muster.platform.database import Database, Transaction
from muster.platform.queue import Job, Queues, Work
from muster.platform.telemetry import logger

MOST = 10_000
EVERY = timedelta(seconds=15)
TURN = timedelta(seconds=10)
"""So long a run goes on before it makes room; runs of the clock would pile up behind one of an hour."""


_SIDE_BY_SIDE = 4
_AT_ONCE = 100

_READ_AHEAD = 5
"""So many records are read at a call, which halves what an act takes."""

What = Literal["edit", "reassign", "undo"]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What would become of one record; nothing of it if `skipped` says why."""

    kind: Kind
    id: str
    name: str
    fields: dict[str, str]
    before: dict[str, str]
    skipped: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What an act would do, record by record, before anything is done."""

    changes: list[Change]

    @property
    def to_do(self) -> list[Change]:
        return [change for change in self.changes if not change.skipped]

    @property
    def digest(self) -> str:
        """Of what would become of which record: another if anything of it is another."""
        each = sorted(
            (one.kind, one.id, sorted(one.fields.items()), sorted(one.before.items())) for one in self.to_do
        )
        return hashlib.sha256(msgspec.json.encode(each)).hexdigest()

    @property
    def skipped(self) -> dict[str, int]:
        """Why → how many."""
        found: dict[str, int] = {}
        for change in self.changes:
            if change.skipped:
                found[change.skipped] = found.get(change.skipped, 0) + 1
        return found


class Bulk(msgspec.Struct, frozen=True, kw_only=True):
    """An act. `kind` is "" where it is on several; `undone_by` is the act that takes this one back.

    The counts are of its records by how their edits stand.
    """

    id: int
    kind: str
    what: What
    words: str
    query: str
    fields: dict[str, str]
    of_bulk: int | None
    undone_by: int | None
    total: int
    asked_at: datetime
    ended_at: datetime | None
    cancelled_by: str
    by_email: str
    waiting: int
    done: int
    conflicts: int
    refused: int
    withdrawn: int
    held_up_by: str

    @property
    def is_live(self) -> bool:
        return self.ended_at is None

    @property
    def tried(self) -> int:
        return self.total - self.waiting


class BulkEdit(msgspec.Struct, frozen=True, kw_only=True):
    """One record of an act."""

    id: int
    kind: Kind
    record_id: str
    name: str
    status: Status
    fields: dict[str, str]
    before: dict[str, str]
    written: dict[str, tuple[str, str]]
    theirs: dict[str, str]
    problem: str
    problem_fields: dict[str, str]
    correlation_id: str


class Bulks:
    def __init__(self, database: Database, edits: Edits, queues: Queues) -> None:
        self._database = database
        self._edits = edits
        self._queues = queues
        self.job = Job(
            name="crm.bulk",
            queue="crm",
            run=self._run,
            every=EVERY,
            deadline=timedelta(minutes=5),
            attempts=1,  # the clock comes round again
            idempotent="Each record of an act is claimed in the database before it is written.",
        )

    async def nudge(self, *, request_id: str = "") -> None:
        try:
            await self._queues.nudge(self.job, request_id=request_id)
        except Unavailable as error:
            logger.warning("nudge_lost", job=self.job.name, error=str(error))

    # Planning

    async def plan(self, kind: Kind, ids: Sequence[str], fields: Mapping[str, str]) -> Plan:
        """What setting `fields` would change of these records. Raises Invalid, also for too many."""
        if len(ids) > MOST:
            raise Invalid(f"{len(ids):,} records are more than can be changed at once; the most is {MOST:,}.")
        values = await self._edits.values(kind)
        values.read(fields, {})  # what is wrong is wrong for all of them
        rows = await self._database.rows(
            _Row,
            "SELECT id, name, fields, archived_at IS NOT NULL AS is_gone FROM crm_records "
            "WHERE kind = %s AND id = ANY(%s) ORDER BY sort_name, id",
            [kind, list(ids)],
        )
        return Plan(changes=[_planned(kind, row, values, fields) for row in rows])

    # Doing

    async def begin(
        self,
        plan: Plan,
        *,
        kind: Kind | None,
        what: What,
        words: str,
        fields: Mapping[str, str],
        query: str = "",
        of_bulk: int | None = None,
        by: Who,
        origin: Origin,
    ) -> int:
        """Have it done by the workers; the id of the act. Raises Invalid where there is nothing to do."""
        changes = plan.to_do
        if not changes:
            raise Invalid("None of these records would change.")
        if len(changes) > MOST:
            raise Invalid(f"{len(changes):,} records are more than can be changed at once; it is {MOST:,}.")
        async with self._database.transaction(deadline=timedelta(seconds=60)) as tx:
            bulk_id: int | None = await tx.value(
                """
                INSERT INTO crm_bulks (kind, what, words, query, fields, of_bulk, total, account_id,
                    by_email, address, request_id)
                VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s, %s, %s, %s, %s)
                ON CONFLICT DO NOTHING RETURNING id
                """,
                [
                    kind or "",
                    what,
                    words,
                    query,
                    _json(fields),
                    of_bulk,
                    len(changes),
                    by.account_id,
                    by.email,
                    origin.address,
                    origin.request_id,
                ],
            )
            if bulk_id is None:
                raise Conflict("This is being undone already.")
            await tx.execute(_KEEP_ALL, {"bulk_id": bulk_id, "changes": _json(changes)})
            await audit.record(
                tx,
                "crm.bulk_begun",
                by=by,
                subject=f"bulk:{bulk_id}",
                after={"what": what, "words": words, "records": len(changes), "fields": dict(fields)},
                origin=origin,
            )
        await self.nudge(request_id=origin.request_id)
        return bulk_id

    async def undo(self, bulk_id: int, *, by: Who, origin: Origin) -> int:
        """Give each record back what it had, unless somebody has changed that since: then it is a conflict.

        What HubSpot would not take is left out. Raises Conflict for an act that is still going on, was undone
        before, or of which nothing can be given back.
        """
        bulk = await self.get(bulk_id)
        if bulk.is_live:
            raise Conflict("This is still going on: cancel it first, or wait until it has ended.")
        if bulk.undone_by:
            raise Conflict("This was undone already.")
        written = await self._database.rows(
            _Written,
            "SELECT kind, record_id, written FROM crm_edits WHERE bulk_id = %s AND status = 'done' "
            "AND written <> '{}' ORDER BY id",
            [bulk_id],
        )
        values = {kind: await self._edits.values(kind) for kind in {one.kind for one in written}}
        plan = Plan(changes=[_given_back(one, values[one.kind]) for one in written])
        if plan.changes and not plan.to_do:  # to begin it would use up the only undo there is
            raise Conflict(f"None of it can be taken back: {next(iter(plan.skipped))}.")
        return await self.begin(
            plan,
            kind=Kind(bulk.kind) if bulk.kind else None,
            what="undo",
            words=f"Undo: {bulk.words}",
            fields={},
            of_bulk=bulk_id,
            by=by,
            origin=origin,
        )

    async def cancel(self, bulk_id: int, *, by: Who, origin: Origin) -> Bulk:
        """Drop what has not begun; what is done stays. Raises Conflict for an act that has ended."""
        async with self._database.transaction() as tx:
            is_live = await tx.execute(
                "UPDATE crm_bulks SET cancelled_by = %s WHERE id = %s AND ended_at IS NULL "
                "AND cancelled_by = ''",
                [by.email, bulk_id],
            )
            if not is_live:
                raise Conflict("This has ended, or was cancelled, already.")
            dropped = await drop_bulk(tx, bulk_id)
            await audit.record(
                tx,
                "crm.bulk_cancelled",
                by=by,
                subject=f"bulk:{bulk_id}",
                after={"dropped": dropped},
                origin=origin,
            )
            await _end(tx, bulk_id)
        return await self.get(bulk_id)

    async def work_off(self) -> None:
        """Do what is due of all acts, a few records at a time, until nothing is.

        When HubSpot cannot take one, the others wait, too: the clock comes round again.
        """
        while await self._take_turn():
            pass

    async def _take_turn(self) -> bool:
        """Work for a while; whether there may be more to do."""
        ends_at = time.monotonic() + TURN.total_seconds()
        tried: set[int] = set()
        while due := [one for one in await self._due() if one not in tried]:
            tried.update(due)
            parts = [self._work(due[start::_SIDE_BY_SIDE], ends_at) for start in range(_SIDE_BY_SIDE)]
            stalls = await asyncio.gather(*parts)
            await self._end_all()
            if any(stalls):
                return False
            if time.monotonic() > ends_at:
                return True
        await self._end_all()
        return False

    async def _work(self, edit_ids: Sequence[int], ends_at: float) -> bool:
        """Whether HubSpot could not be had."""
        for start in range(0, len(edit_ids), _READ_AHEAD):
            some = edit_ids[start : start + _READ_AHEAD]
            try:
                seen = await self._edits.look_ahead(some)
            except (VendorError, SettingsError):  # the first of them meets the same, and says so
                seen = {}
            for edit_id in some:
                if time.monotonic() > ends_at:
                    return False
                edit = await self._edits.send(edit_id, seen=seen.get(edit_id))
                if edit and edit.status is Status.WAITING:
                    return True
        return False

    async def _due(self) -> list[int]:
        async with self._database.reading() as statements:
            return await statements.column(_DUE, [_AT_ONCE])

    async def _end_all(self) -> None:
        async with self._database.reading() as statements:
            ended = await statements.column(_ENDED)
        for bulk_id in ended:
            async with self._database.transaction() as tx:
                await _end(tx, bulk_id)

    async def _run(self, work: Work) -> None:
        if await self._take_turn():
            await self.nudge(request_id=work.request_id)

    # Looking

    async def get(self, bulk_id: int) -> Bulk:
        found = await self._database.row(Bulk, _ONE, {"id": bulk_id})
        if found is None:
            raise NotFound(f"There is no act {bulk_id} on many records.")
        return found

    async def list_latest(self, *, before: int | None = None, limit: int = 50) -> list[Bulk]:
        """The newest first, those below the id `before`."""
        return await self._database.rows(Bulk, _LATEST, {"before": before or 2**62, "limit": limit})

    async def edits(
        self, bulk_id: int, *, statuses: Sequence[Status], after: int = 0, limit: int = 50
    ) -> list[BulkEdit]:
        return await self._database.rows(BulkEdit, _EDITS, [bulk_id, [*statuses], after, limit])

    async def stream(self, bulk_id: int) -> AsyncGenerator[BulkEdit, None]:
        after = 0
        while rows := await self.edits(bulk_id, statuses=list(Status), after=after, limit=1000):
            for row in rows:
                yield row
            after = rows[-1].id


class _Row(msgspec.Struct, frozen=True):
    id: str
    name: str
    fields: dict[str, str]
    is_gone: bool


class _Written(msgspec.Struct, frozen=True):
    kind: Kind
    record_id: str
    written: dict[str, tuple[str, str]]


def _planned(kind: Kind, row: _Row, values: EditValues, fields: Mapping[str, str]) -> Change:
    changed = {} if row.is_gone else values.read(fields, row.fields)
    return Change(
        kind=kind,
        id=row.id,
        name=row.name,
        fields=changed,
        before={name: row.fields.get(name, "") for name in changed},
        skipped="gone from HubSpot" if row.is_gone else "" if changed else "like that already",
    )


def _given_back(one: _Written, values: EditValues) -> Change:
    fields = {name: before for name, (before, _) in one.written.items()}
    is_taken = values.takes_owner(fields.get(OWNER, ""))
    return Change(
        kind=one.kind,
        id=one.record_id,
        name="",
        fields=fields,
        before={name: after for name, (_, after) in one.written.items()},
        skipped="" if is_taken else "HubSpot takes no owner who is deactivated there",
    )


async def _end(tx: Transaction, bulk_id: int) -> None:
    """Close an act of which nothing is left to do, once."""
    ended = await tx.row(_Ended, _END, {"id": bulk_id})
    if ended:
        await audit.record(
            tx,
            "crm.bulk_ended",
            by=System("bulks"),
            subject=f"bulk:{bulk_id}",
            after={"records": ended.total, **ended.counts},
        )


class _Ended(msgspec.Struct, frozen=True):
    total: int
    counts: dict[str, int]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


_KEEP_ALL = """
INSERT INTO crm_edits (kind, record_id, bulk_id, fields, before, account_id, by_email, address, request_id)
SELECT said.kind, said.id, crm_bulks.id, said.fields, said.before, account_id, by_email, address, request_id
FROM crm_bulks,
    ROWS FROM (jsonb_to_recordset(%(changes)s::jsonb) AS (kind text, id text, fields jsonb, before jsonb))
    WITH ORDINALITY AS said (kind, id, fields, before, place)
WHERE crm_bulks.id = %(bulk_id)s ORDER BY place
"""

_DUE = """
SELECT id FROM crm_edits AS mine
WHERE status IN ('waiting', 'sending', 'unknown') AND bulk_id IS NOT NULL
    AND CASE status WHEN 'sending' THEN held_until ELSE next_at END <= clock_timestamp()
    AND NOT EXISTS (
        SELECT FROM crm_edits AS other
        WHERE other.kind = mine.kind AND other.record_id = mine.record_id AND other.id <> mine.id
            AND (other.status IN ('sending', 'unknown')
                OR (other.status = 'waiting' AND other.bulk_id IS NULL AND other.id < mine.id))
    )
ORDER BY id LIMIT %s
"""

_ENDED = """
SELECT id FROM crm_bulks WHERE ended_at IS NULL AND NOT EXISTS (
    SELECT FROM crm_edits WHERE bulk_id = crm_bulks.id AND status IN ('waiting', 'sending', 'unknown')
)
"""

_END = """
UPDATE crm_bulks SET ended_at = now()
WHERE id = %(id)s AND ended_at IS NULL AND NOT EXISTS (
    SELECT FROM crm_edits WHERE bulk_id = %(id)s AND status IN ('waiting', 'sending', 'unknown')
)
RETURNING total, (
    SELECT COALESCE(jsonb_object_agg(status, number), '{}')
    FROM (SELECT status, count(*) AS number FROM crm_edits WHERE bulk_id = %(id)s GROUP BY status) AS counted
) AS counts
"""

_COUNTED = sql.SQL("""
SELECT bulks.id, kind, what, words, query, fields, of_bulk, total, asked_at, ended_at, cancelled_by, by_email,
    (SELECT id FROM crm_bulks AS undo WHERE undo.of_bulk = bulks.id) AS undone_by,
    waiting, done, conflicts, refused, withdrawn, held_up_by
FROM (SELECT * FROM crm_bulks WHERE {}) AS bulks CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE status IN ('waiting', 'sending', 'unknown')) AS waiting,
        count(*) FILTER (WHERE status = 'done') AS done,
        count(*) FILTER (WHERE status = 'conflict') AS conflicts,
        count(*) FILTER (WHERE status = 'refused') AS refused,
        count(*) FILTER (WHERE status = 'withdrawn') AS withdrawn,
        COALESCE(max(problem) FILTER (WHERE status IN ('waiting', 'unknown')), '') AS held_up_by
    FROM crm_edits WHERE bulk_id = bulks.id
) AS counted
ORDER BY bulks.id DESC
""")
_ONE = _COUNTED.format(sql.SQL("id = %(id)s"))
_LATEST = _COUNTED.format(sql.SQL("id < %(before)s ORDER BY id DESC LIMIT %(limit)s"))

_EDITS = """
SELECT crm_edits.id, crm_edits.kind, record_id, COALESCE(name, record_id) AS name, status, crm_edits.fields,
    before, written, theirs, problem, problem_fields, correlation_id
FROM crm_edits
LEFT JOIN crm_records ON crm_records.kind = crm_edits.kind AND crm_records.id = record_id
WHERE bulk_id = %s AND status = ANY(%s) AND crm_edits.id > %s ORDER BY crm_edits.id LIMIT %s
"""

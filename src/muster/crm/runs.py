"""Runs of the sync of customers: one at a time, each with its figures; a lost one is fenced off."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from psycopg import sql
from psycopg.errors import UniqueViolation

from muster.errors import Conflict, MusterError, Unavailable
from muster.platform import audit
from muster.platform.actor import Origin, System, Who
from muster.platform.database import Database, Transaction
from muster.platform.queue import Tell, tell_nobody
from muster.platform.tally import Tally
from muster.platform.telemetry import logger

SCHEDULE = System("schedule")
BEAT_EVERY = timedelta(seconds=10)
LOST_AFTER = timedelta(seconds=45)
"""A run whose worker has said nothing for so long has lost its worker."""

DEADLINE = timedelta(seconds=40)
"""For a statement: shorter than the silence after which a run counts as lost."""

FULL_AT_HOUR = 2
"""In UTC: from then on the first scheduled run of a day lists everything."""

FULL_AGAIN_AFTER = timedelta(minutes=30)
"""Where listing everything failed, other runs go on till then."""

RESUMED_WITHIN = timedelta(days=1)

COUNTED = (
    *("pages", "seen", "created", "updated", "unchanged", "archived", "restored", "merged"),
    *("associations", "missed", "drift"),
)


class CrmRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run with its counts; `status` is waiting, running, finished, failed or refused.

    Refused means that HubSpot's listing could not be believed: nothing was archived on its account.
    `faults` are HubSpot's reasons for failing → how often; `drift` counts what was found by listing
    everything and should have been known before.
    """

    id: int
    status: str
    reason: str | None
    asked_by: str
    is_full: bool
    dry_run: bool
    resumed: int | None
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    step: str
    expected: int | None
    pages: int
    seen: int
    created: int
    updated: int
    unchanged: int
    archived: int
    restored: int
    merged: int
    associations: int
    missed: int
    drift: int
    calls: int
    retried: int
    faults: dict[str, int]
    waited_seconds: float

    @property
    def seconds(self) -> float:
        if self.started_at is None:
            return 0.0
        return ((self.finished_at or datetime.now(self.started_at.tzinfo)) - self.started_at).total_seconds()

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.seen / self.seconds if self.seconds else 0.0

    @property
    def changes(self) -> int:
        return self.created + self.updated + self.archived + self.restored + self.merged + self.associations


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it is begun. What changed from `began_at` on is not surely in its pages; `first_read` is the
    number of that moment.
    """

    id: int
    dry_run: bool
    is_full: bool
    is_first_load: bool
    resumed: int | None
    began_at: datetime
    first_read: int


class ListingNotBelieved(MusterError):
    """HubSpot's listing is empty or was cut short, so absence from it means nothing."""

    code = "listing_not_believed"


class RunLost(MusterError):
    """The run was taken for dead, and another may be under way: nothing more may be written in its name."""

    code = "sync_run_lost"


class CrmRuns(ABC):
    """`_do` is what a run does, the rest that it is done once at a time and written down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @abstractmethod
    async def _do(self, run: Claim, tally: Tally, tell: Tell) -> str | None:
        """Do the run; what it says for itself, if anything. Raises VendorError, ListingNotBelieved."""

    async def ask(
        self, *, by: Who, origin: Origin | None = None, dry_run: bool = False, is_full: bool = False
    ) -> int:
        """Put a run down as wanted and give its id; while one is wanted already, that one's."""
        async with self._database.transaction() as tx:
            asked: int | None = await tx.value(
                """
                INSERT INTO crm_syncs (status, asked_by, dry_run, is_full)
                VALUES ('waiting', %s, %s, %s) ON CONFLICT DO NOTHING RETURNING id
                """,
                [by.email, dry_run, is_full],
            )
            if asked is None:
                return await self._already_wanted(tx, dry_run=dry_run, is_full=is_full)
            if by is not SCHEDULE:
                await audit.record(tx, "crm.sync_asked", by=by, subject=f"crm_sync:{asked}", origin=origin)
        return asked

    async def run(self, tell: Tell = tell_nobody) -> CrmRun | None:
        """Do the run that is wanted, or a scheduled one; None while another worker is at it.

        `tell` is told how far it is. Raises VendorError when HubSpot cannot be read; the run is kept with
        its reason either way.
        """
        run = await self._claim()
        if run is None:
            return None
        reason: str | None = None
        status = "failed"
        tally = Tally()
        beating = asyncio.create_task(self._keep_beating(run.id, tally))
        try:
            reason = await self._do(run, tally, tell)
            status = "finished"
        except ListingNotBelieved as error:
            status, reason = "refused", str(error)
        except MusterError as error:
            reason = str(error)
            raise
        except asyncio.CancelledError:
            reason = "its worker was stopped"
            raise
        except Exception:
            reason = "an error of Muster's own; see the log"
            raise
        finally:
            beating.cancel()
            await self._close(run, tally, status, reason)
        return await self.get(run.id)

    async def get(self, sync_id: int) -> CrmRun | None:
        return await self._database.row(CrmRun, _RUN + " WHERE id = %s", [sync_id])

    async def find_last(self) -> CrmRun | None:
        """The newest run that ended, well or badly."""
        return await self._database.row(
            CrmRun, _RUN + " WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT 1"
        )

    async def find_running(self) -> CrmRun | None:
        return await self._database.row(CrmRun, _RUN + " WHERE status = 'running'")

    async def find_whole(self, *, is_full: bool = False) -> CrmRun | None:
        """The newest run that did all it was to do and applied it; with `is_full` one that listed all."""
        return await self._database.row(
            CrmRun,
            _RUN + " WHERE status = 'finished' AND NOT dry_run AND (is_full OR NOT %s) "
            "ORDER BY finished_at DESC LIMIT 1",
            [is_full],
        )

    async def synced_at(self) -> datetime | None:
        """When all that had changed was last read and applied."""
        whole = await self.find_whole()
        return whole.finished_at if whole else None

    async def is_wanted(self) -> bool:
        """Whether somebody waits for a run."""
        return bool(
            await self._database.value("SELECT EXISTS (SELECT FROM crm_syncs WHERE status = 'waiting')")
        )

    async def hold(self, tx: Transaction, run: Claim) -> None:
        """Keep the run ours until the commit. Raises RunLost."""
        held = await tx.value(
            "SELECT true FROM crm_syncs WHERE id = %s AND status = 'running' FOR UPDATE", [run.id]
        )
        if not held:
            raise RunLost("this run was silent for so long that it was taken for dead")

    async def add(self, tx: Transaction, run: Claim, **counts: int) -> None:
        """Add to the run's figures, which are of COUNTED."""
        added = {name: count for name, count in counts.items() if count}
        if added:
            sums = sql.SQL(", ").join(
                sql.SQL("{name} = {name} + {more}").format(
                    name=sql.Identifier(name), more=sql.Placeholder(name)
                )
                for name in added
            )
            await tx.execute(
                sql.SQL("UPDATE crm_syncs SET {sums} WHERE id = %(run)s").format(sums=sums),
                {**added, "run": run.id},
            )

    async def at(self, run: Claim, step: str, *, expected: int | None = None) -> None:
        """Say what the run is at, and how many records it will see in all, where that is known."""
        await self._database.execute(
            "UPDATE crm_syncs SET step = %s, expected = COALESCE(%s, expected), "
            "beat_at = clock_timestamp() WHERE id = %s AND status = 'running'",
            [step, expected, run.id],
        )

    async def sweep(self, *, older_than: timedelta) -> int:
        """Forget runs that ended so long ago."""
        return await self._database.execute(
            "DELETE FROM crm_syncs WHERE finished_at < now() - %s", [older_than]
        )

    async def _already_wanted(self, tx: Transaction, *, dry_run: bool, is_full: bool) -> int:
        wanted: int | None = await tx.value(
            """
            UPDATE crm_syncs SET is_full = is_full OR %s
            WHERE status = 'waiting' AND dry_run = %s RETURNING id
            """,
            [is_full, dry_run],
        )
        if wanted is None:  # a worker took it up between the two statements
            raise Conflict("A sync has begun at this very moment. Reload the page to see it.")
        return wanted

    async def _claim(self) -> Claim | None:
        """The run to do now, marked as ours. The database lets one run at a time."""
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                UPDATE crm_syncs
                SET status = 'failed', reason = 'its worker was lost', finished_at = now()
                WHERE status = 'running' AND beat_at < now() - %s
                """,
                [LOST_AFTER],
            )
        try:
            async with self._database.transaction() as tx:
                due = {"by": SCHEDULE.email, "hour": FULL_AT_HOUR, "again": FULL_AGAIN_AFTER}
                await tx.execute(_WANT_SCHEDULED, due)
                run = await tx.row(Claim, _CLAIM)
                return await self._resumed(tx, run) if run else None
        except UniqueViolation:
            return None

    async def _resumed(self, tx: Transaction, run: Claim) -> Claim:
        """The run; where it lists all, with the pages of one that broke off, if there is one."""
        if not run.is_full or run.dry_run:
            return run
        broken: int | None = await tx.value(_BROKEN_OFF, [RESUMED_WITHIN])
        if broken:
            await tx.execute("UPDATE crm_pages SET sync_id = %s WHERE sync_id = %s", [run.id, broken])
            await tx.execute("UPDATE crm_cursors SET listing = %s WHERE listing = %s", [run.id, broken])
            begun = await tx.row(_Begun, _TAKE_OVER, [broken, run.id])
            if begun is None:
                raise LookupError(f"run {run.id} is gone")
            run = msgspec.structs.replace(
                run, resumed=broken, began_at=begun.began_at, first_read=begun.first_read
            )
            logger.info("crm_sync_resumed", sync=run.id, broken_off=broken)
        await tx.execute("DELETE FROM crm_pages WHERE sync_id <> %s", [run.id])
        return run

    async def _keep_beating(self, sync_id: int, tally: Tally) -> None:
        while True:
            await asyncio.sleep(BEAT_EVERY.total_seconds())
            try:
                async with self._database.transaction() as tx:
                    await note_costs(tx, sync_id, tally)
            except Unavailable as error:
                logger.warning("sync_beat_missed", sync=sync_id, error=str(error))

    async def _close(self, run: Claim, tally: Tally, status: str, reason: str | None) -> None:
        async with self._database.transaction() as tx:
            await note_costs(tx, run.id, tally)
            await tx.execute(
                """
                UPDATE crm_syncs SET status = %s, reason = %s, finished_at = now(), step = ''
                WHERE id = %s AND status = 'running'
                """,
                [status, reason, run.id],
            )
            if status != "failed" or run.dry_run:
                await tx.execute("DELETE FROM crm_pages WHERE sync_id = %s", [run.id])
                await tx.execute(
                    "UPDATE crm_cursors SET listed_to = '', is_listed = false, listing = NULL "
                    "WHERE listing = %s",
                    [run.id],
                )
        ended = await self.get(run.id)
        if ended:
            logger.info(
                "customers_synced",
                sync=run.id,
                status=status,
                reason=reason,
                is_full=run.is_full,
                resumed=run.resumed,
                calls=ended.calls,
                faults=ended.faults,
                seconds=round(ended.seconds, 2),
                **{name: getattr(ended, name) for name in COUNTED},
            )


async def note_costs(tx: Transaction, sync_id: int, tally: Tally) -> None:
    """Write down what the run has cost so far, and that it lives."""
    await tx.execute(
        """
        UPDATE crm_syncs
        SET calls = %s, retried = %s, faults = %s::jsonb, waited_seconds = %s, beat_at = clock_timestamp()
        WHERE id = %s AND status = 'running'
        """,
        [
            tally.calls,
            tally.retried,
            msgspec.json.encode(tally.faults).decode(),
            tally.waited_seconds,
            sync_id,
        ],
    )


class _Begun(msgspec.Struct, frozen=True):
    began_at: datetime
    first_read: int


RUN_COLUMNS: Sequence[str] = CrmRun.__struct_fields__

_RUN = """
SELECT id, status, reason, asked_by, is_full, dry_run, resumed, asked_at, started_at, finished_at, step,
       expected, pages, seen, created, updated, unchanged, archived, restored, merged, associations, missed,
       drift, calls, retried, faults, waited_seconds
FROM crm_syncs
"""

_WANT_SCHEDULED = """
INSERT INTO crm_syncs (status, asked_by, is_full)
SELECT 'waiting', %(by)s, NOT EXISTS (
    SELECT FROM crm_syncs WHERE is_full AND NOT dry_run AND status = 'finished'
        AND began_at >= date_bin(
            '1 day', now(), '2000-01-01 00:00Z'::timestamptz + make_interval(hours => %(hour)s)
        )
) AND NOT EXISTS (
    SELECT FROM crm_syncs WHERE is_full AND NOT dry_run AND status IN ('failed', 'refused')
        AND finished_at > now() - %(again)s
)
WHERE NOT EXISTS (SELECT FROM crm_syncs WHERE status = 'waiting')
ON CONFLICT DO NOTHING
"""

_CLAIM = """
UPDATE crm_syncs
SET status = 'running', started_at = now(), beat_at = now(), began_at = now(),
    first_read = nextval('crm_reads'), is_full = is_full OR NOT EXISTS (
        SELECT FROM crm_syncs AS whole WHERE whole.status = 'finished' AND whole.is_full AND NOT whole.dry_run
    )
WHERE id = (SELECT min(id) FROM crm_syncs WHERE status = 'waiting')
RETURNING id, dry_run, is_full, resumed, began_at, first_read, NOT EXISTS (
    SELECT FROM crm_syncs AS whole WHERE whole.status = 'finished' AND whole.is_full AND NOT whole.dry_run
) AS is_first_load
"""

_BROKEN_OFF = """
SELECT id FROM crm_syncs
WHERE status = 'failed' AND is_full AND NOT dry_run AND began_at > now() - %s
    AND EXISTS (SELECT FROM crm_cursors WHERE listing = crm_syncs.id)
ORDER BY id DESC LIMIT 1
"""

_TAKE_OVER = """
UPDATE crm_syncs SET resumed = broken.id, began_at = broken.began_at, first_read = broken.first_read,
    pages = broken.pages, seen = broken.seen, created = broken.created, updated = broken.updated,
    unchanged = broken.unchanged, associations = broken.associations, drift = broken.drift
FROM crm_syncs AS broken WHERE broken.id = %s AND crm_syncs.id = %s
RETURNING crm_syncs.began_at, crm_syncs.first_read
"""

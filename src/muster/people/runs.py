"""Runs of a sync: one of a kind at a time, each with its figures; a lost one is fenced off."""

import asyncio
from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from psycopg.errors import UniqueViolation

from muster.errors import Conflict, MusterError, Unavailable
from muster.platform import audit
from muster.platform.actor import Origin, System, Who
from muster.platform.database import Database, Transaction
from muster.platform.queue import Tell, tell_nobody
from muster.platform.tally import Tally
from muster.platform.telemetry import logger

Kind = Literal["people", "groups"]

SCHEDULE = System("schedule")
BEAT_EVERY = timedelta(seconds=10)
LOST_AFTER = timedelta(seconds=45)
"""A run whose worker has said nothing for so long has lost its worker."""

RESUMED_WITHIN = timedelta(days=3)
"""How long Google knows the token of a page."""


class SyncRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run with its counts; `status` is waiting, running, finished, failed or refused.

    Refused means that Google's listing could not be believed: nobody was removed. `faults` are Google's
    reasons for failing → how often; `drift` counts changes that push should have told of and had not.
    """

    id: int
    kind: Kind
    status: str
    reason: str | None
    asked_by: str
    dry_run: bool
    is_full: bool
    resumed: int | None
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expected: int | None
    chains: int
    is_proven: bool
    pages: int
    seen: int
    created: int
    updated: int
    unchanged: int
    removed: int
    held: int
    missed: int
    drift: int
    members_added: int
    members_removed: int
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
        """People or groups a second."""
        return self.seen / self.seconds if self.seconds else 0.0


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it is begun: `first_read` is of `directory_reads`, before anything was asked.

    A first load is one before which the directory had never been read to its end. Unproven is one that
    is not preceded, within a day, by a listing that showed itself to be whole.
    """

    id: int
    dry_run: bool
    is_full: bool
    resumed: int | None
    first_read: int
    is_first_load: bool
    is_unproven: bool


class ListingNotBelieved(MusterError):
    """Google's listing is empty or was cut short, so absence from it means nothing."""

    code = "listing_not_believed"


class RunLost(MusterError):
    """The run was taken for dead, and another may be under way: nothing more may be written in its name."""

    code = "sync_run_lost"


class Runs(ABC):
    """A sync of one kind: `_do` is what it does, the rest that it is done once at a time and written down."""

    kind: Kind
    asked_action: str

    def __init__(self, database: Database) -> None:
        self._database = database

    @abstractmethod
    async def _do(self, run: Claim, tally: Tally, tell: Tell) -> str | None:
        """Do the run; what it says for itself, if anything. Raises VendorError, ListingNotBelieved."""

    async def ask(
        self, *, by: Who, origin: Origin | None = None, dry_run: bool = False, is_full: bool = False
    ) -> int:
        """Put a run down as wanted and give its id; while one is wanted already, that one's.

        A full one begins anew where another would go on with a listing that broke off.
        """
        async with self._database.transaction() as tx:
            asked: int | None = await tx.value(
                """
                INSERT INTO people_syncs (kind, status, asked_by, dry_run, is_full)
                VALUES (%s, 'waiting', %s, %s, %s) ON CONFLICT DO NOTHING RETURNING id
                """,
                [self.kind, by.email, dry_run, is_full],
            )
            if asked is None:
                return await self._already_wanted(tx, dry_run=dry_run, is_full=is_full)
            if by is not SCHEDULE:
                await audit.record(tx, self.asked_action, by=by, subject=f"sync:{asked}", origin=origin)
        return asked

    async def run(self, tell: Tell = tell_nobody) -> SyncRun | None:
        """Do the run that is wanted, or a scheduled one; None while another worker is at it.

        `tell` is told how far it is. Raises VendorError when Google cannot be read; the run is kept with
        its reason either way.
        """
        run = await self._claim()
        if run is None:
            return None
        reason: str | None = None
        status = "failed"
        tally = Tally()
        beating = asyncio.create_task(self._keep_beating(run.id))
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

    async def get(self, sync_id: int) -> SyncRun | None:
        return await self._database.row(SyncRun, _RUN + " WHERE id = %s", [sync_id])

    async def find_last(self) -> SyncRun | None:
        """The newest run that ended, well or badly."""
        return await self._database.row(
            SyncRun,
            _RUN + " WHERE kind = %s AND finished_at IS NOT NULL ORDER BY id DESC LIMIT 1",
            [self.kind],
        )

    async def find_whole(self) -> SyncRun | None:
        """The newest run that read everything to its end and applied it."""
        return await self._database.row(
            SyncRun,
            _RUN
            + " WHERE kind = %s AND status = 'finished' AND NOT dry_run ORDER BY finished_at DESC LIMIT 1",
            [self.kind],
        )

    async def synced_at(self) -> datetime | None:
        """When all was last read to its end and applied."""
        whole = await self.find_whole()
        return whole.finished_at if whole else None

    async def proven_at(self) -> datetime | None:
        """When a listing last showed itself to be whole."""
        proven: datetime | None = await self._database.value(
            """
            SELECT max(finished_at) FROM people_syncs
            WHERE kind = %s AND status = 'finished' AND NOT dry_run AND is_proven
            """,
            [self.kind],
        )
        return proven

    async def is_wanted(self) -> bool:
        """Whether somebody waits for a run."""
        return bool(
            await self._database.value(
                "SELECT EXISTS (SELECT FROM people_syncs WHERE kind = %s AND status = 'waiting')", [self.kind]
            )
        )

    async def hold(self, tx: Transaction, run: Claim) -> None:
        """Keep the run ours until the commit. Raises RunLost."""
        held = await tx.value(
            "SELECT true FROM people_syncs WHERE id = %s AND status = 'running' FOR UPDATE", [run.id]
        )
        if not held:
            raise RunLost("this run was silent for so long that it was taken for dead")

    async def _already_wanted(self, tx: Transaction, *, dry_run: bool, is_full: bool) -> int:
        wanted: int | None = await tx.value(
            """
            UPDATE people_syncs SET is_full = is_full OR %s
            WHERE kind = %s AND status = 'waiting' AND dry_run = %s RETURNING id
            """,
            [is_full, self.kind, dry_run],
        )
        if wanted is None:  # a worker took it up between the two statements
            raise Conflict("A sync has begun at this very moment. Reload the page to see it.")
        return wanted

    async def _claim(self) -> Claim | None:
        """The run to do now, marked as ours. The database lets one run of a kind at a time."""
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                UPDATE people_syncs
                SET status = 'failed', reason = 'its worker was lost', finished_at = now()
                WHERE kind = %s AND status = 'running' AND beat_at < now() - %s
                """,
                [self.kind, LOST_AFTER],
            )
        try:
            async with self._database.transaction() as tx:
                await tx.execute(
                    """
                    INSERT INTO people_syncs (kind, status, asked_by)
                    SELECT %(kind)s, 'waiting', %(by)s
                    WHERE NOT EXISTS (SELECT FROM people_syncs WHERE kind = %(kind)s AND status = 'waiting')
                    ON CONFLICT DO NOTHING
                    """,
                    {"kind": self.kind, "by": SCHEDULE.email},
                )
                run = await tx.row(Claim, _CLAIM, {"kind": self.kind})
                return await self._resumed(tx, run) if run else None
        except UniqueViolation:
            return None

    async def _resumed(self, tx: Transaction, run: Claim) -> Claim:
        """The run, gone on with the pages of one that broke off, where there is one."""
        broken: int | None = None
        if not (run.dry_run or run.is_full):
            broken = await tx.value(_BROKEN_OFF, {"kind": self.kind, "within": RESUMED_WITHIN})
        if broken:
            await tx.execute("UPDATE people_chains SET sync_id = %s WHERE sync_id = %s", [run.id, broken])
            await tx.execute("UPDATE people_pages SET sync_id = %s WHERE sync_id = %s", [run.id, broken])
            await tx.execute(_TAKE_OVER_COUNTS, [broken, run.id])
            run = msgspec.structs.replace(
                run,
                resumed=broken,
                first_read=await tx.value("SELECT first_read FROM people_syncs WHERE id = %s", [run.id]),
            )
            logger.info("sync_resumed", sync=run.id, broken_off=broken)
        if not run.dry_run:
            await tx.execute(_FORGET_CHAINS, [self.kind, run.id])
            await tx.execute(_FORGET_PAGES, [self.kind, run.id])
        return run

    async def _keep_beating(self, sync_id: int) -> None:
        while True:
            await asyncio.sleep(BEAT_EVERY.total_seconds())
            try:
                await self._database.execute(
                    "UPDATE people_syncs SET beat_at = clock_timestamp() "
                    "WHERE id = %s AND status = 'running'",
                    [sync_id],
                )
            except Unavailable as error:
                logger.warning("sync_beat_missed", sync=sync_id, error=str(error))

    async def _close(self, run: Claim, tally: Tally, status: str, reason: str | None) -> None:
        async with self._database.transaction() as tx:
            await note_costs(tx, run.id, tally)
            await tx.execute(
                """
                UPDATE people_syncs SET status = %s, reason = %s, finished_at = now()
                WHERE id = %s AND status = 'running'
                """,
                [status, reason, run.id],
            )
            if status != "failed":
                await tx.execute("DELETE FROM people_chains WHERE sync_id = %s", [run.id])
                await tx.execute("DELETE FROM people_pages WHERE sync_id = %s", [run.id])
        ended = await self.get(run.id)
        if ended:
            logger.info(
                "directory_synced",
                kind=self.kind,
                sync=run.id,
                status=status,
                reason=reason,
                resumed=run.resumed,
                seen=ended.seen,
                created=ended.created,
                updated=ended.updated,
                unchanged=ended.unchanged,
                removed=ended.removed,
                held=ended.held,
                drift=ended.drift,
                calls=ended.calls,
                faults=ended.faults,
                seconds=round(ended.seconds, 2),
            )


async def note_costs(tx: Transaction, sync_id: int, tally: Tally) -> None:
    """Write down what the run has cost so far."""
    await tx.execute(
        """
        UPDATE people_syncs
        SET calls = %s, retried = %s, faults = %s::jsonb, waited_seconds = %s, beat_at = clock_timestamp()
        WHERE id = %s
        """,
        [
            tally.calls,
            tally.retried,
            msgspec.json.encode(tally.faults).decode(),
            tally.waited_seconds,
            sync_id,
        ],
    )


_RUN = """
SELECT id, kind, status, reason, asked_by, dry_run, is_full, resumed, asked_at, started_at, finished_at,
       expected, chains, is_proven, pages, seen, created, updated, unchanged, removed, held, missed, drift,
       members_added, members_removed, calls, retried, faults, waited_seconds
FROM people_syncs
"""

_CLAIM = """
UPDATE people_syncs
SET status = 'running', started_at = now(), beat_at = now(), first_read = nextval('directory_reads'),
    expected = CASE kind
        WHEN 'people' THEN (SELECT NULLIF(count(*), 0) FROM people WHERE removed_at IS NULL)
        ELSE (SELECT NULLIF(count(*), 0) FROM groups WHERE removed_at IS NULL)
    END
WHERE id = (SELECT min(id) FROM people_syncs WHERE kind = %(kind)s AND status = 'waiting')
RETURNING id, dry_run, is_full, resumed, first_read, NOT EXISTS (
    SELECT FROM people_syncs AS whole
    WHERE whole.kind = people_syncs.kind AND whole.status = 'finished' AND NOT whole.dry_run
) AS is_first_load, NOT EXISTS (
    SELECT FROM people_syncs AS whole
    WHERE whole.kind = people_syncs.kind AND whole.status = 'finished' AND NOT whole.dry_run
        AND whole.is_proven AND whole.finished_at > now() - interval '1 day'
) AS is_unproven
"""

_BROKEN_OFF = """
SELECT id FROM people_syncs
WHERE kind = %(kind)s AND status = 'failed' AND NOT dry_run AND EXISTS (
    SELECT FROM people_chains AS chain WHERE sync_id = people_syncs.id AND NOT is_done AND (
        name <> 'everybody' OR is_census OR NOT EXISTS (
            SELECT FROM people_chains AS other
            WHERE other.sync_id = chain.sync_id AND other.name <> chain.name
        )
    )
) AND (SELECT min(began_at) FROM people_chains WHERE sync_id = people_syncs.id) > now() - %(within)s
ORDER BY id DESC LIMIT 1
"""
"""One whose listing has pages left to read. What failed behind the listing would fail there again."""

_FORGET_CHAINS = """
DELETE FROM people_chains USING people_syncs
WHERE people_syncs.id = sync_id AND kind = %s AND sync_id <> %s
"""
_FORGET_PAGES = """
DELETE FROM people_pages USING people_syncs
WHERE people_syncs.id = sync_id AND kind = %s AND sync_id <> %s
"""
"""What broke off and nobody will go on with any more."""

_TAKE_OVER_COUNTS = """
UPDATE people_syncs SET resumed = broken.id, first_read = broken.first_read, pages = broken.pages,
    seen = broken.seen, created = broken.created, updated = broken.updated
FROM people_syncs AS broken WHERE broken.id = %s AND people_syncs.id = %s
"""

"""Who leaves, and whether that is to be believed unasked: too many at once wait for an administrator.

A limit that refuses was raised and then removed wherever it was tried, since it blocked real work
(facts: firezone). This one holds: the difference is staged with its reason, everything else goes on.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from muster.access.account import DIRECTORY
from muster.errors import Conflict, NotFound
from muster.people.directory_copy import Absent, DirectoryCopy, Occasion
from muster.people.google_directory import Gone
from muster.platform import audit
from muster.platform.actor import Origin, Who
from muster.platform.database import Database, Transaction
from muster.platform.telemetry import logger

RELEASE_DEADLINE = timedelta(minutes=5)
FEWEST_HELD = 10
"""So many may always leave within an hour, however small the company."""


class Removal(msgspec.Struct, frozen=True, kw_only=True):
    """A staged removal; `status` is waiting, released, rejected, or gone when all came back by themselves."""

    id: int
    sync_id: int | None
    staged_at: datetime
    reason: str
    status: str
    total: int
    removed: int
    decided_at: datetime | None
    decided_by: str

    @property
    def may_be_released(self) -> bool:
        """Somebody who was kept may still be let go."""
        return self.status in {"waiting", "rejected"}


class Applied(msgspec.Struct, frozen=True):
    removed: int
    held: int


class _Entry(msgspec.Struct, frozen=True):
    google_id: str
    absence: str
    deleted_at: datetime | None
    read_at: int

    def absent(self) -> Absent:
        gone = Gone(self.google_id, self.absence == "deleted", self.deleted_at)
        return Absent(asked=self.read_at, gone=gone)


_REMOVAL = """
SELECT id, sync_id, staged_at, reason, status, total, removed, decided_at, decided_by FROM people_removals
"""


class Removals:
    def __init__(self, database: Database, copy: DirectoryCopy, *, percent: int) -> None:
        """More than `percent` of the company leaving within an hour is held."""
        self._database = database
        self._copy = copy
        self._percent = percent

    async def apply(self, tx: Transaction, absent: Sequence[Absent], occasion: Occasion) -> Applied:
        """Remove these people, or stage them when they are too many; whoever was kept before stays.

        A sync knows of everybody who is gone, so what it stages takes the place of what was staged.
        """
        if occasion.sync_id is not None:
            await _clear_stage(tx)
        leaving, others = await self._parted(tx, absent, also_waiting=occasion.sync_id is None)
        scale = await self._scale(tx, len(leaving))
        held = 0
        if scale.is_exceeded_by(len(leaving)):
            await self._stage(tx, leaving, scale, occasion.sync_id)
            leaving, held = [], len(leaving)
        removed = await self._copy.remove(tx, leaving, occasion)
        await self._copy.remove(tx, others, occasion)
        await _close_empty(tx)
        if removed:
            await audit.record(
                tx,
                "people.removed",
                by=DIRECTORY,
                subject=f"sync:{occasion.sync_id}" if occasion.sync_id else "push",
                after={"google_ids": removed},
            )
        return Applied(removed=len(removed), held=held)

    async def preview(self, tx: Transaction, absent: Sequence[Absent]) -> Applied:
        """What `apply` would do, without doing it."""
        leaving, _ = await self._parted(tx, absent, also_waiting=False)
        if (await self._scale(tx, len(leaving))).is_exceeded_by(len(leaving)):
            return Applied(removed=0, held=len(leaving))
        return Applied(removed=len(leaving), held=0)

    async def release(
        self, removal_id: int, *, by: Who, origin: Origin | None = None, expected: int | None = None
    ) -> Removal:
        """Remove who is staged, but for those who have been seen since. Raises NotFound, Conflict.

        `expected` is how many whoever decides was shown: if it is another number by now, nothing is decided.
        """
        async with self._database.transaction(deadline=RELEASE_DEADLINE) as tx:
            await self._copy.alone(tx)
            removal = await _decidable(tx, removal_id, expected)
            await self.seen(tx, await tx.column(_LISTED_SINCE))
            entries = await tx.rows(_Entry, _ENTRIES, [removal_id])
            removed = await self._copy.remove(
                tx, [one.absent() for one in entries], Occasion(source="released", by=by.email)
            )
            await _decide(tx, removal, "released", by, removed=len(removed))
            await audit.record(
                tx,
                "people.removal_released",
                by=by,
                subject=f"removal:{removal_id}",
                after={"removed": len(removed), "google_ids": removed},
                origin=origin,
            )
        return await self.get(removal_id)

    async def reject(
        self, removal_id: int, *, by: Who, origin: Origin | None = None, expected: int | None = None
    ) -> Removal:
        """Keep who is staged until Google lists them again. Raises NotFound, Conflict."""
        async with self._database.transaction() as tx:
            await self._copy.alone(tx)
            removal = await _decidable(tx, removal_id, expected)
            if removal.status == "rejected":
                raise Conflict("These people are kept already.")
            await _decide(tx, removal, "rejected", by)
            await audit.record(
                tx,
                "people.removal_rejected",
                by=by,
                subject=f"removal:{removal_id}",
                after={"kept": removal.total},
                origin=origin,
            )
        return await self.get(removal_id)

    async def seen(self, tx: Transaction, google_ids: Sequence[str]) -> None:
        """These people are there after all: nothing of theirs is staged or kept any more."""
        await self._copy.alone(tx)
        await tx.execute("DELETE FROM people_removal_entries WHERE google_id = ANY(%s)", [list(google_ids)])
        await tx.execute(
            """
            UPDATE people_removals SET total = staged FROM (
                SELECT count(*) AS staged FROM people_removal_entries JOIN people_removals AS removals
                ON removals.id = removal_id WHERE status = 'waiting'
            ) AS counted WHERE status = 'waiting' AND staged > 0
            """
        )
        await _close_empty(tx)

    async def get(self, removal_id: int) -> Removal:
        """Raises NotFound."""
        found = await self._database.row(Removal, _REMOVAL + " WHERE id = %s", [removal_id])
        if found is None:
            raise NotFound("There is no removal of this number.")
        return found

    async def find_waiting(self) -> Removal | None:
        return await self._database.row(Removal, _REMOVAL + " WHERE status = 'waiting'")

    async def _parted(
        self, tx: Transaction, absent: Sequence[Absent], *, also_waiting: bool
    ) -> tuple[list[Absent], list[Absent]]:
        """Those who are here and would leave, and those who had left already and only go further. Whoever
        was kept stays, and with `also_waiting` whoever waits for a decision goes on waiting.
        """
        ids = [one.gone.google_id for one in absent]
        here = set(
            await tx.column(
                "SELECT google_id FROM people WHERE google_id = ANY(%s) AND removed_at IS NULL", [ids]
            )
        )
        kept = set(await tx.column(_KEPT, [ids, ["rejected", "waiting"] if also_waiting else ["rejected"]]))
        leaving = [one for one in absent if one.gone.google_id in here - kept]
        return leaving, [one for one in absent if one.gone.google_id not in here]

    async def _scale(self, tx: Transaction, leaving: int) -> "_Scale":
        if not leaving:
            return _Scale(here=0, lately=0, limit=0)
        here = int(await tx.value("SELECT count(*) FROM people WHERE removed_at IS NULL"))
        return _Scale(
            here=here,
            lately=int(await tx.value(_LEFT_LATELY)),
            limit=max(FEWEST_HELD, here * self._percent // 100),
        )

    async def _stage(
        self, tx: Transaction, leaving: Sequence[Absent], scale: "_Scale", sync_id: int | None
    ) -> None:
        removal_id: int = await tx.value(
            "UPDATE people_removals SET sync_id = %s WHERE status = 'waiting' RETURNING id", [sync_id]
        ) or await tx.value(
            "INSERT INTO people_removals (sync_id, reason, total) VALUES (%s, '', 0) RETURNING id", [sync_id]
        )
        await tx.execute(
            """
            INSERT INTO people_removal_entries (removal_id, google_id, absence, deleted_at, read_at)
            SELECT %s, * FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::bigint[])
            ON CONFLICT (removal_id, google_id) DO UPDATE SET absence = EXCLUDED.absence,
                deleted_at = EXCLUDED.deleted_at, read_at = EXCLUDED.read_at
            """,
            [
                removal_id,
                [one.gone.google_id for one in leaving],
                ["deleted" if one.gone.is_restorable else "unknown" for one in leaving],
                [one.gone.deleted_at for one in leaving],
                [one.asked for one in leaving],
            ],
        )
        total: int = await tx.value(
            "SELECT count(*) FROM people_removal_entries WHERE removal_id = %s", [removal_id]
        )
        reason = scale.reason(total)
        await tx.execute(
            "UPDATE people_removals SET total = %s, reason = %s WHERE id = %s", [total, reason, removal_id]
        )
        logger.warning("removal_held", removal=removal_id, people=total, reason=reason)


class _Scale(msgspec.Struct, frozen=True, kw_only=True):
    """How large the company is, how many left it `lately`, and how many may within an hour, unasked."""

    here: int
    lately: int
    limit: int

    def is_exceeded_by(self, leaving: int) -> bool:
        return leaving > 0 and leaving + self.lately > self.limit

    def reason(self, leaving: int) -> str:
        also = f", after {self.lately} within the last hour" if self.lately else ""
        return (
            f"{leaving} of {self.here} people would leave at once{also}; "
            f"more than {self.limit} are not removed unasked"
        )


async def _clear_stage(tx: Transaction) -> None:
    await tx.execute(
        """
        DELETE FROM people_removal_entries USING people_removals
        WHERE people_removals.id = removal_id AND status = 'waiting'
        """
    )


async def _close_empty(tx: Transaction) -> None:
    await tx.execute(
        """
        UPDATE people_removals SET status = 'gone' WHERE status = 'waiting' AND NOT EXISTS (
            SELECT FROM people_removal_entries WHERE removal_id = people_removals.id
        )
        """
    )


async def _decidable(tx: Transaction, removal_id: int, expected: int | None) -> Removal:
    removal = await tx.row(Removal, _REMOVAL + " WHERE id = %s FOR UPDATE", [removal_id])
    if removal is None:
        raise NotFound("There is no removal of this number.")
    if not removal.may_be_released:
        raise Conflict("This removal has been decided already.")
    if expected is not None:
        staged = await tx.value(
            "SELECT count(*) FROM people_removal_entries WHERE removal_id = %s", [removal_id]
        )
        if staged != expected:
            raise Conflict(f"There are {staged} people in this removal now. Look at them again, then decide.")
    return removal


async def _decide(
    tx: Transaction, removal: Removal, status: Literal["released", "rejected"], by: Who, *, removed: int = 0
) -> None:
    await tx.execute(
        """
        UPDATE people_removals SET status = %s, decided_at = now(), decided_by = %s, removed = %s
        WHERE id = %s
        """,
        [status, by.email, removed, removal.id],
    )


_ENTRIES = """
SELECT google_id, absence, deleted_at, read_at FROM people_removal_entries WHERE removal_id = %s
"""

_KEPT = """
SELECT google_id FROM people_removal_entries JOIN people_removals ON people_removals.id = removal_id
WHERE google_id = ANY(%s) AND status = ANY(%s)
"""

STAGED_YET_LISTED = """
SELECT DISTINCT entries.google_id FROM people_removal_entries AS entries JOIN (
    SELECT unnest(google_ids) AS google_id, asked FROM people_pages WHERE sync_id = %s
) AS listed ON listed.google_id = entries.google_id AND listed.asked > entries.read_at
"""
"""Whom a page shows that was asked for after Google had been asked about them."""

_LISTED_SINCE = """
SELECT DISTINCT entries.google_id FROM people_removal_entries AS entries JOIN (
    SELECT unnest(google_ids) AS google_id, asked FROM people_pages
) AS listed ON listed.google_id = entries.google_id AND listed.asked > entries.read_at
"""
"""The same, of a listing that is under way or broke off."""

_LEFT_LATELY = """
SELECT count(*) FROM people_changes
WHERE at > now() - interval '1 hour' AND kinds @> '{left}' AND source <> 'released'
"""

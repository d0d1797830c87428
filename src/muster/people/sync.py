"""Bringing our copy of the directory's people in step with Google's, without ever losing somebody.

A run lists everybody; what differs is written as it comes. Who was in no page is asked for by id before
they count as gone: listings that were empty or cut short have emptied other companies' directories.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
from typing_extensions import override

from muster.access.account import Accounts
from muster.errors import VendorError, VendorRefused
from muster.people.directory_copy import Absent, DirectoryCopy, News, Occasion, Reading
from muster.people.google_directory import Gone, GoogleDirectory, GoogleOrgUnit
from muster.people.listing import Listed, Listing, Sharing
from muster.people.removals import STAGED_YET_LISTED, Removals
from muster.people.rereads import ask_about
from muster.people.runs import SCHEDULE, Claim, ListingNotBelieved, Runs, note_costs
from muster.people.tags import ORG_UNITS
from muster.platform.busts import Busts
from muster.platform.database import Database, Transaction
from muster.platform.queue import Tell
from muster.platform.tally import Tally

DEADLINE = timedelta(seconds=40)
"""Shorter than the silence after which a run counts as lost."""

ASKED_AT_A_TIME = 200
TOLERATED_SHARE = 1000
"""One in so many may be there though no page showed them: somebody is renamed while pages are read."""


_SHARING = Sharing()


class Push(Protocol):
    """What the sync needs to know of Google's push."""

    async def live_since(self) -> datetime | None: ...
    async def distrust(self, tx: Transaction) -> None: ...


class PeopleSync(Runs):
    kind = "people"
    asked_action = "people.sync_asked"

    def __init__(
        self,
        database: Database,
        directory: GoogleDirectory,
        copy: DirectoryCopy,
        removals: Removals,
        accounts: Accounts,
        push: Push,
        busts: Busts,
        *,
        sharing: Sharing = _SHARING,
    ) -> None:
        super().__init__(database)
        self._directory = directory
        self.copy = copy
        self._removals = removals
        self._accounts = accounts
        self._push = push
        self._busts = busts
        self._sharing = sharing

    @override
    async def _do(self, run: Claim, tally: Tally, tell: Tell) -> str | None:
        directory = self._directory.counted(tally)
        pushed_since = await self._push.live_since()
        listing = Listing(
            self._database,
            directory,
            self.copy,
            run.id,
            sharing=self._sharing,
            # The first load had better be quick; another run proves it at once.
            with_census=run.is_full or (run.is_unproven and not run.is_first_load),
        )
        await listing.read(_Taker(self, run, tally, listing, tell))
        await self._count_seen(run)
        deleted = await self._read_deleted(run, directory)
        notes = [
            await self._settle_absent(run, directory, deleted),
            await self._read_org_units(run, directory),
        ]
        await self._finish(run, pushed_since, is_proven=listing.is_proven)
        return " ".join(note for note in notes if note) or None

    async def _count_seen(self, run: Claim) -> None:
        """Count each once, on however many pages. Raises ListingNotBelieved for an empty listing."""
        seen = await self._database.value(
            "UPDATE people_syncs SET seen = (SELECT count(DISTINCT listed) FROM people_pages, "
            "unnest(google_ids) AS listed WHERE sync_id = people_syncs.id) WHERE id = %s RETURNING seen",
            [run.id],
        )
        if not seen:
            raise ListingNotBelieved("Google's listing held nobody at all; nobody was removed")

    async def _read_deleted(self, run: Claim, directory: GoogleDirectory) -> dict[str, Absent]:
        """The users Google would still restore. Those who are here to our knowledge are only returned, since
        many at once may have to wait; the others are written at once.
        """
        deleted: dict[str, Absent] = {}
        token, tokens_seen = "", set[str]()
        while True:
            asked = await self.copy.number()
            page = await directory.users_page(token, deleted=True)
            for record in page.records:
                if person := record.person():
                    gone = Gone(record.google_id, is_known=True, deleted_at=person.deleted_at)
                    deleted[record.google_id] = Absent(asked=asked, gone=gone)
            async with self._database.reading() as statements:
                here = set(await statements.column(_HERE, [[record.google_id for record in page.records]]))
            others = [record for record in page.records if record.google_id not in here]
            news = await self.copy.compare([Reading(asked=asked, records=others)])
            async with self._database.transaction(deadline=DEADLINE) as tx:
                await self.hold(tx, run)
                await self.copy.settle(tx, news, _listing(run))
            token = page.next_token
            if not token or token in tokens_seen:
                return deleted
            tokens_seen.add(token)

    async def _settle_absent(
        self, run: Claim, directory: GoogleDirectory, deleted: dict[str, Absent]
    ) -> str | None:
        """Remove whom no page showed and Google confirms as gone; a note on whom it says nothing about, who
        stay. Raises ListingNotBelieved.
        """
        async with self._database.reading(deadline=DEADLINE) as statements:
            unseen = await statements.column(_UNSEEN, {"sync_id": run.id, "first_read": run.first_read})
            faded = await statements.column(_FADED, [list(deleted)])
            seen: int = await statements.value("SELECT seen FROM people_syncs WHERE id = %s", [run.id])
        absent = [deleted[google_id] for google_id in unseen if google_id in deleted]
        unconfirmed = [google_id for google_id in unseen if google_id not in deleted]
        missed: list[Reading] = []
        refused: dict[str, VendorRefused] = {}
        for some in _batches([*unconfirmed, *faded]):
            answers = await ask_about(directory, self.copy, some)
            if answers.down:
                raise next(iter(answers.down.values()))
            absent += answers.absent
            refused |= answers.refused
            missed += answers.readings
            if len(missed) > seen // TOLERATED_SHARE:
                raise ListingNotBelieved(
                    "Google's listing was cut short: it lacked somebody who is still there; "
                    "nobody was removed"
                )
        await self._write_absent(run, absent, missed)
        if not refused:
            return None
        reason = next(iter(refused.values()))
        return f"{len(refused)} people were not listed and may not be asked about: {reason}."

    async def _write_absent(self, run: Claim, absent: list[Absent], missed: list[Reading]) -> None:
        news = await self.copy.compare(missed)
        async with self._database.transaction(deadline=DEADLINE) as tx:
            await self.hold(tx, run)
            if run.dry_run:
                applied = await self._removals.preview(tx, absent)
            else:
                await self.copy.alone(tx)
                await self.copy.settle(tx, news, Occasion(source="confirmed", sync_id=run.id))
                await self._removals.seen(tx, await tx.column(STAGED_YET_LISTED, [run.id]))
                applied = await self._removals.apply(tx, absent, _listing(run))
            await tx.execute(
                """
                UPDATE people_syncs SET removed = %s, held = %s, missed = %s, seen = seen + %s,
                    unchanged = GREATEST(seen - created - updated, 0)
                WHERE id = %s
                """,
                [applied.removed, applied.held, len(missed), len(missed), run.id],
            )

    async def _read_org_units(self, run: Claim, directory: GoogleDirectory) -> str | None:
        """Org units are nice to have: where they cannot be read, the people are synced all the same."""
        try:
            units = await directory.org_units()
        except VendorError as error:
            return f"Org units were not read. {error}"
        if units and not run.dry_run:
            async with self._database.transaction() as tx:
                await self.hold(tx, run)
                if await _replace_org_units(tx, units):
                    await self._busts.announce(tx, ORG_UNITS)
        return None

    async def _finish(self, run: Claim, pushed_since: datetime | None, *, is_proven: bool) -> None:
        """See to it that whoever may not stay has no way in, and count what push should have told."""
        if run.dry_run:
            return
        async with self._database.transaction(deadline=DEADLINE) as tx:
            await self.hold(tx, run)
            await self.copy.alone(tx)
            await self._accounts.suspend(
                tx, await tx.column(_LET_IN_WRONGLY), because="is not active in Google Workspace"
            )
            await self._accounts.restore(tx, await tx.column(_KEPT_OUT_WRONGLY))
            drift: int = await tx.value(_DRIFT, {"sync_id": run.id, "since": pushed_since})
            await tx.execute(
                "UPDATE people_syncs SET drift = %s, is_proven = %s WHERE id = %s", [drift, is_proven, run.id]
            )
            if drift:
                await self._push.distrust(tx)
        # The first pages of a resumed run are as old as the one that broke off, and a first load may lack
        # somebody: another reading follows at once.
        if run.resumed or (run.is_first_load and not is_proven):
            await self.ask(by=SCHEDULE)


class _Counted(msgspec.Struct, frozen=True):
    seen: int
    expected: int | None


class _Taker:
    """What a listing hands its pages to, for one run."""

    def __init__(self, sync: PeopleSync, run: Claim, tally: Tally, listing: Listing, tell: Tell) -> None:
        self._sync = sync
        self._run = run
        self._tally = tally
        self._listing = listing
        self._tell = tell

    async def compare(self, pages: Sequence[Listed]) -> list[News]:
        whole = (page for page in pages if not page.is_census)
        return await self._sync.copy.compare(
            Reading(asked=page.asked, records=page.page.records) for page in whole
        )

    async def write(self, tx: Transaction, pages: Sequence[Listed], news: list[News]) -> None:
        await self._sync.hold(tx, self._run)
        settled = await self._sync.copy.settle(tx, news, _listing(self._run))
        counted = await tx.row(
            _Counted,
            """
            UPDATE people_syncs SET pages = pages + %s, seen = seen + %s, created = created + %s,
                updated = updated + %s, chains = %s
            WHERE id = %s RETURNING seen, expected
            """,
            [
                len(pages),
                sum(len(page.page.records) for page in pages if not page.is_census),
                settled.created,
                settled.updated,
                self._listing.chains,
                self._run.id,
            ],
        )
        await note_costs(tx, self._run.id, self._tally)
        if counted:
            self._tell(counted.seen, counted.expected, "people read")


def _listing(run: Claim) -> Occasion:
    return Occasion(source="listing", sync_id=run.id, is_first_load=run.is_first_load, dry_run=run.dry_run)


def _batches(google_ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (
        google_ids[start : start + ASKED_AT_A_TIME] for start in range(0, len(google_ids), ASKED_AT_A_TIME)
    )


async def _replace_org_units(tx: Transaction, units: Sequence[GoogleOrgUnit]) -> int:
    """How many were written or ended."""
    ended = await tx.execute(
        "DELETE FROM org_units WHERE id <> ALL(%s)", [[unit.org_unit_id for unit in units]]
    )
    return ended + await tx.execute(
        """
        INSERT INTO org_units (id, path, name, description, parent_path)
        SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
            AS sent (id, path, name, description, parent_path)
        ON CONFLICT (id) DO UPDATE SET path = EXCLUDED.path, name = EXCLUDED.name,
            description = EXCLUDED.description, parent_path = EXCLUDED.parent_path
        WHERE (org_units.path, org_units.name, org_units.description, org_units.parent_path)
            IS DISTINCT FROM (EXCLUDED.path, EXCLUDED.name, EXCLUDED.description, EXCLUDED.parent_path)
        """,
        [
            [unit.org_unit_id for unit in units],
            [unit.org_unit_path for unit in units],
            [unit.name for unit in units],
            [unit.description for unit in units],
            [unit.parent_org_unit_path for unit in units],
        ],
    )


_HERE = "SELECT google_id FROM people WHERE google_id = ANY(%s) AND removed_at IS NULL"

_UNSEEN = """
SELECT google_id FROM people
WHERE removed_at IS NULL AND read_at < %(first_read)s AND NOT EXISTS (
    SELECT FROM (
        SELECT unnest(google_ids) AS google_id FROM people_pages WHERE sync_id = %(sync_id)s
    ) AS listed WHERE listed.google_id = people.google_id
)
ORDER BY google_id
"""
"""Whoever was read by id after the listing began is no stranger to it: they may have come in its wake."""

_FADED = """
SELECT google_id FROM people WHERE status = 'deleted' AND google_id <> ALL(%s) ORDER BY random() LIMIT 1000
"""
"""Those Google would have restored until now, and lists as deleted no more."""

_LET_IN_WRONGLY = """
SELECT google_id FROM people JOIN accounts USING (google_id)
WHERE status NOT IN ('active', 'guest') AND accounts.suspended_at IS NULL
"""

_KEPT_OUT_WRONGLY = """
SELECT google_id FROM people JOIN accounts USING (google_id)
WHERE status IN ('active', 'guest') AND accounts.suspended_at IS NOT NULL
"""

_DRIFT = """
SELECT count(*) FROM people_changes
WHERE sync_id = %(sync_id)s AND source = 'listing' AND %(since)s < (
    SELECT max(finished_at) FROM people_syncs
    WHERE kind = 'people' AND status = 'finished' AND NOT dry_run AND id <> %(sync_id)s
) AND NOT EXISTS (SELECT FROM people_rereads WHERE people_rereads.google_id = people_changes.google_id)
"""

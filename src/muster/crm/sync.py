"""Bringing our copy of HubSpot's records in step with HubSpot, without ever losing one.

A run reads what moved since the last one; once a day, and at first, it lists everything. Search is behind,
archiving moves no time of a change, and listings come back cut short: so what was moved is read with some
overlap, archived records have a listing of their own, and nobody is archived on a listing's word alone.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
from typing_extensions import override

from muster.crm.asking import together
from muster.crm.definitions import Definitions
from muster.crm.fields import Kind
from muster.crm.hubspot import HubSpot
from muster.crm.intake import Intake, Known
from muster.crm.mirror import Mirror
from muster.crm.record import Record
from muster.crm.runs import DEADLINE, Claim, CrmRuns, ListingNotBelieved
from muster.errors import MusterError
from muster.platform.busts import Busts
from muster.platform.database import Database
from muster.platform.queue import Tell
from muster.platform.tally import Tally

FEATURE = "sync"

LOOKBACK = timedelta(minutes=5)
"""Search may be behind, and its clock another than ours, by less than this."""

AHEAD = timedelta(days=400)
"""By less than this HubSpot's clock is ahead of ours; the sandbox's days pass when they are told to."""

ARCHIVED_LISTED_EVERY = timedelta(hours=1)
"""How often archived records are listed though the number of the others is as it should be: as many may have
been restored.
"""

RESTORED_WITHIN = timedelta(days=90)
"""How long HubSpot would restore what was archived, and lists it."""

PAGES_AT_A_TIME = 5
READ_AHEAD = 5
ASKED_AT_A_TIME = 100

TOLERATED, TOLERATED_SHARE = 10, 1000
"""So many, or one in so many, may be there though no page showed them."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Page(msgspec.Struct, frozen=True):
    records: list[Record]
    asked: int
    after: str


class _Cursor(msgspec.Struct, frozen=True):
    kind: Kind
    known_until: datetime | None
    archived_known_until: datetime | None
    listed_to: str
    is_listed: bool
    listing: int | None


class CrmSync(CrmRuns):
    def __init__(self, database: Database, hubspot: HubSpot, mirror: Mirror, busts: Busts) -> None:
        super().__init__(database)
        self._hubspot = hubspot
        self._mirror = mirror
        self._busts = busts

    async def known_until(self, kind: Kind) -> datetime | None:
        """Up to when all changes of a kind are known: what of it we hold is at least as fresh as that."""
        return (await self._cursors())[kind].known_until

    @override
    async def _do(self, run: Claim, tally: Tally, tell: Tell) -> str | None:
        hubspot = self._hubspot.for_(FEATURE).counted(tally)
        await self.at(run, "reading owners, pipelines and properties")
        await self._read_definitions(run, hubspot)
        cursors = await self._cursors()
        known = {
            kind: Known(_less(cursor.known_until), _less(cursor.archived_known_until))
            for kind, cursor in cursors.items()
        }
        intake = Intake(self._database, hubspot, self._mirror, self, run, tally, tell, known=known)
        if run.is_full:
            await self._read_all(run, hubspot, intake)
        else:
            await self.at(run, "reading what changed")
            await together(*(self._read_moved(run, hubspot, intake, cursors[kind]) for kind in Kind))
        return None

    async def _read_definitions(self, run: Claim, hubspot: HubSpot) -> None:
        definitions = await Definitions.read(hubspot)
        if not run.dry_run:
            async with self._database.transaction(deadline=DEADLINE) as tx:
                await self.hold(tx, run)
                await definitions.keep(tx, self._busts)

    # What moved

    async def _read_moved(self, run: Claim, hubspot: HubSpot, intake: Intake, cursor: _Cursor) -> None:
        kind, above = cursor.kind, ""
        since = _EPOCH if cursor.known_until is None else cursor.known_until - LOOKBACK
        while True:
            asked = await self._mirror.number()
            found = await hubspot.search(kind, since=since, until=_now() + AHEAD, above_id=above)
            if not found.records:
                if found.total:
                    raise ListingNotBelieved(
                        f"HubSpot's search of {kind} counts {found.total:,} more than it shows; the next run "
                        "searches for them again"
                    )
                break
            await intake.moved(kind, found.records, asked=asked)
            last = max((record.id for record in found.records), key=int)
            if above and int(last) <= int(above):
                raise ListingNotBelieved(f"HubSpot's search of {kind} does not get on; nothing was archived")
            if len(found.records) >= found.total:
                break
            above = last
        await self._know(run, kind)
        # What a dry run has found it does not hold, so the numbers say nothing.
        if run.dry_run or await self._may_have_archived(hubspot, cursor):
            await self._read_archived(run, hubspot, intake, kind)

    async def _may_have_archived(self, hubspot: HubSpot, cursor: _Cursor) -> bool:
        """Whether somebody left: the number of those that are there says so, for the price of one call."""
        listed_at = cursor.archived_known_until
        if listed_at is None or _now() - listed_at > ARCHIVED_LISTED_EVERY:
            return True
        there = await hubspot.search(cursor.kind, since=_EPOCH, until=_now() + AHEAD, limit=1)
        return there.total != await self._count_held(cursor.kind)

    async def _read_archived(self, run: Claim, hubspot: HubSpot, intake: Intake, kind: Kind) -> None:
        """Read all that HubSpot lists as archived. What is archived here and not there may be back."""
        listed: set[str] = set()
        async for page in self._pages(hubspot, kind, archived=True):
            listed |= {record.id for record in page.records}
            await intake.archived(kind, page.records, asked=page.asked)
        async with self._database.reading(deadline=DEADLINE) as statements:
            held = await statements.column(_ARCHIVED, [kind, RESTORED_WITHIN])
        back = [one for one in held if one not in listed]
        for start in range(0, len(back), ASKED_AT_A_TIME):
            await intake.asked(kind, back[start : start + ASKED_AT_A_TIME])
        if not run.dry_run:
            await self._database.execute(_KNOW_ARCHIVED, [kind, run.began_at])

    # All there is

    async def _read_all(self, run: Claim, hubspot: HubSpot, intake: Intake) -> None:
        intake.expected = await self._expected(hubspot)
        await self.at(run, "counting", expected=intake.expected)
        if not run.dry_run:
            await self._database.execute(_BEGIN_LISTING, {"kinds": [*Kind], "run": run.id})
        cursors = await self._cursors()
        await self.at(run, "listing everything")
        await together(*(self._list(run, hubspot, intake, cursors[kind]) for kind in Kind))
        await self.at(run, "reading what is archived")
        await together(*(self._read_archived(run, hubspot, intake, kind) for kind in Kind))
        for kind in Kind:
            await self._check_listing(run, kind)
        for kind in Kind:
            await self._settle_unlisted(run, intake, kind)
            await self._know(run, kind)

    async def _expected(self, hubspot: HubSpot) -> int:
        found = [await hubspot.search(kind, since=_EPOCH, until=_now() + AHEAD, limit=1) for kind in Kind]
        return sum(one.total for one in found)

    async def _list(self, run: Claim, hubspot: HubSpot, intake: Intake, cursor: _Cursor) -> None:
        """List a kind, from where a run before came to. Pages are read ahead while others are written."""
        is_ours = cursor.listing == run.id and not run.dry_run
        if is_ours and cursor.is_listed:
            return
        ahead: asyncio.Queue[_Page | None] = asyncio.Queue(READ_AHEAD)

        async def read() -> MusterError | None:
            """What ended it is raised only once all it read is written."""
            try:
                async for page in self._pages(hubspot, cursor.kind, cursor.listed_to if is_ours else ""):
                    await ahead.put(page)
            except MusterError as error:
                return error
            finally:
                await ahead.put(None)
            return None

        async def write() -> MusterError | None:
            is_over = False
            while not is_over:
                pages = [await ahead.get()]
                while pages[-1] is not None and len(pages) < PAGES_AT_A_TIME and not ahead.empty():
                    pages.append(ahead.get_nowait())
                is_over = pages[-1] is None
                if some := [page for page in pages if page]:
                    await intake.listed(
                        cursor.kind,
                        [record for page in some for record in page.records],
                        asked=min(page.asked for page in some),
                        pages=len(some),
                        after=some[-1].after,
                    )
            return None

        failure, _ = await together(read(), write())
        if failure:
            raise failure

    async def _pages(
        self, hubspot: HubSpot, kind: Kind, after: str = "", *, archived: bool = False
    ) -> AsyncIterator[_Page]:
        """Raises ListingNotBelieved for one that goes round."""
        given = {after}
        while True:
            asked = await self._mirror.number()
            page = await hubspot.page(kind, after, archived=archived)
            yield _Page(page.records, asked, page.after)
            after = page.after
            if not after:
                return
            if after in given:
                raise ListingNotBelieved(f"HubSpot's listing of {kind} goes round; nothing was archived")
            given.add(after)

    async def _check_listing(self, run: Claim, kind: Kind) -> None:
        """Raises ListingNotBelieved."""
        async with self._database.reading(deadline=DEADLINE) as statements:
            listed: int = await statements.value(_LISTED, [run.id, kind])
            held: int = await statements.value(_HELD_BEFORE, [kind, run.first_read])
        if held and listed * 2 < held:
            many = f"{listed:,} {kind}" if listed else f"no {kind}"
            raise ListingNotBelieved(
                f"HubSpot's listing held {many} where {held:,} are known; nothing was archived"
            )

    async def _settle_unlisted(self, run: Claim, intake: Intake, kind: Kind) -> None:
        """Ask HubSpot about each record that no page showed: it is archived only by HubSpot's word on it."""
        async with self._database.reading(deadline=DEADLINE) as statements:
            unlisted = await statements.column(
                _UNLISTED, {"run": run.id, "kind": kind, "first": run.first_read}
            )
            listed: int = await statements.value(_LISTED, [run.id, kind])
        if unlisted:
            await self.at(run, f"asking about {len(unlisted):,} {kind} that no page showed")
        there = 0
        for start in range(0, len(unlisted), ASKED_AT_A_TIME):
            there += await intake.asked(kind, unlisted[start : start + ASKED_AT_A_TIME], are_unlisted=True)
            if there > max(TOLERATED, listed // TOLERATED_SHARE):
                raise ListingNotBelieved(
                    f"HubSpot's listing of {kind} was cut short: it lacked some that are there; what it "
                    "lacked was asked for by id"
                )

    # How far we are

    async def _cursors(self) -> dict[Kind, _Cursor]:
        rows = await self._database.rows(_Cursor, _CURSORS)
        held = {row.kind: row for row in rows}
        return {kind: held.get(kind) or _Cursor(kind, None, None, "", False, None) for kind in Kind}  # noqa: FBT003

    async def _know(self, run: Claim, kind: Kind) -> None:
        if not run.dry_run:
            await self._database.execute(_KNOW, [kind, run.began_at])

    async def _count_held(self, kind: Kind) -> int:
        return int(
            await self._database.value(
                "SELECT count(*) FROM crm_records WHERE kind = %s AND archived_at IS NULL", [kind]
            )
        )


def _now() -> datetime:
    return datetime.now(UTC)


def _less(known_until: datetime | None) -> datetime | None:
    """Up to when it was surely known, however far search is behind."""
    return known_until - LOOKBACK if known_until else None


_CURSORS = "SELECT kind, known_until, archived_known_until, listed_to, is_listed, listing FROM crm_cursors"

_KNOW = """
INSERT INTO crm_cursors AS held (kind, known_until) VALUES (%s, %s)
ON CONFLICT (kind) DO UPDATE SET known_until = GREATEST(held.known_until, excluded.known_until)
"""

_KNOW_ARCHIVED = """
INSERT INTO crm_cursors AS held (kind, archived_known_until) VALUES (%s, %s)
ON CONFLICT (kind) DO UPDATE
SET archived_known_until = GREATEST(held.archived_known_until, excluded.archived_known_until)
"""

_BEGIN_LISTING = """
INSERT INTO crm_cursors AS held (kind, listing) SELECT kind, %(run)s FROM unnest(%(kinds)s::text[]) AS kind
ON CONFLICT (kind) DO UPDATE SET listing = excluded.listing, listed_to = '', is_listed = false
WHERE held.listing IS DISTINCT FROM excluded.listing
"""

_ARCHIVED = """
SELECT id FROM crm_records
WHERE kind = %s AND archived_at > now() - %s AND merged_into IS NULL ORDER BY id
"""

_LISTED = """
SELECT count(DISTINCT id) FROM crm_pages, unnest(ids) AS id WHERE sync_id = %s AND kind = %s
"""

_HELD_BEFORE = """
SELECT count(*) FROM crm_records WHERE kind = %s AND archived_at IS NULL AND read_at < %s
"""

_UNLISTED = """
SELECT id FROM crm_records
WHERE kind = %(kind)s AND archived_at IS NULL AND read_at < %(first)s AND NOT EXISTS (
    SELECT FROM (
        SELECT unnest(ids) AS id FROM crm_pages WHERE sync_id = %(run)s AND kind = %(kind)s
    ) AS listed WHERE listed.id = crm_records.id
)
ORDER BY id
"""
"""Whoever was read by id after the listing began is no stranger to it: they may have come in its wake."""

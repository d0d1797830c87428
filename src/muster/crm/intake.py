"""What a run of the sync takes from HubSpot: compared, written batch by batch, and counted."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from muster.crm.asking import Answer, ask_about, settle, tie, ties_of
from muster.crm.fields import Kind
from muster.crm.hubspot import HubSpot
from muster.crm.mirror import DIRECTIONS, Mirror, Source, Taken
from muster.crm.record import Record
from muster.crm.runs import DEADLINE, Claim, CrmRuns, note_costs
from muster.platform.database import Database, Transaction
from muster.platform.queue import Tell
from muster.platform.tally import Tally

UNWRITTEN = "record not written"
"""Among a run's faults, how many records PostgreSQL does not take."""

_FIGURES = ("created", "updated", "unchanged", "archived", "restored", "merged")


class Known(msgspec.Struct, frozen=True):
    """Up to when what changed, and who was archived, should be known already: older news are drift."""

    changed: datetime | None
    archived: datetime | None


class Intake:
    def __init__(
        self,
        database: Database,
        hubspot: HubSpot,
        mirror: Mirror,
        runs: CrmRuns,
        run: Claim,
        tally: Tally,
        tell: Tell,
        *,
        known: Mapping[Kind, Known],
    ) -> None:
        self._database = database
        self._hubspot = hubspot
        self._mirror = mirror
        self._runs = runs
        self._run = run
        self._tally = tally
        self._tell = tell
        self._known = known
        self._seen: Counter[Kind] = Counter()
        self.expected: int | None = None

    async def listed(
        self, kind: Kind, records: Sequence[Record], *, asked: int, pages: int, after: str
    ) -> None:
        """Take pages of the listing of everything, with what the records belong to, and how far it came."""
        run = self._run
        forward = [other for one, other in DIRECTIONS if one is kind]
        ids = [record.id for record in records]
        ties_asked, ties = await ties_of(self._hubspot, self._mirror, kind, ids if forward else [], forward)
        async with self._database.transaction(deadline=DEADLINE) as tx:
            await self._runs.hold(tx, run)
            taken = await self._mirror.take(
                tx,
                kind,
                records,
                asked=asked,
                source=Source.SYNC,
                is_first_load=run.is_first_load,
                dry_run=run.dry_run,
            )
            moved = await tie(
                self._mirror,
                tx,
                kind,
                ties,
                asked=ties_asked,
                is_first_load=run.is_first_load,
                dry_run=run.dry_run,
            )
            await tx.execute(
                "INSERT INTO crm_pages (sync_id, kind, ids) VALUES (%s, %s, %s)",
                [run.id, kind, ids],
            )
            if not run.dry_run:
                await tx.execute(
                    "UPDATE crm_cursors SET listed_to = %s, is_listed = %s WHERE kind = %s AND listing = %s",
                    [after, not after, kind, run.id],
                )
            drift = 0 if run.is_first_load else self._drift(kind, records, taken)
            await self._count(tx, taken, pages=pages, seen=len(records), associations=moved, drift=drift)
        self._say_seen(kind, len(records), "listed")

    async def moved(self, kind: Kind, records: Sequence[Record], *, asked: int) -> None:
        """Take what search found; of what it may know no better than we do, HubSpot is asked by id.

        What is news belongs elsewhere perhaps, and nothing else says so: so that is read before anything
        is written, and a run that breaks off in between finds the news again.
        """
        run = self._run
        async with self._database.reading() as statements:
            judged = await self._mirror.compare(statements, kind, records, asked=asked, lags=True)
        doubted = await self._about(kind, judged.doubted) if judged.doubted else None
        ties_asked, ties = await ties_of(self._hubspot, self._mirror, kind, list(judged.news))
        async with self._database.transaction(deadline=DEADLINE) as tx:
            await self._runs.hold(tx, run)
            taken = await self._mirror.take(
                tx, kind, records, asked=asked, source=Source.SYNC, lags=True, dry_run=run.dry_run
            )
            moved = await tie(self._mirror, tx, kind, ties, asked=ties_asked, dry_run=run.dry_run)
            await self._count(tx, taken, pages=1, seen=len(records), associations=moved)
            if doubted:
                await self._settle(tx, doubted)
        self._say_seen(kind, len(records), "that changed")

    async def archived(self, kind: Kind, records: Sequence[Record], *, asked: int) -> None:
        """Take what HubSpot lists as archived. Whom we never held is kept by id alone: once restored, they
        are missed in that listing, and nothing else tells of them.
        """
        run = self._run
        async with self._database.reading() as statements:
            is_here = await statements.pairs(_IS_HERE, [kind, [record.id for record in records]])
        leaving = [record for record in records if is_here.get(record.id)]
        strangers = [record for record in records if record.id not in is_here]
        if strangers and not run.dry_run:
            async with self._database.transaction(deadline=DEADLINE) as tx:
                await self._runs.hold(tx, run)
                await self._mirror.keep_archived(tx, kind, strangers, asked=asked)
        if not leaving:
            return
        async with self._database.transaction(deadline=DEADLINE) as tx:
            await self._runs.hold(tx, run)
            taken = await self._mirror.take(
                tx, kind, leaving, asked=asked, source=Source.SYNC, dry_run=run.dry_run
            )
            if run.dry_run:  # or they would be asked for, and counted again
                ids = [record.id for record in leaving]
                await tx.execute(
                    "INSERT INTO crm_pages (sync_id, kind, ids) VALUES (%s, %s, %s)", [run.id, kind, ids]
                )
            known = self._known[kind].archived if run.is_full else None
            drift = sum(
                1
                for record in leaving
                if known and record.archived_at and record.archived_at < known and record.id in taken.news
            )
            await self._count(tx, taken, drift=drift)

    async def asked(self, kind: Kind, ids: Sequence[str], *, are_unlisted: bool = False) -> int:
        """Ask HubSpot about these, and take what it says; how many of them are there."""
        answer = await self._about(kind, ids)
        there = len(answer.batch.records)
        async with self._database.transaction(deadline=DEADLINE) as tx:
            await self._runs.hold(tx, self._run)
            await self._settle(tx, answer)
            if are_unlisted:
                await self._runs.add(tx, self._run, missed=there, seen=there)
        return there

    async def _about(self, kind: Kind, ids: Sequence[str]) -> Answer:
        return await ask_about(self._hubspot, self._mirror, kind, ids)

    async def _settle(self, tx: Transaction, answer: Answer) -> None:
        taken, moved = await settle(self._mirror, tx, answer, Source.SYNC, dry_run=self._run.dry_run)
        await self._count(tx, taken, associations=moved)

    def _drift(self, kind: Kind, records: Sequence[Record], taken: Taken) -> int:
        known = self._known[kind].changed
        return sum(
            1
            for record in records
            if known and record.modified_at < known and taken.news.get(record.id) in {"created", "changed"}
        )

    def _say_seen(self, kind: Kind, many: int, words: str) -> None:
        self._seen[kind] += many
        self._tell(self._seen.total(), self.expected, f"{kind} {words}: {self._seen[kind]:,} so far")

    async def _count(self, tx: Transaction, taken: Taken, **more: int) -> None:
        counts = Counter({name: getattr(taken, name) for name in _FIGURES})
        counts["unchanged"] += taken.late
        if taken.unwritten:
            self._tally.faults[UNWRITTEN] += len(taken.unwritten)
        await self._runs.add(tx, self._run, **(counts + Counter(more)))
        await note_costs(tx, self._run.id, self._tally)


_IS_HERE = "SELECT id, archived_at IS NULL FROM crm_records WHERE kind = %s AND id = ANY(%s)"

"""Asking HubSpot again about single records: whom a webhook named, and who is looked at just now."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby

import msgspec

from muster.crm.asking import Answer, ask_about, settle, tie, ties_of
from muster.crm.fields import Kind
from muster.crm.hubspot import HubSpot
from muster.crm.hubspot_errors import HubSpotDown
from muster.crm.mirror import Mirror, Source, Taken
from muster.errors import Conflict, NotFound, SettingsError, VendorRefused
from muster.platform.database import Database, Transaction
from muster.platform.telemetry import logger

BATCH = 100
FEATURE = "webhooks"
REFRESH = "refresh"
_AT_A_PAGE_SECONDS = 10

WEBHOOK = "webhook"
PRIVACY = "privacy"
"""A contact wants to be forgotten."""

AFTER_EDIT = "edit"
"""It was read by others while an edit was written."""

_SOURCES = {WEBHOOK: Source.WEBHOOK, PRIVACY: Source.WEBHOOK, AFTER_EDIT: Source.REFRESH}


class Fresh(msgspec.Struct, frozen=True, kw_only=True):
    """A record as HubSpot holds it now. `id` is another than was asked for where that was merged."""

    id: str
    seen_at: datetime


class Waiting(msgspec.Struct, frozen=True):
    records: int
    oldest_at: datetime | None


class _Wish(msgspec.Struct, frozen=True):
    kind: Kind
    record_id: str
    wish: int
    because: str


class Rereads:
    def __init__(self, database: Database, hubspot: HubSpot, mirror: Mirror) -> None:
        self._database = database
        self._hubspot = hubspot
        self._mirror = mirror

    @staticmethod
    async def ask(tx: Transaction, kind: Kind, because: Mapping[str, str]) -> None:
        """Have these read again, soon after the commit if the job is nudged, else within half a minute.

        `because` is id → why. That somebody wants to be forgotten is not forgotten itself for another
        reason. Whoever asks about several kinds does so in the order of `Kind`: rows are locked.
        """
        await tx.execute(_ASK, [kind, list(because), list(because.values()), PRIVACY])

    async def waiting(self) -> Waiting:
        found = await self._database.row(
            Waiting, "SELECT count(*) AS records, min(asked_at) AS oldest_at FROM crm_rereads"
        )
        return found or Waiting(0, None)

    async def work_off(self) -> int:
        """Ask HubSpot about everything that was named until now, the longest waiting first; how many were.

        A wish that comes while its record is being read is kept for another turn, and so is one whose
        answer came later than something newer. What HubSpot refuses of
        one kind keeps no other waiting. Raises VendorError; what was answered is kept.
        """
        until = await self._mirror.number()
        done = 0
        refused: VendorRefused | None = None
        for kind in Kind:
            try:
                while wishes := await self._database.rows(_Wish, _WISHES, [kind, until, BATCH]):
                    await self._grant(kind, wishes)
                    done += len(wishes)
            except VendorRefused as error:
                logger.warning("records_not_reread", kind=kind, error=str(error))
                refused = error
        if refused:
            raise refused
        return done

    async def refresh(self, kind: Kind, record_id: str) -> Fresh:
        """Read one record and what it belongs to now, for somebody who waits.

        Raises NotFound where HubSpot has it no more, Conflict without a token, and VendorError.
        """
        hubspot = self._hubspot.for_(REFRESH).impatient()
        asked = await self._mirror.number()
        try:
            async with asyncio.timeout(_AT_A_PAGE_SECONDS):
                record = await hubspot.get(kind, record_id)
                ties_asked, ties = await ties_of(hubspot, self._mirror, kind, [record.id] if record else [])
        except TimeoutError as error:
            raise HubSpotDown("took too long to answer") from error
        except SettingsError as error:
            raise Conflict("HubSpot is not set up: HUBSPOT_TOKEN is not set.") from error
        async with self._database.transaction() as tx:
            if record is None:
                await self._mirror.archive(tx, kind, [record_id], asked=asked, source=Source.REFRESH)
            else:
                await self._mirror.take(tx, kind, [record], asked=asked, source=Source.REFRESH)
                await tie(self._mirror, tx, kind, ties, asked=ties_asked)
                if record.id != record_id:
                    await self._mirror.lead(
                        tx, kind, {record_id: record.id}, asked=asked, source=Source.REFRESH
                    )
        if record is None:
            raise NotFound(f"HubSpot has this {kind.one} no more.")
        seen_at = await self._database.value(
            "SELECT seen_at FROM crm_records WHERE kind = %s AND id = %s", [kind, record.id]
        )
        return Fresh(id=record.id, seen_at=seen_at)

    async def _grant(self, kind: Kind, wishes: Sequence[_Wish]) -> None:
        hubspot = self._hubspot.for_(FEATURE)
        answers: list[tuple[Answer, Source]] = []
        for because, some in groupby(sorted(wishes, key=_because), key=_because):
            source = _SOURCES.get(because, Source.SYNC)
            ids = [wish.record_id for wish in some]
            answers.append((await ask_about(hubspot, self._mirror, kind, ids), source))
        shy = {wish.record_id for wish in wishes if wish.because == PRIVACY}
        forgotten = [
            (record_id, answer.asked)
            for answer, _ in answers
            for record_id in answer.batch.missing
            # Somebody who is only archived may be restored.
            if record_id in shy and await hubspot.get(kind, record_id, archived=True) is None
        ]
        lost: set[str] = set()
        async with self._database.transaction() as tx:
            for answer, source in answers:
                taken, _ = await settle(self._mirror, tx, answer, source)
                lost |= await _lost(tx, answer, taken)
            for record_id, asked in forgotten:
                await self._mirror.forget(tx, kind, record_id, asked=asked)
            await tx.execute(_LOCK, [kind, [one.record_id for one in wishes]])
            for statement, is_lost in ((_DROP, False), (_AGAIN, True)):
                them = [one for one in wishes if (one.record_id in lost) is is_lost]
                await tx.execute(
                    statement, [[one.record_id for one in them], [one.wish for one in them], kind]
                )
        logger.info(
            "records_reread",
            kind=kind,
            there=sum(len(answer.batch.records) for answer, _ in answers),
            gone=sum(len(answer.batch.missing) for answer, _ in answers),
        )


async def _lost(tx: Transaction, answer: Answer, taken: Taken) -> set[str]:
    """Who was asked about and has something newer here, which need not hold what the answer held."""
    kept = await tx.column(
        "SELECT id FROM crm_records WHERE kind = %s AND id = ANY(%s) AND archived_at IS NULL",
        [answer.kind, answer.batch.missing],
    )
    led = {old for old, new in answer.batch.leads_to.items() if new in taken.late_ids}
    return {*taken.late_ids, *kept, *led}


def _because(wish: _Wish) -> str:
    return wish.because


_ASK = """
INSERT INTO crm_rereads AS held (kind, record_id, wish, because)
SELECT %s, record_id, nextval('crm_reads'), because
FROM unnest(%s::text[], %s::text[]) AS asked (record_id, because) ORDER BY record_id
ON CONFLICT (kind, record_id) DO UPDATE SET wish = excluded.wish,
    because = CASE WHEN held.because = %s THEN held.because ELSE excluded.because END
"""

# In the order in which they are asked for, lest the two wait for each other.
_LOCK = """
SELECT FROM crm_rereads WHERE kind = %s AND record_id = ANY(%s) ORDER BY record_id FOR UPDATE
"""

_DROP = """
DELETE FROM crm_rereads USING unnest(%s::text[], %s::bigint[]) AS granted (record_id, wish)
WHERE kind = %s AND crm_rereads.record_id = granted.record_id AND crm_rereads.wish = granted.wish
"""

# With a number of its own, so that it is the next turn's.
_AGAIN = """
UPDATE crm_rereads SET wish = nextval('crm_reads')
FROM unnest(%s::text[], %s::bigint[]) AS granted (record_id, wish)
WHERE kind = %s AND crm_rereads.record_id = granted.record_id AND crm_rereads.wish = granted.wish
"""

_WISHES = """
SELECT kind, record_id, wish, because FROM crm_rereads
WHERE kind = %s AND wish < %s ORDER BY wish LIMIT %s
"""

"""Busts that cannot be lost: written down with the change, made after it, and made again by the worker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import msgspec

from muster.errors import Refusal, Unavailable, VendorRefused
from muster.platform.cache import Cache
from muster.platform.database import Database, Transaction
from muster.platform.queue import Job, Work
from muster.platform.telemetry import logger

RELAY_EVERY = timedelta(seconds=5)
OUTSIDE_DEADLINE = timedelta(seconds=30)

LATE_EFFECT = timedelta(seconds=30)
"""How long after its deadline a write whose outcome nobody knows may still come to pass outside."""

_AT_ONCE = 200


@dataclass(slots=True)
class Announcement:
    """`is_told` once the cache knows, which is after the commit; till then others may read what was."""

    is_told: bool = False


class _Bust(msgspec.Struct, frozen=True):
    id: int
    tags: list[str]
    is_over: bool


class Waiting(msgspec.Struct, frozen=True):
    """`oldest_seconds` is since when the oldest could have been removed."""

    busts: int
    oldest_seconds: float


class Busts:
    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache

    def jobs(self) -> list[Job]:
        return [
            Job(
                name="cache.relay",
                queue="upkeep",
                run=self._relay,
                every=RELAY_EVERY,
                deadline=timedelta(seconds=20),
                attempts=1,
                at_once=1,
                idempotent="A bust that is made twice busts nothing more.",
            )
        ]

    async def announce(self, tx: Transaction, *tags: str) -> Announcement:
        """Have everything with one of `tags` busted once `tx` is committed, before its block is left.

        If Redis cannot be told then, that is no error: the change is kept, and the worker tells it. Whoever
        must know looks at what is returned.
        """
        announcement = Announcement()
        await tx.execute("INSERT INTO cache_busts (tags) VALUES (%s)", [list(tags)])
        tx.after_commit(partial(self._tell, tags, announcement))
        return announcement

    @asynccontextmanager
    async def around(self, *tags: str, deadline: timedelta = OUTSIDE_DEADLINE) -> AsyncIterator[Announcement]:
        """A write to an outside system, ended after `deadline`: busts before it, after it, and, where nobody
        knows how it went, until it cannot take effect any more.

        Raises Unavailable, and nothing is to be written, if that cannot be written down.
        """
        async with self._database.transaction() as tx:
            bust_id = await tx.value(
                "INSERT INTO cache_busts (tags, until) VALUES (%s, now() + %s) RETURNING id",
                [list(tags), deadline + LATE_EFFECT],
            )
        announcement, is_known = Announcement(), False
        await self._cache.bust(*tags)
        try:
            async with asyncio.timeout(deadline.total_seconds()):
                yield announcement
            is_known = True
        except (Refusal, VendorRefused):
            is_known = True
            raise
        finally:
            await self._tell(tags, announcement)
            if is_known:
                await self._over(bust_id)

    async def relay(self) -> int:
        """Bust again whatever was announced; how many there were. Raises Unavailable if it cannot be told.

        Every bust is made twice, then: the second is for those whose process died before the first, and
        for a Redis that forgot it when a replica took over.
        """
        told, last = 0, 0
        while waiting := await self._database.rows(
            _Bust,
            "SELECT id, tags, until <= clock_timestamp() AS is_over FROM cache_busts "
            "WHERE id > %s ORDER BY id LIMIT %s",
            [last, _AT_ONCE],
        ):
            if not await self._cache.bust(*{tag for one in waiting for tag in one.tags}):
                raise Unavailable("Redis does not answer: busts of the cache wait")
            over = [one.id for one in waiting if one.is_over]
            await self._database.execute("DELETE FROM cache_busts WHERE id = ANY(%s)", [over])
            told, last = told + len(waiting), waiting[-1].id
        return told

    async def waiting(self) -> Waiting:
        found = await self._database.row(
            Waiting,
            "SELECT count(*) AS busts, "
            "greatest(extract(epoch FROM clock_timestamp() - min(until)), 0)::float AS oldest_seconds "
            "FROM cache_busts",
        )
        return found or Waiting(0, 0)

    async def _tell(self, tags: Sequence[str], announcement: Announcement) -> None:
        announcement.is_told = await self._cache.bust(*tags)
        if not announcement.is_told:
            logger.warning("bust_not_told", tags=list(tags)[:10])

    async def _over(self, bust_id: int) -> None:
        with suppress(Unavailable):  # then its time passes by itself
            await self._database.execute(
                "UPDATE cache_busts SET until = clock_timestamp() WHERE id = %s", [bust_id]
            )

    async def _relay(self, work: Work) -> None:
        await self.relay()

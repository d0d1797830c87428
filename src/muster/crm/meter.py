"""What was asked of HubSpot, by day and by what it was for, and what is left of the day's allowance."""

import asyncio
import contextlib
from collections import Counter
from datetime import UTC, date, datetime, timedelta

import msgspec

from muster.errors import Unavailable
from muster.platform.database import Database

FLUSHED_EVERY = timedelta(seconds=5)


class FeatureCalls(msgspec.Struct, frozen=True, kw_only=True):
    """What one thing that asks HubSpot has cost today."""

    feature: str
    calls: int
    retried: int


class Allowance(msgspec.Struct, frozen=True, kw_only=True):
    """As HubSpot last said; the whole account shares it, other apps included."""

    daily_limit: int
    daily_left: int
    said_at: datetime


_Counted = tuple[date, str]


class Meter:
    """Counts in memory and writes every few seconds; a crash loses what was not written yet."""

    def __init__(self, database: Database, *, every: timedelta = FLUSHED_EVERY) -> None:
        self._database = database
        self._every = every
        self._calls: Counter[_Counted] = Counter()
        self._retried: Counter[_Counted] = Counter()
        self._said: Allowance | None = None
        self._used_up_at: datetime | None = None
        self.scope_lacked_at: datetime | None = None
        self._writing = asyncio.Lock()
        self._timer: asyncio.Task[None] | None = None

    def called(self, feature: str) -> None:
        self._calls[_today(), feature] += 1
        self._flush_soon()

    def retried(self, feature: str) -> None:
        """A call that failed and is made again."""
        self._retried[_today(), feature] += 1
        self._flush_soon()

    def said(self, *, daily_limit: int, daily_left: int) -> None:
        self._said = Allowance(daily_limit=daily_limit, daily_left=daily_left, said_at=datetime.now(UTC))
        self._flush_soon()

    def used_up(self) -> None:
        """HubSpot refuses all calls for the rest of the day; such an answer has no figures."""
        self._used_up_at = datetime.now(UTC)
        self._flush_soon()

    def lacked_scope(self) -> None:
        """The token may not do what was asked; told in this process only."""
        self.scope_lacked_at = datetime.now(UTC)

    async def flush(self) -> None:
        """Raises Unavailable; what could not be written is kept for the next time."""
        async with self._writing:
            calls, self._calls = self._calls, Counter()
            retried, self._retried = self._retried, Counter()
            said, self._said = self._said, None
            used_up_at, self._used_up_at = self._used_up_at, None
            if not (calls or retried or said or used_up_at):
                return
            is_written = False
            try:
                await self._write(calls, retried, said, used_up_at)
                is_written = True
            finally:
                if not is_written:
                    self._put_back(calls, retried, said, used_up_at)

    async def today(self) -> list[FeatureCalls]:
        """The costliest first, with what all processes have written and this one is about to."""
        await self.flush()
        return await self._database.rows(
            FeatureCalls,
            "SELECT feature, calls, retried FROM crm_calls WHERE day = %s ORDER BY calls DESC, feature",
            [_today()],
        )

    async def allowance(self) -> Allowance | None:
        """None until HubSpot has answered for the first time."""
        await self.flush()
        return await self._database.row(
            Allowance, "SELECT daily_limit, daily_left, said_at FROM crm_allowance"
        )

    async def close(self) -> None:
        """Write what is left, if the database takes it."""
        if self._timer:
            self._timer.cancel()
            await asyncio.wait([self._timer])
        with contextlib.suppress(Unavailable):
            await self.flush()

    async def _write(
        self,
        calls: Counter[_Counted],
        retried: Counter[_Counted],
        said: Allowance | None,
        used_up_at: datetime | None,
    ) -> None:
        async with self._database.transaction() as tx:
            # In one order, so that two processes do not wait for each other.
            for day, feature in sorted(calls.keys() | retried.keys()):
                await tx.execute(
                    "INSERT INTO crm_calls (day, feature, calls, retried) VALUES (%s, %s, %s, %s)"
                    " ON CONFLICT (day, feature) DO UPDATE SET calls = crm_calls.calls + excluded.calls,"
                    " retried = crm_calls.retried + excluded.retried",
                    [day, feature, calls[day, feature], retried[day, feature]],
                )
            if said:
                await tx.execute(
                    "INSERT INTO crm_allowance (daily_limit, daily_left, said_at) VALUES (%s, %s, %s)"
                    " ON CONFLICT (is_only) DO UPDATE SET daily_limit = excluded.daily_limit,"
                    " daily_left = excluded.daily_left, said_at = excluded.said_at"
                    " WHERE crm_allowance.said_at < excluded.said_at",
                    [said.daily_limit, said.daily_left, said.said_at],
                )
            if used_up_at:
                await tx.execute(
                    "UPDATE crm_allowance SET daily_left = 0, said_at = %(at)s WHERE said_at < %(at)s",
                    {"at": used_up_at},
                )

    def _put_back(
        self,
        calls: Counter[_Counted],
        retried: Counter[_Counted],
        said: Allowance | None,
        used_up_at: datetime | None,
    ) -> None:
        """Beside what was counted meanwhile."""
        self._calls.update(calls)
        self._retried.update(retried)
        self._said = self._said or said
        self._used_up_at = self._used_up_at or used_up_at

    def _flush_soon(self) -> None:
        if self._timer is None or self._timer.done():
            self._timer = asyncio.create_task(self._flush_later())

    async def _flush_later(self) -> None:
        await asyncio.sleep(self._every.total_seconds())
        while self._calls or self._retried or self._said or self._used_up_at:
            with contextlib.suppress(Unavailable):
                await self.flush()
            await asyncio.sleep(self._every.total_seconds())


def _today() -> date:
    """HubSpot's day ends at midnight of the account's own time zone; ours is counted in UTC."""
    return datetime.now(UTC).date()

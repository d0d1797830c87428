"""Whether Redis answers the cache, and what it must be told before it is believed again."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from muster.errors import Unavailable
from muster.platform.redis import answering
from muster.platform.telemetry import logger

ANSWERS_WITHIN = timedelta(seconds=0.5)
PAUSE = timedelta(seconds=1)

Said = TypeVar("Said")


class Line:
    """Lost with the first failure, so that the next callers do not wait; tried again after a pause, by one
    of them. It is whole again only once what was cached is void, since a bust may have been missed.
    """

    def __init__(self, *, answers_within: timedelta = ANSWERS_WITHIN, pause: timedelta = PAUSE) -> None:
        self._answers_within = answers_within.total_seconds()
        self._pause = pause.total_seconds()
        self._losses = 0
        self._lost_at: float | None = None
        self._try_at = 0.0
        self._owes_bust = False
        self._mending = asyncio.Lock()

    @property
    def is_lost(self) -> bool:
        return self._lost_at is not None

    def owe(self) -> None:
        """A bust of ours did not come through."""
        self._lose()
        self._owes_bust = True

    async def ask(self, call: Callable[[], Awaitable[Said]]) -> Said:
        """Raises Unavailable, also where the line was lost for others meanwhile: what Redis said to us may be
        from before a bust that did not come through.
        """
        losses = self._losses
        said = await self._asked(call)
        if self._losses != losses:
            raise Unavailable("Redis was lost meanwhile")
        return said

    async def mend(self, void: Callable[[timedelta], Awaitable[None]], *, is_patient: bool = False) -> bool:
        """Whether the line is whole again. Who `is_patient` tries before the pause is over, and waits for
        whoever is trying.
        """
        if not is_patient and (self._mending.locked() or time.monotonic() < self._try_at):
            return False
        async with self._mending:
            if self._lost_at is None:
                return True
            self._try_at = time.monotonic() + self._pause
            losses, lost_for = self._losses, time.monotonic() - self._lost_at
            within = timedelta(0) if self._owes_bust else timedelta(seconds=lost_for)
            await self._asked(lambda: void(within))
            if self._losses != losses:
                return False
            self._lost_at, self._owes_bust = None, False
            logger.info("cache_found_again", seconds=round(lost_for, 1))
            return True

    async def _asked(self, call: Callable[[], Awaitable[Said]]) -> Said:
        try:
            with answering():
                async with asyncio.timeout(self._answers_within):
                    return await call()
        except Unavailable:
            self._lose()
            raise

    def _lose(self) -> None:
        self._losses += 1
        now = time.monotonic()
        self._try_at = now + self._pause
        if self._lost_at is None:
            self._lost_at = now
            logger.warning("cache_lost")

"""How fast Google may be asked: as fast as its quota allows, slower while it says "too much"."""

import asyncio
import time
from collections.abc import Awaitable, Callable

PER_MINUTE = 2_400
"""Google's own limit, by user and minute: https://developers.google.com/workspace/admin/directory/v1/limits"""

_SHARE = 0.95  # the rest is for whoever else uses the project
_BURST_SHARE = 0.25
_SLOWEST = 0.5
_RECOVERY_SECONDS = 60


class Throttle:
    """Turns, given out evenly at `rate` a second after a burst; in no minute more than `per_minute`.

    A refusal halves the rate and ends the burst, once a second at most, since calls are refused in flocks; a
    minute without one brings both back. Each process has its own: Google's refusals tell them of each other.
    """

    def __init__(
        self,
        per_minute: float = PER_MINUTE * _SHARE,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._fastest = per_minute * (1 - _BURST_SHARE) / 60
        self._burst_seconds = per_minute * _BURST_SHARE / self._fastest
        self._refused_at = -1.0
        self._rate = self._fastest
        self._due = 0.0  # when an even flow would have the next turn
        self._adjusted_at = clock()

    @property
    def rate(self) -> float:
        """Calls a second."""
        return self._rate

    async def turn(self) -> float:
        """Wait for one's turn; the seconds it took."""
        now = self._clock()
        self._recover(now)
        burst = self._burst_seconds if self._rate >= self._fastest else 0.0
        due = max(self._due, now - burst)
        self._due = due + 1 / self._rate
        wait = max(0.0, due - now)
        if wait:
            await self._sleep(wait)
        return wait

    def refused(self) -> None:
        """Google said that it was too much."""
        now = self._clock()
        self._recover(now)
        if now - self._refused_at < 1:
            return
        self._refused_at = now
        self._rate = max(_SLOWEST, self._rate / 2)
        self._due = max(self._due, now)

    def _recover(self, now: float) -> None:
        passed, self._adjusted_at = now - self._adjusted_at, now
        if self._rate < self._fastest:
            self._rate = min(self._fastest, self._rate + self._fastest * passed / _RECOVERY_SECONDS)

"""How fast Google may be asked: as fast as its quota allows, slower while it says "too much"."""

import asyncio
import time
from collections.abc import Callable

PER_MINUTE = 2_400
"""Google's own limit, by user and minute: https://developers.google.com/workspace/admin/directory/v1/limits"""

_SHARE = 0.9  # the rest is for whoever else uses the project
_BURST_SECONDS = 30
_SLOWEST = 0.5
_RECOVERY_SECONDS = 60


class Throttle:
    """Turns, given out evenly at `rate` a second after a burst that the quota's minute has room for.

    Each refusal halves the rate and ends the burst; a minute without one brings both back.
    """

    def __init__(
        self, per_minute: float = PER_MINUTE * _SHARE, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._fastest = per_minute / 60
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
        burst = _BURST_SECONDS if self._rate >= self._fastest else 0.0
        due = max(self._due, now - burst)
        self._due = due + 1 / self._rate
        wait = max(0.0, due - now)
        if wait:
            await asyncio.sleep(wait)
        return wait

    def refused(self) -> None:
        """Google said that it was too much."""
        now = self._clock()
        self._recover(now)
        self._rate = max(_SLOWEST, self._rate / 2)
        self._due = max(self._due, now)

    def _recover(self, now: float) -> None:
        passed, self._adjusted_at = now - self._adjusted_at, now
        if self._rate < self._fastest:
            self._rate = min(self._fastest, self._rate + self._fastest * passed / _RECOVERY_SECONDS)

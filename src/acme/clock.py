"""The tenant's clock: real time plus the days a script has moved it on."""

import time

from acme.people import DAY


class Clock:
    def __init__(self) -> None:
        self._ahead_days = 0

    def now(self) -> int:
        """Seconds since 1970."""
        return int(time.time()) + self._ahead_days * DAY

    def now_ms(self) -> int:
        """The same in milliseconds, which is what HubSpot counts in."""
        return time.time_ns() // 1_000_000 + self._ahead_days * DAY * 1_000

    def advance(self, days: int) -> None:
        self._ahead_days += days

    def reset(self) -> None:
        self._ahead_days = 0

"""The quota of the Directory API, where a script sets one: so many calls of a user in any minute."""

import time
from collections import deque

from acme.google_error import GoogleError

_MINUTE_SECONDS = 60


class Quota:
    def __init__(self) -> None:
        self.per_minute: int | None = None
        self._taken: dict[str, deque[float]] = {}

    def limit(self, per_minute: int | None) -> None:
        """Counting starts again; None for no limit."""
        self.per_minute = per_minute
        self._taken.clear()

    def take(self, user: str) -> None:
        """Raises GoogleError 403. Calls that were refused do not count."""
        if self.per_minute is None:
            return
        now = time.monotonic()
        taken = self._taken.setdefault(user, deque())
        while taken and taken[0] <= now - _MINUTE_SECONDS:
            taken.popleft()
        if len(taken) >= self.per_minute:
            raise GoogleError(403, "rateLimitExceeded", "Rate Limit Exceeded", "usageLimits")
        taken.append(now)

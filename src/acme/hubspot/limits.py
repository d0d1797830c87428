"""How much may be asked: so many calls in ten seconds, so many searches a second, so many calls a day."""

import time
from collections import deque
from math import ceil
from uuid import uuid4

import msgspec
from starlette.responses import Response

from acme.clock import Clock
from acme.hubspot.errors import answer
from acme.hubspot.moments import DAY

_BURST_SECONDS = 10.0
_SEARCH_SECONDS = 1.0


class Bounds(msgspec.Struct, forbid_unknown_fields=True):
    """None for as much as anybody likes. `retry_after`: "always", "never", or at every second refusal."""

    burst: int | None = 190
    search: int | None = 5
    daily: int | None = 650_000
    policy: str = "TEN_SECONDLY_ROLLING"
    retry_after: str = "sometimes"


class Limits:
    def __init__(self, clock: Clock, *, is_off: bool) -> None:
        self._clock = clock
        self._is_off = is_off
        self.rewound()

    def rewound(self) -> None:
        self.bounds = Bounds(None, None, None) if self._is_off else Bounds()
        self.refused = {"DAILY": 0, "TEN_SECONDLY": 0, "SECONDLY": 0}
        self.calls = 0
        self._day, self.today = 0, 0
        self._burst: deque[float] = deque()
        self._searches: deque[float] = deque()

    def bound(self, bounds: Bounds) -> None:
        """Counting starts again, but for the day."""
        self.bounds = bounds
        self._burst.clear()
        self._searches.clear()

    def spend(self, calls: int) -> None:
        """As if other programs of the account had asked so much today."""
        self._turn_day()
        self.today += calls

    @property
    def resets_at(self) -> int:
        return (self._clock.now_ms() // DAY + 1) * DAY

    def take(self, *, is_search: bool) -> Response | None:
        """A refusal, where there is reason for one. Searches count for the day, not for the burst."""
        self.calls += 1
        self._turn_day()
        bounds = self.bounds
        if bounds.daily is not None and self.today >= bounds.daily:
            return self._refusal("DAILY")
        if is_search:
            if not _fits(self._searches, bounds.search, _SEARCH_SECONDS):
                return self._refusal("SECONDLY")
        elif not _fits(self._burst, bounds.burst, _BURST_SECONDS):
            return self._refusal(bounds.policy)
        self.today += 1
        return None

    def add_headers(self, response: Response) -> None:
        bounds = self.bounds
        if bounds.daily is not None:
            response.headers["X-HubSpot-RateLimit-Daily"] = str(bounds.daily)
            response.headers["X-HubSpot-RateLimit-Daily-Remaining"] = str(max(0, bounds.daily - self.today))
        if bounds.burst is not None:
            left = bounds.burst - len(self._burst)
            response.headers["X-HubSpot-RateLimit-Interval-Milliseconds"] = "10000"
            response.headers["X-HubSpot-RateLimit-Max"] = str(bounds.burst)
            response.headers["X-HubSpot-RateLimit-Remaining"] = str(max(0, left))

    def _turn_day(self) -> None:
        if (day := self._clock.now_ms() // DAY) != self._day:
            self._day, self.today = day, 0

    def _refusal(self, policy: str) -> Response:
        name = "TEN_SECONDLY" if policy.startswith("TEN_SECONDLY") else policy
        self.refused[name] = self.refused.get(name, 0) + 1
        response = answer(
            {
                "status": "error",
                "message": f"You have reached your {policy.lower()} limit.",
                "errorType": "RATE_LIMIT",
                "correlationId": str(uuid4()),
                "policyName": policy,
                "groupName": "publicapi:private-apps",
            },
            429,
        )
        if self._says_when(sum(self.refused.values())):
            response.headers["Retry-After"] = str(self._seconds_left(name))
        return response

    def _seconds_left(self, policy: str) -> int:
        """Until there is room for one more, in whole seconds."""
        if policy == "DAILY":
            return (self.resets_at - self._clock.now_ms()) // 1_000
        if policy == "TEN_SECONDLY" and self._burst:
            return max(1, ceil(self._burst[0] + _BURST_SECONDS - time.monotonic()))
        return 1

    def _says_when(self, refusals: int) -> bool:
        if self.bounds.retry_after == "sometimes":
            return refusals % 2 == 0
        return self.bounds.retry_after == "always"


def _fits(taken: deque[float], most: int | None, seconds: float) -> bool:
    """Takes one, if there is one left. Calls that were refused do not count."""
    if most is None:
        return True
    now = time.monotonic()
    while taken and taken[0] <= now - seconds:
        taken.popleft()
    if len(taken) >= most:
        return False
    taken.append(now)
    return True

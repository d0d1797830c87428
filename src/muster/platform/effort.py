"""What the request or job at hand has cost so far: queries, trips to Redis, and the time they took."""

from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

_REMEMBERED = 20


@dataclass(slots=True)
class Effort:
    """Of one piece of work, all the tasks it started included. `lines` are the last ones it logged."""

    queries: int = 0
    query_seconds: float = 0.0
    trips: int = 0
    trip_seconds: float = 0.0
    lines: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def told(self) -> dict[str, float]:
        """For the one line about it."""
        return {
            "queries": self.queries,
            "queriesMs": round(self.query_seconds * 1000, 1),
            "redisTrips": self.trips,
            "redisMs": round(self.trip_seconds * 1000, 1),
        }


_at_hand: ContextVar[Effort | None] = ContextVar("effort", default=None)


def begin() -> Effort:
    effort = Effort()
    _at_hand.set(effort)
    return effort


def at_hand() -> Effort | None:
    return _at_hand.get()


def queried(started: float) -> None:
    """A query that began at `perf_counter()` has ended, however it did."""
    if effort := _at_hand.get():
        effort.queries += 1
        effort.query_seconds += perf_counter() - started


def tripped(started: float) -> None:
    """Redis was asked something, likewise."""
    if effort := _at_hand.get():
        effort.trips += 1
        effort.trip_seconds += perf_counter() - started

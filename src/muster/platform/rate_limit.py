"""How often one caller may do a class of thing: GCRA, counted in Redis for all processes together."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """`times` per `per`, all of which may come at once; `name` is shared by every route of the class."""

    name: str
    times: int
    per: timedelta

    @property
    def interval_ms(self) -> float:
        return self.per.total_seconds() * 1000 / self.times


READING = Limit(name="read", times=600, per=timedelta(minutes=1))
WRITING = Limit(name="write", times=120, per=timedelta(minutes=1))
SIGNING_IN = Limit(name="signin", times=300, per=timedelta(minutes=1))
"""By address, and a whole company may come from one in the morning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Allowance:
    """What the limit left of it."""

    limit: Limit
    granted: bool
    remaining: int
    retry_after: timedelta

    def headers(self) -> list[tuple[bytes, bytes]]:
        """`RateLimit` fields as the IETF draft writes them, `Retry-After` when refused."""
        seconds = int(self.limit.per.total_seconds())
        wait = max(1, round(self.retry_after.total_seconds()))
        policy = f'"{self.limit.name}";q={self.limit.times};w={seconds}'
        left = f'"{self.limit.name}";r={self.remaining};t={0 if self.granted else wait}'
        headers = [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]
        return headers if self.granted else [*headers, (b"retry-after", str(wait).encode())]

"""How often one caller may do a class of thing: GCRA, counted in Redis for all processes together."""

import ipaddress
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit:
    """`times` per `per`, all of which may come at once; `name` is shared by every route of the class.

    One that `fails_open` lets callers pass uncounted while Redis does not answer.
    """

    name: str
    times: int
    per: timedelta
    fails_open: bool

    @property
    def interval_ms(self) -> float:
        return self.per.total_seconds() * 1000 / self.times


READING = Limit(name="read", times=600, per=timedelta(minutes=1), fails_open=True)
WRITING = Limit(name="write", times=120, per=timedelta(minutes=1), fails_open=False)
TRYING_TOKENS = Limit(name="token", times=3000, per=timedelta(minutes=1), fails_open=True)
"""By address, before the database is asked whose a token is."""

SIGNING_IN = Limit(name="signin", times=300, per=timedelta(minutes=1), fails_open=False)
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


def caller_at(address: str) -> str:
    """Who somebody without an account is counted as. One customer of a provider has a whole IPv6 /64
    (https://www.rfc-editor.org/rfc/rfc6177), and would otherwise have an allowance for each address in it.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return f"address:{address}"
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)).network_address
    return f"address:{parsed}"

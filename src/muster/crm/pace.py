"""How fast HubSpot may be asked: two buckets in Redis, out of which all processes take their turns.

https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Literal

import msgspec

from muster.crm.hubspot_errors import HubSpotDown
from muster.errors import Unavailable
from muster.platform.redis import CACHE, Redis, answering

LONGEST_WAIT = timedelta(seconds=30)
LIFE = timedelta(minutes=5)

Bucket = Literal["general", "search"]

_SHARE = 0.95  # of HubSpot's limit: its window is measured at its end, where calls arrive less evenly
_BURST_SHARE = 0.4
_AWAY_SHARE = 0.25  # without Redis nobody knows how many other processes ask
_AWAY_SECONDS = 5.0

_TURN = """
local time = redis.call('TIME')
local now = time[1] * 1000 + time[2] / 1000
local interval, burst, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now - burst)
local wait = math.max(0, due - now)
if wait <= longest then
  redis.call('SET', KEYS[1], string.format('%.3f', due + interval), 'PX', ARGV[4])
end
return math.ceil(wait)
"""
"""KEYS: the bucket, which holds when an even flow would have the next turn. ARGV: milliseconds between turns,
how far the flow may run ahead, the longest wait, the bucket's life. Who would wait longer takes no turn.
"""

_PAUSE = """
local time = redis.call('TIME')
local due = time[1] * 1000 + time[2] / 1000 + tonumber(ARGV[1])
if due > tonumber(redis.call('GET', KEYS[1]) or 0) then
  redis.call('SET', KEYS[1], string.format('%.3f', due), 'PX', ARGV[2])
end
return 1
"""


class Rate(msgspec.Struct, frozen=True):
    """So many calls in so many milliseconds, `burst_calls` of which may come at once."""

    calls: float
    milliseconds: float
    burst_calls: float

    @property
    def interval_ms(self) -> float:
        """What comes at once and what follows evenly stay within the limit of any one window together."""
        return self.milliseconds / max(self.calls - self.burst_calls, 0.1)

    @property
    def burst_ms(self) -> float:
        return max(0.0, self.burst_calls - 1) * self.interval_ms

    def slowed(self, share: float) -> "Rate":
        return Rate(self.calls * share, self.milliseconds, self.burst_calls * share)


def general(most: float, milliseconds: float) -> Rate:
    calls = most * _SHARE
    return Rate(calls, milliseconds, calls * _BURST_SHARE)


PRIVATE_APP = general(100, 10_000)
"""The smallest limit there is; HubSpot's answers say how much larger this account's is."""

SEARCH = Rate(4, 1_000, 0)
"""Of five a second, and never two at once: searches carry no headers, and the account has one limit."""


class Pace:
    def __init__(
        self,
        redis: Redis,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`redis` had better fail fast (`connect_briefly`)."""
        self._turn = redis.register_script(_TURN)
        self._pause = redis.register_script(_PAUSE)
        self._clock = clock
        self._sleep = sleep
        self._rates: dict[Bucket, Rate] = {"general": PRIVATE_APP, "search": SEARCH}
        self._due: dict[Bucket, float] = {"general": 0.0, "search": 0.0}
        self._away_until = 0.0

    def rate(self, bucket: Bucket) -> Rate:
        return self._rates[bucket]

    def learn(self, most: int, milliseconds: int) -> None:
        """What HubSpot says the limit is."""
        if most > 0 and milliseconds > 0:
            self._rates["general"] = general(most, milliseconds)

    async def turn(self, bucket: Bucket) -> float:
        """Wait for one's turn; the seconds it took. Raises HubSpotDown when that would be too long."""
        wait_ms = await self._taken(bucket)
        if wait_ms > LONGEST_WAIT / timedelta(milliseconds=1):
            raise HubSpotDown(f"the next call may be made in {wait_ms / 1000:.0f} s only", reason="pace")
        if wait_ms:
            await self._sleep(wait_ms / 1000)
        return wait_ms / 1000

    async def refused(self, bucket: Bucket, seconds: float) -> None:
        """HubSpot said that it was too much: nobody asks again for `seconds`."""
        pause_ms = min(seconds, LONGEST_WAIT.total_seconds()) * 1000
        self._due[bucket] = max(self._due[bucket], self._now_ms() + pause_ms)
        if self._clock() < self._away_until:
            return
        try:
            with answering():
                await self._pause(keys=[_bucket_key(bucket)], args=[pause_ms, _ms(LIFE)])
        except Unavailable:
            self._away_until = self._clock() + _AWAY_SECONDS

    async def _taken(self, bucket: Bucket) -> float:
        if self._clock() >= self._away_until:
            rate = self._rates[bucket]
            args = [rate.interval_ms, rate.burst_ms, _ms(LONGEST_WAIT), _ms(LIFE)]
            try:
                with answering():
                    return float(await self._turn(keys=[_bucket_key(bucket)], args=args))
            except Unavailable:
                self._away_until = self._clock() + _AWAY_SECONDS
        return self._taken_here(bucket)

    def _taken_here(self, bucket: Bucket) -> float:
        """Without Redis: out of a bucket of this process alone."""
        rate, now = self._rates[bucket].slowed(_AWAY_SHARE), self._now_ms()
        due = max(self._due[bucket], now - rate.burst_ms)
        wait = max(0.0, due - now)
        if wait <= _ms(LONGEST_WAIT):
            self._due[bucket] = due + rate.interval_ms
        return float(math.ceil(wait))

    def _now_ms(self) -> float:
        return self._clock() * 1000


def _bucket_key(bucket: Bucket) -> str:
    return f"{CACHE}hubspot:{bucket}"


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)

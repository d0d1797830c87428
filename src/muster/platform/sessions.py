"""Sessions under `sess:`, and the one trip to Redis that admits a request.

A session is a hash at `sess:{sha256 of its id}`; the id itself is only ever in the cookie, so a
copy of Redis signs nobody in. It ends 24 hours after sign-in whatever happens, after an hour
without a request, and when it is ended by hand. `sess:account:{id}` lists an account's sessions.
"""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from muster.platform.rate_limit import Allowance, Limit
from muster.platform.redis import CACHE, SESSIONS, Redis, answering

LIFETIME = timedelta(hours=24)
IDLE = timedelta(hours=1)

_SEEN_EVERY = timedelta(seconds=10)
"""How exact "last seen" is; writing it on every request would put each one in Redis's log."""

_RATE_KEY_TTL = timedelta(minutes=5)
"""Rate keys live under `cache:`, whose entries live 5 to 60 minutes."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in: whose, and from where. What its role may do is decided anew at every request."""

    account_id: int
    email: str
    name: str
    role: str
    started_at: datetime
    user_agent: str = ""
    address: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """The answer of the one trip: who this is, if anyone, and whether they may go on."""

    session: Session | None
    allowance: Allowance


_ADMIT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local caller, body = ARGV[1], false
if KEYS[1] ~= '' then
  local found = redis.call('HMGET', KEYS[1], 'session', 'account', 'seen')
  if found[1] then
    local quiet = now - tonumber(found[3])
    if quiet > tonumber(ARGV[2]) then
      redis.call('DEL', KEYS[1])
    else
      body, caller = found[1], 'account:' .. found[2]
      if quiet > tonumber(ARGV[3]) then redis.call('HSET', KEYS[1], 'seen', now) end
    end
  end
end
local key = ARGV[4] .. caller
local interval, times = tonumber(ARGV[5]), tonumber(ARGV[6])
local due = math.max(tonumber(redis.call('GET', key) or 0), now) + interval
local wait = due - now - interval * times
if wait > 0 then return {body, 0, 0, math.ceil(wait)} end
redis.call('SET', key, tostring(due), 'PX', math.max(tonumber(ARGV[7]), math.ceil(due - now)))
return {body, 1, math.floor(-wait / interval), 0}
"""

_START = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'session', ARGV[1], 'account', ARGV[2], 'seen', now)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
for _, other in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  if redis.call('EXISTS', other) == 0 then redis.call('SREM', KEYS[2], other) end
end
redis.call('SADD', KEYS[2], KEYS[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return now
"""

_END_ALL = """
local ended = 0
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do ended = ended + redis.call('DEL', key) end
redis.call('DEL', KEYS[1])
return ended
"""


_COUNT = """
local alive = 0
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do alive = alive + redis.call('EXISTS', key) end
return alive
"""


class Sessions:
    def __init__(self, redis: Redis, *, idle: timedelta = IDLE, lifetime: timedelta = LIFETIME) -> None:
        self._redis = redis
        self._idle = idle
        self._lifetime = lifetime
        self._admit = redis.register_script(_ADMIT)
        self._start = redis.register_script(_START)
        self._end_all = redis.register_script(_END_ALL)
        self._count = redis.register_script(_COUNT)

    @property
    def lifetime(self) -> timedelta:
        return self._lifetime

    async def start(self, session: Session) -> str:
        """A new session; what is returned goes into the cookie and nowhere else."""
        session_id = secrets.token_urlsafe(32)
        with answering():
            await self._start(
                keys=[session_key(session_id), _account_key(session.account_id)],
                args=[msgspec.json.encode(session), session.account_id, _ms(self._lifetime)],
            )
        return session_id

    async def admit(self, session_id: str | None, address: str, limit: Limit) -> Admission:
        """Read the session, count the request against `limit`, both in one trip.

        A signed-in caller is counted by account, anyone else by address.
        """
        with answering():
            body, granted, remaining, wait_ms = await self._admit(
                keys=[session_key(session_id) if session_id else ""],
                args=[
                    f"address:{address}",
                    _ms(self._idle),
                    _ms(_SEEN_EVERY),
                    f"{CACHE}rate:{limit.name}:",
                    limit.interval_ms,
                    limit.times,
                    _ms(_RATE_KEY_TTL),
                ],
            )
        return Admission(
            session=_session(body) if body else None,
            allowance=Allowance(
                limit=limit,
                granted=bool(granted),
                remaining=remaining,
                retry_after=timedelta(milliseconds=wait_ms),
            ),
        )

    async def end(self, session_id: str) -> bool:
        """Whether there was such a session to end."""
        with answering():
            return bool(await self._redis.delete(session_key(session_id)))

    async def count(self, account_id: int) -> int:
        """How many sessions of the account are alive."""
        with answering():
            return int(await self._count(keys=[_account_key(account_id)]))

    async def end_all(self, account_id: int) -> int:
        """How many sessions of the account were ended."""
        with answering():
            return int(await self._end_all(keys=[_account_key(account_id)]))


def _session(body: bytes) -> Session | None:
    """None for one that another release wrote in another shape: its owner signs in again."""
    try:
        return msgspec.json.decode(body, type=Session)
    except msgspec.DecodeError:
        return None


def session_key(session_id: str) -> str:
    return SESSIONS + hashlib.sha256(session_id.encode()).hexdigest()


def _account_key(account_id: int) -> str:
    return f"{SESSIONS}account:{account_id}"


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)

"""Sessions under `sess:`, and the one trip to Redis that admits a request.

A session is a hash at `sess:{sha256 of its id}`; the id itself is only ever in the cookie, so a
copy of Redis signs nobody in. It ends 24 hours after sign-in whatever happens, after an hour
without a request, and when it is ended by hand. When its owner's rights have changed it gets
another id; the old one holds for a few seconds, for requests that are on their way.

`sess:account:{id}` lists an account's sessions, `sess:all` everybody's by the time of sign-in.
"""

import hashlib
import re
import secrets
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from muster.platform.rate_limit import Allowance, Limit
from muster.platform.redis import CACHE, SESSIONS, Redis, answering
from muster.platform.rights_cache import epoch_key, rights_key

LIFETIME = timedelta(hours=24)
IDLE = timedelta(hours=1)
GRACE = timedelta(seconds=10)
"""How long an id that was replaced still holds."""

MOST_OF_ONE = 50
"""Sessions of one account: the one that was unseen for longest gives way to a new one."""

_SEEN_EVERY = timedelta(seconds=10)
"""How exact "last seen" is; writing it on every request would put each one in Redis's log."""

_RATE_KEY_TTL = timedelta(minutes=5)
"""Rate keys live under `cache:`, whose entries live 5 to 60 minutes."""

_BATCH = 200
_NAME = re.compile(r"[0-9a-f]{64}")


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in: whose, when and from where. `sign_in` stays when the session gets another id, so
    that the forms of open pages still hold.
    """

    account_id: int
    sign_in: str
    started_at: datetime
    user_agent: str = ""
    address: str = ""


class OpenSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session as lists show it; `id` names it and opens nothing."""

    id: str
    session: Session
    seen_at: datetime
    ends_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Place:
    """Where a session stands in the list of all: by its start, in milliseconds since the epoch, and name."""

    ms: int
    name: str

    @classmethod
    def of(cls, one: OpenSession) -> "Place":
        return cls(ms=_epoch_ms(one.session.started_at), name=one.id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Admission:
    """The answer of the one trip: who this is, if anyone, and whether they may go on.

    `rights` is what the cache holds of the account, None if it has to be read; `stamp` is of the
    rights that the session was last given an id for.
    """

    session: Session | None
    rights: bytes | None
    stamp: str
    allowance: Allowance


# What another has written there with a wrong type counts as missing: by one key nobody is locked out.
_ADMIT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local caller, body, rights, stamp = ARGV[1], false, false, ''
if KEYS[1] ~= '' then
  local found = redis.pcall('HMGET', KEYS[1], 'session', 'account', 'seen', 'stamp')
  if found[1] then
    local quiet = now - tonumber(found[3])
    if quiet > tonumber(ARGV[2]) then
      redis.call('DEL', KEYS[1])
    else
      body, caller, stamp = found[1], 'account:' .. found[2], found[4] or ''
      if quiet > tonumber(ARGV[3]) then redis.call('HSET', KEYS[1], 'seen', now) end
      local kept = redis.pcall('HMGET', ARGV[8] .. found[2], 'body', 'epoch')
      if kept[1] and kept[2] == redis.pcall('GET', KEYS[2]) then rights = kept[1] end
    end
  end
end
local key = ARGV[4] .. caller
local interval, times = tonumber(ARGV[5]), tonumber(ARGV[6])
local counted = redis.pcall('GET', key)
local due = math.max(type(counted) == 'string' and tonumber(counted) or 0, now) + interval
local wait = due - now - interval * times
if wait > 0 then return {body, rights, stamp, 0, 0, math.ceil(wait)} end
redis.call('SET', key, tostring(due), 'PX', math.max(tonumber(ARGV[7]), math.ceil(due - now)))
return {body, rights, stamp, 1, math.floor(-wait / interval), 0}
"""

_START = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], 'session', ARGV[1], 'account', ARGV[2], 'seen', now, 'stamp', ARGV[4],
  'sign_in', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local alive, longest_unseen, since = 0, false, math.huge
for _, other in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  local seen = tonumber(redis.call('HGET', other, 'seen') or -1)
  if seen < 0 then
    redis.call('SREM', KEYS[2], other)
  else
    alive = alive + 1
    if seen < since then longest_unseen, since = other, seen end
  end
end
if alive >= tonumber(ARGV[7]) then
  redis.call('DEL', longest_unseen)
  redis.call('SREM', KEYS[2], longest_unseen)
  redis.call('ZREM', KEYS[3], longest_unseen)
end
redis.call('SADD', KEYS[2], KEYS[1])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[3])
redis.call('ZADD', KEYS[3], ARGV[5], KEYS[1])
redis.call('PEXPIRE', KEYS[3], ARGV[3])
return now
"""

_ROTATE = """
local found = redis.call('HMGET', KEYS[1], 'session', 'account', 'seen', 'replaced', 'sign_in')
local left = redis.call('PTTL', KEYS[1])
if not found[1] or found[4] or left <= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], 'session', found[1], 'account', found[2], 'seen', found[3], 'stamp', ARGV[1],
  'sign_in', found[5])
redis.call('PEXPIRE', KEYS[2], left)
redis.call('HSET', KEYS[1], 'replaced', KEYS[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SADD', KEYS[3], KEYS[2])
redis.call('ZADD', KEYS[4], redis.call('ZSCORE', KEYS[4], KEYS[1]) or 0, KEYS[2])
redis.call('ZREM', KEYS[4], KEYS[1])
return 1
"""

_END = """
local found = redis.call('HMGET', KEYS[1], 'account', 'sign_in')
if not found[1] or (ARGV[1] ~= '' and found[1] ~= ARGV[1]) then return 0 end
-- With every id that the session had before, some of which may still hold.
local index = ARGV[2] .. found[1]
for _, other in ipairs(redis.call('SMEMBERS', index)) do
  if redis.call('HGET', other, 'sign_in') == found[2] then
    redis.call('DEL', other)
    redis.call('SREM', index, other)
    redis.call('ZREM', KEYS[2], other)
  end
end
return 1
"""

_END_ALL = """
-- The one that stays may have another id since its owner's request set out.
local stays, ended = ARGV[1] ~= '' and redis.call('HGET', ARGV[1], 'sign_in'), 0
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  if key ~= ARGV[1] and not (stays and redis.call('HGET', key, 'sign_in') == stays) then
    ended = ended + redis.call('DEL', key)
    redis.call('ZREM', KEYS[2], key)
    redis.call('SREM', KEYS[1], key)
  end
end
return ended
"""

_COUNT = """
local alive = 0
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do alive = alive + redis.call('EXISTS', key) end
return alive
"""

_SHOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local shown = {}
for index, key in ipairs(KEYS) do
  local found = redis.call('HMGET', key, 'session', 'seen', 'replaced')
  if found[1] and not found[3] and now - tonumber(found[2]) <= tonumber(ARGV[1]) then
    shown[#shown + 1] = {index, found[1], found[2], now + redis.call('PTTL', key)}
  end
end
return shown
"""


class Sessions:
    def __init__(self, redis: Redis, *, idle: timedelta = IDLE, lifetime: timedelta = LIFETIME) -> None:
        self._redis = redis
        self._idle = idle
        self._lifetime = lifetime
        self._admit = redis.register_script(_ADMIT)
        self._start = redis.register_script(_START)
        self._rotate = redis.register_script(_ROTATE)
        self._end = redis.register_script(_END)
        self._end_all = redis.register_script(_END_ALL)
        self._count = redis.register_script(_COUNT)
        self._show = redis.register_script(_SHOW)

    @property
    def lifetime(self) -> timedelta:
        return self._lifetime

    async def start(self, session: Session, *, stamp: str = "") -> str:
        """A new session; what is returned goes into the cookie and nowhere else."""
        session_id = secrets.token_urlsafe(32)
        with answering():
            await self._start(
                keys=[session_key(session_id), _account_key(session.account_id), _all_key()],
                args=[
                    msgspec.json.encode(session),
                    session.account_id,
                    _ms(self._lifetime),
                    stamp,
                    _epoch_ms(session.started_at),
                    session.sign_in,
                    MOST_OF_ONE,
                ],
            )
        return session_id

    async def admit(self, session_id: str | None, caller: str, limit: Limit) -> Admission:
        """Read the session and its owner's rights, count the request against `limit`, all in one trip.

        Somebody signed in is counted by account, anyone else as `caller`.
        """
        with answering():
            body, rights, stamp, granted, remaining, wait_ms = await self._admit(
                keys=[session_key(session_id) if session_id else "", epoch_key()],
                args=[
                    caller,
                    _ms(self._idle),
                    _ms(_SEEN_EVERY),
                    f"{CACHE}rate:{limit.name}:",
                    limit.interval_ms,
                    limit.times,
                    _ms(_RATE_KEY_TTL),
                    rights_key(""),
                ],
            )
        return Admission(
            session=_session(body) if body else None,
            rights=rights or None,
            stamp=stamp.decode(),
            allowance=Allowance(
                limit=limit,
                granted=bool(granted),
                remaining=remaining,
                retry_after=timedelta(milliseconds=wait_ms),
            ),
        )

    async def rotate(self, session_id: str, session: Session, *, stamp: str) -> str | None:
        """Another id for the same session; None if it has just got one, or is about to end."""
        renewed = secrets.token_urlsafe(32)
        with answering():
            rotated = await self._rotate(
                keys=[
                    session_key(session_id),
                    session_key(renewed),
                    _account_key(session.account_id),
                    _all_key(),
                ],
                args=[stamp, _ms(GRACE)],
            )
        return renewed if rotated else None

    async def end(self, session_id: str) -> bool:
        """Whether there was such a session to end."""
        return await self.end_named(name_of(session_id))

    async def end_named(self, name: str, *, account_id: int | None = None) -> bool:
        """End the session of this name, if `account_id` is not given or it is that account's."""
        if not _NAME.fullmatch(name):
            return False
        with answering():
            return bool(
                await self._end(
                    keys=[_named_key(name), _all_key()],
                    args=["" if account_id is None else account_id, _account_key("")],
                )
            )

    async def end_all(self, account_id: int, *, but: str = "") -> int:
        """How many sessions of the account were ended; `but` is the id of one to leave."""
        with answering():
            return int(
                await self._end_all(
                    keys=[_account_key(account_id), _all_key()], args=[session_key(but) if but else ""]
                )
            )

    async def count(self, account_id: int) -> int:
        """How many sessions of the account are alive."""
        with answering():
            return int(await self._count(keys=[_account_key(account_id)]))

    async def count_all(self) -> int:
        """How many there are of everybody's, those included that sat idle for too long and will be let go."""
        with answering():
            return int(await self._redis.zcard(_all_key()))

    async def find(self, name: str) -> OpenSession | None:
        return next(iter(await self._shown([name])), None) if _NAME.fullmatch(name) else None

    async def list_of(self, account_id: int) -> list[OpenSession]:
        """The account's sessions, the last used first."""
        with answering():
            keys = await self._redis.smembers(_account_key(account_id))
        found = await self._shown(_names(keys))
        return sorted(found, key=lambda one: one.seen_at, reverse=True)

    async def list_all(self, *, after: Place | None = None) -> AsyncGenerator[OpenSession, None]:
        """Everybody's sessions, the newest sign-in first, or those that come after a place in that order."""
        newest, passed = after.ms if after else "+inf", 0
        while True:
            with answering():
                found: Any = await self._redis.zrevrangebyscore(
                    _all_key(), newest, "-inf", start=passed, num=_BATCH, withscores=True
                )
            if not found:
                return
            passed += len(found)
            places = [Place(ms=int(score), name=name) for (key, score) in found for name in _names([key])]
            for one in await self._shown([place.name for place in places if after is None or place < after]):
                yield one

    async def _shown(self, names: Sequence[str]) -> list[OpenSession]:
        if not names:
            return []
        with answering():
            rows = await self._show(keys=[_named_key(name) for name in names], args=[_ms(self._idle)])
        return list(_opened(names, rows))


def _opened(names: Sequence[str], rows: Iterable[tuple[int, bytes, bytes, int]]) -> Iterator[OpenSession]:
    for index, body, seen, ends in rows:
        if session := _session(body):
            yield OpenSession(
                id=names[index - 1],
                session=session,
                seen_at=_moment(int(seen)),
                ends_at=_moment(ends),
            )


def _session(body: bytes) -> Session | None:
    """None for one that another release wrote in another shape: its owner signs in again."""
    try:
        return msgspec.json.decode(body, type=Session)
    except msgspec.DecodeError:
        return None


def name_of(session_id: str) -> str:
    """What a session is called where its id must not be seen."""
    return hashlib.sha256(session_id.encode()).hexdigest()


def session_key(session_id: str) -> str:
    return SESSIONS + name_of(session_id)


def _named_key(name: str) -> str:
    return SESSIONS + name


def _account_key(account_id: int | str) -> str:
    return f"{SESSIONS}account:{account_id}"


def _all_key() -> str:
    return f"{SESSIONS}all"


def _names(keys: Iterable[Any]) -> list[str]:
    return [key.decode().removeprefix(SESSIONS) for key in keys]


def _moment(epoch_ms: int) -> datetime:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC)


def _epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)

"""What stands in the queues, read in bounded pieces: any client of BullMQ may have put it there.

BullMQ's own classes fetch a job whole and stumble over what is no JSON; a page must do neither. Each
question is one script and so one trip; what is too long is cut by Redis.
"""

import asyncio
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from muster.platform import redis
from muster.platform.queue import QUEUES
from muster.platform.redis import QUEUE, Redis

STATES = ("waiting", "active", "delayed", "failed", "completed", "prioritized", "waiting-children")
"""BullMQ's words for where a job can be."""

LOOKED_THROUGH = 2_000
"""Jobs of a state that a search by name goes through, the first in order: 15 ms on a busy machine."""

LONGEST = 64 * 1024
"""Bytes of a job's data that are shown; what is longer could not be masked, cut in mid word."""

LINES = 200
PICTURED = timedelta(hours=24)
BAR = timedelta(minutes=15)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A queue at a glance; `completed` and `failed` are jobs a bar of the picture, oldest first."""

    name: str
    counts: dict[str, int]
    at_once: int | None
    is_paused: bool
    oldest_waiting_at: datetime | None
    completed: list[int]
    failed: list[int]


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """The last run of a scheduled job that is kept."""

    id: str
    state: str
    started_at: datetime | None
    finished_at: datetime | None
    reason: str


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """Either `every` so many seconds, or by a cron `pattern` in a `zone`."""

    key: str
    name: str
    queue: str
    every: float | None
    pattern: str
    zone: str
    next_at: datetime | None
    last: Turn | None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    done: float | None
    of: float | None
    words: str


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """A job as lists have it. `due_at` is when one that is put off may run."""

    id: str
    name: str
    queue: str
    state: str
    added_at: datetime | None
    due_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    attempts_made: int
    attempts: int
    stalled: int
    priority: int
    worker: str
    reason: str
    progress: Progress | None
    is_addressable: bool

    @property
    def waited(self) -> float | None:
        """Seconds between when it might have run and when it last began."""
        since = max(filter(None, (self.added_at, self.due_at)), default=None)
        if since is None or self.started_at is None:
            return None
        return max(0.0, (self.started_at - since).total_seconds())

    @property
    def took(self) -> float | None:
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0.0, (self.finished_at - self.started_at).total_seconds())


class Text(msgspec.Struct, frozen=True, kw_only=True):
    """A field as it is kept, "" if it is longer than may be shown; `length` is in bytes."""

    kept: str
    length: int


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """A job with all that is kept of it; `lines` are the last of its log's `line_count`."""

    brief: Brief
    data: Text
    options: Text
    said: Text
    stack: Text
    lines: list[str]
    line_count: int
    schedule: str
    parent: str


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs of one state. `matching` counts those whose name fits among the first `looked_through`."""

    jobs: list[Brief]
    matching: int
    total: int
    looked_through: int


def base_key(queue: str) -> str:
    return f"{QUEUE}{queue}:"


class QueueView:
    """Fails within about two seconds when Redis is away, as its client does."""

    def __init__(self, client: Redis) -> None:
        self._look = client.register_script(_LOOK)
        self._list = client.register_script(_LIST)
        self._get = client.register_script(_GET)
        self._schedules = client.register_script(_SCHEDULES)

    async def look(self) -> list[Seen]:
        return list(await asyncio.gather(*(self._look_at(spec.name) for spec in QUEUES)))

    async def schedules(self) -> list[Schedule]:
        """Every schedule, whoever made it, the next turn first."""
        found = await asyncio.gather(*(self._schedules_of(spec.name) for spec in QUEUES))
        last = datetime.max.replace(tzinfo=UTC)
        return sorted((one for each in found for one in each), key=lambda one: (one.next_at or last, one.key))

    async def find(
        self,
        queue: str,
        state: str,
        *,
        name: str = "",
        is_whole: bool = False,
        skip: int = 0,
        limit: int = 50,
    ) -> Cut:
        """Jobs of `state`: those done newest first, any others in the order in which they run.

        `name` is a part of theirs, or all of it.
        """
        with redis.answering():
            total, looked, matching, rows = await self._list(
                keys=[base_key(queue)],
                args=[state, name.lower(), int(is_whole), skip, limit, LOOKED_THROUGH],
            )
        return Cut(
            jobs=[_brief(queue, state, bytes(row[0]), _fields(row[1])) for row in rows],
            matching=int(matching),
            total=int(total),
            looked_through=int(looked),
        )

    async def recent(self, queue: str, name: str, *, limit: int) -> list[Brief]:
        """The last runs of the jobs of a name, as far as they are kept."""
        states = ("active", "completed", "failed")
        found = await asyncio.gather(
            *(self.find(queue, state, name=name, is_whole=True, limit=limit) for state in states)
        )
        runs = [job for cut in found for job in cut.jobs]
        never = datetime.min.replace(tzinfo=UTC)
        return sorted(runs, key=lambda job: job.started_at or never, reverse=True)[:limit]

    async def find_job(self, queue: str, job_id: str, state: str) -> Whole | None:
        """The job, which BullMQ says is in `state`; None if it has gone meanwhile."""
        with redis.answering():
            found, lines, line_count = await self._get(keys=[base_key(queue)], args=[job_id, LONGEST, LINES])
        fields = _fields(found)
        if not fields["name"].length and not fields["timestamp"].length:
            return None
        return Whole(
            brief=_brief(queue, state, job_id.encode(), fields),
            data=fields["data"],
            options=fields["opts"],
            said=fields["returnvalue"],
            stack=fields["stacktrace"],
            lines=[_text(line) for line in lines],
            line_count=int(line_count),
            schedule=fields["rjk"].kept,
            parent=fields["parentKey"].kept,
        )

    async def _look_at(self, queue: str) -> Seen:
        minutes = int(PICTURED / timedelta(minutes=1))
        with redis.answering():
            counts, paused, at_once, oldest, done, failed = await self._look(
                keys=[base_key(queue)], args=[minutes]
            )
        now = datetime.now(UTC)
        return Seen(
            name=queue,
            counts=dict(zip(STATES, map(int, counts), strict=True)),
            at_once=_int(_text(at_once or b"")) or None,
            is_paused=bool(paused),
            oldest_waiting_at=_waiting_since(_fields(oldest)) if oldest else None,
            completed=bars(done, now),
            failed=bars(failed, now),
        )

    async def _schedules_of(self, queue: str) -> list[Schedule]:
        with redis.answering():
            found, last = await self._schedules(keys=[base_key(queue)], args=[LOOKED_THROUGH])
        runs = {_text(name): _turn(state, job_id, fields) for name, state, job_id, *fields in last}
        return [_schedule(queue, key, next_ms, fields, runs) for key, next_ms, *fields in found]


def bars(metrics: Sequence[Any], now: datetime) -> list[int]:
    """What BullMQ counts by the minute, in the bars of the picture.

    `prevTS` is in the minute that is being counted, `count - prevCount` its jobs; the list has those of
    the minutes before it, the last one first.
    """
    count, last_ms, counted, minutes = metrics
    width, places = int(BAR / timedelta(minutes=1)), int(PICTURED / BAR)
    drawn = [0] * places
    if not last_ms:
        return drawn
    this_bar = int(now.timestamp() // 60) // width
    last_minute = _int(_text(last_ms)) // 60_000
    newest = _int(_text(count)) - _int(_text(counted or b"0"))
    for ago, jobs in enumerate([newest, *(_int(_text(one)) for one in minutes)]):
        place = places - 1 - (this_bar - (last_minute - ago) // width)
        if 0 <= place < places:
            drawn[place] += jobs
    return drawn


_FIELDS = (
    *("name", "timestamp", "delay", "priority", "processedOn", "finishedOn", "atm", "attemptsMade", "stc"),
    *(
        "pb",
        "failedReason",
        "progress",
        "opts",
        "due",
        "rjk",
        "parentKey",
        "data",
        "returnvalue",
        "stacktrace",
    ),
)


def _fields(found: Sequence[Any]) -> Mapping[str, Text]:
    """What a script gave for each field: the value, then its length; of a list, only the first of them."""
    values = [_text(one or b"") for one in found[::2]]
    lengths = [int(one) for one in found[1::2]]
    given = [Text(kept=value, length=length) for value, length in zip(values, lengths, strict=True)]
    nothing = [Text(kept="", length=0)] * (len(_FIELDS) - len(given))
    return dict(zip(_FIELDS, [*given, *nothing], strict=True))


def _brief(queue: str, state: str, job_id: bytes, fields: Mapping[str, Text]) -> Brief:
    options = _options(fields["opts"].kept)
    attempts = options.get("attempts")
    return Brief(
        id=_text(job_id),
        name=fields["name"].kept,
        queue=queue,
        state=state,
        added_at=_moment(fields["timestamp"].kept),
        due_at=_due(fields, options),
        started_at=_moment(fields["processedOn"].kept),
        finished_at=_moment(fields["finishedOn"].kept),
        attempts_made=_int(fields["atm"].kept or fields["attemptsMade"].kept),
        attempts=attempts if isinstance(attempts, int) and 0 < attempts < 10**6 else 1,
        stalled=_int(fields["stc"].kept),
        priority=_int(fields["priority"].kept),
        worker=fields["pb"].kept,
        reason=fields["failedReason"].kept,
        progress=_progress(fields["progress"].kept),
        is_addressable=_text(job_id).encode() == job_id,
    )


def _due(fields: Mapping[str, Text], options: Mapping[str, Any]) -> datetime | None:
    """BullMQ keeps what is delayed by milliseconds times 4,096, and forgets the delay once it is over."""
    if score := fields["due"].kept:
        return _moment(str(_int(score.partition(".")[0]) // 4096))
    if turn := options.get("prevMillis"):
        return _moment(str(turn))
    delay = options.get("delay")
    if not isinstance(delay, int) or not delay:
        return None
    return _moment(str(_int(fields["timestamp"].kept) + delay))


def _waiting_since(fields: Mapping[str, Text]) -> datetime | None:
    """Since when it might run: put in, its turn come, or given back by its last attempt."""
    job = _brief("", "waiting", b"", fields)
    return max(filter(None, (job.added_at, job.due_at, job.started_at)), default=None)


def _options(text: str) -> Mapping[str, Any]:
    found = decoded(text)
    return found if isinstance(found, dict) else {}


def decoded(text: str) -> Any:
    """What JSON says; None for what is none, or is nested without end."""
    try:
        return json.loads(text, parse_constant=str, parse_float=_finite)
    except (RecursionError, ValueError):
        return None


def _finite(text: str) -> float | str:
    return number if math.isfinite(number := float(text)) else text


_MOST = 10**15


def _progress(text: str) -> Progress | None:
    """`{"done", "of", "words"}` by our convention, or BullMQ's number of per cent."""
    found = decoded(text) if text else None
    match found:
        case bool() | None:
            return None
        case int() | float():
            return Progress(done=found, of=100, words="") if 0 < found <= 100 else None
        case {"done": int() | float() as done} if abs(done) < _MOST:
            of = found.get("of")
            is_known = isinstance(of, int | float) and 0 < of < _MOST
            return Progress(done=done, of=of if is_known else None, words=str(found.get("words") or "")[:300])
        case _:
            return Progress(done=None, of=None, words=text[:300])


def _turn(state: bytes, job_id: bytes, fields: Sequence[Any]) -> Turn:
    started, finished, reason = (_text(one or b"") for one in fields)
    return Turn(
        id=_text(job_id),
        state=_text(state),
        started_at=_moment(started),
        finished_at=_moment(finished),
        reason=reason,
    )


def _schedule(
    queue: str, key: bytes, next_ms: bytes, fields: Iterable[Any], runs: Mapping[str, Turn]
) -> Schedule:
    name, every, pattern, zone = (_text(one or b"") for one in fields)
    return Schedule(
        key=_text(key),
        name=name,
        queue=queue,
        every=_int(every) / 1000 or None,
        pattern=pattern,
        zone=zone,
        next_at=_moment(_text(next_ms).partition(".")[0]),
        last=runs.get(name),
    )


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def _int(text: str) -> int:
    """0 for what is no number, or one that no job has."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 19 else 0


def _moment(text: str) -> datetime | None:
    milliseconds = _int(text)
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if 0 < milliseconds < 10**14 else None


_BOUNDED = """
local base = KEYS[1]
-- A value, cut to its first `most` bytes, and its length; nothing of one that is longer than `refused`.
local function bounded(key, field, most, refused)
  local length = redis.pcall('HSTRLEN', key, field)
  if type(length) ~= 'number' then return false, 0 end
  if length == 0 or (refused and length > refused) or length > 1048576 then return false, length end
  return string.sub(redis.call('HGET', key, field), 1, most), length
end
local brief = {
  {'name', 200}, {'timestamp', 20}, {'delay', 20}, {'priority', 20}, {'processedOn', 20},
  {'finishedOn', 20}, {'atm', 20}, {'attemptsMade', 20}, {'stc', 20}, {'pb', 200},
  {'failedReason', 500}, {'progress', 2000}, {'opts', 8000}
}
local function read(id, fields)
  local row = {}
  for _, field in ipairs(fields) do
    local value, length = bounded(base .. id, field[1], field[2], field[3])
    row[#row + 1] = value
    row[#row + 1] = length
  end
  return row
end
-- The one field that is read of many jobs, whose length is not asked for first.
local function named(id)
  local name = redis.pcall('HGET', base .. id, 'name')
  return type(name) == 'string' and string.sub(name, 1, 200)
end
local lists = {waiting = 'wait', active = 'active'}
local function range(state, first, last)
  local key = base .. (lists[state] or state)
  if lists[state] then
    local found, turned = redis.call('LRANGE', key, -(last + 1), -(first + 1)), {}
    for i = #found, 1, -1 do turned[#turned + 1] = found[i] end
    return turned
  end
  local newest_first = state == 'completed' or state == 'failed'
  return redis.call(newest_first and 'ZREVRANGE' or 'ZRANGE', key, first, last)
end
local function count(state)
  return redis.call(lists[state] and 'LLEN' or 'ZCARD', base .. (lists[state] or state))
end
"""

_LOOK = (
    _BOUNDED
    + """
local counts = {}
for i, state in ipairs({'waiting', 'active', 'delayed', 'failed', 'completed', 'prioritized',
                        'waiting-children'}) do
  counts[i] = count(state)
end
local oldest = redis.call('LINDEX', base .. 'wait', -1)
local function metrics(kind)
  local key = base .. 'metrics:' .. kind
  local found = redis.call('HMGET', key, 'count', 'prevTS', 'prevCount')
  return {found[1], found[2], found[3], redis.call('LRANGE', key .. ':data', 0, tonumber(ARGV[1]) - 1)}
end
return {
  counts, redis.call('HEXISTS', base .. 'meta', 'paused'), redis.call('HGET', base .. 'meta', 'concurrency'),
  oldest and read(oldest, brief), metrics('completed'), metrics('failed')
}
"""
)

_LIST = (
    _BOUNDED
    + """
local state, name, is_whole = ARGV[1], ARGV[2], ARGV[3] == '1'
local skip, limit, most = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local total = count(state)
local ids, matching, looked = {}, 0, math.min(total, most)
if name == '' then
  ids, matching, looked = range(state, skip, skip + limit - 1), total, total
else
  for _, id in ipairs(range(state, 0, most - 1)) do
    local found = string.lower(named(id) or '')
    if found == name or (not is_whole and string.find(found, name, 1, true)) then
      matching = matching + 1
      if matching > skip and #ids < limit then ids[#ids + 1] = id end
    end
  end
end
local rows = {}
for i, id in ipairs(ids) do
  local row = read(id, brief)
  if state == 'delayed' then
    row[#row + 1] = redis.call('ZSCORE', base .. 'delayed', id)
    row[#row + 1] = 0
  end
  rows[i] = {id, row}
end
return {total, looked, matching, rows}
"""
)

_GET = (
    _BOUNDED
    + """
local id, longest, lines = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local row = read(id, brief)
row[#row + 1] = redis.call('ZSCORE', base .. 'delayed', id)
row[#row + 1] = 0
-- What holds JSON with fields by name is given whole or not at all.
for _, field in ipairs({{'rjk', 500}, {'parentKey', 500}, {'data', longest, longest},
                        {'returnvalue', longest, longest}, {'stacktrace', longest}}) do
  local value, length = bounded(base .. id, field[1], field[2], field[3])
  row[#row + 1] = value
  row[#row + 1] = length
end
local log = base .. id .. ':logs'
local said = redis.pcall('LRANGE', log, -lines, -1)
if said.err then return {row, {}, 0} end
for i, line in ipairs(said) do said[i] = string.sub(line, 1, 2000) end
return {row, said, redis.call('LLEN', log)}
"""
)

_SCHEDULES = (
    _BOUNDED
    + """
local found, wanted, last = {}, {}, {}
local scheduled = redis.call('ZRANGE', base .. 'repeat', 0, 999, 'WITHSCORES')
for i = 1, #scheduled, 2 do
  local key = base .. 'repeat:' .. scheduled[i]
  local name = bounded(key, 'name', 200)
  found[#found + 1] = {
    string.sub(scheduled[i], 1, 500), scheduled[i + 1], name, bounded(key, 'every', 20),
    (bounded(key, 'pattern', 200)), (bounded(key, 'tz', 100))
  }
  if name then wanted[name] = true end
end
local newest = {}
for _, state in ipairs({'active', 'completed', 'failed'}) do
  for _, id in ipairs(range(state, 0, tonumber(ARGV[1]) - 1)) do
    local name = named(id)
    local seen = state .. ':' .. (name or '')
    if name and wanted[name] and not newest[seen] then
      newest[seen] = true
      local started = bounded(base .. id, 'processedOn', 20)
      local before = last[name]
      if not before or (tonumber(started or 0) or 0) > (tonumber(before[4] or 0) or 0) then
        last[name] = {
          name, state, id, started, (bounded(base .. id, 'finishedOn', 20)),
          (bounded(base .. id, 'failedReason', 300))
        }
      end
    end
  end
end
local runs = {}
for _, run in pairs(last) do runs[#runs + 1] = run end
return {found, runs}
"""
)

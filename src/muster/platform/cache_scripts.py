"""The cache's scripts. Each is one trip to Redis and happens at once, so nothing comes between its steps.

`cache:seq` holds the epoch and the number of the last bust in it, and the tag of a bust its number. An
entry holds the number there was before its origin was read, and counts while its epoch is the present
one and none of its tags has a greater number. Everything ends within an hour: an entry an hour after it
was written at the latest, `cache:seq` and a tag an hour after they were last written, which is later.
"""

from enum import IntEnum


class Status(IntEnum):
    """What a look found: HIT is kept; EARLY is kept, and the caller is to read it anew meanwhile; at LOAD
    the caller holds the lease, at WAIT somebody else does.
    """

    HIT = 1
    EARLY = 2
    LOAD = 3
    WAIT = 4


_BASIS = """
local SEQ, TAG, HOUR = KEYS[1], ARGV[1], 3600000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function void()
  redis.call('HSET', SEQ, 'epoch', ARGV[2], 'voided_at', now)
  redis.call('HSETNX', SEQ, 'n', 0)
  redis.call('PEXPIRE', SEQ, HOUR)
end

-- The epoch and the number of the last bust. If they are gone, or behind what the caller has seen, then
-- busts are lost: nothing that is kept may count any more.
local function position()
  local found = redis.call('HMGET', SEQ, 'epoch', 'n')
  local is_behind = found[1] == ARGV[3] and tonumber(found[2]) < tonumber(ARGV[4])
  if found[1] and not is_behind then return found[1], tonumber(found[2]) end
  void()
  return ARGV[2], tonumber(redis.call('HGET', SEQ, 'n'))
end

-- What an entry holds; one that is no entry of ours is done away with.
local function fields(entry, ...)
  local found = redis.pcall('HMGET', entry, ...)
  if not found.err then return found end
  redis.call('DEL', entry)
  return {}
end

-- The number of the last bust of any of these tags.
local function latest(epoch, tags)
  local last = 0
  for _, tag in ipairs(cmsgpack.unpack(tags)) do
    local at = redis.call('GET', TAG .. tag)
    if at and string.sub(at, 1, #epoch + 1) == epoch .. ':' then
      last = math.max(last, tonumber(string.sub(at, #epoch + 2)))
    end
  end
  return last
end
"""

LOOK = (
    _BASIS
    + """
local LEASE = ARGV[5]
local epoch, n = position()

local function look(ENTRY, TOKEN, HASTE, TAGS, HAS_MORE_TAGS)
  local e = fields(ENTRY, 'epoch', 'n', 'tags', 'kind', 'value', 'made_at', 'fresh_until', 'cost', 'lease',
    'lease_for', 'lease_until')
  local kind, value, made_at, left = false, false, false, 0
  if e[1] == epoch and latest(epoch, e[3]) <= tonumber(e[2]) then
    kind, value, made_at, left = e[4], e[5], e[6], e[7] - now
  end

  -- Readers between whom none of the tags was busted may share one reading.
  local fence = HAS_MORE_TAGS == '1' and n or latest(epoch, TAGS)
  local function answer(status)
    return {status, fence, kind, value, made_at}
  end

  if left > 0 and e[8] * HASTE < left then return answer(1) end
  local flight = epoch .. ':' .. fence
  if e[9] and e[9] ~= TOKEN and e[10] == flight and tonumber(e[11]) > now then
    return answer(left > 0 and 1 or 4)
  end
  redis.call('HSET', ENTRY, 'lease', TOKEN, 'lease_for', flight, 'lease_until', now + LEASE)
  if redis.call('PTTL', ENTRY) < 0 then redis.call('PEXPIRE', ENTRY, HOUR / 12) end
  return answer(left > 0 and 2 or 3)
end

local said = {epoch, n, now}
for i = 2, #KEYS do
  local at = 4 * i - 2
  said[i + 2] = look(KEYS[i], ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
end
return said
"""
)
"""KEYS: seq, the entries. ARGV: the basis, lease ms, then for each entry token, haste, declared tags, and
whether there will be more. All are looked at between the same two busts.
"""

KEEP = (
    _BASIS
    + """
local ENTRY, INDEX, SIZES, TOKEN = KEYS[2], KEYS[3], KEYS[4], ARGV[5]
local began, tags, fresh, life, size = tonumber(ARGV[8]), ARGV[9], ARGV[12], ARGV[13], ARGV[14]
local epoch = position()
local found = fields(ENTRY, 'epoch', 'made_at', 'lease')
if epoch ~= ARGV[6] or now - began > HOUR / 4 or latest(epoch, tags) > tonumber(ARGV[7])
    or (found[1] == epoch and tonumber(found[2]) > began) then
  if found[3] == TOKEN then redis.call('HDEL', ENTRY, 'lease', 'lease_for', 'lease_until') end
  return 0
end
redis.call('DEL', ENTRY)
redis.call('HSET', ENTRY, 'epoch', epoch, 'n', ARGV[7], 'tags', tags, 'kind', ARGV[10], 'value', ARGV[11],
  'made_at', began, 'fresh_until', now + fresh, 'cost', now - began)
redis.call('PEXPIRE', ENTRY, life)
redis.call('PEXPIRE', SEQ, HOUR)

local function uncount(key)
  local counted = redis.call('HGET', SIZES, key)
  redis.call('ZREM', INDEX, key)
  if counted then
    redis.call('HDEL', SIZES, key)
    redis.call('HINCRBY', SIZES, 'total', -counted)
  end
end
uncount(ENTRY)
for _, key in ipairs(redis.call('ZRANGEBYSCORE', INDEX, '-inf', now, 'LIMIT', 0, 100)) do uncount(key) end
redis.call('ZADD', INDEX, now + life, ENTRY)
redis.call('HSET', SIZES, ENTRY, size)
redis.call('HINCRBY', SIZES, 'total', size)
local evicted = 0
while redis.call('ZCARD', INDEX) > tonumber(ARGV[15])
    or tonumber(redis.call('HGET', SIZES, 'total')) > tonumber(ARGV[16]) do
  local first = redis.call('ZRANGE', INDEX, 0, 0)[1]
  if not first then
    redis.call('DEL', SIZES)  -- counted wrongly, by somebody else
    break
  end
  redis.call('DEL', first)
  uncount(first)
  evicted = evicted + 1
end
redis.call('PEXPIRE', INDEX, HOUR)
redis.call('PEXPIRE', SIZES, HOUR)
return 1 + evicted
"""
)
"""KEYS: seq, entry, index, sizes. ARGV: the basis, token, the epoch, number and time of the look, tags, kind,
value, fresh ms, life ms, size, and how many entries and bytes there may be. 0: it came too late.
"""

RELEASE = """
if redis.call('HGET', KEYS[1], 'lease') == ARGV[1] then
  redis.call('HDEL', KEYS[1], 'lease', 'lease_for', 'lease_until')
end
return 1
"""

BUST = (
    _BASIS
    + """
position()
if now - tonumber(redis.call('HGET', SEQ, 'tags_since') or 0) > HOUR then
  redis.call('HSET', SEQ, 'tags_since', now, 'tags', 0)
end
local n = redis.call('HINCRBY', SEQ, 'n', 1)
if redis.call('HINCRBY', SEQ, 'tags', #ARGV - 5) > tonumber(ARGV[5]) then void() end
local epoch = redis.call('HGET', SEQ, 'epoch')
redis.call('PEXPIRE', SEQ, HOUR)
if epoch ~= ARGV[2] then
  for i = 6, #ARGV do redis.call('SET', TAG .. ARGV[i], epoch .. ':' .. n, 'PX', HOUR) end
end
return {epoch, n}
"""
)
"""ARGV: the basis, how many tags an hour are told apart, the tags. Beyond it everything is void instead, so
that tags do not fill the server.
"""

VOID = (
    _BASIS
    + """
position()
if now - tonumber(redis.call('HGET', SEQ, 'voided_at')) >= tonumber(ARGV[5]) then void() end
return redis.call('HMGET', SEQ, 'epoch', 'n')
"""
)
"""ARGV: the basis, and within how many milliseconds another void would do."""

"""What each account may do, kept under `cache:` so that admitting a request stays one trip to Redis.

What is read from the database while somebody changes it must not be kept after the change was
announced. So a reader takes a lease before it reads; a change deletes the lease with the entry, and
what is read under a lease that is gone is not kept (R. Nishtala et al., "Scaling Memcache at
Facebook", section 3.2.1). `cache:rights:epoch` is a number drawn at random: every entry names the one
it was made in, so that one write makes all of them void.

A key of a wrong type, which only somebody else can have written, counts as missing and is written over.
"""

import random
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from muster.platform.redis import CACHE, Redis, answering

ENTRY_LIFETIME = timedelta(minutes=5)
MOST_LOOKED_AT = 50
EPOCH_LIFETIME = timedelta(minutes=60)

_LEASE = """
local epoch = redis.pcall('GET', KEYS[2])
if type(epoch) ~= 'string' then
  epoch = ARGV[1]
  redis.call('SET', KEYS[2], epoch, 'PX', ARGV[4])
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'lease', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return epoch
"""

_KEEP = """
if redis.pcall('HGET', KEYS[1], 'lease') ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'body', ARGV[2], 'epoch', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to keep what is read from now on, until somebody announces a change."""

    account_id: int
    number: bytes
    epoch: bytes


_LIST = """
local epoch, found = redis.pcall('GET', KEYS[1]), {}
for index = 2, #KEYS do
  local kept = redis.pcall('HMGET', KEYS[index], 'body', 'epoch')
  found[index - 1] = kept[1] and kept[2] == epoch and kept[1] or false
end
return found
"""


class RightsCache:
    """Keeps bytes and does not read them; `Sessions.admit` gives out what is kept."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lease = redis.register_script(_LEASE)
        self._keep = redis.register_script(_KEEP)
        self._list = redis.register_script(_LIST)

    async def lease(self, account_id: int) -> Lease:
        number = _random()
        with answering():
            epoch = await self._lease(
                keys=[rights_key(account_id), epoch_key()],
                args=[_random(), number, _ms(ENTRY_LIFETIME), _ms(EPOCH_LIFETIME)],
            )
        return Lease(account_id=account_id, number=number, epoch=bytes(epoch))

    async def keep(self, lease: Lease, body: bytes) -> bool:
        """False, and nothing kept, if a change was announced since the lease was taken."""
        with answering():
            return bool(
                await self._keep(
                    keys=[rights_key(lease.account_id)],
                    args=[lease.number, body, lease.epoch, _ms(ENTRY_LIFETIME)],
                )
            )

    async def list_kept(self, account_ids: Collection[int] | None = None) -> dict[int, bytes]:
        """Account → what is kept of it and still holds; of MOST_LOOKED_AT, drawn at random, unless named."""
        with answering():
            numbers = list(account_ids) if account_ids is not None else await self._numbers()
            found = await self._list(keys=[epoch_key(), *(rights_key(number) for number in numbers)])
        return {number: body for number, body in zip(numbers, found, strict=True) if body}

    async def _numbers(self) -> list[int]:
        pattern = rights_key("*")
        found = []
        async for key in self._redis.scan_iter(pattern, count=1000):
            number = key.decode().removeprefix(rights_key(""))
            if number.isdecimal():
                found.append(int(number))
            if len(found) >= 20 * MOST_LOOKED_AT:
                break
        return random.sample(found, min(len(found), MOST_LOOKED_AT))

    async def forget(self, account_ids: Collection[int]) -> None:
        """Announce a change of these accounts: the next request of each reads the database."""
        if account_ids:
            with answering():
                await self._redis.delete(*(rights_key(account_id) for account_id in account_ids))

    async def forget_all(self) -> None:
        """Announce a change that may be anybody's."""
        with answering():
            await self._redis.set(epoch_key(), _random(), px=_ms(EPOCH_LIFETIME))


def rights_key(account_id: int | str) -> str:
    return f"{CACHE}rights:{account_id}"


def epoch_key() -> str:
    return f"{CACHE}rights:epoch"


def _random() -> bytes:
    return secrets.token_hex(8).encode()


def _ms(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)

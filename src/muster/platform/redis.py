"""The one door to Redis or Valkey: how Muster connects, and what it makes of a failure."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis as _BlockingRedis
from redis.asyncio import Redis as _Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import (
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry as BlockingRetry
from typing_extensions import override

from muster.errors import Unavailable
from muster.platform import effort

Redis = _Redis
"""The client, named here so that nobody else has to know whose it is."""

_LOOK_AGAIN_AFTER = 0.5
_LOOK_FOR = 0.5

MOST_CONNECTIONS = 1000
"""Of a client: redis-py's 100 are fewer than a hundred jobs or a rush of requests may need at once."""

SESSIONS = "sess:"
CACHE = "cache:"
QUEUE = "queue:"
PREFIXES = (SESSIONS, CACHE, QUEUE)
"""Every key Muster writes begins with one of these."""


def connect(url: str) -> Redis:
    """A client for requests: who finds Redis silent waits two seconds, whoever comes after them half of
    one at most. A Redis that refuses is known at once.

    A line that broke is tried once more, so a script may be applied twice; every script of ours may.
    """
    return _Impatient.from_url(
        url,
        decode_responses=False,
        socket_connect_timeout=1,
        socket_timeout=2,
        health_check_interval=30,
        # Not after a silence: redis-py tries twice to connect and twice to ask, and four are a long one.
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.05), 1, supported_errors=(RedisConnectionError,)),
    )


def connect_briefly(url: str) -> Redis:
    """A client for the cache, which can do without: no retry, which would hide that Redis was away."""
    return _Client.from_url(
        url,
        decode_responses=False,
        socket_connect_timeout=1,  # a process that starts on a busy machine needs some of it for itself
        socket_timeout=0.5,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.05), 0),
    )


class _Packing:
    """redis-py packs commands in Python for connections that do not block; hiredis does it in a third."""

    _serializer = HiredisRespSerializer()

    def pack_command(self, *arguments: Any) -> list[bytes]:
        packed: list[bytes] = self._serializer.pack(*arguments)
        return packed


class _Client(_Redis):
    """redis-py sends through `asyncio.wait_for`, which loses a cancellation that comes as it ends: whoever
    was to stop would go on. Mended in Python 3.12: https://github.com/python/cpython/issues/86296.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        connection = self.connection_pool.connection_class
        self.connection_pool.max_connections = MOST_CONNECTIONS
        self.connection_pool.connection_class = type(connection.__name__, (_Packing, connection), {})

    @override
    async def execute_command(self, *args: Any, **options: Any) -> Any:
        task = asyncio.current_task()
        before = task.cancelling() if task else 0
        started = time.perf_counter()
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        finally:
            effort.tripped(started)
            if task and task.cancelling() > before:
                raise asyncio.CancelledError


class _Impatient(_Client):
    """Remembers that Redis was silent until it has answered again; meanwhile one caller at a time looks."""

    _look_at: float | None = None

    @override
    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if self._look_at is None:
            return await self._asked(*args, **options)
        now = time.monotonic()
        if now < self._look_at:
            raise RedisTimeoutError("it was silent a moment ago")
        self._look_at = now + _LOOK_AGAIN_AFTER
        try:
            async with asyncio.timeout(_LOOK_FOR):
                return await self._asked(*args, **options)
        except TimeoutError as error:
            raise RedisTimeoutError("it is still silent") from error

    async def _asked(self, *args: Any, **options: Any) -> Any:
        try:
            answer = await super().execute_command(*args, **options)
        except RedisTimeoutError:
            self._look_at = time.monotonic() + _LOOK_AGAIN_AFTER
            raise
        except RedisError:  # whoever refuses is not silent
            self._look_at = None
            raise
        self._look_at = None
        return answer


def connect_patiently(url: str) -> Redis:
    """A client for BullMQ's workers, which must outlive an outage of Redis.

    The time-out has to exceed BullMQ's block of up to 10 s: at redis-py's default of 5 s an idle
    worker misses its schedules (docs/decisions/0004-bullmq.md).
    """
    return _Client.from_url(
        url,
        decode_responses=True,
        socket_connect_timeout=3,
        socket_timeout=15,
        retry=Retry(ExponentialBackoff(cap=2, base=0.1), 200),
        retry_on_error=[BusyLoadingError, RedisConnectionError, RedisTimeoutError],
    )


def connect_from_thread(url: str) -> _BlockingRedis:
    """A client for a thread beside the event loop, which comes again soon: no retry."""
    return _BlockingRedis.from_url(
        url,
        decode_responses=True,
        socket_connect_timeout=1,
        socket_timeout=2,
        retry=BlockingRetry(ExponentialBackoff(cap=0.2, base=0.05), 0),
    )


def connect_for_adding(url: str) -> Redis:
    """A client for adding jobs from a request: no retry, since an add may happen and its answer be lost."""
    return _Client.from_url(
        url,
        decode_responses=True,
        socket_connect_timeout=1,
        socket_timeout=2,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.05), 0),
    )


@contextmanager
def answering() -> Iterator[None]:
    """Turn redis-py's errors into ours at the border."""
    try:
        yield
    except ResponseError as error:
        raise Unavailable(f"Redis refused: {error}", row=_row_about(error)) from error
    except (RedisError, OSError) as error:
        raise Unavailable(f"Redis does not answer: {error}", row="redis.persistence") from error


def _row_about(refusal: ResponseError) -> str:
    if isinstance(refusal, OutOfMemoryError):
        return "redis.policy"
    if str(refusal).startswith("MISCONF"):  # what was written before did not reach the disk
        return "redis.persistence"
    takes_no_writes = isinstance(refusal, ReadOnlyError) or str(refusal).startswith("NOREPLICAS")
    return "sessions.stored" if takes_no_writes else ""

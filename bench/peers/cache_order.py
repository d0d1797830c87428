"""What a program that measures a cache is told, and what it says."""

import sys

import msgspec


class CacheOrder(msgspec.Struct, kw_only=True):
    """`me` is which of `processes` is told; `flags` the file by which they know how far each race is."""

    peer: str
    redis_url: str
    database_url: str = ""
    me: int = 0
    processes: int = 1
    races: int = 0
    flags: str = ""
    at: float = 0
    """When to begin, in seconds since 1970."""


def read_order() -> CacheOrder:
    return msgspec.json.decode(sys.stdin.buffer.read(), type=CacheOrder)


def tell(figures: dict[str, float]) -> None:
    print(msgspec.json.encode(figures).decode(), flush=True)

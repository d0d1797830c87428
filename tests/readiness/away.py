"""Servers that are not there: nobody listens, or somebody listens and never says a word."""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import replace

from muster.settings import Secret, Settings


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """A port at which connections are refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, so that nobody else is given it; not listening
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@contextlib.contextmanager
def silence() -> Iterator[str]:
    """A port that takes connections and answers nothing, as a frozen server or a dropped route does."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(128)
        yield f"127.0.0.1:{mute.getsockname()[1]}"


def without_postgresql(settings: Settings, place: str) -> Settings:
    return replace(settings, database_url=Secret(f"postgresql://muster:planted@{place}/muster"))


def without_redis(settings: Settings, place: str) -> Settings:
    return replace(settings, redis_url=Secret(f"redis://:planted@{place}/0"))

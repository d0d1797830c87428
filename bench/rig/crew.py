"""Several processes of one program of `peers/`, started together."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.peers.cache_order import CacheOrder
from bench.rig.failed import MeasurementFailed
from muster.settings import child_environment

STARTS_WITHIN = 2.0
"""Seconds for all to have imported and connected."""

ENDS_WITHIN = 900.0


def crewed(program: str, order: CacheOrder) -> list[dict[str, float]]:
    """What each of `order.processes` says at its end."""
    crew = [_started(program) for _ in range(order.processes)]
    try:
        at = time.time() + STARTS_WITHIN
        for me, process in enumerate(crew):
            told = msgspec.structs.replace(order, me=me, at=at)
            assert process.stdin is not None  # noqa: S101  it is a pipe
            process.stdin.write(msgspec.json.encode(told))
            process.stdin.close()
            process.stdin = None
        # They wait for each other: if one ends badly, nobody else ends.
        latest = at + ENDS_WITHIN
        while any(process.poll() is None for process in crew):
            if any(process.poll() for process in crew) or time.time() > latest:
                break
            time.sleep(0.05)
        failed = [process for process in crew if process.poll() != 0]
        said = [process.stdout.read() for process in crew if process.stdout and process not in failed]
    finally:
        for process in crew:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
    if failed:
        raise MeasurementFailed(f"{program} of {order.peer} ended badly; its last words are above")
    return [msgspec.json.decode(one, type=dict[str, float]) for one in said]


def _started(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"bench.peers.{program}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(NO_PROXY="127.0.0.1,localhost", no_proxy="127.0.0.1,localhost"),
        start_new_session=True,
    )


@contextmanager
def flags_for(races: int) -> Iterator[str]:
    """A file with a byte for each race."""
    with tempfile.NamedTemporaryFile(prefix="muster-races-") as file:
        file.write(bytes(races))
        file.flush()
        yield str(Path(file.name))

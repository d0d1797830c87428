"""What is left when Muster itself is killed: nothing on Linux, and nothing after the next start elsewhere."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from muster.embedded.postgres import Postgres
from muster.embedded.valkey import Valkey

MUSTER = """
import sys, signal
from pathlib import Path
from muster.embedded.postgres import Postgres
from muster.embedded.valkey import Valkey

servers = [Postgres(Path(sys.argv[1])), Valkey(Path(sys.argv[1]))]
for server in servers:
    if sys.argv[2:] == ["--orphan"]:
        type(server).stop_signal = signal.SIGCONT  # to a running process this means nothing
    server.start()
print(*(server.pid for server in servers), flush=True)
signal.pause()
"""


def killed_muster(home: Path, *arguments: str) -> list[psutil.Process]:
    """The servers of a Muster that started both and was then killed."""
    muster = subprocess.Popen(
        [sys.executable, "-c", MUSTER, home, *arguments], stdout=subprocess.PIPE, text=True
    )
    with muster:
        assert muster.stdout is not None
        servers = [psutil.Process(int(pid)) for pid in muster.stdout.readline().split()]
        assert len(servers) == 2
        muster.send_signal(signal.SIGKILL)
    return servers


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_until_gone(processes: list[psutil.Process]) -> None:
    while any(is_alive(process) for process in processes):
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_the_servers_end_when_muster_is_killed(home: Path) -> None:
    servers = killed_muster(home)

    try:
        wait_until_gone(servers)
    finally:
        for survivor in filter(is_alive, servers):
            survivor.kill()


def test_the_next_muster_starts_on_the_folder_of_a_killed_one(
    postgres: Postgres, valkey: Valkey, home: Path
) -> None:
    killed_muster(home)

    postgres.start()
    valkey.start()

    with psycopg.connect(postgres.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_servers_that_outlived_muster_are_ended_by_the_next_start(
    postgres: Postgres, valkey: Valkey, home: Path
) -> None:
    orphans = killed_muster(home, "--orphan")
    assert all(is_alive(orphan) for orphan in orphans)

    postgres.start()
    valkey.start()

    assert not any(is_alive(orphan) for orphan in orphans)
    assert postgres.is_running
    assert valkey.is_running

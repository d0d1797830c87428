"""Child processes that do not outlive Muster, and an end for those of an earlier run that did."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from muster.embedded.account import Account

_LAUNCHER = Path(__file__).with_name("launch.py")
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
_GENTLE_SECONDS = 10.0
_KILL_SECONDS = 5.0


def launch(
    command: Sequence[str | Path],
    *,
    account: Account,
    folder: Path,
    output: IO[bytes] | int,
    death_signal: signal.Signals,
    read: IO[bytes] | int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start `command` as `account` in `folder`; on Linux it gets `death_signal` when this thread ends."""
    parting = (death_signal.value, os.getpid(), account.uid, account.gid)
    return subprocess.Popen(
        [sys.executable, "-I", "-S", _LAUNCHER, *map(str, parting), *command],
        cwd=folder,
        env=_ENVIRONMENT,
        stdin=read,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for Muster, which then stops its servers in order
    )


def launch_ours(command: Sequence[str], *, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a process of Muster's own, under our account, that is told to end when this thread ends."""
    parting = (signal.SIGTERM.value, os.getpid(), os.geteuid(), os.getegid())
    return subprocess.Popen(
        [sys.executable, "-I", "-S", _LAUNCHER, *map(str, parting), *command],
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for `up`, which then stops them in order
    )


def end_leftovers(
    names: frozenset[str], folder: Path, *, main_pid: int | None, gently: signal.Signals
) -> None:
    """End every process called one of `names` that works inside `folder`, and wait until it is gone.

    The main process of an earlier run is asked `gently` first. Without it there is nothing left to
    save: PostgreSQL's backends only keep its shared memory, and with it the next start, blocked.
    """
    leftovers = list(_working_in(folder, names))
    if main := [process for process in leftovers if process.pid == main_pid]:
        _send(main, gently)
        _wait(leftovers, _GENTLE_SECONDS)
    # Asked again: in the meantime the main process may have started, or ended, others.
    leftovers = list(_working_in(folder, names))
    _send(leftovers, signal.SIGKILL)
    _wait(leftovers, _KILL_SECONDS)


def _working_in(folder: Path, names: frozenset[str]) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["name"]):
        if process.info["name"] not in names:
            continue
        try:
            if Path(process.cwd()).is_relative_to(folder):
                yield process
        except psutil.Error:  # gone, a zombie, or another account's
            continue


def _send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _wait(processes: Sequence[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(map(_is_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.02)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

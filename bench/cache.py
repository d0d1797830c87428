"""How fast Muster's cache is, and how often it gives out what is outdated, beside its peers.

One run on one machine: the same Valkey and the same PostgreSQL for all, one after another.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psycopg
import redis

from bench.peers.cache_order import CacheOrder
from bench.rig.crew import crewed, flags_for
from bench.rig.failed import MeasurementFailed
from bench.rig.machine import Machine, this_machine
from bench.rig.table import aligned
from muster.embedded.failures import EmbeddedServerError
from muster.embedded.postgres import Postgres
from muster.embedded.valkey import Valkey
from muster.platform import migrations

PEERS = ("muster", "cashews", "aiocache")
PROCESSES = 4


class Run(msgspec.Struct, kw_only=True):
    """`busted_of_100` is how many of a hundred busted entries were read anew; all of them should be."""

    peer: str
    hit_us: float
    miss_us: float
    fill_seconds: float
    bust_ms: float
    busted_of_100: float
    cold_asked: int
    races: int
    stale_races: int
    refused: int
    race_seconds: float


class Report(msgspec.Struct, kw_only=True):
    bench: str
    at: datetime
    machine: Machine
    runs: list[Run]
    is_reached: bool


def main() -> int:
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, signal.default_int_handler)
    try:
        with _servers() as order:
            runs = [_measured(order, peer, options.races) for peer in options.peers]
            machine = this_machine(postgresql=_version(order))
    except KeyboardInterrupt:
        sys.stderr.write("\nbench: stopped; nothing is left running\n")
        return 130
    except (MeasurementFailed, EmbeddedServerError) as error:
        sys.stderr.write(f"\nbench: {error}\n")
        return 1
    muster = next((run for run in runs if run.peer == "muster"), None)
    report = Report(
        bench="cache",
        at=datetime.now(UTC),
        machine=machine,
        runs=runs,
        is_reached=muster is not None and muster.bust_ms <= 1 and not muster.stale_races,
    )
    print(msgspec.json.encode(report).decode() if options.as_json else _in_words(report))
    return 0


@contextlib.contextmanager
def _servers() -> Iterator[CacheOrder]:
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="muster-bench-")))
        home.chmod(0o755)  # as root, PostgreSQL runs under another account
        postgres, valkey = Postgres(home), Valkey(home)
        postgres.start()
        stack.callback(postgres.stop)
        valkey.start()
        stack.callback(valkey.stop)
        migrations.upgrade(postgres.owner_url)
        yield CacheOrder(peer="", redis_url=valkey.url, database_url=postgres.owner_url)


def _measured(order: CacheOrder, peer: str, races: int) -> Run:
    order = msgspec.structs.replace(order, peer=peer)
    with redis.Redis.from_url(order.redis_url) as client:
        client.flushdb()  # a peer would take what another has kept for its own
    _say(f"{peer}: hits, misses and busts")
    (speed,) = crewed("cache_speed", order)
    crew = msgspec.structs.replace(order, processes=PROCESSES)
    cold = crewed("cache_cold", crew)
    _say(f"{peer}: {races:,} races of {PROCESSES} processes")
    raced = _raced(crew, races)
    return Run(
        peer=peer,
        **speed,
        cold_asked=int(sum(one["asked"] for one in cold)),
        races=races,
        stale_races=int(sum(one["stale"] for one in raced)),
        refused=int(sum(one["refused"] for one in raced)),
        race_seconds=max(one["seconds"] for one in raced),
    )


def _raced(order: CacheOrder, races: int) -> list[dict[str, float]]:
    with psycopg.connect(order.database_url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS races")
        connection.execute("CREATE TABLE races (race int PRIMARY KEY, value text NOT NULL)")
        connection.execute("INSERT INTO races SELECT race, 'old' FROM generate_series(0, %s) race", [races])
    with flags_for(races) as flags:
        return crewed("cache_races", msgspec.structs.replace(order, races=races, flags=flags))


def _version(order: CacheOrder) -> str:
    with psycopg.connect(order.database_url) as connection:
        found = connection.execute("SELECT split_part(current_setting('server_version'), ' ', 1)").fetchone()
    return str(found[0]) if found else ""


def _in_words(report: Report) -> str:
    machine = report.machine
    where = (
        *(f"{machine.cores} cores", f"{machine.memory_bytes / 1e9:.0f} GB", machine.system),
        *(f"PostgreSQL {machine.postgresql}", f"Python {machine.python}", f"{report.at:%Y-%m-%d}"),
    )
    return "\n".join(
        [
            "Caches beside each other, on one Valkey over loopback",
            ", ".join(where),
            "",
            aligned([_HEADINGS, *map(_row, report.runs)]),
            "",
            "bust of 10,000 entries within 1 ms, no stale race: "
            + ("reached" if report.is_reached else "not reached"),
        ]
    )


_HEADINGS = (
    *("", "hit µs", "miss µs", "fill 10,000 s", "bust 10,000 ms", "gone of 100"),
    *("origin calls of 80 cold readers", "stale looks", "in races", "late refused"),
)


def _row(run: Run) -> tuple[str, ...]:
    return (
        *(run.peer, f"{run.hit_us:.0f}", f"{run.miss_us:.0f}", f"{run.fill_seconds:.1f}"),
        *(f"{run.bust_ms:,.2f}", f"{run.busted_of_100:.0f}", str(run.cold_asked)),
        *(f"{run.stale_races:,}", f"{run.races:,}", f"{run.refused:,}"),
    )


def _say(words: str) -> None:
    sys.stderr.write(f"bench: {words}\n")
    sys.stderr.flush()


class _Options(msgspec.Struct, kw_only=True):
    races: int
    peers: list[str]
    as_json: bool


def _options() -> _Options:
    parser = argparse.ArgumentParser(prog="./dev bench cache", description=__doc__)
    parser.add_argument("--races", type=int, default=10_000, help="how many (default 10,000)")
    parser.add_argument("--peers", default=",".join(PEERS), help="some of " + ", ".join(PEERS))
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    said = parser.parse_args()
    peers = [name.strip() for name in said.peers.split(",")]
    if unknown := [name for name in peers if name not in PEERS]:
        parser.error(f"argument --peers: there is no {unknown[0]!r}; expected some of {', '.join(PEERS)}")
    if not 1 <= said.races <= 1_000_000:
        parser.error("argument --races: from 1 to 1,000,000")
    return _Options(races=said.races, peers=peers, as_json=said.json)


if __name__ == "__main__":
    sys.exit(main())

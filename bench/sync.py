"""How fast Muster brings a Google Workspace directory into PostgreSQL, beside its peers.

One run on one machine: the same sandbox company and the same PostgreSQL for all, one after another.
"""

import argparse
import contextlib
import operator
import signal
import sys
from datetime import UTC, datetime
from typing import NoReturn

import httpx2
import msgspec
from psycopg import sql
from typing_extensions import override

from bench.rig.failed import MeasurementFailed
from bench.rig.ledger import Ledger
from bench.rig.machine import Machine, this_machine
from bench.rig.peer import Order
from bench.rig.run import Run, measure
from bench.rig.servers import Servers, running, sandbox_knows
from bench.rig.table import aligned
from muster.embedded.failures import EmbeddedServerError
from muster.people import google_directory
from muster.platform import migrations

PEERS = ("idiomatic", "orm")
ROW_BY_ROW_UP_TO = 100_000
"""Above it these peers take many minutes, so they run only if they are named."""

CHANGE = {"title": "Changed for a measurement"}


class Goal(msgspec.Struct, kw_only=True):
    """A figure of DESIGN's table; `reached` is None where this run did not measure it."""

    what: str
    wanted: str
    figure: float | None
    reached: bool | None


class Report(msgspec.Struct, kw_only=True):
    bench: str
    at: datetime
    people: int
    changed: int
    latency_ms: int
    machine: Machine
    runs: list[Run]
    skipped: list[str]
    goals: list[Goal]

    def run(self, peer: str, run: str) -> Run | None:
        return next((one for one in self.runs if (one.peer, one.run) == (peer, run)), None)


class Options(msgspec.Struct, kw_only=True):
    people: int
    peers: list[str]
    skipped: list[str]
    latency_ms: int
    as_json: bool


def main() -> int:
    options = _options()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, signal.default_int_handler)
    try:
        report = _measured(options)
    except KeyboardInterrupt:
        sys.stderr.write("\nbench: stopped; nothing is left running\n")
        return 130
    except (MeasurementFailed, EmbeddedServerError) as error:
        sys.stderr.write(f"\nbench: {error}\n")
        return 1
    print(msgspec.json.encode(report).decode() if options.as_json else _in_words(report))
    return 0


def _measured(options: Options) -> Report:
    _say(f"starting PostgreSQL, Valkey and the sandbox company with {options.people:,} people")
    with running(people=options.people, latency_ms=options.latency_ms) as servers:
        order = _order(servers)
        migrations.upgrade(order.database_url)
        with Ledger(order.database_url) as ledger:
            machine = this_machine(postgresql=ledger.server_version)
            for peer in options.peers:
                ledger.create_database(sql.Identifier(peer))
            runs = _limits(servers, order, options.people)
            muster_runs, changed = _muster(servers, order, ledger, options.people)
            runs += muster_runs
        if options.peers:
            # They ask for all fields: what of that the sandbox can remember, it shall before they are timed.
            everything = msgspec.structs.replace(order, fields="")
            runs.append(measure(servers, everything, peer="limit", run="without a mask"))
        for peer in options.peers:
            runs += _peer(servers, order, peer, options.people)
    report = Report(
        bench="sync",
        at=datetime.now(UTC),
        people=options.people,
        changed=changed,
        latency_ms=options.latency_ms,
        machine=machine,
        runs=runs,
        skipped=options.skipped,
        goals=[],
    )
    return msgspec.structs.replace(report, goals=_goals(report))


def _order(servers: Servers) -> Order:
    return Order(
        acme=servers.acme,
        home=str(servers.home),
        database_url=servers.postgres.owner_url,
        redis_url=servers.valkey.url,
        fields=google_directory.LISTING_FIELDS,
        page_size=google_directory.PAGE_SIZE,
    )


def _limits(servers: Servers, order: Order, people: int) -> list[Run]:
    """Twice: the first makes the sandbox work out everybody, a later one it may answer from memory."""
    runs = [measure(servers, order, peer="limit", run=run) for run in ("cold", "warm")]
    for run in runs:
        _expect(run.figures.counts["people"], people, "people in the listing")
    return runs


def _muster(servers: Servers, order: Order, ledger: Ledger, people: int) -> tuple[list[Run], int]:
    first = measure(servers, order, peer="muster", run="first load", ledger=ledger)
    _expect(first.figures.counts["created"], people, "people created")
    unchanged = measure(servers, order, peer="muster", run="unchanged", ledger=ledger)
    _expect(unchanged.figures.counts["unchanged"], people, "people unchanged")
    changed = _change_some(servers, ledger, people // 100)
    some = measure(servers, order, peer="muster", run="1 % changed", ledger=ledger)
    _expect(some.figures.counts["updated"], changed, "people updated")
    _expect(ledger.count_here(), people, "people in Muster's table")
    ledger.settle()  # or autovacuum would, at the cost of whoever comes next
    return [first, unchanged, some], changed


def _change_some(servers: Servers, ledger: Ledger, how_many: int) -> int:
    """In the sandbox: in one order where it takes such, one by one where it does not."""
    addresses = ledger.some_addresses(how_many)
    script = f"{servers.acme.issuer}/sandbox/people"
    with httpx2.Client(trust_env=False, timeout=60) as http:
        if not http.post(f"{script}/many", json={"emails": addresses, "patch": CHANGE}).is_success:
            for address in addresses:
                http.post(f"{script}/{address}", json=CHANGE).raise_for_status()
    return len(addresses)


def _peer(servers: Servers, order: Order, peer: str, people: int) -> list[Run]:
    order = msgspec.structs.replace(order, database_url=servers.database_url(peer))
    with Ledger(order.database_url) as ledger:
        runs = [
            measure(servers, order, peer=peer, run=run, ledger=ledger) for run in ("first load", "unchanged")
        ]
        _expect(ledger.count_people(), people, f"people in the table of {peer}")
        ledger.settle()
    return runs


def _expect(counted: int, wanted: int, what: str) -> None:
    """A run that did not do its work has no time worth telling."""
    if counted != wanted:
        raise MeasurementFailed(f"{counted} {what} where {wanted} were expected; nothing was measured")


def _goals(report: Report) -> list[Goal]:
    limit, first = report.run("limit", "warm"), report.run("muster", "first load")
    unchanged, idiomatic = report.run("muster", "unchanged"), report.run("idiomatic", "first load")
    peak = max(run.figures.peak_bytes for run in report.runs if run.peer == "muster")
    rows = unchanged.written.rows_in_people if unchanged and unchanged.written else None
    return [
        _goal("first load ÷ limit (warm)", "≤", 1.5, _ratio(first, limit)),
        _goal("idiomatic ÷ muster, first load", "≥", 10, _ratio(idiomatic, first)),
        _goal("first load ÷ unchanged", "≥", 3, _ratio(first, unchanged)),
        _goal("rows of people written when unchanged", "=", 0, rows),
        _goal("peak memory of muster, MB", "<", 200, peak / 1e6),
    ]


def _ratio(one: Run | None, other: Run | None) -> float | None:
    return one.seconds / other.seconds if one and other else None


_SIGNS = {"≤": operator.le, "≥": operator.ge, "<": operator.lt, "=": operator.eq}


def _goal(what: str, sign: str, bound: float, figure: float | None) -> Goal:
    reached = None if figure is None else bool(_SIGNS[sign](figure, bound))
    return Goal(what=what, wanted=f"{sign} {bound:g}", figure=figure, reached=reached)


def _in_words(report: Report) -> str:
    machine = report.machine
    latency = f", answering {report.latency_ms} ms late" if report.latency_ms else ""
    where = (
        *(f"{machine.cores} cores", f"{machine.memory_bytes / 1e9:.0f} GB", machine.system),
        *(f"PostgreSQL {machine.postgresql}", f"Python {machine.python}", f"{report.at:%Y-%m-%d}"),
    )
    lines = [
        f"Sync of {report.people:,} people from the sandbox over loopback{latency} into PostgreSQL",
        ", ".join(where),
        "",
        aligned([_HEADINGS, *map(_row, report.runs)]),
        "",
        aligned([("goal", "wanted", "this run", ""), *map(_judged, report.goals)]),
    ]
    if report.skipped:
        names = ",".join(report.skipped)
        lines.append(f"\nSkipped above {ROW_BY_ROW_UP_TO:,} people: {names}; --peers {names} runs them.")
    return "\n".join(lines)


_HEADINGS = (
    *("", "seconds", "CPU s", "sandbox CPU s", "PostgreSQL CPU s", "peak MB"),
    *("rows of people", "rows, all tables", "WAL MB"),
)


def _row(run: Run) -> tuple[str, ...]:
    written = ("", "", "")
    if run.written:
        rows = (f"{run.written.rows_in_people:,}", f"{run.written.rows:,}")
        written = (*rows, f"{run.written.wal_bytes / 1e6:.1f}")
    return (
        f"{run.peer}, {run.run}",
        f"{run.seconds:.2f}",
        f"{run.figures.cpu_seconds:.2f}",
        f"{run.sandbox_cpu_seconds:.2f}",
        "" if run.postgres_cpu_seconds is None else f"{run.postgres_cpu_seconds:.2f}",
        f"{run.figures.peak_bytes / 1e6:.0f}",
        *written,
    )


def _judged(goal: Goal) -> tuple[str, ...]:
    if goal.figure is None:
        return goal.what, goal.wanted, "", "not measured"
    return goal.what, goal.wanted, f"{goal.figure:.3g}", "reached" if goal.reached else "not reached"


def _say(line: str) -> None:
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


class _Parser(argparse.ArgumentParser):
    @override
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"bench: {message}\n")


def _options() -> Options:
    parser = _Parser(prog="./dev bench sync", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--people", type=_people, default=100_000, help="1000 to 1,000,000 (default: 100,000)"
    )
    parser.add_argument(
        "--peers", default="all", help=f"all, none, or some of {', '.join(PEERS)}, separated by commas"
    )
    parser.add_argument(
        "--latency", type=_latency, default=0, metavar="MS", help="how late the sandbox answers (default: 0)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    given = parser.parse_args()
    peers, skipped = _peers(parser, given.peers, given.people)
    if given.latency and not sandbox_knows("--latency"):
        parser.error("--latency: this sandbox company has no such option")
    return Options(
        people=given.people, peers=peers, skipped=skipped, latency_ms=given.latency, as_json=given.json
    )


def _people(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 1000 <= (people := int(text)) <= 1_000_000:
            return people
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1000 to 1000000")


def _latency(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 0 <= (latency := int(text)) <= 10_000:
            return latency
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds from 0 to 10000")


def _peers(parser: argparse.ArgumentParser, text: str, people: int) -> tuple[list[str], list[str]]:
    """Those to run, and those that are skipped for the number of people."""
    if text == "none":
        return [], []
    if text == "all":
        return ([], list(PEERS)) if people > ROW_BY_ROW_UP_TO else (list(PEERS), [])
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(
            f"argument --peers: there is no {unknown[0]!r}; expected all, none or some of {', '.join(PEERS)}"
        )
    return names, []


if __name__ == "__main__":
    sys.exit(main())

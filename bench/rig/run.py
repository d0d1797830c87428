"""One peer's one run, in a process of its own, with what it cost itself and the servers."""

import subprocess
import sys

import msgspec

from bench.rig.failed import MeasurementFailed
from bench.rig.ledger import Ledger, Written
from bench.rig.peer import Figures, Order
from bench.rig.servers import Servers, environment


class Run(msgspec.Struct, kw_only=True):
    """`postgres_cpu_seconds` and `written` are None where no database was in play."""

    peer: str
    run: str
    figures: Figures
    sandbox_cpu_seconds: float
    postgres_cpu_seconds: float | None
    written: Written | None

    @property
    def seconds(self) -> float:
        return self.figures.seconds


def measure(servers: Servers, order: Order, *, peer: str, run: str, ledger: Ledger | None = None) -> Run:
    """Raises MeasurementFailed when the peer ends badly; its own words have been on stderr by then."""
    sys.stderr.write(f"bench: {peer}, {run} …")
    sys.stderr.flush()
    if ledger:
        ledger.settle()
    sandbox_before, postgres_before = servers.cpu_seconds()
    figures = _told(peer, order)
    sys.stderr.write(f" {figures.seconds:.2f} s\n")
    written = ledger.written() if ledger else None
    sandbox, postgres = servers.cpu_seconds()
    return Run(
        peer=peer,
        run=run,
        figures=figures,
        sandbox_cpu_seconds=sandbox - sandbox_before,
        postgres_cpu_seconds=postgres - postgres_before if ledger else None,
        written=written,
    )


def _told(peer: str, order: Order) -> Figures:
    with subprocess.Popen(
        [sys.executable, "-m", f"bench.peers.{peer}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
        start_new_session=True,  # Ctrl-C is for us, who then end it
    ) as process:
        try:
            said, _ = process.communicate(msgspec.json.encode(order))
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise MeasurementFailed(f"{peer} ended with status {process.returncode}; its last words are above")
    return msgspec.json.decode(said, type=Figures)

"""What `muster drill` does, once its words have been read."""

import asyncio
import contextlib
import getpass
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import click
import msgspec

from muster.commands import Progress
from muster.errors import MusterError, Unavailable
from muster.platform.actor import Origin, System
from muster.readiness import job_drill
from muster.readiness.drills import DRILLS, JOBS, Drill
from muster.settings import Settings
from muster.wiring import portal

_HERE = Origin(via="command line")


def list_drills(*, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(msgspec.json.encode({"drills": DRILLS}).decode() + "\n")
        return
    for one in DRILLS:
        click.echo(f"{one.name}  proves {one.row}")
        for label, words in (("does", one.does), ("touches", one.touches), ("takes", one.takes)):
            click.echo(click.wrap_text(f"{label}: {words}", 100, "  ", "    "))


async def drill(
    names: Sequence[str], faults: Mapping[str, int], settings: Settings | None, *, as_json: bool
) -> int:
    """Carry the named drills out, say what each showed, and keep it; the exit status."""
    known = {one.name: one for one in DRILLS}
    if unknown := [name for name in names if name not in known]:
        raise MusterError(f"there is no drill {unknown[0]!r}; expected of {', '.join(known)}")
    outcomes = {}
    plan = msgspec.structs.replace(job_drill.Plan(), **faults)
    with _ends_on_sigterm():
        for name in dict.fromkeys(names):
            with Progress() as progress:
                outcomes[name] = await job_drill.drill(plan, _unheard if as_json else progress.show)
            await _keep(known[name], outcomes[name], settings)
            if not as_json:
                _print(name, outcomes[name])
    if as_json:
        told = [
            {"name": name, "held": outcome.held, **msgspec.structs.asdict(outcome)}
            for name, outcome in outcomes.items()
        ]
        sys.stdout.write(msgspec.json.encode({"drills": told}).decode() + "\n")
    return 0 if all(outcome.held for outcome in outcomes.values()) else 1


def _unheard(_: str) -> None:
    """What programs read holds the outcome alone."""


def _print(name: str, outcome: job_drill.Outcome) -> None:
    for line in outcome.lines():
        click.echo(line)
    click.echo(f"{name}: {'held' if outcome.held else 'DID NOT HOLD'}")


async def _keep(which: Drill, outcome: job_drill.Outcome, settings: Settings | None) -> None:
    """As evidence of the row; a system that is not set up, or away, has none to keep it for."""
    if settings is None:
        click.echo("muster: kept nowhere, as no system is set up here", err=True)
        return
    async with portal(settings, application="muster-drill") as made:
        try:
            await made.drills.keep(
                which,
                held=outcome.held,
                evidence=outcome.evidence,
                figures=outcome,
                took=timedelta(seconds=outcome.seconds),
                by=System(f"command line ({getpass.getuser()})"),
                origin=_HERE,
            )
        except Unavailable as error:
            click.echo(f"muster: not kept as evidence of {JOBS.row}: {error}", err=True)


@contextlib.contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """As Ctrl-C does it: whatever the drill has started ends with it."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    told = asyncio.Event()

    def end() -> None:
        told.set()
        if task:
            task.cancel()

    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield
    except asyncio.CancelledError:
        if told.is_set():
            raise SystemExit(128 + signal.SIGTERM) from None
        raise
    finally:
        loop.remove_signal_handler(signal.SIGTERM)

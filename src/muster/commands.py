"""What the shorter commands do, once their words have been read."""

import asyncio
import getpass
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from muster import __version__
from muster.errors import MusterError
from muster.people.runs import SyncRun
from muster.platform.actor import System
from muster.readiness.proofs import Checked, Judged, Status, tally
from muster.readiness.web import in_words
from muster.settings import Settings
from muster.wiring import portal

_MARKS = {
    Status.PROVED: "[green]✓ proved[/]",
    Status.FAILED: "[red]✗ failed[/]",
    Status.STALE: "[yellow]~ stale[/]",
    Status.UNPROVED: "[yellow]? unproved[/]",
    Status.NOT_APPLICABLE: "[dim]– not applicable[/]",
}


async def sync_people(settings: Settings, *, dry_run: bool, say: Callable[[str], object]) -> int:
    """Run a sync here, or follow the worker's if it was quicker; the exit status."""
    async with portal(settings, application="muster-command") as made:
        sync_id = await made.sync.ask(by=System(f"command line ({getpass.getuser()})"), dry_run=dry_run)
        doing = asyncio.create_task(made.sync.run())
        told: tuple[str, int] | None = None
        while True:
            run = await made.sync.get(sync_id)
            if run is None:
                raise MusterError(f"sync {sync_id} is gone")
            if (run.status, run.seen) != told:
                told = (run.status, run.seen)
                if run.status == "running":
                    say(f"{run.seen} people read" + (f" of about {run.expected}" if run.expected else ""))
            if run.finished_at:
                break
            if doing.done() and run.status == "waiting":
                # Another worker was at it; ours comes after.
                doing = asyncio.create_task(made.sync.run())
            await asyncio.sleep(0.2)
        await asyncio.gather(doing, return_exceptions=True)
        say(_said(run))
        return 0 if run.status == "finished" else 1


def _said(run: SyncRun) -> str:
    if run.status != "finished":
        return f"The sync {run.status}: {run.reason}"
    verb = "would be " if run.dry_run else ""
    return (
        f"{run.seen} people in {run.seconds:.1f} s: {run.created} {verb}created, "
        f"{run.updated} {verb}updated, {run.removed} {verb}removed, {run.unchanged} unchanged"
    )


async def check(settings: Settings, *, as_json: bool) -> int:
    """Prove every row and print how it stands; the exit status."""
    async with portal(settings, application="muster-check") as made:
        checked = await made.proofs.prove()
    if as_json:
        sys.stdout.write(msgspec.json.encode(_as_json(checked)).decode() + "\n")
    else:
        _print_table(checked)
    return exit_status(checked.rows)


def exit_status(rows: list[Judged]) -> int:
    statuses = {judged.status for judged in rows}
    if Status.FAILED in statuses:
        return 1
    return 3 if statuses & {Status.STALE, Status.UNPROVED} else 0


def _as_json(checked: Checked) -> dict[str, Any]:
    return {
        "release": __version__,
        "kept": checked.kept,
        "counts": tally(checked.rows),
        "rows": [
            {
                "id": judged.row.id,
                "status": judged.status.value,
                "promise": judged.row.promise,
                "evidence": judged.proof.evidence if judged.proof else None,
                "at": judged.proof.at if judged.proof else None,
                "took_ms": judged.proof.took_ms if judged.proof else None,
                "half_life_seconds": int(judged.row.half_life.total_seconds()),
                "survives": judged.row.survives,
                "remedy": judged.row.remedy,
            }
            for judged in checked.rows
        ],
    }


def _print_table(checked: Checked) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, soft_wrap=False)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("State", "Row", "Evidence", "Good for"):
        table.add_column(name, overflow="fold")
    for judged in checked.rows:
        evidence = judged.proof.evidence if judged.proof else ""
        table.add_row(_MARKS[judged.status], judged.row.id, _plain(evidence), _good_for(judged))
    console.print(table)
    for judged in checked.rows:
        if judged.status is Status.FAILED:
            console.print(f"\n[red]{judged.row.id}[/]: {_plain(judged.row.promise)}")
            console.print(f"  [dim]What to do:[/] {_plain(judged.row.remedy)}")
    counts = tally(checked.rows)
    console.print("\n" + ", ".join(f"{n} {status}" for status, n in counts.items() if n))
    if not checked.kept:
        console.print("[yellow]The evidence could not be written down: PostgreSQL does not answer.[/]")


def _good_for(judged: Judged) -> str:
    return in_words(judged.row.half_life) if judged.status is Status.PROVED else ""


def _plain(text: str) -> str:
    """Without rich's own marks, since evidence may hold brackets."""
    return text.replace("[", r"\[")

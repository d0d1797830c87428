"""What the shorter commands do, once their words have been read."""

import asyncio
import getpass
import re
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, Self, TypeVar

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from muster import __version__
from muster.access.role_grants import role_named
from muster.access.roles import GRANTS, Permission, Role
from muster.access.second_look import NeedsConfirming, SecondLook
from muster.crm.runs import CrmRun
from muster.errors import MusterError, Refusal, SettingsError, VendorError
from muster.people.doctor import SETTINGS
from muster.people.runs import SyncRun
from muster.platform.actor import Origin, System, Who
from muster.platform.step import Standing, Step
from muster.readiness.proofs import Checked, Judged, Status, tally
from muster.readiness.web import in_words
from muster.settings import Settings
from muster.wiring import Portal, portal

LOOK_EVERY = 0.2
SAY_EVERY = 3.0
"""Seconds between lines that nobody may be watching."""

HELD_PAGE = "/people/removals"
_HERE = Origin(via="command line")

_STANDINGS = {
    Standing.OK: ("✓", "green"),
    Standing.FAILED: ("✗", "bold red"),
    Standing.NOT_REACHED: ("–", "yellow"),
}
_MARKS = {
    Status.PROVED: "[green]✓ proved[/]",
    Status.FAILED: "[red]✗ failed[/]",
    Status.STALE: "[yellow]~ stale[/]",
    Status.UNPROVED: "[yellow]? unproved[/]",
    Status.NOT_APPLICABLE: "[dim]– not applicable[/]",
}


async def sync_people(settings: Settings, *, dry_run: bool, is_full: bool) -> int:
    """Sync people, then groups: here, or by following the worker's run if it was quicker; the exit status."""
    statuses = []
    async with portal(settings, application="muster-command") as made:
        for runs in (made.sync, made.groups):
            run = await _follow(runs, _so_far, dry_run=dry_run, is_full=is_full)
            for line in _told(run, held_page=f"{settings.public_url}{HELD_PAGE}"):
                click.echo(line)
            statuses.append(run.status)
            if run.status == "failed":  # what keeps people from being read keeps groups from it
                return 1
    return 0 if set(statuses) == {"finished"} else 1


async def sync_crm(settings: Settings, *, dry_run: bool, is_full: bool) -> int:
    """Sync customers: here, or by following the worker's run if it was quicker; the exit status."""
    async with portal(settings, application="muster-command") as made:
        if not settings.has_hubspot:
            raise SettingsError("HUBSPOT_TOKEN is not set; customers are read from HubSpot with it")
        run = await _follow(made.crm_sync, _customers_so_far, dry_run=dry_run, is_full=is_full)
        for line in _told_of_customers(run):
            click.echo(line)
    return 0 if run.status == "finished" else 1


class _Run(Protocol):
    @property
    def status(self) -> str: ...
    @property
    def finished_at(self) -> datetime | None: ...


AnyRun = TypeVar("AnyRun", bound=_Run)
GivenRun_co = TypeVar("GivenRun_co", covariant=True)


class _Runs(Protocol[GivenRun_co]):
    async def ask(
        self, *, by: Who, origin: Origin | None = None, dry_run: bool = False, is_full: bool = False
    ) -> int: ...
    async def run(self) -> GivenRun_co | None: ...
    async def get(self, sync_id: int) -> GivenRun_co | None: ...


async def _follow(
    runs: _Runs[AnyRun], so_far: Callable[[AnyRun], str], *, dry_run: bool, is_full: bool
) -> AnyRun:
    sync_id = await runs.ask(by=_somebody_here(), dry_run=dry_run, is_full=is_full)
    doing = asyncio.create_task(_begun(runs))
    run: AnyRun | None = None
    try:
        with Progress() as progress:
            while True:
                is_over = doing.done()
                run = await runs.get(sync_id)
                _heed_cancelling()
                if run is None:
                    raise MusterError(f"sync {sync_id} is gone")
                if run.finished_at:
                    return run
                if is_over:
                    doing = _again(doing, runs, run)
                if is_over or run.status == "running":
                    progress.show(so_far(run))
                await asyncio.sleep(LOOK_EVERY)
    finally:
        while not (doing.done() or (run and run.finished_at)):
            doing.cancel()  # again and again, see `_heed_cancelling`
            await asyncio.wait({doing}, timeout=1)
        await asyncio.gather(doing, return_exceptions=True)


def _heed_cancelling() -> None:
    """Ctrl-C cancels but once, and psycopg's pool may swallow that of somebody it has just served."""
    if (task := asyncio.current_task()) and task.cancelling():
        raise asyncio.CancelledError


async def _begun(runs: _Runs[AnyRun]) -> AnyRun | None:
    return await runs.run()


def _again(
    doing: asyncio.Task[AnyRun | None], runs: _Runs[AnyRun], run: AnyRun
) -> asyncio.Task[AnyRun | None]:
    """Try to begin ours where another worker was at it; what kept us from it altogether is raised."""
    error = doing.exception()
    if error and not isinstance(error, VendorError):
        raise error
    return asyncio.create_task(_begun(runs)) if run.status == "waiting" else doing


class Progress:
    """How far a run is: on a terminal one line that is drawn anew, elsewhere a line every few seconds."""

    def __init__(self) -> None:
        console = Console(highlight=False)
        self._live = (
            Live(console=console, transient=True, auto_refresh=False) if console.is_terminal else None
        )
        self._said_at = -SAY_EVERY

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, so_far: str) -> None:
        if self._live:
            self._live.update(Text(so_far, style="dim"), refresh=True)
        elif time.monotonic() - self._said_at >= SAY_EVERY:
            self._said_at = time.monotonic()
            click.echo(so_far)


def _so_far(run: SyncRun) -> str:
    if run.status == "waiting":
        return f"{run.kind.capitalize()}: waiting for the run that is under way"
    about = f" of about {run.expected:,}" if run.expected else ""
    return f"{run.seen:,} {run.kind} read{about}, {run.rate:,.0f} {run.kind}/s, {run.calls:,} calls of Google"


def _told(run: SyncRun, *, held_page: str) -> list[str]:
    """What a run came to, in a line, and in a second one what else there is to know."""
    if run.status != "finished":
        how = "was refused" if run.status == "refused" else run.status
        return [f"The sync of {run.kind} {how}: {run.reason}", *_doctor_may_help(run)]
    would = "would be " if run.dry_run else ""
    members = f", {run.members_added} members added, {run.members_removed} removed"
    counts = (
        f"{run.seen} {run.kind} in {run.seconds:.1f} s ({run.rate:,.0f}/s): {run.created} {would}created, "
        f"{run.updated} {would}updated, {run.removed} {would}removed, {run.unchanged} unchanged"
        + (members if run.kind == "groups" and not run.dry_run else "")
    )
    besides = "; ".join(_besides(run, would, held_page))
    return [counts, *([f"  {besides}"] if besides else []), *_doctor_may_help(run)]


def _besides(run: SyncRun, would: str, held_page: str) -> Iterator[str]:
    if run.held:
        yield f"{run.held} removals {would or 'are '}held for approval" + (
            "" if run.dry_run else f": {held_page}"
        )
    if run.missed:
        yield f"{run.missed} missed by the listing and read by id"
    if run.drift:
        yield f"drift {run.drift}: changes that Google's push had not told"
    if run.retried:
        reasons = ", ".join(f"{times} {code}" for code, times in run.faults.items())
        yield f"Google failed {run.retried} times and was asked again: {reasons}"
    if run.waited_seconds >= 1:
        yield f"waited {run.waited_seconds:.0f} s for Google's quota"
    if run.resumed:
        yield f"went on with run {run.resumed}, which had broken off"
    if run.reason:
        yield run.reason


def _customers_so_far(run: CrmRun) -> str:
    if run.status == "waiting":
        return "Customers: waiting for the run that is under way"
    about = f" of about {run.expected:,}" if run.expected else ""
    step = f"{run.step}: " if run.step else ""
    return (
        f"{step}{run.seen:,} records read{about}, {run.rate:,.0f} records/s, {run.calls:,} calls of HubSpot"
    )


def _told_of_customers(run: CrmRun) -> list[str]:
    """What a run came to, in a line, and in a second one what else there is to know."""
    if run.status != "finished":
        how = "was refused" if run.status == "refused" else run.status
        advice = ["`muster doctor` says, step by step, what of the set-up with HubSpot is not right."]
        return [f"The sync of customers {how}: {run.reason}", *(advice if "token" in str(run.reason) else [])]
    would = "would be " if run.dry_run else ""
    counts = (
        f"{run.seen} records in {run.seconds:.1f} s ({run.rate:,.0f}/s): {run.created} {would}created, "
        f"{run.updated} {would}updated, {run.archived} {would}archived, {run.restored} {would}restored, "
        f"{run.merged} {would}merged, {run.associations} associations {would}moved, {run.unchanged} unchanged"
    )
    besides = "; ".join(_besides_customers(run))
    return [counts, *([f"  {besides}"] if besides else [])]


def _besides_customers(run: CrmRun) -> Iterator[str]:
    yield "everything was listed" if run.is_full else "what changed since the last run was read"
    if run.missed:
        yield f"{run.missed} missed by the listing and read by id"
    if run.drift:
        yield f"drift {run.drift}: changes that earlier runs should have known"
    if run.retried:
        reasons = ", ".join(f"{times} {code}" for code, times in run.faults.items())
        yield f"HubSpot failed {run.retried} times and was asked again: {reasons}"
    if run.waited_seconds >= 1:
        yield f"waited {run.waited_seconds:.0f} s within HubSpot's limits"
    if run.resumed:
        yield f"went on with run {run.resumed}, which had broken off"


def _doctor_may_help(run: SyncRun) -> list[str]:
    if run.status == "refused" or not re.search("google directory|google_", run.reason or "", re.IGNORECASE):
        return []
    return ["`muster doctor` says, step by step, what of the set-up with Google is not right."]


async def doctor(settings: Settings, problems: Mapping[str, str], *, as_json: bool) -> int:
    """Walk through the steps and print each as it is done; the exit status."""
    steps: list[Step] = []
    async with portal(settings, application="muster-doctor") as made:
        for examine in (made.google_doctor.examine, made.hubspot_doctor.examine):
            async for step in examine(problems):
                if not as_json:
                    _print_step(step, earlier=steps)
                steps.append(step)
    failed = [step for step in steps if step.status is Standing.FAILED]
    if as_json:
        sys.stdout.write(msgspec.json.encode({"steps": steps}).decode() + "\n")
    else:
        counts = Counter(step.status for step in steps)
        click.echo(
            f"\n{counts[Standing.OK]} well, {len(failed)} failed, {counts[Standing.NOT_REACHED]} not reached"
        )
    if problems or any(step.id == SETTINGS for step in failed):
        return 2
    return 1 if failed else 0


def _print_step(step: Step, *, earlier: list[Step]) -> None:
    """A line, and below it what to do; where that is what an earlier step said, it is not said again."""
    console = Console(highlight=False)
    mark, style = _STANDINGS[step.status]
    line = Text.assemble((mark, style), f" {step.title:<44} ", (step.detail, "" if step.remedy else "dim"))
    console.print(line, soft_wrap=True)
    same = next((one for one in earlier if one.remedy == step.remedy), None)
    if not step.remedy:
        return
    for told in [f"as for “{same.title}”"] if same else step.remedy.splitlines():
        console.print(Text(f"    {told}"), soft_wrap=True)


async def grant_role(settings: Settings, holder: str, role: str, *, is_group: bool, is_sure: bool) -> int:
    async with portal(settings, application="muster-command") as made:
        give = made.grants.grant_to_group if is_group else made.grants.grant

        async def give_once_sure(named: Role) -> bool:
            if not is_sure:
                await _check_sure(made.second_look, holder, named, is_group=is_group)
            return await give(holder, named, by=_somebody_here(), origin=_HERE)

        return await _changed(made, give_once_sure, holder, role, done="now has", already="already had")


async def revoke_role(settings: Settings, holder: str, role: str, *, is_group: bool) -> int:
    async with portal(settings, application="muster-command") as made:
        take = made.grants.revoke_from_group if is_group else made.grants.revoke

        async def take_away(named: Role) -> bool:
            return await take(holder, named, by=_somebody_here(), origin=_HERE)

        return await _changed(made, take_away, holder, role, done="no longer has", already="did not have")


async def _check_sure(second_look: SecondLook, holder: str, role: Role, *, is_group: bool) -> None:
    """Ask whoever sits at a terminal. Raises NeedsConfirming when they say no, or nobody sits there."""
    try:
        await second_look.check(holder, role, is_group=is_group)
    except NeedsConfirming as doubt:
        if not sys.stdin.isatty():
            raise NeedsConfirming(f"{doubt} If that is meant, say --yes.") from doubt
        click.echo(str(doubt), err=True)
        if not click.confirm("Is that meant?", err=True):
            raise NeedsConfirming("Nothing was changed.") from doubt


async def _changed(
    made: Portal,
    change: Callable[[Role], Awaitable[bool]],
    holder: str,
    role: str,
    *,
    done: str,
    already: str,
) -> int:
    """Change a role and say so; the exit status."""
    try:
        was_changed = await change(role_named(role))
    except Refusal as refusal:
        click.echo(f"muster: {refusal}", err=True)
        return 1
    click.echo(f"{holder} {done if was_changed else already} the role {role}.")
    if made.rights.has_to_tell:
        click.echo("Redis does not answer: it counts within a minute of its return.", err=True)
    return 0


async def list_roles(settings: Settings, *, as_json: bool) -> None:
    async with portal(settings, application="muster-command") as made:
        people, groups = await made.role_book.list_of_people(), await made.role_book.list_of_groups()
    if as_json:
        may = {role.value: [one.value for one in Permission if one in GRANTS[role]] for role in Role}
        told = {"people": people, "groups": groups, "roles": may}
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
        return
    rows = [
        *((one.email or one.group_id, "group", one.role, one.granted_at, one.granted_by) for one in groups),
        *((one.email, "person", one.role, one.granted_at, one.granted_by) for one in people),
    ]
    width = max((len(row[0]) for row in rows), default=0)
    for who, kind, role, at, by in rows:
        click.echo(
            f"{who:<{width}}  {kind:<6}  {role:<11}  given {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC by {by}"
        )
    if not rows:
        click.echo("Nobody has a role of their own; whoever may sign in is a member.")


def _somebody_here() -> System:
    return System(f"command line ({getpass.getuser()})")


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
                "remedy": judged.remedy,
                "mend_first": judged.mend_first.id if judged.mend_first else None,
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
    failed = {judged.row.id: judged for judged in checked.rows if judged.status is Status.FAILED}
    for row_id, judged in failed.items():
        # One server that is away takes many rows with it, and its remedy is told where it is due.
        first = judged.mend_first.id if judged.mend_first else ""
        remedy = f"First mend {first}." if first in failed else judged.remedy
        console.print(f"\n[red]{row_id}[/]: {_plain(judged.row.promise)}")
        console.print(f"  [dim]What to do:[/] {_plain(remedy)}")
    counts = tally(checked.rows)
    console.print("\n" + ", ".join(f"{n} {status}" for status, n in counts.items() if n))
    if not checked.kept:
        console.print("[yellow]The evidence could not be written down: PostgreSQL does not answer.[/]")


def _good_for(judged: Judged) -> str:
    return in_words(judged.row.half_life) if judged.status is Status.PROVED else ""


def _plain(text: str) -> str:
    """Without rich's own marks, since evidence may hold brackets."""
    return text.replace("[", r"\[")

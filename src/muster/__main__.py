"""The command line. Commands import what they run when they run it, so that help is there at once."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from typing_extensions import override

from muster.errors import MusterError

# ruff: noqa: PLC0415  see above

MOST_AT_ONCE = 100

if TYPE_CHECKING:
    from muster.settings import Settings


class _Program(click.Group):
    """Turns our errors into one line on standard error and exit status 2."""

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MusterError as error:
            click.echo(f"muster: {error}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("muster: interrupted", err=True)
            ctx.exit(130)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="muster")
def main() -> None:
    """The company's portal, and the checklist that proves it is fit to run."""


@main.command()
def up() -> None:
    """Run everything on this machine, until Ctrl-C."""
    from muster.up import up as run_everything

    sys.exit(run_everything(Path.cwd()))


@main.command()
def web() -> None:
    """Serve the portal on PORT."""
    from muster.web import serve

    _run(serve(_settings("web")))


@main.command()
@click.option("--queues", help="Only these, as in people:2,crm; all of them otherwise.")
@click.option(
    "--concurrency",
    type=click.IntRange(2, MOST_AT_ONCE),  # the checklist's proof is a job that waits for another
    default=4,
    show_default=True,
    help="Jobs at once of each queue that names no number.",
)
def worker(queues: str | None, concurrency: int) -> None:
    """Run background jobs, until SIGTERM."""
    from muster.platform.queue import QUEUES
    from muster.worker import work

    known = [spec.name for spec in QUEUES]
    asked = [name.strip() for name in (queues or "").split(",") if name.strip()] or known
    by_queue = dict(_at_once(one, known, concurrency) for one in asked)
    _run(work(_settings("worker"), concurrency=by_queue))


def _at_once(asked: str, known: Sequence[str], otherwise: int) -> tuple[str, int]:
    """A queue and how many of its jobs are to run at once."""
    name, _, number = asked.partition(":")
    if name not in known:
        raise click.BadParameter(f"there is no queue {name!r}; expected of {', '.join(known)}")
    least = 2 if name == "upkeep" else 1
    if not number:
        return name, otherwise
    if not (number.isdecimal() and least <= int(number) <= MOST_AT_ONCE):
        raise click.BadParameter(f"jobs at once of {name} are from {least} to {MOST_AT_ONCE}, not {number!r}")
    return name, int(number)


@main.command()
def migrate() -> None:
    """Bring the database's tables to this release."""
    from muster.platform import migrations

    settings = _settings("migrate", with_owner=True)
    app = settings.database_url
    owner = settings.database_owner_url or app
    for excess in migrations.upgrade(owner.reveal(), app.reveal()):
        click.echo(f"muster: more than it should: {excess}", err=True)
    click.echo(f"The tables are of version {migrations.head()}.")


@main.group()
def sync() -> None:
    """Read from Google or HubSpot now."""


@sync.command("people")
@click.option("--full", is_flag=True, help="Begin the listing anew, and read every group's members.")
@click.option("--dry-run", is_flag=True, help="Count what would change, and change nothing.")
def sync_people(*, full: bool, dry_run: bool) -> None:
    """Bring people and groups in step with Google Workspace.

    Exit status: 0 finished, 1 failed or not believed, 2 could not run.
    """
    from muster.commands import sync_people as run

    if full and dry_run:
        raise click.UsageError("--full and --dry-run exclude each other: a dry run always begins anew")
    sys.exit(_run(run(_settings("command"), dry_run=dry_run, is_full=full)))


@sync.command("crm")
@click.option("--full", is_flag=True, help="List everything, not only what changed.")
@click.option("--dry-run", is_flag=True, help="Count what would change, and change nothing.")
def sync_crm(*, full: bool, dry_run: bool) -> None:
    """Bring deals, contacts and companies in step with HubSpot.

    Exit status: 0 finished, 1 failed or not believed, 2 could not run.
    """
    from muster.commands import sync_crm as run

    sys.exit(_run(run(_settings("command"), dry_run=dry_run, is_full=full)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help='One JSON object: {"rows": [{"id", "status", …}], …}')
def check(*, as_json: bool) -> None:
    """Prove every promise of the live checklist now.

    Exit status: 0 all proved, 1 something failed, 2 could not run, 3 stale or unproved.
    """
    from muster.commands import check as run

    sys.exit(_run(run(_settings("command"), as_json=as_json)))


@main.command()
@click.argument("names", metavar="[NAME]…", nargs=-1)
@click.option("--jobs", type=click.IntRange(1, 1_000_000), help="How many jobs, in place of 10,000.")
@click.option("--kills", type=click.IntRange(0, 10_000), help="How many kills of workers, in place of 200.")
@click.option(
    "--redis-restarts", type=click.IntRange(0, 1000), help="How many kills of Redis, in place of 5."
)
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='One JSON object: {"drills": [{"name", "held", …figures}]}; without a name those that there are.',
)
def drill(
    names: tuple[str, ...], *, jobs: int | None, kills: int | None, redis_restarts: int | None, as_json: bool
) -> None:
    """Cause faults on purpose, on servers of the drill's own; without a NAME, list the drills.

    What a drill shows is kept as a row's evidence where a database is set.

    Exit status: 0 it held, 1 it did not, 2 could not run.
    """
    from muster.drilling import drill as run
    from muster.drilling import list_drills

    if not names:
        list_drills(as_json=as_json)
        return
    faults = {"jobs": jobs, "kills": kills, "redis_restarts": redis_restarts}
    given = {name: number for name, number in faults.items() if number is not None}
    sys.exit(_run(run(names, given, _settings_if_set(), as_json=as_json)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help='One JSON object: {"steps": [{"id", "status", …}], …}')
def doctor(*, as_json: bool) -> None:
    """Examine the set-up with Google and HubSpot, step by step, in plain words.

    Exit status: 0 all is well, 1 a step failed, 2 settings are missing or wrong.
    """
    from muster.commands import doctor as run
    from muster.platform import telemetry
    from muster.settings import survey

    # What goes wrong is told in steps, and nothing may stand between the lines.
    telemetry.configure("fatal", name="muster-doctor", stream=sys.stderr)
    settings, problems = survey()
    sys.exit(_run(run(settings, problems, as_json=as_json)))


@main.group()
def roles() -> None:
    """Say who may do what: give roles, take them, list them.

    The roles are sales, people-team, operations, auditor and admin; what each may do is on /admin/roles.
    """


_HOLDER = click.argument("holder", metavar="ADDRESS")
_ROLE = click.argument("role")
_GROUP = click.option("--group", "is_group", is_flag=True, help="ADDRESS is a Google group's.")


@roles.command("grant")
@_HOLDER
@_ROLE
@_GROUP
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask what deserves a second look.")
def grant_role(holder: str, role: str, *, is_group: bool, is_sure: bool) -> None:
    """Give somebody a role, or everybody in a group.

    Asks first about an address that the directory does not know, and about a group that is large, has
    members from outside, or would make admins. Without a terminal to ask at, it refuses unless --yes.

    Exit status: 0 done, or so already, 1 refused, 2 could not run.
    """
    from muster.commands import grant_role as run

    sys.exit(_run(run(_settings("roles"), holder, role, is_group=is_group, is_sure=is_sure)))


@roles.command("revoke")
@_HOLDER
@_ROLE
@_GROUP
def revoke_role(holder: str, role: str, *, is_group: bool) -> None:
    """Take a role away again.

    Exit status: 0 done, or so already, 1 refused, 2 could not run.
    """
    from muster.commands import revoke_role as run

    sys.exit(_run(run(_settings("roles"), holder, role, is_group=is_group)))


@roles.command("list")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='One JSON object: {"people": [{"email", "role", "granted_by", "granted_at", …}], "groups": [the '
    'same of groups], "roles": {"sales": [what it may do], …}}',
)
def list_roles(*, as_json: bool) -> None:
    """List every role that was given, to whom, by whom and when.

    A line for each role of each person and each group, groups first. A role given to a group is that of
    everybody in it. Who has none is a member. With --json also what each role may do.

    Exit status: 0 listed, 2 could not run.
    """
    from muster.commands import list_roles as run

    _run(run(_settings("command"), as_json=as_json))


@main.command()
def config() -> None:
    """Show the settings in force, secrets hidden."""
    from muster.settings import load

    shown = load(with_owner=True).shown()
    width = max(map(len, shown))
    for name, value in shown.items():
        click.echo(f"{name:<{width}}  {value}")


def _settings(role: str, *, with_owner: bool = False) -> "Settings":
    """The settings, with logging set up by them.

    A command logs warnings only, beside what it has to say: `check --json` is read by programs. `roles`
    says itself, in words, what the warning would be about.
    """
    from muster.platform import telemetry
    from muster.settings import load

    settings = load(with_owner=with_owner)
    is_process = role in {"web", "worker"}
    telemetry.configure(
        settings.log_level if is_process else "error" if role == "roles" else "warn",
        name="muster-command" if role == "roles" else f"muster-{role}",
        plain=bool(settings.no_color),
        stream=sys.stdout if is_process else sys.stderr,
        secrets=settings.secrets(),
    )
    return settings


def _settings_if_set() -> "Settings | None":
    """For what runs without any: a machine that only builds has none."""
    from muster.errors import SettingsError

    try:
        return _settings("drill")
    except SettingsError:
        return None


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    runner: Callable[..., asyncio.Runner] = asyncio.Runner
    try:
        import uvloop
    except ImportError:  # no uvloop for this platform
        loop_factory = None
    else:
        loop_factory = uvloop.new_event_loop
    with runner(loop_factory=loop_factory) as started:
        return started.run(coroutine)


if __name__ == "__main__":
    main()

"""Entry 3, everything on this machine: the servers that are not named, the sandbox, web and worker.

Children die with this process (Linux: by the kernel's word; elsewhere the next start ends them), a
child that crashes is started again, and on Ctrl-C or SIGTERM all are stopped in order: web and
worker first, the servers they use last.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from environs import FileAwareEnv

from muster import settings as settings_module
from muster.access.roles import Role
from muster.embedded.child import launch_ours
from muster.embedded.postgres import Postgres
from muster.embedded.server import Server
from muster.embedded.valkey import Valkey
from muster.errors import MusterError, SettingsError
from muster.platform import migrations
from muster.platform.actor import System
from muster.platform.listening import listen
from muster.settings import INSTANCE_FILE, OWNER, Settings, child_environment
from muster.wiring import portal

_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""What asks our own processes: never through the proxy that the environment may name."""

READY_WITHIN = 60.0
STOP_WITHIN = 35.0
RESTART_AFTER = 1.0
GIVE_UP_AFTER = 5
"""Crashes of one child in a row, each within a minute of its start, before `up` ends with an error."""


@dataclass(slots=True)
class Child:
    """A process of ours: how it is started, and how often it has just crashed."""

    name: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    crashes: int = 0


@dataclass(slots=True)
class Town:
    """What runs. `environment` is what children are told beside the environment of this process."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    untold: dict[str, str] = field(default_factory=dict)
    """What only commands in other terminals are told beside it, by instance.env."""
    servers: list[Server] = field(default_factory=list)
    children: list[Child] = field(default_factory=list)
    stopping: bool = False


def up(working_folder: Path) -> int:
    """Run until Ctrl-C or SIGTERM; the exit status. Raises MusterError when something cannot start."""
    env = settings_module.read_environment(working_folder, with_instance=False)
    town = Town(home=settings_module.home_folder(env))
    # A terminal that is closed says SIGHUP.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: _stop_watching(town))
    _check(env)
    with _alone(town.home), _stopping(town):
        town.environment["PORT"] = str(settings_module.port(env))
        town.untold["PUBLIC_URL"] = settings_module.public_url(env)
        _start_servers(town, env)
        _start_sandbox(town, env)
        settings = _write_instance(town, working_folder)
        say("bringing the tables up to date")
        _migrate(settings)
        asyncio.run(_furnish(settings))
        _start(town, "web", [sys.executable, "-m", "muster", "web"])
        _await(town, f"http://{_own_host(settings)}:{settings.port}/livez", "the web")
        # After the web, whose pages the worker's first proofs ask for.
        _start(town, "worker", [sys.executable, "-m", "muster", "worker"])
        _welcome(settings)
        return _watch(town)


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the home: two would write over each other's word. The lock ends with the process that has it."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "up.lock").open("w")
    except OSError as error:
        raise MusterError(f"cannot write to {home}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MusterError(f"another Muster is running on {home}") from None
        yield


def say(line: str) -> None:
    sys.stdout.write(f"muster: {line}\n")
    sys.stdout.flush()


def _check(env: FileAwareEnv) -> None:
    """What would end in an error is said before anything is started."""
    if env.str("MUSTER_ENVIRONMENT", "") == "production" and not env.str("GOOGLE_CLIENT_ID", ""):
        raise SettingsError("GOOGLE_CLIENT_ID is not set; in production nobody signs in through a sandbox")
    if env.str(OWNER, "") and not env.str("DATABASE_URL", ""):
        raise SettingsError(f"{OWNER} is set and DATABASE_URL is not; expected both, or neither")
    _people(env)
    settings_module.public_url(env)
    listen("127.0.0.1", settings_module.port(env)).close()


def _start_servers(town: Town, env: FileAwareEnv) -> None:
    """The servers whose addresses nobody has set."""
    wanted: list[tuple[str, Callable[[Path], Server]]] = [
        ("DATABASE_URL", Postgres),
        ("REDIS_URL", Valkey),
    ]
    for name, kind in wanted:
        if env.str(name, ""):
            continue
        server = kind(town.home)
        say(f"starting {server.title}")
        server.start()
        town.servers.append(server)
        town.environment[name] = server.url
        if isinstance(server, Postgres):
            town.untold[OWNER] = server.owner_url


def _start_sandbox(town: Town, env: FileAwareEnv) -> None:
    """The sandbox company, where no Google is named."""
    town.environment.setdefault("SECRET_KEY", env.str("SECRET_KEY", "") or _kept_secret(town.home))
    if env.str("GOOGLE_CLIENT_ID", ""):
        return
    say("starting the sandbox company")
    home = town.home / "acme"
    command = [sys.executable, "-m", "acme", "--people", str(_people(env)), "--home", str(home)]
    has_hubspot = not env.str("HUBSPOT_TOKEN", "")
    if has_hubspot and (hook := _webhook_address(env)):
        command += ["--hubspot-webhooks", hook]
    described = home / "acme.json"
    port = _port_of_last_time(described)
    described.unlink(missing_ok=True)
    child = _start(town, "sandbox", [*command, "--port", str(port)])
    _until(town, described.exists, "the sandbox company")
    acme = json.loads(described.read_text())
    # Started again after a crash, it has to be where it was.
    child.command = [*command, "--port", acme["issuer"].rpartition(":")[2]]
    town.environment |= {
        "GOOGLE_ISSUER": acme["issuer"],
        "GOOGLE_DIRECTORY_URL": acme["directory_url"],
        "GOOGLE_CLIENT_ID": acme["client_id"],
        "GOOGLE_CLIENT_SECRET": acme["client_secret"],
        "GOOGLE_SERVICE_ACCOUNT": acme["service_account"],
        "GOOGLE_ADMIN_EMAIL": acme["admin_email"],
        "ALLOWED_DOMAINS": env.str("ALLOWED_DOMAINS", acme["domain"]),
        "ADMIN_EMAILS": env.str("ADMIN_EMAILS", acme["admin_email"]),
    }
    for name, key in (("ALERT_URLS", "alerts_url"), ("HEARTBEAT_URL", "heartbeat_url")):
        if not env.str(name, ""):
            town.environment[name] = acme[key]
    if has_hubspot:
        town.environment |= {
            "HUBSPOT_URL": acme["hubspot_url"],
            "HUBSPOT_TOKEN": acme["hubspot_token"],
            "HUBSPOT_WEBHOOK_SECRET": acme["hubspot_webhook_secret"],
        }
    _await(town, f"{acme['issuer']}/sandbox/ready", "the sandbox company")


def _webhook_address(env: FileAwareEnv) -> str:
    """Where the sandbox's HubSpot sends what changes, "" when that is not on this machine. It is signed, so
    it must be to the letter what the portal is called.
    """
    url = settings_module.public_url(env)
    return f"{url}/hooks/hubspot" if urlsplit(url).hostname in {"localhost", "127.0.0.1", "::1"} else ""


def _people(env: FileAwareEnv) -> int:
    given = env.str("ACME_PEOPLE", "500")
    if not given.isdecimal() or not 3 <= int(given) <= 1_000_000:
        raise SettingsError(f"ACME_PEOPLE is {given!r}; expected a number from 3 to 1000000")
    return int(given)


def _port_of_last_time(described: Path) -> int:
    """Where the sandbox was, if that is still free: every address it gave out holds its port. Otherwise
    0, any free one.
    """
    try:
        port = int(json.loads(described.read_text())["issuer"].rpartition(":")[2])
        listen("127.0.0.1", port).close()
    except (OSError, ValueError, KeyError, MusterError):
        return 0
    return port


def _kept_secret(home: Path) -> str:
    """A key made at the first start, so that forms still hold after the next."""
    path = home / "secret_key"
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(48))
    return path.read_text().strip()


def _write_instance(town: Town, working_folder: Path) -> Settings:
    """Leave word for commands in other terminals, and read the settings as they will."""
    told = town.environment | town.untold
    lines = [f"{name}={json.dumps(value)}" for name, value in sorted(told.items())]
    _write_private(town.home / INSTANCE_FILE, "\n".join(lines) + "\n")
    return settings_module.load(working_folder=working_folder, with_owner=True)


def _migrate(settings: Settings) -> None:
    app = settings.database_url
    owner = settings.database_owner_url or app
    for excess in migrations.upgrade(owner.reveal(), app.reveal()):
        say(f"more than it should: {excess}")


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    draft.replace(path)


async def _furnish(settings: Settings) -> None:
    """In the sandbox, let Ben be of sales as the sandbox's papers say."""
    if settings.is_sandbox:
        async with portal(settings, application="muster-up") as made:
            await made.grants.invite("ben@acme.test", Role.SALES, by=System("sandbox"))


def _start(town: Town, name: str, command: list[str]) -> Child:
    child = Child(name=name, command=command)
    town.children.append(child)
    _launch(town, child)
    return child


def _launch(town: Town, child: Child) -> None:
    child.process = launch_ours(child.command, environment=child_environment(**town.environment))
    child.started_at = time.monotonic()


def _await(town: Town, address: str, what: str) -> None:
    def answers() -> bool:
        try:
            with _DIRECTLY.open(address, timeout=2) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    _until(town, answers, what)


def _until(town: Town, is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while not is_so():
        for child in town.children:
            if child.process and child.process.poll() is not None:
                raise MusterError(f"{what} did not start: {child.name} ended with {child.process.returncode}")
        if town.stopping:
            raise MusterError("stopped before everything had started")
        if time.monotonic() > deadline:
            raise MusterError(f"{what} was not ready within {READY_WITHIN:.0f} s")
        time.sleep(0.05)


def _own_host(settings: Settings) -> str:
    """Where the web is reached from this machine."""
    return "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104  compared, not bound


def _welcome(settings: Settings) -> None:
    address = f"http://localhost:{settings.port}"
    lines = ["", f"  Muster is at {address}"]
    if settings.is_sandbox:
        lines += [
            "  It runs the sandbox company: sign in as ada@acme.test (admin), ben@acme.test (sales)",
            "  or cy@acme.test (member), no password asked. Shortcut:",
            f"  {address}/sign-in/google?login_hint=ada@acme.test",
        ]
    lines += ["  Stop it with Ctrl-C.", ""]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _stop_watching(town: Town) -> None:
    town.stopping = True


def _watch(town: Town) -> int:
    """Keep everything running until told to stop. Raises MusterError when a child keeps crashing."""
    while not town.stopping:
        for server in town.servers:
            if not server.is_running:
                say(f"{server.title} ended with {server.exit_status}; starting it again")
                server.start()
        for child in town.children:
            if child.process and child.process.poll() is not None:
                _ended(town, child, child.process.returncode)
        time.sleep(0.2)
    return 0


def _ended(town: Town, child: Child, status: int) -> None:
    """A crash is mended; an orderly end was somebody's wish and stays."""
    child.process = None
    wished = status in {0, -signal.SIGTERM}  # the signal itself ends one that has only just begun
    if wished and child.name != "sandbox":  # which nothing else would start again
        say(f"{child.name} was stopped and stays so; `./dev {child.name}` starts it again elsewhere")
        return
    child.crashes = child.crashes + 1 if time.monotonic() - child.started_at < 60 else 1
    if child.crashes > GIVE_UP_AFTER:
        raise MusterError(
            f"{child.name} has crashed {child.crashes} times in a row; see its last lines above"
        )
    say(f"{child.name} ended with {status}; starting it again")
    time.sleep(RESTART_AFTER)
    _launch(town, child)


@contextlib.contextmanager
def _stopping(town: Town) -> Iterator[None]:
    """However it ends: web and worker first, together, then the sandbox, then the servers."""
    try:
        yield
    finally:
        town.stopping = True
        running = [child for child in town.children if child.process and child.process.poll() is None]
        if running or town.servers:
            say("stopping")
        _end([child for child in running if child.name != "sandbox"])
        _end([child for child in running if child.name == "sandbox"])
        for server in reversed(town.servers):
            server.stop()
        (town.home / INSTANCE_FILE).unlink(missing_ok=True)


def _end(children: list[Child]) -> None:
    processes = [child.process for child in children if child.process]
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_WITHIN
    for process in processes:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

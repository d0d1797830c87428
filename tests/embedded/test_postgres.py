import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from muster.embedded.failures import (
    AlreadyRunningError,
    EmbeddedServerError,
    PortTakenError,
    RefusedToStartError,
)
from muster.embedded.postgres import Postgres
from muster.embedded.valkey import Valkey


def ask(server: Postgres, question: str) -> str:
    with psycopg.connect(server.owner_url, autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
    assert row is not None
    return str(row[0])


def keep(server: Postgres, note: str) -> None:
    with psycopg.connect(server.owner_url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS notes (note text)")
        connection.execute("INSERT INTO notes VALUES (%s)", [note])


def notes(server: Postgres) -> str:
    return ask(server, "SELECT string_agg(note, ',' ORDER BY note) FROM notes")


def processes_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
    return found


@contextmanager
def busy_backend(server: Postgres) -> Iterator[None]:
    """A session in the middle of a query that would take hours, and never looks up from it."""
    connection = psycopg.connect(server.owner_url, autocommit=True)
    started = threading.Event()

    def work() -> None:
        started.set()
        with suppress(psycopg.OperationalError):
            connection.execute("SELECT count(*) FROM generate_series(1, 1000000000000)")

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    while ask(server, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%generate_series(1%'") < "2":
        pass
    yield
    thread.join()
    connection.close()


def test_what_was_kept_is_there_after_a_restart(postgres: Postgres) -> None:
    postgres.start()
    keep(postgres, "before")

    postgres.stop()
    postgres.start()

    assert notes(postgres) == "before"


def test_the_database_is_durable_and_reads_text_in_every_language(postgres: Postgres) -> None:
    postgres.start()

    shown = [ask(postgres, f"SHOW {name}") for name in ("synchronous_commit", "data_checksums", "TimeZone")]

    assert ask(postgres, "SELECT current_database()") == "muster"
    assert shown == ["on", "on", "UTC"]
    assert ask(postgres, "SELECT lower('ÅSA ŁUCJA')") == "åsa łucja"


def test_a_committed_row_outlives_a_crash(postgres: Postgres) -> None:
    postgres.start()
    keep(postgres, "committed")

    postgres.kill()

    assert (postgres.is_running, postgres.exit_status) == (False, -9)
    postgres.start()
    assert postgres.is_running
    assert postgres.exit_status is None
    assert notes(postgres) == "committed"


def test_it_starts_again_at_once_after_a_crash_with_a_query_running(postgres: Postgres, home: Path) -> None:
    postgres.start()
    with busy_backend(postgres):
        postgres.kill()
        assert processes_in(home), "the busy backend should have outlived its postmaster"

        postgres.start()

    assert ask(postgres, "SELECT 1") == "1"


def test_a_stop_after_a_crash_leaves_no_process(postgres: Postgres, home: Path) -> None:
    postgres.start()
    with busy_backend(postgres):
        postgres.kill()

        postgres.stop()

    assert processes_in(home) == []


def test_a_process_id_left_by_a_crash_and_used_anew_is_no_obstacle(
    postgres: Postgres, valkey: Valkey
) -> None:
    postgres.start()
    valkey.start()
    postgres.kill()
    pid_file = postgres.log_path.with_name("data") / "postmaster.pid"
    stranger = pid_file.read_text().replace(str(postgres.pid), str(valkey.pid), 1)
    pid_file.write_text(stranger)

    postgres.start()

    assert postgres.is_running
    assert valkey.is_running


def test_half_a_set_up_is_begun_anew(home: Path) -> None:
    postgres = Postgres(home)
    draft = home / "postgres" / "data.draft"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")

    postgres.start()

    assert ask(postgres, "SELECT 1") == "1"
    assert not draft.exists()
    postgres.stop()


def test_the_address_stays_the_same_for_the_next_start_and_the_next_muster(
    postgres: Postgres, home: Path
) -> None:
    postgres.start()
    url = postgres.url
    postgres.stop()

    second = Postgres(home)
    second.start()
    second.kill()
    second.start()

    assert second.url == url
    assert ask(second, "SELECT 1") == "1"
    second.stop()


def test_another_process_knows_the_address_of_a_running_server(postgres: Postgres, home: Path) -> None:
    postgres.start()

    assert Postgres(home).url == postgres.url


def test_there_is_no_address_before_the_first_start(home: Path) -> None:
    with pytest.raises(EmbeddedServerError, match="no server was set up there"):
        _ = Postgres(home).url


@pytest.mark.parametrize("role", ["muster", "muster_app"])
def test_the_password_is_asked_for(postgres: Postgres, role: str) -> None:
    postgres.start()
    host, port = "127.0.0.1", postgres.url.rpartition(":")[2].partition("/")[0]

    for password in ("", "guessed"):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(host=host, port=port, user=role, dbname="muster", password=password, passfile="/")


@pytest.mark.parametrize("name", ["password", "app_password"])
def test_only_its_owner_may_read_a_password(postgres: Postgres, home: Path, name: str) -> None:
    postgres.start()

    password = home / "postgres" / name

    assert password.read_text().strip() in postgres.owner_url + postgres.url
    assert password.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["password", "app_password"])
def test_a_lost_password_is_replaced(postgres: Postgres, home: Path, name: str) -> None:
    lost = home / "postgres" / name
    before = lost.read_text()
    lost.unlink()

    postgres.start()

    assert role_of(postgres.url) == "muster_app"
    assert role_of(postgres.owner_url) == "muster"
    assert lost.read_text() != before


def test_a_home_from_before_there_were_two_roles_is_given_the_second(postgres: Postgres, home: Path) -> None:
    postgres.start()
    keep(postgres, "from before")
    with psycopg.connect(postgres.owner_url) as connection:
        connection.execute("DROP ROLE muster_app")
    postgres.stop()
    (home / "postgres" / "app_password").unlink()

    postgres.start()

    assert role_of(postgres.url) == "muster_app"
    assert notes(postgres) == "from before"


def test_the_portals_role_is_nobody_in_particular(postgres: Postgres) -> None:
    postgres.start()

    told = ask(
        postgres,
        "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolinherit OR rolreplication OR rolbypassrls "
        "FROM pg_roles WHERE rolname = 'muster_app'",
    )

    assert told == "False"


def role_of(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT session_user").fetchone()
    assert row
    return str(row[0])


def test_a_second_muster_on_the_folder_is_refused(postgres: Postgres, home: Path) -> None:
    postgres.start()

    with pytest.raises(AlreadyRunningError, match=r"another Muster is running on .*/postgres$"):
        Postgres(home).start()

    assert ask(postgres, "SELECT 1") == "1"


def test_one_that_lost_the_folder_to_another_muster_ends_nothing_of_it(
    postgres: Postgres, home: Path
) -> None:
    earlier = Postgres(home)
    earlier.start()
    earlier.stop()
    postgres.start()

    with pytest.raises(AlreadyRunningError):
        earlier.start()
    earlier.stop()

    assert ask(postgres, "SELECT 1") == "1"


def test_a_restart_says_which_port_was_taken_from_it(postgres: Postgres) -> None:
    postgres.start()
    port = int(postgres.url.rpartition(":")[2].partition("/")[0])
    postgres.kill()

    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(PortTakenError, match=f"port {port} is taken"),
    ):
        postgres.start()

    postgres.start()
    assert ask(postgres, "SHOW port") == str(port)


def test_the_next_muster_takes_another_port_where_its_own_is_taken(postgres: Postgres, home: Path) -> None:
    postgres.start()
    port = int(postgres.url.rpartition(":")[2].partition("/")[0])
    postgres.stop()

    following = Postgres(home)
    with socket.create_server(("127.0.0.1", port)):
        following.start()

    assert ask(following, "SHOW port") != str(port)
    following.stop()


def test_configuration_is_added_to_ours(home: Path) -> None:
    server = Postgres(home, {"work_mem": "7MB", "max_connections": "12"})
    server.start()

    assert (ask(server, "SHOW work_mem"), ask(server, "SHOW max_connections")) == ("7MB", "12")
    server.stop()


def test_a_refusal_carries_the_servers_own_words_and_leaves_the_folder_free(
    postgres: Postgres, home: Path
) -> None:
    mistaken = Postgres(home, {"wal_level": "sideways"})

    with pytest.raises(RefusedToStartError) as refused:
        mistaken.start()

    assert (
        str(refused.value)
        == 'PostgreSQL refused to start: invalid value for parameter "wal_level": "sideways"'
    )
    assert not mistaken.is_running
    postgres.start()


def test_a_home_deeper_than_a_socket_path_may_be_is_fine(home: Path) -> None:
    server = Postgres(home / ("deep-" * 12) / ("and deeper " * 10) / "still")
    server.start()

    assert len(str(server.log_path)) > 200
    assert ask(server, "SELECT 1") == "1"
    server.stop()


def test_it_is_started_from_the_main_thread_only(postgres: Postgres) -> None:
    refused = []

    def start() -> None:
        try:
            postgres.start()
        except RuntimeError as error:
            refused.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()

    assert refused == ["an embedded server would end with this thread: start it from the main one"]


def test_its_tools_can_dump_it(postgres: Postgres) -> None:
    postgres.start()
    keep(postgres, "in the dump")

    dump = subprocess.run(
        [postgres.bin / "pg_dump", "--data-only", postgres.owner_url],
        check=True,
        capture_output=True,
        text=True,
    )

    assert "in the dump" in dump.stdout


def test_the_log_is_kept(postgres: Postgres) -> None:
    postgres.start()

    assert "database system is ready to accept connections" in postgres.log_path.read_text()

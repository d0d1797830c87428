"""The command line: what it says, what it hides, and how it ends."""

import asyncio
import contextlib
import json
import os
import pty
import re
import secrets
import signal
import subprocess
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.entries.command_line import CommandLine, at_once
from tests.town import Town, eventually

from muster.commands import exit_status
from muster.people.google_api import SCOPES
from muster.platform import migrations
from muster.readiness.checklist import ROWS
from muster.readiness.proofs import Judged, Status
from muster.settings import Secret

COMMANDS = ("check", "config", "doctor", "drill", "migrate", "roles", "sync", "up", "web", "worker")

SECRETS = {
    "SECRET_KEY": "planted-key-0-0123456789012345678901234567",
    "SECRET_KEY_FALLBACKS": "planted-key-1-0123456789012345678901234567,planted://key-2.0123456789012345678901234567",
    "DATABASE_URL": "postgresql://muster:planted-p@db.internal:5432/muster?password=planted-q&sslkey=planted-k",
    "DATABASE_OWNER_URL": "postgresql://owner:planted-o@db.internal:5432/muster?password=planted-q",
    "REDIS_URL": "rediss://:planted-r@redis.internal:6379/0",
    "GOOGLE_CLIENT_SECRET": "planted://client.secret",
    "GOOGLE_SERVICE_ACCOUNT": json.dumps({"private_key": "planted-pem", "token_uri": "https://planted.test"}),
    "GOOGLE_CLIENT_ID": "42.apps.googleusercontent.com",
    "ALLOWED_DOMAINS": "acme.test",
}


def one_line(text: str) -> str:
    """The text, which must be a single line without a traceback."""
    assert text.count("\n") == 1, text
    assert text.startswith("muster: "), text
    return text.removeprefix("muster: ").rstrip("\n")


# Help and refusals


@pytest.mark.parametrize("asked", ["--help", "-h"])
def test_help_lists_the_commands(bare: CommandLine, asked: str) -> None:
    helped = bare(asked)

    listed = re.findall(r"^  (\w+)  ", helped.stdout.partition("Commands:")[2], re.MULTILINE)
    assert (helped.returncode, tuple(listed)) == (0, COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(bare: CommandLine, command: str) -> None:
    helped = bare(command, "--help")

    assert helped.returncode == 0
    assert "Usage:" in helped.stdout


def test_an_unknown_command_is_refused(bare: CommandLine) -> None:
    refused = bare("chekc")

    assert refused.returncode == 2
    assert "No such command 'chekc'" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(("command", "port"), [("config", "eighty"), ("web", "0"), ("up", "65536")])
def test_an_impossible_port_is_refused(bare: CommandLine, command: str, port: str) -> None:
    refused = bare(command, **SECRETS, PORT=port)

    assert refused.returncode == 2
    assert re.match(r"PORT is .*; expected a number from 1 to 65535$", one_line(refused.stderr))


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("web", "ALLOWED_DOMAINS"),
        ("worker", "REDIS_URL"),
        ("check", "SECRET_KEY"),
        ("migrate", "DATABASE_URL"),
    ],
)
def test_a_setting_that_is_missing_is_named(bare: CommandLine, command: str, name: str) -> None:
    refused = bare(command, **SECRETS | {name: ""})

    assert refused.returncode == 2
    assert one_line(refused.stderr).startswith(f"{name} is not set; expected ")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("REDIS_URL", "http://localhost:6379"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://:planted-r@localhost:six/0"),
        ("REDIS_URL", "redis://:planted-r@localhost:66666/0"),
        ("DATABASE_URL", "mysql://root:planted-p@localhost/muster"),
        ("DATABASE_URL", "postgresql://u:planted#p@localhost/muster"),
        ("DATABASE_URL", "postgresql://u:planted-p@[::1/muster"),
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_it(
    bare: CommandLine, name: str, wrong: str
) -> None:
    refused = bare("check", **SECRETS | {name: wrong})

    assert refused.returncode == 2
    assert one_line(refused.stderr).startswith(f"{name} is not ")
    assert "planted" not in refused.stderr


def test_migrating_a_database_that_is_away_is_one_clear_line(muster: CommandLine) -> None:
    refused = muster("migrate", DATABASE_URL="postgresql://muster:pw@127.0.0.1:1/muster")

    assert refused.returncode == 2
    assert one_line(refused.stderr).startswith("PostgreSQL cannot be migrated: ")


# The settings in force


def test_config_shows_every_setting_and_no_secret(bare: CommandLine) -> None:
    shown = bare("config", **SECRETS)

    assert shown.returncode == 0
    assert "planted" not in shown.stdout + shown.stderr
    settings = dict(line.split(maxsplit=1) for line in shown.stdout.splitlines())
    assert settings["DATABASE_URL"] == "postgresql://muster:***@db.internal:5432/muster"
    assert settings["DATABASE_OWNER_URL"] == "postgresql://owner:***@db.internal:5432/muster"
    assert settings["REDIS_URL"] == "rediss://:***@redis.internal:6379/0"
    assert settings["SECRET_KEY_FALLBACKS"] == "(hidden), (hidden)"
    assert settings["GOOGLE_SERVICE_ACCOUNT"] == settings["GOOGLE_CLIENT_SECRET"] == "(hidden)"


def test_a_secret_may_stand_in_a_file(bare: CommandLine) -> None:
    (bare.folder / "key").write_text(SECRETS["SECRET_KEY"] + "\n")

    shown = bare("config", **SECRETS | {"SECRET_KEY": "", "SECRET_KEY_FILE": str(bare.folder / "key")})

    assert shown.returncode == 0, shown.stderr
    assert "planted" not in shown.stdout


# Migrating


def test_migrating_twice_is_migrating_once(muster: CommandLine, empty_database: str) -> None:
    first = muster("migrate", DATABASE_URL=empty_database)
    with psycopg.connect(empty_database) as connection:
        connection.execute("INSERT INTO accounts (email) VALUES ('kept@acme.test')")

    second = muster("migrate", DATABASE_URL=empty_database)

    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == second.stdout != ""
    assert first.stderr == second.stderr == ""
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT email FROM accounts").fetchall() == [("kept@acme.test",)]


def test_migrating_as_the_owner_lets_the_portals_role_in_and_says_what_is_beyond_it(
    muster: CommandLine, empty_database: str
) -> None:
    app = urlsplit(muster.settings["DATABASE_URL"])._replace(path=urlsplit(empty_database).path).geturl()
    both = {"DATABASE_URL": app, "DATABASE_OWNER_URL": empty_database}

    first = muster("migrate", **both)
    with psycopg.connect(empty_database) as connection:
        connection.execute("ALTER TABLE workers OWNER TO muster_app")
    second = muster("migrate", **both)

    assert (first.returncode, first.stderr) == (0, "")
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert one_line(second.stderr) == "more than it should: muster_app owns workers"
    with psycopg.connect(app) as connection:
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (0,)


async def test_migrations_that_start_at_once_come_to_the_same(
    muster: CommandLine, empty_database: str
) -> None:
    role = f"role_{secrets.token_hex(4)}"
    where = urlsplit(empty_database)
    app = where._replace(netloc=f"{role}:pw@{where.netloc.rpartition('@')[2]}").geturl()
    both = {**muster.settings, "DATABASE_URL": app, "DATABASE_OWNER_URL": empty_database}

    done = await at_once(replace(muster, settings=both), ("migrate",), ("migrate",), ("migrate",))

    assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * 3
    with psycopg.connect(app) as connection:
        assert connection.execute("SELECT count(*) FROM people").fetchone() == (0,)
    with psycopg.connect(empty_database) as connection:
        connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


# The checklist


def checked(said: str) -> dict[str, dict[str, Any]]:
    """Row → what `check --json` says of it."""
    return {row["id"]: row for row in json.loads(said)["rows"]}


async def test_check_passes_where_everything_runs(
    town: Town, muster: CommandLine, sentry_dsn: Secret
) -> None:
    await town.all_in_step()
    await town.watched()
    muster = replace(muster, settings={**muster.settings, "SENTRY_DSN": sentry_dsn.reveal()})
    async with town.working():
        await town.schedule()
        json_said, table = await at_once(muster, ("check", "--json"), ("check",))

    assert (json_said.returncode, json_said.stderr) == (0, "")
    rows = checked(json_said.stdout)
    assert list(rows) == [row.id for row in ROWS]
    assert rows.pop("jobs.survive")["status"] == "not applicable"  # no drill was run
    for row in rows.values():
        assert row["status"] == "proved"
        assert row["evidence"]
        assert row.keys() >= {"id", "status", "promise", "evidence", "at", "took_ms", "remedy", "survives"}
    assert table.returncode == 0
    assert all(row.id in table.stdout for row in ROWS)
    assert f"{len(ROWS) - 1} proved, 1 not applicable" in table.stdout


async def test_check_fails_where_something_is_wrong_and_says_what_to_do(
    town: Town, muster: CommandLine
) -> None:
    await town.all_in_step()
    await town.watched()
    await town.portal.redis.set("foo", "bar")
    async with town.working():
        await town.schedule()
        json_said, table = await at_once(muster, ("check", "--json"), ("check",))

    assert json_said.returncode == table.returncode == 1
    failed = {name for name, row in checked(json_said.stdout).items() if row["status"] == "failed"}
    assert failed == {"redis.prefixes"}
    assert "What to do: Find who writes the named keys" in " ".join(table.stdout.split())
    assert await town.value("SELECT count(*) FROM proofs") == 2 * len(ROWS)


def test_check_answers_also_when_every_server_is_away(bare: CommandLine) -> None:
    """In JSON alone: programs read what is printed there."""
    away = {
        "DATABASE_URL": "postgresql://muster:opensesame@127.0.0.1:1/muster",
        "REDIS_URL": "redis://:opensesame@127.0.0.1:1/0",
        "GOOGLE_ISSUER": "http://127.0.0.1:1",
        "GOOGLE_DIRECTORY_URL": "http://127.0.0.1:1",
        "PUBLIC_URL": "http://127.0.0.1:1",
        "HUBSPOT_TOKEN": "opensesame",
        "HUBSPOT_WEBHOOK_SECRET": "opensesame",
        "HUBSPOT_URL": "http://127.0.0.1:1",
        "SENTRY_DSN": "http://opensesame@127.0.0.1:1/1",
        "ALERT_URLS": "json://opensesame@127.0.0.1:1",
        "HEARTBEAT_URL": "http://127.0.0.1:1/opensesame",
    }

    said = bare("check", "--json", **SECRETS | away)

    assert said.returncode == 1
    assert json.loads(said.stdout)["kept"] is False
    holding = {name for name, row in checked(said.stdout).items() if row["status"] != "failed"}
    assert holding == {"logs.readable"}  # which needs nobody
    assert "opensesame" not in said.stdout + said.stderr


def test_check_says_once_how_to_mend_a_server_that_is_away(bare: CommandLine) -> None:
    away = {
        "DATABASE_URL": "postgresql://muster:planted@127.0.0.1:1/muster",
        "REDIS_URL": "redis://:planted@127.0.0.1:1/0",
        "GOOGLE_ISSUER": "http://127.0.0.1:1",
        "PUBLIC_URL": "http://127.0.0.1:1",
    }

    said = " ".join(bare("check", **SECRETS | away).stdout.split())

    assert said.count("What to do: First mend redis.persistence.") > 3
    assert said.count("the server of REDIS_URL runs") == 1
    assert "Take the portal out of reach" not in said


async def test_check_of_a_database_that_was_not_migrated_yet_keeps_nothing_and_says_so(
    town: Town, muster: CommandLine, empty_database: str
) -> None:
    await asyncio.to_thread(migrations.upgrade, empty_database, empty_database)
    with psycopg.connect(empty_database) as connection:
        connection.execute("ALTER TABLE proofs DROP COLUMN mend_first")
    astray = replace(muster, settings={**muster.settings, "DATABASE_URL": empty_database})

    async with town.working():
        (said,) = await at_once(astray, ("check", "--json"))

    assert (said.returncode, said.stderr.count("Traceback")) == (1, 0)
    assert json.loads(said.stdout)["kept"] is False


async def test_check_of_a_database_without_tables_says_so(
    town: Town, muster: CommandLine, empty_database: str
) -> None:
    astray = replace(muster, settings={**muster.settings, "DATABASE_URL": empty_database})

    async with town.working():
        (said,) = await at_once(astray, ("check", "--json"))

    assert said.returncode == 1
    assert json.loads(said.stdout)["kept"] is False
    assert "no tables yet" in checked(said.stdout)["postgresql.migrated"]["evidence"]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((Status.PROVED, Status.PROVED), 0),
        ((Status.PROVED, Status.STALE), 3),
        ((Status.UNPROVED,), 3),
        ((Status.UNPROVED, Status.FAILED, Status.PROVED), 1),
    ],
)
def test_the_exit_status_tells_failed_from_not_known(statuses: tuple[Status, ...], expected: int) -> None:
    judged = [Judged(row=ROWS[0], status=status, proof=None, history=[]) for status in statuses]

    assert exit_status(judged) == expected


# Reading from Google


async def test_sync_brings_people_and_groups(town: Town, muster: CommandLine) -> None:
    (done,) = await at_once(muster, ("sync", "people"))

    assert done.returncode == 0, done.stderr
    # How far it was is said in between, where that takes long enough.
    people, groups = (line for line in done.stdout.splitlines() if ": " in line)
    assert re.match(r"500 people in [\d.]+ s \([\d,]+/s\): 500 created, 0 updated, 0 removed, 0 unch", people)
    assert re.match(
        r"28 groups in [\d.]+ s \([\d,]+/s\): 28 created, .* [1-9]\d* members added, 0 rem", groups
    )
    assert await town.value("SELECT count(*) FROM people WHERE removed_at IS NULL") == 500
    assert await town.value("SELECT count(*) FROM groups") == 28
    assert await town.value("SELECT bool_and(asked_by LIKE 'command line (%%)') FROM people_syncs")


async def test_a_dry_run_counts_and_writes_nothing(town: Town, muster: CommandLine) -> None:
    (done,) = await at_once(muster, ("sync", "people", "--dry-run"))

    assert done.returncode == 0, done.stderr
    assert "500 would be created, 0 would be updated, 0 would be removed, 0 unchanged" in done.stdout
    assert "28 would be created" in done.stdout
    assert await town.value("SELECT count(*) FROM people") == 0
    assert await town.value("SELECT count(*) FROM groups") == 0


async def test_a_full_sync_reads_every_groups_members(town: Town, muster: CommandLine) -> None:
    await at_once(muster, ("sync", "people"))
    filled = await town.value("SELECT count(*) FROM groups WHERE direct_members > 0")

    (done,) = await at_once(muster, ("sync", "people", "--full"))

    assert done.returncode == 0, done.stderr
    assert "0 created, 0 updated, 0 removed, 500 unchanged" in done.stdout
    calls = await town.value("SELECT calls FROM people_syncs WHERE kind = 'groups' ORDER BY id DESC LIMIT 1")
    assert calls > filled
    assert await town.value("SELECT count(*) FROM people_syncs WHERE is_full") == 2


def test_full_and_dry_exclude_each_other(muster: CommandLine) -> None:
    refused = muster("sync", "people", "--full", "--dry-run")

    assert refused.returncode == 2
    assert "--full and --dry-run exclude each other" in refused.stderr


def test_only_people_are_synced(bare: CommandLine) -> None:
    refused = bare("sync", "poeple")

    assert refused.returncode == 2
    assert "No such command 'poeple'" in refused.stderr


async def test_a_sync_that_google_refuses_says_why_and_who_knows_more(
    town: Town, muster: CommandLine
) -> None:
    await town.sandbox.fault("forbidden", times=50)

    (refused,) = await at_once(muster, ("sync", "people"))

    assert refused.returncode == 1
    assert "GOOGLE_ADMIN_EMAIL may not read" in refused.stdout
    assert "`muster doctor` says" in refused.stdout.splitlines()[-1]
    assert "Traceback" not in refused.stderr
    assert await town.value("SELECT count(*) FROM people_syncs WHERE kind = 'groups'") == 0


async def test_a_listing_that_is_not_believed_fails_and_the_groups_are_read(
    town: Town, muster: CommandLine
) -> None:
    await town.sandbox.fault("empty-users", times=2)

    (refused,) = await at_once(muster, ("sync", "people"))

    assert refused.returncode == 1
    assert "The sync of people was refused: Google's listing held nobody at all" in refused.stdout
    assert "muster doctor" not in refused.stdout
    assert "28 groups in" in refused.stdout


async def test_what_is_held_for_approval_is_said_with_where_to_approve_it(
    town: Town, muster: CommandLine
) -> None:
    await at_once(muster, ("sync", "people"))
    await town.sandbox.tell("people/many", {"patch": {"deleted": True}, "first": 100})

    (done,) = await at_once(muster, ("sync", "people"))

    assert done.returncode == 0, done.stderr
    assert f"100 removals are held for approval: {town.portal.settings.public_url}/people/" in done.stdout
    assert await town.value("SELECT count(*) FROM people WHERE removed_at IS NULL") == 500


async def test_failures_that_passed_are_said_by_googles_reason(town: Town, muster: CommandLine) -> None:
    await town.sandbox.fault("backendError", times=2)

    (done,) = await at_once(muster, ("sync", "people"))

    assert done.returncode == 0, done.stderr
    assert "Google failed 2 times and was asked again: 2 backendError" in done.stdout


async def test_a_sync_follows_the_run_of_a_worker(town: Town, muster: CommandLine) -> None:
    await town.sandbox.fault("slow", seconds=4)
    working = asyncio.create_task(town.portal.sync.run())
    await eventually(lambda: town.value("SELECT true FROM people_syncs WHERE status = 'running'"))

    (done,) = await at_once(muster, ("sync", "people"))
    await working

    assert done.returncode == 0, done.stderr
    assert "People: waiting for the run that is under way" in done.stdout
    assert "0 created, 0 updated, 0 removed, 500 unchanged" in done.stdout


async def test_elsewhere_than_on_a_terminal_a_line_comes_every_few_seconds(
    town: Town, muster: CommandLine
) -> None:
    await town.sandbox.fault("slow", seconds=4)

    (done,) = await at_once(muster, ("sync", "people"))

    so_far = [line for line in done.stdout.splitlines() if "people read" in line]
    assert 1 <= len(so_far) <= 3
    assert "\x1b" not in done.stdout


async def test_on_a_terminal_one_line_is_drawn_anew(town: Town, muster: CommandLine) -> None:
    await at_once(muster, ("sync", "people"))
    await town.sandbox.fault("slow", seconds=2)

    status, said = await asyncio.to_thread(on_a_terminal, muster, "sync", "people")

    assert status == 0, said
    assert "0 people read of about 500" in said
    assert "\x1b[2K" in said, "the line is not wiped"
    assert "0 created, 0 updated, 0 removed, 500 unchanged" in said


def test_a_sync_without_postgresql_could_not_run(muster: CommandLine) -> None:
    refused = muster("sync", "people", DATABASE_URL="postgresql://muster:pw@127.0.0.1:1/muster")

    assert refused.returncode == 2
    assert one_line(refused.stderr).startswith("PostgreSQL does not answer")


async def test_a_sync_that_is_interrupted_says_so_and_is_gone_on_with(
    town: Town, muster: CommandLine
) -> None:
    await town.sandbox.fault("slow", seconds=30)
    running = muster.start("sync", "people")
    await eventually(lambda: town.value("SELECT true FROM people_syncs WHERE status = 'running'"), within=30)

    running.send_signal(signal.SIGINT)

    assert await asyncio.to_thread(running.wait, 28) == 130  # before the slow answer comes
    assert await town.value("SELECT reason FROM people_syncs") == "its worker was stopped"


# The doctor


def walked(said: str) -> dict[str, dict[str, str]]:
    """Step → what `doctor --json` says of it."""
    return {step["id"]: step for step in json.loads(said)["steps"]}


async def test_the_doctor_finds_nothing_where_all_is_well(town: Town, muster: CommandLine) -> None:
    said, plain = await at_once(muster, ("doctor", "--json"), ("doctor",))

    assert (said.returncode, said.stderr) == (0, "")
    steps = walked(said.stdout)
    assert all(step.keys() == {"id", "title", "status", "detail", "remedy"} for step in steps.values())
    assert {step["status"] for step in steps.values()} == {"ok", "not_reached"}
    assert plain.returncode == 0
    assert len([line for line in plain.stdout.splitlines() if line.startswith("✓ ")]) == len(steps) - 1
    assert plain.stdout.splitlines()[-1] == f"{len(steps) - 1} well, 0 failed, 1 not reached"
    assert "\x1b" not in plain.stdout
    for secret in ("PRIVATE KEY", "ya29.", "pat-", town.portal.settings.google_client_secret.reveal()):
        assert secret not in said.stdout + plain.stdout


@pytest.mark.usefixtures("town")
async def test_the_doctor_says_once_what_to_click(muster: CommandLine) -> None:
    settings = {**muster.settings, "GOOGLE_ADMIN_EMAIL": "ben@acme.test"}

    (said,) = await at_once(replace(muster, settings=settings), ("doctor",))

    assert said.returncode == 1
    assert said.stdout.count("Manage domain-wide delegation") == 1
    assert f"    {','.join(SCOPES)}\n" in said.stdout
    assert "✗ Scope admin.directory.group.readonly" in said.stdout
    assert "– People" in said.stdout


@pytest.mark.usefixtures("town")
async def test_the_doctor_needs_no_server_of_ours(muster: CommandLine) -> None:
    away = {"DATABASE_URL": "postgresql://muster:pw@127.0.0.1:1/muster", "REDIS_URL": "redis://127.0.0.1:1"}

    (said,) = await at_once(replace(muster, settings={**muster.settings, **away}), ("doctor", "--json"))

    assert (said.returncode, said.stderr) == (0, "")
    assert [name for name, step in walked(said.stdout).items() if step["status"] != "ok"] == [
        "google.push_channels",
        "hubspot.allowance",
    ]


def test_the_doctor_names_everything_that_is_missing(bare: CommandLine) -> None:
    nowhere = {"GOOGLE_ISSUER": "http://127.0.0.1:1", "GOOGLE_DIRECTORY_URL": "http://127.0.0.1:1"}

    said = bare("doctor", "--json", **nowhere, PORT="eighty")

    assert (said.returncode, said.stderr) == (2, "")
    settings = walked(said.stdout)["settings"]
    assert settings["detail"] == (
        "missing or wrong: PORT, SECRET_KEY, DATABASE_URL, REDIS_URL, ALLOWED_DOMAINS, GOOGLE_CLIENT_ID, "
        "GOOGLE_CLIENT_SECRET, GOOGLE_SERVICE_ACCOUNT, GOOGLE_ADMIN_EMAIL"
    )
    assert "PORT is not understood; expected a number from 1 to 65535" in settings["remedy"]


def test_a_key_file_that_is_not_there_is_named(muster: CommandLine) -> None:
    said = muster("doctor", GOOGLE_SERVICE_ACCOUNT="/nowhere/key.json", GOOGLE_ISSUER="http://127.0.0.1:1")

    assert said.returncode == 2
    assert "✗ Settings" in said.stdout
    assert "neither JSON that begins with { nor a readable file" in said.stdout
    assert "– Service account's key" in said.stdout


@pytest.mark.usefixtures("town")
async def test_an_empty_key_file_is_a_failed_step(muster: CommandLine) -> None:
    (muster.folder / "key.json").write_text("")
    settings = {**muster.settings, "GOOGLE_SERVICE_ACCOUNT": str(muster.folder / "key.json")}

    (said,) = await at_once(replace(muster, settings=settings), ("doctor",))

    assert said.returncode == 1
    assert "the file is empty" in said.stdout


@pytest.mark.usefixtures("town")
async def test_the_doctor_is_coloured_on_a_terminal(muster: CommandLine) -> None:
    status, said = await asyncio.to_thread(on_a_terminal, muster, "doctor")

    assert status == 0, said
    assert "\x1b[32m✓" in said


def test_the_doctor_takes_no_arguments(bare: CommandLine) -> None:
    refused = bare("doctor", "hubspot")

    assert refused.returncode == 2
    assert "unexpected extra argument" in refused.stderr


def on_a_terminal(muster: CommandLine, *words: str) -> tuple[int, str]:
    """Run a command on a terminal of its own; how it ended, and all that was drawn."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        muster.command(*words),
        cwd=muster.folder,
        env={**muster.environment(), "TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    with contextlib.suppress(OSError):  # Linux's word for the end of a terminal
        while part := os.read(ours, 4096):
            drawn += part
    os.close(ours)
    return running.wait(30), drawn.decode()

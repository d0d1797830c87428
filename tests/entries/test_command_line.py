"""The command line: what it says, what it hides, and how it ends."""

import json
import re
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from tests.entries.command_line import CommandLine, at_once
from tests.town import Town

from muster.commands import exit_status
from muster.readiness.checklist import ROWS
from muster.readiness.proofs import Judged, Status

COMMANDS = ("check", "config", "migrate", "sync", "up", "web", "worker")

SECRETS = {
    "SECRET_KEY": "planted-key-0-0123456789012345678901234567",
    "SECRET_KEY_FALLBACKS": "planted-key-1-0123456789012345678901234567,planted://key-2.0123456789012345678901234567",
    "DATABASE_URL": "postgresql://muster:planted-p@db.internal:5432/muster?password=planted-q&sslkey=planted-k",
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


# The checklist


def checked(said: str) -> dict[str, dict[str, Any]]:
    """Row → what `check --json` says of it."""
    return {row["id"]: row for row in json.loads(said)["rows"]}


async def test_check_passes_where_everything_runs(town: Town, muster: CommandLine) -> None:
    await town.portal.sync.run()
    async with town.working():
        json_said, table = await at_once(muster, ("check", "--json"), ("check",))

    assert (json_said.returncode, json_said.stderr) == (0, "")
    rows = checked(json_said.stdout)
    assert list(rows) == [row.id for row in ROWS]
    for row in rows.values():
        assert row["status"] == "proved"
        assert row["evidence"]
        assert row.keys() >= {"id", "status", "promise", "evidence", "at", "took_ms", "remedy", "survives"}
    assert table.returncode == 0
    assert all(row.id in table.stdout for row in ROWS)
    assert f"{len(ROWS)} proved" in table.stdout


async def test_check_fails_where_something_is_wrong_and_says_what_to_do(
    town: Town, muster: CommandLine
) -> None:
    await town.portal.sync.run()
    await town.portal.redis.set("foo", "bar")
    async with town.working():
        json_said, table = await at_once(muster, ("check", "--json"), ("check",))

    assert json_said.returncode == table.returncode == 1
    failed = {name for name, row in checked(json_said.stdout).items() if row["status"] == "failed"}
    assert failed == {"redis.prefixes"}
    assert "What to do: Find who writes the named keys" in " ".join(table.stdout.split())
    assert await town.value("SELECT count(*) FROM proofs") == 2 * len(ROWS)


def test_check_answers_also_when_every_server_is_away(bare: CommandLine) -> None:
    """In JSON alone: programs read what is printed there."""
    away = {
        "DATABASE_URL": "postgresql://muster:planted@127.0.0.1:1/muster",
        "REDIS_URL": "redis://:planted@127.0.0.1:1/0",
        "GOOGLE_ISSUER": "http://127.0.0.1:1",
        "GOOGLE_DIRECTORY_URL": "http://127.0.0.1:1",
        "PUBLIC_URL": "http://127.0.0.1:1",
    }

    said = bare("check", "--json", **SECRETS | away)

    assert said.returncode == 1
    assert json.loads(said.stdout)["kept"] is False
    assert {row["status"] for row in checked(said.stdout).values()} == {"failed"}
    assert "planted" not in said.stdout + said.stderr


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


async def test_sync_brings_everybody(town: Town, muster: CommandLine) -> None:
    (done,) = await at_once(muster, ("sync", "people"))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("500 people in ")
    assert "500 created, 0 updated, 0 removed, 0 unchanged" in done.stdout
    assert await town.value("SELECT count(*) FROM people") == 500
    assert await town.value("SELECT asked_by LIKE 'command line (%%)' FROM people_syncs")


async def test_a_dry_run_counts_and_writes_nothing(town: Town, muster: CommandLine) -> None:
    (done,) = await at_once(muster, ("sync", "people", "--dry-run"))

    assert done.returncode == 0, done.stderr
    assert "500 would be created, 0 would be updated, 0 would be removed, 0 unchanged" in done.stdout
    assert await town.value("SELECT count(*) FROM people") == 0


async def test_a_sync_that_google_refuses_says_why(town: Town, muster: CommandLine) -> None:
    await town.sandbox.fault("forbidden", times=50)

    (refused,) = await at_once(muster, ("sync", "people"))

    assert refused.returncode == 1
    assert "GOOGLE_ADMIN_EMAIL may not read the directory: name an administrator" in refused.stdout
    assert "Traceback" not in refused.stderr

"""`muster roles`: giving, taking and listing roles from a terminal."""

import asyncio
import json
import os
import pty
import subprocess

import pytest
from tests.entries.command_line import CommandLine
from tests.town import Town

from muster.access.roles import Role
from muster.platform.actor import System

CY = "cy@acme.test"


async def said(muster: CommandLine, *words: str) -> tuple[int, str]:
    """Exit status, and the one line that was said."""
    ended = await asyncio.to_thread(muster, "roles", *words)
    told = ended.stdout + ended.stderr
    assert told.count("\n") == 1, told
    return ended.returncode, told.strip()


async def test_a_role_from_the_terminal_counts_at_the_next_click(town: Town, muster: CommandLine):
    async with town.signed_in(CY) as cy:
        assert (await cy.get("/checklist")).status_code == 403

        assert await said(muster, "grant", CY, "auditor") == (0, f"{CY} now has the role auditor.")
        assert (await cy.get("/checklist")).status_code == 200
        assert await said(muster, "grant", CY, "auditor") == (0, f"{CY} already had the role auditor.")
        assert await said(muster, "revoke", CY, "auditor") == (0, f"{CY} no longer has the role auditor.")
        assert (await cy.get("/checklist")).status_code == 403
        assert await said(muster, "revoke", CY, "auditor") == (0, f"{CY} did not have the role auditor.")
    who, via = await town.value(
        "SELECT jsonb_build_array(email, via) FROM audit_log WHERE action = 'roles.revoked'"
    )
    assert who.startswith("command line (")
    assert via == "command line"


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (("grant", CY, "emperor"), 1, "muster: There is no role 'emperor'; expected one of sales, "),
        (("grant", CY, "member"), 1, "muster: Everybody who may sign in is a member"),
        (("grant", "x@evil.test", "sales"), 1, "muster: Nobody of evil.test may sign in here"),
        (("revoke", "nobody@acme.test", "sales"), 1, "muster: Nobody with the address nobody@acme.test"),
        (("grant", "--group", "nobody@acme.test", "sales"), 1, "muster: The directory has no group nobody@"),
    ],
)
async def test_what_cannot_be_is_refused_in_one_line(
    town: Town, muster: CommandLine, words: tuple[str, ...], status: int, told: str
):
    code, line = await said(muster, *words)

    assert code == status
    assert line.startswith(told)
    assert await town.value("SELECT count(*) FROM account_roles") == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((CY.replace("cy", "nobody"), "sales"), "The directory knows nobody with the address nobody@"),
        (("partners@acme.test", "sales"), "is the address of a group"),
        (("--group", "everyone@acme.test", "sales"), "everybody in the company is in this group"),
        (("--group", "partners@acme.test", "sales"), "of the company"),
        (("--group", "partners@acme.test", "admin"), "decides who is an admin here"),
    ],
)
async def test_what_deserves_a_second_look_is_refused_without_yes(
    town: Town, muster: CommandLine, words: tuple[str, ...], told: str
):
    await town.in_step()

    code, line = await said(muster, "grant", *words)

    assert code == 1
    assert told in line
    assert line.endswith("If that is meant, say --yes.")
    given = "SELECT (SELECT count(*) FROM account_roles) + (SELECT count(*) FROM group_roles)"
    assert await town.value(given) == 0
    assert (await said(muster, "grant", *words, "--yes"))[0] == 0
    assert await town.value(given) == 1


async def test_whoever_sits_at_the_terminal_is_asked(town: Town, muster: CommandLine):
    def at_a_terminal(answer: bytes) -> int:
        ours, theirs = pty.openpty()
        with os.fdopen(ours, "wb", buffering=0) as keyboard, os.fdopen(theirs) as terminal:
            keyboard.write(answer)
            return subprocess.run(
                muster.command("roles", "grant", "nobody@acme.test", "sales"),
                cwd=muster.folder,
                env=muster.environment(),
                stdin=terminal,
                capture_output=True,
                timeout=60,
                check=False,
            ).returncode

    assert await asyncio.to_thread(at_a_terminal, b"n\n") == 1
    assert await town.value("SELECT count(*) FROM account_roles") == 0
    assert await asyncio.to_thread(at_a_terminal, b"y\n") == 0
    assert await town.value("SELECT count(*) FROM account_roles") == 1


async def test_without_redis_it_is_said_in_words_when_it_counts(town: Town, muster: CommandLine):
    async with town.signed_in(CY):
        ended = await asyncio.to_thread(
            muster, "roles", "grant", CY, "sales", REDIS_URL="redis://127.0.0.1:1"
        )

    assert ended.returncode == 0
    assert ended.stdout == f"{CY} now has the role sales.\n"
    assert ended.stderr == "Redis does not answer: it counts within a minute of its return.\n"


async def test_without_postgresql_nothing_is_changed_and_said_so(muster: CommandLine):
    ended = await asyncio.to_thread(muster, "roles", "list", DATABASE_URL="postgresql://127.0.0.1:1/none")

    assert ended.returncode == 2
    assert ended.stderr.startswith("muster: PostgreSQL")


async def test_the_list_is_of_people_and_groups(town: Town, muster: CommandLine):
    await town.in_step()
    empty = await asyncio.to_thread(muster, "roles", "list")
    await said(muster, "grant", CY, "sales")
    await town.portal.grants.grant(CY, Role.AUDITOR, by=System("ben@acme.test"))
    await said(muster, "grant", "--group", "everyone@acme.test", "auditor", "--yes")

    listed = await asyncio.to_thread(muster, "roles", "list")
    told = json.loads((await asyncio.to_thread(muster, "roles", "list", "--json")).stdout)

    assert "Nobody has a role" in empty.stdout
    assert [line.split()[:3] for line in listed.stdout.splitlines()] == [
        ["everyone@acme.test", "group", "auditor"],
        [CY, "person", "auditor"],
        [CY, "person", "sales"],
    ]
    assert "by ben@acme.test" in listed.stdout.splitlines()[1]
    assert "by command line (" in listed.stdout.splitlines()[2]
    assert (told["people"][0]["role"], told["groups"][0]["role"]) == ("auditor", "auditor")
    assert [one["granted_by"].split(" (")[0] for one in told["people"]] == ["ben@acme.test", "command line"]
    assert "grant and revoke roles" in told["roles"]["admin"]

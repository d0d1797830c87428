"""`muster up` from end to end: one command, one folder, and whatever may happen to it."""

import asyncio
import json
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from urllib.parse import urlsplit

import httpx2
import psutil
import psycopg
import pytest
from tests.entries.command_line import CommandLine, at_once
from tests.town import Visitor, eventually, path_of

from muster.platform import redis
from muster.settings import INSTANCE_FILE, OWNER

SERVERS = {"web", "worker", "sandbox", "postgres", "valkey-server"}


class Instance:
    """One MUSTER_HOME and one port, and the `muster up` that runs there, if one does."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.port = free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.line = CommandLine(folder=folder, settings={"MUSTER_HOME": str(self.home)})
        self.process: Popen[bytes] | None = None

    async def ensure(self) -> None:
        """Have it run whole, whatever the test before did to it."""
        if set(self.parts()) != SERVERS:
            await self.stop()
            await self.start()
        await self.answers(f"{self.base_url}/readyz")
        await self.answers(f"{self.setting('GOOGLE_ISSUER')}/sandbox/ready")

    async def answers(self, address: str) -> None:
        async with httpx2.AsyncClient() as client:

            async def does() -> bool:
                with suppress(httpx2.TransportError):
                    return (await client.get(address)).status_code == 200
                return False

            await eventually(does)

    async def start(self) -> None:
        self.process = self.line.start("up", PORT=str(self.port))
        seen = self.line.output.count("Muster is at")

        async def welcomes() -> bool:
            assert self.process
            assert self.process.poll() is None, self.line.output
            return self.line.output.count("Muster is at") > seen

        await eventually(welcomes, within=60)

    async def stop(self) -> int | None:
        if self.process is None:
            return None
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        process = self.process
        assert process

        async def is_over() -> bool:
            return process.poll() is not None

        await eventually(is_over, within=100)
        return int(process.returncode)

    def parts(self) -> dict[str, psutil.Process]:
        """What runs below `up`, by what one would call it."""
        if self.process is None or self.process.poll() is not None:
            return {}
        found = {}
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):
                found[part_name(child)] = child
        return found

    def left_running(self) -> list[psutil.Process]:
        """Whatever works in the home, serves the port, or was told of the home."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                ours = (
                    Path(process.cwd()).is_relative_to(self.home)
                    or str(self.home) in " ".join(process.cmdline())
                    or process.environ().get("MUSTER_HOME") == str(self.home)
                )
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    async def nothing_is_left(self) -> None:
        async def is_so() -> bool:
            return not self.left_running()

        await eventually(is_so, within=60)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", self.port))

    async def loses(self, part: str) -> None:
        """Kill a part as a crash would, and wait until another has taken its place."""
        lost = self.parts()[part]
        lost.kill()

        async def is_back() -> bool:
            found = self.parts().get(part)
            return found is not None and found.pid != lost.pid

        await eventually(is_back, within=30)

    async def check(self) -> int:
        """The exit status of `muster check`, typed in another terminal."""
        (done,) = await at_once(self.line, ("check",))
        return done.returncode

    async def passes(self) -> None:
        """Wait until everything is proved. A sync that lost its worker counts as lost after 45 s."""

        async def is_so() -> bool:
            return await self.check() == 0

        await eventually(is_so, within=120)

    def setting(self, name: str) -> str:
        """As `up` left it for other commands."""
        text = (self.home / INSTANCE_FILE).read_text()
        found = re.search(rf'^{name}="(.*)"$', text, re.MULTILINE)
        assert found
        return found.group(1)


def part_name(process: psutil.Process) -> str:
    words = process.cmdline()
    if "muster" in words:
        return words[-1]
    return "sandbox" if "acme" in words else process.name()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def instance() -> Iterator[Instance]:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    made = Instance(folder)
    yield made
    if made.process and made.process.poll() is None:
        made.process.terminate()
        made.process.wait(60)
    shutil.rmtree(folder)


@pytest.fixture
async def up(instance: Instance) -> Instance:
    await instance.ensure()
    return instance


@pytest.fixture
async def ada(up: Instance) -> AsyncIterator[Visitor]:
    async with Visitor(up.base_url) as visitor:
        assert (await visitor.sign_in("ada@acme.test")).status_code == 200
        yield visitor


async def is_served(visitor: Visitor) -> None:
    """The visitor gets their page, still signed in, as soon as what was lost is back."""

    async def gets_it() -> bool:
        await asyncio.sleep(0.2)
        with suppress(httpx2.TransportError):
            response = await visitor.get("/people")
            assert response.status_code in {200, 503}, "was signed out"
            return response.status_code == 200
        return False

    await eventually(gets_it, within=30)


async def sees_everybody(visitor: Visitor) -> None:
    async def does() -> bool:
        await asyncio.sleep(0.2)  # asked more often, it would come up against the limit of a signed-in person
        return len((await visitor.get("/people.csv")).text.strip().splitlines()) == 1 + 500

    await eventually(does, within=30)


# What it serves


async def test_ada_signs_in_and_arrives_where_she_was_going(up: Instance) -> None:
    async with Visitor(up.base_url) as ada:
        response = await ada.sign_in("ada@acme.test", "/people")

    assert (response.status_code, path_of(str(response.url))) == (200, "/people")


async def test_everybody_of_the_sandbox_company_is_there_without_being_asked_for(ada: Visitor) -> None:
    await sees_everybody(ada)


async def test_commands_in_another_terminal_reach_the_sandboxs_hubspot(up: Instance) -> None:
    (said,) = await at_once(up.line, ("doctor", "--json"))

    steps = {step["id"]: step["status"] for step in json.loads(said.stdout)["steps"]}
    assert steps["hubspot.token"] == "ok"
    assert steps["hubspot.scope.deals.write"] == "ok"
    assert up.setting("HUBSPOT_WEBHOOK_SECRET")


async def test_the_sandboxs_hubspot_tells_the_portal_of_changes(up: Instance) -> None:
    async with httpx2.AsyncClient() as client:
        told = (await client.get(f"{up.setting('HUBSPOT_URL')}/sandbox/hubspot/webhooks")).json()

    assert told["settings"]["target"] == f"http://localhost:{up.port}/hooks/hubspot"


async def test_somebody_of_another_company_is_not_let_in(up: Instance) -> None:
    async with Visitor(up.base_url) as mallory:
        response = await mallory.sign_in("mallory@evil.test")

        assert response.status_code == 403
        assert mallory.session_id is None


async def test_redis_holds_sessions_cache_and_queue_and_nothing_else(up: Instance, ada: Visitor) -> None:
    await sees_everybody(ada)
    client = redis.connect(up.setting("REDIS_URL"))

    keys = {bytes(key).partition(b":")[0] async for key in client.scan_iter()}

    await client.aclose()
    assert keys == {b"sess", b"cache", b"queue"}


@pytest.mark.timeout(180)
async def test_check_in_another_terminal_finds_everything_proved(up: Instance) -> None:
    await up.passes()


async def test_the_portal_works_as_a_role_of_its_own_and_is_not_told_the_owners_address(
    up: Instance, ada: Visitor
) -> None:
    await sees_everybody(ada)

    app, owner = up.setting("DATABASE_URL"), up.setting(OWNER)

    assert (urlsplit(app).username, urlsplit(owner).username) == ("muster_app", "muster")
    for name in ("web", "worker", "sandbox"):
        told = up.parts()[name].environ()
        assert OWNER not in told
        assert owner not in told.values()
    with psycopg.connect(owner) as connection:
        users = connection.execute(
            "SELECT DISTINCT usename FROM pg_stat_activity WHERE application_name LIKE 'muster-w%'"
        ).fetchall()
    assert users == [("muster_app",)]


async def test_another_terminal_is_told_where_browsers_find_the_portal(up: Instance) -> None:
    await up.answers(f"{up.setting('PUBLIC_URL')}/sign-in")

    assert up.setting("PUBLIC_URL") == f"http://localhost:{up.port}"


async def test_migrate_in_another_terminal_is_the_owners(up: Instance) -> None:
    (done,) = await at_once(up.line, ("migrate",))

    assert (done.returncode, done.stderr) == (0, "")


async def test_a_home_from_before_there_were_two_roles_goes_on_with_two(up: Instance, ada: Visitor) -> None:
    await sees_everybody(ada)
    with psycopg.connect(up.setting(OWNER), autocommit=True) as connection:
        connection.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM muster_app")
    await up.stop()
    (up.home / "postgres" / "app_password").resolve().unlink()

    await up.start()

    await is_served(ada)
    await sees_everybody(ada)


async def test_the_owners_address_alone_is_refused(up: Instance) -> None:
    line = with_port(up.line, free_port())

    (refused,) = await at_once(replace(line, settings={**line.settings, OWNER: up.setting(OWNER)}), ("up",))

    assert refused.returncode == 2
    assert "DATABASE_OWNER_URL is set and DATABASE_URL is not; expected both, or neither" in refused.stderr


async def test_an_address_that_will_not_do_is_refused_before_anything_starts(up: Instance) -> None:
    line = with_port(up.line, free_port())

    (refused,) = await at_once(
        replace(line, settings={**line.settings, "PUBLIC_URL": "portal.example.com"}), ("up",)
    )

    assert refused.returncode == 2
    assert "PUBLIC_URL is not an address" in refused.stderr
    assert "starting" not in refused.stdout


# What it outlives


@pytest.mark.parametrize("part", ["web", "valkey-server", "postgres", "sandbox"])
async def test_what_crashes_is_started_again_and_ada_stays_signed_in(
    up: Instance, ada: Visitor, part: str
) -> None:
    await up.loses(part)

    await is_served(ada)


@pytest.mark.timeout(180)
async def test_a_worker_that_crashes_is_started_again(up: Instance, ada: Visitor) -> None:
    await sees_everybody(ada)

    await up.loses("worker")

    await up.passes()


async def test_a_worker_that_is_stopped_stays_so_and_check_says_it(up: Instance) -> None:
    up.parts()["worker"].terminate()

    async def is_noted() -> bool:
        return "worker was stopped and stays so" in up.line.output

    await eventually(is_noted, within=40)
    assert await up.check() == 1
    assert set(up.parts()) == SERVERS - {"worker"}
    await up.stop()


async def test_what_crashes_again_and_again_ends_it_with_a_reason(up: Instance) -> None:
    async def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def take_its_port() -> asyncio.Server | None:
        with suppress(OSError):
            return await asyncio.start_server(turn_away, "127.0.0.1", up.port)
        return None

    up.parts()["web"].kill()
    intruder = await eventually(take_its_port)

    assert await up.ended() == 2

    intruder.close()
    assert re.search(r"^muster: web has crashed \d times in a row", up.line.output, re.MULTILINE)
    await up.nothing_is_left()


# How it ends, and begins again


async def test_sigterm_ends_it_and_everything_it_started(up: Instance) -> None:
    assert await up.stop() == 0

    await up.nothing_is_left()


async def test_the_next_start_finds_everybody_and_ada_signed_in(up: Instance, ada: Visitor) -> None:
    await sees_everybody(ada)
    await up.stop()

    await up.start()

    await is_served(ada)
    await sees_everybody(ada)


async def test_when_it_is_killed_nothing_is_left_and_the_next_start_heals(up: Instance, ada: Visitor) -> None:
    assert up.process
    await sees_everybody(ada)
    up.process.kill()
    up.process.wait()
    await up.nothing_is_left()

    await up.start()

    await is_served(ada)
    assert set(up.parts()) == SERVERS


async def test_stopped_while_it_starts_it_leaves_nothing(up: Instance) -> None:
    await up.stop()
    before = up.line.output.count("bringing the tables up to date")
    up.process = up.line.start("up", PORT=str(up.port))

    async def has_begun() -> bool:
        return up.line.output.count("bringing the tables up to date") > before

    await eventually(has_begun, within=30)
    await up.stop()

    await up.nothing_is_left()


async def test_a_second_one_in_the_same_home_is_refused_and_harms_nothing(up: Instance) -> None:
    (refused,) = await at_once(with_port(up.line, free_port()), ("up",))

    assert refused.returncode == 2
    assert re.fullmatch(r"muster: another Muster is running on .*\n", refused.stderr)
    assert (up.home / INSTANCE_FILE).exists()
    assert set(up.parts()) == SERVERS


async def test_a_second_one_on_the_same_port_is_refused_and_harms_nothing(up: Instance) -> None:
    (refused,) = await at_once(with_port(up.line, up.port), ("up",))

    assert refused.returncode == 2
    assert re.fullmatch(rf"muster: port {up.port} of 127\.0\.0\.1 cannot be had .*\n", refused.stderr)
    assert (up.home / INSTANCE_FILE).exists()
    assert set(up.parts()) == SERVERS


def with_port(line: CommandLine, port: int) -> CommandLine:
    return replace(line, settings={**line.settings, "PORT": str(port)})

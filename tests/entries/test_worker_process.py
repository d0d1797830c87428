"""`muster worker` as a supervisor meets it: signals, outages, a database that is not ready yet."""

import signal
from collections.abc import Iterator
from subprocess import Popen
from typing import Any, Protocol

import psycopg
import pytest
from tests.entries.command_line import CommandLine
from tests.town import Town, eventually

from muster import __version__
from muster.embedded.valkey import Valkey
from muster.platform import redis
from muster.platform.heartbeat import WorkerSeen


class Start(Protocol):
    def __call__(self, *words: str, **settings: str) -> Popen[bytes]: ...


@pytest.fixture
def start(muster: CommandLine) -> Iterator[Start]:
    """Starts a worker; whatever a test started is gone after it."""
    started: list[Popen[bytes]] = []

    def start(*words: str, **settings: str) -> Popen[bytes]:
        started.append(muster.start("worker", *words, **settings))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


async def one_alive(town: Town) -> WorkerSeen:
    alive: list[WorkerSeen] = await eventually(town.portal.heartbeats.list_alive, within=30)
    assert len(alive) == 1
    return alive[0]


async def ended(process: Popen[bytes]) -> int:
    async def asked() -> bool:
        return process.poll() is not None

    await eventually(asked, within=40)
    return int(process.returncode)


async def said(muster: CommandLine, event: str) -> None:
    """Wait until the log holds `event`."""

    async def asked() -> bool:
        return f'"msg": "{event}"' in muster.output

    await eventually(asked, within=30)


async def syncing(town: Town) -> None:
    async def asked() -> Any:
        return await town.value("SELECT id FROM people_syncs WHERE status = 'running'")

    await eventually(asked, within=30)


async def test_it_says_that_it_lives_and_what_it_takes(town: Town, start: Start) -> None:
    process = start()

    seen = await one_alive(town)

    assert (seen.pid, seen.version, seen.queues) == (process.pid, __version__, ["people", "crm", "upkeep"])
    assert seen.memory_bytes > 10_000_000
    assert seen.concurrency == {"people": 4, "crm": 4, "upkeep": 4}


async def test_it_can_be_kept_to_some_queues_with_a_number_of_jobs_each(town: Town, start: Start) -> None:
    start("--queues", "people:2,crm", "--concurrency", "3")

    assert (await one_alive(town)).concurrency == {"people": 2, "crm": 3}


async def test_it_says_which_jobs_it_runs(town: Town, start: Start) -> None:
    await town.sandbox.fault("slow", seconds=30)
    start("--queues", "people")

    async def says_so() -> list[Any]:
        alive = await town.portal.heartbeats.list_alive()
        return [job for worker in alive for job in worker.jobs if job.name == "people.sync"]

    (running,) = await eventually(says_so, within=40)
    assert running.queue == "people"


async def test_schedules_come_back_to_a_redis_that_lost_everything(
    town: Town, start: Start, muster: CommandLine
) -> None:
    start("--queues", "crm")
    await said(muster, "worker_started")
    scheduled = set(await town.portal.queues.scheduled())
    await town.portal.redis.flushdb()

    async def are_back() -> bool:
        return set(await town.portal.queues.scheduled()) == scheduled

    await eventually(are_back, within=60)
    assert scheduled


async def test_sigterm_lets_it_finish_what_it_runs(town: Town, start: Start) -> None:
    await town.sandbox.fault("slow", seconds=3)
    process = start()
    await syncing(town)

    process.send_signal(signal.SIGTERM)

    assert await ended(process) == 0
    assert (
        await town.value("SELECT status || ' ' || seen FROM people_syncs WHERE kind = 'people'")
        == "finished 500"
    )
    assert await town.portal.heartbeats.list_alive() == []
    counts = await town.portal.queues.counts()
    assert {queue: states["active"] for queue, states in counts.items()} == {
        "people": 0,
        "crm": 0,
        "upkeep": 0,
    }


async def test_a_second_signal_stops_it_at_once(town: Town, start: Start, muster: CommandLine) -> None:
    await town.sandbox.fault("slow", seconds=60)
    process = start()
    await syncing(town)
    process.send_signal(signal.SIGTERM)
    await said(muster, "worker_draining")
    process.send_signal(signal.SIGTERM)

    assert await ended(process) == 1
    reason = await town.value("SELECT status || ': ' || reason FROM people_syncs WHERE kind = 'people'")
    assert reason == "failed: its worker was stopped"


async def test_it_waits_for_redis_and_for_its_tables(
    start: Start, muster: CommandLine, valkey: Valkey, empty_database: str
) -> None:
    """As on a machine where everything is started at once, in any order."""
    valkey.stop()
    start(DATABASE_URL=empty_database, REDIS_URL=valkey.url)
    await said(muster, "waiting_for_redis")
    valkey.start()
    await said(muster, "heartbeat_missed")

    assert muster("migrate", DATABASE_URL=empty_database).returncode == 0

    async with await psycopg.AsyncConnection.connect(empty_database, autocommit=True) as connection:

        async def beats() -> bool:
            return (await (await connection.execute("SELECT FROM workers")).fetchone()) is not None

        await eventually(beats)


async def test_it_can_be_stopped_while_it_waits_for_redis(
    start: Start, muster: CommandLine, valkey: Valkey
) -> None:
    valkey.stop()
    process = start(REDIS_URL=valkey.url)
    await said(muster, "waiting_for_redis")

    process.send_signal(signal.SIGTERM)

    assert await ended(process) == 0


async def test_it_ends_with_an_error_rather_than_idle(
    start: Start, muster: CommandLine, valkey: Valkey
) -> None:
    """BullMQ's loop ends in silence when Redis forbids what it asks for first."""
    client = redis.connect(valkey.url)
    await client.acl_setuser("default", enabled=True, commands=["-client|setname"])
    await client.aclose()

    process = start(REDIS_URL=valkey.url)

    assert await ended(process) == 1
    assert "has no permissions to run the 'client|setname' command" in muster.output


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("people,peple", "there is no queue 'peple'; expected of people, crm, upkeep"),
        ("people:many", "jobs at once of people are from 1 to 100, not 'many'"),
        ("upkeep:1", "jobs at once of upkeep are from 2 to 100, not '1'"),
    ],
)
async def test_queues_that_cannot_be_worked_are_refused(muster: CommandLine, asked: str, why: str) -> None:
    refused = muster("worker", "--queues", asked)

    assert refused.returncode == 2
    assert why in refused.stderr

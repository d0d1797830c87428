"""The pool heals, what belongs together happens together, and what fails says whose fault it is."""

import asyncio
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import psutil
import pytest
from tests.town import Town, eventually

from muster.embedded.postgres import Postgres
from muster.errors import Unavailable
from muster.platform.database import Database

_A_WORKER = """
INSERT INTO workers (id, host, pid, version, queues, memory_bytes, running)
VALUES ('w', 'h', 1, 'v', '{}', 0, 0)
"""


class _Number(msgspec.Struct):
    n: int


async def test_a_pool_whose_connections_were_all_cut_serves_the_next_caller(town: Town):
    database = town.portal.database
    await asyncio.gather(*(database.value("SELECT pg_sleep(0.05)") for _ in range(6)))
    await town.raw_execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'muster-test'"
    )

    assert await asyncio.gather(*(database.value("SELECT 1") for _ in range(6))) == [1] * 6


async def test_a_transaction_that_fails_leaves_nothing_and_does_nothing_after(town: Town):
    done: list[str] = []

    async def after() -> None:
        done.append("after")

    async def fail() -> None:
        async with town.portal.database.transaction() as tx:
            await tx.execute(_A_WORKER)
            tx.after_commit(after)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()

    assert await town.value("SELECT count(*) FROM workers") == 0
    assert done == []


async def test_what_was_put_off_runs_once_the_commit_is_seen_by_others(town: Town):
    seen: list[int] = []

    async def look() -> None:
        seen.append(await town.value("SELECT count(*) FROM workers"))

    async with town.portal.database.transaction() as tx:
        await tx.execute(_A_WORKER)
        tx.after_commit(look)

    assert seen == [1]


async def test_a_statement_beyond_its_deadline_is_given_up_and_the_pool_goes_on(town: Town):
    with pytest.raises(Unavailable, match="longer than"):
        async with town.portal.database.reading(deadline=timedelta(milliseconds=100)) as statements:
            await statements.value("SELECT pg_sleep(30)")

    assert await town.value("SELECT 1") == 1


async def test_a_server_that_is_away_is_said_to_be_away():
    database = Database("postgresql://nobody@127.0.0.1:1/nothing", application="muster-test")
    await database.open()

    with pytest.raises(Unavailable, match="PostgreSQL does not answer"):
        await database.value("SELECT 1")

    await database.close()


async def test_rows_are_checked_as_they_are_read(town: Town):
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        await town.portal.database.rows(_Number, "SELECT 'one' AS n")


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # PostgreSQL runs as another account when this one is root
        server = Postgres(Path(folder))
        server.start()
        yield server
        server.stop()


async def test_a_frozen_server_holds_nobody_beyond_the_deadline(own_server: Postgres):
    """Frozen, not gone: connections stand, and nothing ever comes over them."""
    database = Database(own_server.url, application="muster-test", min_size=1)
    await database.open()
    assert await database.value("SELECT 1") == 1
    processes = [psutil.Process(own_server.pid), *psutil.Process(own_server.pid).children(recursive=True)]
    try:
        for process in processes:
            process.suspend()
        async with asyncio.timeout(9):
            with pytest.raises(Unavailable):
                await database.value("SELECT 1")
    finally:
        for process in processes:
            process.resume()

    assert await eventually(lambda: database.value("SELECT 1")) == 1
    await database.close()

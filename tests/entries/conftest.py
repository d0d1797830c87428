"""Muster as its processes, and servers that a test may kill."""

import secrets
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from tests.entries.command_line import CommandLine
from tests.entries.yard import Yard, yard_on
from tests.town import owner_url

from bench.rig.environment import as_environment
from muster.embedded.valkey import Valkey
from muster.settings import Settings


@pytest.fixture
def bare(tmp_path: Path) -> CommandLine:
    """`muster` with nothing set."""
    return CommandLine(folder=tmp_path)


@pytest.fixture
def muster(tmp_path: Path, settings: Settings) -> CommandLine:
    """`muster` as the company of the shared servers would run it."""
    return CommandLine(folder=tmp_path, settings=as_environment(settings))


@pytest.fixture
def empty_database(settings: Settings) -> Iterator[str]:
    """The address, its owner's, of a database without tables on the shared server."""
    url, name = owner_url(settings), f"empty_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder that other accounts may enter, as embedded servers need; `tmp_path` is closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def valkey(own_folder: Path) -> Iterator[Valkey]:
    """One of the test's own, running, to be stopped and killed at will."""
    server = Valkey(own_folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def yard(settings: Settings) -> AsyncIterator[Yard]:
    async with yard_on(settings.redis_url.reveal()) as made:
        yield made


@pytest.fixture
async def frail(valkey: Valkey) -> AsyncIterator[Yard]:
    """A yard on a Redis that the test may stop and kill."""
    async with yard_on(valkey.url) as made:
        yield made

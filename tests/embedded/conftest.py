"""Homes for the servers, and the servers themselves, ended after each test whatever happened in it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from muster.embedded.postgres import Postgres
from muster.embedded.valkey import Valkey


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that other accounts may enter; pytest's own `tmp_path` is closed to them."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def postgres(home: Path) -> Iterator[Postgres]:
    server = Postgres(home)
    yield server
    server.stop()


@pytest.fixture
def valkey(home: Path) -> Iterator[Valkey]:
    server = Valkey(home)
    yield server
    server.stop()

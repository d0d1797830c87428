"""Homes for the servers, and the servers themselves, ended after each test whatever happened in it."""

import subprocess
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


@pytest.fixture(scope="session")
def fresh_cluster() -> Iterator[Path]:
    """What a first start leaves behind: copied, it saves each test the better part of a second."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = Postgres(Path(folder))
        server.start()
        server.stop()
        yield server.log_path.parent


@pytest.fixture
def postgres(home: Path, fresh_cluster: Path) -> Iterator[Postgres]:
    subprocess.run(["cp", "-a", fresh_cluster, home], check=True)
    server = Postgres(home)
    yield server
    server.stop()


@pytest.fixture
def valkey(home: Path) -> Iterator[Valkey]:
    server = Valkey(home)
    yield server
    server.stop()

"""The servers every test shares, started once, and the town each test gets fresh."""

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.town import Town, opened

from muster.embedded.postgres import Postgres
from muster.embedded.valkey import Valkey
from muster.platform import migrations, telemetry
from muster.settings import Secret, Settings

PEOPLE = 500


def pytest_configure() -> None:
    """A shell that runs tests in the background has them, and all they start, ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Servers:
    home: Path
    postgres: Postgres
    valkey: Valkey
    acme: dict[str, str]


@pytest.fixture(scope="session")
def servers_home() -> Iterator[Path]:
    """A folder that other accounts may enter, unlike pytest's own: as root, PostgreSQL runs as one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def servers(servers_home: Path) -> Iterator[Servers]:
    home = servers_home
    postgres, valkey = Postgres(home), Valkey(home)
    postgres.start()
    valkey.start()
    sandbox = subprocess.Popen(
        [sys.executable, "-m", "acme", "--port", "0", "--people", str(PEOPLE), "--home", str(home / "acme")],
        stdout=subprocess.DEVNULL,
    )
    try:
        migrations.upgrade(postgres.owner_url, postgres.url)
        described = home / "acme" / "acme.json"
        while not described.exists():
            assert sandbox.poll() is None
            time.sleep(0.02)
        telemetry.configure("error", name="muster-test", colours=False)
        yield Servers(home, postgres, valkey, json.loads(described.read_text()))
    finally:
        sandbox.terminate()
        sandbox.wait(10)
        valkey.stop()
        postgres.stop()


@pytest.fixture(scope="session")
def new_settings(servers: Servers) -> Callable[[], Settings]:
    """As a company would set them, for the shared servers; another free port in PUBLIC_URL each time."""
    acme = servers.acme

    def made() -> Settings:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return Settings(
            home=servers.home,
            port=port,
            public_url=f"http://127.0.0.1:{port}",
            secret_key=Secret("k" * 40),
            database_url=Secret(servers.postgres.url),
            database_owner_url=Secret(servers.postgres.owner_url),
            redis_url=Secret(servers.valkey.url),
            allowed_domains=("acme.test",),
            admin_emails=("ada@acme.test",),
            google_client_id=acme["client_id"],
            google_client_secret=Secret(acme["client_secret"]),
            google_issuer=acme["issuer"],
            google_service_account=Secret(Path(acme["service_account"]).read_text()),
            google_admin_email=acme["admin_email"],
            google_directory_url=acme["directory_url"],
            hubspot_token=Secret(acme["hubspot_token"]),
            hubspot_webhook_secret=Secret(acme["hubspot_webhook_secret"]),
            hubspot_url=acme["hubspot_url"],
        )

    return made


@pytest.fixture(scope="session")
def sentry_dsn(servers: Servers) -> Secret:
    """Of the sandbox's Sentry."""
    return Secret(servers.acme["sentry_dsn"])


@pytest.fixture
def settings(new_settings: Callable[[], Settings]) -> Settings:
    return new_settings()


@pytest.fixture
async def town(settings: Settings) -> AsyncIterator[Town]:
    async with opened(settings) as made:
        yield made

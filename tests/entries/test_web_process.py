"""`muster web` behind a proxy: whose word about an address is believed."""

import contextlib
import signal
from collections.abc import AsyncIterator

import httpx2
import pytest
from tests.entries.command_line import CommandLine
from tests.readiness.between import free_address
from tests.town import Town, eventually


@contextlib.asynccontextmanager
async def web(muster: CommandLine, **settings: str) -> AsyncIterator[httpx2.AsyncClient]:
    """The web as a process, on a port that nobody else has."""
    address = free_address()
    running = muster.start("web", PORT=address.rpartition(":")[2], PUBLIC_URL=address, **settings)
    async with httpx2.AsyncClient(base_url=address, follow_redirects=True, timeout=20) as client:

        async def answers() -> bool:
            with contextlib.suppress(httpx2.HTTPError):
                return (await client.get("/livez")).status_code == 200
            return False

        try:
            await eventually(answers, within=30)
            yield client
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(30)


@pytest.mark.parametrize(
    ("trusted", "believed"),
    [("", "127.0.0.1"), ("10.0.0.0/8", "127.0.0.1"), ("127.0.0.1", "192.0.2.7")],
)
async def test_an_address_that_a_stranger_claims_is_not_believed(
    town: Town, muster: CommandLine, trusted: str, believed: str
):
    async with web(muster, TRUSTED_PROXIES=trusted) as client:
        claimed = {"x-forwarded-for": "192.0.2.7", "accept": "text/html"}
        page = await client.get("/sign-in/google?login_hint=cy@acme.test", headers=claimed)

        assert page.status_code == 200
    address = await town.value("SELECT address FROM audit_log WHERE action = 'accounts.signed_in'")
    assert address == believed

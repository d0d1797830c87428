"""A portal to attack: the servers, the sandbox company and a web process, gone when it ends."""

import asyncio
import contextlib
import re
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psutil
import redis.asyncio

from attack.finding import AttackFailed
from bench.rig.environment import as_environment
from bench.rig.servers import environment, running
from muster.platform import migrations
from muster.platform.routes import Route
from muster.settings import Secret, Settings
from muster.wiring import make

PEOPLE = 60
WHO = {"ada": "ada@acme.test", "ben": "ben@acme.test", "cy": "cy@acme.test"}
_FORM_TOKEN = re.compile(r'name="csrf" content="([0-9a-f]+)"')


@dataclass(kw_only=True, slots=True)
class Ground:
    """Where the attacks go: `sessions` is who → session id, `forms` who → a form token of theirs."""

    base_url: str
    folder: Path
    routes: tuple[Route, ...]
    web: psutil.Process
    log: Path
    sessions: dict[str, str] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(self.base_url.rpartition(":")[2])

    async def sign_in(self, who: str) -> None:
        async with httpx2.AsyncClient(base_url=self.base_url, follow_redirects=True, timeout=20) as browser:
            page = await browser.get(
                f"/sign-in/google?login_hint={WHO[who]}&next=/account", headers={"accept": "text/html"}
            )
            found, session_id = _FORM_TOKEN.search(page.text), browser.cookies.get("muster_session")
        if not found or not session_id:
            raise AttackFailed(f"{who} could not sign in: {page.status_code}")
        self.sessions[who], self.forms[who] = session_id, found.group(1)

    async def stay_in(self) -> None:
        for who in WHO:
            if (await self.page("/account", who)).status_code != 200:
                await self.sign_in(who)

    async def page(self, path: str, who: str = "ada") -> httpx2.Response:
        async with httpx2.AsyncClient(timeout=20) as client:
            return await client.get(
                f"{self.base_url}{path}",
                headers={"accept": "text/html", "cookie": f"muster_session={self.sessions[who]}"},
            )


@contextlib.contextmanager
def prepared() -> Iterator[tuple[Settings, Mapping[str, str], Path]]:
    """Servers with tables and nobody in them; settings, and the same as an environment. Main thread only."""
    with running(people=PEOPLE) as servers:
        migrations.upgrade(servers.postgres.owner_url, servers.postgres.url)
        port = _free_port()
        acme = servers.acme
        settings = Settings(
            home=servers.home,
            port=port,
            public_url=f"http://127.0.0.1:{port}",
            secret_key=Secret(secrets.token_urlsafe(48)),
            database_url=Secret(servers.postgres.url),
            redis_url=Secret(servers.valkey.url),
            allowed_domains=("acme.test",),
            admin_emails=(WHO["ada"],),
            google_client_id=acme.client_id,
            google_client_secret=Secret(acme.client_secret),
            google_issuer=acme.issuer,
            google_service_account=Secret(Path(acme.service_account).read_text("utf-8")),
            google_admin_email=acme.admin_email,
            google_directory_url=acme.directory_url,
        )
        yield (
            settings,
            as_environment(settings) | {"MUSTER_HOME": str(servers.home / "attacked")},
            servers.home,
        )


@contextlib.asynccontextmanager
async def attacked(settings: Settings, values: Mapping[str, str], folder: Path) -> AsyncIterator[Ground]:
    """The portal as a process of its own, its directory read, ada, ben and cy signed in."""
    made = make(settings, application="muster-attack")
    await made.database.open()
    try:
        await made.sync.run()
        await made.groups.run()
    finally:
        await made.http.aclose()
        await made.queues.close()
        await made.redis.aclose()
        await made.database.close()
    log = folder / "web.log"
    with log.open("wb") as written:
        web = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "muster", "web"),
            env={**environment(), **values},
            cwd=folder,
            stdout=written,
            stderr=asyncio.subprocess.STDOUT,
        )
    ground = Ground(
        base_url=settings.public_url, folder=folder, routes=made.routes, web=psutil.Process(web.pid), log=log
    )
    lifting = asyncio.create_task(_lift_limits(settings.redis_url.reveal()))
    try:
        await _until_it_answers(ground)
        for who in WHO:
            await ground.sign_in(who)
        yield ground
    finally:
        lifting.cancel()
        web.terminate()
        await asyncio.wait_for(web.wait(), 30)


async def _lift_limits(redis_url: str) -> None:
    """Forget what was counted, again and again: the limits are tried elsewhere, and would end all this."""
    client = redis.asyncio.Redis.from_url(redis_url)
    while True:
        async for key in client.scan_iter("cache:rate:*"):
            await client.delete(key)
        await asyncio.sleep(0.1)


async def _until_it_answers(ground: Ground) -> None:
    async with httpx2.AsyncClient() as client:
        for _ in range(200):
            with contextlib.suppress(httpx2.HTTPError):
                if (await client.get(f"{ground.base_url}/livez")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
    raise AttackFailed("the web process did not start")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])

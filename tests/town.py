"""The whole of Muster as tests meet it: real PostgreSQL, real Valkey, the real sandbox company, real HTTP."""

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2
import msgspec
import psycopg
import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from muster.platform.http_limits import LimitedHttp
from muster.platform.listening import listen
from muster.platform.queue import QUEUES, Worker
from muster.settings import Settings
from muster.web import Server, application
from muster.wiring import Portal, portal

SESSION_COOKIE = "muster_session"
_TLS = ssl.create_default_context()  # reading the certificates takes longer than most tests
_EMPTY = """
DO $$
DECLARE
    name text;
    holds boolean;
    filled text[] := '{}';
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I)', name) INTO holds;
        IF holds THEN filled := filled || quote_ident(name); END IF;
    END LOOP;
    IF filled <> '{}' THEN
        EXECUTE 'TRUNCATE ' || array_to_string(filled, ', ') || ' CASCADE';
    END IF;
    FOR name IN
        SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL
    LOOP
        EXECUTE format('ALTER SEQUENCE %I RESTART', name);
    END LOOP;
END $$
"""
"""Only what holds anything: to empty all of them takes a tenth of a second, and most tests fill a few."""
_CSRF = re.compile(r'name="csrf" (?:value|content)="([^"]+)"')


class Sandbox:
    """The sandbox company's stage directions."""

    def __init__(self, issuer: str, client: httpx2.AsyncClient) -> None:
        self.issuer = issuer
        self._client = client

    async def tell(self, path: str, order: Mapping[str, Any] | None = None) -> Any:
        response = await self._client.post(f"{self.issuer}/sandbox/{path}", json=dict(order or {}))
        assert response.status_code < 300, response.text
        return response.json()

    async def ask(self, path: str) -> Any:
        return (await self._client.get(f"{self.issuer}/sandbox/{path}")).json()

    async def fault(self, kind: str, **how: Any) -> None:
        await self.tell("faults", {"path": "/admin/directory/v1/users", "kind": kind, **how})

    async def hubspot(self, what: str, **how: Any) -> Any:
        """As `hubspot("faults", path="/crm/*", status=500)`, or `hubspot("deals/1", properties={…})`."""
        return await self.tell(f"hubspot/{what}", how)

    async def change(self, email: str, **fields: Any) -> Any:
        return (await self.tell(f"people/{email}", fields))["user"]


class Visitor:
    """A person with a browser's cookies, without a browser: follows no redirect unless told to."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._client = httpx2.AsyncClient(
            base_url=base_url, headers={"accept": "text/html"}, verify=_TLS, timeout=20
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    @property
    def cookies(self) -> httpx2.Cookies:
        return self._client.cookies

    async def get(self, path: str, **kwargs: Any) -> httpx2.Response:
        return await self._client.get(path, **kwargs)

    async def request(self, method: str, path: str, **kwargs: Any) -> httpx2.Response:
        return await self._client.request(method, path, **kwargs)

    async def follow(self, path: str) -> httpx2.Response:
        return await self._client.get(path, follow_redirects=True)

    async def post(self, path: str, fields: Mapping[str, str] | None = None) -> httpx2.Response:
        """Send the form of a page as a browser would, with the token that the page carries."""
        token = await self.csrf()
        return await self._client.post(
            path, data={**(fields or {}), "csrf": token}, headers={"origin": self.base_url}
        )

    async def csrf(self) -> str:
        page = await self.get("/")
        found = _CSRF.search(page.text)
        assert found, page.text[:500]
        return found.group(1)

    async def sign_in(self, email: str, next_path: str = "/") -> httpx2.Response:
        return await self.follow(f"/sign-in/google?login_hint={email}&next={next_path}")

    @property
    def session_id(self) -> str | None:
        return self._client.cookies.get(SESSION_COOKIE)


@dataclass(frozen=True, kw_only=True)
class Town:
    """What a test may touch: the wired portal, the address it is served at, and the sandbox company."""

    portal: Portal
    base_url: str
    sandbox: Sandbox
    raw: httpx2.AsyncClient

    def visitor(self) -> Visitor:
        return Visitor(self.base_url)

    @contextlib.asynccontextmanager
    async def signed_in(self, email: str) -> AsyncIterator[Visitor]:
        async with self.visitor() as visitor:
            response = await visitor.sign_in(email)
            assert response.status_code == 200, response.text
            yield visitor

    @contextlib.asynccontextmanager
    async def working(self, *, name: str = "test-worker") -> AsyncIterator[Worker]:
        """A worker with every queue, its heart beating, drained at the end."""
        queues = [spec.name for spec in QUEUES]
        redis_url = self.portal.settings.redis_url.reveal()
        worker = Worker(redis_url, self.portal.jobs, queues=queues, concurrency=4, name=name)
        await worker.start()
        await self.beat(name)
        try:
            yield worker
        finally:
            await worker.drain(timedelta(seconds=10))
            await self.portal.heartbeats.stopped(name)

    async def beat(self, name: str = "test-worker") -> None:
        """As a worker's clock does; whoever works for longer has to."""
        concurrency = dict.fromkeys((spec.name for spec in QUEUES), 4)
        await self.portal.heartbeats.beat(name, concurrency=concurrency, running=[])

    async def watched(self) -> None:
        """Have somebody look at the proofs there are, and tell what is to be told."""
        watch = self.portal.alerting.watch(self.portal.proofs, trusts_for=timedelta.max)
        await watch.look("test-watch")
        await watch.deliver()

    async def schedule(self) -> None:
        """Have every schedule in place, its first turn an interval from now."""
        await self.portal.queues.schedule([replace(job, first_after=job.every) for job in self.portal.jobs])

    async def in_step(self) -> None:
        """Have Google's push live, and everything read that Google has."""
        await self.portal.push.keep_open()
        await eventually(self.portal.push.live_since)
        await self.portal.sync.run()
        await self.portal.groups.run()

    async def all_in_step(self) -> None:
        """What HubSpot has as well."""
        await self.in_step()
        await self.portal.crm_sync.run()
        await self.portal.meter.flush()

    @property
    def owner_url(self) -> str:
        """The address of the role that owns the tables."""
        return owner_url(self.portal.settings)

    async def value(self, statement: str, *parameters: Any) -> Any:
        return await self.portal.database.value(statement, list(parameters))

    async def execute(self, statement: str, *parameters: Any) -> int:
        return await self.portal.database.execute(statement, list(parameters))

    async def raw_execute(self, statement: str) -> None:
        """As the owner of the tables, on a connection of its own outside the portal's pool."""
        async with await psycopg.AsyncConnection.connect(self.owner_url, autocommit=True) as connection:
            await connection.execute(statement)

    async def audited(self) -> list[str]:
        """The actions in the audit record, oldest first."""
        found = await self.value("SELECT coalesce(array_agg(action ORDER BY id), '{}') FROM audit_log")
        return list(found)

    async def keys(self) -> list[str]:
        return sorted([bytes(key).decode() async for key in self.portal.redis.scan_iter(count=1000)])


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Town]:
    """The portal of `settings`, served, its servers empty and the sandbox as on its first day."""
    async with (
        portal(settings, application="muster-test") as made,
        httpx2.AsyncClient(timeout=20, verify=_TLS) as raw,
    ):
        sandbox = Sandbox(settings.google_issuer, raw)
        await emptied(owner_url(settings))
        await made.redis.flushdb()
        await sandbox.tell("reset", {})
        async with served(made, settings.port) as base_url:
            yield Town(portal=made, base_url=base_url, sandbox=sandbox, raw=raw)


async def emptied(url: str) -> None:
    """Empty every table, which takes their owner: the portal's own role may not."""
    await past_the_triggers(url, _EMPTY)


async def past_the_triggers(url: str, statement: str) -> None:
    """As the owner who switches off what keeps the audit log from being changed."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(statement)


def owner_url(settings: Settings) -> str:
    assert settings.database_owner_url
    return settings.database_owner_url.reveal()


@contextlib.asynccontextmanager
async def served(made: Portal, port: int) -> AsyncIterator[str]:
    """The portal behind a real server on loopback, in this event loop."""
    async with serving(application(made), port) as base_url:
        yield base_url


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, port: int) -> AsyncIterator[str]:
    listening = listen("127.0.0.1", port)
    config = uvicorn.Config(
        app, http=LimitedHttp, ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = _QuietServer(config)
    running = asyncio.create_task(server.serve([listening]))
    while not (server.started or running.done()):  # noqa: ASYNC110  a turn of the loop or two
        await asyncio.sleep(0)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.over.set()
        await running


class _QuietServer(Server):
    """Leaves the signals to pytest, and ends at once: uvicorn's own would take two tenths of a second."""

    capture_signals = contextlib.nullcontext  # type: ignore[assignment]

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.over = asyncio.Event()

    @override
    async def main_loop(self) -> None:
        await self.on_tick(0)  # dates the answers
        await self.over.wait()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()


async def eventually(is_so: Any, *, within: float = 15.0) -> Any:
    """Poll until `is_so()` is true, and give what it gave; fails the test after `within` seconds."""
    deadline = asyncio.get_running_loop().time() + within
    while not (found := await is_so()):
        assert asyncio.get_running_loop().time() < deadline, f"not so within {within} s"
        await asyncio.sleep(0.02)
    return found


def problem(response: httpx2.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json", response.text
    return dict(msgspec.json.decode(response.content))


def path_of(location: str) -> str:
    return urlsplit(location).path

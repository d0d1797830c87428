"""Probes of what every slice stands on: PostgreSQL, Redis, sessions, the queue, headers."""

import asyncio
import re
import secrets
from datetime import UTC, datetime, timedelta

import httpx2

from muster.errors import Unavailable
from muster.platform import migrations, security_headers
from muster.platform.database import Database
from muster.platform.database_role import Standing
from muster.platform.probe import Failed, Probe
from muster.platform.queue import Job, Queues
from muster.platform.rate_limit import READING
from muster.platform.redis import PREFIXES, SESSIONS, Redis, answering
from muster.platform.sessions import LIFETIME, Session, Sessions, session_key

CANARY_DEADLINE = timedelta(seconds=10)
KEYS_LOOKED_AT = 20_000

_NONCE = re.compile(r"'nonce-([\w-]{16,})'")


_OFF = frozenset({"off", "false", "no", "0"})
_OVERRIDES = """
SELECT split_part(override, '=', 1), split_part(override, '=', 2)
FROM pg_db_role_setting, unnest(setconfig) AS override
WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
  AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user))
ORDER BY setrole <> 0, setdatabase <> 0
"""
"""What ALTER DATABASE and ALTER ROLE have set for connections such as ours, the strongest last."""


class DatabaseProbes:
    def __init__(self, database: Database) -> None:
        self._database = database

    def probes(self) -> list[Probe]:
        return [
            Probe(row="postgresql.answers", ask=self.answers),
            Probe(row="postgresql.durable", ask=self.durable),
            Probe(row="postgresql.least_privilege", ask=self.least_privilege),
            Probe(row="postgresql.migrated", ask=self.migrated),
        ]

    async def answers(self) -> str:
        version = await self._database.value("SELECT current_setting('server_version')")
        figures = self._database.figures()
        # A moment's queue is what a pool is for; one that stays for a second is a pool too small.
        for _ in range(10):
            if not figures.get("requests_waiting"):
                break
            await asyncio.sleep(0.1)
            figures = self._database.figures()
        waiting, size = figures.get("requests_waiting", 0), figures.get("pool_size", 0)
        if waiting:
            raise Failed(f"callers have waited for a second, now {waiting}, for one of {size} connections")
        idle = figures.get("pool_available", 0)
        return f"PostgreSQL {version}; {idle} of {size} connections idle, 0 waiting"

    async def durable(self) -> str:
        names = ("fsync", "full_page_writes", "synchronous_commit")
        async with self._database.reading() as statements:
            found = await statements.pairs(
                "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(names)]
            )
            # The pool's connections may be older than an override, which counts from the next one on.
            overrides = await statements.pairs(_OVERRIDES)
        found |= {name: value for name, value in overrides.items() if name in names}
        seen = ", ".join(f"{name} {found.get(name, 'unknown')}" for name in names)
        # `local` waits for our own disk, `remote_*` for a replica too; only `off` answers before either.
        if any(found.get(name, "off").casefold() in _OFF for name in names):
            raise Failed(seen)
        return seen

    async def least_privilege(self) -> str:
        async with self._database.reading() as statements:
            # Whoever signed in, whichever role a setting may have put on since.
            standing = await Standing.of(statements, await statements.value("SELECT session_user"))
        if standing.beyond:
            raise Failed("; ".join(standing.beyond))
        return standing.in_words()

    async def migrated(self) -> str:
        if await self._database.value("SELECT to_regclass('alembic_version')") is None:
            raise Failed(f"the database has no tables yet; this release wants version {migrations.head()}")
        version = await self._database.value("SELECT version_num FROM alembic_version")
        if version != migrations.head():
            raise Failed(f"tables are of version {version}, this release wants {migrations.head()}")
        return f"version {version}"


class RedisProbes:
    def __init__(self, redis: Redis, sessions: Sessions, *, cache: Redis | None = None) -> None:
        """`cache` is where what is cached has a server of its own."""
        self._redis = redis
        self._cache = cache
        self._sessions = sessions

    def probes(self) -> list[Probe]:
        return [
            Probe(row="redis.persistence", ask=self.persistence),
            Probe(row="redis.policy", ask=self.policy),
            Probe(row="redis.prefixes", ask=self.prefixes),
            Probe(row="sessions.stored", ask=self.sessions),
        ]

    async def persistence(self) -> str:
        with answering():
            info = await self._redis.info("persistence")
        fsync = await self._setting("appendfsync")
        if not info.get("aof_enabled"):
            raise Failed("the append-only file is off: a restart loses what came since the last snapshot")
        if info.get("aof_last_write_status") != "ok":
            raise Failed(f"the last write to the append-only file: {info.get('aof_last_write_status')}")
        if fsync == "no":
            raise Failed("appendfsync is no: a power loss may take many seconds of writes")
        synced = fsync or "not shown by this server: ask its provider"
        return f"append-only file on, last write ok, appendfsync {synced}"

    async def policy(self) -> str:
        seen = await _policy(self._redis, "sessions and jobs")
        if self._cache is None:
            return seen
        # Without the word of what was changed, what is outdated would be given out.
        return f"{seen}; of the cache's server: {await _policy(self._cache, 'words of changes')}"

    async def prefixes(self) -> str:
        seen, strangers = 0, []
        with answering():
            async for raw in self._redis.scan_iter(count=1000):
                key = raw.decode(errors="replace")
                seen += 1
                if not key.startswith(PREFIXES):
                    strangers.append(key)
                if seen >= KEYS_LOOKED_AT or len(strangers) >= 5:
                    break
        if strangers:
            raise Failed(f"keys of no namespace: {', '.join(key[:40] for key in strangers)}")
        return f"{seen} keys looked at, all under {', '.join(PREFIXES)}"

    async def sessions(self) -> str:
        # A sign-in of its own: ending one ends every id of that sign-in, also another prober's.
        sign_in = f"canary-{secrets.token_hex(8)}"
        canary = Session(account_id=0, sign_in=sign_in, started_at=datetime.now(UTC))
        session_id = await self._sessions.start(canary)
        try:
            with answering():
                left_ms = await self._redis.pttl(session_key(session_id))
            admitted = await self._sessions.admit(session_id, "canary", READING)
        finally:
            await self._sessions.end(session_id)
        hours = left_ms / 3_600_000
        if admitted.session is None:
            raise Failed("a session that was just written could not be read back")
        if not 0 < hours <= LIFETIME.total_seconds() / 3600:
            life = f"{hours:.1f} h" if hours > 0 else "for ever"
            raise Failed(f"a new session would live {life}; it must end within {LIFETIME}")
        if (await self._sessions.admit(session_id, "canary", READING)).session is not None:
            raise Failed("a session that was ended still opens the door")
        return f"written, read and ended under {SESSIONS}; a new one lives {hours:.1f} h"

    async def _setting(self, name: str) -> str:
        """The server's setting, or "" where a provider forbids asking."""
        try:
            with answering():
                found = await self._redis.config_get(name)
        except Unavailable:
            return ""
        return next((str(value) for value in found.values()), "")


async def _policy(redis: Redis, kept: str) -> str:
    """Raises Failed for a server that throws away what it was given, or is about to refuse more."""
    with answering():
        info = await redis.info("memory")
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        raise Failed(f"maxmemory-policy is {policy}: {kept} may be thrown away")
    limit = int(info.get("maxmemory", 0))
    used = int(info["used_memory"]) // 2**20
    if limit and int(info["used_memory"]) > 0.9 * limit:
        raise Failed(f"noeviction, but {used} MB of {limit // 2**20} MB are used: writes will be refused")
    return f"noeviction; {used} MB used of {f'{limit // 2**20} MB' if limit else 'no set limit'}"


class CanaryProbe:
    def __init__(self, queues: Queues, canary: Job, *, deadline: timedelta = CANARY_DEADLINE) -> None:
        self._queues = queues
        self._canary = canary
        self._deadline = deadline.total_seconds()

    def probes(self) -> list[Probe]:
        return [Probe(row="jobs.canary", ask=self.canary)]

    async def canary(self) -> str:
        job_id = f"canary-{secrets.token_hex(8)}"
        started = asyncio.get_running_loop().time()
        await self._queues.add_once(self._canary, job_id)
        try:
            while (state := await self._queues.state(self._canary, job_id)) != "completed":
                if state == "failed":
                    raise Failed("the canary job failed; the worker's log says why")
                if asyncio.get_running_loop().time() - started > self._deadline:
                    raise Failed(f"a job was still {state} after {self._deadline:.0f} s")
                await asyncio.sleep(0.02)
        finally:
            await self._queues.remove(self._canary, job_id)
        ms = (asyncio.get_running_loop().time() - started) * 1000
        return f"added, run and completed in {ms:.0f} ms"


class HeaderProbe:
    """Asks the portal for a page as a browser would, from outside its own process."""

    def __init__(self, http: httpx2.AsyncClient, public_url: str) -> None:
        self._http = http
        self._public_url = public_url

    def probes(self) -> list[Probe]:
        return [Probe(row="web.headers", ask=self.headers)]

    async def headers(self) -> str:
        first, second = await self._page(), await self._page()
        wanted = dict(security_headers.FIXED)
        if self._public_url.startswith("https://"):
            wanted["strict-transport-security"] = security_headers.HSTS
        wrong = sorted(name for name, value in wanted.items() if first.headers.get(name) != value)
        if wrong:
            raise Failed(f"missing or changed: {', '.join(wrong)}")
        nonces = [self._nonce(page.headers.get("content-security-policy", "")) for page in (first, second)]
        if nonces[0] == nonces[1]:
            raise Failed("two pages carried the same script nonce; is something caching pages?")
        return f"{len(wanted) + 1} headers as they should be on {self._public_url}/sign-in, nonce fresh"

    def _nonce(self, policy: str) -> str:
        """The nonce of a policy that is ours to the letter."""
        found = _NONCE.search(policy)
        if not found or policy != security_headers.content_security_policy(
            found.group(1), https=self._public_url.startswith("https://")
        ):
            raise Failed(f"the content security policy is not ours: {policy or 'none'}")
        return found.group(1)

    async def _page(self) -> httpx2.Response:
        try:
            response = await self._http.get(f"{self._public_url}/sign-in")
        except httpx2.HTTPError as error:
            raise Failed(f"{self._public_url} does not answer ({type(error).__name__})") from error
        if response.status_code not in {200, 429}:  # whoever asks too often is refused on such a page, too
            raise Failed(f"{self._public_url}/sign-in answered {response.status_code}")
        return response

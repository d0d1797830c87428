"""The saboteurs: for every row of the checklist, real ways of breaking what it promises."""

import asyncio
import contextlib
import functools
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from tests.readiness.between import Between, Passing
from tests.town import Town, eventually, past_the_triggers

from muster.platform import audit, migrations
from muster.platform.actor import System
from muster.platform.database import Database
from muster.platform.probe import Probe
from muster.platform.probes import JobProbes, RedisProbes
from muster.platform.queue import QUEUES, Worker
from muster.platform.sessions import Sessions
from muster.readiness.checklist import ROWS
from muster.readiness.jobs import CANARY
from muster.readiness.proofs import Judged, Proofs
from muster.settings import Secret
from muster.wiring import portal

ALL_QUEUES = [spec.name for spec in QUEUES]
DIRECTORY = "/admin/directory/v1/users"


@dataclass(kw_only=True)
class Siege:
    """A town in good order, and what a saboteur may lay hands on."""

    town: Town
    front: Between
    """What stands before the portal at its PUBLIC_URL."""
    google: Between
    """What stands before Google's sign-in."""
    archive: Database
    """Keeps the proofs, out of the saboteurs' reach."""
    probes: dict[str, Probe] = field(default_factory=dict)
    worker: Worker | None = None

    def __post_init__(self) -> None:
        made = self.town.portal
        self.probes = {row.id: made.proofs._probes[row.id] for row in ROWS}
        impatient = JobProbes(made.queues, made.heartbeats, CANARY, deadline=timedelta(seconds=1.5))
        self.probes["jobs.canary"] = Probe(row="jobs.canary", ask=impatient.canary)

    async def judged(self, row_id: str) -> Judged:
        row = next(row for row in ROWS if row.id == row_id)
        proofs = Proofs(self.archive, [self.probes[row_id]], [row])
        return (await proofs.prove()).rows[0]

    async def start_worker(self) -> None:
        made = self.town.portal
        redis_url = made.settings.redis_url.reveal()
        self.worker = Worker(redis_url, made.jobs, queues=ALL_QUEUES, concurrency=4, name="besieged")
        await self.worker.start()
        await self.beat()

    async def stop_worker(self) -> None:
        if self.worker:
            await self.worker.drain(timedelta(seconds=10))
            await self.town.portal.heartbeats.stopped("besieged")
            self.worker = None

    async def open_channels(self) -> None:
        await self.town.portal.push.keep_open()
        await eventually(self.town.portal.push.live_since)

    async def beat(self) -> None:
        await self.town.portal.heartbeats.beat("besieged", queues=ALL_QUEUES, running=0)

    async def sql(self, *statements: str) -> None:
        """Each statement for itself, on a connection that is not the portal's."""
        for statement in statements:
            await self.town.raw_execute(statement)


Act = Callable[[Siege], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Sabotage:
    """`act` breaks what `row` promises for as long as its block lasts; the evidence then holds `sees`."""

    row: str
    act: Act
    sees: str

    @property
    def name(self) -> str:
        return f"{self.row}: {self.act.__name__.replace('_', ' ')}"


SABOTAGES: list[Sabotage] = []


def saboteur(row: str, *, sees: str) -> Callable[[Callable[[Siege], AsyncIterator[None]]], Act]:
    """Registers a generator that breaks something, yields, and mends it again."""

    def registered(breaks: Callable[[Siege], AsyncIterator[None]]) -> Act:
        @contextlib.asynccontextmanager
        @functools.wraps(breaks)
        async def act(siege: Siege) -> AsyncIterator[None]:
            breaking = breaks(siege)
            await anext(breaking)
            try:
                yield
            finally:
                await anext(breaking, None)  # mended, whatever went wrong meanwhile

        SABOTAGES.append(Sabotage(row=row, act=act, sees=sees))
        return act

    return registered


# PostgreSQL


@saboteur("postgresql.answers", sees="PostgreSQL does not answer")
async def every_connection_is_held(siege: Siege) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as held:
        for _ in range(10):
            await held.enter_async_context(siege.town.portal.database.reading())
        yield


@saboteur("postgresql.answers", sees="callers have waited for a second")
async def callers_stand_in_line(siege: Siege) -> AsyncIterator[None]:
    database = siege.town.portal.database

    over = asyncio.Event()

    async def ask_and_ask() -> None:
        while not over.is_set():
            await database.value("SELECT pg_sleep(0.05)")

    crowd = [asyncio.create_task(ask_and_ask()) for _ in range(40)]
    yield
    over.set()
    await asyncio.gather(*crowd)


@saboteur("postgresql.durable", sees="synchronous_commit off")
async def the_database_commits_without_the_disk(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("ALTER DATABASE muster SET synchronous_commit = off")
    yield
    await siege.sql("ALTER DATABASE muster RESET synchronous_commit")


@saboteur("postgresql.durable", sees="synchronous_commit false")
async def the_role_commits_without_the_disk(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("ALTER ROLE muster_app SET synchronous_commit = false")
    yield
    await siege.sql("ALTER ROLE muster_app RESET synchronous_commit")


@saboteur("postgresql.durable", sees="synchronous_commit off")
async def the_role_in_this_database_overrides_the_rest(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "ALTER DATABASE muster SET synchronous_commit = on",
        "ALTER ROLE muster_app IN DATABASE muster SET synchronous_commit = off",
    )
    yield
    await siege.sql(
        "ALTER ROLE muster_app IN DATABASE muster RESET synchronous_commit",
        "ALTER DATABASE muster RESET synchronous_commit",
    )


@saboteur("postgresql.durable", sees="full_page_writes off")
async def pages_may_be_torn(siege: Siege) -> AsyncIterator[None]:
    await _set_for_the_server(siege, "full_page_writes", "off")
    yield
    await _set_for_the_server(siege, "full_page_writes", "on")


async def _set_for_the_server(siege: Siege, name: str, value: str) -> None:
    await siege.sql(f"ALTER SYSTEM SET {name} = {value}", "SELECT pg_reload_conf()")

    async def is_in_force() -> bool:
        return bool(await siege.town.value("SELECT current_setting(%s) = %s", name, value))

    await eventually(is_in_force)


@saboteur("postgresql.least_privilege", sees="muster_app may DELETE audit_log, may UPDATE audit_log")
async def the_audit_log_may_be_changed(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("GRANT UPDATE, DELETE ON audit_log TO muster_app")
    yield
    await siege.sql("REVOKE UPDATE, DELETE ON audit_log FROM muster_app")


@saboteur("postgresql.least_privilege", sees="muster_app may UPDATE audit_log")
async def a_single_column_of_it_may_be_changed(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("GRANT UPDATE (email) ON audit_log TO muster_app")
    yield
    await siege.sql("REVOKE UPDATE (email) ON audit_log FROM muster_app")


@saboteur("postgresql.least_privilege", sees="muster_app may DELETE audit_log")
async def everybody_may_delete_from_it(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("GRANT DELETE ON audit_log TO PUBLIC")
    yield
    await siege.sql("REVOKE DELETE ON audit_log FROM PUBLIC")


@saboteur("postgresql.least_privilege", sees="muster_app may become pg_write_all_data, which may DELETE")
async def a_role_of_postgresql_itself_may_write_everywhere(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("GRANT pg_write_all_data TO muster_app")
    yield
    await siege.sql("REVOKE pg_write_all_data FROM muster_app")


@saboteur("postgresql.least_privilege", sees="muster_app owns people")
async def a_table_is_its_own(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("ALTER TABLE people OWNER TO muster_app")
    yield
    await siege.sql(
        "ALTER TABLE people OWNER TO muster", "GRANT SELECT, INSERT, UPDATE, DELETE ON people TO muster_app"
    )


@saboteur("postgresql.least_privilege", sees="muster_app may become muster, which is a superuser, owns")
async def it_may_become_the_owner(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("GRANT muster TO muster_app")
    yield
    await siege.sql("REVOKE muster FROM muster_app")


@saboteur("postgresql.least_privilege", sees="muster_app is a superuser")
async def it_is_a_superuser(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("ALTER ROLE muster_app SUPERUSER")
    yield
    await siege.sql("ALTER ROLE muster_app NOSUPERUSER")


@saboteur(
    "postgresql.least_privilege",
    sees="muster_app bypasses row security, may create databases, may create roles, may replicate",
)
async def it_has_every_other_attribute(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("ALTER ROLE muster_app CREATEDB CREATEROLE REPLICATION BYPASSRLS")
    yield
    await siege.sql("ALTER ROLE muster_app NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")


@saboteur("postgresql.least_privilege", sees="muster_app may create in the schema public")
async def everybody_may_create_in_the_schema(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("GRANT CREATE ON SCHEMA public TO PUBLIC")
    yield
    await siege.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC")


@saboteur("postgresql.least_privilege", sees="muster_app may create schemas")
async def it_may_create_schemas(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("GRANT CREATE ON DATABASE muster TO muster_app")
    yield
    await siege.sql("REVOKE CREATE ON DATABASE muster FROM muster_app")


@saboteur("postgresql.least_privilege", sees="muster_app may switch triggers off")
async def triggers_may_be_switched_off(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("GRANT SET ON PARAMETER session_replication_role TO muster_app")
    yield
    await siege.sql("REVOKE SET ON PARAMETER session_replication_role FROM muster_app")


@saboteur("postgresql.migrated", sees="tables are of version 0000, this release wants")
async def the_tables_are_of_another_release(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE alembic_version SET version_num = '0000'")
    yield
    await siege.sql(f"UPDATE alembic_version SET version_num = '{migrations.head()}'")  # noqa: S608  ours


@saboteur("postgresql.migrated", sees="the database has no tables yet")
async def nobody_has_migrated(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("ALTER TABLE alembic_version RENAME TO hidden")
    yield
    await siege.sql("ALTER TABLE hidden RENAME TO alembic_version")


# Redis


@contextlib.asynccontextmanager
async def redis_set(siege: Siege, name: str, value: str) -> AsyncIterator[None]:
    redis = siege.town.portal.redis
    before = {str(key): str(found) for key, found in (await redis.config_get(name)).items()}
    await redis.config_set(name, value)
    try:
        yield
    finally:
        await redis.config_set(name, before[name])


@saboteur("redis.persistence", sees="the append-only file is off")
async def nothing_is_written_down(siege: Siege) -> AsyncIterator[None]:
    async with redis_set(siege, "appendonly", "no"):
        yield


@saboteur("redis.persistence", sees="appendfsync is no")
async def writes_stay_in_the_kernel(siege: Siege) -> AsyncIterator[None]:
    async with redis_set(siege, "appendfsync", "no"):
        yield


@saboteur("redis.policy", sees="maxmemory-policy is allkeys-lru")
async def sessions_make_room_for_others(siege: Siege) -> AsyncIterator[None]:
    async with redis_set(siege, "maxmemory-policy", "allkeys-lru"):
        yield


@saboteur("redis.policy", sees="maxmemory-policy is volatile-ttl")
async def sessions_about_to_end_make_room(siege: Siege) -> AsyncIterator[None]:
    async with redis_set(siege, "maxmemory-policy", "volatile-ttl"):
        yield


@saboteur("redis.policy", sees="writes will be refused")
async def memory_is_about_to_run_out(siege: Siege) -> AsyncIterator[None]:
    used = int((await siege.town.portal.redis.info("memory"))["used_memory"])
    async with redis_set(siege, "maxmemory", str(int(used * 1.05))):
        yield


@saboteur("redis.prefixes", sees="keys of no namespace: foo")
async def a_stranger_shares_the_database(siege: Siege) -> AsyncIterator[None]:
    await siege.town.portal.redis.set("foo", "bar")
    yield
    await siege.town.portal.redis.delete("foo")


@saboteur("redis.prefixes", sees="keys of no namespace: session:1")
async def a_key_only_looks_like_ours(siege: Siege) -> AsyncIterator[None]:
    await siege.town.portal.redis.set("session:1", "x")
    yield
    await siege.town.portal.redis.delete("session:1")


# Cache


@saboteur("cache.bounds", sees="cache:v0.1.0:planted never ends")
async def an_entry_is_kept_for_ever(siege: Siege) -> AsyncIterator[None]:
    await siege.town.portal.redis.set("cache:v0.1.0:planted", "x")
    yield
    await siege.town.portal.redis.delete("cache:v0.1.0:planted")


@saboteur("cache.bounds", sees="cache:rights:0 ends in 1440 min")
async def rights_are_cached_for_a_day(siege: Siege) -> AsyncIterator[None]:
    await siege.town.portal.redis.set("cache:rights:0", "x", ex=86_400)
    yield
    await siege.town.portal.redis.delete("cache:rights:0")


@saboteur("cache.bounds", sees="cache:deals:7 is of no declared kind")
async def somebody_caches_past_the_cache(siege: Siege) -> AsyncIterator[None]:
    await siege.town.portal.redis.set("cache:deals:7", "x", ex=600)
    yield
    await siege.town.portal.redis.delete("cache:deals:7")


@saboteur("cache.bounds", sees="more than the 64 MB it may")
async def the_cache_outgrows_its_bound(siege: Siege) -> AsyncIterator[None]:
    redis = siege.town.portal.redis
    await redis.hincrby("cache:sizes", "total", 2**30)
    yield
    await redis.delete("cache:sizes", "cache:index")


@saboteur("cache.busts", sees="waits since 2 min for the worker to tell the cache")
async def nobody_relays_busts(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    await siege.sql(
        "INSERT INTO cache_busts (tags, until) VALUES ('{deals}', clock_timestamp() - interval '2 minutes')"
    )
    yield
    await siege.sql("DELETE FROM cache_busts")
    await siege.start_worker()


@saboteur("cache.busts", sees="after its bust")
async def somebody_stores_behind_the_back_of_the_script(siege: Siege) -> AsyncIterator[None]:
    redis, over = siege.town.portal.redis, asyncio.Event()

    async def store_and_store() -> None:
        while not over.is_set():
            async for key in redis.scan_iter(match="cache:v*:canary:*", count=1000):
                await redis.hset(key, mapping={"value": b"\x01", "n": 10**12})
            await asyncio.sleep(0.001)

    storing = asyncio.create_task(store_and_store())
    yield
    over.set()
    await storing


@saboteur("cache.busts", sees="could not be told of a bust")
async def redis_counts_no_busts(siege: Siege) -> AsyncIterator[None]:
    redis = siege.town.portal.redis
    await redis.acl_setuser("default", enabled=True, commands=["-hincrby"])
    yield
    await redis.acl_setuser("default", enabled=True, commands=["+hincrby"])
    await asyncio.sleep(1.1)  # the cache's pause


# Sign-in and security


@saboteur("sessions.stored", sees="a new session would live 48.0 h")
async def sessions_live_for_two_days(siege: Siege) -> AsyncIterator[None]:
    before = siege.probes["sessions.stored"]
    redis = siege.town.portal.redis
    lax = RedisProbes(redis, Sessions(redis, lifetime=timedelta(hours=48)))
    siege.probes["sessions.stored"] = Probe(row="sessions.stored", ask=lax.sessions)
    yield
    siege.probes["sessions.stored"] = before


@saboteur("sessions.stored", sees="NOREPLICAS")
async def redis_takes_no_writes(siege: Siege) -> AsyncIterator[None]:
    async with redis_set(siege, "min-replicas-to-write", "1"):
        yield


@saboteur("sessions.stored", sees="has no permissions to run the 'del' command")
async def no_session_can_be_ended(siege: Siege) -> AsyncIterator[None]:
    redis = siege.town.portal.redis
    await redis.acl_setuser("default", enabled=True, commands=["-del"])
    yield
    await redis.acl_setuser("default", enabled=True, commands=["+del"])


@saboteur("signin.discovery", sees="sign-in answered 503")
async def google_sign_in_is_down(siege: Siege) -> AsyncIterator[None]:
    def down(passing: Passing) -> None:
        passing.status = 503

    with siege.google.spoiling(down):
        yield


@saboteur("signin.discovery", sees="it calls itself https://accounts.evil.test")
async def somebody_else_answers_for_google(siege: Siege) -> AsyncIterator[None]:
    def renamed(passing: Passing) -> None:
        _change(passing, issuer="https://accounts.evil.test")

    with siege.google.spoiling(renamed):
        yield


@saboteur("signin.discovery", sees="its signing keys are not readable")
async def google_publishes_no_keys(siege: Siege) -> AsyncIterator[None]:
    def keyless(passing: Passing) -> None:
        _change(passing, keys=[])

    with siege.google.spoiling(keyless):
        yield


@saboteur("signin.discovery", sees="its sign-in description is not readable")
async def a_captive_portal_stands_before_google(siege: Siege) -> AsyncIterator[None]:
    def captive(passing: Passing) -> None:
        passing.body = b"<html>Please accept the terms of this network"

    with siege.google.spoiling(captive):
        yield


def _change(passing: Passing, **fields: Any) -> None:
    found = json.loads(passing.body)
    passing.body = json.dumps({name: fields.get(name, value) for name, value in found.items()}).encode()


@saboteur("signin.discovery", sees="it does not know our client id and secret: invalid_client")
async def the_client_secret_was_changed_at_google(siege: Siege) -> AsyncIterator[None]:
    before = siege.probes["signin.discovery"]
    outdated = replace(siege.town.portal.settings, google_client_secret=Secret("of last year"))
    async with portal(outdated, application="muster-siege") as made:
        siege.probes["signin.discovery"] = made.proofs._probes["signin.discovery"]
        yield
        siege.probes["signin.discovery"] = before


@saboteur("web.csrf", sees="a request from another site was answered 303 and not refused")
async def a_proxy_drops_where_requests_come_from(siege: Siege) -> AsyncIterator[None]:
    siege.front.dropped = frozenset({"origin", "sec-fetch-site"})
    yield
    siege.front.dropped = frozenset()


@saboteur("web.csrf", sees="a request without a token was answered 200 and not refused")
async def a_proxy_smooths_refusals_over(siege: Siege) -> AsyncIterator[None]:
    def smooth(passing: Passing) -> None:
        passing.status = 200

    with siege.front.spoiling(smooth):
        yield


@saboteur("web.csrf", sees="a signed-in page answered 303")
async def a_proxy_drops_cookies(siege: Siege) -> AsyncIterator[None]:
    siege.front.dropped = frozenset({"cookie"})
    yield
    siege.front.dropped = frozenset()


@saboteur("web.csrf", sees="a true form was answered 403: nobody can change anything")
async def a_proxy_drops_what_shows_a_form_to_be_true(siege: Siege) -> AsyncIterator[None]:
    siege.front.dropped = frozenset({"x-csrf-token"})
    yield
    siege.front.dropped = frozenset()


@saboteur("web.limits", sees="without a RateLimit header")
async def a_proxy_strips_the_limits(siege: Siege) -> AsyncIterator[None]:
    def strip(passing: Passing) -> None:
        del passing.headers["ratelimit"]

    with siege.front.spoiling(strip):
        yield


@saboteur("web.limits", sees="8 requests were not counted")
async def a_proxy_answers_from_what_it_has_kept(siege: Siege) -> AsyncIterator[None]:
    kept: list[Passing] = []

    def answer_again(passing: Passing) -> Passing:
        kept.append(passing)
        return kept[0]

    with siege.front.spoiling(answer_again):
        yield


@saboteur("web.limits", sees="Redis refused")
async def redis_takes_no_more_writes(siege: Siege) -> AsyncIterator[None]:
    redis = siege.town.portal.redis
    await redis.config_set("min-replicas-to-write", 1)
    yield
    await redis.config_set("min-replicas-to-write", 0)


@saboteur("signin.refuses", sees="of a sign-in that nobody began was answered 303 and not refused")
async def a_proxy_lets_everybody_in(siege: Siege) -> AsyncIterator[None]:
    def let_in(passing: Passing) -> None:
        if passing.status == 403:
            passing.status = 303
            passing.headers["set-cookie"] = "muster_session=planted; Path=/"

    with siege.front.spoiling(let_in):
        yield


@saboteur("signin.refuses", sees="a sign-in began without a code_challenge")
async def a_proxy_takes_the_challenge_away(siege: Siege) -> AsyncIterator[None]:
    def simplify(passing: Passing) -> None:
        if location := passing.headers.get("location"):
            passing.headers["location"] = re.sub(r"&code_challenge=[^&]*", "", location)

    with siege.front.spoiling(simplify):
        yield


@saboteur("access.roles", sees="cached rights differ from the database for cy@acme.test")
async def roles_are_changed_behind_our_back(siege: Siege) -> AsyncIterator[None]:
    async with siege.town.signed_in("cy@acme.test") as cy:
        await cy.get("/people")
        await siege.sql(
            "INSERT INTO account_roles SELECT id, 'sales', 'nobody' FROM accounts "
            "WHERE email = 'cy@acme.test'"
        )
        yield
        await siege.sql("DELETE FROM account_roles WHERE granted_by = 'nobody'")


@saboteur("access.roles", sees="cached rights differ from the database for cy@acme.test")
async def more_rights_are_planted_in_the_cache(siege: Siege) -> AsyncIterator[None]:
    async with siege.town.signed_in("cy@acme.test") as cy:
        await cy.get("/people")
        redis = siege.town.portal.redis
        account = await siege.town.value("SELECT id FROM accounts WHERE email = 'cy@acme.test'")
        found: Any = await redis.hget(f"cache:rights:{account}", "body")
        planted = found.replace(b'"member"', b'"member","admin"')
        await redis.hset(f"cache:rights:{account}", "body", planted)
        yield
        await redis.delete(f"cache:rights:{account}")


@saboteur("access.roles", sees="1 changes wait to be told to the cache")
async def no_worker_tells_the_cache(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    await siege.sql("INSERT INTO rights_changes (account_id, at) VALUES (999999, now() - interval '1 hour')")
    yield
    await siege.start_worker()
    await siege.town.portal.rights.tell_again()


@saboteur("access.admins", sees="nobody who can sign in is an admin")
async def the_last_admin_is_suspended(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE accounts SET suspended_at = now() WHERE google_id IS NOT NULL")
    yield
    await siege.sql("UPDATE accounts SET suspended_at = NULL")


@saboteur("access.admins", sees="nobody who can sign in is an admin")
async def nobody_is_named_and_the_last_role_is_gone(siege: Siege) -> AsyncIterator[None]:
    before = siege.probes["access.admins"]
    unnamed = replace(siege.town.portal.settings, admin_emails=())
    await siege.sql("DELETE FROM account_roles WHERE role = 'admin'")
    async with portal(unnamed, application="muster-siege") as made:
        siege.probes["access.admins"] = made.proofs._probes["access.admins"]
        yield
        siege.probes["access.admins"] = before
    await siege.sql(
        "INSERT INTO account_roles SELECT id, 'admin', 'x' FROM accounts WHERE email = 'ada@acme.test'"
    )


async def _behind_the_triggers(siege: Siege, *statements: str) -> None:
    """As somebody with the owner's password would, who switches the log's own guards off."""
    for statement in statements:
        await past_the_triggers(siege.town.owner_url, statement)


@saboteur("audit.chained", sees="is not as it was written")
async def an_entry_is_rewritten(siege: Siege) -> AsyncIterator[None]:
    await _some_entries(siege)
    await _behind_the_triggers(
        siege, "UPDATE audit_log SET email = 'nobody' || email WHERE id = (SELECT min(id) FROM audit_log)"
    )
    yield
    await _behind_the_triggers(
        siege, "UPDATE audit_log SET email = substr(email, 7) WHERE id = (SELECT min(id) FROM audit_log)"
    )


@saboteur("audit.chained", sees="was removed")
async def an_entry_is_removed(siege: Siege) -> AsyncIterator[None]:
    await _some_entries(siege)
    await _behind_the_triggers(
        siege,
        "CREATE TABLE stolen AS SELECT * FROM audit_log ORDER BY id LIMIT 1",
        "DELETE FROM audit_log USING stolen WHERE audit_log.id = stolen.id",
    )
    yield
    await _behind_the_triggers(
        siege, "INSERT INTO audit_log OVERRIDING SYSTEM VALUE SELECT * FROM stolen", "DROP TABLE stolen"
    )


@saboteur("audit.chained", sees="its end was cut off")
async def the_end_of_the_log_is_cut_off(siege: Siege) -> AsyncIterator[None]:
    await _some_entries(siege)
    await _behind_the_triggers(
        siege,
        "CREATE TABLE stolen AS SELECT * FROM audit_log ORDER BY id DESC LIMIT 1",
        "CREATE TABLE stolen_seals AS SELECT audit_seals.* FROM audit_seals JOIN stolen ON audit_id = id",
        "DELETE FROM audit_seals USING stolen WHERE audit_id = id",
        "DELETE FROM audit_log USING stolen WHERE audit_log.id = stolen.id",
    )
    yield
    await _behind_the_triggers(
        siege,
        "INSERT INTO audit_log OVERRIDING SYSTEM VALUE SELECT * FROM stolen",
        "INSERT INTO audit_seals SELECT * FROM stolen_seals",
        "DROP TABLE stolen, stolen_seals",
    )


@saboteur("audit.chained", sees="was slipped in without a seal")
async def an_entry_is_slipped_in(siege: Siege) -> AsyncIterator[None]:
    await _some_entries(siege)
    await _behind_the_triggers(
        siege,
        "INSERT INTO audit_log (email, action, subject) VALUES ('ada@acme.test', 'roles.granted', 'made up')",
    )
    yield
    await _behind_the_triggers(siege, "DELETE FROM audit_log WHERE subject = 'made up'")


async def _some_entries(siege: Siege) -> None:
    """Enough that the first and the last are different ones, and all of them proved once."""
    for number in range(3):
        async with siege.town.portal.database.transaction() as tx:
            await audit.record(tx, "saboteurs.came", by=System("saboteur"), subject=f"siege:{number}")
    assert (await siege.judged("audit.chained")).proof


@saboteur("web.headers", sees="missing or changed: x-content-type-options")
async def a_proxy_strips_a_header(siege: Siege) -> AsyncIterator[None]:
    def strip(passing: Passing) -> None:
        del passing.headers["x-content-type-options"]

    with siege.front.spoiling(strip):
        yield


@saboteur("web.headers", sees="missing or changed: x-frame-options")
async def a_proxy_lets_other_sites_frame_us(siege: Siege) -> AsyncIterator[None]:
    def frame(passing: Passing) -> None:
        passing.headers["x-frame-options"] = "SAMEORIGIN"

    with siege.front.spoiling(frame):
        yield


@saboteur("web.headers", sees="the content security policy is not ours: default-src *")
async def a_proxy_has_a_policy_of_its_own(siege: Siege) -> AsyncIterator[None]:
    def weaken(passing: Passing) -> None:
        passing.headers["content-security-policy"] = "default-src *"

    with siege.front.spoiling(weaken):
        yield


@saboteur("web.headers", sees="two pages carried the same script nonce")
async def a_proxy_keeps_pages(siege: Siege) -> AsyncIterator[None]:
    kept: list[Passing] = []

    def freeze(passing: Passing) -> Passing:
        kept.append(passing)
        return kept[0]

    with siege.front.spoiling(freeze):
        yield


@saboteur("web.headers", sees="/sign-in answered 502")
async def a_proxy_does_not_reach_us(siege: Siege) -> AsyncIterator[None]:
    def lost(passing: Passing) -> None:
        passing.status = 502

    with siege.front.spoiling(lost):
        yield


# Jobs and workers


@saboteur("jobs.canary", sees="a job was still")
async def the_queue_is_paused(siege: Siege) -> AsyncIterator[None]:
    queue = siege.town.portal.queues._queues["upkeep"]
    await queue.pause()
    yield
    await queue.resume()


@saboteur("jobs.canary", sees="a job was still waiting after")
async def nobody_runs_jobs(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    yield
    await siege.start_worker()


@saboteur("jobs.canary", sees="the canary job failed")
async def the_worker_does_not_know_the_job(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    redis_url = siege.town.portal.settings.redis_url.reveal()
    other = Worker(redis_url, [], queues=ALL_QUEUES, concurrency=4, name="of-another-release")
    await other.start()
    yield
    await other.drain(timedelta(seconds=10))
    await siege.start_worker()


@saboteur("workers.alive", sees="no worker has said that it lives")
async def there_is_no_worker(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    yield
    await siege.start_worker()


@saboteur("workers.alive", sees="no worker has said that it lives")
async def the_worker_fell_silent(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE workers SET seen_at = now() - interval '1 minute'")
    yield
    await siege.beat()


@saboteur("workers.alive", sees="workers of release 0.0.1 beside")
async def a_worker_is_of_another_release(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "INSERT INTO workers (id, host, pid, version, queues, memory_bytes, running) "
        "VALUES ('old', 'host', 1, '0.0.1', '{people,upkeep}', 0, 0)"
    )
    yield
    await siege.sql("DELETE FROM workers WHERE id = 'old'")


@saboteur("workers.alive", sees="no worker takes the queue upkeep")
async def a_queue_is_forgotten(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE workers SET queues = '{people}'")
    yield
    await siege.sql("UPDATE workers SET queues = '{people,upkeep}'")


# Workspace directory


@contextlib.asynccontextmanager
async def google_faults(siege: Siege, path: str, kind: str) -> AsyncIterator[None]:
    await siege.town.sandbox.tell("faults", {"path": path, "kind": kind, "times": 1000})
    yield
    await siege.town.sandbox.tell("reset")


@saboteur("directory.reachable", sees="domain-wide delegation is missing")
async def delegation_is_withdrawn(siege: Siege) -> AsyncIterator[None]:
    async with google_faults(siege, "/token", "unauthorized_client"):
        yield


@saboteur("directory.reachable", sees="the service account's key or GOOGLE_ADMIN_EMAIL is not accepted")
async def the_key_is_deleted(siege: Siege) -> AsyncIterator[None]:
    async with google_faults(siege, "/token", "invalid_grant"):
        yield


@saboteur("directory.reachable", sees="GOOGLE_ADMIN_EMAIL may not read this")
async def the_administrator_loses_the_role(siege: Siege) -> AsyncIterator[None]:
    async with google_faults(siege, DIRECTORY, "forbidden"):
        yield


@saboteur("directory.reachable", sees="the Admin SDK API is off")
async def the_api_is_switched_off(siege: Siege) -> AsyncIterator[None]:
    async with google_faults(siege, DIRECTORY, "accessNotConfigured"):
        yield


@saboteur("directory.reachable", sees="503")
async def the_directory_is_down(siege: Siege) -> AsyncIterator[None]:
    async with google_faults(siege, DIRECTORY, "503"):
        yield


@saboteur("directory.reachable", sees="Google answers, but lists nobody")
async def the_directory_is_empty(siege: Siege) -> AsyncIterator[None]:
    async with google_faults(siege, DIRECTORY, "empty-users"):
        yield


@saboteur("directory.reachable", sees="the scope is not among those delegated")
async def a_scope_is_withdrawn(siege: Siege) -> AsyncIterator[None]:
    async with google_faults(siege, "/admin/directory/v1/groups", "insufficientPermissions"):
        yield


@saboteur("directory.reachable", sees="403 forbidden")
async def members_may_not_be_read(siege: Siege) -> AsyncIterator[None]:
    async with google_faults(siege, "/admin/directory/v1/groups/*/members", "forbidden"):
        yield


@saboteur("directory.reachable", sees="503")
async def org_units_are_away(siege: Siege) -> AsyncIterator[None]:
    async with google_faults(siege, "/admin/directory/v1/customer/*/orgunits", "503"):
        yield


@saboteur("directory.fresh", sees="the directory has never been read to its end")
async def nobody_has_read_the_directory(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE people_syncs SET dry_run = true WHERE kind = 'people'")
    yield
    await siege.sql("UPDATE people_syncs SET dry_run = false WHERE kind = 'people'")


@saboteur("directory.fresh", sees="last read to its end")
async def the_last_sync_is_an_hour_ago(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE people_syncs SET finished_at = now() - interval '1 hour' WHERE kind = 'people'")
    yield
    await siege.town.portal.sync.run()


@saboteur("directory.fresh", sees="the last run: refused, Google's listing held nobody at all")
async def no_listing_since_could_be_believed(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE people_syncs SET finished_at = now() - interval '1 hour' WHERE kind = 'people'")
    async with google_faults(siege, DIRECTORY, "empty-users"):
        await siege.town.portal.sync.run()
        yield
    await siege.town.portal.sync.run()


@saboteur("directory.groups", sees="groups have never been read to their end")
async def nobody_has_read_the_groups(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE people_syncs SET dry_run = true WHERE kind = 'groups'")
    yield
    await siege.sql("UPDATE people_syncs SET dry_run = false WHERE kind = 'groups'")


@saboteur("directory.groups", sees="last read to its end 1 h ago")
async def the_groups_were_read_an_hour_ago(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE people_syncs SET finished_at = now() - interval '1 hour' WHERE kind = 'groups'")
    yield
    await siege.town.portal.groups.run()


@saboteur("directory.groups", sees="the members of 1 groups have never been read")
async def a_group_was_never_looked_into(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE groups SET members_read_at = NULL WHERE email = 'leadership@acme.test'")
    yield
    await siege.sql("UPDATE groups SET members_read_at = now() WHERE email = 'leadership@acme.test'")


@saboteur("directory.push", sees="no live channel for delete")
async def a_channel_has_expired(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE push_channels SET expires_at = now() WHERE event = 'delete'")
    yield
    await siege.open_channels()


@saboteur("directory.push", sees="no live channel for add, delete, makeAdmin, undelete, update")
async def the_address_does_not_reach_us(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE push_channels SET confirmed_at = NULL")
    yield
    await siege.sql("UPDATE push_channels SET confirmed_at = now()")


@saboteur("directory.push", sees="changes that push should have told before")
async def the_channels_die_in_silence(siege: Siege) -> AsyncIterator[None]:
    await siege.open_channels()
    await siege.town.portal.sync.run()
    await siege.town.sandbox.tell("channels/kill")
    await siege.town.sandbox.change("cy@acme.test", title="Untold")
    await siege.town.portal.sync.run()
    await siege.open_channels()
    yield
    await siege.town.portal.sync.run()


@saboteur("directory.push", sees="were pushed and not asked about")
async def what_was_pushed_is_left_lying(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    await siege.sql(
        "INSERT INTO people_rereads (google_id, wish, because, asked_at) "
        "SELECT google_id, nextval('directory_reads'), 'push', now() - interval '10 minutes' "
        "FROM people WHERE email = 'cy@acme.test'"
    )
    yield
    await siege.start_worker()
    await siege.town.portal.rereads.work_off()


@saboteur("directory.quota", sees="for Google's quota")
async def the_sync_waits_for_its_quota(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "UPDATE people_syncs SET started_at = finished_at - interval '10 minutes', waited_seconds = 400, "
        "faults = '{\"userRateLimitExceeded\": 90}' WHERE id = (SELECT max(id) FROM people_syncs "
        "WHERE kind = 'people' AND finished_at IS NOT NULL)"
    )
    yield
    await siege.town.portal.sync.run()


@saboteur("directory.removals", sees="waits for a decision since 2 days ago")
async def nobody_decides(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "INSERT INTO people_removals (reason, total, staged_at) "
        "VALUES ('a rehearsal', 60, now() - interval '2 days')"
    )
    yield
    await siege.sql("DELETE FROM people_removals")


@saboteur("access.offboarded", sees="gone or suspended, yet their account is open: cy@acme.test")
async def a_leaver_keeps_the_account(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "INSERT INTO accounts (google_id, email) SELECT google_id, email FROM people "
        "WHERE email = 'cy@acme.test' ON CONFLICT DO NOTHING",
        "UPDATE people SET status = 'suspended' WHERE email = 'cy@acme.test'",
    )
    yield
    await siege.sql("UPDATE people SET status = 'active' WHERE email = 'cy@acme.test'")


@saboteur("access.offboarded", sees="kept out, yet with a role, a token or a session: ben@acme.test")
async def a_leaver_keeps_a_session(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    async with siege.town.signed_in("ben@acme.test"):
        await siege.sql("UPDATE accounts SET suspended_at = now() WHERE email LIKE 'ben@%'")
        yield
    await siege.sql("UPDATE accounts SET suspended_at = NULL WHERE email LIKE 'ben@%'")
    await siege.start_worker()


@saboteur("access.offboarded", sees="kept out, yet with a role, a token or a session: ben@acme.test")
async def a_leaver_keeps_a_role(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "INSERT INTO accounts (google_id, email, suspended_at) "
        "SELECT google_id, email, now() - interval '3 days' FROM people WHERE email = 'ben@acme.test' "
        "ON CONFLICT (google_id) DO UPDATE SET suspended_at = now() - interval '3 days'",
        "INSERT INTO account_roles SELECT id, 'sales', 'nobody' FROM accounts WHERE email = 'ben@acme.test'",
    )
    yield
    await siege.sql(
        "DELETE FROM account_roles WHERE role = 'sales'",
        "UPDATE accounts SET suspended_at = NULL WHERE email = 'ben@acme.test'",
    )


@saboteur("access.offboarded", sees="kept out, yet with a role, a token or a session: ben@acme.test")
async def a_leaver_keeps_a_token(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "INSERT INTO accounts (google_id, email, suspended_at) "
        "SELECT google_id, email, now() - interval '3 days' FROM people WHERE email = 'ben@acme.test' "
        "ON CONFLICT (google_id) DO UPDATE SET suspended_at = now() - interval '3 days'",
        "INSERT INTO api_tokens (account_id, name, digest, last_four, scopes, expires_at) "
        "SELECT id, 'forgotten', 'x', 'abcd', '{}', now() + interval '1 day' FROM accounts "
        "WHERE email = 'ben@acme.test'",
    )
    yield
    await siege.sql(
        "DELETE FROM api_tokens",
        "UPDATE accounts SET suspended_at = NULL WHERE email = 'ben@acme.test'",
    )


@saboteur("directory.fresh", sees="no listing has shown itself to be whole since 3 days ago")
async def no_census_has_been_held(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "UPDATE people_syncs SET is_proven = false WHERE kind = 'people'",
        "INSERT INTO people_syncs (status, asked_by, is_proven, finished_at) "
        "VALUES ('finished', 'schedule', true, now() - interval '3 days')",
    )
    yield
    await siege.sql("UPDATE people_syncs SET is_proven = true WHERE kind = 'people'")

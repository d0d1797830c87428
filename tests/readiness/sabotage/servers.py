"""What is broken of PostgreSQL and Redis: whether they answer, what they keep, and who may do what there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.readiness.sabotage.siege import Siege, saboteur
from tests.town import eventually

from muster.platform import migrations


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

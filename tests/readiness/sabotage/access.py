"""What is broken of who may come in and do what, and of the record of it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.readiness.sabotage.servers import redis_set
from tests.readiness.sabotage.siege import Siege, saboteur
from tests.town import past_the_triggers

from muster.platform import audit
from muster.platform.actor import System
from muster.platform.probe import Probe
from muster.platform.probes import RedisProbes
from muster.platform.sessions import Sessions
from muster.wiring import portal


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

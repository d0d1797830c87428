"""What is broken of the directory, of its syncs and of Google's own word."""

import contextlib
from collections.abc import AsyncIterator

from tests.readiness.sabotage.siege import Siege, saboteur

DIRECTORY = "/admin/directory/v1/users"


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
    await siege.open_channels()


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


@saboteur("directory.fresh", sees="no listing has shown itself to be whole since 3 days ago")
async def no_census_has_been_held(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "UPDATE people_syncs SET is_proven = false WHERE kind = 'people'",
        "INSERT INTO people_syncs (status, asked_by, is_proven, finished_at) "
        "VALUES ('finished', 'schedule', true, now() - interval '3 days')",
    )
    yield
    await siege.sql("UPDATE people_syncs SET is_proven = true WHERE kind = 'people'")

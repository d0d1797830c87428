"""Sabotage of HubSpot: what is read of it, what it allows, and what it tells."""

from collections.abc import AsyncIterator
from contextlib import suppress

from tests.readiness.sabotage.siege import Siege, saboteur

from muster.crm.fields import Kind
from muster.errors import VendorRefused

LAST_FULL = "(SELECT max(id) FROM crm_syncs WHERE is_full AND status = 'finished' AND NOT dry_run)"


@saboteur("hubspot.reachable", sees="HUBSPOT_TOKEN is not accepted")
async def the_token_is_revoked(siege: Siege) -> AsyncIterator[None]:
    await siege.town.sandbox.hubspot("scopes", revoked=True)
    yield
    await siege.town.sandbox.hubspot("scopes")


@saboteur("hubspot.reachable", sees="the token lacks crm.objects.companies.read")
async def a_scope_is_taken(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    await siege.town.sandbox.hubspot("scopes", missing=["crm.objects.companies.read"])
    with suppress(VendorRefused):  # whatever is refused has all scopes tried again
        await siege.town.portal.hubspot.page(Kind.COMPANIES)
    yield
    await siege.town.sandbox.hubspot("scopes")
    await siege.start_worker()


@saboteur("hubspot.reachable", sees="failed with 500")
async def hubspot_fails(siege: Siege) -> AsyncIterator[None]:
    await siege.town.sandbox.hubspot("faults", path="/account-info/*", status=500)
    yield


@saboteur("hubspot.fresh", sees="what changed was last read 2 h ago")
async def no_sync_ends_any_more(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    await siege.sql("UPDATE crm_syncs SET finished_at = finished_at - interval '2 hours'")
    yield
    await siege.town.portal.crm_sync.run()
    await siege.start_worker()


@saboteur("hubspot.fresh", sees="everything was last listed 2 days ago")
async def nothing_is_listed_at_night(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    await siege.sql(
        "UPDATE crm_syncs SET finished_at = finished_at - interval '2 days' WHERE is_full",
        "INSERT INTO crm_syncs (status, asked_by, finished_at) VALUES ('finished', 'schedule', now())",
    )
    yield
    await siege.sql("UPDATE crm_syncs SET finished_at = finished_at + interval '2 days' WHERE is_full")
    await siege.start_worker()


@saboteur("hubspot.fresh", sees="changes that earlier runs should have known")
async def a_change_slips_through(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    await siege.sql(
        "UPDATE crm_records SET fields = fields || jsonb_build_object('dealname', 'Never so called') "
        "WHERE kind = 'deals' AND id = (SELECT min(id) FROM crm_records WHERE kind = 'deals' "
        "AND archived_at IS NULL)"
    )
    await siege.list_all_of_hubspot()
    yield
    await siege.list_all_of_hubspot()
    await siege.start_worker()


@saboteur("hubspot.allowance", sees="the day's calls are nearly used up")
async def another_app_uses_up_the_day(siege: Siege) -> AsyncIterator[None]:
    state = await siege.town.sandbox.ask("hubspot")
    left = state["limits"]["daily"] - state["today"]
    await siege.town.sandbox.hubspot("spend", calls=left - 20_000)
    await siege.town.portal.hubspot.account()
    yield
    await siege.town.sandbox.hubspot("spend", calls=20_000 - left)
    await siege.town.portal.hubspot.account()


@saboteur("hubspot.webhooks", sees="one signed as HubSpot signs was answered 403, not 204")
async def a_proxy_drops_the_signature(siege: Siege) -> AsyncIterator[None]:
    siege.front.dropped = frozenset({"x-hubspot-signature-v3"})
    yield
    siege.front.dropped = frozenset()


@saboteur("hubspot.webhooks", sees="the same again was answered 204, not 409")
async def what_was_taken_is_forgotten(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "CREATE FUNCTION forget_hooks() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN DELETE FROM crm_hooks; RETURN NEW; END $$",
        "CREATE TRIGGER forget BEFORE INSERT ON crm_hooks FOR EACH ROW EXECUTE FUNCTION forget_hooks()",
    )
    yield
    await siege.sql("DROP TRIGGER forget ON crm_hooks", "DROP FUNCTION forget_hooks")


@saboteur("hubspot.webhooks", sees="records were named and not read again, the first 10 min ago")
async def what_was_named_is_left_lying(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    await siege.sql(
        "INSERT INTO crm_rereads (kind, record_id, wish, because, asked_at) "
        "SELECT kind, id, nextval('crm_reads'), 'webhook', now() - interval '10 minutes' FROM crm_records "
        "WHERE kind = 'deals' AND archived_at IS NULL LIMIT 1"
    )
    yield
    await siege.town.portal.crm_rereads.work_off()
    await siege.start_worker()


@saboteur("hubspot.written", sees="1 changes made here are not in HubSpot, the first asked for 20 min ago")
async def nobody_writes_what_waits(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    await siege.sql(_AN_EDIT)
    yield
    await siege.sql("DELETE FROM crm_edits")
    await siege.start_worker()


@saboteur("hubspot.written", sees="HubSpot: the token is not accepted")
async def a_bulk_does_not_get_on(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    await siege.sql(
        "INSERT INTO crm_bulks (kind, what, words, total, by_email) "
        "VALUES ('deals', 'edit', 'Close date: none', 1, 'ben@acme.test')",
        _AN_EDIT,
        "UPDATE crm_edits SET bulk_id = (SELECT max(id) FROM crm_bulks), "
        "problem = 'HubSpot: the token is not accepted'",
    )
    yield
    await siege.sql("DELETE FROM crm_edits", "DELETE FROM crm_bulks")
    await siege.start_worker()


_AN_EDIT = """
INSERT INTO crm_edits (kind, record_id, fields, asked_at, by_email)
VALUES ('deals', '1', '{"dealname": "A deal"}', now() - interval '20 minutes', 'ben@acme.test')
"""

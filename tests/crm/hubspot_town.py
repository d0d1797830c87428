"""What tests of customers ask of the sandbox's HubSpot and of the copy."""

from typing import Any

from tests.town import Town

from muster.crm.fields import Kind
from muster.crm.runs import CrmRun
from muster.platform.actor import System

SOMEBODY = System("a test")
_COPY = (
    *("crm_records", "crm_associations", "crm_changes", "crm_owners", "crm_stages", "crm_properties"),
    "cache_busts",
)


async def in_haste(town: Town) -> None:
    """Have HubSpot allow more than it would, and search know at once what is written."""
    await town.sandbox.hubspot("limits", burst=5000, search=None)
    await town.sandbox.hubspot("search", lag=0, settle=True)


async def synced(town: Town, *, is_full: bool = False, dry_run: bool = False) -> CrmRun:
    """A run that somebody asked for, ended."""
    if is_full or dry_run:
        await town.portal.crm_sync.ask(by=SOMEBODY, is_full=is_full, dry_run=dry_run)
    run = await town.portal.crm_sync.run()
    assert run
    return run


async def truth(town: Town, kind: Kind, record_id: str) -> dict[str, Any]:
    return dict((await town.sandbox.ask(f"hubspot/{kind}/{record_id}"))["properties"])


async def counts(town: Town) -> dict[str, int]:
    """How many of each kind HubSpot has."""
    return dict((await town.sandbox.ask("hubspot"))["counts"])


async def held(town: Town, kind: Kind) -> int:
    return int(
        await town.value("SELECT count(*) FROM crm_records WHERE kind = %s AND archived_at IS NULL", kind)
    )


async def a_deal(town: Town, **properties: str) -> str:
    made = await town.sandbox.hubspot("deals", properties={"dealname": "A deal", **properties})
    return str(made["id"])


async def some(town: Town, kind: Kind, *, count: int = 1) -> list[str]:
    """Ids of records that are in the copy."""
    found = await town.value(
        "SELECT array_agg(id) FROM (SELECT id FROM crm_records WHERE kind = %s AND archived_at IS NULL "
        "ORDER BY id::bigint LIMIT %s) AS first",
        kind,
        count,
    )
    return list(found)


async def row(town: Town, kind: Kind, record_id: str) -> dict[str, Any]:
    found = await town.value(
        "SELECT to_jsonb(crm_records) FROM crm_records WHERE kind = %s AND id = %s", kind, record_id
    )
    assert found, f"{kind} {record_id} is not in the copy"
    return dict(found)


async def is_archived(town: Town, kind: Kind, record_id: str) -> bool:
    return (await row(town, kind, record_id))["archived_at"] is not None


async def history(town: Town, kind: Kind, record_id: str) -> list[tuple[str, str, dict[str, list[str]]]]:
    found = await town.value(
        "SELECT coalesce(jsonb_agg(jsonb_build_array(what, source, fields) ORDER BY id), '[]') "
        "FROM crm_changes WHERE kind = %s AND record_id = %s",
        kind,
        record_id,
    )
    return [(what, source, fields) for what, source, fields in found]


async def versions(town: Town) -> list[Any]:
    """Changes with any row of the copy that is inserted, written or deleted."""
    return [
        await town.value(f"SELECT jsonb_build_array(count(*), sum(xmin::text::bigint)) FROM {table}")  # noqa: S608
        for table in _COPY
    ]

"""HubSpot's account and some of its records, read into a town's copy, and the truth to hold it against."""

from collections.abc import Sequence
from typing import Any

import msgspec
from tests.town import Town

from muster.crm import catalogue, owners
from muster.crm.fields import Kind
from muster.crm.mirror import Source
from muster.crm.record import Record
from muster.platform.actor import System

BEN = System("ben@acme.test")


async def read_account(town: Town) -> None:
    """The people, who owns records, pipelines and what properties may be."""
    portal = town.portal
    await portal.sync.run()
    async with portal.database.transaction() as tx:
        for owner in await portal.hubspot.owners():
            await tx.execute(
                "INSERT INTO crm_owners (id, user_id, email, name, team, is_queue, is_archived) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (id) DO UPDATE "
                "SET is_archived = excluded.is_archived",
                [*msgspec.structs.astuple(owner)],
            )
        for stage in await portal.hubspot.pipelines():
            await tx.execute(
                "INSERT INTO crm_stages "
                "(pipeline_id, pipeline, id, label, place, probability, is_closed, is_won) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [*msgspec.structs.astuple(stage)],
            )
        for kind in Kind:
            for one in await portal.hubspot.properties(kind):
                await tx.execute(
                    "INSERT INTO crm_properties (kind, name, label, type, choices, is_read_only) "
                    "VALUES (%s, %s, %s, %s, %s::jsonb, %s) ON CONFLICT DO NOTHING",
                    [
                        kind,
                        one.name,
                        one.label,
                        one.type,
                        msgspec.json.encode(one.choices).decode(),
                        one.is_read_only,
                    ],
                )
        await portal.busts.announce(tx, catalogue.TAG, owners.TAG)


async def read_records(town: Town, kind: Kind, *, count: int = 100) -> list[Record]:
    asked = await town.portal.mirror.number()
    page = await town.portal.hubspot.page(kind, limit=count)
    async with town.portal.database.transaction() as tx:
        await town.portal.mirror.take(
            tx, kind, page.records, asked=asked, source=Source.SYNC, is_first_load=True
        )
    return page.records


async def made(town: Town, kind: Kind, **values: str) -> str:
    """A new record that HubSpot and the copy have."""
    record = await town.portal.hubspot.create(kind, values)
    number = await town.portal.mirror.number()
    async with town.portal.database.transaction() as tx:
        await town.portal.mirror.take(
            tx, kind, [record], asked=number, source=Source.SYNC, is_first_load=True
        )
    return record.id


async def a_deal(town: Town, **values: str) -> str:
    usual = {"dealname": "A deal", "pipeline": "default", "dealstage": "qualifiedtobuy", "amount": "1000"}
    return await made(town, Kind.DEALS, **(usual | values))


async def truth(town: Town, kind: Kind, record_id: str) -> dict[str, Any]:
    """What HubSpot has."""
    return dict((await town.sandbox.ask(f"hubspot/{kind}/{record_id}"))["properties"])


async def copied(town: Town, kind: Kind, record_id: str) -> dict[str, str]:
    """What our copy has."""
    statement = "SELECT fields FROM crm_records WHERE kind = %s AND id = %s"
    return dict(await town.value(statement, kind, record_id))


async def colleague_changes(town: Town, kind: Kind, record_id: str, **values: str) -> None:
    """In HubSpot's own pages."""
    await town.sandbox.hubspot(f"{kind}/{record_id}", properties=values)


async def writes(town: Town, method: str = "PATCH") -> int:
    """How many calls that write have reached HubSpot."""
    by_path = (await town.sandbox.ask("hubspot/calls"))["by_path"]
    paths: Sequence[str] = [path for path in by_path if path.startswith(f"{method} /crm/objects")]
    return sum(by_path[path] for path in paths if "search" not in path and "batch" not in path)

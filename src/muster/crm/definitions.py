"""Who owns records, the stages of pipelines, and what HubSpot says of properties: read whole each time."""

from collections.abc import Sequence

import msgspec

from muster.crm.catalogue import TAG
from muster.crm.fields import Kind, field_of
from muster.crm.hubspot import HubSpot
from muster.crm.owners import TAG as OWNERS
from muster.crm.record import Owner, Property, Stage
from muster.platform.busts import Busts
from muster.platform.database import Transaction
from muster.platform.telemetry import logger


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """As HubSpot has it; of its properties those that are copied here."""

    owners: list[Owner]
    stages: list[Stage]
    properties: dict[Kind, list[Property]]

    @classmethod
    async def read(cls, hubspot: HubSpot) -> "Definitions":
        """Raises VendorError."""
        return cls(
            owners=await hubspot.owners(),
            stages=await hubspot.pipelines(),
            properties={
                kind: [one for one in await hubspot.properties(kind) if field_of(kind, one.name)]
                for kind in Kind
            },
        )

    async def keep(self, tx: Transaction, busts: Busts) -> int:
        """Write down what differs; how many rows did. What is listed no more stays, marked as gone, since
        records may still name it; an empty list is not believed, nor owners of whom most are missing.
        """
        moved = owners = 0
        if await _is_believed(tx, self.owners):
            owners = await _keep_owners(tx, self.owners)
        if self.stages:
            moved += await _keep_stages(tx, self.stages)
        for kind, properties in self.properties.items():
            if properties:
                moved += await _keep_properties(tx, kind, properties)
        if owners:
            await busts.announce(tx, OWNERS)
        if moved:
            await busts.announce(tx, TAG)
        return moved + owners


async def _is_believed(tx: Transaction, owners: Sequence[Owner]) -> bool:
    """Whether at least half of the active ones we know are named, if only as deactivated."""
    known = await tx.column("SELECT id FROM crm_owners WHERE NOT (is_archived OR is_gone)")
    left = len({owner.id for owner in owners}.intersection(known))
    if owners and left * 2 >= len(known):
        return True
    logger.warning("owners_not_believed", known=len(known), left=left, named=len(owners))
    return False


async def _keep_owners(tx: Transaction, owners: Sequence[Owner]) -> int:
    said = msgspec.json.encode(owners).decode()
    gone = await tx.execute(
        "UPDATE crm_owners SET is_gone = true WHERE NOT is_gone AND id <> ALL(%s)",
        [[owner.id for owner in owners]],
    )
    return gone + await tx.execute(_OWNERS, [said])


async def _keep_stages(tx: Transaction, stages: Sequence[Stage]) -> int:
    said = msgspec.json.encode(stages).decode()
    gone = await tx.execute(
        "UPDATE crm_stages SET is_gone = true WHERE NOT is_gone "
        "AND (pipeline_id, id) NOT IN (SELECT * FROM unnest(%s::text[], %s::text[]))",
        [[stage.pipeline_id for stage in stages], [stage.id for stage in stages]],
    )
    return gone + await tx.execute(_STAGES, [said])


async def _keep_properties(tx: Transaction, kind: Kind, properties: Sequence[Property]) -> int:
    rows = [
        {
            "kind": kind,
            "name": one.name,
            "label": one.label,
            "type": one.type,
            "choices": one.choices,
            "is_read_only": one.is_read_only,
        }
        for one in properties
    ]
    gone = await tx.execute(
        "DELETE FROM crm_properties WHERE kind = %s AND name <> ALL(%s)",
        [kind, [one.name for one in properties]],
    )
    return gone + await tx.execute(_PROPERTIES, [msgspec.json.encode(rows).decode()])


_OWNERS = """
INSERT INTO crm_owners AS held (id, user_id, email, name, team, is_queue, is_archived)
SELECT id, user_id, email, name, team, is_queue, is_archived FROM jsonb_to_recordset(%s::jsonb) AS said (
    id text, user_id text, email text, name text, team text, is_queue boolean, is_archived boolean
)
ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, email = excluded.email, name = excluded.name,
    team = excluded.team, is_queue = excluded.is_queue, is_archived = excluded.is_archived, is_gone = false,
    seen_at = now()
WHERE (held.user_id, held.email, held.name, held.team, held.is_queue, held.is_archived, held.is_gone)
    IS DISTINCT FROM (excluded.user_id, excluded.email, excluded.name, excluded.team, excluded.is_queue,
        excluded.is_archived, false)
"""

_STAGES = """
INSERT INTO crm_stages AS held (
    pipeline_id, id, pipeline, label, place, probability, is_closed, is_won
)
SELECT pipeline_id, id, pipeline, label, place, probability, is_closed, is_won
FROM jsonb_to_recordset(%s::jsonb) AS said (
    pipeline_id text, id text, pipeline text, label text, place integer, probability double precision,
    is_closed boolean, is_won boolean
)
ON CONFLICT (pipeline_id, id) DO UPDATE SET pipeline = excluded.pipeline, label = excluded.label,
    place = excluded.place, probability = excluded.probability, is_closed = excluded.is_closed,
    is_won = excluded.is_won, is_gone = false
WHERE (held.pipeline, held.label, held.place, held.probability, held.is_closed, held.is_won, held.is_gone)
    IS DISTINCT FROM (excluded.pipeline, excluded.label, excluded.place, excluded.probability,
        excluded.is_closed, excluded.is_won, false)
"""

_PROPERTIES = """
INSERT INTO crm_properties AS held (kind, name, label, type, choices, is_read_only)
SELECT kind, name, label, type, choices, is_read_only FROM jsonb_to_recordset(%s::jsonb) AS said (
    kind text, name text, label text, type text, choices jsonb, is_read_only boolean
)
ON CONFLICT (kind, name) DO UPDATE SET label = excluded.label, type = excluded.type,
    choices = excluded.choices, is_read_only = excluded.is_read_only
WHERE (held.label, held.type, held.choices, held.is_read_only)
    IS DISTINCT FROM (excluded.label, excluded.type, excluded.choices, excluded.is_read_only)
"""

"""Asking HubSpot about single records by id: what they are now, and what they belong to."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import msgspec

from muster.crm.fields import Kind
from muster.crm.hubspot import Batch, HubSpot
from muster.crm.mirror import Mirror, Source, Taken
from muster.platform.database import Transaction

Made = TypeVar("Made")

Ties = dict[Kind, dict[str, list[str]]]
"""Other kind → id → ids of the other kind; whoever has none has an empty list."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What HubSpot said of some records of a kind; the numbers are the copy's, from before it was asked."""

    kind: Kind
    asked: int
    batch: Batch
    ties_asked: int
    ties: Ties


async def ask_about(hubspot: HubSpot, mirror: Mirror, kind: Kind, ids: Sequence[str]) -> Answer:
    """Raises VendorError."""
    asked = await mirror.number()
    batch = await hubspot.read(kind, ids)
    ties_asked, ties = await ties_of(hubspot, mirror, kind, [record.id for record in batch.records])
    return Answer(kind=kind, asked=asked, batch=batch, ties_asked=ties_asked, ties=ties)


async def ties_of(
    hubspot: HubSpot, mirror: Mirror, kind: Kind, ids: Sequence[str], others: Sequence[Kind] = ()
) -> tuple[int, Ties]:
    """What records belong to among the other kinds, and the number from before that was asked."""
    if not ids:
        return 0, {}
    wanted = others or [other for other in Kind if other is not kind]
    asked = await mirror.number()
    found = await together(*(hubspot.associations(kind, other, ids) for other in wanted))
    return asked, {
        other: {record_id: tied.get(record_id, []) for record_id in ids}
        for other, tied in zip(wanted, found, strict=True)
    }


async def settle(
    mirror: Mirror, tx: Transaction, answer: Answer, source: Source, *, dry_run: bool = False
) -> tuple[Taken, int]:
    """Write an answer down: records, merges, who is gone, associations; how many of these were moved."""
    batch, kind = answer.batch, answer.kind
    taken = await mirror.take(tx, kind, batch.records, asked=answer.asked, source=source, dry_run=dry_run)
    if dry_run:
        here = await tx.value(_HERE, [kind, batch.missing, answer.asked])
        return msgspec.structs.replace(taken, archived=taken.archived + here), 0
    merged = await mirror.lead(tx, kind, batch.leads_to, asked=answer.asked, source=source)
    gone = await mirror.archive(tx, kind, batch.missing, asked=answer.asked, source=source)
    moved = await tie(mirror, tx, kind, answer.ties, asked=answer.ties_asked)
    return (
        msgspec.structs.replace(taken, merged=taken.merged + merged, archived=taken.archived + gone),
        moved,
    )


async def tie(
    mirror: Mirror,
    tx: Transaction,
    kind: Kind,
    ties: Ties,
    *,
    asked: int,
    is_first_load: bool = False,
    dry_run: bool = False,
) -> int:
    """How many associations were made or ended."""
    return sum(
        [
            await mirror.tie(tx, kind, other, tied, asked=asked, is_first_load=is_first_load, dry_run=dry_run)
            for other, tied in ties.items()
        ]
    )


async def together(*works: Awaitable[Made]) -> list[Made]:
    """What all of these give; the first that fails ends the others, and is raised."""
    tasks: list[asyncio.Future[Made]] = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


_HERE = """
SELECT count(*) FROM crm_records
WHERE kind = %s AND id = ANY(%s) AND archived_at IS NULL AND read_at <= %s
"""

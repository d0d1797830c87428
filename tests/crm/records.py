"""Customers as tests put them into the copy, without HubSpot."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.town import Town

from muster.crm.fields import Kind
from muster.crm.mirror import Source
from muster.crm.record import Record

BEGAN = datetime(2026, 1, 10, 9, 0, tzinfo=UTC)

STAGES = (
    # pipeline, its label, id, label, probability, closed, won
    ("sales", "Sales", "new", "New", 0.1, False, False),
    ("sales", "Sales", "offer", "Offer made", 0.5, False, False),
    ("sales", "Sales", "won", "Won", 1.0, True, True),
    ("sales", "Sales", "lost", "Lost", 0.0, True, False),
    ("renewals", "Renewals", "due", "Due", 0.7, False, False),
    ("renewals", "Renewals", "kept", "Kept", 1.0, True, True),
)


def record(kind: Kind, record_id: str, *, at: datetime | None = None, **values: str) -> Record:
    moment = at or BEGAN
    return Record(kind=kind, id=record_id, values=values, created_at=moment, modified_at=moment)


def deal(record_id: str, name: str, *, at: datetime | None = None, **values: str) -> Record:
    """In the first stage of the first pipeline, unless `values` say otherwise."""
    stage = values.get("dealstage", "new")
    known = next(one for one in STAGES if one[2] == stage)
    usual = {
        "dealname": name,
        "pipeline": known[0],
        "dealstage": stage,
        "hs_is_closed": str(known[5]).lower(),
        "hs_is_closed_won": str(known[6]).lower(),
    }
    return record(Kind.DEALS, record_id, at=at, **(usual | values))


def contact(record_id: str, first: str, last: str, *, at: datetime | None = None, **values: str) -> Record:
    return record(Kind.CONTACTS, record_id, at=at, **({"firstname": first, "lastname": last} | values))


def company(record_id: str, name: str, *, at: datetime | None = None, **values: str) -> Record:
    return record(Kind.COMPANIES, record_id, at=at, **({"name": name} | values))


def days(number: int) -> datetime:
    """So many days after everything began."""
    return BEGAN + timedelta(days=number)


async def put(town: Town, *records: Record) -> None:
    """Into the copy, as an answer of HubSpot's that was asked for just now."""
    mirror = town.portal.mirror
    for kind in Kind:
        some = [one for one in records if one.kind is kind]
        if some:
            asked = await mirror.number()
            async with town.portal.database.transaction() as tx:
                await mirror.take(tx, kind, some, asked=asked, source=Source.SYNC)


async def tie(town: Town, from_kind: Kind, to_kind: Kind, ties: dict[str, Sequence[str]]) -> None:
    async with town.portal.database.transaction() as tx:
        await town.portal.mirror.tie(tx, from_kind, to_kind, ties)


async def put_stages(town: Town) -> None:
    for place, (pipeline_id, pipeline, stage_id, label, probability, is_closed, is_won) in enumerate(STAGES):
        await town.execute(
            "INSERT INTO crm_stages "
            "(pipeline_id, pipeline, id, label, place, probability, is_closed, is_won) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            *(pipeline_id, pipeline, stage_id, label, place, probability, is_closed, is_won),
        )
    await town.portal.cache.bust("crm:catalogue")


async def put_owner(town: Town, owner_id: str, name: str, email: str = "", **more: Any) -> None:
    await town.execute(
        "INSERT INTO crm_owners (id, name, email, team, is_queue, is_archived) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        *(owner_id, name, email, more.get("team", "")),
        *(more.get("is_queue", False), more.get("is_archived", False)),
    )
    await town.portal.cache.bust("crm:owners")


async def put_choices(town: Town, kind: Kind, name: str, choices: dict[str, str]) -> None:
    listed = [{"value": value, "label": label} for value, label in choices.items()]
    await town.execute(
        "INSERT INTO crm_properties (kind, name, label, type, choices, is_read_only) "
        "VALUES (%s, %s, %s, 'enumeration', %s::jsonb, false)",
        *(kind, name, name, json.dumps(listed)),
    )
    await town.portal.cache.bust("crm:catalogue")

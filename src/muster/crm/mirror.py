"""Our copy of HubSpot's records: what is written into it, what of that is news, and what it was before.

The copy holds what HubSpot has said, never what somebody wishes were so. Answers arrive in another order
than they were asked for, and search answers from an index that lags: an older answer never overwrites a
newer one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

import msgspec

from muster.crm.fields import FIELDS, HIDDEN, OWNER, Kind, name_of
from muster.crm.record import Record
from muster.platform.busts import Busts
from muster.platform.database import Database, Transaction
from muster.platform.folding import folded

TOLD_APART = 200
"""So many records of one write are busted one by one; more of them all at once."""

_LARGEST = Decimal(10) ** 17


class Source(StrEnum):
    """How we learned of a change."""

    SYNC = "sync"
    WEBHOOK = "webhook"
    EDIT = "edit"
    REFRESH = "refresh"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What came of records that were taken; `late` are those that something newer stood in the way of."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    archived: int = 0
    restored: int = 0
    merged: int = 0
    late: int = 0


class _Held(msgspec.Struct, frozen=True):
    id: str
    fields: dict[str, str]
    modified_at: datetime
    read_at: int
    archived_at: datetime | None
    merged_into: str | None


class Mirror:
    def __init__(self, database: Database, busts: Busts) -> None:
        self._database = database
        self._busts = busts

    async def number(self) -> int:
        """To be drawn before HubSpot is asked to read, and after it has answered a write."""
        return int(await self._database.value("SELECT nextval('crm_reads')"))

    async def take(
        self,
        tx: Transaction,
        kind: Kind,
        records: Sequence[Record],
        *,
        asked: int,
        source: Source,
        by: str = "",
        lags: bool = False,
        is_first_load: bool = False,
    ) -> Taken:
        """Write down what HubSpot said of these records, with their history, and bust what showed them.

        `asked` is a `number()`; with `lags` the answer is search's, which may be older than its time. Who
        is archived by `records` leaves all lists. On a first load nothing counts as a change.
        """
        latest = {record.id: record for record in records}
        held = await _held(tx, kind, latest)
        counts: Counter[str] = Counter()
        rows: list[dict[str, Any]] = []
        same: list[str] = []
        changes: list[tuple[str, str, dict[str, list[str]]]] = []
        merges: dict[str, str] = {}
        for record in latest.values():
            before = held.get(record.id)
            if before and (before.read_at > asked or (lags and record.modified_at < before.modified_at)):
                counts["late"] += 1
                continue
            merges |= {old: record.id for old in record.merged_ids if old != record.id}
            what, differences = _news(before, record)
            if what is None and before and before.modified_at == record.modified_at:
                counts["unchanged"] += 1
                same.append(record.id)
                continue
            counts[_COUNTED.get(what or "", "updated")] += 1
            rows.append(_row(record))
            if what and not (is_first_load and what == "created"):
                changes.append((record.id, what, differences))
        await _write(tx, kind, rows, asked)
        await tx.execute(_SEEN, {"kind": kind, "ids": same, "asked": asked})
        await _note(tx, kind, changes, source=source, by=by)
        counts["merged"] = await self._lead(tx, kind, merges, asked=asked, source=source)
        if rows or merges:
            await self.bust(tx, kind, [*(str(row["id"]) for row in rows), *merges])
        return Taken(**counts)

    async def wrote(
        self, tx: Transaction, kind: Kind, record_id: str, values: Mapping[str, str], *, modified_at: datetime
    ) -> Record | None:
        """The record as it is once HubSpot has accepted `values`, for `take`; None if we hold none."""
        held = (await _held(tx, kind, [record_id])).get(record_id)
        if held is None:
            return None
        merged = {name: value for name, value in {**held.fields, **values}.items() if value}
        created_at = await tx.value(
            "SELECT created_at FROM crm_records WHERE kind = %s AND id = %s", [kind, record_id]
        )
        return Record(kind=kind, id=record_id, values=merged, created_at=created_at, modified_at=modified_at)

    async def archive(
        self, tx: Transaction, kind: Kind, ids: Sequence[str], *, asked: int, source: Source, by: str = ""
    ) -> int:
        """Take these out of every list, since HubSpot has them no more; how many were in one."""
        gone = await tx.column(_ARCHIVE, {"kind": kind, "ids": list(ids), "asked": asked})
        await _note(tx, kind, [(record_id, "archived", {}) for record_id in gone], source=source, by=by)
        if gone:
            await self.bust(tx, kind, gone)
        return len(gone)

    async def tie(
        self, tx: Transaction, from_kind: Kind, to_kind: Kind, ties: Mapping[str, Sequence[str]]
    ) -> int:
        """Make the associations of these records to `to_kind` exactly these; how many were made or ended."""
        pairs = [(from_id, to_id) for from_id, to_ids in ties.items() for to_id in dict.fromkeys(to_ids)]
        froms, tos = [one for one, _ in pairs], [one for _, one in pairs]
        ended: int = await tx.execute(_UNTIE, [from_kind, to_kind, list(ties), froms, tos])
        made: int = await tx.execute(_TIE, [from_kind, to_kind, froms, tos])
        if ended + made:
            await self.bust(tx, from_kind, list(ties))
            await self.bust(tx, to_kind, list(dict.fromkeys(tos)))
        return ended + made

    async def bust(self, tx: Transaction, kind: Kind, ids: Sequence[str]) -> None:
        """Have whatever shows records of this kind, or these ones, read anew once `tx` is committed."""
        single = [f"crm:{kind}:{one}" for one in ids] if len(ids) <= TOLD_APART else [f"crm:{kind}:any"]
        await self._busts.announce(tx, f"crm:{kind}", *single)

    async def _lead(
        self, tx: Transaction, kind: Kind, merges: Mapping[str, str], *, asked: int, source: Source
    ) -> int:
        """Have the ids of merged records lead to what they were merged into."""
        if not merges:
            return 0
        moved = await tx.column(
            _MERGE, {"kind": kind, "old": list(merges), "new": list(merges.values()), "asked": asked}
        )
        notes = [(old, "merged", {"hs_object_id": [old, merges[old]]}) for old in moved]
        await _note(tx, kind, notes, source=source, by="")
        return len(moved)


def record_tags(kind: Kind, record_id: str) -> list[str]:
    """The tags of what is cached of one record."""
    return [f"crm:{kind}:{record_id}", f"crm:{kind}:any"]


def kind_tag(kind: Kind) -> str:
    """The tag of what is cached of any record of a kind: lists, sums, metrics."""
    return f"crm:{kind}"


_COUNTED = {"created": "created", "archived": "archived", "restored": "restored", "changed": "updated"}


def _news(before: _Held | None, record: Record) -> tuple[str | None, dict[str, list[str]]]:
    """What happened to the record, if anything, and property → [before, after]."""
    if before is None:
        return ("archived" if record.archived_at else "created"), {}
    names = [name for name in {**before.fields, **record.values} if name not in _SILENT]
    differences = {
        name: [before.fields.get(name, ""), record.values.get(name, "")]
        for name in names
        if before.fields.get(name, "") != record.values.get(name, "")
    }
    if record.archived_at and before.archived_at is None:
        return "archived", {}
    if before.archived_at and not record.archived_at:
        return "restored", differences
    return ("changed", differences) if differences else (None, {})


_SILENT = {*HIDDEN, *(kind.modified for kind in Kind)}
"""What moves with every change and says nothing of it."""


def _row(record: Record) -> dict[str, Any]:
    values = record.values
    searched = [values.get(field.name, "") for field in FIELDS[record.kind] if field.is_searched]
    name = name_of(record.kind, values)
    is_deal = record.kind is Kind.DEALS
    return {
        "id": record.id,
        "fields": values,
        "name": name,
        "sort_name": folded(name),
        "search_text": folded(" ".join(searched)),
        "owner_id": values.get(OWNER, ""),
        "pipeline_id": values.get("pipeline", "") if is_deal else "",
        "stage_id": values.get("dealstage", "") if is_deal else "",
        "amount": _amount(values.get("amount", "")) if is_deal else None,
        "currency": values.get("deal_currency_code", ""),
        "closes_on": day_of(values.get("closedate", "")) if is_deal else None,
        "is_closed": values.get("hs_is_closed") == "true",
        "is_won": values.get("hs_is_closed_won") == "true",
        "email": values.get("email", "").casefold() if record.kind is Kind.CONTACTS else "",
        "domain": values.get("domain", "").casefold() if record.kind is Kind.COMPANIES else "",
        "contacted_at": moment_of(values.get("notes_last_contacted", "")),
        "created_at": record.created_at,
        "modified_at": record.modified_at,
        "archived_at": record.archived_at,
    }


def _amount(said: str) -> str | None:
    try:
        amount = Decimal(said)
    except InvalidOperation:
        return None
    return f"{amount:.2f}" if amount.is_finite() and abs(amount) < _LARGEST else None


def moment_of(said: str) -> datetime | None:
    """A property's moment: ISO 8601, or milliseconds since 1970."""
    try:
        if said.lstrip("-").isdecimal():
            return datetime.fromtimestamp(int(said) / 1000, UTC)
        moment = datetime.fromisoformat(said)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def day_of(said: str) -> str | None:
    """HubSpot keeps a date as a moment, and shows its day in UTC."""
    moment = moment_of(said)
    return moment.astimezone(UTC).date().isoformat() if moment else None


async def _held(tx: Transaction, kind: Kind, ids: Iterable[str]) -> dict[str, _Held]:
    rows = await tx.rows(
        _Held,
        "SELECT id, fields, modified_at, read_at, archived_at, merged_into FROM crm_records "
        "WHERE kind = %s AND id = ANY(%s) ORDER BY id FOR UPDATE",
        [kind, list(ids)],
    )
    return {row.id: row for row in rows}


async def _write(tx: Transaction, kind: Kind, rows: Sequence[dict[str, Any]], asked: int) -> None:
    if rows:
        sent = msgspec.json.encode(rows).decode()
        await tx.execute(_UPSERT, {"kind": kind, "rows": sent, "asked": asked})


async def _note(
    tx: Transaction,
    kind: Kind,
    changes: Sequence[tuple[str, str, Mapping[str, Sequence[str]]]],
    *,
    source: Source,
    by: str,
) -> None:
    if changes:
        sent = [{"id": record_id, "what": what, "fields": fields} for record_id, what, fields in changes]
        await tx.execute(_NOTE, [kind, source, by, msgspec.json.encode(sent).decode()])


_UPSERT = """
INSERT INTO crm_records AS held (
    kind, id, fields, name, sort_name, search_text, owner_id, pipeline_id, stage_id, amount, currency,
    closes_on, is_closed, is_won, email, domain, contacted_at, created_at, modified_at, archived_at, read_at
)
SELECT %(kind)s, id, fields, name, sort_name, search_text, owner_id, pipeline_id, stage_id, amount, currency,
    closes_on, is_closed, is_won, email, domain, contacted_at, created_at, modified_at, archived_at, %(asked)s
FROM jsonb_to_recordset(%(rows)s::jsonb) AS said (
    id text, fields jsonb, name text, sort_name text, search_text text, owner_id text, pipeline_id text,
    stage_id text, amount numeric, currency text, closes_on date, is_closed boolean, is_won boolean,
    email text, domain text, contacted_at timestamptz, created_at timestamptz, modified_at timestamptz,
    archived_at timestamptz
)
ORDER BY id
ON CONFLICT (kind, id) DO UPDATE SET
    fields = excluded.fields, name = excluded.name, sort_name = excluded.sort_name,
    search_text = excluded.search_text, owner_id = excluded.owner_id, pipeline_id = excluded.pipeline_id,
    stage_id = excluded.stage_id, amount = excluded.amount, currency = excluded.currency,
    closes_on = excluded.closes_on, is_closed = excluded.is_closed, is_won = excluded.is_won,
    email = excluded.email, domain = excluded.domain, contacted_at = excluded.contacted_at,
    created_at = excluded.created_at, modified_at = excluded.modified_at,
    archived_at = excluded.archived_at, read_at = excluded.read_at,
    seen_at = now(), changed_at = now(),
    merged_into = CASE WHEN excluded.archived_at IS NULL THEN NULL ELSE held.merged_into END
WHERE held.read_at <= excluded.read_at
"""

_SEEN = """
UPDATE crm_records SET read_at = %(asked)s, seen_at = now()
WHERE kind = %(kind)s AND id = ANY(%(ids)s) AND read_at <= %(asked)s
"""

_ARCHIVE = """
UPDATE crm_records SET archived_at = now(), read_at = %(asked)s, seen_at = now(), changed_at = now()
WHERE kind = %(kind)s AND id = ANY(%(ids)s) AND archived_at IS NULL AND read_at <= %(asked)s RETURNING id
"""

_MERGE = """
UPDATE crm_records SET merged_into = merges.new_id, archived_at = COALESCE(archived_at, now()),
    read_at = %(asked)s, seen_at = now(), changed_at = now()
FROM unnest(%(old)s::text[], %(new)s::text[]) AS merges (old_id, new_id)
WHERE kind = %(kind)s AND id = merges.old_id AND merged_into IS DISTINCT FROM merges.new_id
RETURNING id
"""

_NOTE = """
INSERT INTO crm_changes (kind, record_id, what, source, by_email, fields)
SELECT %s, id, what, %s, %s, fields
FROM jsonb_to_recordset(%s::jsonb) AS said (id text, what text, fields jsonb)
"""

_UNTIE = """
DELETE FROM crm_associations WHERE from_kind = %s AND to_kind = %s AND from_id = ANY(%s)
    AND (from_id, to_id) NOT IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""

_TIE = """
INSERT INTO crm_associations (from_kind, to_kind, from_id, to_id)
SELECT %s, %s, from_id, to_id FROM unnest(%s::text[], %s::text[]) AS ties (from_id, to_id)
ON CONFLICT DO NOTHING
"""

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
from psycopg.errors import DataError, ProgramLimitExceeded

from muster.crm.fields import FIELDS, HIDDEN, OWNER, Kind, name_of
from muster.crm.record import Record
from muster.platform.busts import Busts
from muster.platform.database import Database, Statements, Transaction, first_line
from muster.platform.folding import folded
from muster.platform.telemetry import logger

TOLD_APART = 200
"""So many records of one write are busted one by one; more of them all at once."""

DIRECTIONS = (
    (Kind.DEALS, Kind.CONTACTS),
    (Kind.DEALS, Kind.COMPANIES),
    (Kind.CONTACTS, Kind.COMPANIES),
)
"""From which kind to which an association is kept, whichever end it was read from."""

_LARGEST = Decimal(10) ** 17

_NAME_INDEXED = 200
_ADDRESS_INDEXED = 320
"""Characters; a row of an index has room for 2,700 bytes."""


class Source(StrEnum):
    """How we learned of a change."""

    SYNC = "sync"
    WEBHOOK = "webhook"
    EDIT = "edit"
    REFRESH = "refresh"


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What came of records that were taken.

    `late` are those that something newer stood in the way of, `late_ids` which. `news` says of each that is
    not as it was "created", "changed", "archived" or "restored". Of the `doubted` search says what may be
    outdated: they were left as they are, and HubSpot is to be asked for them by id. The `unwritten`
    PostgreSQL does not take.
    """

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    archived: int = 0
    restored: int = 0
    merged: int = 0
    late: int = 0
    late_ids: tuple[str, ...] = ()
    news: dict[str, str] = {}
    doubted: tuple[str, ...] = ()
    unwritten: tuple[str, ...] = ()


class _Held(msgspec.Struct, frozen=True):
    id: str
    fields: dict[str, str]
    modified_at: datetime
    read_at: int
    searched_at: int
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
        dry_run: bool = False,
    ) -> Taken:
        """Write down what HubSpot said of these records, with their history, and bust what showed them.

        `asked` is a `number()`; with `lags` the answer is search's, which may be older than its time. Who
        is archived by `records` leaves all lists. On a first load nothing counts as a change. A sync does
        not touch what is as it was; others move the time when HubSpot last said so.
        """
        judged = await self._judge(tx, kind, records, asked=asked, lags=lags, is_locked=not dry_run)
        if not dry_run:
            judged.give_up(await _write(tx, kind, judged.rows, asked, lags=lags))
            told = [one for one in judged.changes if not (is_first_load and one[1] == "created")]
            if judged.same and not lags and source is not Source.SYNC:
                await tx.execute(_SEEN, {"kind": kind, "ids": judged.same, "asked": asked})
            await _note(tx, kind, told, source=source, by=by)
            await self._merge(tx, kind, judged.merges, asked=asked, source=source)
            if judged.rows or judged.merges:
                await self.bust(tx, kind, [*(str(row["id"]) for row in judged.rows), *judged.merges])
        return judged.taken()

    async def compare(
        self,
        statements: Statements,
        kind: Kind,
        records: Sequence[Record],
        *,
        asked: int,
        lags: bool = False,
    ) -> Taken:
        """What `take` would make of these, as things stand."""
        judged = await self._judge(statements, kind, records, asked=asked, lags=lags, is_locked=False)
        return judged.taken()

    async def wrote(
        self, tx: Transaction, kind: Kind, record_id: str, values: Mapping[str, str], *, modified_at: datetime
    ) -> Record | None:
        """The record as it is once HubSpot has accepted `values`, for `take`; None if we hold none, or what
        was changed after that.
        """
        held = (await _held(tx, kind, [record_id])).get(record_id)
        if held is None or held.modified_at > modified_at:
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

    async def keep_archived(
        self, tx: Transaction, kind: Kind, records: Sequence[Record], *, asked: int
    ) -> None:
        """Keep of archived records that there are such, and nothing of what is in them."""
        await tx.execute(
            _KEEP_ARCHIVED,
            {
                "kind": kind,
                "name": name_of(kind, {}),
                "asked": asked,
                "ids": [record.id for record in records],
                "created": [record.created_at for record in records],
                "modified": [record.modified_at for record in records],
                "archived": [record.archived_at or record.modified_at for record in records],
            },
        )

    async def lead(
        self, tx: Transaction, kind: Kind, merges: Mapping[str, str], *, asked: int, source: Source
    ) -> int:
        """Have the ids of merged records lead to what they were merged into; how many did not before."""
        held = await _held(tx, kind, merges)
        news = {old: new for old, new in merges.items() if old in held and held[old].merged_into != new}
        await self._merge(tx, kind, news, asked=asked, source=source)
        if news:
            await self.bust(tx, kind, list(news))
        return len(news)

    async def forget(self, tx: Transaction, kind: Kind, record_id: str, *, asked: int) -> None:
        """Keep nothing of a person who wants to be forgotten but that the id is gone."""
        await self.archive(tx, kind, [record_id], asked=asked, source=Source.WEBHOOK)
        await tx.execute(_FORGET_EDITS, {"kind": kind, "id": record_id})
        await tx.execute(_FORGET, {"kind": kind, "id": record_id, "name": name_of(kind, {})})
        await tx.execute(
            "UPDATE crm_changes SET fields = '{}' WHERE kind = %s AND record_id = %s AND fields <> '{}'",
            [kind, record_id],
        )
        await self._untie_all(tx, kind, [record_id])
        await self.bust(tx, kind, [record_id])

    async def tie(
        self,
        tx: Transaction,
        kind: Kind,
        other: Kind,
        ties: Mapping[str, Sequence[str]],
        *,
        asked: int | None = None,
        is_first_load: bool = False,
        dry_run: bool = False,
    ) -> int:
        """Make the associations of these records to the `other` kind exactly these; how many were made or
        ended. Either kind may be the one that was asked about.

        `asked` is a `number()`, one for all kinds that were asked about of the same records; without it they
        are taken as of now. An older answer neither ends nor makes what a newer one has told of.
        """
        number = asked or int(await tx.value("SELECT nextval('crm_reads')"))
        read = await tx.pairs(_TIES_READ if dry_run else _TIES_READ + " FOR UPDATE", [kind, list(ties)])
        timely = [one for one in ties if read.get(one, 0) <= number]
        wanted = {(one, far) for one in timely for far in ties[one]}
        is_forward = (kind, other) in DIRECTIONS
        held = await tx.rows(_Tie, _HELD_TIES if is_forward else _HELD_TIES_BACK, [kind, other, timely])
        there = {(tie.one, tie.far) for tie in held}
        ended = sorted(
            (tie.one, tie.far) for tie in held if (tie.one, tie.far) not in wanted and tie.read_at <= number
        )
        made = sorted(wanted - there)
        if (made or ended) and not dry_run:
            places = [kind, other] if is_forward else [other, kind]
            for statement, pairs in ((_UNTIE, ended), (_TIE, made)):
                near, far = [one for one, _ in pairs], [far for _, far in pairs]
                await tx.execute(statement, [*places, *((near, far) if is_forward else (far, near)), number])
            moved = list(dict.fromkeys(one for one, _ in (*made, *ended)))
            if not is_first_load:
                await tx.execute(_TIED, [number, kind, moved])
            await self.bust(tx, kind, moved)
            await self.bust(tx, other, list(dict.fromkeys(far for _, far in (*made, *ended))))
        return len(made) + len(ended)

    async def bust(self, tx: Transaction, kind: Kind, ids: Sequence[str]) -> None:
        """Have whatever shows records of this kind, or these ones, read anew once `tx` is committed."""
        single = [f"crm:{kind}:{one}" for one in ids] if len(ids) <= TOLD_APART else [f"crm:{kind}:any"]
        await self._busts.announce(tx, f"crm:{kind}", *single)

    async def _judge(
        self,
        statements: Statements,
        kind: Kind,
        records: Sequence[Record],
        *,
        asked: int,
        lags: bool,
        is_locked: bool,
    ) -> "_Judged":
        latest = {record.id: record for record in records}
        led = {old for record in latest.values() for old in record.merged_ids}
        held = await _held(statements, kind, {*latest, *led}, is_locked=is_locked)
        judged = _Judged()
        for record in latest.values():
            before = held.get(record.id)
            judged.add(before, record, asked=asked, lags=lags)
            if record.id in judged.late or (before and before.merged_into):
                continue
            judged.merges |= {
                old: record.id
                for old in record.merged_ids
                if old != record.id and old in held and held[old].merged_into != record.id
            }
        # Search may still know what was merged: that it was is for good.
        judged.forget_merged()
        return judged

    async def _merge(
        self, tx: Transaction, kind: Kind, merges: Mapping[str, str], *, asked: int, source: Source
    ) -> None:
        if merges:
            await tx.execute(
                _MERGE, {"kind": kind, "old": list(merges), "new": list(merges.values()), "asked": asked}
            )
            notes = [(old, "merged", {"hs_object_id": [old, new]}) for old, new in merges.items()]
            await _note(tx, kind, notes, source=source, by="")
            await self._untie_all(tx, kind, list(merges))

    async def _untie_all(self, tx: Transaction, kind: Kind, ids: Sequence[str]) -> None:
        """End all associations of these, which belong to nothing any more."""
        for statement in (_UNTIE_FROM, _UNTIE_TO):
            ended = await tx.rows(_Far, statement, [kind, list(ids)])
            for other in Kind:
                if far := sorted({one.id for one in ended if one.kind is other}):
                    await self.bust(tx, other, far)


Change = tuple[str, str, Mapping[str, Sequence[str]]]
"""A record's id, what happened to it, and property → [before, after]."""


class _Judged:
    """What is to be written of an answer."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.changes: list[Change] = []
        self.same: list[str] = []
        self.late: list[str] = []
        self.doubted: list[str] = []
        self.merges: dict[str, str] = {}
        self.unwritten: list[str] = []
        self._counted: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def add(self, before: _Held | None, record: Record, *, asked: int, lags: bool) -> None:
        if before is None:
            if record.archived_at is None:
                self._write(record, "created", {})
            else:  # never known, and gone already
                self._counts["unchanged"] += 1
            return
        what, differences = _news(before, record)
        is_same = what is None and before.modified_at == record.modified_at
        # What search told of at some time was so at that time or before; what is read by id, after.
        may_be_older = lags or before.searched_at > asked
        is_older = may_be_older and record.modified_at < before.modified_at
        if before.read_at > asked or is_older or (lags and before.merged_into):
            self.late.append(record.id)
        elif lags and (before.archived_at or (what and before.modified_at == record.modified_at)):
            self.doubted.append(record.id)
            self.late.append(record.id)
        elif is_same:
            self._counts["unchanged"] += 1
            self.same.append(record.id)
        else:
            self._write(record, what, differences)

    def forget_merged(self) -> None:
        self.rows = [row for row in self.rows if row["id"] not in self.merges]
        self.changes = [change for change in self.changes if change[0] not in self.merges]

    def give_up(self, ids: Sequence[str]) -> None:
        """Of these nothing was written."""
        self.unwritten = list(ids)
        self._counts.subtract(self._counted[one] for one in ids)
        self.rows = [row for row in self.rows if row["id"] not in ids]
        self.changes = [change for change in self.changes if change[0] not in ids]

    def taken(self) -> Taken:
        counts = dict(self._counts) | {"late": len(self.late), "merged": len(self.merges)}
        late_ids = tuple(dict.fromkeys(self.late))
        news = {record_id: what for record_id, what, _ in self.changes}
        return Taken(
            **counts,
            late_ids=late_ids,
            news=news,
            doubted=tuple(self.doubted),
            unwritten=tuple(self.unwritten),
        )

    def _write(self, record: Record, what: str | None, differences: Mapping[str, Sequence[str]]) -> None:
        counted = _COUNTED.get(what or "", "updated")
        self._counted[record.id] = counted
        self._counts[counted] += 1
        self.rows.append(_row(record))
        if what:
            self.changes.append((record.id, what, differences))


class _Far(msgspec.Struct, frozen=True):
    kind: Kind
    id: str


class _Tie(msgspec.Struct, frozen=True):
    one: str
    far: str
    read_at: int


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
        return "archived", differences
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
        "sort_name": folded(name)[:_NAME_INDEXED],
        "search_text": folded(" ".join(searched)),
        "owner_id": values.get(OWNER, ""),
        "pipeline_id": values.get("pipeline", "") if is_deal else "",
        "stage_id": values.get("dealstage", "") if is_deal else "",
        "amount": _amount(values.get("amount", "")) if is_deal else None,
        "currency": values.get("deal_currency_code", ""),
        "closes_on": day_of(values.get("closedate", "")) if is_deal else None,
        "is_closed": values.get("hs_is_closed") == "true",
        "is_won": values.get("hs_is_closed_won") == "true",
        "email": _address(values, "email") if record.kind is Kind.CONTACTS else "",
        "domain": _address(values, "domain") if record.kind is Kind.COMPANIES else "",
        "contacted_at": moment_of(values.get("notes_last_contacted", "")),
        "created_at": record.created_at,
        "modified_at": record.modified_at,
        "archived_at": record.archived_at,
    }


def _address(values: Mapping[str, str], name: str) -> str:
    return values.get(name, "").casefold()[:_ADDRESS_INDEXED]


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
        # In the first and the last hours of all time there is none in UTC.
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None


def day_of(said: str) -> str | None:
    """HubSpot keeps a date as a moment, and shows its day in UTC."""
    moment = moment_of(said)
    return moment.astimezone(UTC).date().isoformat() if moment else None


async def _held(
    statements: Statements, kind: Kind, ids: Iterable[str], *, is_locked: bool = True
) -> dict[str, _Held]:
    rows = await statements.rows(_Held, _HELD + " FOR UPDATE" if is_locked else _HELD, [kind, list(ids)])
    return {row.id: row for row in rows}


async def _write(
    tx: Transaction, kind: Kind, rows: Sequence[dict[str, Any]], asked: int, *, lags: bool
) -> list[str]:
    """The ids of those PostgreSQL does not take: they keep no other from being written."""
    if not rows:
        return []
    sent = msgspec.json.encode(rows).decode()
    numbers = {"read": 0, "searched": asked} if lags else {"read": asked, "searched": 0}
    try:
        async with tx.savepoint():
            await tx.execute(_UPSERT, {"kind": kind, "rows": sent, **numbers})
    except (DataError, ProgramLimitExceeded) as error:
        if len(rows) > 1:
            middle = len(rows) // 2
            return [
                *await _write(tx, kind, rows[:middle], asked, lags=lags),
                *await _write(tx, kind, rows[middle:], asked, lags=lags),
            ]
        logger.warning("record_not_written", kind=kind, record=rows[0]["id"], error=first_line(error))
        return [str(rows[0]["id"])]
    return []


async def _note(
    tx: Transaction,
    kind: Kind,
    changes: Sequence[Change],
    *,
    source: Source,
    by: str,
) -> None:
    if changes:
        sent = [{"id": record_id, "what": what, "fields": fields} for record_id, what, fields in changes]
        await tx.execute(_NOTE, [kind, source, by, msgspec.json.encode(sent).decode()])


_HELD = """
SELECT id, fields, modified_at, read_at, searched_at, archived_at, merged_into FROM crm_records
WHERE kind = %s AND id = ANY(%s) ORDER BY id
"""

_UPSERT = """
INSERT INTO crm_records AS held (
    kind, id, fields, name, sort_name, search_text, owner_id, pipeline_id, stage_id, amount, currency,
    closes_on, is_closed, is_won, email, domain, contacted_at, created_at, modified_at, archived_at, read_at,
    searched_at
)
SELECT %(kind)s, id, fields, name, sort_name, search_text, owner_id, pipeline_id, stage_id, amount, currency,
    closes_on, is_closed, is_won, email, domain, contacted_at, created_at, modified_at, archived_at, %(read)s,
    %(searched)s
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
    archived_at = excluded.archived_at, read_at = GREATEST(held.read_at, excluded.read_at),
    searched_at = GREATEST(held.searched_at, excluded.searched_at),
    seen_at = now(), changed_at = now(),
    merged_into = CASE WHEN excluded.archived_at IS NULL THEN NULL ELSE held.merged_into END
WHERE held.read_at <= GREATEST(excluded.read_at, excluded.searched_at)
    AND (held.modified_at <= excluded.modified_at OR held.searched_at <= excluded.read_at)
"""

_SEEN = """
UPDATE crm_records SET read_at = %(asked)s, seen_at = now()
WHERE kind = %(kind)s AND id = ANY(%(ids)s) AND read_at <= %(asked)s
"""

_ARCHIVE = """
UPDATE crm_records SET archived_at = now(), read_at = %(asked)s, seen_at = now(), changed_at = now()
WHERE kind = %(kind)s AND id = ANY(%(ids)s) AND archived_at IS NULL AND read_at <= %(asked)s RETURNING id
"""

_KEEP_ARCHIVED = """
INSERT INTO crm_records (kind, id, fields, name, sort_name, search_text, owner_id, pipeline_id, stage_id,
    currency, is_closed, is_won, email, domain, created_at, modified_at, archived_at, read_at, searched_at)
SELECT %(kind)s, said.id, '{}', %(name)s, '', '', '', '', '', '', false, false, '', '', said.created_at,
    said.modified_at, said.archived_at, %(asked)s, 0
FROM unnest(%(ids)s::text[], %(created)s::timestamptz[], %(modified)s::timestamptz[],
    %(archived)s::timestamptz[]) AS said (id, created_at, modified_at, archived_at)
ORDER BY said.id ON CONFLICT DO NOTHING
"""

_MERGE = """
UPDATE crm_records SET merged_into = merges.new_id, archived_at = COALESCE(archived_at, now()),
    read_at = GREATEST(read_at, %(asked)s), seen_at = now(), changed_at = now()
FROM unnest(%(old)s::text[], %(new)s::text[]) AS merges (old_id, new_id)
WHERE kind = %(kind)s AND id = merges.old_id
"""

_FORGET = """
UPDATE crm_records SET fields = '{}', name = %(name)s, sort_name = '', search_text = '', owner_id = '',
    email = '', domain = '', changed_at = now()
WHERE kind = %(kind)s AND id = %(id)s AND archived_at IS NOT NULL
"""

_FORGET_EDITS = """
UPDATE crm_edits SET fields = '{}', before = '{}', written = '{}', theirs = '{}', problem = '',
    problem_fields = '{}', held_until = NULL, sent_at = NULL,
    status = CASE WHEN status IN ('done', 'withdrawn') THEN status ELSE 'withdrawn' END,
    ended_at = COALESCE(ended_at, now())
WHERE kind = %(kind)s AND (
    record_id = %(id)s
    OR (record_id IS NULL AND lower(fields ->> 'email') = (
        SELECT email FROM crm_records WHERE kind = %(kind)s AND id = %(id)s AND email <> ''
    ))
)
"""

_NOTE = """
INSERT INTO crm_changes (kind, record_id, what, source, by_email, fields)
SELECT %s, id, what, %s, %s, fields
FROM jsonb_to_recordset(%s::jsonb) AS said (id text, what text, fields jsonb)
"""

_TIES_READ = "SELECT id, ties_read_at FROM crm_records WHERE kind = %s AND id = ANY(%s) ORDER BY id"

_TIED = "UPDATE crm_records SET ties_read_at = %s WHERE kind = %s AND id = ANY(%s)"

_HELD_TIES = """
SELECT from_id AS one, to_id AS far, read_at FROM crm_associations
WHERE from_kind = %s AND to_kind = %s AND from_id = ANY(%s)
"""

_HELD_TIES_BACK = """
SELECT to_id AS one, from_id AS far, read_at FROM crm_associations
WHERE to_kind = %s AND from_kind = %s AND to_id = ANY(%s)
"""

_UNTIE = """
DELETE FROM crm_associations AS held
USING (SELECT %s::text AS from_kind, %s::text AS to_kind) AS kinds,
    unnest(%s::text[], %s::text[]) AS ended (from_id, to_id)
WHERE (held.from_kind, held.from_id, held.to_kind, held.to_id)
    = (kinds.from_kind, ended.from_id, kinds.to_kind, ended.to_id) AND held.read_at <= %s
"""

_UNTIE_FROM = """
DELETE FROM crm_associations WHERE from_kind = %s AND from_id = ANY(%s) RETURNING to_kind AS kind, to_id AS id
"""

_UNTIE_TO = """
DELETE FROM crm_associations WHERE to_kind = %s AND to_id = ANY(%s) RETURNING from_kind AS kind, from_id AS id
"""

_TIE = """
INSERT INTO crm_associations (from_kind, to_kind, from_id, to_id, read_at)
SELECT places.*, ties.*, asked
FROM (SELECT %s::text, %s::text) AS places, unnest(%s::text[], %s::text[]) AS ties (from_id, to_id),
    CAST(%s AS bigint) AS asked
ORDER BY from_id, to_id
ON CONFLICT DO NOTHING
"""

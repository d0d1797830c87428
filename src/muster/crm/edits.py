"""Editing records in HubSpot: asked for, compared with what is there by now, written, and only then shown.

HubSpot knows no version of a record that a write could be bound to. So an edit says what was there when it
was made; the record is read again just before the write, and a field that has become something else meanwhile
is a conflict. Every write is a row before it is a call, so that nothing is lost with a process, and one whose
outcome is unknown is looked at before it is tried again (docs/decisions/0020-edits-by-outbox.md).
"""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from muster.crm.catalogue import Catalogues
from muster.crm.edit_rows import Edit, EditRows, Status, Wish
from muster.crm.edit_values import EditValues, InvalidFields, check_text
from muster.crm.edit_writing import EditWriting, Seen, subject
from muster.crm.fields import Kind
from muster.crm.hubspot import HubSpot
from muster.crm.mirror import Mirror
from muster.crm.owners import Owners
from muster.errors import Conflict, Invalid, NotFound
from muster.platform import audit
from muster.platform.actor import Origin, Who
from muster.platform.busts import OUTSIDE_DEADLINE, Busts
from muster.platform.database import Database, Transaction

TIES: dict[Kind, tuple[Kind, ...]] = {
    Kind.DEALS: (Kind.CONTACTS, Kind.COMPANIES),
    Kind.CONTACTS: (Kind.COMPANIES,),
    Kind.COMPANIES: (),
}
"""What a new record may be tied to."""

_AT_A_PAGE = timedelta(seconds=10)  # somebody is looking at the page that comes next
_BEHIND_ANOTHER = 3.0  # seconds to wait at a page for a colleague's edit of the same record to end
_MOVE = {"pipeline", "dealstage"}
_KEY = re.compile(r"[\w-]{8,80}")


class SentBefore(Conflict):
    """A creation's key came again with something else; `edit_id` is what it made, or is to make."""

    def __init__(self, edit_id: int) -> None:
        super().__init__("This form was sent before with something else in it: open a new one.")
        self.edit_id = edit_id


class _Held(msgspec.Struct, frozen=True):
    fields: dict[str, str]
    archived_at: datetime | None
    merged_into: str | None


class Edits:
    def __init__(
        self,
        database: Database,
        busts: Busts,
        mirror: Mirror,
        hubspot: HubSpot,
        catalogues: Catalogues,
        owners: Owners,
    ) -> None:
        self._database = database
        self._at_a_page = hubspot.for_("edits").impatient()
        self._in_a_job = hubspot.for_("outbox").impatient()
        self._in_a_bulk = hubspot.for_("bulks")
        self._mirror = mirror
        self.rows = EditRows(database)
        self._writing = EditWriting(database, busts, mirror, self.rows, catalogues, owners)

    # Asking for edits

    async def edit(
        self,
        kind: Kind,
        record_id: str,
        fields: Mapping[str, str],
        before: Mapping[str, str],
        *,
        by: Who,
        origin: Origin,
        instead_of: int | None = None,
    ) -> Edit | None:
        """Write what differs from `before`; how that went, or None if nothing does.

        `instead_of` is an edit that was stopped and is put aside for this one. Raises InvalidFields,
        NotFound, and Conflict for a record that is in HubSpot no more.
        """
        check_text(before)
        held = await self._get_held(kind, record_id)
        seen = {**held.fields, **before}
        values = (await self.values(kind)).read(fields, seen)
        if not values:
            return None
        wish = Wish(
            kind=kind,
            record_id=record_id,
            fields=values,
            before={name: seen.get(name, "") for name in values}
            | await self._pending(kind, record_id, seen, by),
        )
        async with self._database.transaction() as tx:
            if instead_of is not None:
                aside = await tx.row(_Withdrawn, _PUT_ASIDE, [instead_of, kind, record_id])
                if aside:
                    await _record_withdrawn(tx, instead_of, kind, record_id, aside.fields, by, origin)
            kept = await self.rows.keep(tx, wish, by=by, origin=origin)
            await audit.record(
                tx,
                "crm.edit_asked",
                by=by,
                subject=f"{kind.one}:{record_id}",
                before=wish.before,
                after=wish.fields,
                origin=origin,
            )
        return await self.send_now(kept.id)

    async def create(
        self,
        kind: Kind,
        fields: Mapping[str, str],
        ties: Sequence[tuple[Kind, str]] = (),
        *,
        creation_key: str,
        by: Who,
        origin: Origin,
    ) -> Edit:
        """A new record, one however often it is sent with the same `creation_key`.

        Raises Invalid, and SentBefore for a key that stands for something else, unless that was refused.
        """
        if not _KEY.fullmatch(creation_key):
            raise Invalid("creation_key: 8 to 80 letters, digits, - or _ are expected, new for each record.")
        for other, other_id in ties:
            if other not in TIES[kind]:
                raise Invalid(f"A new {kind.one} cannot be tied to a {other.one} here.")
            check_text({other: other_id})
            await self._get_held(other, other_id)
        values = (await self.values(kind)).read(fields, {})
        _check_named(kind, values)
        key = f"{by.account_id}:{creation_key}"
        wish = Wish(kind=kind, record_id=None, fields=values, ties=ties, creation_key=key)
        async with self._database.transaction() as tx:
            kept = await self.rows.keep(tx, wish, by=by, origin=origin)
            if not kept.is_new:
                first = await self.rows.kept_before(tx, kept.id)
                if not _is_like(wish, first):
                    if not await self.rows.free_key(tx, first):
                        raise SentBefore(first.id)
                    await _record_withdrawn(tx, first.id, first.kind, None, first.fields, by, origin)
                    kept = await self.rows.keep(tx, wish, by=by, origin=origin)
            if kept.is_new:
                await audit.record(
                    tx,
                    "crm.creation_asked",
                    by=by,
                    subject=f"edit:{kept.id}",
                    after={"kind": kind, **values},
                    origin=origin,
                )
        return await self.send_now(kept.id)

    async def resolve_conflict(
        self, edit_id: int, take_mine: Sequence[str], *, by: Who, origin: Origin
    ) -> Edit:
        """Write mine over theirs for the fields in `take_mine`; the others in conflict stay theirs. A deal's
        pipeline and stage are one choice.
        """
        edit = await self.rows.get(edit_id)
        if edit.status is not Status.CONFLICT:
            raise Conflict("This conflict is settled already.")
        kept = _mine(edit, set(take_mine))
        before = {name: edit.theirs.get(name, edit.before.get(name, "")) for name in kept}
        status = Status.WAITING if kept else Status.WITHDRAWN
        async with self._database.transaction() as tx:
            is_mine = await tx.execute(
                "UPDATE crm_edits SET fields = %s::jsonb, before = %s::jsonb, status = %s, theirs = '{}', "
                "next_at = now(), ended_at = CASE WHEN %s THEN NULL ELSE now() END "
                "WHERE id = %s AND status = 'conflict' AND attempts = %s",
                [_json(kept), _json(before), status, bool(kept), edit_id, edit.attempts],
            )
            if not is_mine:
                raise Conflict("Somebody else has settled this conflict a moment ago.")
            await audit.record(
                tx,
                "crm.conflict_resolved",
                by=by,
                subject=subject(edit),
                before=edit.theirs,
                after=kept,
                origin=origin,
            )
        return await self.send_now(edit_id) if kept else await self.rows.get(edit_id)

    async def withdraw(self, edit_id: int, *, by: Who, origin: Origin) -> Edit:
        """Put aside what waits or was stopped. Raises Conflict for what may have been written already."""
        async with self._database.transaction() as tx:
            found = await tx.row(_Withdrawn, _WITHDRAW, [edit_id])
            if found is None:
                edit = await self.rows.get(edit_id)
                raise Conflict(_TOO_LATE[edit.status.is_open])
            await _record_withdrawn(tx, edit_id, found.kind, found.record_id, found.fields, by, origin)
        return await self.rows.get(edit_id)

    async def values(self, kind: Kind) -> EditValues:
        return await self._writing.values(kind)

    # Writing them

    async def send_now(self, edit_id: int) -> Edit:
        """Try it while somebody waits for the next page; what cannot be done now is left to the worker."""
        latest = time.monotonic() + _BEHIND_ANOTHER
        while True:
            if edit := await self.rows.claim(edit_id):
                await self._writing.send(edit, self._at_a_page, _AT_A_PAGE)
                return await self.rows.get(edit_id)
            edit = await self.rows.get(edit_id)
            is_soon = edit.status.is_open and await self._is_being_written(edit)
            if not is_soon or time.monotonic() > latest:
                return edit
            await asyncio.sleep(0.1)

    async def look_ahead(self, edit_ids: Sequence[int]) -> dict[int, Seen]:
        """What HubSpot has of the records of these edits, in as few calls as it takes. Raises VendorError."""
        by_kind: dict[Kind, dict[str, list[int]]] = {}
        for edit in await self.rows.of_records(edit_ids):
            by_kind.setdefault(edit.kind, {}).setdefault(edit.record_id, []).append(edit.id)
        seen: dict[int, Seen] = {}
        for kind, edits in by_kind.items():
            asked = await self._mirror.number()
            batch = await self._in_a_bulk.read(kind, list(edits))
            seen |= {one: Seen(record, asked) for record in batch.records for one in edits.get(record.id, ())}
        return seen

    async def send(self, edit_id: int, *, seen: Seen | None = None) -> Edit | None:
        """The worker's turn with an edit; None if it is somebody else's by now."""
        edit = await self.rows.claim(edit_id)
        if edit is None:
            return None
        hubspot = self._in_a_job if edit.bulk_id is None else self._in_a_bulk
        await self._writing.send(edit, hubspot, OUTSIDE_DEADLINE, seen=seen)
        return await self.rows.get(edit_id)

    # What is there

    async def _get_held(self, kind: Kind, record_id: str) -> _Held:
        held = await self._database.row(
            _Held,
            "SELECT fields, archived_at, merged_into FROM crm_records WHERE kind = %s AND id = %s",
            [kind, record_id],
        )
        if held is None:
            raise NotFound(f"There is no {kind.one} {record_id} here.")
        if held.merged_into:
            raise Conflict(f"This {kind.one} was merged into another in HubSpot: change that one.")
        if held.archived_at:
            raise Conflict(f"This {kind.one} is not in HubSpot any more.")
        return held

    async def _pending(self, kind: Kind, record_id: str, seen: Mapping[str, str], by: Who) -> dict[str, str]:
        """What fields will be once what the same person asked for earlier is written: that is no conflict."""
        pending: dict[str, str] = {}
        for edit in await self.rows.open_of(kind, [record_id]):
            is_theirs = (edit.account_id, edit.by_email) == (by.account_id, by.email)
            if is_theirs and edit.status.is_open and edit.bulk_id is None:
                for name, value in edit.fields.items():
                    if seen.get(name, "") == pending.get(name, edit.before.get(name, "")):
                        pending[name] = value
        return pending

    async def _is_being_written(self, edit: Edit) -> bool:
        """Whether this edit, or another of its record, is in somebody's hands right now, or about to be."""
        return bool(await self._database.value(_IN_HAND, [edit.id, edit.kind, edit.record_id, edit.id]))


async def drop_bulk(tx: Transaction, bulk_id: int) -> int:
    """Withdraw what a bulk has not begun; how many that were."""
    return int(
        await tx.execute(
            "UPDATE crm_edits SET status = 'withdrawn', ended_at = now() "
            "WHERE bulk_id = %s AND status = 'waiting'",
            [bulk_id],
        )
    )


def _mine(edit: Edit, taken: set[str]) -> dict[str, str]:
    """What of an edit is written once its conflict is settled."""
    left = set(edit.theirs) - taken
    if left & _MOVE:  # half of a move is none
        left = left - _MOVE if taken & _MOVE else left | _MOVE
    return {name: value for name, value in edit.fields.items() if name not in left}


def _is_like(wish: Wish, kept: Edit) -> bool:
    return (wish.kind, wish.fields, set(wish.ties)) == (kept.kind, kept.fields, set(kept.ties))


async def _record_withdrawn(
    tx: Transaction,
    edit_id: int,
    kind: Kind,
    record_id: str | None,
    fields: Mapping[str, str],
    by: Who,
    origin: Origin,
) -> None:
    await audit.record(
        tx,
        "crm.edit_withdrawn",
        by=by,
        subject=f"{kind.one}:{record_id}" if record_id else f"edit:{edit_id}",
        before=fields,
        origin=origin,
    )


class _Withdrawn(msgspec.Struct, frozen=True):
    kind: Kind
    record_id: str | None
    fields: dict[str, str]


_TOO_LATE = {
    True: "It is being written to HubSpot at this moment, or may have been: it cannot be taken back.",
    False: "It is done, or was withdrawn, already.",
}

_IN_HAND = """
SELECT EXISTS (
    SELECT FROM crm_edits WHERE (id = %s OR (kind = %s AND record_id = %s)) AND (
        (status = 'sending' AND held_until > clock_timestamp())
        OR (status = 'waiting' AND attempts = 0 AND id < %s AND bulk_id IS NULL
            AND asked_at > clock_timestamp() - interval '5 seconds')
    )
)
"""

_WITHDRAW = """
UPDATE crm_edits SET status = 'withdrawn', ended_at = now()
WHERE id = %s AND status IN ('waiting', 'conflict', 'refused') RETURNING kind, record_id, fields
"""

_PUT_ASIDE = """
UPDATE crm_edits SET status = 'withdrawn', ended_at = now()
WHERE id = %s AND kind = %s AND record_id = %s AND status IN ('conflict', 'refused')
RETURNING kind, record_id, fields
"""


def _check_named(kind: Kind, values: Mapping[str, str]) -> None:
    """What HubSpot asks of every new record, or what nobody would find again without."""
    if kind is Kind.DEALS:
        missing = [name for name in ("dealname", "dealstage") if not values.get(name)]
    elif kind is Kind.CONTACTS:
        missing = [] if any(values.get(name) for name in ("email", "firstname", "lastname")) else ["email"]
    else:
        missing = [] if values.get("name") or values.get("domain") else ["name"]
    if missing:
        raise InvalidFields(dict.fromkeys(missing, "must be filled in"))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()

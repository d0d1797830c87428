"""Writing an edit to HubSpot: read first, compare, write, and keep what came of it in one transaction.

Whatever ends in between is found again: a write is noted before it is made, and one whose outcome is unknown
is looked at before it is tried again.
"""

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from muster.crm.catalogue import Catalogues
from muster.crm.edit_rows import HELD_FOR, Edit, EditRows, Status
from muster.crm.edit_values import EditValues
from muster.crm.fields import Kind, name_of
from muster.crm.hubspot import HubSpot, Written
from muster.crm.hubspot_errors import HubSpotRefused, OutcomeUnknown
from muster.crm.mirror import Mirror, Source, kind_tag, record_tags
from muster.crm.owners import Owners
from muster.crm.record import Record
from muster.crm.rereads import AFTER_EDIT, Rereads
from muster.errors import SettingsError, VendorDown, VendorRefused
from muster.platform import audit
from muster.platform.busts import Busts
from muster.platform.database import Database
from muster.platform.telemetry import logger

SAME_NAME = "hs_object_id"
"""In `theirs` of a creation that was stopped: the record of its name that may be what it made."""

SETTLES = timedelta(seconds=60)
"""HubSpot's search lags behind its writes: what it does not find so long after a write was not made."""

_SKEW = timedelta(minutes=2)
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=15), timedelta(minutes=10)
_DAY_IS_SPENT = timedelta(minutes=15)
_LOOK_AGAIN = timedelta(seconds=5)
_FRESH_SECONDS = 2.0
_SET_UP = frozenset({401, 403})
_EXISTING = re.compile(r"Existing ID:\s*(\d+)")


@dataclass(slots=True)
class _Attempt:
    """`is_open` while HubSpot may have been told and nobody knows what it made of it."""

    is_open: bool

    @contextmanager
    def writing(self) -> Iterator[None]:
        self.is_open = True
        try:
            yield
        except OutcomeUnknown:
            raise
        except (VendorDown, VendorRefused, SettingsError):
            self.is_open = False
            raise


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as HubSpot had it a moment ago; `asked` is a `Mirror.number()` of before it was asked."""

    record: Record
    asked: int
    read_at: float = field(default_factory=time.monotonic)

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.read_at < _FRESH_SECONDS


@dataclass(slots=True)
class _Compared:
    """An edit against what HubSpot has: what is to be written, what an earlier try wrote, and what else
    somebody made of the fields meanwhile.
    """

    todo: dict[str, str] = field(default_factory=dict)
    done: dict[str, tuple[str, str]] = field(default_factory=dict)
    theirs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Found:
    """A record that an earlier try may have made: surely so if it is as asked for in all its fields."""

    record: Record
    is_sure: bool


class _TooEarly(Exception):
    """Search may not know yet of what was created."""


class EditWriting:
    def __init__(
        self,
        database: Database,
        busts: Busts,
        mirror: Mirror,
        rows: EditRows,
        catalogues: Catalogues,
        owners: Owners,
    ) -> None:
        self._database = database
        self._busts = busts
        self._mirror = mirror
        self._rows = rows
        self._catalogues = catalogues
        self._owners = owners

    async def values(self, kind: Kind) -> EditValues:
        return EditValues(kind, await self._catalogues.get(), await self._owners.by_id())

    async def send(
        self, edit: Edit, hubspot: HubSpot, deadline: timedelta, *, seen: Seen | None = None
    ) -> None:
        """Whatever comes of it is in the edit's row then. What was `seen` just now is not read again."""
        tags = [kind_tag(edit.kind), *(record_tags(edit.kind, edit.record_id) if edit.record_id else ())]
        attempt = _Attempt(is_open=edit.sent_at is not None)
        try:
            async with self._busts.around(*tags, deadline=deadline):
                if edit.record_id is None:
                    await self._make(edit, hubspot, attempt)
                else:
                    await self._change(edit, edit.record_id, hubspot, attempt, seen)
        except OutcomeUnknown as error:
            await self._put_off(edit, error, _LOOK_AGAIN, is_sent=True)
        except (VendorDown, VendorRefused, SettingsError) as error:
            await self._put_off(edit, error, _pause(edit, error), is_sent=attempt.is_open)
        except TimeoutError as error:
            await self._put_off(edit, error, _LOOK_AGAIN, is_sent=attempt.is_open)
        except _TooEarly as error:
            await self._put_off(edit, error, _LOOK_AGAIN, is_sent=True)

    async def _change(
        self, edit: Edit, record_id: str, hubspot: HubSpot, attempt: _Attempt, seen: Seen | None
    ) -> None:
        if seen and seen.is_fresh:
            asked, record = seen.asked, seen.record
        else:
            asked = await self._mirror.number()
            found = await hubspot.get(edit.kind, record_id)
            if found is None:
                await self._end_without_record(edit, record_id, asked)
                return
            record = found
        was_sent, attempt.is_open = attempt.is_open, False
        compared = _compare(edit, record, await self.values(edit.kind), was_sent=was_sent)
        if record.id != record_id or compared.theirs:
            await self._end_in_conflict(edit, record, record_id, compared.theirs, asked)
        elif not compared.todo:
            await self._end_done(edit, record, compared.done, asked=asked)
        elif await self._rows.begin_write(edit):
            try:
                with attempt.writing():
                    answer = await hubspot.update(edit.kind, record_id, compared.todo)
            except HubSpotRefused as refusal:
                await self._end_refused(edit, record, refusal, asked)
                return
            written = {
                name: (record.values.get(name, ""), answer.values.get(name, mine))
                for name, mine in compared.todo.items()
            }
            await self._end_done(edit, record, written, asked=asked, answer=answer)

    async def _make(self, edit: Edit, hubspot: HubSpot, attempt: _Attempt) -> None:
        if edit.sent_at is not None:
            asked = await self._mirror.number()
            found = await self._find_made(edit, edit.sent_at, hubspot)
            if found and found.is_sure:
                await self._end_made(edit, found.record, asked)
                return
            if found:
                await self._end_undecided(edit, found.record.id, hubspot)
                return
            if datetime.now(UTC) < edit.sent_at + SETTLES:
                raise _TooEarly("it is not known yet whether HubSpot has created it")
            attempt.is_open = False
        # Before it is made: whoever reads it from now on has what is at least as new.
        asked = await self._mirror.number()
        if not await self._rows.begin_write(edit):
            return
        try:
            with attempt.writing():
                record = await hubspot.create(edit.kind, edit.fields, edit.ties)
        except HubSpotRefused as refusal:
            attempt.is_open = edit.sent_at is not None  # till it is known who is there already
            existing = await self._existing(edit, refusal, hubspot)
            if existing is None:
                await self._end_refused(edit, None, refusal, 0)
                return
            if not existing.is_sure:
                await self._end_undecided(edit, existing.record.id, hubspot)
                return
            record = existing.record
        await self._end_made(edit, record, asked)

    async def _find_made(self, edit: Edit, sent_at: datetime, hubspot: HubSpot) -> _Found | None:
        """Whether an earlier try has made the record, as HubSpot's search knows it."""
        values = await self.values(edit.kind)
        above, likely = "", None
        while True:
            found = await hubspot.search(
                edit.kind, since=sent_at - _SKEW, until=datetime.now(UTC) + _SKEW, above_id=above
            )
            for record in found.records:
                one = _found(edit, record, sent_at, values)
                if one is None or await self._is_anothers(edit, record.id):
                    continue
                if one.is_sure:
                    return one
                likely = likely or one
            if not found.records or found.records[-1].id == above:
                return likely
            above = found.records[-1].id

    async def _existing(self, edit: Edit, refusal: HubSpotRefused, hubspot: HubSpot) -> _Found | None:
        """A contact with that address whom HubSpot names as there already, if an earlier try made it."""
        named = _EXISTING.search(str(refusal)) if refusal.status == 409 and edit.sent_at else None
        if named is None or edit.sent_at is None:
            return None
        record = await hubspot.get(edit.kind, named.group(1))
        values = await self.values(edit.kind)
        return _found(edit, record, edit.sent_at, values) if record else None

    async def _is_anothers(self, edit: Edit, record_id: str) -> bool:
        return bool(
            await self._database.value(
                "SELECT EXISTS (SELECT FROM crm_edits WHERE kind = %s AND record_id = %s AND id <> %s "
                "AND creation_key IS NOT NULL)",
                [edit.kind, record_id, edit.id],
            )
        )

    # How they end

    async def _end_done(
        self,
        edit: Edit,
        record: Record,
        written: Mapping[str, tuple[str, str]],
        *,
        asked: int,
        answer: Written | None = None,
    ) -> None:
        """The row, the copy, the audit record and the bust in one: either all know of the change or none."""
        kind, number = edit.kind, await self._mirror.number()
        is_ours = bool(written) and answer is None  # an earlier try of this edit wrote what was just read
        async with self._database.transaction() as tx:
            taken = await self._mirror.take(
                tx,
                kind,
                [record],
                asked=asked,
                source=Source.EDIT if is_ours else Source.REFRESH,
                by=edit.by_email if is_ours else "",
            )
            if taken.late_ids:  # somebody read it in between: which of the two is newer, HubSpot knows
                await Rereads.ask(tx, kind, {record.id: AFTER_EDIT})
            if answer and (
                held := await self._mirror.wrote(
                    tx, kind, record.id, answer.values, modified_at=answer.modified_at
                )
            ):
                await self._mirror.take(tx, kind, [held], asked=number, source=Source.EDIT, by=edit.by_email)
            if await self._rows.finish(tx, edit, Status.DONE, written=written):
                await audit.record(
                    tx,
                    "crm.edited",
                    by=edit,
                    subject=subject(edit),
                    before={name: before for name, (before, _) in written.items()},
                    after={name: after for name, (_, after) in written.items()},
                    origin=edit.origin,
                )

    async def _end_made(self, edit: Edit, record: Record, asked: int) -> None:
        async with self._database.transaction() as tx:
            await self._mirror.take(
                tx, edit.kind, [record], asked=asked, source=Source.EDIT, by=edit.by_email
            )
            for other in {kind for kind, _ in edit.ties}:
                tied = [record_id for kind, record_id in edit.ties if kind is other]
                await self._mirror.tie(tx, edit.kind, other, {record.id: tied})
            written = {name: ("", value) for name, value in edit.fields.items()}
            if await self._rows.finish(tx, edit, Status.DONE, record_id=record.id, written=written):
                await audit.record(
                    tx,
                    "crm.created",
                    by=edit,
                    subject=f"{edit.kind.one}:{record.id}",
                    after={"name": name_of(edit.kind, record.values), **edit.fields},
                    origin=edit.origin,
                )

    async def _end_undecided(self, edit: Edit, record_id: str, hubspot: HubSpot) -> None:
        """Somebody has changed what we made, or made one of the same name: that is a person's to tell."""
        asked = await self._mirror.number()
        record = await hubspot.get(edit.kind, record_id)
        if record is None:
            raise _TooEarly("it is not known yet whether HubSpot has created it")
        async with self._database.transaction() as tx:
            await self._mirror.take(tx, edit.kind, [record], asked=asked, source=Source.REFRESH)
            await self._rows.finish(
                tx,
                edit,
                Status.REFUSED,
                theirs={SAME_NAME: record.id},
                problem=f"A {edit.kind.one} of this name was created at that moment: is it yours? "
                "Nothing was created a second time.",
            )

    async def _end_in_conflict(
        self, edit: Edit, record: Record, record_id: str, theirs: Mapping[str, str], asked: int
    ) -> None:
        is_merged, kind = record.id != record_id, edit.kind
        async with self._database.transaction() as tx:
            await self._mirror.take(tx, kind, [record], asked=asked, source=Source.REFRESH)
            if is_merged:
                leads = {record_id: record.id}
                await self._mirror.lead(tx, kind, leads, asked=asked, source=Source.REFRESH)
            await self._rows.finish(
                tx,
                edit,
                Status.REFUSED if is_merged else Status.CONFLICT,
                theirs={} if is_merged else theirs,
                problem=f"The {kind.one} was merged into another meanwhile: change that one."
                if is_merged
                else "",
            )

    async def _end_without_record(self, edit: Edit, record_id: str, asked: int) -> None:
        async with self._database.transaction() as tx:
            await self._mirror.archive(tx, edit.kind, [record_id], asked=asked, source=Source.REFRESH)
            await self._rows.finish(
                tx, edit, Status.REFUSED, problem=f"The {edit.kind.one} is not in HubSpot any more."
            )

    async def _end_refused(
        self, edit: Edit, record: Record | None, refusal: HubSpotRefused, asked: int
    ) -> None:
        if refusal.status in _SET_UP:  # nothing is wrong with the edit: it waits until the token is mended
            raise refusal
        async with self._database.transaction() as tx:
            if record:
                await self._mirror.take(tx, edit.kind, [record], asked=asked, source=Source.REFRESH)
            await self._rows.finish(
                tx,
                edit,
                Status.REFUSED,
                problem=_plain_words(edit, refusal),
                problem_fields=refusal.fields,
                correlation_id=refusal.correlation_id,
            )

    async def _put_off(self, edit: Edit, error: Exception, until: timedelta, *, is_sent: bool) -> None:
        problem = str(error) or "HubSpot took too long to answer"
        logger.warning("edit_put_off", edit=edit.id, is_sent=is_sent, error=problem)
        await self._rows.put_off(
            edit,
            until=until,
            problem=problem,
            correlation_id=getattr(error, "correlation_id", ""),
            is_sent=is_sent,
        )


def _found(edit: Edit, record: Record, sent_at: datetime, values: EditValues) -> _Found | None:
    """None for a record of another time or name."""
    if not sent_at - _SKEW <= record.created_at <= sent_at + HELD_FOR + _SKEW:
        return None
    is_sure = all(
        values.is_same(name, value, record.values.get(name, "")) for name, value in edit.fields.items()
    )
    return _Found(record, is_sure) if is_sure or _is_namesake(edit, record) else None


def _is_namesake(edit: Edit, record: Record) -> bool:
    mine, theirs = (
        {name: value.strip().casefold() for name, value in values.items()}
        for values in (edit.fields, record.values)
    )
    if edit.kind is Kind.CONTACTS:
        names = ("email",) if mine.get("email") else ("firstname", "lastname")
        return all(mine.get(name, "") == theirs.get(name, "") for name in names)
    names = ("dealname",) if edit.kind is Kind.DEALS else ("name", "domain")
    return any(mine.get(name) and mine[name] == theirs.get(name) for name in names)


def _compare(edit: Edit, record: Record, values: EditValues, *, was_sent: bool) -> _Compared:
    found = _Compared()
    for name, mine in edit.fields.items():
        there, before = record.values.get(name, ""), edit.before.get(name, "")
        if values.is_same(name, mine, there):
            if was_sent:
                found.done[name] = (before, there)
        elif values.is_same(name, there, before):
            found.todo[name] = mine
        else:
            found.theirs[name] = there
    return found


def _plain_words(edit: Edit, refusal: HubSpotRefused) -> str:
    if refusal.status == 409 and edit.kind is Kind.CONTACTS:
        return "HubSpot has a contact with this e-mail address already."
    if refusal.fields:
        return "HubSpot did not take it."
    return str(refusal)


def _pause(edit: Edit, error: Exception) -> timedelta:
    if isinstance(error, VendorDown) and error.reason == "DAILY":
        return _DAY_IS_SPENT
    doublings = max(0, min(edit.attempts - 1, 10))
    return min(_FIRST_PAUSE * (1 << doublings), _LONGEST_PAUSE)


def subject(edit: Edit) -> str:
    return f"{edit.kind.one}:{edit.record_id}" if edit.record_id else f"edit:{edit.id}"

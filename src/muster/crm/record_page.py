"""One record as people see it: its fields in words, what it belongs to, what became of it, and what waits."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

import msgspec

from muster.crm.catalogue import Catalogue, Catalogues
from muster.crm.edit_rows import Edit, EditRows, Status
from muster.crm.fields import FIELDS, Field, Kind, Type, field_of
from muster.crm.mirror import day_of, moment_of
from muster.crm.owners import OwnerCard, Owners
from muster.errors import NotFound
from muster.platform.database import Database

HISTORY = 20
MOST_TIES = 50


class RecordDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is copied. `merged_into` is where its id leads, if it was merged into another."""

    kind: Kind
    id: str
    name: str
    fields: dict[str, str]
    owner_id: str
    created_at: datetime
    modified_at: datetime
    seen_at: datetime
    archived_at: datetime | None
    merged_into: str | None


class Tied(msgspec.Struct, frozen=True, kw_only=True):
    """A record that another belongs to; `note` tells it from others of its name."""

    kind: Kind
    id: str
    name: str
    note: str
    amount: Decimal | None
    currency: str
    is_closed: bool


class Ties(msgspec.Struct, frozen=True, kw_only=True):
    """Of one kind, the first of `total`."""

    kind: Kind
    records: list[Tied]
    total: int


class Past(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    at: datetime
    what: str
    source: str
    by_email: str
    fields: dict[str, tuple[str, str]]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    before: str
    after: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A change as a timeline shows it."""

    id: int
    at: datetime
    label: str
    learned: str
    by_email: str
    lines: list[Line]


class ShownField(msgspec.Struct, frozen=True, kw_only=True):
    """A field with its value in words, and as it is typed; `before` is what that was decided against.

    `awaited` is what it will be in words, if an edit of it waits; `problem` what is wrong with what was
    typed.
    """

    name: str
    label: str
    type: Type
    words: str
    href: str = ""
    moment: datetime | None = None
    is_edited: bool = False
    typed: str = ""
    before: str = ""
    awaited: str | None = None
    problem: str = ""


class Group(msgspec.Struct, frozen=True):
    """Choices under a heading; "" for none."""

    label: str
    choices: list[tuple[str, str]]


class Books:
    """What words are made with: who may own, and the account's choices."""

    def __init__(self, catalogue: Catalogue, owners: Mapping[str, OwnerCard]) -> None:
        self.catalogue = catalogue
        self.owners = owners

    def words(self, kind: Kind, name: str, value: str, currency: str = "") -> str:
        """A value as people read it, whatever HubSpot holds there."""
        field = field_of(kind, name)
        if field is None or not value:
            return value
        if field.type is Type.OWNER:
            owner = self.owners.get(value)
            return owner.name if owner else f"Owner {value}"
        if field.type is Type.MONEY:
            return f"{_number(value)} {currency}".rstrip()
        if reading := _WORDS.get(field.type):
            return reading(value)
        return self.catalogue.label_of(kind, name, value)

    def options(self, kind: Kind, field: Field, value: str) -> list[Group]:
        """What a field may be set to, what it is now always among it; [] where anything may be typed."""
        if field.type is Type.OWNER:
            groups = [Group("", [(one.id, one.name) for one in self.owners.values() if one.may_own])]
        elif field.type is Type.STAGE:
            catalogue = self.catalogue
            groups = [
                Group(label, [(stage.id, stage.label) for stage in catalogue.stages_of(pipeline_id)])
                for pipeline_id, label in catalogue.pipelines.items()
            ]
        elif field.type is Type.CHOICE:
            known = self.catalogue.choices.get(kind, {}).get(field.name, [])
            groups = [Group("", [(choice.value, choice.label) for choice in known])] if known else []
        else:
            return []
        is_known = any(value == one for group in groups for one, _ in group.choices)
        if value and not is_known:
            groups.append(Group("As it is now", [(value, self.words(kind, field.name, value))]))
        return groups

    def shown(
        self,
        record: RecordDetail,
        *,
        edits: Sequence[Edit] = (),
        typed: Mapping[str, str] | None = None,
        before: Mapping[str, str] | None = None,
        problems: Mapping[str, str] | None = None,
    ) -> list[ShownField]:
        """All fields in order, with what waits, and with what was typed in the place of what is.

        `before` is what whoever typed it had seen: what was changed since is not theirs to overwrite.
        """
        currency = record.fields.get("deal_currency_code", "")
        awaited = {
            name: self.words(record.kind, name, value, currency)
            for edit in edits
            if edit.status.is_open
            for name, value in edit.fields.items()
        }
        return [
            self._field(record, field, currency, awaited, typed or {}, before or {}, problems or {})
            for field in FIELDS[record.kind]
        ]

    def form(
        self, kind: Kind, typed: Mapping[str, str], problems: Mapping[str, str] | None = None
    ) -> list[ShownField]:
        """The fields of a record that is not there yet."""
        return [
            ShownField(
                name=field.name,
                label=field.label,
                type=field.type,
                words="",
                is_edited=True,
                typed=as_input(field, typed.get(field.name, "")),
                problem=self.told(kind, (problems or {}).get(field.name, "")),
            )
            for field in FIELDS[kind]
            if is_in_forms(field)
        ]

    def told(self, kind: Kind, words: str) -> str:
        """What is wrong, with properties called as people know them."""
        for field in FIELDS[kind]:
            words = words.replace(field.name, f"the {field.label.lower()}") if field.name in words else words
        return words

    def entry(self, kind: Kind, change: Past) -> Entry:
        is_update = change.what in {"changed", "restored", "archived"}
        return Entry(
            id=change.id,
            at=change.at,
            label=_HAPPENED.get(change.what, change.what),
            learned=_SOURCES.get(change.source, change.source),
            by_email=change.by_email,
            lines=[
                Line(
                    label=field.label,
                    before=self.words(kind, name, before) or "nothing",
                    after=self.words(kind, name, after) or "nothing",
                )
                for name, (before, after) in change.fields.items()
                if is_update and (field := field_of(kind, name))
            ],
        )

    def _field(
        self,
        record: RecordDetail,
        field: Field,
        currency: str,
        awaited: Mapping[str, str],
        typed: Mapping[str, str],
        before: Mapping[str, str],
        problems: Mapping[str, str],
    ) -> ShownField:
        value = record.fields.get(field.name, "")
        return ShownField(
            name=field.name,
            label=field.label,
            type=field.type,
            words=self.words(record.kind, field.name, value, currency),
            href=self._href(field, value),
            moment=moment_of(value) if field.type is Type.MOMENT else None,
            is_edited=is_in_forms(field),
            typed=as_input(field, typed.get(field.name, value)),
            before=before.get(field.name, value),
            awaited=awaited.get(field.name),
            problem=self.told(record.kind, problems.get(field.name, "")),
        )

    def _href(self, field: Field, value: str) -> str:
        if not value:
            return ""
        if field.type is Type.OWNER:
            owner = self.owners.get(value)
            return f"/people/{owner.person_id}" if owner and owner.person_id else ""
        if field.type is Type.EMAIL:
            return f"mailto:{value}"
        if field.type is Type.PHONE:
            return f"tel:{value.replace(' ', '')}"
        return _web_address(value) if field.type is Type.ADDRESS else ""


class Records:
    def __init__(self, database: Database, rows: EditRows, catalogues: Catalogues, owners: Owners) -> None:
        self._database = database
        self._rows = rows
        self._catalogues = catalogues
        self._owners = owners

    async def get(self, kind: Kind, record_id: str) -> RecordDetail:
        found = await self._database.row(
            RecordDetail,
            "SELECT kind, id, name, fields, owner_id, created_at, modified_at, seen_at, archived_at, "
            "merged_into FROM crm_records WHERE kind = %s AND id = %s",
            [kind, record_id],
        )
        if found is None:
            raise NotFound(f"There is no {kind.one} {record_id} here.")
        return found

    async def books(self) -> Books:
        return Books(await self._catalogues.get(), await self._owners.by_id())

    async def ties(self, record: RecordDetail) -> list[Ties]:
        """Of each other kind, those that are still there; open deals and names first."""
        books = await self.books()
        found = []
        for other in Kind:
            if other is not record.kind:
                rows = await self._database.rows(
                    _TiedRow,
                    _TIES_FORWARD if list(Kind).index(record.kind) < list(Kind).index(other) else _TIES_BACK,
                    {"kind": record.kind, "id": record.id, "other": other, "limit": MOST_TIES},
                )
                total = rows[0].total if rows else 0
                found.append(
                    Ties(kind=other, records=[_tied(other, row, books) for row in rows], total=total)
                )
        return found

    async def history(self, record: RecordDetail, *, before: int | None = None) -> tuple[list[Past], bool]:
        """The newest first, and whether there are older ones."""
        rows = await self._database.rows(
            Past,
            "SELECT id, at, what, source, by_email, fields FROM crm_changes "
            "WHERE kind = %s AND record_id = %s AND id < %s ORDER BY id DESC LIMIT %s",
            [record.kind, record.id, before or 2**62, HISTORY + 1],
        )
        return rows[:HISTORY], len(rows) > HISTORY

    async def edits(self, record: RecordDetail) -> list[Edit]:
        return await self._rows.open_of(record.kind, [record.id])


class _TiedRow(msgspec.Struct, frozen=True):
    id: str
    name: str
    fields: dict[str, str]
    amount: Decimal | None
    currency: str
    is_closed: bool
    total: int


def _tied(kind: Kind, row: _TiedRow, books: Books) -> Tied:
    note = {Kind.DEALS: "dealstage", Kind.CONTACTS: "jobtitle", Kind.COMPANIES: "domain"}[kind]
    return Tied(
        kind=kind,
        id=row.id,
        name=row.name,
        note=books.words(kind, note, row.fields.get(note, "")),
        amount=row.amount,
        currency=row.currency,
        is_closed=row.is_closed,
    )


def is_in_forms(field: Field) -> bool:
    """A pipeline is chosen with its stage."""
    return field.is_edited and field.type is not Type.PIPELINE


def as_input(field: Field, value: str) -> str:
    """A value as it stands in a form."""
    if field.type is Type.DATE and (day := day_of(value)):
        return day
    return value


def _day(value: str) -> str:
    day = day_of(value)
    return f"{datetime.fromisoformat(day):%d %b %Y}".lstrip("0") if day else value


def _moment(value: str) -> str:
    moment = moment_of(value)
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if moment else value


def _truth(value: str) -> str:
    return {"true": "Yes", "false": "No"}.get(value, value)


def refused(edits: Sequence[Edit]) -> Edit | None:
    """The latest that HubSpot refused, whose values stand in the form again."""
    return next((edit for edit in reversed(edits) if edit.status is Status.REFUSED), None)


def _number(value: str) -> str:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return value
    if not number.is_finite() or abs(number) >= Decimal(10) ** 18:
        return value
    return f"{number:,.2f}" if number != number.to_integral_value() else f"{number:,.0f}"


def _web_address(value: str) -> str:
    """A link only to the web: `javascript:` and its like are text."""
    address = value if "://" in value else f"https://{value}"
    try:
        parts = urlsplit(address)
    except ValueError:
        return ""
    return address if parts.scheme in {"http", "https"} and parts.hostname else ""


_WORDS: dict[Type, Callable[[str], str]] = {
    Type.NUMBER: _number,
    Type.DATE: _day,
    Type.MOMENT: _moment,
    Type.TRUTH: _truth,
}

_HAPPENED = {
    "created": "Created",
    "changed": "Changed",
    "archived": "Gone from HubSpot",
    "restored": "Back in HubSpot",
    "merged": "Merged into another",
}
_SOURCES = {
    "sync": "found by a sync",
    "webhook": "told by HubSpot",
    "edit": "edited here",
    "refresh": "found by looking again",
}

_TIES_FORWARD = """
SELECT id, name, fields, amount, currency, is_closed, count(*) OVER () AS total
FROM crm_associations
JOIN crm_records ON crm_records.kind = to_kind AND crm_records.id = to_id AND archived_at IS NULL
WHERE from_kind = %(kind)s AND from_id = %(id)s AND to_kind = %(other)s
ORDER BY is_closed, sort_name, id LIMIT %(limit)s
"""

_TIES_BACK = """
SELECT id, name, fields, amount, currency, is_closed, count(*) OVER () AS total
FROM crm_associations
JOIN crm_records ON crm_records.kind = from_kind AND crm_records.id = from_id AND archived_at IS NULL
WHERE to_kind = %(kind)s AND to_id = %(id)s AND from_kind = %(other)s
ORDER BY is_closed, sort_name, id LIMIT %(limit)s
"""


def plain(record: RecordDetail) -> dict[str, Any]:
    """What programs are told of a record."""
    return {name: getattr(record, name) for name in RecordDetail.__struct_fields__}

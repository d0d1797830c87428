"""HubSpot's answers as they travel, and what is made of them: only ids and times are relied on."""

import math
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any

import msgspec

from muster.crm.fields import FIELDS, HIDDEN, Kind
from muster.crm.record import Choice, Owner, Property, Record, Stage

Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class _Next(msgspec.Struct):
    after: str | int = ""


class Paging(msgspec.Struct):
    next: _Next | None = None

    @property
    def after(self) -> str:
        return str(self.next.after) if self.next else ""


class WireRecord(msgspec.Struct, rename="camel"):
    id: str | int
    created_at: Moment
    updated_at: Moment
    properties: dict[str, Any] = {}
    archived: bool | None = None
    archived_at: Moment | None = None

    def record(self, kind: Kind) -> Record:
        merged = _value(self.properties.get(HIDDEN[0])).replace(",", ";").split(";")
        return Record(
            kind=kind,
            id=str(self.id),
            values={
                field.name: value
                for field in FIELDS[kind]
                if (value := _value(self.properties.get(field.name)))
            },
            created_at=self.created_at,
            modified_at=self.updated_at,
            archived_at=(self.archived_at or self.updated_at) if self.archived else None,
            merged_ids=tuple(one.strip() for one in merged if one.strip()),
        )

    def written(self, kind: Kind) -> dict[str, str]:
        """What the answer tells of; "" for what is empty now."""
        known = {field.name for field in FIELDS[kind]}
        return {name: _value(value) for name, value in self.properties.items() if name in known}


class Records(msgspec.Struct):
    results: list[WireRecord]
    paging: Paging | None = None

    @property
    def after(self) -> str:
        return self.paging.after if self.paging else ""


class FoundRecords(msgspec.Struct):
    results: list[WireRecord]
    total: int


class BatchError(msgspec.Struct, rename="camel"):
    category: str | None = None
    message: str | None = None
    context: Any = None

    @property
    def ids(self) -> Iterator[str]:
        """Whom it is about: of records, or of those whose associations were asked for."""
        for name in ("ids", "id", "fromObjectId"):
            said = self.context.get(name) if isinstance(self.context, dict) else None
            yield from (_value(one) for one in (said if isinstance(said, list) else [said]))


class _Batch(msgspec.Struct, rename="camel", kw_only=True):
    status: str | None = None
    errors: list[BatchError] | None = None

    @property
    def failure(self) -> str:
        """Why not all was answered, where the reason is another than that there is nothing to tell."""
        if self.status not in {None, "COMPLETE"}:
            return f"the batch is {self.status}"
        for error in self.errors or ():
            if error.category != "OBJECT_NOT_FOUND":
                return error.message or error.category or "an error without words"
        return ""

    @property
    def without(self) -> set[str]:
        """Those of whom HubSpot says that there is nothing to tell."""
        return {one for error in self.errors or () for one in error.ids if one}


class RecordBatch(_Batch):
    results: list[WireRecord]


class _Id(msgspec.Struct):
    id: str | int


class _Far(msgspec.Struct, rename="camel"):
    to_object_id: str | int


class Associated(msgspec.Struct, rename={"source": "from"}):
    source: _Id
    to: list[_Far] = []
    paging: Paging | None = None

    @property
    def ids(self) -> Iterator[str]:
        return (str(far.to_object_id) for far in self.to)

    @property
    def after(self) -> str:
        return self.paging.after if self.paging else ""


class AssociationBatch(_Batch):
    results: list[Associated]


class _Team(msgspec.Struct):
    name: str = ""
    primary: bool = False


class WireOwner(msgspec.Struct, rename="camel"):
    id: str | int
    email: str | None = None
    type: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    user_id: int | str | None = None
    user_id_including_inactive: int | str | None = None
    teams: list[_Team] | None = None

    def owner(self, *, is_archived: bool) -> Owner:
        email = (self.email or "").strip().casefold()
        name = f"{self.first_name or ''} {self.last_name or ''}".strip()
        teams = sorted(self.teams or [], key=lambda team: not team.primary)
        user_id = self.user_id if self.user_id is not None else self.user_id_including_inactive
        return Owner(
            id=str(self.id),
            user_id="" if user_id is None else str(user_id),
            email=email,
            name=name or email or f"(owner {self.id})",
            team=teams[0].name if teams else "",
            is_queue=self.type == "QUEUE",
            is_archived=is_archived,
        )


class Owners(msgspec.Struct):
    results: list[WireOwner]
    paging: Paging | None = None

    @property
    def after(self) -> str:
        return self.paging.after if self.paging else ""


class _Stage(msgspec.Struct, rename="camel"):
    id: str
    label: str = ""
    display_order: float = 0
    metadata: dict[str, Any] | None = None
    archived: bool | None = None


class _Pipeline(msgspec.Struct, rename="camel"):
    id: str
    label: str = ""
    display_order: float = 0
    stages: list[_Stage] = []
    archived: bool | None = None


class Pipelines(msgspec.Struct):
    results: list[_Pipeline]

    def stages(self) -> list[Stage]:
        return list(self._stages())

    def _stages(self) -> Iterator[Stage]:
        place = 0
        for pipeline in _in_order(self.results):
            for stage in _in_order(pipeline.stages):
                place += 1
                probability = _probability(stage)
                is_closed = _value((stage.metadata or {}).get("isClosed")).casefold() == "true"
                yield Stage(
                    pipeline_id=pipeline.id,
                    pipeline=pipeline.label or pipeline.id,
                    id=stage.id,
                    label=stage.label or stage.id,
                    place=place,
                    probability=probability,
                    is_closed=is_closed,
                    is_won=is_closed and probability == 1,
                )


class _Option(msgspec.Struct, rename="camel"):
    value: str
    label: str | None = None
    display_order: int | None = None


class _Modification(msgspec.Struct, rename="camel"):
    read_only_value: bool | None = None


class WireProperty(msgspec.Struct, rename="camel"):
    name: str
    label: str | None = None
    type: str | None = None
    options: list[_Option] | None = None
    calculated: bool | None = None
    modification_metadata: _Modification | None = None

    def property(self) -> Property:
        read_only = self.modification_metadata and self.modification_metadata.read_only_value
        return Property(
            name=self.name,
            label=self.label or self.name,
            type=self.type or "string",
            choices=tuple(
                Choice(option.value, option.label or option.value)
                for option in sorted(self.options or [], key=_place_of)
            ),
            is_read_only=bool(read_only or self.calculated),
        )


class Properties(msgspec.Struct):
    results: list[WireProperty]


class WireAccount(msgspec.Struct, rename="camel"):
    portal_id: int | str
    time_zone: str | None = None
    company_currency: str | None = None


def _in_order(ordered: "Iterable[_Stage] | Iterable[_Pipeline]") -> list[Any]:
    return sorted((one for one in ordered if not one.archived), key=lambda one: one.display_order)


def _place_of(option: _Option) -> float:
    """An option without a place, or with -1, comes last."""
    place = option.display_order
    return math.inf if place is None or place < 0 else place


def _probability(stage: _Stage) -> float:
    try:
        told = float(_value((stage.metadata or {}).get("probability")))
    except ValueError:
        return 0.0
    return min(max(told, 0.0), 1.0) if math.isfinite(told) else 0.0


def _value(value: object) -> str:
    """As HubSpot keeps values, which is as text, whatever it sends."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case _:
            return ""

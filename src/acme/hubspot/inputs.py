"""What callers send: bodies as the published specification has them, parameters as HubSpot takes them."""

from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from acme.hubspot.errors import invalid, unparsable
from acme.hubspot.kinds import Kind, kind_named
from acme.hubspot.rendering import Wanted, kinds_of

T = TypeVar("T")
MOST_IN_A_BATCH = 100
Values = dict[str, Any]
"""Texts by right; numbers and truths are taken, too, and null is refused where it is kept."""


class ObjectId(msgspec.Struct, frozen=True):
    id: str | int

    @property
    def text(self) -> str:
        return str(self.id)


class Spec(msgspec.Struct, frozen=True, rename="camel"):
    association_type_id: int
    association_category: str = "HUBSPOT_DEFINED"


class WithAssociation(msgspec.Struct, frozen=True):
    to: ObjectId
    types: tuple[Spec, ...] = ()


class Creation(msgspec.Struct, frozen=True, rename="camel"):
    properties: Values = {}
    associations: tuple[WithAssociation, ...] = ()
    object_write_trace_id: str | None = None


class Update(msgspec.Struct, frozen=True):
    properties: Values


class BatchUpdate(msgspec.Struct, frozen=True, rename="camel"):
    id: str | int
    properties: Values
    id_property: str | None = None
    object_write_trace_id: str | None = None


class BatchRead(msgspec.Struct, frozen=True, rename="camel"):
    inputs: tuple[ObjectId, ...]
    properties: tuple[str, ...] = ()
    properties_with_history: tuple[str, ...] = ()
    id_property: str | None = None


class Batch(msgspec.Struct, frozen=True):
    inputs: list[Any]


class Merge(msgspec.Struct, frozen=True, rename="camel"):
    primary_object_id: str | int
    object_id_to_merge: str | int


class GdprDelete(msgspec.Struct, frozen=True, rename="camel"):
    object_id: str | int
    id_property: str | None = None


async def read(request: Request, kind: type[T]) -> T:
    """Raises HubSpotError 400."""
    return decoded(await request.body(), kind)


def decoded(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise unparsable(str(error)) from None


async def read_batch(request: Request, kind: type[T], most: int = MOST_IN_A_BATCH) -> list[T]:
    """One at least. Raises HubSpotError 400."""
    inputs = (await read(request, Batch)).inputs
    check_batch(len(inputs), most)
    try:
        return msgspec.convert(inputs, list[kind])  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        raise unparsable(str(error)) from None


def check_batch(count: int, most: int = MOST_IN_A_BATCH) -> None:
    if not count:
        raise invalid("The batch has no inputs")
    if count > most:
        raise invalid(f"The maximum number of inputs supported in a batch request is {most}")


def kind_of(request: Request, name: str = "kind") -> Kind:
    return kind_named(request.path_params[name])


def is_archived(request: Request) -> bool:
    return request.query_params.get("archived", "false").lower() == "true"


def wanted_of(request: Request) -> Wanted:
    return Wanted(
        _words(request, "properties"),
        _words(request, "propertiesWithHistory"),
        kinds_of(_words(request, "associations")),
    )


def _words(request: Request, name: str) -> tuple[str, ...]:
    """Separated by commas, or the parameter many times."""
    given = ",".join(request.query_params.getlist(name))
    return tuple(word for part in given.split(",") if (word := part.strip()))


def limit_of(request: Request, default: int, most: int) -> int:
    text = request.query_params.get("limit", str(default))
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise invalid(f"Invalid limit {text}: it must be a number from 1 to {most}")
    return int(text)


def cursor_of(request: Request) -> int:
    text = request.query_params.get("after", "") or "0"
    if not text.isdecimal() or len(text) > 18:
        raise invalid(f"{text} is not a valid cursor")
    return int(text)

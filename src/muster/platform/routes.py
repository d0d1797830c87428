"""Routes are data: from one table come the router, the gate, the navigation and every route's tests."""

import functools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeVar, get_origin

import msgspec
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response

from muster.errors import Invalid
from muster.platform.actor import Actor, Origin
from muster.platform.rate_limit import READING, WRITING, Limit

API = "/api/v1"

Shape = TypeVar("Shape", bound=msgspec.Struct)
Decoded = TypeVar("Decoded")


class Anyone(StrEnum):
    """Stands where a permission would: the route needs no session and anyone may call it."""

    MAY = "anyone"


@dataclass(frozen=True, kw_only=True, slots=True)
class Nav:
    """A place in the navigation; `order` runs from left to right.

    One `under` another place stands in that place's second row, and in the first as well if `is_top`.
    In its own second row a place is called `label_within`, if that differs.
    """

    label: str
    icon: str
    order: int
    under: str = ""
    is_top: bool = True
    label_within: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """RFC 9457: how an error is told to a program. `code` stays the same from release to release."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    request_id: str


class Request(StarletteRequest):
    """A request as handlers meet it; one whose route declares Anyone.MAY has no person to ask for."""

    @property
    def actor(self) -> Actor:
        """Raises LookupError on a route that reads no session: a bug, shown by the first request."""
        found: Actor | None = self.scope["state"].get("actor")
        if found is None:
            raise LookupError(f"{self.url.path} asks for a person, but its route declares Anyone.MAY")
        return found

    @property
    def is_known(self) -> bool:
        """Whether somebody is signed in, on a route that greets."""
        return "actor" in self.scope["state"]

    @property
    def session_id(self) -> str:
        return str(self.scope["state"]["session_id"])

    @property
    def sign_in(self) -> str:
        """What a sign-in is known by, whichever id its session has; forms are made for it."""
        return str(self.scope["state"]["sign_in"])

    @property
    def origin(self) -> Origin:
        state = self.scope["state"]
        return Origin(request_id=state["request_id"], address=state["address"], via=state.get("via", ""))


Handler = Callable[..., Awaitable[Response | msgspec.Struct]]
"""Takes the request, then what the route `reads` if it reads anything; a struct is answered as JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """One address and who may use it. `reads` is the query of a GET, the form or JSON of anything else."""

    path: str
    handler: Handler
    may: StrEnum
    method: Literal["GET", "POST", "PATCH", "DELETE"] = "GET"
    reads: type[msgspec.Struct] | None = None
    returns: type | None = None
    nav: Nav | None = None
    shows: Sequence[StrEnum] = ()
    """Permissions with which the answer holds more."""
    limit: Limit | None = None
    max_body_bytes: int = 64 * 1024
    bare: bool = False
    """Neither session nor limit nor Redis: for health checks, which must answer when Redis does not."""

    greets: bool = False
    """Of a bare route: whoever is signed in is known, and while that cannot be found out, nobody is."""

    @property
    def rate(self) -> Limit:
        return self.limit or (READING if self.method == "GET" else WRITING)

    @property
    def takes_tokens(self) -> bool:
        """Whether a program may come with a token of its owner's, in place of a session."""
        return self.path.startswith(f"{API}/")


def unique(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The routes, refused with LookupError when two claim one method and path."""
    table = tuple(routes)
    seen: set[tuple[str, str]] = set()
    for route in table:
        key = (route.method, route.path)
        if key in seen:
            raise LookupError(f"two routes claim {route.method} {route.path}")
        seen.add(key)
    return table


def from_json(body: bytes, shape: type[Decoded]) -> Decoded:
    """Raises Invalid for what is no JSON, not of the shape, not UTF-8, or nested without end."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Invalid(f"The body is not as expected: {error}") from error


def as_text(read: Shape) -> Shape:
    """What was read, unless a field holds what is no text: NUL, or half of a character. Raises Invalid."""
    for value in _texts(msgspec.structs.astuple(read)):
        if "\0" in value or not _is_whole(value):
            raise Invalid("A field holds a character that no text has (NUL, or half of one).")
    return read


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, tuple):
            yield from _texts(value)
        elif isinstance(value, str):
            yield value


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@functools.cache
def plural(shape: type[msgspec.Struct]) -> frozenset[str]:
    """The fields of `shape` that may be said several times."""
    return frozenset(
        field.encode_name for field in msgspec.structs.fields(shape) if get_origin(field.type) is tuple
    )


def decoded(fields: dict[str, Any], shape: type[Shape]) -> Shape:
    """Text fields as the struct a route reads. Raises Invalid, naming the field and what it expects."""
    given = {name: value for name, value in fields.items() if value not in ("", ())}
    try:
        return as_text(msgspec.convert(given, shape, strict=False))
    except msgspec.ValidationError as error:
        raise Invalid(f"{error}") from error

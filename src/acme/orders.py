"""How orders to the sandbox are taken: JSON over HTTP, from programs only, with clear refusals."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.tenant import AddressTaken, NobodyThere

T = TypeVar("T")


class Refused(Exception):
    """A script that makes no sense."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def order(path: str, handler: Callable[[Request], Awaitable[Response]]) -> Route:
    """For programs: a page in the developer's browser could otherwise send orders to loopback as well."""

    async def from_a_program(request: Request) -> Response:
        if "origin" in request.headers:
            raise Refused(403, "orders are not taken from web pages")
        return await handler(request)

    return Route(path, from_a_program, methods=["POST"])


async def read(request: Request, kind: type[T]) -> T:
    """An empty body stands for an empty object."""
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except msgspec.DecodeError as error:
        raise Refused(422, str(error)) from None


def json(content: Mapping[str, object], status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def refuse(_: Request, error: Exception) -> Response:
    """Starlette's handler for what can go wrong in a script."""
    status = {NobodyThere: 404, AddressTaken: 409}.get(type(error), getattr(error, "status", 422))
    return json({"error": f"{type(error).__name__}: {error}"}, status)

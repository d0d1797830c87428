"""The OpenAPI document of `/api/v1`, made from the table of routes: what is not in the table is not in it."""

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from muster import __version__
from muster.platform.routes import API, Anyone, Problem, Request, Route

_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")
_REFUSALS = (
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_REFERENCE = "#/components/schemas/{name}"


class OpenApi:
    def __init__(self) -> None:
        self._routes: Sequence[Route] = ()
        self._session_cookie = ""

    def describe(self, routes: Sequence[Route], *, session_cookie: str) -> None:
        """Take the table of all routes, which is whole only once every slice is."""
        self._routes, self._session_cookie = routes, session_cookie

    @cached_property
    def _document(self) -> bytes:
        """Made when first asked for, since commands and workers never do."""
        return msgspec.json.encode(document(self._routes, session_cookie=self._session_cookie))

    def routes(self) -> list[Route]:
        return [Route(path="/openapi.json", handler=self.show, may=Anyone.MAY)]

    async def show(self, request: Request) -> Response:
        return Response(self._document, media_type="application/json")


def document(routes: Iterable[Route], *, session_cookie: str) -> dict[str, Any]:
    """OpenAPI 3.1 of those routes that stand under `/api/v1`."""
    api = [route for route in routes if route.path.startswith(f"{API}/")]
    shapes = {shape for route in api for shape in (route.reads, route.returns) if shape}
    _, components = msgspec.json.schema_components([*shapes, Problem], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for route in api:
        paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {})[route.method.lower()] = _operation(
            route, components
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Muster", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": session_cookie},
            },
        },
        "security": [{"token": []}, {"session": []}],
    }


def _operation(route: Route, components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handler.__name__,
        "summary": (route.handler.__doc__ or f"May: {route.may}").strip().splitlines()[0],
        "parameters": _path_parameters(route),
        "responses": {"200": _content("As asked.", route.returns, "application/json")}
        | {
            str(status.value): _content(status.phrase, Problem, "application/problem+json")
            for status in _REFUSALS
        },
    }
    if route.reads and route.method == "GET":
        operation["parameters"] += _query_parameters(components[route.reads.__name__])
    elif route.reads:
        operation["requestBody"] = {"required": True, **_content("", route.reads, "application/json")}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 0} if kind == "int" else {"type": "string"},
        }
        for name, kind in _PARAMETER.findall(route.path)
    ]


def _query_parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    required = set(schema.get("required", ()))
    return [
        {"name": name, "in": "query", "required": name in required, "schema": of_field}
        for name, of_field in schema["properties"].items()
    ]


def _content(description: str, shape: type | None, media_type: str) -> dict[str, Any]:
    described = {"description": description} if description else {}
    if shape is None:
        return described
    reference = _REFERENCE.format(name=shape.__name__)
    return {**described, "content": {media_type: {"schema": {"$ref": reference}}}}

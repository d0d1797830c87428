"""The table of routes as those see it who may not use it, and what every answer to them must be like."""

import re
from typing import Any

import httpx2
from tests.town import SESSION_COOKIE, Town, Visitor

from muster.platform.routes import Anyone, Route

ADMIN, MEMBER = "ada@acme.test", "cy@acme.test"

_PARAMETER = re.compile(r"\{\w+(:\w+)?\}")
_SESSION = re.compile(rf"{SESSION_COOKIE}=[^;]{{20}}")


def address(route: Route) -> str:
    return _PARAMETER.sub(lambda found: "7654321" if found.group(1) == ":int" else "1" + "0" * 20, route.path)


def closed(town: Town) -> list[Route]:
    return [route for route in town.portal.routes if route.may is not Anyone.MAY]


def unsafe(town: Town) -> list[Route]:
    """Those that change something in the name of whoever is signed in; signing out comes last."""
    found = [route for route in closed(town) if route.method != "GET"]
    return sorted(found, key=lambda route: route.path == "/sign-out")


def is_fit_to_be_seen(response: httpx2.Response) -> bool:
    """Whatever the answer is: no fault of ours, no session given away, nothing the browser is not told."""
    headers = response.headers
    return (
        response.status_code < 500
        and not _SESSION.search(headers.get("set-cookie", ""))
        and "Traceback" not in response.text
        and headers["x-content-type-options"] == "nosniff"
        and "frame-ancestors 'none'" in headers["content-security-policy"]
        and headers["cross-origin-opener-policy"] == "same-origin"
        and bool(headers["x-request-id"])
    )


async def ask(visitor: Visitor, route: Route, **how: Any) -> httpx2.Response:
    response = await visitor.request(route.method, address(route), **how)
    assert is_fit_to_be_seen(response), (route.method, route.path, response.status_code, response.headers)
    return response


async def forget_limits(town: Town) -> None:
    """So that what refuses a request is what is being tried, and not that there were many."""
    for key in await town.keys():
        if key.startswith("cache:rate:"):
            await town.portal.redis.delete(key)

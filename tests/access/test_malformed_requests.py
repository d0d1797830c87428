"""Requests that no browser sends, on every route: none is a fault of ours, none gets further than it may."""

import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from tests.access.routes import ADMIN, MEMBER, address, ask, closed, forget_limits, is_fit_to_be_seen, unsafe
from tests.town import Town

from muster.platform.routes import Anyone, Route
from muster.web import LEADS_NOWHERE

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "SEARCH")
NESTED = base64.urlsafe_b64encode(b'["name","x","1",' + b"[" * 5_000).decode()


VALUES = (
    *(
        "\0",
        "\u202e",
        "\U0001f98a" * 300,
        "-1",
        "1e400",
        "NaN",
        "\u0663",
        "true",
        "[]",
        ",,,",
        "ada@acme.test",
    ),
    *("9" * 20, "9" * 5_000, "1,2," + "9" * 30, "0000-00-00", "0001-01-01", "9999-12-31", "\r\nx: y"),
)


def _methods_by_path(town: Town) -> dict[str, set[str]]:
    methods: dict[str, set[str]] = {}
    for route in town.portal.routes:
        methods.setdefault(address(route), set()).add(route.method)
    return methods


async def test_no_field_can_be_given_a_value_that_is_a_fault_of_ours(town: Town):
    async with town.signed_in(ADMIN) as ada:
        for route in [one for one in town.portal.routes if one.reads]:
            await forget_limits(town)
            headers = {"x-csrf-token": await ada.csrf()}
            for field in route.reads.__struct_encode_fields__ if route.reads else ():
                for value in VALUES:
                    told = {"params" if route.method == "GET" else "data": {field: value}}
                    await ask(ada, route, headers=headers, **told)


@pytest.mark.parametrize("name", ["after", "before", "limit", "sort", "q", "next", "state"])
async def test_what_a_query_says_twice_is_refused_by_whoever_reads_it(town: Town, name: str):
    async with town.signed_in(ADMIN) as ada:
        for route in [one for one in town.portal.routes if one.method == "GET" and one.reads]:
            assert route.reads
            response = await ask(ada, route, params=[(name, "1"), (name, "2")])
            if name in route.reads.__struct_encode_fields__:
                assert response.status_code == 422, route.path


async def test_a_cursor_nested_without_end_is_no_fault_of_ours(town: Town):
    async with town.signed_in(ADMIN) as ada:
        for route in [one for one in town.portal.routes if one.method == "GET" and not one.bare]:
            for name in ("after", "before"):
                await ask(ada, route, params={name: NESTED})


BODIES = {
    "nothing": b"",
    "half of some JSON": b'{"a": [1, {"b": "',
    "no text": b"\xff\xfe\x00\xd8",
    "a part without end": b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n1',
    "escapes of nothing": b"csrf=%zz&" * 20,
    "very deep JSON": b'{"a":' * 5_000,
    "many fields": b"&".join(b"f%d=1" % number for number in range(4_000)),
    "NUL in a field": b"role=%00&email=%00&session=%00&name=%00",
}
KINDS = [
    "application/json",
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "text/plain",
    "application/xml",
    "image/png",
    "nonsense",
    "",
]


@pytest.mark.parametrize("kind", KINDS)
async def test_malformed_bodies_are_answered_without_a_fault_of_ours(town: Town, kind: str):
    """With the right token where the route reads a body, so that they get as far as a browser could bring
    them; without it elsewhere, where the body is read in search of the token.
    """
    async with town.signed_in(ADMIN) as ada:
        headers = {"content-type": kind, "origin": town.base_url}
        token = {"x-csrf-token": await ada.csrf()}
        for route in unsafe(town):
            await forget_limits(town)
            for body in BODIES.values():
                sent = headers | token if route.reads else headers
                response = await ask(ada, route, content=body, headers=sent)
                if not route.reads:
                    assert response.status_code in {400, 403}, (route.method, route.path, body)
                elif kind == "application/json":
                    assert response.status_code in {404, 422}, (route.method, route.path, body)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_anybody_may_send_is_answered_without_a_fault_of_ours(town: Town, kind: str):
    open_to_all = [route for route in town.portal.routes if route.may is Anyone.MAY and route.method != "GET"]
    assert open_to_all
    async with town.visitor() as stranger:
        for route in open_to_all:
            for body in BODIES.values():
                await ask(stranger, route, content=body, headers={"content-type": kind})


def _too_much(route: Route) -> Iterator[dict[str, Any]]:
    """By a length that is told, and in pieces without one."""
    form = {"content-type": "application/x-www-form-urlencoded"}
    size = route.max_body_bytes + 1

    async def pieces() -> AsyncIterator[bytes]:
        yield b"a="
        for _ in range(0, size, 1024):
            yield b"b" * 1024

    yield {"content": b"a=" + b"b" * size, "headers": form}
    yield {"content": pieces(), "headers": form}


async def test_a_body_beyond_the_limit_is_refused(town: Town):
    async with town.signed_in(ADMIN) as ada:
        for route in unsafe(town):
            await forget_limits(town)
            for how in _too_much(route):
                response = await ask(ada, route, **how)
                assert response.status_code == 413, (route.method, route.path)


async def test_a_method_that_an_address_does_not_take_is_refused_with_those_it_does(town: Town):
    nowhere = {address(route) for route in town.portal.routes if route.path.endswith(LEADS_NOWHERE)}
    async with town.signed_in(ADMIN) as ada:
        headers = {"x-csrf-token": await ada.csrf(), "origin": town.base_url}
        for path, methods in _methods_by_path(town).items():
            await forget_limits(town)
            for method in [one for one in METHODS if one not in methods]:
                if path in nowhere and method != "GET":
                    assert (await ada.request(method, path, headers=headers)).status_code == 404, path
                    continue
                if method == "GET":  # which another route answers: that nothing is there
                    assert (await ada.get(path)).status_code == 404, path
                    continue
                response = await ada.request(method, path, headers=headers)
                assert response.status_code == 405, (method, path)
                assert set(response.headers["allow"].split(", ")) - {"HEAD"} == methods, (method, path)
                assert is_fit_to_be_seen(response), (method, path)


async def test_a_head_tells_what_a_get_would_and_opens_no_more(town: Town):
    async with town.visitor() as stranger, town.signed_in(MEMBER) as cy:
        for route in [one for one in closed(town) if one.method == "GET"]:
            assert (await stranger.request("HEAD", address(route))).status_code in {303, 401}, route.path
            heads = await cy.request("HEAD", address(route))
            assert heads.status_code == (await cy.get(address(route))).status_code, route.path
            assert not heads.content

"""Requests that another site has somebody's browser send, on every route that changes anything."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.access.routes import ADMIN, MEMBER, ask, closed, forget_limits, unsafe
from tests.town import SESSION_COOKIE, Town

from muster.platform.sessions import session_key


def _reversed_pair(token: str) -> str:
    """The mask and what it hides, the other way about."""
    return token[64:] + token[:64][:-2] + "00"


FORGED: dict[str, Callable[[str, str], dict[str, Any]]] = {
    "no token": lambda _, __: {},
    "an empty token": lambda _, __: {"headers": {"x-csrf-token": ""}},
    "a short token of noughts": lambda _, __: {"headers": {"x-csrf-token": "0" * 64}},
    "a token of noughts": lambda _, __: {"headers": {"x-csrf-token": "0" * 128}},
    "a token that is not hex": lambda _, __: {"headers": {"x-csrf-token": "not hex at all"}},
    "the token cut short": lambda token, _: {"headers": {"x-csrf-token": token[:-2]}},
    "the token with a tail": lambda token, _: {"headers": {"x-csrf-token": token + "00"}},
    "the token bent": lambda token, _: {"headers": {"x-csrf-token": _reversed_pair(token)}},
    "the token in the query": lambda token, _: {"params": {"csrf": token}},
    "the token in a cookie": lambda token, _: {"cookies": {"csrf": token, "x-csrf-token": token}},
    "the token in JSON": lambda token, _: {"json": {"csrf": token}},
    "the token in a form sent as text": lambda token, _: {
        "content": f"csrf={token}",
        "headers": {"content-type": "text/plain"},
    },
    "the token as a file": lambda token, _: {"files": {"csrf": ("csrf", token.encode())}},
    "the method hidden in a header": lambda _, __: {"headers": {"x-http-method-override": "GET"}},
    "another site by Sec-Fetch-Site": lambda token, _: _with(token, {"sec-fetch-site": "cross-site"}),
    "a sister site by Sec-Fetch-Site": lambda token, _: _with(token, {"sec-fetch-site": "same-site"}),
    "another Sec-Fetch-Site": lambda token, _: _with(token, {"sec-fetch-site": "SAME-ORIGIN, cross-site"}),
    "another origin": lambda token, _: _with(token, {"origin": "https://evil.test"}),
    "no origin by name": lambda token, _: _with(token, {"origin": "null"}),
    "an empty origin": lambda token, _: _with(token, {"origin": ""}),
    "the origin's port changed": lambda token, _: _with(token, {"origin": "http://127.0.0.1:1"}),
    "an origin that begins alike": lambda token, own: _with(token, {"origin": f"{own}.evil.test"}),
    "an origin with us as its user": lambda token, own: _with(token, {"origin": f"{own}@evil.test"}),
    "an origin that cannot be taken apart": lambda token, _: _with(token, {"origin": "http://[x"}),
    "two origins": lambda token, own: _with(token, {"origin": f"{own}, https://evil.test"}),
}


def _with(token: str, headers: dict[str, str]) -> dict[str, Any]:
    """With the right token, which must not be enough."""
    return {"headers": {"x-csrf-token": token, **headers}}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
async def test_a_forged_request_is_refused_on_every_unsafe_route(
    town: Town, forged: Callable[[str, str], dict[str, Any]]
):
    async with town.signed_in(ADMIN) as ada:
        how = forged(await ada.csrf(), town.base_url)
        if "cookies" in how:
            ada.cookies.update(how.pop("cookies"))  # beside the session's own
        before = await town.audited()
        for route in unsafe(town):
            response = await ask(ada, route, **how)
            assert response.status_code == 403, (route.method, route.path)
        assert await town.audited() == before
        assert (await ada.get("/")).status_code == 200  # still signed in


async def test_the_token_of_another_session_is_refused(town: Town):
    async with town.signed_in(MEMBER) as cy, town.signed_in(ADMIN) as ada:
        earlier = await ada.csrf()
        await ada.sign_in(ADMIN)
        for stolen in (await cy.csrf(), earlier):
            await forget_limits(town)
            for route in unsafe(town):
                response = await ask(ada, route, headers={"x-csrf-token": stolen})
                assert response.status_code == 403, (route.method, route.path)


async def test_the_id_from_before_another_sign_in_opens_nothing(town: Town):
    async with town.signed_in(ADMIN) as ada, town.visitor() as thief:
        stolen = {"cookie": f"{SESSION_COOKIE}={ada.session_id}", "x-csrf-token": await ada.csrf()}
        await ada.sign_in(ADMIN)
        for route in closed(town):
            response = await ask(thief, route, headers=stolen)
            assert response.status_code in {303, 401}, (route.method, route.path)
            assert response.headers.get("location", "/sign-in").startswith("/sign-in"), route.path


async def test_no_route_makes_a_session_last_longer(town: Town):
    async with town.signed_in(ADMIN) as ada:
        key = session_key(ada.session_id or "")
        left = await town.portal.redis.pttl(key)
        for route in closed(town):
            await ask(ada, route)
            assert await town.portal.redis.pttl(key) <= left, (route.method, route.path)

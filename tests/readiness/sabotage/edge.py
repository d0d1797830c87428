"""What is broken between browsers, Google and the portal, by whoever stands in between."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from tests.readiness.between import Passing
from tests.readiness.sabotage.siege import Siege, saboteur

from muster.settings import Secret
from muster.wiring import portal


@saboteur("signin.discovery", sees="sign-in answered 503")
async def google_sign_in_is_down(siege: Siege) -> AsyncIterator[None]:
    def down(passing: Passing) -> None:
        passing.status = 503

    with siege.google.spoiling(down):
        yield


@saboteur("signin.discovery", sees="it calls itself https://accounts.evil.test")
async def somebody_else_answers_for_google(siege: Siege) -> AsyncIterator[None]:
    def renamed(passing: Passing) -> None:
        _change(passing, issuer="https://accounts.evil.test")

    with siege.google.spoiling(renamed):
        yield


@saboteur("signin.discovery", sees="its signing keys are not readable")
async def google_publishes_no_keys(siege: Siege) -> AsyncIterator[None]:
    def keyless(passing: Passing) -> None:
        _change(passing, keys=[])

    with siege.google.spoiling(keyless):
        yield


@saboteur("signin.discovery", sees="its sign-in description is not readable")
async def a_captive_portal_stands_before_google(siege: Siege) -> AsyncIterator[None]:
    def captive(passing: Passing) -> None:
        passing.body = b"<html>Please accept the terms of this network"

    with siege.google.spoiling(captive):
        yield


def _change(passing: Passing, **fields: Any) -> None:
    found = json.loads(passing.body)
    passing.body = json.dumps({name: fields.get(name, value) for name, value in found.items()}).encode()


@saboteur("signin.discovery", sees="it does not know our client id and secret: invalid_client")
async def the_client_secret_was_changed_at_google(siege: Siege) -> AsyncIterator[None]:
    before = siege.probes["signin.discovery"]
    outdated = replace(siege.town.portal.settings, google_client_secret=Secret("of last year"))
    async with portal(outdated, application="muster-siege") as made:
        siege.probes["signin.discovery"] = made.proofs._probes["signin.discovery"]
        yield
        siege.probes["signin.discovery"] = before


@saboteur("web.csrf", sees="a request from another site was answered 303 and not refused")
async def a_proxy_drops_where_requests_come_from(siege: Siege) -> AsyncIterator[None]:
    siege.front.dropped = frozenset({"origin", "sec-fetch-site"})
    yield
    siege.front.dropped = frozenset()


@saboteur("web.csrf", sees="a request without a token was answered 200 and not refused")
async def a_proxy_smooths_refusals_over(siege: Siege) -> AsyncIterator[None]:
    def smooth(passing: Passing) -> None:
        passing.status = 200

    with siege.front.spoiling(smooth):
        yield


@saboteur("web.csrf", sees="a signed-in page answered 303")
async def a_proxy_drops_cookies(siege: Siege) -> AsyncIterator[None]:
    siege.front.dropped = frozenset({"cookie"})
    yield
    siege.front.dropped = frozenset()


@saboteur("web.csrf", sees="a true form was answered 403: nobody can change anything")
async def a_proxy_drops_what_shows_a_form_to_be_true(siege: Siege) -> AsyncIterator[None]:
    siege.front.dropped = frozenset({"x-csrf-token"})
    yield
    siege.front.dropped = frozenset()


@saboteur("web.limits", sees="without a RateLimit header")
async def a_proxy_strips_the_limits(siege: Siege) -> AsyncIterator[None]:
    def strip(passing: Passing) -> None:
        del passing.headers["ratelimit"]

    with siege.front.spoiling(strip):
        yield


@saboteur("web.limits", sees="8 requests were not counted")
async def a_proxy_answers_from_what_it_has_kept(siege: Siege) -> AsyncIterator[None]:
    kept: list[Passing] = []

    def answer_again(passing: Passing) -> Passing:
        kept.append(passing)
        return kept[0]

    with siege.front.spoiling(answer_again):
        yield


@saboteur("web.limits", sees="Redis refused")
async def redis_takes_no_more_writes(siege: Siege) -> AsyncIterator[None]:
    redis = siege.town.portal.redis
    await redis.config_set("min-replicas-to-write", 1)
    yield
    await redis.config_set("min-replicas-to-write", 0)


@saboteur("signin.refuses", sees="of a sign-in that nobody began was answered 303 and not refused")
async def a_proxy_lets_everybody_in(siege: Siege) -> AsyncIterator[None]:
    def let_in(passing: Passing) -> None:
        if passing.status == 403:
            passing.status = 303
            passing.headers["set-cookie"] = "muster_session=planted; Path=/"

    with siege.front.spoiling(let_in):
        yield


@saboteur("signin.refuses", sees="a sign-in began without a code_challenge")
async def a_proxy_takes_the_challenge_away(siege: Siege) -> AsyncIterator[None]:
    def simplify(passing: Passing) -> None:
        if location := passing.headers.get("location"):
            passing.headers["location"] = re.sub(r"&code_challenge=[^&]*", "", location)

    with siege.front.spoiling(simplify):
        yield


@saboteur("web.headers", sees="missing or changed: x-content-type-options")
async def a_proxy_strips_a_header(siege: Siege) -> AsyncIterator[None]:
    def strip(passing: Passing) -> None:
        del passing.headers["x-content-type-options"]

    with siege.front.spoiling(strip):
        yield


@saboteur("web.headers", sees="missing or changed: x-frame-options")
async def a_proxy_lets_other_sites_frame_us(siege: Siege) -> AsyncIterator[None]:
    def frame(passing: Passing) -> None:
        passing.headers["x-frame-options"] = "SAMEORIGIN"

    with siege.front.spoiling(frame):
        yield


@saboteur("web.headers", sees="the content security policy is not ours: default-src *")
async def a_proxy_has_a_policy_of_its_own(siege: Siege) -> AsyncIterator[None]:
    def weaken(passing: Passing) -> None:
        passing.headers["content-security-policy"] = "default-src *"

    with siege.front.spoiling(weaken):
        yield


@saboteur("web.headers", sees="two pages carried the same script nonce")
async def a_proxy_keeps_pages(siege: Siege) -> AsyncIterator[None]:
    kept: list[Passing] = []

    def freeze(passing: Passing) -> Passing:
        kept.append(passing)
        return kept[0]

    with siege.front.spoiling(freeze):
        yield


@saboteur("web.headers", sees="/sign-in answered 502")
async def a_proxy_does_not_reach_us(siege: Siege) -> AsyncIterator[None]:
    def lost(passing: Passing) -> None:
        passing.status = 502

    with siege.front.spoiling(lost):
        yield

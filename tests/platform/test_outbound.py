"""Requests to the outside go where a setting points, and nowhere that somebody else's word leads to."""

import ast
from collections.abc import AsyncIterator, Sequence

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from tests.readiness.between import free_address
from tests.test_house_rules import python
from tests.town import serving

from muster.platform.outbound import ATTEMPT, LARGEST, Destination, HostRefused, client, is_public, named
from muster.platform.telemetry import begin

INSIDE = [
    *("127.0.0.1", "127.255.255.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
    *("100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "192.0.2.1", "198.18.0.1"),  # noqa: S104
    "240.0.0.1",
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:a00:1::1"),
    *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe"),
]
OUTSIDE = ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]


def leads_to(*addresses: str) -> "Resolver":
    return Resolver(addresses)


class Resolver:
    """Stands where the system's does."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.addresses


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(LARGEST // 2**20 + 2):
            yield b"x" * 2**20

    answers = {
        "/": Response("here"),
        "/away": RedirectResponse("http://169.254.169.254/latest/meta-data"),
        "/cookie": Response("here", headers={"set-cookie": "a=b"}),
        "/echo": Response(request.headers.get("cookie", "none")),
        "/trail": Response(request.headers.get("x-request-id", "none")),
        "/endless": StreamingResponse(endless()),
    }
    await answers[request.url.path](scope, receive, send)


@pytest.mark.parametrize("address", INSIDE)
async def test_a_name_that_leads_inside_is_not_followed(address: str):
    assert not is_public(address)
    async with client([Destination(url="https://vendor.example")], resolve=leads_to(address)) as http:
        with pytest.raises(HostRefused, match="which is inside"):
            await http.get("https://vendor.example/")


@pytest.mark.parametrize("address", OUTSIDE)
def test_the_public_internet_is_outside(address: str):
    assert is_public(address)


@given(st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_no_private_address_passes_in_the_dress_of_another(inner: object):
    assert not is_public(str(inner))
    assert not is_public(f"::ffff:{inner}")
    assert not is_public(f"64:ff9b::{inner}")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/",
        "https://vendor.example.evil.example/",
        "https://vendor.example:444/",
        "http://vendor.example/",
        "https://evil.example@vendor.example/",
        "https://vendor.example@evil.example/",
        "https://127.0.0.1/",
        "https://[::1]/",
    ],
)
async def test_only_the_very_places_of_the_settings_are_asked(url: str):
    resolver = leads_to("8.8.8.8")
    async with client([Destination(url="https://vendor.example/v1")], resolve=resolver) as http:
        with pytest.raises(HostRefused):
            await http.get(url)
    assert not resolver.asked


async def test_the_connection_goes_to_the_address_that_was_looked_at():
    address = free_address()
    port = int(address.rpartition(":")[2])
    resolver = leads_to("127.0.0.1")
    place = Destination(url=f"http://portal.example:{port}", may_be_private=True)
    async with serving(answering, port), client([place], resolve=resolver) as http:
        answer = await http.get(f"http://portal.example:{port}/")

        assert answer.text == "here"
    assert resolver.asked == ["portal.example"]  # once: a name asked twice may answer twice


async def test_a_dead_address_is_passed_over_for_a_live_one():
    address = free_address()
    port = int(address.rpartition(":")[2])
    place = Destination(url=f"http://portal.example:{port}", may_be_private=True)
    async with serving(answering, port), client([place], resolve=leads_to("::1", "127.0.0.1")) as http:
        assert (await http.get(f"http://portal.example:{port}/")).text == "here"


async def test_redirects_cookies_and_proxies_of_the_environment_lead_nowhere(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    address = free_address()
    place = Destination(url=address, may_be_private=True)
    async with serving(answering, int(address.rpartition(":")[2])), client([place]) as http:
        assert (await http.get(f"{address}/away")).status_code == 307
        await http.get(f"{address}/cookie")
        assert (await http.get(f"{address}/echo")).text == "none"


@pytest.mark.parametrize(
    ("bound", "carried"),
    [
        ({}, "none"),
        ({"reqId": "r-1234567", "jobId": "7"}, "r-1234567"),
        ({"jobId": "repeat:people.sync:17"}, "repeat:people.sync:17"),
        ({"jobId": "no\r\nheader: é"}, "no--header:--"),
    ],
)
async def test_whoever_is_asked_is_told_for_which_request_or_job(bound: dict[str, str], carried: str):
    address = free_address()
    place = Destination(url=address, may_be_private=True)
    async with serving(answering, int(address.rpartition(":")[2])), client([place]) as http:
        begin(**bound)

        assert (await http.get(f"{address}/trail")).text == carried


async def test_each_call_is_a_line_of_the_log_without_its_query(caplog: pytest.LogCaptureFixture):
    address = free_address()
    place = Destination(url=address, may_be_private=True)
    with caplog.at_level("DEBUG", logger="muster"):
        async with client([place]) as http:
            with pytest.raises(httpx2.ConnectError):
                await http.get(f"{address}/", params={"who": "ada"})
            async with serving(answering, int(address.rpartition(":")[2])):
                await http.get(f"{address}/", extensions={ATTEMPT: 2})

    failed, answered = (record.msg for record in caplog.records if record.name == "muster")
    assert isinstance(failed, dict)
    assert isinstance(answered, dict)
    assert (failed["error"], failed["attempt"]) == ("ConnectError", 1)
    assert (answered["status"], answered["attempt"], answered["host"]) == (200, 2, "127.0.0.1")
    assert answered["ms"] >= 0
    assert "ada" not in str(failed)


async def test_an_answer_without_end_is_ended():
    address = free_address()
    place = Destination(url=address, may_be_private=True)
    async with serving(answering, int(address.rpartition(":")[2])), client([place]) as http:
        with pytest.raises(httpx2.ReadError, match="larger than 64 MB"):
            await http.get(f"{address}/endless")


async def test_a_name_that_nobody_knows_is_a_failure_of_the_network():
    async def unknown(host: str, port: int) -> Sequence[str]:
        raise OSError(f"no such name: {host}:{port}")

    async with client([Destination(url="https://vendor.example")], resolve=unknown) as http:
        with pytest.raises(httpx2.ConnectError):
            await http.get("https://vendor.example/")


def test_this_machine_is_asked_only_in_development():
    assert named("http://127.0.0.1:99", is_development=True).may_be_private
    assert named("http://localhost:99", is_development=True).may_be_private
    assert not named("http://127.0.0.1:99", is_development=False).may_be_private
    assert not named("http://192.168.0.1", is_development=True).may_be_private


DOORS = {
    "src/muster/platform/outbound.py": "the door",
    "src/muster/up.py": "asks its own children, on loopback",
    "src/muster/embedded/valkey.py": "asks the server it has just started, on loopback",
}


def test_nothing_else_of_ours_opens_a_line_to_the_outside():
    found = {
        source.path
        for source in python()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func)
        in {
            *("httpx2.AsyncClient", "httpx2.Client", "httpx2.get", "httpx2.post", "httpx2.request"),
            *("urllib.request.urlopen", "urllib.request.build_opener", "socket.create_connection"),
            "asyncio.open_connection",
        }
    }

    assert found == DOORS.keys()

"""Push channels: opening, stopping, and what arrives at the other end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from typing_extensions import override

if TYPE_CHECKING:
    from tests.acme.conftest import Sandbox

WATCH = "/admin/directory/v1/users/watch"
STOP = "/admin/directory_v1/channels/stop"
HOUR, DAY = 3_600, 86_400


class Received(msgspec.Struct):
    headers: dict[str, str]
    body: dict[str, Any] | None
    at: float

    @property
    def state(self) -> str:
        return self.headers["x-goog-resource-state"]

    @property
    def number(self) -> int:
        return int(self.headers["x-goog-message-number"])


class Ear(ThreadingHTTPServer):
    """A webhook's receiver, which answers with `statuses` first and then with 200."""

    def __init__(self) -> None:
        self.heard: list[Received] = []
        self.statuses: list[int] = []
        super().__init__(("127.0.0.1", 0), _Call)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    @property
    def states(self) -> list[str]:
        return [message.state for message in self.heard]

    @property
    def numbers(self) -> list[int]:
        return [message.number for message in self.heard]


class _Call(BaseHTTPRequestHandler):
    server: Ear

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        decoded = msgspec.json.decode(body) if body else None
        self.server.heard.append(Received(headers, decoded, time.monotonic()))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def ear() -> Iterator[Ear]:
    with Ear() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def watch(acme: Sandbox, ear: Ear | str, event: str | None = None, **changes: Any) -> dict[str, Any]:
    reply = ask(acme, ear, event, **changes)
    assert reply.status_code == 200, reply.text
    channel: dict[str, Any] = reply.json()
    return channel


def ask(acme: Sandbox, ear: Ear | str, event: str | None = None, **changes: Any) -> Any:
    address = ear if isinstance(ear, str) else ear.address
    body = {"id": "channel-1", "type": "web_hook", "address": address, "token": "a secret"} | changes
    params = {"customer": "my_customer"} | ({} if event is None else {"event": event})
    return acme.post(WATCH, {name: value for name, value in body.items() if value is not None}, **params)


def stop(acme: Sandbox, channel: dict[str, Any]) -> Any:
    return acme.post(STOP, {"id": channel["id"], "resourceId": channel["resourceId"]})


def settle(acme: Sandbox, within: float = 10) -> None:
    wait_for(lambda: acme.ask("webhooks")["pending"] == 0, within)


def wait_for(holds: Callable[[], bool], within: float = 10) -> None:
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def reason(reply: Any) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["errors"][0]["reason"]


# Opening


def test_a_channel_says_what_it_is_and_lasts_two_hours(acme: Sandbox, ear: Ear) -> None:
    channel = watch(acme, ear)
    now = acme.ask("ready")["now"]

    assert channel["kind"] == "api#channel"
    assert (channel["id"], channel["token"]) == ("channel-1", "a secret")
    assert channel["resourceUri"].startswith(f"{acme.settings['directory_url']}/admin/directory/v1/users?")
    assert 0 <= now + 2 * HOUR - int(channel["expiration"]) / 1000 < 5


def test_what_is_watched_has_one_id_whoever_watches_it(acme: Sandbox, ear: Ear) -> None:
    channels = [watch(acme, ear, id=f"all-{place}") for place in range(2)]
    channels += [watch(acme, ear, "delete", id="delete"), watch(acme, ear, "add", id="add")]

    assert len({channel["resourceId"] for channel in channels}) == 3
    assert channels[0]["resourceId"] == channels[1]["resourceId"]


@pytest.mark.parametrize(
    ("ttl", "longest", "given"),
    [("600", 6 * HOUR, 600), (str(9 * DAY), 9 * DAY, 2 * DAY), (str(DAY), 6 * HOUR, 6 * HOUR)],
)
def test_a_channel_may_last_less_than_asked(
    acme: Sandbox, ear: Ear, ttl: str, longest: int, given: int
) -> None:
    acme.order("channels", longest_seconds=longest)

    channel = watch(acme, ear, params={"ttl": ttl})

    assert 0 <= acme.ask("ready")["now"] + given - int(channel["expiration"]) / 1000 < 5


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"id": None}, (400, "invalid")),
        ({"id": "not a channel's id"}, (400, "invalid")),
        ({"type": "carrier_pigeon"}, (400, "invalid")),
        ({"type": None}, (400, "invalid")),
        ({"token": "x" * 257}, (400, "invalid")),
        ({"token": "one\nX-Line: more"}, (400, "invalid")),
        ({"params": {"ttl": "soon"}}, (400, "invalid")),
        ({"params": {"ttl": "0"}}, (400, "invalid")),
        ({"params": {"ttl": "9" * 5000}}, (400, "invalid")),
        ({"params": "none"}, (400, "parseError")),
        ({"address": None}, (400, "push.webhookUrlNotHttps")),
        ({"address": "ftp://127.0.0.1/x"}, (400, "push.webhookUrlNotHttps")),
        ({"address": "http://127.0.0.1:port/x"}, (400, "invalid")),
        ({"address": "https://portal.example.com/hook"}, (401, "push.webhookUrlUnauthorized")),
        ({"address": "http://127.0.0.1.example.com/hook"}, (401, "push.webhookUrlUnauthorized")),
        ({"address": "http://127.0.0.1@example.com/hook"}, (401, "push.webhookUrlUnauthorized")),
    ],
)
def test_a_channel_that_cannot_be_is_refused(
    acme: Sandbox, ear: Ear, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert reason(ask(acme, ear, **changes)) == expected
    assert acme.ask("channels")["channels"] == []


def test_watching_says_whose_people_and_which_changes(acme: Sandbox, ear: Ear) -> None:
    body = {"id": "c", "type": "web_hook", "address": ear.address}

    assert reason(acme.post(WATCH, body)) == (400, "badRequest")
    assert reason(acme.post(WATCH, body, domain="evil.test")) == (404, "notFound")
    assert reason(acme.post(WATCH, body, domain="acme.test", event="login")) == (400, "invalid")
    assert acme.post(WATCH, body, domain="acme.test", event="makeAdmin").status_code == 200


def test_watching_and_stopping_need_the_scope_for_users(acme: Sandbox) -> None:
    scope = "https://www.googleapis.com/auth/admin.directory.group.readonly"
    token = acme.trade(acme.assertion(scope=scope)).json()["access_token"]

    assert reason(acme.post(WATCH, {}, token=token)) == (403, "insufficientPermissions")
    assert reason(acme.post(STOP, {}, token=token)) == (403, "insufficientPermissions")


def test_a_channels_id_is_used_once(acme: Sandbox, ear: Ear) -> None:
    watch(acme, ear)
    assert reason(ask(acme, ear)) == (400, "channelIdNotUnique")

    acme.order("clock", days=3)

    assert ask(acme, ear).status_code == 200


# What arrives


def test_opening_is_confirmed_before_anything_else(acme: Sandbox, ear: Ear) -> None:
    channel = watch(acme, ear)
    settle(acme)

    assert len(ear.heard) == 1
    headers = ear.heard[0].headers
    assert ear.heard[0].body is None
    assert headers["x-goog-channel-id"] == "channel-1"
    assert headers["x-goog-channel-token"] == "a secret"
    assert headers["x-goog-resource-id"] == channel["resourceId"]
    assert headers["x-goog-resource-uri"] == channel["resourceUri"]
    assert (headers["x-goog-resource-state"], headers["x-goog-message-number"]) == ("sync", "1")
    expires_at = parsedate_to_datetime(headers["x-goog-channel-expiration"])
    assert expires_at.timestamp() * 1000 == int(channel["expiration"])


def test_a_message_says_only_who_changed(acme: Sandbox, ear: Ear) -> None:
    watch(acme, ear, token=None)
    acme.order("people/ben@acme.test", title="Poet")
    settle(acme)

    ben = acme.get("/users/ben@acme.test").json()
    assert ear.heard[1].body == {
        "kind": "admin#directory#user",
        "id": ben["id"],
        "etag": ben["etag"],
        "primaryEmail": "ben@acme.test",
    }
    assert "x-goog-channel-token" not in ear.heard[1].headers


def test_every_change_has_googles_name(acme: Sandbox, ear: Ear) -> None:
    watch(acme, ear)
    acme.order("people", primaryEmail="dee@acme.test")
    acme.order("people/dee@acme.test", suspended=True)
    acme.order("people/dee@acme.test", deleted=True)
    acme.order("people/dee@acme.test", deleted=False)
    acme.order("people/dee@acme.test", isAdmin=True)
    acme.order("groups/alumni@acme.test", add=["cy@acme.test"])
    settle(acme)

    assert ear.states == ["sync", "add", "update", "delete", "undelete", "makeAdmin", "update"]
    assert ear.numbers == [1, 2, 3, 4, 5, 6, 7]


def test_a_channel_for_one_kind_of_change_hears_of_no_other(acme: Sandbox, ear: Ear) -> None:
    watch(acme, ear, "makeAdmin")
    acme.order("people/ben@acme.test", title="Poet")
    acme.order("people/ben@acme.test", isAdmin=True)
    settle(acme)

    assert ear.states == ["sync", "makeAdmin"]


def test_hundreds_of_changes_arrive_in_order(acme: Sandbox, ear: Ear) -> None:
    watch(acme, ear)
    assert acme.order("people/many", first=200, patch={"deleted": True})["changed"] == 200
    settle(acme)

    assert ear.numbers == list(range(1, 202))
    assert ear.states == ["sync", *["delete"] * 200]
    assert acme.get("/users/ada@acme.test").status_code == 200


def test_several_people_are_changed_all_or_none(acme: Sandbox) -> None:
    def order(**fields: Any) -> int:
        return acme.http.post("/sandbox/people/many", json=fields).status_code

    both = ["ben@acme.test", "cy@acme.test"]
    assert order(emails=both, patch={"title": "Poet"}) == 200
    assert order(emails=[*both, "nobody@acme.test"], patch={"title": "Pilot"}) == 404
    assert order(first=2, patch={"primaryEmail": "one@acme.test"}) == 422
    assert [acme.get(f"/users/{key}").json()["organizations"][0]["title"] for key in both] == ["Poet", "Poet"]


def test_a_stopped_channel_hears_nothing_more(acme: Sandbox, ear: Ear) -> None:
    channel = watch(acme, ear)
    settle(acme)

    assert stop(acme, channel).status_code == 204
    acme.order("people/ben@acme.test", title="Poet")
    settle(acme)

    assert ear.states == ["sync"]
    assert reason(stop(acme, channel)) == (404, "notFound")


def test_stopping_names_the_channel_and_what_it_watches(acme: Sandbox, ear: Ear) -> None:
    channel = watch(acme, ear)

    assert reason(stop(acme, channel | {"resourceId": "another"})) == (404, "notFound")
    assert reason(stop(acme, channel | {"id": "another"})) == (404, "notFound")


def test_an_expired_channel_hears_nothing_more(acme: Sandbox, ear: Ear) -> None:
    watch(acme, ear)
    settle(acme)
    acme.order("clock", days=1)
    acme.order("people/ben@acme.test", title="Poet")
    settle(acme)

    assert ear.states == ["sync"]
    assert [channel["is_expired"] for channel in acme.ask("channels")["channels"]] == [True]


def test_a_killed_channel_looks_open_and_hears_nothing(acme: Sandbox, ear: Ear) -> None:
    watch(acme, ear)
    settle(acme)
    assert acme.order("channels/kill") == {"killed": 1}
    acme.order("people/ben@acme.test", title="Poet")
    settle(acme)

    assert ear.states == ["sync"]
    channel = acme.ask("channels")["channels"][0]
    assert (channel["is_expired"], channel["is_dead"], channel["sent"]) == (False, True, 1)


def test_a_reset_closes_every_channel(acme: Sandbox, ear: Ear) -> None:
    watch(acme, ear)
    acme.order("webhooks", kind="lost")
    acme.order("channels", longest_seconds=60)

    acme.order("reset")

    assert acme.ask("channels") == {"longest_seconds": 6 * HOUR, "channels": []}
    watch(acme, ear)
    acme.order("people/ben@acme.test", title="Poet")
    settle(acme)
    assert ear.states[-2:] == ["sync", "update"]


# What goes wrong at the receiver


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_receiver_in_trouble_is_asked_again(acme: Sandbox, ear: Ear, status: int) -> None:
    ear.statuses = [status, status]
    watch(acme, ear)
    settle(acme)

    assert ear.numbers == [1, 1, 1]
    assert ear.heard[2].at - ear.heard[0].at > 0.6
    assert acme.ask("channels")["channels"][0]["sent"] == 1


@pytest.mark.parametrize("status", [400, 403, 404, 410, 302])
def test_a_receiver_that_refuses_is_not_asked_again(acme: Sandbox, ear: Ear, status: int) -> None:
    ear.statuses = [status]
    watch(acme, ear)
    acme.order("people/ben@acme.test", title="Poet")
    settle(acme)

    assert ear.numbers == [1, 2]
    channel = acme.ask("channels")["channels"][0]
    assert (channel["sent"], channel["failed"]) == (1, 1)


def test_a_receiver_that_never_recovers_is_given_up(acme: Sandbox, ear: Ear) -> None:
    ear.statuses = [503] * 5
    watch(acme, ear)
    settle(acme)

    assert ear.numbers == [1] * 5
    assert acme.ask("channels")["channels"][0]["failed"] == 1


def test_a_receiver_that_is_away_holds_up_no_script(acme: Sandbox, ear: Ear) -> None:
    nobody = f"http://127.0.0.1:{_free_port()}/hook"
    watch(acme, nobody, id="nobody")
    watch(acme, ear, id="somebody")
    began = time.monotonic()
    acme.order("people/ben@acme.test", title="Poet")

    assert time.monotonic() - began < 1
    wait_for(lambda: len(ear.heard) == 2)
    wait_for(lambda: acme.ask("webhooks")["pending"] == 2, within=2)


def _free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return server.server_address[1]


# Faults by script


def test_a_message_can_be_lost(acme: Sandbox, ear: Ear) -> None:
    acme.order("webhooks", kind="lost")
    watch(acme, ear)
    _two_changes(acme)
    settle(acme)

    assert ear.numbers == [1, 3]


def test_a_message_can_come_twice(acme: Sandbox, ear: Ear) -> None:
    acme.order("webhooks", kind="doubled", times=2)
    watch(acme, ear)
    _two_changes(acme)
    settle(acme)

    assert ear.numbers == [1, 2, 2, 3, 3]


def test_a_message_can_come_after_the_next_one(acme: Sandbox, ear: Ear) -> None:
    acme.order("webhooks", kind="reordered", seconds=5)
    watch(acme, ear)
    _two_changes(acme)
    settle(acme, within=3)

    assert ear.numbers == [1, 3, 2]


def test_a_message_waits_only_so_long_for_the_next_one(acme: Sandbox, ear: Ear) -> None:
    acme.order("webhooks", kind="reordered", seconds=0.3)
    watch(acme, ear)
    acme.order("people/ben@acme.test", title="Poet")
    settle(acme)

    assert ear.numbers == [1, 2]
    assert ear.heard[1].at - ear.heard[0].at > 0.25


def test_a_message_can_be_late(acme: Sandbox, ear: Ear) -> None:
    acme.order("webhooks", kind="late", seconds=0.4)
    watch(acme, ear)
    _two_changes(acme)
    settle(acme)

    assert ear.numbers == [1, 3, 2]
    assert ear.heard[2].at - ear.heard[0].at > 0.35


def test_a_message_can_be_forged(acme: Sandbox, ear: Ear) -> None:
    acme.order("webhooks", kind="forged-token")
    watch(acme, ear)
    _two_changes(acme)
    settle(acme)

    tokens = [message.headers["x-goog-channel-token"] for message in ear.heard]
    assert tokens == ["a secret", "forged", "a secret"]


@pytest.mark.parametrize(
    "script", [{"kind": "meteor"}, {"kind": "lost", "times": 0}, {"kind": "late", "seconds": -1}, {}]
)
def test_a_webhook_script_that_makes_no_sense_is_refused(acme: Sandbox, script: dict[str, Any]) -> None:
    assert acme.http.post("/sandbox/webhooks", json=script).status_code == 422


def _two_changes(acme: Sandbox) -> None:
    acme.order("people/ben@acme.test", title="Poet")
    acme.order("people/cy@acme.test", title="Painter")

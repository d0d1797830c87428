"""HubSpot's webhooks: what is told, how it is signed, and what may become of it on the way."""

from __future__ import annotations

import hmac
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.acme.hubspot_client import ASSOCIATIONS, COMPANIES, CONTACTS, DEALS, HubSpotClient
from tests.acme.hubspot_shapes import Event
from typing_extensions import override

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.acme.conftest import Sandbox

    Start = Callable[..., AbstractContextManager[Sandbox]]


class Received(msgspec.Struct):
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def events(self) -> list[dict[str, Any]]:
        """As they are; each is of the shape HubSpot documents."""
        msgspec.json.decode(self.body, type=list[Event])
        events: list[dict[str, Any]] = msgspec.json.decode(self.body)
        return events


class Ear(ThreadingHTTPServer):
    """The receiver, which answers with `statuses` first and then with 200."""

    def __init__(self) -> None:
        self.heard: list[Received] = []
        self.statuses: list[int] = []
        super().__init__(("127.0.0.1", 0), _Call)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hooks/hubspot"

    @property
    def events(self) -> list[dict[str, Any]]:
        return [event for call in self.heard for event in call.events]


class _Call(BaseHTTPRequestHandler):
    server: Ear

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.heard.append(Received(headers, body, time.monotonic()))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def ear(hub: HubSpotClient) -> Iterator[Ear]:
    with Ear() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        hub.order("webhooks", target=server.address, day_seconds=1.0)
        yield server
        hub.acme.order("reset")  # nothing more comes
        server.shutdown()
        thread.join()


def settle(hub: HubSpotClient, within: float = 10) -> None:
    wait_for(lambda: hub.acme.ask("hubspot/webhooks")["pending"] == 0, within)


def wait_for(holds: Callable[[], bool], within: float = 10) -> None:
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["subscriptionType"] for event in events]


def is_signed(hub: HubSpotClient, ear: Ear, call: Received) -> bool:
    moment = call.headers["x-hubspot-request-timestamp"]
    signed = b"POST" + ear.address.encode() + call.body + moment.encode()
    secret = hub.acme.settings["hubspot_webhook_secret"].encode()
    expected = b64encode(hmac.digest(secret, signed, "sha256")).decode()
    return call.headers["x-hubspot-signature-v3"] == expected


def age(call: Received) -> float:
    return time.time() - int(call.headers["x-hubspot-request-timestamp"]) / 1_000


# What is told


def test_a_change_through_the_api_comes_back(hub: HubSpotClient, ear: Ear) -> None:
    record = hub.a_deal()
    hub.patch(f"{DEALS}/{record['id']}", amount="5", dealname="Other")
    settle(hub)

    assert kinds(ear.events) == ["object.creation", "object.propertyChange", "object.propertyChange"]
    assert {event["changeSource"] for event in ear.events} == {"INTEGRATION"}
    assert {(event["objectTypeId"], event["objectId"]) for event in ear.events} == {
        ("0-3", int(record["id"]))
    }
    assert {(event.get("propertyName"), event.get("propertyValue")) for event in ear.events[1:]} == {
        ("amount", "5"),
        ("dealname", "Other"),
    }


def test_a_colleagues_change_says_whose_it_is(hub: HubSpotClient, ear: Ear) -> None:
    ada = hub.get("/crm/owners/2026-09", email="ada@acme.test")["results"][0]
    record = hub.get(DEALS, limit=1)["results"][0]
    hub.order(f"deals/{record['id']}", properties={"amount": "6"}, by="ada@acme.test")
    settle(hub)

    (event,) = ear.events
    assert (event["changeSource"], event["sourceId"]) == ("CRM_UI", f"userId:{ada['userId']}")


def test_a_record_goes_and_comes_back(hub: HubSpotClient, ear: Ear) -> None:
    record = hub.get(COMPANIES, limit=1)["results"][0]
    hub.delete(f"{COMPANIES}/{record['id']}")
    hub.order(f"companies/{record['id']}", archived=False)
    settle(hub)

    assert kinds(ear.events) == ["object.deletion", "object.restore"]


def test_a_merge_names_all_three(hub: HubSpotClient, ear: Ear) -> None:
    one, other = (deal["id"] for deal in hub.get(DEALS, limit=2)["results"])
    merged = hub.post(f"{DEALS}/merge", {"primaryObjectId": one, "objectIdToMerge": other})["id"]
    settle(hub)

    (event,) = ear.events
    assert event["subscriptionType"] == "object.merge"
    assert event["primaryObjectId"] == int(one)
    assert event["mergedObjectIds"] == [int(other)]
    assert event["newObjectId"] == int(merged)


def test_both_ends_of_an_association_are_told(hub: HubSpotClient, ear: Ear) -> None:
    hub.order("webhooks", target=None)
    deal, contact = hub.a_deal()["id"], hub.get(CONTACTS, limit=1)["results"][0]["id"]
    hub.order("webhooks", target=ear.address)
    types = [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 3}]
    pair = {"from": {"id": deal}, "to": {"id": contact}, "types": types}
    hub.post(f"{ASSOCIATIONS}/deals/contacts/batch/create", {"inputs": [pair, pair]})
    settle(hub)

    told = {(event["fromObjectTypeId"], event["toObjectTypeId"]) for event in ear.events}
    assert told == {("0-3", "0-1"), ("0-1", "0-3")}
    assert len(ear.events) == 2
    assert not any(event["associationRemoved"] for event in ear.events)


def test_who_is_forgotten_is_told_in_the_old_form(hub: HubSpotClient, ear: Ear) -> None:
    contact = hub.get(CONTACTS, limit=1)["results"][0]["id"]
    hub.order(f"contacts/{contact}", forget=True)
    settle(hub)

    assert kinds(ear.events) == ["contact.privacyDeletion"]


def test_the_old_form_names_the_kind(hub: HubSpotClient, ear: Ear) -> None:
    hub.order("webhooks", target=ear.address, form="legacy")
    hub.a_deal()
    settle(hub)

    (event,) = ear.events
    assert event["subscriptionType"] == "deal.creation"
    assert "objectTypeId" not in event


def test_a_change_of_nothing_is_not_told(hub: HubSpotClient, ear: Ear) -> None:
    record = hub.get(DEALS, limit=1, properties="dealname")["results"][0]
    hub.patch(f"{DEALS}/{record['id']}", dealname=record["properties"]["dealname"])
    hub.refusal("PATCH", f"{DEALS}/{record['id']}", {"properties": {"amount": "much"}})
    hub.a_deal()
    settle(hub)

    assert kinds(ear.events) == ["object.creation"]


# How it travels


def test_every_call_is_signed_and_young(hub: HubSpotClient, ear: Ear) -> None:
    hub.acme.order("clock", days=3)  # the receiver's clock knows nothing of it
    hub.a_deal()
    settle(hub)

    assert is_signed(hub, ear, ear.heard[0])
    assert 0 <= age(ear.heard[0]) < 5


def test_less_than_a_hundred_events_go_in_a_call(hub: HubSpotClient, ear: Ear) -> None:
    hub.order("deals/many", first=250, properties={"description": "imported"})
    settle(hub)

    assert len(ear.events) == 250
    assert max(len(call.events) for call in ear.heard) == 99
    assert len({event["occurredAt"] for event in ear.events}) == 1


def test_what_is_not_taken_comes_again_ten_times(hub: HubSpotClient, ear: Ear) -> None:
    ear.statuses = [500, 404] + [503] * 8
    hub.a_deal()
    settle(hub)

    assert [call.events[0]["attemptNumber"] for call in ear.heard] == list(range(11))
    assert len({call.events[0]["eventId"] for call in ear.heard}) == 1
    assert all(is_signed(hub, ear, call) for call in ear.heard)
    pauses = [late.at - early.at for early, late in zip(ear.heard, ear.heard[1:], strict=False)]
    assert pauses[-1] > pauses[3]


def test_in_the_end_it_is_given_up(hub: HubSpotClient, ear: Ear) -> None:
    ear.statuses = [500] * 11
    hub.a_deal()
    settle(hub)

    assert len(ear.heard) == 11
    assert hub.acme.ask("hubspot/webhooks")["given_up"] == 1


@pytest.mark.parametrize(("kind", "signed", "seconds"), [("old", True, 360), ("future", True, -600)])
def test_a_call_can_be_of_another_time(
    hub: HubSpotClient, ear: Ear, kind: str, signed: object, seconds: float
) -> None:
    hub.order("webhooks/faults", kind=kind)
    hub.a_deal()
    settle(hub)

    assert is_signed(hub, ear, ear.heard[0]) == signed
    assert abs(age(ear.heard[0]) - seconds) < 5


def test_a_call_can_be_forged(hub: HubSpotClient, ear: Ear) -> None:
    hub.order("webhooks/faults", kind="forged")
    hub.a_deal()
    settle(hub)

    assert not is_signed(hub, ear, ear.heard[0])


def test_a_call_can_come_twice(hub: HubSpotClient, ear: Ear) -> None:
    hub.order("webhooks/faults", kind="doubled")
    hub.a_deal()
    settle(hub)

    assert len(ear.heard) == 2
    assert ear.heard[0].events == ear.heard[1].events


def test_events_can_come_in_another_order(hub: HubSpotClient, ear: Ear) -> None:
    hub.order("webhooks/faults", kind="shuffled")
    hub.order("deals/many", first=3, properties={"description": "imported"})
    settle(hub)

    assert len(ear.heard) == 3
    assert len({event["eventId"] for event in ear.events}) == 3


def test_a_call_can_be_lost_or_late(hub: HubSpotClient, ear: Ear) -> None:
    hub.order("webhooks/faults", kind="lost")
    hub.a_deal()
    settle(hub)
    hub.order("webhooks/faults", kind="late", seconds=0.3)
    began = time.monotonic()
    hub.a_deal()
    settle(hub)

    assert len(ear.heard) == 1
    assert ear.heard[0].at - began >= 0.3


def test_a_target_given_at_the_start_outlives_going_back(start: Start, tmp_path: Path, ear: Ear) -> None:
    with start(tmp_path, "--people", "3", "--hubspot-webhooks", ear.address) as acme:
        acme.order("reset")
        hub = HubSpotClient(acme)
        hub.a_deal()
        settle(hub)

    assert kinds(ear.events) == ["object.creation"]


def test_the_target_is_on_loopback(hub: HubSpotClient) -> None:
    reply = hub.acme.http.post("/sandbox/hubspot/webhooks", json={"target": "https://example.com/hook"})

    assert reply.status_code == 422

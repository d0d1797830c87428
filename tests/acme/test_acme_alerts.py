"""What is on call at the sandbox company: it keeps what it takes, and takes nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acme.conftest import Sandbox


def send(acme: Sandbox, key: str = "k1") -> int:
    message = {"version": "1.0", "title": "t", "message": "m", "type": "failure"}
    address = acme.settings["alerts_url"].replace("json://", "http://")
    return acme.http.post(address, json=message, headers={"idempotency-key": key}).status_code


def test_a_message_is_kept_and_one_that_comes_again_is_only_counted(acme: Sandbox):
    assert [send(acme), send(acme), send(acme, "k2")] == [200] * 3

    shown = acme.http.get("/sandbox/alerts").json()
    assert [(one["key"], one["title"], one["kind"]) for one in shown["kept"]] == [
        ("k1", "t", "failure"),
        ("k2", "t", "failure"),
    ]
    assert shown["repeated"] == 1


def test_it_refuses_as_often_as_it_is_told_to(acme: Sandbox):
    acme.order("alerts/on-call", how="refuse", times=2, status=410)

    assert [send(acme) for _ in range(3)] == [410, 410, 200]


def test_the_switch_keeps_its_pings(acme: Sandbox):
    for path in ("/start", "", "/fail"):
        assert acme.http.post(acme.settings["heartbeat_url"] + path, content=b"words").status_code == 200

    pings = acme.http.get("/sandbox/alerts").json()["pings"]
    assert [(one["what"], one["body"]) for one in pings] == [
        ("start", "words"),
        ("success", "words"),
        ("fail", "words"),
    ]


def test_a_reset_forgets_all_of_it(acme: Sandbox):
    send(acme)
    acme.order("alerts/on-call", how="refuse")
    acme.order("reset")

    assert acme.http.get("/sandbox/alerts").json()["kept"] == []
    assert send(acme) == 200

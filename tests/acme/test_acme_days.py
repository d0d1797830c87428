"""Days that pass: what happens at Acme meanwhile."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.acme.conftest import Sandbox

    Start = Callable[..., AbstractContextManager[Sandbox]]

KINDS = {
    *("hired", "left", "suspended", "returned", "restored", "renamed", "moved", "promoted", "demoted"),
    "regrouped",
}


def everyone(acme: Sandbox) -> dict[str, dict[str, Any]]:
    people = acme.every("users", "/users", maxResults=500, projection="full")
    return {person["id"]: person for person in people}


def without_logins(person: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in person.items()
        if name not in {"etag", "lastLoginTime", "agreedToTerms"}
    }


def test_something_happens_every_day(acme: Sandbox) -> None:
    now = acme.ask("ready")["now"]

    for day in range(1, 11):
        said = acme.order("days", days=1)
        assert said["counts"].keys() & KINDS
        assert 0 <= said["now"] - now - day * 86_400 < 30


def test_all_sorts_of_things_happen_in_a_year(acme: Sandbox) -> None:
    before = everyone(acme)
    counts = acme.order("days", days=300)["counts"]
    after = everyone(acme)

    assert counts.keys() == KINDS | {"logins"}
    assert counts["logins"] == 300
    restored = {key for key in after.keys() - before.keys() if key not in _hired(acme)}
    assert len(after) == 500 + counts["hired"] - counts["left"] + counts["restored"]
    assert len(restored) <= counts["restored"]
    assert any("-" in person["primaryEmail"] for person in after.values())
    assert len({person["primaryEmail"] for person in after.values()}) == len(after)


def _hired(acme: Sandbox) -> set[str]:
    return {event["about"] for event in acme.ask("events")["events"] if event["kind"] == "hired"}


def test_the_same_things_happen_again(acme: Sandbox) -> None:
    def lived() -> list[Any]:
        acme.order("days", days=20)
        return [
            {name: value for name, value in event.items() if name != "at"}
            for event in acme.ask("events")["events"]
        ]

    first = lived()
    acme.order("reset")

    assert lived() == first


def test_days_at_once_are_days_one_by_one(acme: Sandbox) -> None:
    acme.order("days", days=6)
    at_once = [event["about"] for event in acme.ask("events")["events"]]
    acme.order("reset")
    for _ in range(3):
        acme.order("days", days=2)

    assert [event["about"] for event in acme.ask("events")["events"]] == at_once


def test_another_company_lives_another_life(start: Start, tmp_path: Path) -> None:
    lives = []
    for seed in ("1", "2"):
        with start(tmp_path / seed, "--seed", seed) as acme:
            acme.order("days", days=10)
            lives.append([event["kind"] for event in acme.ask("events")["events"]])

    assert lives[0] != lives[1]


def test_who_did_not_change_changed_nothing_but_their_last_login(acme: Sandbox) -> None:
    before = everyone(acme)
    acme.order("days", days=5)
    after = everyone(acme)

    changed = {event["about"] for event in acme.ask("events")["events"] if event["kind"] == "changed"}
    same = before.keys() & after.keys() - changed
    assert len(same) > 480
    assert all(without_logins(before[key]) == without_logins(after[key]) for key in same)


def test_a_third_of_those_who_may_sign_in_each_day(acme: Sandbox) -> None:
    before = everyone(acme)
    acme.order("days", days=1)
    after = everyone(acme)

    came = {
        key
        for key, person in after.items()
        if person["lastLoginTime"] != before.get(key, person)["lastLoginTime"]
    }
    assert 110 < len(came) < 190
    assert not any(after[key]["suspended"] or after[key]["archived"] for key in came)
    assert all(after[key]["etag"] != before[key]["etag"] for key in came)


def test_a_change_keeps_the_login_and_moves_the_etag(acme: Sandbox) -> None:
    acme.order("days", days=9)
    before = acme.get("/users/ben@acme.test").json()
    acme.order("people/ben@acme.test", title="Poet")
    after = acme.get("/users/ben@acme.test").json()

    assert after["lastLoginTime"] == before["lastLoginTime"]
    assert after["etag"] != before["etag"]


def test_going_back_undoes_days_too(acme: Sandbox) -> None:
    before = everyone(acme)
    acme.order("days", days=3)

    acme.order("reset")

    assert everyone(acme) == before


def test_a_month_moves_a_hundredth_of_a_large_company(start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "--people", "100000") as acme:
        began = time.monotonic()
        counts = Counter(acme.order("days", days=30)["counts"])
        took = time.monotonic() - began

        assert 800 < sum(counts[kind] for kind in KINDS) < 1_200
        assert counts.keys() == KINDS | {"logins"}
        assert took < 10


def test_the_smallest_company_lives_too(start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "--people", "3") as acme:
        assert acme.order("days", days=5)["counts"].keys() >= {"hired", "logins"}


@pytest.mark.parametrize("days", [0, -1, 367])
def test_days_are_a_number_that_makes_sense(acme: Sandbox, days: int) -> None:
    assert acme.http.post("/sandbox/days", json={"days": days}).status_code == 422

"""Pages are kept; nobody can tell but by the time they take."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pytest

from acme.page_cache import KeptPage, PageCache
from acme.people import Population
from acme.reply import Zipped, deflate, zipped

if TYPE_CHECKING:
    from tests.acme.conftest import Sandbox

LISTINGS: dict[str, dict[str, Any]] = {
    "everybody": {"projection": "full"},
    "ids": {"fields": "nextPageToken,users(id)"},
    "ids and etags": {"fields": "nextPageToken,users(id,etag)"},
    "a part by address": {"query": "email:a*"},
    "the suspended": {"query": "isSuspended=true"},
    "a department": {"query": "orgDepartment=Sales"},
    "the deleted": {"showDeleted": "true"},
    "by name": {"orderBy": "familyName"},
}
CHANGES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "a title": [("people/{a}", {"title": "Poet"})],
    "a suspension": [("people/{b}", {"suspended": True})],
    "a return": [("people/{b}", {"suspended": True}), ("people/{b}", {"suspended": False})],
    "a leaver": [("people/{a}", {"deleted": True})],
    "somebody restored": [("people/{a}", {"deleted": True}), ("people/{a}", {"deleted": False})],
    "somebody hired": [("people", {"primaryEmail": "aaron@acme.test"})],
    "a new address": [("people/{b}", {"primaryEmail": "aaron@acme.test"})],
    "an address given up": [("people/{a}", {"primaryEmail": "zed@acme.test", "aliases": []})],
    "the last of them leaves": [("people/{last}", {"deleted": True})],
    "many leave": [("people/many", {"first": 250, "patch": {"deleted": True}})],
    "days": [("days", {"days": 3})],
}


def listed(acme: Sandbox, params: dict[str, Any]) -> list[dict[str, Any]]:
    return acme.every("users", "/users", maxResults=40, **params)


def fresh(acme: Sandbox, params: dict[str, Any]) -> list[dict[str, Any]]:
    """The same listing cut into other pages, which were never kept."""
    return acme.every("users", "/users", maxResults=39, **params)


@pytest.mark.parametrize("change", CHANGES)
def test_a_kept_page_never_shows_what_was(acme: Sandbox, change: str) -> None:
    everyone = listed(acme, {})
    names = {
        "a": next(who["primaryEmail"] for who in everyone[60:] if who["primaryEmail"].startswith("a")),
        "b": next(who["primaryEmail"] for who in everyone[200:] if who["primaryEmail"][0] != "a"),
        "last": everyone[-1]["primaryEmail"],
    }
    before = {name: listed(acme, params) for name, params in LISTINGS.items()}
    assert before == {name: listed(acme, params) for name, params in LISTINGS.items()}

    for path, fields in CHANGES[change]:
        acme.order(path.format(**names), **fields)

    for name, params in LISTINGS.items():
        assert listed(acme, params) == fresh(acme, params), name
    acme.order("reset")
    assert before == {name: listed(acme, params) for name, params in LISTINGS.items()}


def test_a_kept_page_leads_on_for_another_three_days(acme: Sandbox) -> None:
    acme.get("/users")
    acme.order("clock", days=2)
    token = acme.get("/users").json()["nextPageToken"]
    acme.order("clock", days=2)

    assert acme.get("/users", pageToken=token).status_code == 200


def test_a_kept_page_is_the_same_zipped_or_not(acme: Sandbox) -> None:
    for _ in range(2):
        zipped_page = acme.get("/users", headers={"Accept-Encoding": "gzip"})
        plain = acme.get("/users", headers={"Accept-Encoding": "identity"})

        assert zipped_page.headers["content-encoding"] == "gzip"
        assert zipped_page.headers["etag"] == plain.headers["etag"]
        assert zipped_page.json()["users"] == plain.json()["users"]


@pytest.mark.parametrize("fields", ["nextPageToken", "users", "etag,kind", "kind,users(id)", "*"])
def test_a_kept_page_has_only_what_was_asked_for(acme: Sandbox, fields: str) -> None:
    whole = acme.get("/users", maxResults=5).json()
    wanted = whole.keys() if fields == "*" else {field.partition("(")[0] for field in fields.split(",")}

    for _ in range(2):
        assert acme.get("/users", maxResults=5, fields=fields).json().keys() == wanted


def test_a_fault_strikes_a_kept_page_too(acme: Sandbox) -> None:
    whole = acme.get("/users").json()
    acme.order("faults", path="/admin/directory/v1/users", kind="truncated")
    acme.order("faults", path="/admin/directory/v1/users", kind="missing-users-key", page=2)

    assert acme.get("/users").json()["users"] == whole["users"]
    assert "users" not in acme.get("/users").json()
    assert acme.get("/users").json()["users"] == whole["users"]


def test_listings_by_prefix_add_up_to_everybody(acme: Sandbox) -> None:
    parts = {
        letter: {who["id"] for who in listed(acme, {"query": f"email:{letter}*"})}
        for letter in "abcdefghijklmnopqrstuvwxyz"
    }

    assert set().union(*parts.values()) == {who["id"] for who in listed(acme, {})}


@pytest.mark.parametrize(
    "prefix",
    ["", "a", "an", "ad", "ada@acme.test", "ada@evil", "rosa.", "rosa.a", "abe.r", "mei.wu2", "-", "wu"],
)
def test_a_prefix_finds_the_same_people_without_walking_through_everybody(prefix: str) -> None:
    people = Population(seed=1, today=1_790_000_000)

    walked = [number for number in range(120_000) if people.has_prefix(number, prefix)]

    assert people.starting_with(prefix, 120_000) == walked


def test_the_cache_is_bounded_and_forgets_the_longest_unused() -> None:
    cache = PageCache(most_bytes=5_000)
    page = KeptPage(Zipped(b"", b"x" * 1_000, 0, 0), range(10), None, "", has_people=True, has_token=True)
    cache.keep("first", page)
    cache.keep("second", page)
    cache.find("first")

    cache.keep("third", page)

    assert [key for key in ("first", "second", "third") if cache.find(key)] == ["first", "third"]


def test_what_was_zipped_once_is_one_good_gzip_with_any_end() -> None:
    text = b"a long text, " * 9_000
    content = zipped(b"start ", text, deflate(text))

    assert gzip.decompress(content.gzip(b"end")) == b"start " + text + b"end"
    assert gzip.decompress(content.gzip(b"")) == b"start " + text
    assert content.unzipped() == text

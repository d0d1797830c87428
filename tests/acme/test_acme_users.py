"""users.list and users.get."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.acme.conftest import Sandbox

DAY = 86_400


def reason(reply: Any) -> tuple[int, str]:
    error = reply.json()["error"]
    assert set(error) == {"code", "message", "errors"}
    assert set(error["errors"][0]) == {"domain", "reason", "message"}
    assert error["code"] == reply.status_code
    return reply.status_code, error["errors"][0]["reason"]


def since(timestamp: str) -> float:
    return (time.time() - datetime.fromisoformat(timestamp).timestamp()) / DAY


# Who is there


def test_the_plain_listing_has_exactly_the_people_asked_for(acme: Sandbox) -> None:
    people = acme.every("users", "/users", maxResults=77)

    assert len(people) == 500
    assert len({person["id"] for person in people}) == 500
    assert len({person["primaryEmail"] for person in people}) == 500


def test_the_listing_is_the_same_every_time(acme: Sandbox) -> None:
    assert acme.every("users", "/users") == acme.every("users", "/users", maxResults=500)


def test_all_sorts_are_present(acme: Sandbox) -> None:
    people = acme.every("users", "/users", projection="full", maxResults=500)
    counts = Counter(
        field
        for person in people
        for field in (
            "suspended",
            "archived",
            "isGuestUser",
            "isAdmin",
            "isDelegatedAdmin",
            "aliases",
            "customSchemas",
        )
        if person.get(field)
    )

    assert 5 <= counts["suspended"] <= 30
    assert 2 <= counts["archived"] <= 15
    assert counts["isGuestUser"] >= 1
    assert 2 <= counts["isAdmin"] <= 10
    assert counts["isDelegatedAdmin"] >= 1
    assert counts["aliases"] > 20
    assert counts["customSchemas"] > 50
    assert 5 <= sum(since(person["creationTime"]) <= 31 for person in people) <= 30
    assert all(("suspensionReason" in person) == person["suspended"] for person in people)


def test_the_fixed_people_are_there(acme: Sandbox) -> None:
    ada, ben, cy = (acme.get(f"/users/{name}@acme.test").json() for name in ("ada", "ben", "cy"))

    assert [ada["isAdmin"], ben["isAdmin"], cy["isAdmin"]] == [True, False, False]
    assert ben["organizations"][0]["department"] == "Sales"
    assert not any(person["suspended"] or person["archived"] for person in (ada, ben, cy))
    assert acme.get("/users/mallory@evil.test").status_code == 404


def test_managers_form_one_tree(acme: Sandbox) -> None:
    people = acme.every("users", "/users", maxResults=500)
    manager_of = {
        person["primaryEmail"]: person["relations"][0]["value"] for person in people if "relations" in person
    }

    assert {person["primaryEmail"] for person in people} - manager_of.keys() == {"ada@acme.test"}
    assert all(_steps_to_the_top(email, manager_of) < 10 for email in manager_of)


def _steps_to_the_top(email: str, manager_of: dict[str, str]) -> int:
    return 0 if email == "ada@acme.test" else 1 + _steps_to_the_top(manager_of[email], manager_of)


def test_the_deleted_are_extra_and_apart(acme: Sandbox) -> None:
    deleted = acme.every("users", "/users", showDeleted="true")
    listed = {person["id"] for person in acme.every("users", "/users", maxResults=500)}

    assert len(deleted) == 10
    assert not listed & {person["id"] for person in deleted}
    assert all(0 < since(person["deletionTime"]) < 20 for person in deleted)


# Paging


def test_a_page_has_a_hundred_people_unless_asked_and_five_hundred_at_most(acme: Sandbox) -> None:
    assert len(acme.get("/users").json()["users"]) == 100
    assert len(acme.get("/users", maxResults=9999).json()["users"]) == 500
    assert reason(acme.get("/users", maxResults=0)) == (400, "invalid")


def test_a_page_token_is_bound_to_its_listing(acme: Sandbox) -> None:
    token = acme.get("/users").json()["nextPageToken"]

    assert acme.get("/users", pageToken=token, maxResults=3).status_code == 200
    assert reason(acme.get("/users", pageToken=token, showDeleted="true")) == (400, "invalid")
    assert reason(acme.get("/groups", pageToken=token)) == (400, "invalid")


@pytest.mark.parametrize("token", ["unusable", "!", "AAAA", "é", "A" * 9_000])
def test_a_made_up_page_token_is_refused(acme: Sandbox, token: str) -> None:
    assert reason(acme.get("/users", pageToken=token)) == (400, "invalid")


def test_a_page_token_lives_three_days(acme: Sandbox) -> None:
    token = acme.get("/users").json()["nextPageToken"]

    acme.order("clock", days=3)
    assert acme.get("/users", pageToken=token).status_code == 200
    acme.order("clock", days=1)
    assert reason(acme.get("/users", pageToken=token)) == (400, "invalid")


def test_a_leaver_between_two_pages_makes_nobody_else_vanish(acme: Sandbox) -> None:
    before = acme.every("users", "/users", maxResults=500)
    first = acme.get("/users").json()
    acme.order(f"people/{before[50]['primaryEmail']}", deleted=True)

    second = acme.get("/users", pageToken=first["nextPageToken"]).json()

    assert second["users"][0]["id"] == before[100]["id"]


# Choosing and sorting


@pytest.mark.parametrize(
    ("query", "holds"),
    [
        ("isSuspended=true", lambda person: person["suspended"]),
        ("isSuspended=false", lambda person: not person["suspended"]),
        ("orgDepartment=Sales", lambda person: person["organizations"][0]["department"] == "Sales"),
        ("orgUnitPath=/Sales", lambda person: person["orgUnitPath"].startswith("/Sales")),
        ("orgUnitPath='/Customer Support'", lambda person: person["orgUnitPath"] == "/Customer Support"),
        ("name:'Ada Lindqvist'", lambda person: person["primaryEmail"] == "ada@acme.test"),
        ("givenName:Ben", lambda person: person["name"]["givenName"] == "Ben"),
        ("familyName:K*", lambda person: person["name"]["familyName"].lower().startswith("k")),
        ("email=cy@acme.test", lambda person: person["primaryEmail"] == "cy@acme.test"),
        (
            "email:a*",
            lambda person: any(
                text.startswith("a") for text in (person["primaryEmail"], *person.get("aliases", []))
            ),
        ),
        (
            "orgDepartment=Sales isSuspended=false",
            lambda person: person["organizations"][0]["department"] == "Sales" and not person["suspended"],
        ),
    ],
)
def test_a_query_finds_those_it_describes_and_no_others(acme: Sandbox, query: str, holds: Any) -> None:
    everyone = acme.every("users", "/users", maxResults=500)

    found = acme.every("users", "/users", query=query, maxResults=40)

    assert found
    assert found == [person for person in everyone if holds(person)]


@pytest.mark.parametrize(
    "query", ["shoeSize=44", "isSuspended=perhaps", "email", "orgUnitPath:/Sales", "=", "name:'open"]
)
def test_a_query_it_does_not_know_is_refused(acme: Sandbox, query: str) -> None:
    assert reason(acme.get("/users", query=query)) == (400, "invalid")


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("email", lambda person: person["primaryEmail"]),
        ("givenName", lambda person: person["name"]["givenName"].lower()),
        ("familyName", lambda person: person["name"]["familyName"].lower()),
    ],
)
def test_people_come_in_the_order_asked_for(acme: Sandbox, order: str, key: Any) -> None:
    rising = [key(person) for person in acme.every("users", "/users", orderBy=order)]
    falling = [key(person) for person in acme.every("users", "/users", orderBy=order, sortOrder="DESCENDING")]

    assert rising == sorted(rising)
    assert falling == rising[::-1]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"customer": "C0other"}, (404, "notFound")),
        ({"domain": "evil.test"}, (404, "notFound")),
        ({"orderBy": "age"}, (400, "invalid")),
        ({"projection": "most"}, (400, "invalid")),
        ({"projection": "custom"}, (400, "invalid")),
        ({"showDeleted": "maybe"}, (400, "invalid")),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    acme: Sandbox, params: dict[str, Any], expected: tuple[int, str]
) -> None:
    assert reason(acme.get("/users", **params)) == expected


# Fields


def test_a_mask_leaves_what_it_names(acme: Sandbox) -> None:
    page = acme.get(
        "/users", fields="nextPageToken,users(id,name/fullName,emails(address))", maxResults=1
    ).json()

    assert page.keys() == {"nextPageToken", "users"}
    assert page["users"][0].keys() == {"id", "name", "emails"}
    assert page["users"][0]["name"] == {"fullName": "Ada Lindqvist"}
    assert all(email.keys() == {"address"} for email in page["users"][0]["emails"])


def test_a_mask_by_path_and_with_a_star_works_too(acme: Sandbox) -> None:
    by_path = acme.get("/users", fields="users/primaryEmail", maxResults=1).json()

    assert by_path == {"users": [{"primaryEmail": "ada@acme.test"}]}
    assert acme.get("/users", fields="*").json() == acme.get("/users").json() | {}
    assert acme.get("/users/ada@acme.test", fields="name(givenName)").json() == {"name": {"givenName": "Ada"}}


@pytest.mark.parametrize(
    "fields", ["users(shoeSize)", "people", "users(id", "users(id))", "users/", ",", "a b!"]
)
def test_a_mask_it_cannot_follow_is_refused(acme: Sandbox, fields: str) -> None:
    assert reason(acme.get("/users", fields=fields)) == (400, "invalidParameter")


def test_custom_schemas_need_a_projection(acme: Sandbox) -> None:
    def schemas(**params: Any) -> set[str]:
        people = acme.get("/users", maxResults=500, **params).json()["users"]
        return {name for person in people for name in person.get("customSchemas", {})}

    assert schemas() == set()
    assert schemas(projection="full") == {"Workplace", "Skills"}
    assert schemas(projection="custom", customFieldMask="Skills") == {"Skills"}


# One person


def test_a_person_is_found_by_id_address_and_alias(acme: Sandbox) -> None:
    person = next(person for person in acme.get("/users").json()["users"] if "aliases" in person)
    keys = [
        person["id"],
        person["primaryEmail"].upper(),
        person["aliases"][0],
        person["nonEditableAliases"][0],
    ]

    assert [acme.get(f"/users/{key}").json()["id"] for key in keys] == [person["id"]] * 4


@pytest.mark.parametrize(
    "key",
    [
        "nobody@acme.test",
        "1" * 21,
        "0",
        "ada",
        "chiara.zimmermann9999@acme.test",
        "rosa.abe" + "9" * 9_000 + "@acme.test",
    ],
)
def test_a_stranger_is_not_found(acme: Sandbox, key: str) -> None:
    assert reason(acme.get(f"/users/{key}")) == (404, "notFound")


def test_a_deleted_person_is_gone_in_two_steps(acme: Sandbox) -> None:
    acme.order("people/ben@acme.test", deleted=True)

    assert reason(acme.get("/users/ben@acme.test")) == (412, "conditionNotMet")
    assert acme.get("/users/ben@acme.test").json()["error"]["message"] == "User is deleted."
    acme.order("clock", days=20)
    assert reason(acme.get("/users/ben@acme.test")) == (404, "notFound")
    assert "users" not in acme.get("/users", showDeleted="true").json()


# The wire


def test_an_etag_spares_a_second_copy(acme: Sandbox) -> None:
    for path in ("/users", "/users/ada@acme.test"):
        first = acme.get(path)

        assert first.headers["etag"].startswith('"')
        assert acme.get(path, headers={"If-None-Match": first.headers["etag"]}).status_code == 304


def test_an_etag_moves_with_the_person(acme: Sandbox) -> None:
    before = acme.get("/users/ben@acme.test").headers["etag"]
    acme.order("people/ben@acme.test", title="Poet")

    after = acme.get("/users/ben@acme.test", headers={"If-None-Match": before})

    assert after.status_code == 200
    assert after.headers["etag"] == after.json()["etag"] != before


def test_pages_are_zipped_for_who_accepts_it(acme: Sandbox) -> None:
    zipped = acme.get("/users", headers={"Accept-Encoding": "gzip"})
    plain = acme.get("/users", headers={"Accept-Encoding": "identity"})

    assert zipped.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert zipped.json() == plain.json() | {"nextPageToken": zipped.json()["nextPageToken"]}


def test_a_photo_is_a_small_picture_that_never_changes(acme: Sandbox) -> None:
    address = acme.get("/users/ada@acme.test").json()["thumbnailPhotoUrl"]
    photo = acme.http.get(address)

    assert photo.headers["content-type"] == "image/png"
    assert photo.content.startswith(b"\x89PNG")
    assert len(photo.content) < 4_000
    assert acme.http.get(address).content == photo.content


def test_times_are_utc(acme: Sandbox) -> None:
    created = acme.get("/users/ada@acme.test").json()["creationTime"]

    assert datetime.fromisoformat(created).tzinfo == UTC

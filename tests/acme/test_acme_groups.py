"""Groups, members and organizational units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.acme.conftest import Sandbox


def members(acme: Sandbox, group: str, **params: str) -> list[str]:
    return [
        member.get("email", member["id"])
        for member in acme.every("members", f"/groups/{group}@acme.test/members", **params)
    ]


def test_groups_are_listed_by_pages(acme: Sandbox) -> None:
    groups = acme.every("groups", "/groups", maxResults=7)

    assert len(groups) == len({group["id"] for group in groups}) > 20
    assert groups == acme.every("groups", "/groups")


def test_every_group_has_as_many_members_as_it_says(acme: Sandbox) -> None:
    for group in acme.every("groups", "/groups"):
        found = acme.every("members", f"/groups/{group['id']}/members", maxResults=50)

        assert len(found) == int(group["directMembersCount"])
        assert len({member["id"] for member in found}) == len(found)


def test_a_group_is_found_by_id_address_and_alias(acme: Sandbox) -> None:
    everyone = acme.get("/groups/everyone@acme.test").json()

    assert acme.get("/groups/all@acme.test").json() == everyone
    assert acme.get(f"/groups/{everyone['id']}").json() == everyone
    assert acme.get("/groups/nothing@acme.test").json()["error"]["errors"][0]["reason"] == "notFound"


def test_an_empty_group_has_no_members_key(acme: Sandbox) -> None:
    page = acme.get("/groups/alumni@acme.test/members").json()

    assert page.keys() == {"kind", "etag"}


def test_groups_contain_groups(acme: Sandbox) -> None:
    inside = acme.every("members", "/groups/sales@acme.test/members")

    assert {member["type"] for member in inside} == {"GROUP"}
    assert "sales-emea@acme.test" in members(acme, "sales")


def test_groups_contain_each_other_in_a_circle(acme: Sandbox) -> None:
    assert "data-guild@acme.test" in members(acme, "platform-guild")
    assert "platform-guild@acme.test" in members(acme, "data-guild")


def test_outsiders_and_the_whole_company_are_members_too(acme: Sandbox) -> None:
    everyone = acme.every("members", "/groups/everyone@acme.test/members")
    customer = next(member for member in everyone if member["type"] == "CUSTOMER")

    assert customer["id"] == acme.settings["customer"]
    assert "email" not in customer
    assert {"kim@gmail.test", "mallory@evil.test"} <= set(members(acme, "partners"))


def test_the_groups_of_a_person_are_those_that_list_them(acme: Sandbox) -> None:
    person = acme.get("/users").json()["users"][60]["primaryEmail"]
    of_person = {group["email"] for group in acme.every("groups", "/groups", userKey=person)}
    listing = {
        group["email"]
        for group in acme.every("groups", "/groups")
        if person in members(acme, group["email"].partition("@")[0])
    }

    assert of_person == listing != set()


def test_members_can_be_chosen_by_role(acme: Sandbox) -> None:
    assert members(acme, "leadership", roles="OWNER") == ["ada@acme.test"]


def test_a_deleted_person_leaves_their_groups(acme: Sandbox) -> None:
    acme.order("people/ben@acme.test", deleted=True)

    assert "ben@acme.test" not in members(acme, "sales-emea")
    assert "ben@acme.test" not in members(acme, "leadership")


def test_a_script_moves_people_between_groups(acme: Sandbox) -> None:
    acme.order("groups/alumni@acme.test", add=["cy@acme.test"])
    acme.order("groups/product@acme.test", remove=["cy@acme.test"])

    assert members(acme, "alumni") == ["cy@acme.test"]
    assert "cy@acme.test" not in members(acme, "product")
    of_cy = {group["email"] for group in acme.every("groups", "/groups", userKey="cy@acme.test")}
    assert "alumni@acme.test" in of_cy
    assert "product@acme.test" not in of_cy


def test_a_member_stays_one_under_another_name(acme: Sandbox) -> None:
    acme.order("groups/alumni@acme.test", add=["cy@acme.test"])
    acme.order("people/cy@acme.test", primaryEmail="cyrus@acme.test")
    assert members(acme, "alumni") == ["cyrus@acme.test"]

    acme.order("groups/alumni@acme.test", remove=["cyrus@acme.test"])

    assert "members" not in acme.get("/groups/alumni@acme.test/members").json()


def test_who_was_added_and_deleted_is_no_member(acme: Sandbox) -> None:
    acme.order("groups/alumni@acme.test", add=["cy@acme.test"])
    acme.order("people/cy@acme.test", deleted=True)

    assert members(acme, "alumni") == []
    assert acme.get("/groups/alumni@acme.test").json()["directMembersCount"] == "0"


# Groups by script


def test_a_script_creates_a_group(acme: Sandbox) -> None:
    count = len(acme.every("groups", "/groups"))
    made = acme.order(
        "groups", email="Choir@acme.test", name="Choir", add=["cy@acme.test", "board@evil.test"]
    )["group"]

    assert acme.get("/groups/choir@acme.test").json() == made == acme.get(f"/groups/{made['id']}").json()
    assert (made["name"], made["directMembersCount"]) == ("Choir", "2")
    assert members(acme, "choir") == ["cy@acme.test", "board@evil.test"]
    assert len(acme.every("groups", "/groups")) == count + 1
    assert made in acme.every("groups", "/groups", userKey="cy@acme.test")


def test_groups_are_nested_by_script_even_in_a_circle(acme: Sandbox) -> None:
    for name in ("outer", "inner"):
        acme.order("groups", email=f"{name}@acme.test", name=name)
    acme.order("groups/outer@acme.test", add=["inner@acme.test"])
    acme.order("groups/inner@acme.test", add=["outer@acme.test"])

    assert members(acme, "outer") == ["inner@acme.test"]
    assert members(acme, "inner") == ["outer@acme.test"]
    of_inner = acme.every("groups", "/groups", userKey="inner@acme.test")
    assert [group["email"] for group in of_inner] == ["outer@acme.test"]


def test_a_group_gets_another_name_and_keeps_its_old_address(acme: Sandbox) -> None:
    before = acme.get("/groups/product@acme.test").json()
    acme.order("groups/product@acme.test", email="goods@acme.test", name="Goods", description="All of them")
    after = acme.get("/groups/goods@acme.test").json()

    assert (after["id"], after["name"], after["description"]) == (before["id"], "Goods", "All of them")
    assert after["aliases"] == ["product@acme.test"]
    assert acme.get("/groups/product@acme.test").json() == after
    assert "goods@acme.test" in members(acme, "engineering")


def test_a_deleted_group_is_gone_everywhere(acme: Sandbox) -> None:
    acme.order("groups/product@acme.test", deleted=True)

    assert acme.get("/groups/product@acme.test").status_code == 404
    assert acme.get("/groups/product@acme.test/members").status_code == 404
    assert "product@acme.test" not in members(acme, "engineering")
    assert "product@acme.test" not in {group["email"] for group in acme.every("groups", "/groups")}
    engineering = acme.get("/groups/engineering@acme.test").json()
    assert int(engineering["directMembersCount"]) == len(members(acme, "engineering"))


def test_a_group_with_a_deleted_ones_address_is_another(acme: Sandbox) -> None:
    before = acme.get("/groups/product@acme.test").json()
    acme.order("groups/product@acme.test", deleted=True)
    after = acme.order("groups", email="product@acme.test", name="Product")["group"]

    assert after["id"] != before["id"]
    assert members(acme, "product") == []
    assert "product@acme.test" not in members(acme, "engineering")


@pytest.mark.parametrize(
    "order",
    [
        {"name": "Another"},
        {"description": "Another"},
        {"email": "another@acme.test"},
        {"add": ["kim@gmail.test"]},
        {"remove": ["ada@acme.test"]},
    ],
    ids=lambda order: next(iter(order)),
)
def test_a_groups_etag_moves_with_anything_shown(acme: Sandbox, order: dict[str, Any]) -> None:
    group = "/groups/leadership@acme.test"
    before = acme.get(group)
    assert acme.get(group, headers={"If-None-Match": before.headers["etag"]}).status_code == 304

    acme.order("groups/leadership@acme.test", **order)

    assert acme.get(group).headers["etag"] == acme.get(group).json()["etag"] != before.headers["etag"]


def test_a_groups_address_is_nobody_elses(acme: Sandbox) -> None:
    def status(path: str, **fields: str) -> int:
        return acme.http.post(f"/sandbox/{path}", json=fields).status_code

    assert status("groups", email="ben@acme.test") == 409
    assert status("groups", email="alumni@acme.test") == 409
    assert status("groups/alumni@acme.test", email="product@acme.test") == 409
    assert status("groups/nothing@acme.test", name="Something") == 404
    assert status("groups", name="No address") == 422
    assert status("groups", email="choir@acme.test", colour="red") == 422


def test_going_back_undoes_what_was_done_to_groups(acme: Sandbox) -> None:
    before = acme.every("groups", "/groups")
    acme.order("groups", email="choir@acme.test", name="Choir")
    acme.order("groups/product@acme.test", deleted=True)
    acme.order("groups/alumni@acme.test", name="Retired", add=["cy@acme.test"])

    acme.order("reset", to_step=1)
    assert [group["email"] for group in acme.every("groups", "/groups")][-1] == "choir@acme.test"
    acme.order("reset")

    assert acme.every("groups", "/groups") == before


# Organizational units


def test_all_units_are_listed_with_their_parents(acme: Sandbox) -> None:
    units = acme.get("/customer/my_customer/orgunits", type="all").json()["organizationUnits"]
    ids = {unit["orgUnitPath"]: unit["orgUnitId"] for unit in units}

    assert {"/Sales", "/Sales/EMEA", "/Engineering/Data", "/Contractors"} <= ids.keys()
    for unit in units:
        if unit["parentOrgUnitPath"] != "/":
            assert ids[unit["parentOrgUnitPath"]] == unit["parentOrgUnitId"]


def test_everyone_is_in_a_listed_unit(acme: Sandbox) -> None:
    units = acme.get("/customer/my_customer/orgunits", type="all").json()["organizationUnits"]
    paths = {person["orgUnitPath"] for person in acme.every("users", "/users", maxResults=500)}

    assert paths <= {unit["orgUnitPath"] for unit in units}


def test_moving_people_makes_the_unit_they_move_to(acme: Sandbox) -> None:
    acme.order("people/many", first=4, patch={"orgUnitPath": "/Labs/Robots"})
    units = acme.get("/customer/my_customer/orgunits", type="all").json()["organizationUnits"]

    assert {"/Labs", "/Labs/Robots"} <= {unit["orgUnitPath"] for unit in units}
    assert len(acme.every("users", "/users", query="orgUnitPath=/Labs")) == 4


def test_the_units_below_one_are_its_children(acme: Sandbox) -> None:
    units = acme.get("/customer/my_customer/orgunits", orgUnitPath="/Sales", type="children").json()

    assert {unit["name"] for unit in units["organizationUnits"]} == {"EMEA", "Americas", "APAC"}
    assert "organizationUnits" not in acme.get("/customer/my_customer/orgunits", orgUnitPath="/Legal").json()

"""Groups, members and organizational units."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def test_the_units_below_one_are_its_children(acme: Sandbox) -> None:
    units = acme.get("/customer/my_customer/orgunits", orgUnitPath="/Sales", type="children").json()

    assert {unit["name"] for unit in units["organizationUnits"]} == {"EMEA", "Americas", "APAC"}
    assert "organizationUnits" not in acme.get("/customer/my_customer/orgunits", orgUnitPath="/Legal").json()

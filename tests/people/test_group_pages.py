"""Groups: lists of them, who is in one and through what, circles, outsiders, CSV and JSON."""

import csv
import io
import re

import httpx2
import pytest
from tests.town import Town, Visitor, problem

from muster.people.groups import MemberFilter, Nesting
from muster.platform.folding import folded

_ROW = re.compile(r'<a href="/(?:groups|people)/([^"]+)" data-row>')


@pytest.fixture
async def groups(town: Town) -> Town:
    await town.portal.sync.run()
    await town.portal.groups.run()
    return town


def _rows(page: str) -> list[str]:
    return _ROW.findall(page)


def _table(response: httpx2.Response) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"))))


async def _id(town: Town, name: str) -> str:
    return str(await town.value("SELECT google_id FROM groups WHERE email = %s", f"{name}@acme.test"))


async def _members(visitor: Visitor, group_id: str, **asked: str | int) -> list[dict[str, object]]:
    """All of them, by the API's cursors."""
    found: list[dict[str, object]] = []
    after = ""
    while True:
        answer = (
            await visitor.get(f"/api/v1/groups/{group_id}/members", params={**asked, "after": after})
        ).json()
        found += answer["members"]
        if not (after := answer["after"] or ""):
            assert len(found) == answer["total"]
            return found


@pytest.mark.parametrize("sort", ["name", "-name", "email", "-email", "members", "-members"])
async def test_paging_shows_every_group_once_in_every_order(groups: Town, sort: str):
    async with groups.signed_in("cy@acme.test") as cy:
        shown: list[str] = []
        after = ""
        while True:
            asked = {"sort": sort, "limit": 7, "after": after}
            answer = (await cy.get("/api/v1/groups", params=asked)).json()
            shown += [group["id"] for group in answer["groups"]]
            if not (after := answer["after"] or ""):
                break

        assert len(shown) == len(set(shown)) == answer["total"]
        assert answer["total"] == await groups.value("SELECT count(*) FROM groups")


async def test_a_page_leads_forward_and_back_again(groups: Town):
    async with groups.signed_in("cy@acme.test") as cy:
        first = (await cy.get("/groups?limit=5")).text
        forward = re.search(r'href="([^"]+)" rel="next"', first)
        assert forward
        second = (await cy.get(forward[1].replace("&amp;", "&"))).text
        back = re.search(r'href="([^"]+)" rel="prev"', second)
        assert back

        assert _rows((await cy.get(back[1].replace("&amp;", "&"))).text) == _rows(first)


async def test_a_group_is_found_by_any_part_without_accents(groups: Town):
    await groups.sandbox.tell(
        "groups/alumni@acme.test", {"name": "Ångström Élèves", "description": "Ehemalige"}
    )
    await groups.portal.groups.run()

    async with groups.signed_in("cy@acme.test") as cy:
        for words in ("angstrom", "ÉLÈVES", "alumni@", "ehemal", "eleves ehem"):
            assert "Ångström" in (await cy.get("/groups", params={"q": words})).text, words
        assert "No group matches" in (await cy.get("/groups?q=%25")).text
        all_of_everyone = (await cy.get("/groups", params={"q": "all@acme"})).text  # an alias
        assert "everyone@acme.test" in all_of_everyone


async def test_direct_members_stand_with_their_kind_and_role(groups: Town):
    async with groups.signed_in("cy@acme.test") as cy:
        everyone = await _members(cy, await _id(groups, "everyone"))
        leaders = await _members(cy, await _id(groups, "leadership"))

        assert {member["kind"] for member in everyone} == {"group", "customer"}
        assert [one["email"] for one in leaders if one["role"] == "OWNER"] == ["ada@acme.test"]
        page = (await cy.get(f"/groups/{await _id(groups, 'everyone')}")).text
        assert "Everybody in the company" in page


async def test_everybody_reached_is_counted_once_with_the_shortest_way(groups: Town):
    sales, emea = await _id(groups, "sales"), await _id(groups, "sales-emea")
    expected = await groups.value(
        """
        SELECT count(DISTINCT member_id) FROM group_members WHERE kind = 'user' AND group_id IN (
            SELECT member_id FROM group_members WHERE group_id = %s
        )
        """,
        sales,
    )

    async with groups.signed_in("cy@acme.test") as cy:
        reached = await _members(cy, sales, effective="true", limit=20)

        assert len(reached) == len({one["id"] for one in reached}) == expected
        of_emea = [one for one in reached if one["via"] == ["sales-emea@acme.test"]]
        assert len(of_emea) == await groups.value(
            "SELECT count(*) FROM group_members WHERE group_id = %s", emea
        )


async def test_the_whole_company_is_everybody_who_is_here(groups: Town):
    here = await groups.value("SELECT count(*) FROM people WHERE status IN ('active', 'guest')")
    group = await groups.sandbox.tell("groups", {"email": "all-hands@acme.test", "name": "All hands"})
    await groups.portal.groups.run()
    customer = await groups.value("SELECT member_id FROM group_members WHERE kind = 'customer'")
    await groups.execute(
        "INSERT INTO group_members VALUES (%s, %s, 'customer', '', 'MEMBER')", group["group"]["id"], customer
    )

    async with groups.signed_in("cy@acme.test") as cy:
        reached = await _members(cy, group["group"]["id"], effective="true", limit=200)

        assert len(reached) == here
        assert all(one["via"] == [] for one in reached)


async def test_a_circle_of_groups_ends_and_is_said_to_be_one(groups: Town):
    on_call = await _id(groups, "on-call")

    async with groups.signed_in("cy@acme.test") as cy:
        reached = await _members(cy, on_call, effective="true", limit=200)
        page = (await cy.get(f"/groups/{on_call}")).text

        assert len(reached) == len({one["id"] for one in reached})
        assert max(len(one["via"]) for one in reached) == 2  # type: ignore[arg-type]
        assert "this group" in page
        assert (await cy.get(f"/api/v1/groups/{on_call}")).json()["inside"] == 2


async def test_a_chain_of_many_groups_is_followed_to_its_end(groups: Town):
    await groups.execute(
        """
        INSERT INTO groups (google_id, email, name, description, aliases, direct_members, sort_name,
            search_text, etag)
        SELECT 'deep' || n, 'deep' || n || '@acme.test', 'Deep ' || n, '', '{}', 1, 'deep', 'deep', ''
        FROM generate_series(1, 300) AS n
        """
    )
    await groups.execute(
        """
        INSERT INTO group_members
        SELECT 'deep' || n, 'deep' || n + 1, 'group', '', 'MEMBER' FROM generate_series(1, 299) AS n
        UNION ALL SELECT 'deep300', 'x1', 'user', 'kim@gmail.test', 'MEMBER'
        """
    )

    async with groups.signed_in("cy@acme.test") as cy:
        (kim,) = await _members(cy, "deep1", effective="true")
        page = await cy.get("/groups/deep1")

        assert len(kim["via"]) == 299  # type: ignore[arg-type]
        assert page.status_code == 200


async def test_who_is_outside_the_company_is_marked(groups: Town):
    partners = await _id(groups, "partners")

    async with groups.signed_in("cy@acme.test") as cy:
        outsiders = await _members(cy, partners, kind="outside")
        page = (await cy.get(f"/groups/{partners}")).text
        listed = (await cy.get("/api/v1/groups?show=outside")).json()

        assert {one["email"] for one in outsiders} == {"kim@gmail.test", "mallory@evil.test"}
        assert page.count(">outside</span>") == 2
        assert [group["email"] for group in listed["groups"]] == ["partners@acme.test"]


async def test_somebody_new_of_our_own_domain_is_no_outsider(groups: Town):
    await groups.sandbox.tell(
        "people", {"primaryEmail": "new@acme.test", "name": {"givenName": "N", "familyName": "Ew"}}
    )
    await groups.sandbox.tell("groups/partners@acme.test", {"add": ["new@acme.test"]})
    await groups.portal.groups.run()

    async with groups.signed_in("cy@acme.test") as cy:
        found = await _members(cy, await _id(groups, "partners"), q="new@")

        assert [(one["email"], one["outside"]) for one in found] == [("new@acme.test", False)]


async def test_the_groups_it_is_in_are_named_direct_ones_first(groups: Town):
    async with groups.signed_in("cy@acme.test") as cy:
        answer = (await cy.get(f"/api/v1/groups/{await _id(groups, 'sales-emea')}")).json()

        assert [(one["email"], one["is_direct"]) for one in answer["in_groups"]] == [
            ("sales@acme.test", True),
            ("everyone@acme.test", False),
        ]


async def test_members_move_with_a_script_and_the_next_run(groups: Town):
    alumni = await _id(groups, "alumni")
    async with groups.signed_in("cy@acme.test") as cy:
        assert "Nobody is in it" in (await cy.get(f"/groups/{alumni}")).text
        await groups.sandbox.tell("groups/alumni@acme.test", {"add": ["cy@acme.test"]})
        await groups.portal.groups.run()

        assert [one["email"] for one in await _members(cy, alumni)] == ["cy@acme.test"]


async def test_the_csv_holds_what_the_filter_does(groups: Town):
    everyone = await _id(groups, "everyone")
    async with groups.signed_in("cy@acme.test") as cy:
        whole = _table(await cy.get("/groups.csv"))
        some = _table(await cy.get("/groups.csv?q=sales&sort=-name"))
        reached = _table(await cy.get(f"/groups/{everyone}/members.csv?effective=true&q=cy@acme"))

        assert len(whole) == await groups.value("SELECT count(*) FROM groups")
        names = [folded(row["Name"]) for row in some]
        assert names == sorted(names, reverse=True)
        assert [row["Address"] for row in reached] == ["cy@acme.test"]
        for path in ("/groups.csv?sort=x", "/groups.csv?show=x", f"/groups/{everyone}/members.csv?kind=x"):
            assert (await cy.get(path)).status_code == 422, path


async def test_an_unknown_group_is_not_found_and_a_gone_one_says_so(groups: Town):
    await groups.sandbox.tell("groups/alumni@acme.test", {"deleted": True})
    await groups.portal.groups.run()

    async with groups.signed_in("cy@acme.test") as cy:
        assert (await cy.get("/groups/nothing")).status_code == 404
        assert problem(await cy.get("/api/v1/groups/nothing/members"))["code"] == "not_found"
        assert "alumni" not in (await cy.get("/groups")).text
        assert "alumni" in (await cy.get("/groups?show=gone")).text
        assert "has not had this group" in (await cy.get(f"/groups/{await _id(groups, 'alumni')}")).text


async def test_without_groups_a_page_says_what_to_do(town: Town):
    async with town.signed_in("ada@acme.test") as ada, town.signed_in("cy@acme.test") as cy:
        assert "Sync groups" in (await ada.get("/groups")).text
        assert "Sync groups" not in (await cy.get("/groups")).text


def test_whoever_is_inside_nothing_reaches_nobody_else():
    alone = Nesting.of("a", [])

    assert alone.count == 0
    assert alone.tree() == []
    assert alone.path(0) == []
    assert MemberFilter().sort == "kind"

"""Groups and who is in them, as pages, CSV and JSON."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from starlette.responses import Response

from muster.access.roles import Permission
from muster.people.group_sync import GroupSync
from muster.people.groups import (
    GROUPS,
    KINDS,
    TABS,
    GroupBrief,
    GroupFilter,
    GroupRow,
    Groups,
    MemberFilter,
    MemberRow,
    members_of,
)
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages
from muster.platform.paging import ListQuery, href, links
from muster.platform.routes import Nav, Request, Route

_ROLES = {"": "Every role", "owner": "Owners", "manager": "Managers", "member": "Members"}
_MEMBER_TABS = {"": "All", "user": "People", "group": "Groups", "outside": "Outsiders", "other": "Others"}


class ListGroups(ListQuery, frozen=True, kw_only=True):
    q: str = ""
    show: str = ""
    sort: str = "name"

    def filter(self) -> GroupFilter:
        return GroupFilter(q=self.q, show=self.show, sort=self.sort)


class ListMembers(ListQuery, frozen=True, kw_only=True):
    """Direct members, or with `effective` everybody who is reached through groups inside as well."""

    q: str = ""
    kind: str = ""
    role: str = ""
    sort: str = ""
    effective: bool = False

    def filter(self) -> MemberFilter:
        role = "" if self.effective else self.role
        return MemberFilter(
            q=self.q, kind=self.kind, role=role, sort=self.sort or "kind", effective=self.effective
        )


class GroupAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A group; `direct_members` are as many as Google counts."""

    id: str
    name: str
    email: str
    description: str
    aliases: list[str]
    direct_members: int
    members_read_at: datetime | None


class GroupsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of groups; `after` is the cursor of the next page, absent on the last."""

    groups: list[GroupAnswer]
    total: int
    after: str | None


class GroupWithGroups(GroupAnswer, frozen=True, kw_only=True):
    """`inside` counts the groups reached from it; `in_groups` are those it is in, `is_direct` or not."""

    inside: int
    in_groups: list[GroupBrief]


class MemberAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`via` are the groups that lead to the member, outermost first; none for a direct one."""

    id: str
    kind: str
    role: str
    name: str
    email: str
    status: str | None
    outside: bool
    via: list[str]


class MembersAnswer(msgspec.Struct, frozen=True, kw_only=True):
    members: list[MemberAnswer]
    total: int
    after: str | None


class GroupPages:
    def __init__(self, groups: Groups, sync: GroupSync, pages: Pages) -> None:
        self._groups = groups
        self._sync = sync
        self._pages = pages

    def routes(self) -> list[Route]:
        see = Permission.SEE_PEOPLE
        nav = Nav(label="Groups", icon="groups", order=3)
        one = "/groups/{group_id}"
        return [
            Route(path="/groups", handler=self.list_groups, may=see, reads=ListGroups, nav=nav),
            Route(path="/groups.csv", handler=self.download_groups, may=see, reads=ListGroups),
            Route(path=f"{one}/members.csv", handler=self.download_members, may=see, reads=ListMembers),
            Route(path=one, handler=self.show_group, may=see, reads=ListMembers),
            Route(
                path="/api/v1/groups",
                handler=self.answer_groups,
                may=see,
                reads=ListGroups,
                returns=GroupsAnswer,
            ),
            Route(path=f"/api/v1{one}", handler=self.answer_group, may=see, returns=GroupWithGroups),
            Route(
                path=f"/api/v1{one}/members",
                handler=self.answer_members,
                may=see,
                reads=ListMembers,
                returns=MembersAnswer,
            ),
        ]

    async def list_groups(self, request: Request, asked: ListGroups) -> Response:
        wanted = asked.filter()
        found = await self._groups.find(wanted, after=asked.after, before=asked.before, limit=asked.limit)
        return self._pages.render(
            request,
            "groups.html",
            title="Groups",
            groups=found.rows,
            total=await self._groups.count(wanted),
            tabs=[
                {"key": key, "label": label, "href": href("/groups", asked, show=key)}
                for key, label in TABS.items()
            ],
            synced_at=await self._sync.synced_at(),
            may_sync=request.actor.may(Permission.SYNC_PEOPLE),
            **links("/groups", "/groups.csv", asked, found, GROUPS.labels),
        )

    async def download_groups(self, request: Request, asked: ListGroups) -> Response:
        rows = self._groups.stream(asked.filter())
        return CsvResponse(
            "groups.csv", list(_GROUP_COLUMNS), rows, lambda row: [of(row) for of in _GROUP_COLUMNS.values()]
        )

    async def show_group(self, request: Request, asked: ListMembers) -> Response:
        group = await self._groups.get(request.path_params["group_id"])
        nesting = await self._groups.nesting(group.id)
        wanted = asked.filter()
        found = await self._groups.find_members(
            nesting, wanted, after=asked.after, before=asked.before, limit=asked.limit
        )
        counts = await self._groups.count_members(nesting, wanted)
        here = f"/groups/{group.id}"
        return self._pages.render(
            request,
            "group.html",
            title=group.name or group.email,
            group=group,
            members=found.rows,
            paths={rank: nesting.path(rank) for rank in {member.rank for member in found.rows}},
            counts=counts,
            tabs=_member_tabs(here, asked, counts),
            roles=_ROLES,
            inside=nesting.tree(),
            inside_count=nesting.count,
            containing=await self._groups.list_containing(group.id),
            ways={
                "direct": href(here, asked, effective=False, kind=""),
                "everybody": href(here, asked, effective=True, kind="", role="", sort=""),
            },
            synced_at=await self._sync.synced_at(),
            **links(here, f"{here}/members.csv", asked, found, members_of(wanted).labels),
        )

    async def download_members(self, request: Request, asked: ListMembers) -> Response:
        group = await self._groups.get(request.path_params["group_id"])
        nesting = await self._groups.nesting(group.id)
        wanted = asked.filter()
        columns: dict[str, Callable[[MemberRow], object]] = dict(_MEMBER_COLUMNS)
        if wanted.effective:
            del columns["Role"]
            paths: dict[int, str] = {}
            columns["Through"] = lambda row: paths.setdefault(
                row.rank, " > ".join(step.email for step in nesting.path(row.rank))
            )
        rows = self._groups.stream_members(nesting, wanted)
        return CsvResponse(
            "members.csv", list(columns), rows, lambda row: [of(row) for of in columns.values()]
        )

    async def answer_groups(self, request: Request, asked: ListGroups) -> GroupsAnswer:
        """List groups a page at a time, searched, filtered and sorted."""
        wanted = asked.filter()
        found = await self._groups.find(wanted, after=asked.after, before=asked.before, limit=asked.limit)
        return GroupsAnswer(
            groups=[GroupAnswer(**_told(row)) for row in found.rows],
            total=await self._groups.count(wanted),
            after=found.after,
        )

    async def answer_group(self, request: Request) -> GroupWithGroups:
        """Show one group, how many it holds through others, and the groups it is in."""
        group = await self._groups.get(request.path_params["group_id"])
        nesting = await self._groups.nesting(group.id)
        return GroupWithGroups(
            **_told(group), inside=nesting.count, in_groups=await self._groups.list_containing(group.id)
        )

    async def answer_members(self, request: Request, asked: ListMembers) -> MembersAnswer:
        """List who is in a group, directly or through other groups, and by which way."""
        group = await self._groups.get(request.path_params["group_id"])
        nesting = await self._groups.nesting(group.id)
        wanted = asked.filter()
        found = await self._groups.find_members(
            nesting, wanted, after=asked.after, before=asked.before, limit=asked.limit
        )
        counts = await self._groups.count_members(nesting, wanted)
        return MembersAnswer(
            members=[
                MemberAnswer(
                    id=row.id,
                    kind=row.kind,
                    role=row.role,
                    name=row.name,
                    email=row.email,
                    status=row.status,
                    outside=row.is_outside,
                    via=[step.email for step in nesting.path(row.rank)],
                )
                for row in found.rows
            ],
            total=counts[wanted.kind],
            after=found.after,
        )


def _member_tabs(path: str, asked: ListMembers, counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """By kind, with their counts; a kind that the group has nobody of is left out."""
    return [
        {"key": key, "label": label, "count": counts[key], "href": href(path, asked, kind=key)}
        for key, label in {**_MEMBER_TABS, "customer": KINDS["customer"]}.items()
        if counts[key] or key in {"", asked.kind}
    ]


def _told(row: GroupRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "email": row.email,
        "description": row.description,
        "aliases": row.aliases,
        "direct_members": row.direct_members,
        "members_read_at": row.members_read_at,
    }


_GROUP_COLUMNS: dict[str, Callable[[GroupRow], object]] = {
    "Name": lambda row: row.name,
    "Address": lambda row: row.email,
    "Aliases": lambda row: " ".join(row.aliases),
    "Description": lambda row: row.description,
    "Direct members": lambda row: row.direct_members,
    "Members read": lambda row: row.members_read_at,
    "Gone": lambda row: row.removed_at,
}
_MEMBER_COLUMNS: dict[str, Callable[[MemberRow], object]] = {
    "Name": lambda row: row.name,
    "Address": lambda row: row.email,
    "Kind": lambda row: row.kind,
    "Role": lambda row: row.role.lower(),
    "Title": lambda row: row.title,
    "Department": lambda row: row.department,
    "Status": lambda row: row.status.value if row.status else "",
    "Outside": lambda row: "yes" if row.is_outside else "",
}

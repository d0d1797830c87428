"""Who may do what: the table of roles, who has them, and giving and taking them."""

from collections.abc import AsyncGenerator, Sequence

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.role_book import RoleBook
from muster.access.role_grants import RoleGrants, role_named
from muster.access.roles import GRANTS, TITLES, Permission, Role
from muster.errors import Conflict, Invalid, NotFound, Refusal
from muster.platform import audit
from muster.platform.csv import CsvResponse
from muster.platform.database import Database
from muster.platform.pages import Pages
from muster.platform.routes import Nav, Request, Route

GRANTABLE = [role for role in Role if role is not Role.MEMBER]


class AskRoles(msgspec.Struct, frozen=True, kw_only=True):
    """`who` is the address of somebody whose roles are to be explained."""

    who: str = ""


class ChangeRole(msgspec.Struct, frozen=True, kw_only=True):
    """`holder` is the address of a person, or that of a group or Google's id of it, as `kind` says.

    `is_sure` confirms what a warning was given about.
    """

    kind: str = "person"
    holder: str = ""
    role: str = ""
    is_sure: bool = False


class RolePages:
    def __init__(self, book: RoleBook, grants: RoleGrants, database: Database, pages: Pages) -> None:
        self._book = book
        self._grants = grants
        self._database = database
        self._pages = pages

    def routes(self) -> list[Route]:
        see, grant = Permission.SEE_ROLES, Permission.GRANT_ROLES
        nav = Nav(label="Admin", icon="roles", order=8, label_within="Roles")
        return [
            Route(path="/admin/roles", handler=self.show, may=see, reads=AskRoles, nav=nav),
            Route(path="/admin/roles.csv", handler=self.download, may=see),
            Route(path="/admin/roles/grants", method="POST", handler=self.grant, may=grant, reads=ChangeRole),
            Route(
                path="/admin/roles/revocations",
                method="POST",
                handler=self.revoke,
                may=grant,
                reads=ChangeRole,
            ),
        ]

    async def show(self, request: Request, asked: AskRoles) -> Response:
        return await self._page(request, who=asked.who.strip())

    async def download(self, request: Request) -> Response:
        async with self._database.transaction() as tx:
            await audit.record(tx, "roles.exported", by=request.actor, origin=request.origin)
        return CsvResponse("roles.csv", _COLUMNS, self._rows(), list)

    async def grant(self, request: Request, asked: ChangeRole) -> Response:
        try:
            if asked.kind == "group":
                await self._check_sure(asked)
                await self._grants.grant_to_group(
                    asked.holder, role_named(asked.role), by=request.actor, origin=request.origin
                )
            else:
                await self._grants.grant(
                    asked.holder, role_named(asked.role), by=request.actor, origin=request.origin
                )
        except (Invalid, Conflict, NotFound) as refusal:
            return await self._page(request, refusal=refusal, asked=asked)
        return RedirectResponse("/admin/roles#holders", status_code=303)

    async def revoke(self, request: Request, asked: ChangeRole) -> Response:
        try:
            take = self._grants.revoke_from_group if asked.kind == "group" else self._grants.revoke
            await take(asked.holder, role_named(asked.role), by=request.actor, origin=request.origin)
        except (Invalid, Conflict, NotFound) as refusal:
            return await self._page(request, refusal=refusal, asked=asked)
        return RedirectResponse("/admin/roles#holders", status_code=303)

    async def _check_sure(self, asked: ChangeRole) -> None:
        """Raises Conflict with what has to be confirmed first."""
        reach = await self._book.get_reach(asked.holder)
        warnings = []
        if reach.is_everybody:
            warnings.append("everybody in the company is in this group")
        if reach.outsiders:
            warnings.append(f"{reach.outsiders} of its members are not people of the company")
        if role_named(asked.role) is Role.ADMIN:
            warnings.append("whoever manages this group at Google decides who is an admin here")
        if warnings and not asked.is_sure:
            told = "; ".join(warnings)
            raise NeedsConfirming(
                f"{reach.people} people would be {TITLES[role_named(asked.role)].name.lower()}: {told}."
            )

    async def _page(
        self,
        request: Request,
        *,
        who: str = "",
        refusal: Refusal | None = None,
        asked: ChangeRole | None = None,
    ) -> Response:
        holders, groups = await self._book.list_holders(), await self._book.list_groups()
        return self._pages.render(
            request,
            "roles.html",
            title="Roles",
            status=200 if refusal is None else 409 if isinstance(refusal, Conflict) else 422,
            roles=[{"key": role.value, "title": TITLES[role], "may": GRANTS[role]} for role in Role],
            permissions=list(Permission),
            grantable=[(role.value, TITLES[role].name) for role in GRANTABLE],
            names={role.value: TITLES[role].name for role in Role},
            holders=[
                {"holder": holder, "is_named": self._grants.is_named_in_settings(holder.email)}
                for holder in holders
            ],
            groups=groups,
            who=who,
            explained=await self._book.explain(who) if who else None,
            may_grant=request.actor.may(Permission.GRANT_ROLES),
            refusal=str(refusal) if refusal else None,
            needs_confirming=isinstance(refusal, NeedsConfirming),
            asked=asked or ChangeRole(),
        )

    async def _rows(self) -> AsyncGenerator[Sequence[object], None]:
        for holder in await self._book.list_holders():
            for role in holder.roles:
                yield [
                    "person",
                    holder.email,
                    holder.name,
                    role,
                    "directly",
                    holder.granted_by,
                    holder.granted_at,
                ]
        for group in await self._book.list_groups():
            given = [group.granted_by, group.granted_at]
            for role in group.roles:
                yield ["group", group.email, group.name, role, "directly", *given]
                for person in await self._book.list_people_of(group.group_id):
                    by = f"group {group.email or group.group_id}"
                    yield ["person", person.email, person.name, role, by, *given]


class NeedsConfirming(Conflict):
    """What was asked is possible, and worth a second look."""


_COLUMNS = ["Kind", "Address", "Name", "Role", "By", "Granted by", "Granted at"]

"""Who may do what: the table of roles, who has them, and giving and taking them."""

from collections.abc import AsyncGenerator, Sequence
from urllib.parse import urlencode

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.role_book import GroupGrant, PersonGrant, RoleBook
from muster.access.role_grants import RoleGrants, role_named
from muster.access.roles import GRANTS, TITLES, Permission, Role
from muster.access.second_look import NeedsConfirming, SecondLook
from muster.errors import Conflict, Invalid, NotFound, Refusal
from muster.platform import audit
from muster.platform.csv import CsvResponse
from muster.platform.database import Database
from muster.platform.pages import Pages
from muster.platform.routes import Nav, Request, Route

GRANTABLE = [role for role in Role if role is not Role.MEMBER]


class AskRoles(msgspec.Struct, frozen=True, kw_only=True):
    """`who` is the address of somebody whose roles are to be explained. After a change `done` says
    "given" or "taken", and `holder` and `role` what was changed.
    """

    who: str = ""
    done: str = ""
    holder: str = ""
    role: str = ""


class ChangeRole(msgspec.Struct, frozen=True, kw_only=True):
    """`holder` is the address of a person, or that of a group or Google's id of it, as `kind` says.

    `is_sure` confirms what a warning was given about.
    """

    kind: str = "person"
    holder: str = ""
    role: str = ""
    is_sure: bool = False


class RolePages:
    def __init__(
        self,
        book: RoleBook,
        grants: RoleGrants,
        second_look: SecondLook,
        database: Database,
        pages: Pages,
    ) -> None:
        self._book = book
        self._grants = grants
        self._second_look = second_look
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
        return await self._page(request, who=asked.who.strip(), told=asked)

    async def download(self, request: Request) -> Response:
        async with self._database.transaction() as tx:
            await audit.record(tx, "roles.exported", by=request.actor, origin=request.origin)
        return CsvResponse("roles.csv", _COLUMNS, self._rows(), list)

    async def grant(self, request: Request, asked: ChangeRole) -> Response:
        try:
            role, is_group = role_named(asked.role), asked.kind == "group"
            if not asked.is_sure:
                await self._second_look.check(asked.holder, role, is_group=is_group)
            give = self._grants.grant_to_group if is_group else self._grants.grant
            await give(asked.holder, role, by=request.actor, origin=request.origin)
        except (Invalid, Conflict, NotFound) as refusal:
            return await self._refused(request, asked, refusal)
        return _back(asked, done="given")

    async def revoke(self, request: Request, asked: ChangeRole) -> Response:
        try:
            take = self._grants.revoke_from_group if asked.kind == "group" else self._grants.revoke
            await take(asked.holder, role_named(asked.role), by=request.actor, origin=request.origin)
        except (Invalid, Conflict, NotFound) as refusal:
            return await self._refused(request, asked, refusal)
        return _back(asked, done="taken")

    async def _refused(self, request: Request, asked: ChangeRole, refusal: Refusal) -> Response:
        """Beside the form, or as a problem for who sent no form."""
        if request.headers.get("content-type", "").startswith("application/json"):
            raise refusal
        return await self._page(request, refusal=refusal, asked=asked)

    async def _page(
        self,
        request: Request,
        *,
        who: str = "",
        told: AskRoles | None = None,
        refusal: Refusal | None = None,
        asked: ChangeRole | None = None,
    ) -> Response:
        people, groups = await self._book.list_of_people(), await self._book.list_of_groups()
        return self._pages.render(
            request,
            "roles.html",
            title="Roles",
            status=200 if refusal is None else 409 if isinstance(refusal, Conflict) else 422,
            roles=[{"key": role.value, "title": TITLES[role], "may": GRANTS[role]} for role in Role],
            permissions=list(Permission),
            grantable=[(role.value, TITLES[role].name) for role in GRANTABLE],
            names={role.value: TITLES[role].name for role in Role},
            people=[
                {"grant": grant, "is_named": self._grants.is_named_in_settings(grant.email)}
                for grant in people
            ],
            groups=groups,
            people_total=len({grant.account_id for grant in people}),
            groups_total=len({grant.group_id for grant in groups}),
            done=_done(told, [*people, *groups]) if told else "",
            who=who,
            explained=await self._book.explain(who) if who else None,
            may_grant=request.actor.may(Permission.GRANT_ROLES),
            sees_audit=request.actor.may(Permission.SEE_AUDIT),
            refusal=str(refusal) if refusal else None,
            needs_confirming=isinstance(refusal, NeedsConfirming),
            asked=asked or ChangeRole(),
        )

    async def _rows(self) -> AsyncGenerator[Sequence[object], None]:
        for one in await self._book.list_of_people():
            given = [one.granted_by, one.granted_at]
            yield ["person", one.email, one.name, one.role, "directly", *given]
        for group in await self._book.list_of_groups():
            given = [group.granted_by, group.granted_at]
            yield ["group", group.email, group.name, group.role, "directly", *given]
            for person in await self._book.list_people_of(group.group_id):
                by = f"group {group.email or group.group_id}"
                yield ["person", person.email, person.name, group.role, by, *given]


def _back(asked: ChangeRole, *, done: str) -> Response:
    query = urlencode({"done": done, "holder": asked.holder.strip(), "role": asked.role})
    return RedirectResponse(f"/admin/roles?{query}", status_code=303)


def _done(told: AskRoles, grants: Sequence[PersonGrant | GroupGrant]) -> str:
    """What a change came to, if it is so: an address that somebody made up says nothing."""
    if told.role not in GRANTABLE:
        return ""
    title, asked = TITLES[Role(told.role)].name, told.holder.casefold()
    grant = next((one for one in grants if one.role == told.role and asked in _called(one)), None)
    if told.done == "given" and grant:
        return f"{grant.email} has the role {title} from the next click on."
    if told.done == "taken" and not grant:
        return (
            f"{told.holder} no longer has the role {title}."
            if "@" in told.holder
            else f"The group no longer gives the role {title}."
        )
    return ""


def _called(grant: PersonGrant | GroupGrant) -> set[str]:
    return {grant.email.casefold(), *([grant.group_id.casefold()] if isinstance(grant, GroupGrant) else [])}


_COLUMNS = ["Kind", "Address", "Name", "Role", "By", "Granted by", "Granted at"]

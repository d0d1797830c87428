"""The Directory API, read only: users, groups, members and organizational units."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.company import CUSTOMER, GROUP_SCOPE, MEMBER_SCOPE, ORG_UNIT_SCOPE, USER_SCOPE
from acme.faults import spoilt
from acme.field_mask import EVERYTHING, below, parse, prune, refuse_unknown
from acme.gate import Gate
from acme.google_error import invalid, not_found
from acme.groups import Group, Groups
from acme.listing import PageTokens, check_whose, page_size
from acme.org_units import org_units
from acme.records import record
from acme.reply import Resource, etag_of, reply, reply_zipped
from acme.tenant import NobodyThere, Tenant
from acme.user_key import listed
from acme.user_pages import UserPages

ROOT = "/admin/directory/v1"
_encode = msgspec.json.Encoder().encode


class Directory:
    def __init__(
        self,
        tenant: Tenant,
        groups: Groups,
        user_pages: UserPages,
        gate: Gate,
        page_tokens: PageTokens,
    ) -> None:
        self._tenant = tenant
        self._groups = groups
        self._user_pages = user_pages
        self._gate = gate
        self._page_tokens = page_tokens

    def routes(self) -> list[Route]:
        table = (
            ("/users", USER_SCOPE, self._list_users),
            ("/users/{user_key}", USER_SCOPE, self._get_user),
            ("/groups", GROUP_SCOPE, self._list_groups),
            ("/groups/{group_key}", GROUP_SCOPE, self._get_group),
            ("/groups/{group_key}/members", MEMBER_SCOPE, self._list_members),
            ("/customer/{customer}/orgunits", ORG_UNIT_SCOPE, self._list_org_units),
        )
        return [Route(ROOT + path, self._gate.before(handler, scope)) for path, scope, handler in table]

    async def _list_users(self, request: Request) -> Response:
        params = dict(request.query_params)
        check_whose(params)
        path = request.url.path
        page = await self._user_pages.get(params, self._page_tokens.position(path, params))
        if not page.has_people or spoilt(request):
            people = [page.people.unzipped()] if page.has_people else []
            return self._page(request, "users", people, page.following)
        end = "]}"
        if page.following is not None and page.has_token:
            end = f'],"nextPageToken":"{self._page_tokens.make(path, params, page.following)}"}}'
        return reply_zipped(request, page.people, end.encode(), page.etag)

    async def _get_user(self, request: Request) -> Response:
        params = dict(request.query_params)
        columns = self._user_pages.columns(parse(params.get("fields", "*")), params)
        person = listed(self._tenant, request.path_params["user_key"])
        return reply(request, record(person, columns), f'"{person.etag}"')

    async def _list_groups(self, request: Request) -> Response:
        params = dict(request.query_params)
        user_key = params.get("userKey")
        if user_key is None:
            check_whose(params)
        try:
            groups = self._groups.all if user_key is None else self._groups.containing(user_key)
        except NobodyThere:
            raise not_found("userKey") from None
        position = self._page_tokens.position(request.url.path, params)
        end = position + page_size(params, 200, 200)
        page = [self._groups.record(group) for group in groups[position:end]]
        following = end if end < len(groups) else None
        return self._page(request, "groups", _encoded(request, "groups", page), following)

    async def _get_group(self, request: Request) -> Response:
        group = self._groups.record(self._get_group_by(request))
        kept = prune(group, parse(request.query_params.get("fields", "*")))
        return reply(request, _encode(kept), group["etag"])

    async def _list_members(self, request: Request) -> Response:
        params = dict(request.query_params)
        group = self._get_group_by(request)
        if params.get("includeDerivedMembership", "false").lower() == "true":
            raise invalid("includeDerivedMembership is not offered here")
        size = page_size(params, 200, 200)
        roles = {role for role in params.get("roles", "").split(",") if role}
        page: list[Resource] = []
        following = None
        position = self._page_tokens.position(request.url.path, params)
        for place, member in self._groups.members(group, position):
            if roles and member["role"] not in roles:
                continue
            if len(page) == size:
                following = place
                break
            page.append(member)
        return self._page(request, "members", _encoded(request, "members", page), following)

    async def _list_org_units(self, request: Request) -> Response:
        if request.path_params["customer"] not in {"my_customer", CUSTOMER}:
            raise not_found("customer")
        units = org_units(self._tenant, dict(request.query_params))
        key = "organizationUnits"
        return self._page(request, key, _encoded(request, key, units), None, kind="orgUnits")

    def _get_group_by(self, request: Request) -> Group:
        try:
            return self._groups.get(request.path_params["group_key"])
        except NobodyThere:
            raise not_found("groupKey") from None

    def _page(
        self,
        request: Request,
        key: str,
        items: list[bytes],
        following: int | None,
        *,
        kind: str | None = None,
    ) -> Response:
        """An empty collection's key is left out, as Google leaves it out."""
        params = dict(request.query_params)
        mask = parse(params.get("fields", "*"))
        refuse_unknown(mask, frozenset({"kind", "etag", key, "nextPageToken"}))
        encoded = b"[" + b",".join(items) + b"]"
        etag = etag_of(encoded, str(following).encode())
        page: dict[str, object] = {"kind": f"admin#directory#{kind or key}", "etag": etag}
        if items:
            page[key] = msgspec.Raw(encoded)
        if following is not None:
            page["nextPageToken"] = self._page_tokens.make(request.url.path, params, following)
        self._spoil(page, key, request)
        return reply(
            request, _encode({name: page[name] for name in page if below(mask, name) is not None}), etag
        )

    def _spoil(self, page: dict[str, object], key: str, request: Request) -> None:
        """The replies that cost other programs their people."""
        path, params = request.url.path, dict(request.query_params)
        match spoilt(request):
            case "missing-users-key":
                page.pop(key, None)
                page.pop("nextPageToken", None)
            case "empty-users":
                page[key] = []
                page.pop("nextPageToken", None)
            case "truncated":
                page.pop("nextPageToken", None)
            case "bad-token":
                page["nextPageToken"] = "unusable"
            case "expired-token":
                page["nextPageToken"] = self._page_tokens.make(path, params, 0, is_expired=True)
            case "loop":
                page["nextPageToken"] = params.get("pageToken") or self._page_tokens.make(path, params, 0)


def _encoded(request: Request, key: str, items: list[Resource]) -> list[bytes]:
    mask = below(parse(request.query_params.get("fields", "*")), key) or EVERYTHING
    return [_encode(prune(item, mask)) for item in items]

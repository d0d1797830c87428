"""Google's Directory API, read-only.

https://developers.google.com/workspace/admin/directory/reference/rest/v1
"""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from muster.errors import VendorDown
from muster.people.google_api import (
    GROUPS,
    MEMBERS,
    ORG_UNITS,
    SCOPES,
    USERS,
    VENDOR,
    GoogleApi,
    decoded,
    expect,
    reason,
)
from muster.people.google_user import USER_FIELDS, Record, records, without_nul
from muster.people.person import UNDELETE_WINDOW
from muster.platform.tally import Tally

Shape = TypeVar("Shape")

PAGE_SIZE = 500
"""The most `users.list` gives at once; its own default is 100."""

GROUPS_PAGE_SIZE = 200

LISTING_FIELDS = f"nextPageToken,users({USER_FIELDS})"
_CENSUS_FIELDS = "nextPageToken,users(id)"
_BAD_TOKEN = frozenset({"invalid", "badRequest"})
_GROUP_FIELDS = "id,email,name,description,aliases,directMembersCount,etag"


class PageTokenRefused(VendorDown):
    """Google does not know the token of the next page any more: the chain has to begin anew."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Up to 500 users, each once, and the token of the page behind it ("" on the last)."""

    records: list[Record]
    next_token: str


class Gone(msgspec.Struct, frozen=True):
    """Google has nobody of this id, or only somebody deleted: restorable until 20 days after `deleted_at`.

    `is_known` is false for an id that Google has never heard of, or has forgotten.
    """

    google_id: str
    is_known: bool
    deleted_at: datetime | None = None

    @property
    def is_restorable(self) -> bool:
        return self.is_known and (
            self.deleted_at is None or datetime.now(UTC) - self.deleted_at < UNDELETE_WINDOW
        )


class GoogleGroup(msgspec.Struct, frozen=True, rename="camel"):
    """A group as `groups.list` gives it."""

    id: str
    email: str
    name: str = ""
    description: str = ""
    aliases: list[str] = []
    direct_members_count: str = "0"
    etag: str = ""


class GoogleMember(msgspec.Struct, frozen=True):
    """A direct member as `members.list` gives it; `type` is USER, GROUP, CUSTOMER or EXTERNAL."""

    id: str = ""
    email: str = ""
    role: str = "MEMBER"
    type: str = "USER"


class GoogleOrgUnit(msgspec.Struct, frozen=True, rename="camel"):
    org_unit_id: str
    org_unit_path: str
    name: str = ""
    description: str = ""
    parent_org_unit_path: str = ""


class Photo(msgspec.Struct, frozen=True):
    content: bytes
    media_type: str


class WatchedChannel(msgspec.Struct, frozen=True, rename="camel"):
    """A channel as `users.watch` has opened it; `expiration` is in milliseconds since 1970.

    Google's documents disagree on how long one may live, so only what it returned counts.
    """

    id: str
    resource_id: str
    expiration: Annotated[str, msgspec.Meta(pattern=r"^\d+$")] | int | None = None

    @property
    def expires_at(self) -> datetime | None:
        return datetime.fromtimestamp(int(self.expiration) / 1000, UTC) if self.expiration else None


class _Users(msgspec.Struct, rename="camel"):
    users: list[msgspec.Raw] = []  # Google leaves the key out of an empty page
    next_page_token: str = ""


class _Groups(msgspec.Struct, rename="camel"):
    groups: list[GoogleGroup] = []
    next_page_token: str = ""


class _Members(msgspec.Struct, rename="camel"):
    members: list[GoogleMember] = []
    next_page_token: str = ""


class _OrgUnits(msgspec.Struct, rename="camel"):
    organization_units: list[GoogleOrgUnit] = []


class _Photo(msgspec.Struct, rename="camel"):
    photo_data: str
    mime_type: str = ""


class _Deleted(msgspec.Struct, rename="camel"):
    deletion_time: datetime | None = None


class _NewChannel(msgspec.Struct):
    id: str
    address: str
    token: str
    params: dict[str, str]
    type: str = "web_hook"


class _OldChannel(msgspec.Struct, rename="camel"):
    id: str
    resource_id: str


class GoogleDirectory:
    """Raises VendorDown when Google keeps failing, VendorRefused when the set-up is wrong."""

    def __init__(self, api: GoogleApi, *, base_url: str, customer: str) -> None:
        self._api = api
        self._base_url = base_url
        self._root = f"{base_url}/admin/directory/v1"
        self._customer = customer

    def counted(self, tally: Tally) -> "GoogleDirectory":
        """The same, with what it costs counted in `tally`."""
        return GoogleDirectory(self._api.counted(tally), base_url=self._base_url, customer=self._customer)

    def impatient(self) -> "GoogleDirectory":
        """The same, that tries nothing twice: for whoever wants to know how things stand now."""
        return GoogleDirectory(self._api.impatient(), base_url=self._base_url, customer=self._customer)

    def forget_tokens(self) -> None:
        """Have the next ones minted anew: those of an hour ago open what has been closed since."""
        for scope in SCOPES:
            self._api.credentials.forget(scope)

    async def users_page(self, token: str, *, prefix: str = "", deleted: bool = False) -> Page:
        """A page of all users, of those whose address begins with `prefix`, or of the deleted ones."""
        query = self._listing(PAGE_SIZE, token) | {"projection": "full", "fields": LISTING_FIELDS}
        if prefix:
            query["query"] = f"email:{prefix}*"
        if deleted:
            query["showDeleted"] = "true"
        return await self._users(query)

    async def census_page(self, token: str) -> Page:
        """A page of all users by id alone, which costs Google and us next to nothing."""
        return await self._users(
            self._listing(PAGE_SIZE, token) | {"projection": "full", "fields": _CENSUS_FIELDS}
        )

    async def first_few(self) -> int:
        """How many of a handful of users could be read, with a token minted anew."""
        self._api.credentials.forget(USERS)
        query = self._listing(5, "") | {"projection": "full", "fields": LISTING_FIELDS}
        response = await self._api.get(f"{self._root}/users", query, scope=USERS)
        return len(records(_answer(response, _Users).users))

    async def first_group(self) -> GoogleGroup | None:
        """Any group, where there is one, with a token minted anew."""
        self._api.credentials.forget(GROUPS)
        query = self._listing(1, "") | {"fields": f"nextPageToken,groups({_GROUP_FIELDS})"}
        response = await self._api.get(f"{self._root}/groups", query, scope=GROUPS)
        return next(iter(_answer(response, _Groups).groups), None)

    async def user(self, google_id: str) -> Record | Gone:
        """Somebody as they are now, or what Google says of them when they are not."""
        response = await self._api.get(
            f"{self._root}/users/{quote(google_id, safe='')}",
            {"projection": "full", "fields": USER_FIELDS, "prettyPrint": "false"},
            scope=USERS,
        )
        # A 404 of anybody else, a proxy's for one, says nothing about a person.
        if response.status_code == 404 and reason(response) == "notFound":
            return Gone(google_id, is_known=False)
        if response.status_code == 412 and reason(response) == "conditionNotMet":
            return Gone(google_id, is_known=True)
        expect(response)
        if deleted_at := decoded(response.content, _Deleted).deletion_time:
            return Gone(google_id, is_known=True, deleted_at=deleted_at)
        return records([msgspec.Raw(response.content)])[0]

    async def org_units(self) -> list[GoogleOrgUnit]:
        """All but the root, which Google does not list; it has no pages."""
        response = await self._api.get(
            f"{self._root}/customer/{self._customer}/orgunits",
            {"type": "all", "prettyPrint": "false"},
            scope=ORG_UNITS,
        )
        return _answer(response, _OrgUnits).organization_units

    async def groups_page(self, token: str) -> tuple[list[GoogleGroup], str]:
        """Up to 200 groups, and the token of the page behind it."""
        response = await self._api.get(
            f"{self._root}/groups",
            self._listing(GROUPS_PAGE_SIZE, token) | {"fields": f"nextPageToken,groups({_GROUP_FIELDS})"},
            scope=GROUPS,
        )
        listed = _page(response, _Groups, token)
        return listed.groups, listed.next_page_token

    async def has_group(self, google_id: str) -> bool:
        response = await self._api.get(
            f"{self._root}/groups/{google_id}",
            {"fields": "id", "prettyPrint": "false"},
            scope=GROUPS,
        )
        if response.status_code == 404 and reason(response) == "notFound":
            return False
        expect(response)
        return True

    async def members(self, group_id: str) -> list[GoogleMember] | None:
        """The direct members of a group, all pages of them; None when Google has no such group."""
        found: dict[str, GoogleMember] = {}
        token, tokens_seen = "", set[str]()
        while True:
            query = {
                "maxResults": str(GROUPS_PAGE_SIZE),
                "prettyPrint": "false",
                "fields": "nextPageToken,members(id,email,role,type)",
            }
            response = await self._api.get(
                f"{self._root}/groups/{group_id}/members",
                query | ({"pageToken": token} if token else {}),
                scope=MEMBERS,
            )
            if response.status_code == 404 and reason(response) == "notFound":
                return None
            listed = _page(response, _Members, token)
            found |= {member.id or member.email: member for member in listed.members}
            token = listed.next_page_token
            if not token or token in tokens_seen:
                return list(found.values())
            tokens_seen.add(token)

    async def photo(self, google_id: str) -> Photo | None:
        response = await self._api.get(
            f"{self._root}/users/{google_id}/photos/thumbnail",
            {"fields": "photoData,mimeType", "prettyPrint": "false"},
            scope=USERS,
        )
        if response.status_code == 404 and reason(response) == "notFound":
            return None
        sent = _answer(response, _Photo)
        return Photo(_photo_bytes(sent.photo_data), sent.mime_type)

    async def watch(
        self, event: str, *, channel_id: str, address: str, token: str, seconds: int
    ) -> WatchedChannel:
        """Have Google tell `address` of every `event` (add, delete, makeAdmin, undelete, update)."""
        response = await self._api.post(
            f"{self._root}/users/watch",
            {"customer": self._customer, "event": event},
            _NewChannel(id=channel_id, address=address, token=token, params={"ttl": str(seconds)}),
            scope=USERS,
        )
        return _answer(response, WatchedChannel)

    async def stop(self, channel_id: str, resource_id: str) -> None:
        """End a channel; one that Google does not know any more has ended already."""
        response = await self._api.post(
            f"{self._base_url}/admin/directory_v1/channels/stop",
            {},
            _OldChannel(channel_id, resource_id),
            scope=USERS,
        )
        if response.status_code != 404:
            expect(response)

    async def _users(self, query: dict[str, str]) -> Page:
        response = await self._api.get(f"{self._root}/users", query, scope=USERS)
        listed = _page(response, _Users, query.get("pageToken", ""))
        return Page(records=records(listed.users), next_token=listed.next_page_token)

    def _listing(self, limit: int, token: str) -> dict[str, str]:
        query = {"customer": self._customer, "maxResults": str(limit), "prettyPrint": "false"}
        return query | ({"pageToken": token} if token else {})


def _answer(response: httpx2.Response, shape: type[Shape]) -> Shape:
    expect(response)
    return decoded(without_nul(response.content), shape)


def _page(response: httpx2.Response, shape: type[Shape], token: str) -> Shape:
    """Google refuses a token it does not know, or one older than three days, as invalid input."""
    why = reason(response)
    if token and (response.status_code == 410 or (response.status_code == 400 and why in _BAD_TOKEN)):
        raise PageTokenRefused(VENDOR, "the token of the next page is not accepted any more", reason=why)
    return _answer(response, shape)


def _photo_bytes(text: str) -> bytes:
    """Web-safe Base64; Google's reference speaks of `*` and `.` in place of `=`, its answers hold `=`."""
    plain = text.rstrip("=*.")
    try:
        return base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except (binascii.Error, ValueError) as error:
        raise VendorDown(VENDOR, "a photo that cannot be read") from error

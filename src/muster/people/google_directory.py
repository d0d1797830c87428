"""Google's Directory API, read-only.

https://developers.google.com/workspace/admin/directory/reference/rest/v1
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

import httpx2
import jwt
import msgspec

from muster.errors import SettingsError, VendorDown, VendorRefused
from muster.people.person import Person, Phone, Status
from muster.platform.telemetry import logger

SCOPES = ("https://www.googleapis.com/auth/admin.directory.user.readonly",)
Shape = TypeVar("Shape")

PAGE_SIZE = 500
"""The most `users.list` gives at once; its own default is 100."""

ATTEMPTS = 7
LONGEST_WAIT = timedelta(seconds=30)

_PASSING_REASONS = frozenset(
    {
        "userRateLimitExceeded",
        "rateLimitExceeded",
        "quotaExceeded",
        "backendError",
        "unknownError",
        "failedPrecondition",
        "internalError",
        "transientError",
    }
)
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})

_SET_UP = {
    "domainCannotUseApis": "API access is off for the domain: Admin console → Security → API controls",
    "accessNotConfigured": "the Admin SDK API is off: enable it in the key's Google Cloud project",
    "forbidden": "GOOGLE_ADMIN_EMAIL may not read the directory: name an administrator",
    "unauthorized_client": "domain-wide delegation is missing: Admin console → Security → API controls → "
    "Domain-wide delegation, with the service account's client id and the scope " + SCOPES[0],
    "invalid_grant": "the service account's key or GOOGLE_ADMIN_EMAIL is not accepted",
}

_FIELDS = (
    "nextPageToken,users(id,primaryEmail,name,aliases,suspended,suspensionReason,suspensionTime,archived,"
    "isGuestUser,orgUnitPath,isAdmin,creationTime,lastLoginTime,deletionTime,organizations,relations,"
    "externalIds,phones,locations,isEnrolledIn2Sv)"
)
_USER_FIELDS = _FIELDS.removeprefix("nextPageToken,users(").removesuffix(")")


class Absence(StrEnum):
    """What Google says of somebody a listing did not show."""

    PRESENT = "present"
    DELETED = "deleted"  # restorable for 20 days
    UNKNOWN = "unknown"


class _Name(msgspec.Struct, rename="camel"):
    full_name: str = ""
    given_name: str = ""
    family_name: str = ""


class _Organization(msgspec.Struct):
    title: str = ""
    department: str = ""
    primary: bool = False


class _Typed(msgspec.Struct, rename="camel"):
    value: str = ""
    type: str = ""
    custom_type: str = ""


class _Location(msgspec.Struct, rename="camel"):
    area: str = ""
    building_id: str = ""
    floor_name: str = ""
    desk_code: str = ""

    @property
    def words(self) -> str:
        floor = f"floor {self.floor_name}" if self.floor_name else ""
        desk = f"desk {self.desk_code}" if self.desk_code else ""
        # Google fills `area` with the word "desk" where the rest says which.
        return ", ".join(part for part in (self.building_id, floor, desk) if part) or self.area


class _User(msgspec.Struct, rename="camel"):
    """A user as `users.list` gives it; whatever is absent has its default there too."""

    id: str
    primary_email: str
    name: _Name = msgspec.field(default_factory=_Name)
    aliases: list[str] = []
    suspended: bool = False
    suspension_reason: str = ""
    suspension_time: datetime | None = None
    archived: bool = False
    is_guest_user: bool = False
    org_unit_path: str = ""
    is_admin: bool = False
    creation_time: datetime | None = None
    last_login_time: datetime | None = None
    deletion_time: datetime | None = None
    organizations: list[_Organization] = []
    relations: list[_Typed] = []
    external_ids: list[_Typed] = []
    phones: list[_Typed] = []
    locations: list[_Location] = []
    is_enrolled_in_2_sv: bool = msgspec.field(default=False, name="isEnrolledIn2Sv")

    def person(self) -> Person:
        work = next((one for one in self.organizations if one.primary), None) or next(
            iter(self.organizations), _Organization()
        )
        return Person(
            google_id=self.id,
            email=self.primary_email.casefold(),
            name=self.name.full_name or f"{self.name.given_name} {self.name.family_name}".strip(),
            given_name=self.name.given_name,
            family_name=self.name.family_name,
            status=self._status(),
            title=work.title,
            department=work.department,
            org_unit=self.org_unit_path,
            employee_id=_first(self.external_ids, "organization"),
            manager_email=_first(self.relations, "manager").casefold(),
            aliases=sorted(alias.casefold() for alias in self.aliases),
            phones=[Phone(phone.custom_type or phone.type, phone.value) for phone in self.phones],
            locations=[words for one in self.locations if (words := one.words)],
            is_admin=self.is_admin,
            is_guest=self.is_guest_user,
            enrolled_2sv=self.is_enrolled_in_2_sv,
            suspended_reason=self.suspension_reason,
            suspended_at=self.suspension_time,
            joined_at=_moment(self.creation_time),
            last_login_at=_moment(self.last_login_time),
        )

    def _status(self) -> Status:
        if self.deletion_time:
            return Status.DELETED
        if self.archived:
            return Status.ARCHIVED
        return Status.SUSPENDED if self.suspended else Status.ACTIVE


class _Listing(msgspec.Struct, rename="camel"):
    users: list[msgspec.Raw] = []  # Google leaves the key out of an empty page
    next_page_token: str = ""


class _Known(msgspec.Struct):
    """The least that can be read of a user."""

    id: str


class _ServiceAccount(msgspec.Struct):
    client_email: str
    private_key: str
    token_uri: str
    private_key_id: str = ""


class _Token(msgspec.Struct):
    access_token: str
    expires_in: int


class _Reason(msgspec.Struct):
    reason: str = ""


class _ErrorBody(msgspec.Struct):
    message: str = ""
    errors: list[_Reason] = []


class _Error(msgspec.Struct):
    error: _ErrorBody | str = ""
    error_description: str = ""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Up to 500 people, each once; `retried` calls failed in passing before it came.

    `unreadable` are ids of users whose record is not of a shape that can be kept: they exist.
    """

    people: list[Person]
    unreadable: list[str]
    retried: int


class GoogleDirectory:
    def __init__(
        self,
        http: httpx2.AsyncClient,
        *,
        base_url: str,
        service_account: str | None,
        admin_email: str,
        customer: str,
    ) -> None:
        self._http = http
        self._users = f"{base_url}/admin/directory/v1/users"
        self._service_account = service_account
        self._admin_email = admin_email
        self._customer = customer
        self._token = ("", 0.0)
        self._fetching = asyncio.Lock()
        self._retried = 0

    async def pages(self) -> AsyncIterator[Page]:
        """All users of the company but the deleted ones, page by page.

        Raises VendorDown when Google keeps failing, VendorRefused when the set-up is wrong.
        """
        token, used = "", set[str]()
        while True:
            before = self._retried
            response = await self._ask(self._users, self._query(limit=PAGE_SIZE, token=token))
            _expect(response)
            listing = _decoded(response, _Listing)
            people, unreadable = _people(listing.users)
            yield Page(people=people, unreadable=unreadable, retried=self._retried - before)
            token = listing.next_page_token
            if not token:
                return
            if token in used:
                raise VendorDown("Google Directory", "it led back to a page that was read before")
            used.add(token)

    async def first_few(self) -> list[Person]:
        """A handful of people, to see whether the directory can be read at all. Never retried.

        The token is minted anew: one of an hour ago would still open what has been closed since.
        """
        self._token = ("", 0.0)
        response = await self._once(self._users, self._query(limit=5))
        _expect(response)
        return _people(_decoded(response, _Listing).users)[0]

    async def absence(self, google_id: str) -> Absence:
        """Whether somebody is really gone, asked of Google by their id."""
        response = await self._ask(
            f"{self._users}/{google_id}", {"fields": _USER_FIELDS, "prettyPrint": "false"}
        )
        # A 404 of anybody else, a proxy's for one, says nothing about a person.
        if response.status_code == 404 and _reason(response) == "notFound":
            return Absence.UNKNOWN
        if response.status_code == 412 and _reason(response) == "conditionNotMet":
            return Absence.DELETED
        _expect(response)
        return Absence.DELETED if _decoded(response, _User).deletion_time else Absence.PRESENT

    async def _ask(self, url: str, query: dict[str, str]) -> httpx2.Response:
        """One answer that is not a passing failure, after as many tries as it takes up to ATTEMPTS."""
        problem: VendorDown | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                self._retried += 1
                await asyncio.sleep(_wait(attempt - 1))
            try:
                response = await self._once(url, query)
            except VendorDown as error:
                problem = error
            else:
                if not _is_passing(response):
                    return response
                if response.status_code == 401:
                    self._token = ("", 0.0)
                problem = VendorDown("Google Directory", _explained(response), reason=_reason(response))
        raise problem or VendorDown("Google Directory", "was not asked")

    async def _once(self, url: str, query: dict[str, str]) -> httpx2.Response:
        try:
            authorization = f"Bearer {await self._access_token()}"
            return await self._http.get(url, params=query, headers={"authorization": authorization})
        except httpx2.HTTPError as error:
            raise VendorDown("Google Directory", f"does not answer ({type(error).__name__})") from error

    def _query(self, *, limit: int, token: str = "") -> dict[str, str]:
        query = {
            "customer": self._customer,
            "maxResults": str(limit),
            "projection": "full",
            "fields": _FIELDS,
            "prettyPrint": "false",
        }
        return query | ({"pageToken": token} if token else {})

    async def _access_token(self) -> str:
        async with self._fetching:
            token, expires = self._token
            if expires > time.monotonic():
                return token
            account = self._account()
            response = await self._http.post(
                account.token_uri,
                data={
                    "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
                    "assertion": _assertion(account, self._admin_email),
                },
            )
            _expect(response)
            fresh = _decoded(response, _Token)
            self._token = (fresh.access_token, time.monotonic() + fresh.expires_in - 60)
            return fresh.access_token

    def _account(self) -> _ServiceAccount:
        if not self._service_account or not self._admin_email:
            raise SettingsError(
                "GOOGLE_SERVICE_ACCOUNT (a key file or its JSON) and GOOGLE_ADMIN_EMAIL are not both set; "
                "the directory is read with them"
            )
        try:
            return msgspec.json.decode(self._service_account, type=_ServiceAccount)
        except msgspec.DecodeError as error:
            raise SettingsError(f"GOOGLE_SERVICE_ACCOUNT is not a service account's key: {error}") from error


def _people(users: list[msgspec.Raw]) -> tuple[list[Person], list[str]]:
    """Each person once, and the ids of those who cannot be read: one odd record must not stop a sync."""
    people: dict[str, Person] = {}
    unreadable: list[str] = []
    for user in users:
        try:
            person = msgspec.json.decode(user, type=_User).person()
        except msgspec.ValidationError as error:
            known = _decoded_bytes(user, _Known)
            logger.warning("person_unreadable", google_id=known.id, error=str(error))
            unreadable.append(known.id)
        else:
            people[person.google_id] = person
    return list(people.values()), unreadable


def _assertion(account: _ServiceAccount, admin_email: str) -> str:
    """https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests"""
    now = int(time.time())
    claims = {
        "iss": account.client_email,
        "sub": admin_email,
        "scope": " ".join(SCOPES),
        "aud": account.token_uri,
        "iat": now,
        "exp": now + 3600,
    }
    try:
        return jwt.encode(claims, account.private_key, "RS256", headers={"kid": account.private_key_id})
    except (ValueError, jwt.PyJWTError) as error:
        raise SettingsError("GOOGLE_SERVICE_ACCOUNT holds a private key that cannot be read") from error


def _is_passing(response: httpx2.Response) -> bool:
    if response.status_code in _PASSING_STATUSES or response.status_code == 401:
        return True
    return response.status_code in {400, 403} and _reason(response) in _PASSING_REASONS


def _expect(response: httpx2.Response) -> None:
    if response.status_code == 200:
        return
    if response.status_code in _PASSING_STATUSES:
        raise VendorDown("Google Directory", _explained(response), reason=_reason(response))
    raise VendorRefused("Google Directory", _explained(response), reason=_reason(response))


def _reason(response: httpx2.Response) -> str:
    """Google's word for what is wrong, or "" when the body is plain text or HTML."""
    body = _error_body(response)
    if isinstance(body.error, str):
        return body.error
    return next((one.reason for one in body.error.errors), "")


def _explained(response: httpx2.Response) -> str:
    reason, body = _reason(response), _error_body(response)
    said = body.error_description if isinstance(body.error, str) else body.error.message
    advice = _SET_UP.get(reason, "")
    return f"{response.status_code} {reason}".strip() + "".join(
        f": {part}" for part in (said, advice) if part
    )


def _error_body(response: httpx2.Response) -> _Error:
    try:
        return msgspec.json.decode(response.content, type=_Error)
    except msgspec.DecodeError:
        return _Error()


def _decoded(response: httpx2.Response, shape: type[Shape]) -> Shape:
    return _decoded_bytes(response.content, shape)


def _decoded_bytes(content: bytes | msgspec.Raw, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(content, type=shape)
    except msgspec.DecodeError as error:
        raise VendorDown("Google Directory", f"an answer that cannot be read: {error}") from error


def _wait(attempt: int) -> float:
    """Seconds: exponential with jitter, as Google asks for, and capped."""
    longest: float = min(0.25 * 2**attempt, LONGEST_WAIT.total_seconds())
    return random.uniform(0.5, 1) * longest  # noqa: S311  jitter, not a secret


def _moment(moment: datetime | None) -> datetime | None:
    """Google writes "never" as 1970."""
    return moment if moment and moment.year > 1970 else None


def _first(entries: list[_Typed], kind: str) -> str:
    return next((one.value for one in entries if one.type == kind), "")

"""A user as Google words them, and the person that is kept of one.

A large company is millions of these small objects within seconds; none is ever part of a cycle, so
`gc=False` keeps Python's cycle collector from walking them again and again: it took half the time.

https://developers.google.com/workspace/admin/directory/reference/rest/v1/users
"""

import hashlib
import re
from datetime import datetime
from typing import Any

import msgspec

from muster.people.person import Email, Person, Phone, Status
from muster.platform.telemetry import logger

USER_FIELDS = (
    "id,primaryEmail,name,aliases,nonEditableAliases,emails,suspended,suspensionReason,suspensionTime,archived,"
    "archivalTime,isGuestUser,orgUnitPath,isAdmin,isDelegatedAdmin,creationTime,lastLoginTime,deletionTime,"
    "organizations,relations,externalIds,phones,locations,customSchemas,thumbnailPhotoEtag,isEnrolledIn2Sv,"
    "isEnforcedIn2Sv"
)
"""What is asked for of a user: all that is kept, and nothing else."""

_MARK = hashlib.blake2b(USER_FIELDS.encode(), digest_size=16).digest()
"""Another choice of fields makes every digest another."""


class Record(msgspec.Struct, frozen=True, gc=False):
    """A user as Google sent them, not yet taken apart: most of them have not changed."""

    google_id: str
    raw: msgspec.Raw

    def digest(self) -> bytes:
        """16 bytes of what was sent. Equal ones mean that nothing changed; others may mean nothing."""
        return hashlib.blake2b(self.raw, digest_size=16, key=_MARK).digest()

    def person(self) -> Person | None:
        """None for a record that says nothing: one odd user must not stop a sync. Of one that is odd only in
        part, the rest is kept, how they stand above all.
        """
        sent = without_nul(bytes(self.raw))
        try:
            return _USER.decode(sent).person()
        except msgspec.DecodeError as error:
            logger.warning("person_odd", google_id=self.google_id, error=str(error))
        try:
            return _readable(sent).person()
        except msgspec.DecodeError as error:
            logger.warning("person_unreadable", google_id=self.google_id, error=str(error))
            return None


def records(users: list[msgspec.Raw]) -> list[Record]:
    """Each user of a page once, the last of a kind."""
    found = [Record(google_id, user) for user in users if (google_id := _id_of(user))]
    return list({one.google_id: one for one in found}.values())


def without_nul(sent: bytes) -> bytes:
    """JSON can hold the character NUL, and PostgreSQL's text cannot."""
    if b"\\u0000" not in sent:
        return sent
    return msgspec.json.encode(_cleaned(msgspec.json.decode(_mended(sent))))


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "")
        case list():
            return [_cleaned(one) for one in value]
        case dict():
            return {_cleaned(name): _cleaned(one) for name, one in value.items()}
        case _:
            return value


_HALF_CHARACTER = re.compile(rb"(?<!\\)\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_ID = re.compile(rb'"id":\s*"([^"\\]+)"')


def _mended(sent: bytes) -> bytes:
    """Without halves of characters, which no text can hold; Google does not escape whole ones."""
    return _HALF_CHARACTER.sub(b"?", sent)


def _readable(sent: bytes) -> "_User":
    """What can be read of a user, field by field. Raises DecodeError when not even id and address can."""
    fields = msgspec.json.decode(_mended(sent), type=dict[str, msgspec.Raw])
    kept: dict[str, msgspec.Raw] = {
        name: value for name, value in fields.items() if name in {"id", "primaryEmail"}
    }
    for name, value in fields.items():
        try:
            _USER.decode(msgspec.json.encode({**kept, name: value}))
        except msgspec.DecodeError:
            continue
        kept[name] = value
    return _USER.decode(msgspec.json.encode(kept))


def _id_of(user: msgspec.Raw) -> str:
    """Empty for somebody who has none that can be read."""
    try:
        return _KNOWN.decode(user).id
    except msgspec.DecodeError as error:
        found = _ID.search(bytes(user))
        logger.warning("person_odd", google_id=found and found.group(1).decode(), error=str(error))
        return found.group(1).decode("ascii", "replace") if found else ""


class _Name(msgspec.Struct, rename="camel", gc=False):
    full_name: str = ""
    given_name: str = ""
    family_name: str = ""


class _Organization(msgspec.Struct, rename="camel", gc=False):
    title: str = ""
    department: str = ""
    cost_center: str = ""
    primary: bool = False


class _Typed(msgspec.Struct, rename="camel", gc=False):
    value: str = ""
    type: str = ""
    custom_type: str = ""


class _Address(msgspec.Struct, rename="camel", gc=False):
    address: str = ""
    type: str = ""
    custom_type: str = ""


class _Location(msgspec.Struct, rename="camel", gc=False):
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


class _User(msgspec.Struct, rename="camel", gc=False):
    """A user as `users.list` gives it; whatever is absent has its default there too."""

    id: str
    primary_email: str
    name: _Name = msgspec.field(default_factory=_Name)
    aliases: list[str] = []
    non_editable_aliases: list[str] = []
    emails: list[_Address] = []
    suspended: bool = False
    suspension_reason: str = ""
    suspension_time: datetime | None = None
    archived: bool = False
    archival_time: datetime | None = None
    is_guest_user: bool = False
    org_unit_path: str = ""
    is_admin: bool = False
    is_delegated_admin: bool = False
    creation_time: datetime | None = None
    last_login_time: datetime | None = None
    deletion_time: datetime | None = None
    organizations: list[_Organization] = []
    relations: list[_Typed] = []
    external_ids: list[_Typed] = []
    phones: list[_Typed] = []
    locations: list[_Location] = []
    custom_schemas: msgspec.Raw = msgspec.Raw(b"{}")
    thumbnail_photo_etag: str = ""
    is_enrolled_in_2_sv: bool = msgspec.field(default=False, name="isEnrolledIn2Sv")
    is_enforced_in_2_sv: bool = msgspec.field(default=False, name="isEnforcedIn2Sv")

    def person(self) -> Person:
        work = _work(self.organizations)
        email = self.primary_email.casefold()
        aliases = sorted(alias.casefold() for alias in self.aliases)
        fixed = sorted(alias.casefold() for alias in self.non_editable_aliases)
        known = {email, *aliases, *fixed}
        return Person(
            google_id=self.id,
            email=email,
            name=self.name.full_name or f"{self.name.given_name} {self.name.family_name}".strip(),
            given_name=self.name.given_name,
            family_name=self.name.family_name,
            status=self._status(),
            title=work.title,
            department=work.department,
            cost_center=work.cost_center,
            org_unit=self.org_unit_path,
            employee_id=_first(self.external_ids, "organization"),
            manager_email=_first(self.relations, "manager").casefold(),
            aliases=aliases,
            fixed_aliases=fixed,
            emails=[
                Email(one.custom_type or one.type, one.address)
                for one in self.emails
                if one.address.casefold() not in known
            ],
            phones=[Phone(phone.custom_type or phone.type, phone.value) for phone in self.phones],
            locations=[words for one in self.locations if (words := one.words)],
            custom_schemas=_storable(self.custom_schemas),
            is_admin=self.is_admin,
            is_delegated_admin=self.is_delegated_admin,
            is_guest=self.is_guest_user,
            enrolled_2sv=self.is_enrolled_in_2_sv,
            enforced_2sv=self.is_enforced_in_2_sv,
            photo_etag=self.thumbnail_photo_etag.strip('"'),
            suspended_reason=self.suspension_reason,
            suspended_at=self.suspension_time,
            archived_at=self.archival_time,
            deleted_at=self.deletion_time,
            joined_at=_moment(self.creation_time),
            last_login_at=_moment(self.last_login_time),
        )

    def _status(self) -> Status:
        if self.deletion_time:
            return Status.DELETED
        if self.archived:
            return Status.ARCHIVED
        if self.suspended:
            return Status.SUSPENDED
        return Status.GUEST if self.is_guest_user else Status.ACTIVE


class _Known(msgspec.Struct, gc=False):
    """The least that can be read of a user."""

    id: str


_USER = msgspec.json.Decoder(_User)
_KNOWN = msgspec.json.Decoder(_Known)


def _storable(schemas: msgspec.Raw) -> msgspec.Raw:
    """As sent, unless a number is beyond all that PostgreSQL can hold."""
    if not _HUGE.search(bytes(schemas)):
        return schemas
    try:
        return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(schemas)))
    except msgspec.DecodeError:
        return msgspec.Raw(b"{}")


_HUGE = re.compile(rb"\d[eE][+-]?\d{3}")


def _work(organizations: list[_Organization]) -> _Organization:
    """The organization that is marked as the primary one, else the first."""
    for one in organizations:
        if one.primary:
            return one
    return organizations[0] if organizations else _NO_ORGANIZATION


_NO_ORGANIZATION = _Organization()


def _moment(moment: datetime | None) -> datetime | None:
    """Google writes "never" as 1970."""
    return moment if moment and moment.year > 1970 else None


def _first(entries: list[_Typed], kind: str) -> str:
    for one in entries:
        if one.type == kind:
            return one.value
    return ""

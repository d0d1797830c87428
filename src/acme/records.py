"""People as the Directory API words them."""

from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, NamedTuple

from acme.company import CUSTOMER
from acme.field_mask import Mask, below, prune
from acme.people import Person

Record = dict[str, Any]
Maker = Callable[[Person], object]

_FLOORS = 6
_SKILLS = ("SQL", "Negotiation", "Rust", "Python", "Facilitation", "Accounting", "Design", "First aid")


def timestamp(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()[:19] + ".000Z"


def photo_etag(person: Person) -> str:
    return f'"photo-{person.id}"'


class Columns(NamedTuple):
    """The fields a mask asks for, sorted by what they cost."""

    constant: Record
    copied: tuple[str, ...]
    copy: Callable[[Person], tuple[object, ...]]
    made: list[tuple[str, Maker, Mask]]


class UserRecords:
    def __init__(self, address: str) -> None:
        self._address = address
        self._makers: dict[str, Maker] = _MADE | {
            "thumbnailPhotoUrl": lambda person: self.photo_address(person) if person.has_photo else None
        }
        self.known = frozenset(self._makers) | _CONSTANT.keys() | _COPIED.keys()

    def photo_address(self, person: Person) -> str:
        return f"{self._address}/photos/{person.id}"

    def columns(self, mask: Mask, schemas: Mask | None) -> Columns:
        """`schemas` are the custom ones wanted; None for none, an empty mask for all."""
        copied = {name: place for name, place in _COPIED.items() if below(mask, name) is not None}
        return Columns(
            constant={
                name: prune(value, wanted)
                for name, value in _CONSTANT.items()
                if (wanted := below(mask, name)) is not None
            },
            copied=tuple(copied),
            copy=_getter(tuple(copied.values())),
            made=[
                (name, make, wanted)
                for name, make in self._makers.items()
                if (wanted := self._wanted(name, mask, schemas)) is not None
            ],
        )

    def _wanted(self, name: str, mask: Mask, schemas: Mask | None) -> Mask | None:
        wanted = below(mask, name)
        if name != "customSchemas" or wanted is None or schemas is None:
            return wanted if name != "customSchemas" else None
        return schemas or wanted


def _getter(attributes: tuple[str, ...]) -> Callable[[Person], tuple[object, ...]]:
    """A tuple whatever their number; `attrgetter` alone gives a bare value for one."""
    if len(attributes) < 2:
        return lambda person: tuple(getattr(person, attribute) for attribute in attributes)
    return attrgetter(*attributes)


def record(person: Person, columns: Columns) -> Record:
    """Fields without a value, and empty collections, are left out as Google leaves them out."""
    filled = columns.constant | dict(zip(columns.copied, columns.copy(person), strict=True))
    for name, make, mask in columns.made:
        value = make(person)
        if mask and value is not None:
            value = prune(value, mask) or None
        if value is not None:
            filled[name] = value
    return filled


def _emails(person: Person) -> list[Record]:
    return [
        {"address": person.email, "primary": True},
        *({"address": alias} for alias in person.aliases),
        {"address": person.technical_alias},
    ]


def _organizations(person: Person) -> list[Record]:
    return [
        {
            "title": person.title,
            "primary": True,
            "customType": "",
            "department": person.department,
            "description": person.team,
            "costCenter": f"{person.department[:3].upper()}-{len(person.team):02d}",
        }
    ]


def _phones(person: Person) -> list[Record]:
    work = {"value": person.office.phone.format(person.extension), "type": "work", "primary": True}
    mobile = {"value": f"+44 7700 900{person.extension % 1000:03d}", "type": "mobile"}
    return [work, mobile] if person.has_mobile else [work]


def _locations(person: Person) -> list[Record]:
    floor = 1 + person.extension % _FLOORS
    return [
        {
            "type": "desk",
            "area": "desk",
            "buildingId": person.office.building,
            "floorName": str(floor),
            "deskCode": f"{floor}-{person.extension % 97:02d}",
        }
    ]


def _custom_schemas(person: Person) -> Record | None:
    if not person.has_schemas:
        return None
    skill = person.extension % len(_SKILLS)
    return {
        "Workplace": {
            "badge": f"B{person.number:06d}",
            "city": person.office.city,
            "bicycle": skill % 3 == 0,
        },
        "Skills": {
            "known": [
                {"type": "work", "value": _SKILLS[skill]},
                {"type": "work", "value": _SKILLS[skill - 1]},
            ]
        },
    }


_CONSTANT: Record = {
    "kind": "admin#directory#user",
    "changePasswordAtNextLogin": False,
    "ipWhitelisted": False,
    "languages": [{"languageCode": "en", "preference": "preferred"}],
    "customerId": CUSTOMER,
    "isMailboxSetup": True,
    "includeInGlobalAddressList": True,
}
_COPIED = {
    "id": "id",
    "primaryEmail": "email",
    "isAdmin": "is_admin",
    "isDelegatedAdmin": "is_delegated_admin",
    "orgUnitPath": "unit",
    "isEnrolledIn2Sv": "is_enrolled_in_2sv",
    "isEnforcedIn2Sv": "is_enforced_in_2sv",
    "isGuestUser": "is_guest",
}
_MADE: dict[str, Maker] = {
    "etag": lambda person: f'"{person.etag}"',
    "name": lambda person: {
        "givenName": person.given,
        "familyName": person.family,
        "fullName": person.full_name,
    },
    "lastLoginTime": lambda person: timestamp(person.last_login_at or 0),
    "creationTime": lambda person: timestamp(person.created_at),
    "deletionTime": lambda person: timestamp(person.deleted_at),
    "agreedToTerms": lambda person: person.last_login_at is not None,
    "suspended": lambda person: person.suspended_at is not None,
    "suspensionReason": lambda person: person.suspension_reason if person.suspended_at else None,
    "suspensionTime": lambda person: timestamp(person.suspended_at),
    "archived": lambda person: person.archived_at is not None,
    "archivalTime": lambda person: timestamp(person.archived_at),
    "emails": _emails,
    "externalIds": lambda person: [{"value": person.employee_number, "type": "organization"}],
    "relations": lambda person: [{"value": person.manager, "type": "manager"}] if person.manager else None,
    "organizations": _organizations,
    "phones": _phones,
    "locations": _locations,
    "aliases": lambda person: person.aliases or None,
    "nonEditableAliases": lambda person: [person.technical_alias],
    "thumbnailPhotoEtag": lambda person: photo_etag(person) if person.has_photo else None,
    "customSchemas": _custom_schemas,
}

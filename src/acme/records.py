"""People as the Directory API words them."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from acme.company import CUSTOMER
from acme.field_mask import Mask, below, prune
from acme.people import Person

Record = dict[str, Any]
Maker = Callable[[Person], object]
Column = tuple[str, Maker, Mask]

_FLOORS = 6
_ENGLISH = [{"languageCode": "en", "preference": "preferred"}]
_SKILLS = ("SQL", "Negotiation", "Rust", "Python", "Facilitation", "Accounting", "Design", "First aid")


def timestamp(at: int | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat()[:19] + ".000Z"


class UserRecords:
    """One maker a field, so that a mask costs nothing for what it leaves out."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._makers: dict[str, Maker] = _MAKERS | {
            "thumbnailPhotoUrl": lambda person: self.photo_address(person) if person.has_photo else None
        }
        self.known = frozenset(self._makers)

    def photo_address(self, person: Person) -> str:
        return f"{self._address}/photos/{person.id}"

    def columns(self, mask: Mask, *, with_schemas: bool) -> list[Column]:
        """The makers a mask asks for, in Google's order of fields."""
        return [
            (name, make, wanted)
            for name, make in self._makers.items()
            if (wanted := below(mask, name)) is not None and (with_schemas or name != "customSchemas")
        ]


def record(person: Person, columns: list[Column]) -> Record:
    """Fields without a value, and empty collections, are left out as Google leaves them out."""
    made: Record = {}
    for name, make, mask in columns:
        value = make(person)
        if value is None or value == []:
            continue
        made[name] = prune(value, mask) if mask else value
    return made


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


_MAKERS: dict[str, Maker] = {
    "kind": lambda _: "admin#directory#user",
    "id": lambda person: person.id,
    "etag": lambda person: f'"{person.etag}"',
    "primaryEmail": lambda person: person.email,
    "name": lambda person: {
        "givenName": person.given,
        "familyName": person.family,
        "fullName": person.full_name,
    },
    "isAdmin": lambda person: person.is_admin,
    "isDelegatedAdmin": lambda person: person.is_delegated_admin,
    "lastLoginTime": lambda person: timestamp(person.last_login_at or 0),
    "creationTime": lambda person: timestamp(person.created_at),
    "deletionTime": lambda person: timestamp(person.deleted_at),
    "agreedToTerms": lambda person: person.last_login_at is not None,
    "suspended": lambda person: person.suspended_at is not None,
    "suspensionReason": lambda person: person.suspension_reason if person.suspended_at else None,
    "suspensionTime": lambda person: timestamp(person.suspended_at),
    "archived": lambda person: person.archived_at is not None,
    "archivalTime": lambda person: timestamp(person.archived_at),
    "changePasswordAtNextLogin": lambda _: False,
    "ipWhitelisted": lambda _: False,
    "emails": _emails,
    "externalIds": lambda person: [{"value": person.employee_number, "type": "organization"}],
    "relations": lambda person: [{"value": person.manager, "type": "manager"}] if person.manager else None,
    "organizations": _organizations,
    "phones": _phones,
    "languages": lambda _: _ENGLISH,
    "locations": _locations,
    "aliases": lambda person: list(person.aliases),
    "nonEditableAliases": lambda person: [person.technical_alias],
    "customerId": lambda _: CUSTOMER,
    "orgUnitPath": lambda person: person.unit,
    "isMailboxSetup": lambda _: True,
    "isEnrolledIn2Sv": lambda person: person.is_enrolled_in_2sv,
    "isEnforcedIn2Sv": lambda person: person.is_enforced_in_2sv,
    "includeInGlobalAddressList": lambda _: True,
    "isGuestUser": lambda person: person.is_guest,
    "thumbnailPhotoEtag": lambda person: f'"photo-{person.id}"' if person.has_photo else None,
    "customSchemas": _custom_schemas,
}

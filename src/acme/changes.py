"""What a script may change in the tenant, as Google's field names, and what that does to a person."""

import msgspec
from msgspec import UNSET, UnsetType

from acme.people import Person


class NamePatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    given_name: str | UnsetType = UNSET
    family_name: str | UnsetType = UNSET


class PersonPatch(msgspec.Struct, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """Fields left out stay as they are."""

    primary_email: str | UnsetType = UNSET
    name: NamePatch | UnsetType = UNSET
    aliases: list[str] | UnsetType = UNSET
    org_unit_path: str | UnsetType = UNSET
    department: str | UnsetType = UNSET
    team: str | UnsetType = UNSET
    title: str | UnsetType = UNSET
    manager: str | UnsetType | None = UNSET
    employee_number: str | UnsetType = UNSET
    is_admin: bool | UnsetType = UNSET
    is_delegated_admin: bool | UnsetType = UNSET
    is_guest_user: bool | UnsetType = UNSET
    suspended: bool | UnsetType = UNSET
    suspension_reason: str | UnsetType = UNSET
    archived: bool | UnsetType = UNSET
    deleted: bool | UnsetType = UNSET
    has_photo: bool | UnsetType = UNSET


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of the tenant's life. `kind`: hired, changed, group_changed, day_ended."""

    step: int
    at: int
    kind: str
    about: str
    patch: PersonPatch | None = None
    added: list[str] = []
    removed: list[str] = []


_SAME_VALUE = {
    "aliases": "aliases",
    "org_unit_path": "unit",
    "department": "department",
    "team": "team",
    "title": "title",
    "manager": "manager",
    "employee_number": "employee_number",
    "is_admin": "is_admin",
    "is_delegated_admin": "is_delegated_admin",
    "is_guest_user": "is_guest",
    "suspension_reason": "suspension_reason",
    "has_photo": "has_photo",
}
_MOMENTS = {"suspended": "suspended_at", "archived": "archived_at", "deleted": "deleted_at"}


def changed(person: Person, patch: PersonPatch, at: int) -> Person:
    """The person after the patch; a new address leaves the old one as an alias, as at Google."""
    changes: dict[str, object] = {}
    for field, attribute in _SAME_VALUE.items():
        if (value := getattr(patch, field)) is not UNSET:
            changes[attribute] = tuple(value) if isinstance(value, list) else value
    for field, attribute in _MOMENTS.items():
        if (value := getattr(patch, field)) is not UNSET:
            changes[attribute] = (getattr(person, attribute) or at) if value else None
    if patch.name is not UNSET:
        changes |= _name_changes(patch.name)
    if patch.primary_email is not UNSET:
        changes["email"] = patch.primary_email.lower()
        changes.setdefault("aliases", (*person.aliases, person.email))
    return msgspec.structs.replace(person, **changes)


def _name_changes(name: NamePatch) -> dict[str, object]:
    parts = {"given": name.given_name, "family": name.family_name}
    return {attribute: part for attribute, part in parts.items() if part is not UNSET}

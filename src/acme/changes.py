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


class GroupPatch(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Fields left out stay as they are."""

    email: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET


class GroupChanges(msgspec.Struct):
    """What scripts have made of a group so far. Members are ids, or addresses of outsiders."""

    added: list[str] = []
    removed: set[str] = set()
    email: str | None = None
    former_emails: list[str] = []
    name: str | None = None
    description: str | None = None
    is_new: bool = False
    is_deleted: bool = False

    def add(self, patch: GroupPatch) -> None:
        """A new address leaves the old one as an alias, as at Google; the caller knows the first one."""
        if isinstance(patch.email, str):
            self.former_emails += [self.email] if self.email else []
            self.email = patch.email
        self.name = patch.name if isinstance(patch.name, str) else self.name
        self.description = patch.description if isinstance(patch.description, str) else self.description

    def regroup(self, added: list[str], removed: list[str]) -> None:
        self.added = [key for key in self.added if key not in removed]
        self.added += [key for key in added if key not in self.added]
        self.removed = (self.removed | set(removed)) - set(added)


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of the tenant's life. `kind`: hired, changed, group_created, group_changed, group_deleted,
    day_ended. `about` is an id, or the number of the day.
    """

    step: int
    at: int
    kind: str
    about: str
    patch: PersonPatch | None = None
    added: list[str] = []
    removed: list[str] = []
    group: GroupPatch | None = None


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

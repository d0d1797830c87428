"""A person of the company: what is kept of a Workspace user, and when two readings are the same."""

import hashlib
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from muster.platform.folding import folded

UNDELETE_WINDOW = timedelta(days=20)
"""https://support.google.com/a/answer/1397578: how long a deleted user can be brought back."""


class Status(StrEnum):
    """Where somebody stands; each is in exactly one."""

    ACTIVE = "active"
    GUEST = "guest"  # active, and of another company
    SUSPENDED = "suspended"
    ARCHIVED = "archived"
    DELETED = "deleted"  # Google would still restore them
    PURGED = "purged"

    @property
    def is_here(self) -> bool:
        """Whether they may use what the company offers."""
        return self in HERE

    @property
    def is_gone(self) -> bool:
        return self in GONE


HERE = (Status.ACTIVE, Status.GUEST)
GONE = (Status.DELETED, Status.PURGED)


class Phone(msgspec.Struct, frozen=True, gc=False):
    label: str
    value: str


class Email(msgspec.Struct, frozen=True, gc=False):
    """Another address of theirs, a private one for instance."""

    label: str
    value: str


class Person(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Our own projection of a Workspace user; everything in it is shown or searched somewhere."""

    google_id: str
    email: str
    name: str
    given_name: str
    family_name: str
    status: Status
    title: str
    department: str
    cost_center: str
    org_unit: str
    employee_id: str
    manager_email: str
    aliases: list[str]
    fixed_aliases: list[str]
    emails: list[Email]
    phones: list[Phone]
    locations: list[str]
    custom_schemas: msgspec.Raw
    is_admin: bool
    is_delegated_admin: bool
    is_guest: bool
    enrolled_2sv: bool
    enforced_2sv: bool
    photo_etag: str
    suspended_reason: str
    suspended_at: datetime | None
    archived_at: datetime | None
    deleted_at: datetime | None
    joined_at: datetime | None
    last_login_at: datetime | None

    def fingerprint(self) -> bytes:
        """16 bytes that change when, and only when, anything kept of this person does.

        Google's etag will not do: it also moves with fields that are not kept.
        """
        return hashlib.blake2b(_ENCODER.encode(self), digest_size=16).digest()

    @property
    def sort_name(self) -> str:
        return folded(f"{self.family_name} {self.given_name}")

    @property
    def search_text(self) -> str:
        return folded(" ".join([self.name, self.email, *self.aliases, self.department, self.title]))


_ENCODER = msgspec.json.Encoder()

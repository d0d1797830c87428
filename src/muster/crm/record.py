"""What HubSpot says of records, owners and pipelines, in our own shapes."""

from datetime import datetime

import msgspec

from muster.crm.fields import Kind


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record as HubSpot holds it. `values` are those of its `fields.FIELDS` by name; one that is empty is
    left out.
    """

    kind: Kind
    id: str
    values: dict[str, str]
    created_at: datetime
    modified_at: datetime
    archived_at: datetime | None = None
    merged_ids: tuple[str, ...] = ()
    """Other records that were merged into this one; their ids lead here."""


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who can own records, or a queue. `is_archived` is deactivated in HubSpot."""

    id: str
    user_id: str
    email: str
    name: str
    team: str
    is_queue: bool
    is_archived: bool


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A stage of a pipeline of deals; `probability` is of 0 to 1."""

    pipeline_id: str
    pipeline: str
    id: str
    label: str
    place: int
    probability: float
    is_closed: bool
    is_won: bool


class Choice(msgspec.Struct, frozen=True):
    value: str
    label: str


class Property(msgspec.Struct, frozen=True, kw_only=True):
    """A property as HubSpot defines it."""

    name: str
    label: str
    type: str
    choices: tuple[Choice, ...]
    is_read_only: bool

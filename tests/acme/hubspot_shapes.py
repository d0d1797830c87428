"""The shapes of HubSpot's API 2026-09, written down from its published specification, and strict.

A field the specification does not know is refused, and so is one that it requires and an answer lacks. Where
HubSpot is known to say more than its specification, the field is marked "beyond the specification".
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta


class Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    pass


Moment = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$")]
Uuid = Annotated[str, Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Id = Annotated[str, Meta(pattern=r"^\d+$")]
Unset = msgspec.UnsetType
UNSET = msgspec.UNSET


# Records


class ValueWithTimestamp(Strict):
    value: str
    timestamp: Moment
    source_type: str
    source_id: str | Unset = UNSET
    source_label: str | Unset = UNSET
    updated_by_user_id: int | Unset = UNSET


class SimplePublicObject(Strict):
    id: Id
    properties: dict[str, str | None]
    created_at: Moment
    updated_at: Moment
    archived: bool
    archived_at: Moment | Unset = UNSET
    properties_with_history: dict[str, list[ValueWithTimestamp]] | Unset = UNSET
    object_write_trace_id: str | Unset = UNSET
    url: str | Unset = UNSET


class NextPage(Strict):
    after: str
    link: str | Unset = UNSET


class ForwardPaging(Strict):
    next: NextPage | Unset = UNSET


class AssociatedId(Strict):
    id: Id
    type: str


class AssociatedIds(Strict):
    results: list[AssociatedId]
    paging: ForwardPaging | Unset = UNSET


class SimplePublicObjectWithAssociations(SimplePublicObject):
    associations: dict[str, AssociatedIds] | Unset = UNSET


class ObjectPage(Strict):
    results: list[SimplePublicObjectWithAssociations]
    paging: ForwardPaging | Unset = UNSET


class SearchPage(Strict):
    total: int
    results: list[SimplePublicObject]
    paging: ForwardPaging | Unset = UNSET


# Errors


class ErrorDetail(msgspec.Struct, forbid_unknown_fields=True, rename={"sub_category": "subCategory"}):
    message: str
    code: str | Unset = UNSET
    context: dict[str, list[str]] | Unset = UNSET
    sub_category: str | Unset = UNSET
    place: str | Unset = msgspec.field(default=UNSET, name="in")


class Error(Strict):
    category: str
    correlation_id: Uuid
    message: str
    errors: list[ErrorDetail] | Unset = UNSET
    context: dict[str, list[str]] | Unset = UNSET
    links: dict[str, str] | Unset = UNSET
    sub_category: str | Unset = UNSET
    status: Literal["error"] | Unset = UNSET
    """Beyond the specification: HubSpot sends it with every error."""


class RateLimited(Strict):
    """Beyond the specification, which has no word about 429; HubSpot's usage guidelines show this."""

    status: Literal["error"]
    message: str
    error_type: Literal["RATE_LIMIT"]
    correlation_id: Uuid
    policy_name: str
    group_name: str | Unset = UNSET
    request_id: str | Unset = UNSET


class StandardError(Strict):
    """In batches."""

    category: str
    context: dict[str, list[str]]
    errors: list[ErrorDetail]
    links: dict[str, str]
    message: str
    status: str
    id: str | Unset = UNSET
    sub_category: Any = UNSET


# Batches


class Batch(Strict):
    completed_at: Moment
    started_at: Moment
    status: Literal["CANCELED", "COMPLETE", "PENDING", "PROCESSING"]
    requested_at: Moment | Unset = UNSET
    errors: list[StandardError] | Unset = UNSET
    num_errors: int | Unset = UNSET
    links: dict[str, str] | Unset = UNSET


class ObjectBatch(Batch, kw_only=True):
    results: list[SimplePublicObject]


class LabelsBetweenObjectPair(Strict):
    from_object_id: Id
    from_object_type_id: str
    to_object_id: Id
    to_object_type_id: str
    labels: list[str]


class PairBatch(Batch, kw_only=True):
    results: list[LabelsBetweenObjectPair]


class VoidBatch(Batch, kw_only=True):
    results: list[None]


class AssociationSpecWithLabel(Strict):
    category: Literal["HUBSPOT_DEFINED", "INTEGRATOR_DEFINED", "USER_DEFINED", "WORK"]
    type_id: int
    label: str | Unset | None = UNSET
    """Beyond the specification: null where there is none."""


class Associated(Strict):
    to_object_id: Id
    association_types: list[AssociationSpecWithLabel]


class PublicObjectId(Strict):
    id: Id


class Associations(msgspec.Struct, forbid_unknown_fields=True):
    to: list[Associated]
    source: PublicObjectId = msgspec.field(name="from")
    paging: ForwardPaging | Unset = UNSET


class AssociationBatch(Batch, kw_only=True):
    results: list[Associations]


# The account


class PublicTeam(Strict):
    id: str
    name: str
    primary: bool


class PublicOwner(Strict):
    id: Id
    archived: bool
    created_at: Moment
    updated_at: Moment
    type: Literal["PERSON", "QUEUE"]
    email: str | Unset = UNSET
    first_name: str | Unset = UNSET
    last_name: str | Unset = UNSET
    teams: list[PublicTeam] | Unset = UNSET
    user_id: int | Unset = UNSET
    user_id_including_inactive: int | Unset = UNSET


class OwnerPage(Strict):
    results: list[PublicOwner]
    paging: ForwardPaging | Unset = UNSET


class PipelineStage(Strict):
    id: str
    label: str
    display_order: int
    metadata: dict[str, str]
    created_at: Moment
    updated_at: Moment
    archived: bool
    write_permissions: Literal["CRM_PERMISSIONS_ENFORCEMENT", "INTERNAL_ONLY", "READ_ONLY"]
    archived_at: Moment | Unset = UNSET


class Pipeline(Strict):
    id: str
    label: str
    display_order: int
    stages: list[PipelineStage]
    created_at: Moment
    updated_at: Moment
    archived: bool
    archived_at: Moment | Unset = UNSET


class PipelineList(Strict):
    results: list[Pipeline]


class StageList(Strict):
    results: list[PipelineStage]


class Option(Strict):
    label: str
    value: str
    hidden: bool
    description: str | Unset = UNSET
    display_order: int | Unset = UNSET


class ModificationMetadata(Strict):
    archivable: bool
    read_only_definition: bool
    read_only_value: bool
    read_only_options: bool | Unset = UNSET


class Property(Strict):
    name: str
    label: str
    description: str
    group_name: str
    type: Literal["bool", "date", "datetime", "enumeration", "number", "phone_number", "string"]
    field_type: str
    options: list[Option]
    archived: bool | Unset = UNSET
    archived_at: Moment | Unset = UNSET
    calculated: bool | Unset = UNSET
    calculation_formula: str | Unset = UNSET
    created_at: Moment | Unset = UNSET
    created_user_id: str | Unset = UNSET
    data_sensitivity: Literal["highly_sensitive", "non_sensitive", "sensitive"] | Unset = UNSET
    date_display_hint: str | Unset = UNSET
    display_order: int | Unset = UNSET
    external_options: bool | Unset = UNSET
    form_field: bool | Unset = UNSET
    has_unique_value: bool | Unset = UNSET
    hidden: bool | Unset = UNSET
    hubspot_defined: bool | Unset = UNSET
    modification_metadata: ModificationMetadata | Unset = UNSET
    referenced_object_type: str | Unset = UNSET
    sensitive_data_categories: list[str] | Unset = UNSET
    show_currency_symbol: bool | Unset = UNSET
    updated_at: Moment | Unset = UNSET
    updated_user_id: str | Unset = UNSET


class PropertyList(Strict):
    results: list[Property]


class PortalInformation(Strict):
    portal_id: int
    account_type: Literal["APP_DEVELOPER", "DEVELOPER_TEST", "SANDBOX", "STANDARD"]
    time_zone: str
    company_currency: str
    additional_currencies: list[str]
    utc_offset: str
    utc_offset_milliseconds: int
    ui_domain: str
    data_hosting_location: str


class ApiUsage(Strict):
    name: str
    usage_limit: int
    current_usage: int
    collected_at: Moment
    fetch_status: Literal["CACHED", "FAILURE", "NOTFOUND", "SUCCESS", "TIMEOUT"]
    resets_at: Moment | Unset = UNSET


class UsageList(Strict):
    results: list[ApiUsage]


_OBJECTS = r"/crm/objects/2026-09/[^/]+"
_ASSOCIATIONS = r"/crm/associations/2026-09/[^/]+/[^/]+/batch"
_ANSWERS: list[tuple[str, str, tuple[int, ...], Any]] = [
    ("GET", _OBJECTS, (200,), ObjectPage),
    ("POST", _OBJECTS, (201,), SimplePublicObject),
    ("POST", rf"{_OBJECTS}/search", (200,), SearchPage),
    ("POST", rf"{_OBJECTS}/merge", (200,), SimplePublicObject),
    ("POST", rf"{_OBJECTS}/gdpr-delete", (204,), None),
    ("GET", rf"{_OBJECTS}/[^/]+", (200,), SimplePublicObjectWithAssociations),
    ("PATCH", rf"{_OBJECTS}/[^/]+", (200,), SimplePublicObject),
    ("DELETE", rf"{_OBJECTS}/[^/]+", (204,), None),
    ("POST", rf"{_OBJECTS}/batch/(read|update)", (200, 207), ObjectBatch),
    ("POST", rf"{_OBJECTS}/batch/create", (201, 207), ObjectBatch),
    ("POST", rf"{_OBJECTS}/batch/archive", (204,), None),
    ("POST", rf"{_ASSOCIATIONS}/read", (200, 207), AssociationBatch),
    ("POST", rf"{_ASSOCIATIONS}/create", (200,), PairBatch),
    ("POST", rf"{_ASSOCIATIONS}/archive", (200,), VoidBatch),
    ("GET", r"/crm/owners/2026-09", (200,), OwnerPage),
    ("GET", r"/crm/owners/2026-09/[^/]+", (200,), PublicOwner),
    ("GET", r"/crm/pipelines/2026-09/[^/]+", (200,), PipelineList),
    ("GET", r"/crm/pipelines/2026-09/[^/]+/[^/]+", (200,), Pipeline),
    ("GET", r"/crm/pipelines/2026-09/[^/]+/[^/]+/stages", (200,), StageList),
    ("GET", r"/crm/properties/2026-09/[^/]+", (200,), PropertyList),
    ("GET", r"/crm/properties/2026-09/[^/]+/[^/]+", (200,), Property),
    ("GET", r"/account-info/2026-09/details", (200,), PortalInformation),
    ("GET", r"/account-info/2026-09/api-usage/daily/private-apps", (200,), UsageList),
]


def check(method: str, path: str, status: int, body: bytes) -> None:
    """Raises where an answer is not of the shape the specification has for it."""
    if status == 429:
        msgspec.json.decode(body, type=RateLimited)
    elif status >= 400:
        msgspec.json.decode(body, type=Error)
    else:
        _check_success(method, path, status, body)


def _check_success(method: str, path: str, status: int, body: bytes) -> None:
    for known, pattern, statuses, shape in _ANSWERS:
        if known == method and re.fullmatch(pattern, path):
            assert status in statuses, f"{method} {path} answered {status}"
            if shape is None:
                assert body == b""
            else:
                msgspec.json.decode(body, type=shape)
            return
    raise AssertionError(f"no shape is written down for {method} {path}")


# Webhooks


class Event(Strict, kw_only=True):
    """What every event has; the rest depends on its kind."""

    event_id: int
    subscription_id: int
    portal_id: int
    app_id: int
    occurred_at: int
    subscription_type: str
    attempt_number: int
    change_source: str
    source_id: str | Unset = UNSET
    object_id: int | Unset = UNSET
    object_type_id: str | Unset = UNSET
    change_flag: str | Unset = UNSET
    property_name: str | Unset = UNSET
    property_value: str | Unset = UNSET
    is_sensitive: bool | Unset = UNSET
    primary_object_id: int | Unset = UNSET
    merged_object_ids: list[int] | Unset = UNSET
    new_object_id: int | Unset = UNSET
    number_of_properties_moved: int | Unset = UNSET
    association_type: str | Unset = UNSET
    association_type_id: int | Unset = UNSET
    association_category: str | Unset = UNSET
    from_object_id: int | Unset = UNSET
    from_object_type_id: str | Unset = UNSET
    to_object_id: int | Unset = UNSET
    to_object_type_id: str | Unset = UNSET
    association_removed: bool | Unset = UNSET
    is_primary_association: bool | Unset = UNSET

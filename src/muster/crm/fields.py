"""The kinds of records and their fields: what is copied from HubSpot, shown, searched and edited."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """A kind of record; its value is the word in HubSpot's paths and in ours."""

    DEALS = "deals"
    CONTACTS = "contacts"
    COMPANIES = "companies"

    @property
    def one(self) -> str:
        """As one of them is called."""
        return _ONE[self]

    @property
    def modified(self) -> str:
        """The property that says when a record was last changed; contacts call it by another name."""
        return "lastmodifieddate" if self is Kind.CONTACTS else "hs_lastmodifieddate"


_ONE = {Kind.DEALS: "deal", Kind.CONTACTS: "contact", Kind.COMPANIES: "company"}


class Type(StrEnum):
    """What a value is; all of them travel as text."""

    TEXT = "text"
    LONG_TEXT = "long text"
    EMAIL = "email"
    PHONE = "phone"
    ADDRESS = "address of a page"
    NUMBER = "number"
    MONEY = "money"
    DATE = "date"
    MOMENT = "moment"
    TRUTH = "truth"
    CHOICE = "choice"
    OWNER = "owner"
    PIPELINE = "pipeline"
    STAGE = "stage"


@dataclass(frozen=True, slots=True)
class Field:
    """A property of a kind, by HubSpot's name. Only what `is_edited` is ever written there."""

    name: str
    label: str
    type: Type = Type.TEXT
    is_edited: bool = True
    is_searched: bool = False


OWNER = "hubspot_owner_id"

_OWNER = Field(OWNER, "Owner", Type.OWNER)
_CREATED = Field("createdate", "Created", Type.MOMENT, is_edited=False)

FIELDS: dict[Kind, tuple[Field, ...]] = {
    Kind.DEALS: (
        Field("dealname", "Name", is_searched=True),
        Field("amount", "Amount", Type.MONEY),
        Field("deal_currency_code", "Currency", Type.CHOICE),
        Field("pipeline", "Pipeline", Type.PIPELINE),
        Field("dealstage", "Stage", Type.STAGE),
        Field("closedate", "Close date", Type.DATE),
        _OWNER,
        Field("dealtype", "Type", Type.CHOICE),
        Field("hs_priority", "Priority", Type.CHOICE),
        Field("closed_lost_reason", "Reason it was lost", Type.LONG_TEXT),
        Field("description", "Description", Type.LONG_TEXT, is_searched=True),
        Field("notes_last_contacted", "Last contacted", Type.MOMENT, is_edited=False),
        Field("hs_is_closed", "Closed", Type.TRUTH, is_edited=False),
        Field("hs_is_closed_won", "Won", Type.TRUTH, is_edited=False),
        Field("hs_deal_stage_probability", "Probability", Type.NUMBER, is_edited=False),
        _CREATED,
        Field("hs_lastmodifieddate", "Last changed", Type.MOMENT, is_edited=False),
    ),
    Kind.CONTACTS: (
        Field("firstname", "First name", is_searched=True),
        Field("lastname", "Last name", is_searched=True),
        Field("email", "E-mail", Type.EMAIL, is_searched=True),
        Field("phone", "Phone", Type.PHONE, is_searched=True),
        Field("jobtitle", "Job title", is_searched=True),
        Field("company", "Company name", is_searched=True),
        Field("city", "City"),
        Field("lifecyclestage", "Lifecycle stage", Type.CHOICE),
        Field("hs_lead_status", "Lead status", Type.CHOICE),
        _OWNER,
        _CREATED,
        Field("lastmodifieddate", "Last changed", Type.MOMENT, is_edited=False),
    ),
    Kind.COMPANIES: (
        Field("name", "Name", is_searched=True),
        Field("domain", "Domain", is_searched=True),
        Field("website", "Website", Type.ADDRESS),
        Field("phone", "Phone", Type.PHONE, is_searched=True),
        Field("industry", "Industry", Type.CHOICE),
        Field("city", "City", is_searched=True),
        Field("country", "Country"),
        Field("numberofemployees", "Employees", Type.NUMBER),
        Field("annualrevenue", "Annual revenue", Type.MONEY),
        Field("lifecyclestage", "Lifecycle stage", Type.CHOICE),
        _OWNER,
        _CREATED,
        Field("hs_lastmodifieddate", "Last changed", Type.MOMENT, is_edited=False),
    ),
}

HIDDEN = ("hs_merged_object_ids",)
"""What is read of every record beside its fields."""


def properties_of(kind: Kind) -> list[str]:
    """The names of all that is read of a record."""
    return [*(field.name for field in FIELDS[kind]), *HIDDEN]


def field_of(kind: Kind, name: str) -> Field | None:
    return next((field for field in FIELDS[kind] if field.name == name), None)


def edited(kind: Kind) -> Iterator[Field]:
    return (field for field in FIELDS[kind] if field.is_edited)


def name_of(kind: Kind, values: dict[str, str]) -> str:
    """What a record is called, never empty."""
    if kind is Kind.CONTACTS:
        both = f"{values.get('firstname', '')} {values.get('lastname', '')}"
        said = both.strip() or values.get("email", "")
    elif kind is Kind.COMPANIES:
        said = values.get("name", "") or values.get("domain", "")
    else:
        said = values.get("dealname", "")
    return said.strip() or f"({kind.one} without a name)"

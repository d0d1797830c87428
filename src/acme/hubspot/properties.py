"""What a record can say of itself: each kind's properties, their types and their options."""

from typing import NamedTuple

from acme.hubspot.kinds import COMPANIES, CONTACTS, DEALS, Kind
from acme.hubspot.moments import iso
from acme.hubspot.pipelines import PIPELINES

_DEFINED_AT = 1_577_836_800_000
Options = tuple[tuple[str, str], ...]
"""Value and label."""


class Property(NamedTuple):
    name: str
    label: str
    type: str = "string"
    field_type: str = "text"
    options: Options = ()
    is_read_only: bool = False
    is_unique: bool = False
    is_owner: bool = False
    is_calculated: bool = False

    def described(self, kind: Kind) -> dict[str, object]:
        """`hubspot_owner_id` keeps its options elsewhere: with the owners."""
        known = {
            "updatedAt": iso(_DEFINED_AT),
            "createdAt": iso(_DEFINED_AT),
            "name": self.name,
            "label": self.label,
            "type": self.type,
            "fieldType": self.field_type,
            "description": f"{self.label} of the {kind.singular}.",
            "groupName": f"{kind.singular}information",
            "options": [_option(place, *option) for place, option in enumerate(self.options)],
            "displayOrder": -1,
            "calculated": self.is_calculated,
            "externalOptions": self.is_owner,
            "archived": False,
            "hasUniqueValue": self.is_unique,
            "hidden": False,
            "hubspotDefined": True,
            "modificationMetadata": {
                "archivable": False,
                "readOnlyDefinition": True,
                "readOnlyOptions": not self.options,
                "readOnlyValue": self.is_read_only,
            },
            "formField": not self.is_read_only,
            "dataSensitivity": "non_sensitive",
        }
        return known | ({"referencedObjectType": "OWNER"} if self.is_owner else {})


def _option(place: int, value: str, label: str) -> dict[str, object]:
    return {"label": label, "value": value, "displayOrder": place, "hidden": False}


def _same(*words: str) -> Options:
    return tuple((word, word.replace("_", " ").capitalize()) for word in words)


def _moment(name: str, label: str, *, is_read_only: bool = True) -> Property:
    return Property(name, label, "datetime", "date", is_read_only=is_read_only)


def _choice(name: str, label: str, options: Options, *, is_read_only: bool = False) -> Property:
    return Property(name, label, "enumeration", "select", options, is_read_only=is_read_only)


def _number(name: str, label: str, *, is_calculated: bool = False) -> Property:
    return Property(name, label, "number", "number", is_read_only=is_calculated, is_calculated=is_calculated)


_YES_NO: Options = (("true", "Yes"), ("false", "No"))


def _truth(name: str, label: str) -> Property:
    return Property(name, label, "bool", "booleancheckbox", _YES_NO, is_read_only=True, is_calculated=True)


LIFECYCLE = ("subscriber", "lead", "marketingqualifiedlead", "opportunity", "customer", "evangelist", "other")
LEAD_STATUS = ("NEW", "OPEN", "IN_PROGRESS", "OPEN_DEAL", "UNQUALIFIED", "CONNECTED", "BAD_TIMING")
INDUSTRIES = (
    "ACCOUNTING",
    "AUTOMOTIVE",
    "BIOTECHNOLOGY",
    "COMPUTER_SOFTWARE",
    "CONSTRUCTION",
    "EDUCATION_MANAGEMENT",
    "FOOD_PRODUCTION",
    "LOGISTICS_AND_SUPPLY_CHAIN",
    "MACHINERY",
    "RENEWABLES_ENVIRONMENT",
    "RETAIL",
    "TELECOMMUNICATIONS",
)
_OWNER = Property("hubspot_owner_id", "Owner", "enumeration", "select", is_owner=True)
_EVERY_KIND = (
    Property("hs_object_id", "Record ID", "number", "number", is_read_only=True),
    _moment("createdate", "Create date"),
    _OWNER,
    Property("hs_merged_object_ids", "Merged record IDs", "enumeration", "checkbox", is_read_only=True),
)
_DEALS = (
    Property("dealname", "Deal name"),
    _number("amount", "Amount"),
    _choice("pipeline", "Pipeline", tuple((pipeline.id, pipeline.label) for pipeline in PIPELINES)),
    Property(
        "dealstage",
        "Deal stage",
        "enumeration",
        "radio",
        tuple((stage.id, stage.label) for pipeline in PIPELINES for stage in pipeline.stages),
    ),
    _moment("closedate", "Close date", is_read_only=False),
    _choice(
        "dealtype",
        "Deal type",
        (("newbusiness", "New business"), ("existingbusiness", "Existing business")),
    ),
    _choice("hs_priority", "Priority", _same("low", "medium", "high")),
    Property("description", "Deal description", field_type="textarea"),
    Property("closed_lost_reason", "Closed lost reason", field_type="textarea"),
    _choice("deal_currency_code", "Currency", (("EUR", "EUR"), ("USD", "USD"))),
    _moment("notes_last_contacted", "Last contacted"),
    _moment("hs_lastmodifieddate", "Last modified date"),
    _truth("hs_is_closed", "Is deal closed?"),
    _truth("hs_is_closed_won", "Is closed won"),
    _number("hs_deal_stage_probability", "Deal probability", is_calculated=True),
)
_CONTACTS = (
    Property("email", "Email", is_unique=True),
    Property("firstname", "First name"),
    Property("lastname", "Last name"),
    Property("phone", "Phone number", field_type="phonenumber"),
    Property("jobtitle", "Job title"),
    Property("company", "Company name"),
    Property("city", "City"),
    _choice("lifecyclestage", "Lifecycle stage", _same(*LIFECYCLE)),
    _choice("hs_lead_status", "Lead status", _same(*LEAD_STATUS)),
    _moment("lastmodifieddate", "Last modified date"),
)
_COMPANIES = (
    Property("name", "Company name"),
    Property("domain", "Company domain name"),
    Property("website", "Website URL"),
    Property("phone", "Phone number", field_type="phonenumber"),
    _choice("industry", "Industry", _same(*INDUSTRIES)),
    Property("city", "City"),
    Property("country", "Country/region"),
    _number("numberofemployees", "Number of employees"),
    _number("annualrevenue", "Annual revenue"),
    _choice("lifecyclestage", "Lifecycle stage", _same(*LIFECYCLE)),
    _moment("hs_lastmodifieddate", "Last modified date"),
)
PROPERTIES: dict[str, dict[str, Property]] = {
    kind.name: {each.name: each for each in (*own, *_EVERY_KIND)}
    for kind, own in ((DEALS, _DEALS), (CONTACTS, _CONTACTS), (COMPANIES, _COMPANIES))
}

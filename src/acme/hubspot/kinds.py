"""The kinds of records a portal holds, and the numbers HubSpot knows them by."""

from typing import NamedTuple

from acme.hubspot.errors import HubSpotError

MOST_RECORDS = 100_000_000


class Kind(NamedTuple):
    name: str
    """As in paths."""
    singular: str
    type_id: str
    first_id: int
    """Every kind has ids of its own, in the order records were made."""
    modified: str
    """The property that says when a record was last changed; contacts call it by another name."""
    shown: tuple[str, ...]
    """What is sent where no properties are asked for."""
    searched: tuple[str, ...]
    """Where `query` looks."""
    unique: tuple[str, ...] = ()
    """Properties a record can be read by instead of its id."""

    @property
    def always_shown(self) -> tuple[str, ...]:
        return ("createdate", self.modified, "hs_object_id")

    def id_of(self, number: int) -> str:
        return str(self.first_id + number * _STEP)

    def number_of(self, record_id: str) -> int | None:
        if not record_id.isdecimal() or len(record_id) > 15:
            return None
        number, rest = divmod(int(record_id) - self.first_id, _STEP)
        return number if not rest and 0 <= number < MOST_RECORDS else None

    def number_after(self, cursor: int) -> int:
        """The first one whose id is not below the cursor."""
        return max(0, -((self.first_id - cursor) // _STEP))


_STEP = 7

DEALS = Kind(
    "deals",
    "deal",
    "0-3",
    31_400_271_000,
    "hs_lastmodifieddate",
    (
        "amount",
        "closedate",
        "createdate",
        "dealname",
        "dealstage",
        "hs_lastmodifieddate",
        "hs_object_id",
        "pipeline",
    ),
    ("dealname", "pipeline", "dealstage", "description", "dealtype"),
)
CONTACTS = Kind(
    "contacts",
    "contact",
    "0-1",
    58_200_004_000,
    "lastmodifieddate",
    ("createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname"),
    ("firstname", "lastname", "email", "phone", "company"),
    ("email",),
)
COMPANIES = Kind(
    "companies",
    "company",
    "0-2",
    19_700_310_000,
    "hs_lastmodifieddate",
    ("createdate", "domain", "hs_lastmodifieddate", "hs_object_id", "name"),
    ("name", "domain", "phone", "website"),
)
KINDS = (DEALS, CONTACTS, COMPANIES)
_BY_WORD = {word: kind for kind in KINDS for word in (kind.name, kind.singular, kind.type_id)}


def kind_named(word: str) -> Kind:
    """Raises HubSpotError 400: HubSpot takes the plural, the singular and the number."""
    kind = _BY_WORD.get(word.lower())
    if kind is None:
        raise HubSpotError(
            400, "VALIDATION_ERROR", f"Unable to infer object type from: {word}", context={"type": [word]}
        )
    return kind

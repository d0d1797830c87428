"""Associations: which record is tied to which, with what label, at the start and by now."""

from typing import NamedTuple

from acme.hubspot.kinds import COMPANIES, CONTACTS, DEALS, Kind
from acme.hubspot.world import World

HUBSPOT_DEFINED = "HUBSPOT_DEFINED"
PRIMARY = "Primary"


class Label(NamedTuple):
    """One type of association; `type_id` depends on the direction."""

    type_id: int
    label: str | None = None


_TYPE_IDS = {
    (DEALS, CONTACTS): 3,
    (CONTACTS, DEALS): 4,
    (DEALS, COMPANIES): 341,
    (COMPANIES, DEALS): 342,
    (CONTACTS, COMPANIES): 279,
    (COMPANIES, CONTACTS): 280,
    (CONTACTS, CONTACTS): 449,
    (COMPANIES, COMPANIES): 450,
    (DEALS, DEALS): 451,
}
_PRIMARY_TYPE_IDS = {
    (DEALS, COMPANIES): 5,
    (COMPANIES, DEALS): 6,
    (CONTACTS, COMPANIES): 1,
    (COMPANIES, CONTACTS): 2,
}


class Link(NamedTuple):
    to: int
    """A number."""
    is_primary: bool = False


class End(NamedTuple):
    kind: Kind
    number: int


def labels(source: Kind, target: Kind, *, is_primary: bool) -> list[Label]:
    """The primary one is also an ordinary one."""
    plain = Label(_TYPE_IDS[source, target])
    primary = _PRIMARY_TYPE_IDS.get((source, target)) if is_primary else None
    return [plain] if primary is None else [Label(primary, PRIMARY), plain]


def is_primary_type(source: Kind, target: Kind, type_id: int) -> bool | None:
    """None for a type that does not tie these two kinds."""
    if type_id == _PRIMARY_TYPE_IDS.get((source, target)):
        return True
    return False if type_id == _TYPE_IDS.get((source, target)) else None


class Links:
    def __init__(self, world: World) -> None:
        self._ties = world.ties
        self.rewound()

    def rewound(self) -> None:
        self._changed: dict[tuple[End, Kind], dict[int, Link]] = {}

    def of(self, end: End, kind: Kind) -> list[Link]:
        """In the order of numbers."""
        changed = self._changed.get((end, kind))
        return self._computed(end, kind) if changed is None else [changed[key] for key in sorted(changed)]

    def tie(self, one: End, other: End, *, is_primary: bool) -> bool:
        """Both ways; a record has one primary company, so another's claim ends. Whether that changed
        anything.
        """
        own = self._own(one, other.kind)
        known = own.get(other.number)
        if known is not None and known.is_primary >= is_primary:
            return False
        for end, far in ((one, other), (other, one)):
            own = self._own(end, far.kind)
            if is_primary and far.kind is COMPANIES:
                self._demote(end, own)
            own[far.number] = Link(far.number, is_primary)
        return True

    def untie(self, one: End, other: End) -> bool:
        """Whether there was anything to untie."""
        own = self._own(one, other.kind)
        if other.number not in own:
            return False
        del own[other.number]
        self._own(other, one.kind).pop(one.number, None)
        return True

    def _demote(self, end: End, own: dict[int, Link]) -> None:
        for number, link in list(own.items()):
            if link.is_primary:
                own[number] = Link(number)
                self._own(End(COMPANIES, number), end.kind)[end.number] = Link(end.number)

    def _own(self, end: End, kind: Kind) -> dict[int, Link]:
        """Kept from now on, and free to be changed."""
        key = end, kind
        if key not in self._changed:
            self._changed[key] = {link.to: link for link in self._computed(end, kind)}
        return self._changed[key]

    def _computed(self, end: End, kind: Kind) -> list[Link]:
        ties, number = self._ties, end.number
        match end.kind.name, kind.name:
            case "deals", "companies":
                company = ties.company_of_deal(number)
                numbers = [] if company is None else [company]
            case "contacts", "companies":
                company = ties.company_of_contact(number)
                numbers = [] if company is None else [company]
            case "companies", "deals":
                numbers = ties.deals_of_company(number)
            case "companies", "contacts":
                numbers = ties.contacts_of_company(number)
            case "deals", "contacts":
                numbers = ties.contacts_of_deal(number)
            case "contacts", "deals":
                numbers = ties.deals_of_contact(number)
            case _:
                numbers = []
        return [Link(each, is_primary=COMPANIES in {end.kind, kind}) for each in numbers]

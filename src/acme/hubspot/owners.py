"""Who owns records in HubSpot: mostly Acme's sales people, and the odd cases every real portal collects."""

from collections.abc import Callable, Iterator
from itertools import islice

import msgspec

from acme.company import DOMAIN, TEAMS
from acme.hubspot.errors import HubSpotError
from acme.hubspot.moments import DAY, iso
from acme.people import FIRST_HEAD, Person, team_number
from acme.tenant import Tenant

_FIRST_ID, _ID_STEP = 51_200_417, 37
_FIRST_USER_ID, _USER_ID_STEP = 9_400_113, 13
_SCANNED = 4_000  # people looked at to find one of each odd case
_MOST_REGULAR = 180
_SINCE = 1_640_995_200_000
_OUTSIDERS = (
    ("jo.farrow@northwind-agency.example", "Jo", "Farrow"),
    ("sam.ito@northwind-agency.example", "Sam", "Ito"),
)
_QUEUE = "Inbound leads"


class Owner(msgspec.Struct, frozen=True):
    place: int
    email: str | None
    first_name: str
    last_name: str
    team: str | None = None
    is_archived: bool = False
    """Deactivated in HubSpot, whatever Google says of the person."""
    is_queue: bool = False
    updated_at: int = _SINCE

    @property
    def id(self) -> str:
        return str(_FIRST_ID + self.place * _ID_STEP)

    @property
    def user_id(self) -> int:
        """Another number than the id, and of no use for owning anything."""
        return _FIRST_USER_ID + self.place * _USER_ID_STEP

    def described(self) -> dict[str, object]:
        known: dict[str, object] = {
            "id": self.id,
            "email": self.email,
            "type": "QUEUE" if self.is_queue else "PERSON",
            "firstName": self.first_name,
            "lastName": self.last_name,
            "createdAt": iso(_SINCE + self.place * DAY),
            "updatedAt": iso(max(self.updated_at, _SINCE + self.place * DAY)),
            "archived": self.is_archived,
        }
        if not self.is_queue:
            known["userIdIncludingInactive"] = self.user_id
            known |= {} if self.is_archived else {"userId": self.user_id}
        if self.team is not None:
            known["teams"] = [{"id": str(700 + self._team_place), "name": self.team, "primary": True}]
        return {name: value for name, value in known.items() if value is not None}

    @property
    def _team_place(self) -> int:
        return next((place for place, team in enumerate(TEAMS) if team.name == self.team), len(TEAMS))


class OwnerPatch(msgspec.Struct, forbid_unknown_fields=True):
    """Fields left out stay as they are."""

    email: str | None = None
    archived: bool | None = None
    first_name: str | None = None
    last_name: str | None = None


class Owners:
    """Ben first and Ada second; whoever else there is depends on the seed and the company's size."""

    def __init__(self, tenant: Tenant) -> None:
        self._at_first = [
            msgspec.structs.replace(owner, place=place) for place, owner in enumerate(_drawn(tenant))
        ]
        self.rewound()

    def rewound(self) -> None:
        self._all = list(self._at_first)

    def __iter__(self) -> Iterator[Owner]:
        return iter(self._all)

    @property
    def ids(self) -> list[str]:
        """Of those there were at the start."""
        return [owner.id for owner in self._at_first]

    def find(self, owner_id: str) -> Owner | None:
        return next((owner for owner in self._all if owner.id == owner_id), None)

    def get(self, key: str) -> Owner:
        """By id or address. Raises HubSpotError 404."""
        for owner in self._all:
            if owner.id == key or (owner.email or "").lower() == key.lower():
                return owner
        raise HubSpotError(404, "OBJECT_NOT_FOUND", "resource not found")

    def add(self, patch: OwnerPatch, at: int) -> Owner:
        owner = Owner(len(self._all), patch.email, patch.first_name or "", patch.last_name or "")
        self._all.append(msgspec.structs.replace(owner, updated_at=at))
        return self._all[-1]

    def change(self, owner: Owner, patch: OwnerPatch, at: int) -> Owner:
        changed = msgspec.structs.replace(
            owner,
            email=patch.email or owner.email,
            first_name=patch.first_name or owner.first_name,
            last_name=patch.last_name or owner.last_name,
            is_archived=owner.is_archived if patch.archived is None else patch.archived,
            updated_at=at,
        )
        self._all[owner.place] = changed
        return changed


def _drawn(tenant: Tenant) -> Iterator[Owner]:
    yield _owner(tenant.get(f"ben@{DOMAIN}"))
    yield _owner(tenant.get(f"ada@{DOMAIN}"))
    people = [tenant.person(number) for number in range(FIRST_HEAD, min(tenant.size, _SCANNED))]
    taken: set[int] = set()

    def found(most: int, fits: Callable[[Person], bool]) -> list[Person]:
        chosen = [person for person in people if person.number not in taken and fits(person)][:most]
        taken.update(person.number for person in chosen)
        return chosen

    yield from (_owner(person) for person in found(2, lambda each: each.suspended_at is not None))
    yield from (_owner(person) for person in found(1, lambda each: each.archived_at is not None))
    for person in found(2, lambda each: each.may_sign_in and bool(each.aliases)):
        yield _owner(person, email=person.aliases[0])
    for person in found(1, lambda each: each.may_sign_in and _sells(each)):
        yield _owner(person, email=_capitalised(person.email))
    for person in found(2, lambda each: each.may_sign_in and not _sells(each)):
        yield _owner(person, is_archived=True)
    leavers = [tenant.person(number) for number in islice(tenant.deleted_from(0), 3)]
    yield from (_owner(person, is_archived=place == 2) for place, person in enumerate(leavers))
    yield from (Owner(0, email, first, last) for email, first, last in _OUTSIDERS)
    yield Owner(0, None, _QUEUE, "", is_queue=True)
    regular = min(_MOST_REGULAR, 24 + tenant.size // 200)
    yield from (_owner(person) for person in found(regular, lambda each: each.may_sign_in and _sells(each)))


def _sells(person: Person) -> bool:
    return TEAMS[team_number(person.number)].department == "Sales"


def _capitalised(address: str) -> str:
    """`anna.nowak@acme.test` → `Anna.Nowak@Acme.test`: as somebody once typed it."""
    local_part, _, domain = address.partition("@")
    return f"{local_part.title()}@{domain.capitalize()}"


def _owner(person: Person, *, email: str | None = None, is_archived: bool = False) -> Owner:
    return Owner(0, email or person.email, person.given, person.family, person.team, is_archived=is_archived)

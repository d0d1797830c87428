"""Who owns records: HubSpot's owners, and whom of the company each of them is."""

from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum

import msgspec

from muster.access.colleague import Colleague, WhoIs
from muster.platform.cache import Cache
from muster.platform.database import Database

TAG = "crm:owners"
PEOPLE_TAG = "people"  # as the directory busts it; siblings do not import each other


class Standing(StrEnum):
    """How an owner stands; each in exactly one. Whatever `is_orphaning` leaves records with nobody."""

    HERE = "here"
    QUEUE = "queue"
    DEACTIVATED = "deactivated"  # in HubSpot, though their person is here
    SUSPENDED = "suspended"
    ARCHIVED = "archived"
    DELETED = "deleted"
    UNKNOWN = "unknown"  # nobody in the directory has this address, or there is none

    @property
    def is_orphaning(self) -> bool:
        return self not in {Standing.HERE, Standing.QUEUE}


class OwnerCard(msgspec.Struct, frozen=True, kw_only=True):
    """An owner and their person; `person_id` is "" where nobody in the directory has the address."""

    id: str
    name: str
    email: str
    team: str
    standing: Standing
    person_id: str
    person_name: str
    is_deactivated: bool

    @property
    def may_own(self) -> bool:
        """Whether records may be given to them."""
        return not self.is_deactivated and self.standing in {Standing.HERE, Standing.QUEUE}


class _Owner(msgspec.Struct, frozen=True):
    id: str
    name: str
    email: str
    team: str
    is_queue: bool
    is_archived: bool
    is_gone: bool


class Owners:
    def __init__(self, database: Database, cache: Cache, who_is: WhoIs) -> None:
        self._database = database
        self._cache = cache
        self._who_is = who_is

    async def list_all(self) -> list[OwnerCard]:
        """By name; those whom HubSpot lists no more are among them, since records may still name them."""
        found = await self._cache.get(
            "crm:owners", list[OwnerCard], self._read, tags=[TAG, PEOPLE_TAG], ttl=timedelta(minutes=15)
        )
        return found.value

    async def by_id(self) -> dict[str, OwnerCard]:
        return {owner.id: owner for owner in await self.list_all()}

    async def of_person(self, person_id: str) -> list[OwnerCard]:
        """As whom somebody owns records: an address and an alias of theirs may be two owners."""
        return [owner for owner in await self.list_all() if owner.person_id == person_id]

    async def _read(self) -> list[OwnerCard]:
        rows = await self._database.rows(
            _Owner,
            "SELECT id, name, email, team, is_queue, is_archived, is_gone FROM crm_owners ORDER BY name, id",
        )
        people = await self._who_is(sorted({row.email for row in rows if row.email}))
        return [_card(row, people.get(row.email)) for row in rows]


def live(owners: Sequence[OwnerCard]) -> list[str]:
    """The ids of those who look after their records; whoever else is named as an owner is gone, also whom
    HubSpot never named.
    """
    return [owner.id for owner in owners if not owner.standing.is_orphaning]


def stranger(owner_id: str) -> OwnerCard:
    """Records can name an owner whom HubSpot does not list."""
    return OwnerCard(
        id=owner_id,
        name=f"Owner {owner_id}",
        email="",
        team="",
        standing=Standing.UNKNOWN,
        person_id="",
        person_name="",
        is_deactivated=True,
    )


def _card(owner: _Owner, person: Colleague | None) -> OwnerCard:
    return OwnerCard(
        id=owner.id,
        name=owner.name or owner.email or f"Owner {owner.id}",
        email=owner.email,
        team=owner.team,
        standing=_standing(owner, person),
        person_id=person.id if person else "",
        person_name=person.name if person else "",
        is_deactivated=owner.is_archived or owner.is_gone,
    )


def _standing(owner: _Owner, person: Colleague | None) -> Standing:
    if owner.is_queue:
        return Standing.QUEUE
    if person is None:
        return Standing.UNKNOWN
    if person.is_here:
        return Standing.DEACTIVATED if owner.is_archived or owner.is_gone else Standing.HERE
    return _GONE.get(person.status, Standing.DELETED)


_GONE = {"suspended": Standing.SUSPENDED, "archived": Standing.ARCHIVED}

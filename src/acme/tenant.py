"""The tenant: Acme's people as they are at one step, computed people plus the changes scripts have made."""

import asyncio
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from itertools import chain
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from acme.changes import Event, GroupChanges, GroupPatch, PersonPatch, changed
from acme.clock import Clock
from acme.company import CONTRACTORS_UNIT, TEAMS
from acme.logins import Logins
from acme.people import DAY, Person, Population

T = TypeVar("T")
UNDELETE_WINDOW = 20 * DAY
_CACHED_LISTINGS = 8  # 4 MB each at most, in a company of a million
_CACHED_PREFIXES = 64  # half a megabyte each at most


class NobodyThere(LookupError):
    """No such person or group."""


class AddressTaken(ValueError):
    """The address belongs to somebody else."""


class Change(NamedTuple):
    """An event, and the person it is about; none before they were hired, or where it is about a group."""

    event: Event
    before: Person | None = None
    after: Person | None = None


class Glance(NamedTuple):
    id: str
    etag: str


class Listener(Protocol):
    def changed(self, change: Change) -> None:
        """As it happens."""

    def rewound(self) -> None:
        """Everything is as it was at some step."""


class Tenant:
    """`size` people are listed; one in fifty more was deleted before `today` (a midnight, seconds)."""

    def __init__(self, size: int, seed: int, today: int, clock: Clock) -> None:
        self.size = size
        self._seed = seed
        self._population = Population(seed, today)
        self._today = today
        self._clock = clock
        self._leavers = range(size, size + size // 50)
        self.listeners: list[Listener] = []
        self.revision = 0
        """Another one after every change, and after going back."""
        self._finding = asyncio.Lock()
        self._prefixes: dict[str, Sequence[int]] = {}
        self._forget_changes()

    def _forget_changes(self) -> None:
        self.events: list[Event] = []
        self._changed: dict[int, Person] = {}
        self._addresses: dict[str, int] = {}
        self.group_changes: dict[str, GroupChanges] = {}
        """By the group's id."""
        self.group_step: int | None = None
        """The last step that made, renamed or deleted a group."""
        self._logins = Logins(self._seed)
        self.end = self._leavers.stop
        """The next newcomer's number."""
        self._listings: dict[object, Sequence[int]] = {}

    # Looking up

    @property
    def step(self) -> int:
        return len(self.events)

    @property
    def days_passed(self) -> int:
        return len(self._logins.days)

    def person(self, number: int) -> Person:
        """Anyone ever employed, the deleted included."""
        person = self._stored(number)
        login = self._logins.last(person) if self._logins.days else None
        if login is None:
            return person
        day, at = login
        if at <= (person.last_login_at or 0):
            return person
        return msgspec.structs.replace(person, last_login_at=at, etag=f"{person.etag}.{day}")

    def _stored(self, number: int) -> Person:
        """Without the logins of days that passed."""
        return self._changed.get(number) or self._unchanged(number)

    def _unchanged(self, number: int) -> Person:
        person = self._population.person(number)
        if number not in self._leavers:
            return person
        deleted_at = self._today - (number - self._leavers.start) % 19 * DAY - 3_600
        return msgspec.structs.replace(
            person,
            deleted_at=deleted_at,
            created_at=min(person.created_at, deleted_at - DAY),
            last_login_at=person.last_login_at and min(person.last_login_at, deleted_at),
        )

    def find(self, key: str) -> Person | None:
        """By id, address or alias, in any case of letters; the deleted while they could be restored."""
        number = self._number(key.lower())
        if number is None or not 0 <= number < self.end:
            return None
        person = self.person(number)
        return None if self._is_purged(person) else person

    def _number(self, key: str) -> int | None:
        if "@" not in key:
            return self._population.number_of_id(key)
        number = self._addresses.get(key)
        if number is None:
            number = self._population.number_of_address(key)
        if number is None or not 0 <= number < self.end:
            return None
        person = self.person(number)
        return number if key in {person.email, *person.aliases, person.technical_alias} else None

    def get(self, key: str) -> Person:
        person = self.find(key)
        if person is None:
            raise NobodyThere(key)
        return person

    def is_gone(self, number: int) -> bool:
        """Deleted, restorable or not."""
        if (person := self._changed.get(number)) is not None:
            return person.deleted_at is not None
        return number in self._leavers

    def gone(self) -> set[int]:
        """Those who were listed at the start and are deleted by now."""
        return {number for number in self._changed if self.is_gone(number)}

    def _is_purged(self, person: Person) -> bool:
        return person.deleted_at is not None and person.deleted_at + UNDELETE_WINDOW <= self._clock.now()

    # Listing

    def listed_from(self, number: int) -> Iterator[int]:
        return (at for at in range(number, self.end) if not self.is_gone(at))

    def deleted_from(self, number: int) -> Iterator[int]:
        """Those who could still be restored."""
        candidates = sorted({*self._leavers, *self._changed})
        return (
            at
            for at in candidates
            if at >= number and self.is_gone(at) and not self._is_purged(self.person(at))
        )

    def address_of(self, number: int) -> str:
        """Cheaper than the whole person."""
        person = self._changed.get(number)
        return person.email if person else self._population.address_of(number)

    def glance(self, number: int) -> Glance:
        """Cheaper than the whole person."""
        is_computed = number not in self._changed and not self._logins.days
        etag = self._population.etag_of(number) if is_computed else self.person(number).etag
        return Glance(self._population.id_of(number), etag)

    async def remembered(self, what: object, find: Callable[[], list[int]]) -> Sequence[int]:
        """A filtered or sorted listing costs a walk through everybody, in a thread that holds up nobody for
        long: a few are kept until a change.
        """
        key = (what, self._clock.now() // DAY)
        if key in self._listings:
            return self._listings[key]
        async with self._finding:
            if key not in self._listings:
                revision = self.revision
                found = array("I", await asyncio.to_thread(find))
                if revision != self.revision:
                    return found
                _put(self._listings, key, found, _CACHED_LISTINGS)
            return self._listings[key]

    async def starting_with(self, prefix: str, number: int) -> Iterator[int]:
        """Those listed from a number on with an address or alias that begins so.

        Who they would be without any change is found once; changes are looked at each time.
        """
        computed = self._prefixes.get(prefix) or await self._find_prefix(prefix)
        others = sorted(
            at
            for at, person in self._changed.items()
            if at >= number
            and person.deleted_at is None
            and any(address.startswith(prefix) for address in (person.email, *person.aliases))
        )
        start = bisect_left(computed, number)
        unchanged = (
            at for at in (computed[place] for place in range(start, len(computed))) if at not in self._changed
        )
        return merge(unchanged, others)

    async def _find_prefix(self, prefix: str) -> Sequence[int]:
        async with self._finding:
            if prefix not in self._prefixes:
                find = self._population.starting_with
                found = array("I", await asyncio.to_thread(find, prefix, self._leavers.start))
                _put(self._prefixes, prefix, found, _CACHED_PREFIXES)
            return self._prefixes[prefix]

    def units(self) -> list[str]:
        """Paths of all organizational units but the root, parents first."""
        paths = chain(
            (team.unit for team in TEAMS), [CONTRACTORS_UNIT], (p.unit for p in self._changed.values())
        )
        parents = (
            "/".join(parts[:end])
            for parts in (path.split("/") for path in paths)
            for end in range(2, len(parts) + 1)
        )
        return sorted(set(parents) - {""})

    # Changing

    def change(self, key: str, patch: PersonPatch) -> Person:
        """Raises NobodyThere or AddressTaken."""
        person = self.get(key)
        self._refuse_taken(patch, person)
        self._record("changed", person.id, patch)
        return self.person(person.number)

    def hire(self, patch: PersonPatch) -> Person:
        """Someone new, made up where the patch is silent. Raises AddressTaken."""
        self._refuse_taken(patch, None)
        number = self.end
        self._record("hired", self._population.id_of(number), patch)
        return self.person(number)

    def create_group(self, group_id: str, group: GroupPatch) -> None:
        self._record("group_created", group_id, group=group)

    def change_group(
        self, group_id: str, added: list[str], removed: list[str], group: GroupPatch | None = None
    ) -> None:
        self._record("group_changed", group_id, added=added, removed=removed, group=group)

    def delete_group(self, group_id: str) -> None:
        self._record("group_deleted", group_id)

    def end_day(self) -> None:
        """A share of the people have signed in that day."""
        self._record("day_ended", str(self.days_passed + 1))

    def rewind(self, step: int) -> None:
        """Back to what the tenant was after so many events; 0 is the start."""
        kept = self.events[:step]
        self._forget_changes()
        for event in kept:
            self._apply(event)
        self.revision += 1
        for listener in self.listeners:
            listener.rewound()

    def _refuse_taken(self, patch: PersonPatch, owner: Person | None) -> None:
        wanted = {patch.primary_email} if isinstance(patch.primary_email, str) else set()
        wanted |= set(patch.aliases) if isinstance(patch.aliases, list) else set()
        for address in wanted:
            holder = self.find(address)
            if holder is None or holder.deleted_at is not None:
                continue
            if owner is None or holder.number != owner.number:
                raise AddressTaken(address)

    def _record(
        self,
        kind: str,
        about: str,
        patch: PersonPatch | None = None,
        *,
        added: list[str] | None = None,
        removed: list[str] | None = None,
        group: GroupPatch | None = None,
    ) -> None:
        moment = self._clock.now()
        event = Event(self.step + 1, moment, kind, about, patch, added or [], removed or [], group)
        change = self._apply(event)
        for listener in self.listeners:
            listener.changed(change)

    def _apply(self, event: Event) -> Change:
        self.events.append(event)
        self.revision += 1
        self._listings.clear()
        if event.kind == "day_ended":
            self._logins.days.append(event.at)
            return Change(event)
        if event.kind.startswith("group_"):
            self._apply_to_group(event)
            return Change(event)
        number = self._population.number_of_id(event.about)
        if number is None or event.patch is None:
            raise NobodyThere(event.about)
        shown = None if event.kind == "hired" else self.person(number)
        before = self._newcomer(number, event.at) if shown is None else self._stored(number)
        after = changed(before, event.patch, event.at)
        if event.kind == "hired":
            aliases = tuple(event.patch.aliases or ())
            after = msgspec.structs.replace(after, aliases=aliases)
            self.end = number + 1
        after = msgspec.structs.replace(after, etag=f"{before.etag}.{event.step}")
        self._changed[number] = after
        self._addresses |= dict.fromkeys((after.email, *after.aliases), number)
        return Change(event, shown, self.person(number))

    def _newcomer(self, number: int, at: int) -> Person:
        return msgspec.structs.replace(
            self._population.person(number),
            created_at=at,
            last_login_at=None,
            suspended_at=None,
            archived_at=None,
            is_admin=False,
            is_delegated_admin=False,
            is_guest=False,
        )

    def _apply_to_group(self, event: Event) -> None:
        if event.kind != "group_changed" or event.group is not None:
            self.group_step = event.step
        changes = self.group_changes.setdefault(event.about, GroupChanges())
        changes.is_new = changes.is_new or event.kind == "group_created"
        changes.is_deleted = event.kind == "group_deleted"
        changes.regroup(event.added, event.removed)
        if event.group is not None:
            changes.add(event.group)


def _put(kept: dict[T, Sequence[int]], key: T, numbers: Sequence[int], most: int) -> None:
    """The oldest makes room."""
    while len(kept) >= most:
        del kept[next(iter(kept))]
    kept[key] = numbers

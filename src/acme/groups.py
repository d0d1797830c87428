"""Acme's groups: who is in them follows from people's numbers, so that ten thousand need no member lists."""

from collections.abc import Iterator

import msgspec

from acme.company import CUSTOMER, DOMAIN, TEAMS
from acme.people import FIRST_HEAD, Person, team_numbers
from acme.records import Record
from acme.tenant import NobodyThere, Tenant

_MOST_PROJECTS = 9_960
_WORDS = ("atlas", "birch", "comet", "delta", "ember", "fjord", "grove", "harbour", "indigo", "juniper")
# Three groups that contain each other in a circle, and two that contain one another.
_CIRCLES = (("platform-guild", "data-guild"), ("on-call", "incidents", "escalations"))


class Group(msgspec.Struct, frozen=True):
    """Members are whole groups, everyone of the company, people by runs of numbers, and outside addresses."""

    place: int
    address: str
    name: str
    description: str
    nested: tuple[str, ...] = ()
    runs: tuple[range, ...] = ()
    outside: tuple[str, ...] = ()
    has_everyone: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"03acme{self.place:09d}"


def _address(local_part: str) -> str:
    return f"{local_part}@{DOMAIN}"


class Groups:
    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self.all = [*self._named(), *self._projects()]
        self.all = [msgspec.structs.replace(group, place=place) for place, group in enumerate(self.all)]
        self._by_key = {key: group for group in self.all for key in (group.id, group.address, *group.aliases)}

    def get(self, key: str) -> Group:
        """By id, address or alias. Raises NobodyThere."""
        try:
            return self._by_key[key.lower()]
        except KeyError:
            raise NobodyThere(key) from None

    def find(self, key: str) -> Group | None:
        return self._by_key.get(key.lower())

    def containing(self, key: str) -> list[Group]:
        """Groups a person or group is a direct member of."""
        if (group := self.find(key)) is not None:
            return [other for other in self.all if self._has(other, group.address, None)]
        person = self._tenant.get(key)
        return [group for group in self.all if self._has(group, person.email, person.number)]

    def has_person(self, group: Group, person: Person) -> bool:
        return self._has(group, person.email, person.number)

    def _has(self, group: Group, address: str, number: int | None) -> bool:
        added, removed = self._tenant.group_changes(group.address)
        if address in added or address in removed:
            return address in added
        if number is not None:
            return not self._tenant.is_gone(number) and any(number in run for run in group.runs)
        return address in group.nested

    def member_count(self, group: Group) -> int:
        return len(self._others(group)) + sum(map(len, group.runs)) - len(self._excepted(group))

    def members(self, group: Group, position: int) -> Iterator[tuple[int, Record]]:
        """Members from a position on, each with its own position."""
        others = self._others(group)
        for place in range(position, len(others)):
            yield place, self._member_by_key(others[place])
        start = len(others)
        excepted = self._excepted(group)
        for run in group.runs:
            for place in range(max(0, position - start), len(run)):
                if run[place] not in excepted:
                    yield start + place, _person(self._tenant.person(run[place]), group)
            start += len(run)

    def _others(self, group: Group) -> list[str]:
        """Members that are named one by one: groups, outsiders, the whole company, and who was added."""
        added, removed = self._tenant.group_changes(group.address)
        everyone = (CUSTOMER,) if group.has_everyone else ()
        return [key for key in (*group.nested, *group.outside, *everyone, *added) if key not in removed]

    def _excepted(self, group: Group) -> set[int]:
        """Who is in the runs and still no member by them: the deleted, the removed, and the added."""
        added, removed = self._tenant.group_changes(group.address)
        named = {person.number for key in (*added, *removed) if (person := self._tenant.find(key))}
        return {number for number in named | self._tenant.gone() if any(number in run for run in group.runs)}

    def _member_by_key(self, key: str) -> Record:
        if key == CUSTOMER:
            return _member(id=CUSTOMER, type="CUSTOMER")
        if (group := self.find(key)) is not None:
            return _member(id=group.id, email=group.address, type="GROUP", status="ACTIVE")
        if (person := self._tenant.find(key)) is not None:
            return _member(id=person.id, email=person.email, type="USER", status=_status(person))
        return _member(id=f"9{sum(map(ord, key)):020d}", email=key, type="USER", status="ACTIVE")

    def _named(self) -> Iterator[Group]:
        size = self._tenant.size
        departments: dict[str, list[str]] = {}
        for team in TEAMS:
            departments.setdefault(team.department, []).append(_address(team.group))
        tops = [
            teams[0] if len(teams) == 1 else _address(name.lower()) for name, teams in departments.items()
        ]
        yield _group(
            "everyone",
            "Everyone",
            "The whole company",
            nested=tuple(tops),
            has_everyone=True,
            aliases=("all",),
        )
        yield _group("leadership", "Leadership", "Heads of teams", runs=(range(min(size, 15)),))
        for name, teams in departments.items():
            if len(teams) > 1:
                yield _group(name.lower(), name, f"All teams of {name}", nested=tuple(teams))
        for place, team in enumerate(TEAMS):
            fixed = {0: range(1, 2), 4: range(2, FIRST_HEAD)}.get(place, range(0))
            runs = tuple(run for run in (fixed, *team_numbers(place, size)) if run)
            yield _group(team.group, team.name, f"The team {team.name}", runs=runs)
        for circle in _CIRCLES:
            for name, after in zip(circle, (*circle[1:], circle[0]), strict=True):
                run = range(min(size, 15 + len(name)), min(size, 15 + 3 * len(name)))
                yield _group(name, name.replace("-", " ").title(), "", nested=(_address(after),), runs=(run,))
        yield _group("alumni", "Alumni", "Nobody yet")
        yield _group(
            "partners", "Partners", "", outside=("kim@gmail.test", "mallory@evil.test"), runs=(range(1),)
        )

    def _projects(self) -> Iterator[Group]:
        """Neighbours by number share a manager, so a window over them is a believable project."""
        size = self._tenant.size
        count = min(_MOST_PROJECTS, max(3, size // 100))
        for place in range(count):
            start = place * size // count
            run = range(start, min(size, start + 5 + place * 7 % 36))
            word = _WORDS[place % len(_WORDS)]
            yield _group(
                f"project-{word}-{place + 1}", f"Project {word.title()} {place + 1}", "A project", runs=(run,)
            )


def _group(
    local_part: str,
    name: str,
    description: str,
    *,
    nested: tuple[str, ...] = (),
    runs: tuple[range, ...] = (),
    outside: tuple[str, ...] = (),
    has_everyone: bool = False,
    aliases: tuple[str, ...] = (),
) -> Group:
    addresses = tuple(map(_address, aliases))
    return Group(0, _address(local_part), name, description, nested, runs, outside, has_everyone, addresses)


def _person(person: Person, group: Group) -> Record:
    role = "OWNER" if person.number == 0 else "MANAGER" if person.number == group.runs[0][0] else "MEMBER"
    return _member(id=person.id, email=person.email, role=role, type="USER", status=_status(person))


def _status(person: Person) -> str:
    if person.archived_at is not None:
        return "ARCHIVED"
    return "ACTIVE" if person.suspended_at is None else "SUSPENDED"


def _member(*, role: str = "MEMBER", **fields: str) -> Record:
    etag = f'"m-{fields["id"]}-{role}-{fields.get("status", "")}"'
    return {"kind": "admin#directory#member", "etag": etag, "role": role, **fields}

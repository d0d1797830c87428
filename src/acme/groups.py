"""Acme's groups: who is in them follows from people's numbers, so that ten thousand need no member lists."""

from collections.abc import Iterable, Iterator

import msgspec

from acme.changes import GroupChanges, GroupPatch
from acme.company import CUSTOMER, DOMAIN, TEAMS
from acme.people import FIRST_HEAD, Person, team_numbers
from acme.reply import Resource, etag_of
from acme.tenant import AddressTaken, NobodyThere, Tenant

_ID_START = "03acme"
_FIRST_NEW_PLACE = 100_000
_MOST_PROJECTS = 9_960
_WORDS = ("atlas", "birch", "comet", "delta", "ember", "fjord", "grove", "harbour", "indigo", "juniper")
# Three groups that contain each other in a circle, and two that contain one another.
_CIRCLES = (("platform-guild", "data-guild"), ("on-call", "incidents", "escalations"))


class Group(msgspec.Struct, frozen=True):
    """Members are whole groups (by id), everyone of the company, people by runs of numbers, and outside
    addresses.
    """

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
        return _id_of(self.place)


def _id_of(place: int) -> str:
    return f"{_ID_START}{place:09d}"


def _address(local_part: str) -> str:
    return f"{local_part}@{DOMAIN}"


class Groups:
    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._first = _placed([*self._named(), *self._projects()])
        """As they were before any script."""
        self._step: int | None = None
        self._now = self._first
        self._by_key = _keys(self._first)

    @property
    def all(self) -> list[Group]:
        self._keep_up()
        return self._now

    def get(self, key: str) -> Group:
        """By id, address or alias. Raises NobodyThere."""
        group = self.find(key)
        if group is None:
            raise NobodyThere(key)
        return group

    def find(self, key: str) -> Group | None:
        self._keep_up()
        return self._by_key.get(key.lower())

    def containing(self, key: str) -> list[Group]:
        """Groups a person or group is a direct member of."""
        if (group := self.find(key)) is not None:
            return [other for other in self.all if self._has(other, group.id, None)]
        person = self._tenant.get(key)
        return [group for group in self.all if self.has_person(group, person)]

    def has_person(self, group: Group, person: Person) -> bool:
        return person.deleted_at is None and self._has(group, person.id, person.number)

    def _has(self, group: Group, member_id: str, number: int | None) -> bool:
        changes = self._changes(group)
        if member_id in changes.added or member_id in changes.removed:
            return member_id in changes.added
        if number is not None:
            return any(number in run for run in group.runs)
        return member_id in group.nested

    def member_count(self, group: Group) -> int:
        return len(self._others(group)) + sum(map(len, group.runs)) - len(self._excepted(group))

    def members(self, group: Group, position: int) -> Iterator[tuple[int, Resource]]:
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

    def record(self, group: Group) -> Resource:
        """As groups.get gives it; the etag moves with anything shown."""
        made: Resource = {
            "kind": "admin#directory#group",
            "id": group.id,
            "email": group.address,
            "name": group.name,
            "directMembersCount": str(self.member_count(group)),
            "description": group.description,
            "adminCreated": True,
            "nonEditableAliases": [f"{group.address}.test-google-a.com"],
        }
        if group.aliases:
            made["aliases"] = list(group.aliases)
        return made | {"etag": etag_of(msgspec.json.encode(made))}

    # Changing

    def create(self, patch: GroupPatch) -> Group:
        """Raises AddressTaken; the patch must have an address."""
        patch = self._checked(patch, None)
        place = _FIRST_NEW_PLACE + sum(changes.is_new for changes in self._tenant.group_changes.values())
        self._tenant.create_group(_id_of(place), patch)
        return self.get(_id_of(place))

    def change(
        self,
        group: Group,
        *,
        add: Iterable[str] = (),
        remove: Iterable[str] = (),
        patch: GroupPatch | None = None,
    ) -> None:
        """Members by id or address. Raises AddressTaken."""
        added, removed = ([self._member_id(key) for key in keys] for keys in (add, remove))
        self._tenant.change_group(group.id, added, removed, patch and self._checked(patch, group))

    def delete(self, group: Group) -> None:
        self._tenant.delete_group(group.id)

    def _checked(self, patch: GroupPatch, owner: Group | None) -> GroupPatch:
        if not isinstance(patch.email, str):
            return patch
        email = patch.email.lower()
        holder = self.find(email)
        if self._tenant.find(email) is not None or (holder is not None and holder != owner):
            raise AddressTaken(email)
        return msgspec.structs.replace(patch, email=email)

    def _member_id(self, key: str) -> str:
        """What stays the same whatever the member is called later; an outsider has only the address."""
        found = self.find(key) or self._tenant.find(key)
        return key.lower() if found is None else found.id

    def _changes(self, group: Group) -> GroupChanges:
        return self._tenant.group_changes.get(group.id, _UNCHANGED)

    def _keep_up(self) -> None:
        """With what scripts have done to names and addresses, and to whole groups."""
        if self._step == self._tenant.group_step:
            return
        self._step = self._tenant.group_step
        changes = self._tenant.group_changes
        first = (_changed(group, changes.get(group.id)) for group in self._first)
        new = (
            _changed(_group_at(int(group_id.removeprefix(_ID_START))), made)
            for group_id, made in changes.items()
            if made.is_new
        )
        self._now = [group for group in (*first, *new) if group is not None]
        self._by_key = _keys(self._now)

    def _others(self, group: Group) -> list[str]:
        """Members that are named one by one: groups, outsiders, the whole company, and who was added."""
        changes = self._changes(group)
        everyone = (CUSTOMER,) if group.has_everyone else ()
        named = (*group.nested, *group.outside, *everyone, *changes.added)
        return [key for key in dict.fromkeys(named) if key not in changes.removed and self._is_there(key)]

    def _is_there(self, key: str) -> bool:
        if key.startswith(_ID_START):
            return self.find(key) is not None
        person = self._tenant.find(key) if key.isdecimal() else None
        return not key.isdecimal() or (person is not None and person.deleted_at is None)

    def _excepted(self, group: Group) -> set[int]:
        """Who is in the runs and still no member by them: the deleted, the removed, and the added."""
        changes = self._changes(group)
        keys = (*changes.added, *changes.removed)
        named = {person.number for key in keys if key.isdecimal() and (person := self._tenant.find(key))}
        return {number for number in named | self._tenant.gone() if any(number in run for run in group.runs)}

    def _member_by_key(self, key: str) -> Resource:
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


_UNCHANGED = GroupChanges()


def _placed(groups: list[Group]) -> list[Group]:
    """Each with its place, and the groups inside by their ids."""
    ids = {group.address: _id_of(place) for place, group in enumerate(groups)}
    return [
        msgspec.structs.replace(group, place=place, nested=tuple(ids[address] for address in group.nested))
        for place, group in enumerate(groups)
    ]


def _group_at(place: int) -> Group:
    return Group(place, "", "", "")


def _keys(groups: list[Group]) -> dict[str, Group]:
    return {key: group for group in groups for key in (group.id, group.address, *group.aliases)}


def _changed(group: Group, changes: GroupChanges | None) -> Group | None:
    """None for one that is deleted."""
    if changes is None:
        return group
    if changes.is_deleted:
        return None
    former = [group.address] if changes.email and group.address else []
    aliases = dict.fromkeys((*group.aliases, *former, *changes.former_emails))
    address = changes.email or group.address
    aliases.pop(address, None)
    return msgspec.structs.replace(
        group,
        address=address,
        name=group.name if changes.name is None else changes.name,
        description=group.description if changes.description is None else changes.description,
        aliases=tuple(aliases),
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


def _person(person: Person, group: Group) -> Resource:
    role = "OWNER" if person.number == 0 else "MANAGER" if person.number == group.runs[0][0] else "MEMBER"
    return _member(id=person.id, email=person.email, role=role, type="USER", status=_status(person))


def _status(person: Person) -> str:
    if person.archived_at is not None:
        return "ARCHIVED"
    return "ACTIVE" if person.suspended_at is None else "SUSPENDED"


def _member(*, role: str = "MEMBER", **fields: str) -> Resource:
    etag = f'"m-{fields["id"]}-{role}-{fields.get("status", "")}"'
    return {"kind": "admin#directory#member", "etag": etag, "role": role, **fields}

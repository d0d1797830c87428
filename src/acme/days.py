"""Days that pass at Acme: a few people come, go, marry, move and rise, the same ones for a seed and a day."""

from collections import Counter
from collections.abc import Callable
from random import Random

from acme.changes import NamePatch, PersonPatch
from acme.clock import Clock
from acme.company import DOMAIN, TEAMS
from acme.groups import Groups
from acme.names import FAMILY, plain
from acme.people import FIRST_HEAD, FIRST_REPORT, Person
from acme.tenant import UNDELETE_WINDOW, Tenant

_PEOPLE_PER_HAPPENING = 3_000  # a hundredth of the company in thirty days
_MOST_TRIES = 2_000  # somebody suspended is one of thirty, an admin one of two hundred
_LATELY_EVENTS = 400
_WEIGHTS = {
    "hired": 20,
    "left": 18,
    "suspended": 6,
    "returned": 5,
    "restored": 2,
    "renamed": 8,
    "moved": 22,
    "promoted": 3,
    "demoted": 3,
    "regrouped": 13,
}


class Days:
    def __init__(self, tenant: Tenant, groups: Groups, clock: Clock, seed: int) -> None:
        self._tenant = tenant
        self._groups = groups
        self._clock = clock
        self._seed = seed
        self._happenings: dict[str, Callable[[Random], bool]] = {
            "hired": self._hire,
            "left": self._leave,
            "suspended": self._suspend,
            "returned": self._return,
            "restored": self._restore,
            "renamed": self._marry,
            "moved": self._move,
            "promoted": self._promote,
            "demoted": self._demote,
            "regrouped": self._regroup,
        }

    def pass_one(self) -> Counter[str]:
        """How much happened, by kind. The fixed people and the heads of teams stay as they are."""
        self._clock.advance(1)
        chance = Random(f"{self._seed}/{self._tenant.days_passed}")  # noqa: S311  it must repeat itself
        self._tenant.end_day()
        counts = Counter(logins=1)
        happenings = max(1, int(self._tenant.size / _PEOPLE_PER_HAPPENING + chance.random()))
        for kind in chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=happenings):
            counts[kind] += self._happenings[kind](chance)
        if not any(counts[kind] for kind in _WEIGHTS):
            counts["hired"] += self._hire(chance)
        return +counts

    def _hire(self, _: Random) -> bool:
        self._tenant.hire(PersonPatch())
        return True

    def _leave(self, chance: Random) -> bool:
        return self._change_somebody(chance, PersonPatch(deleted=True), lambda person: not person.is_admin)

    def _suspend(self, chance: Random) -> bool:
        return self._change_somebody(chance, PersonPatch(suspended=True), _is_at_work)

    def _return(self, chance: Random) -> bool:
        patch = PersonPatch(suspended=False)
        return self._change_somebody(chance, patch, lambda person: person.suspended_at is not None)

    def _promote(self, chance: Random) -> bool:
        return self._change_somebody(chance, PersonPatch(is_admin=True), _is_at_work)

    def _demote(self, chance: Random) -> bool:
        return self._change_somebody(chance, PersonPatch(is_admin=False), lambda person: person.is_admin)

    def _restore(self, chance: Random) -> bool:
        """Somebody who left lately, by mistake."""
        since = self._clock.now() - UNDELETE_WINDOW
        lately = [event for event in self._tenant.events[-_LATELY_EVENTS:] if event.at > since]
        left = [event.about for event in lately if event.patch is not None and event.patch.deleted is True]
        person = self._tenant.find(chance.choice(left)) if left else None
        if person is None or person.deleted_at is None:
            return False
        self._tenant.change(person.id, PersonPatch(deleted=False))
        return True

    def _marry(self, chance: Random) -> bool:
        """A double name, since none of the made-up addresses has a hyphen behind its dot."""
        person = self._somebody(chance, lambda person: _is_at_work(person) and "-" not in person.email)
        if person is None:
            return False
        family = f"{person.family}-{chance.choice(FAMILY)}"
        first, _, second = family.rpartition("-")
        email = f"{plain(person.given)}.{plain(first)}-{plain(second)}@{DOMAIN}"
        if self._tenant.find(email) is not None:
            return False
        self._tenant.change(person.id, PersonPatch(name=NamePatch(family_name=family), primary_email=email))
        return True

    def _move(self, chance: Random) -> bool:
        """To another team: its unit, its head, its group."""
        person = self._somebody(chance, _is_at_work)
        if person is None:
            return False
        place, team = chance.choice([(at, team) for at, team in enumerate(TEAMS) if team.name != person.team])
        before = next((team for team in TEAMS if team.name == person.team), None)
        patch = PersonPatch(
            department=team.department,
            team=team.name,
            org_unit_path=team.unit,
            title=chance.choice(team.titles),
            manager=self._tenant.address_of(FIRST_HEAD + place),
        )
        self._tenant.change(person.id, patch)
        if before is not None:
            self._put(person, before.group, is_in=False)
        self._put(person, team.group, is_in=True)
        return True

    def _regroup(self, chance: Random) -> bool:
        person = self._somebody(chance, _is_at_work)
        group = chance.choice(self._groups.all)
        if person is None or group.has_everyone:
            return False
        self._put(person, group.address, is_in=not self._groups.has_person(group, person))
        return True

    def _put(self, person: Person, group_key: str, *, is_in: bool) -> None:
        group = self._groups.find(group_key if "@" in group_key else f"{group_key}@{DOMAIN}")
        if group is not None and self._groups.has_person(group, person) is not is_in:
            add, remove = ([person.id], []) if is_in else ([], [person.id])
            self._groups.change(group, add=add, remove=remove)

    def _change_somebody(self, chance: Random, patch: PersonPatch, suits: Callable[[Person], bool]) -> bool:
        person = self._somebody(chance, suits)
        if person is not None:
            self._tenant.change(person.id, patch)
        return person is not None

    def _somebody(self, chance: Random, suits: Callable[[Person], bool]) -> Person | None:
        if self._tenant.end <= FIRST_REPORT:
            return None
        for _ in range(_MOST_TRIES):
            number = chance.randrange(FIRST_REPORT, self._tenant.end)
            if not self._tenant.is_gone(number) and suits(person := self._tenant.person(number)):
                return person
        return None


def _is_at_work(person: Person) -> bool:
    return person.may_sign_in and not person.is_admin

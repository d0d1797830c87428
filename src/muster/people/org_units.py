"""The tree of org units, with how many people are in each and below it."""

from collections.abc import Sequence

import msgspec

from muster.errors import Invalid
from muster.platform.database import Database
from muster.platform.folding import folded
from muster.platform.paging import LONGEST_SEARCH

PAGE = 100

ORDERS = {
    "tree": "As the tree stands",
    "name": "Name, A–Z",
    "-name": "Name, Z–A",
    "people": "People below, fewest first",
    "-people": "People below, most first",
}


class OrgUnit(msgspec.Struct, frozen=True, kw_only=True):
    """A unit: `people` are directly in it, `below` also those in units under it.

    Units that people are in are there even where Google's list of units could not be read.
    """

    path: str
    name: str
    description: str
    people: int
    below: int

    @property
    def depth(self) -> int:
        return len(steps(self.path))


class UnitPage(msgspec.Struct, frozen=True, kw_only=True):
    """`after` and `before` are the paths from which its neighbours go on, where there are any."""

    units: list[OrgUnit]
    total: int
    after: str | None
    before: str | None


class OrgUnits:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_all(self, *, q: str = "", sort: str = "tree") -> list[OrgUnit]:
        """All units that match, which are as many as a company has places, in order.

        Raises Invalid for an unknown order.
        """
        if sort not in ORDERS:
            raise Invalid(f"There is no order {sort!r}; expected one of {', '.join(ORDERS)}.")
        wanted = folded(q[:LONGEST_SEARCH]).split()
        units = [unit for unit in await self._read() if all(word in _searched(unit) for word in wanted)]
        if sort == "tree":
            return units
        by_people = sort.endswith("people")
        return sorted(
            units,
            key=lambda unit: unit.below if by_people else folded(unit.name),
            reverse=sort.startswith("-"),
        )

    async def find(
        self, *, q: str = "", sort: str = "tree", after: str = "", before: str = "", limit: int = PAGE
    ) -> UnitPage:
        """A page of them, beside the unit of path `after` or `before`. Raises Invalid where it is no more."""
        units = await self.list_all(q=q, sort=sort)
        start, end = _bounds(units, after=after, before=before, limit=limit)
        shown = units[start:end]
        return UnitPage(
            units=shown,
            total=len(units),
            after=shown[-1].path if end < len(units) and shown else None,
            before=shown[0].path if start > 0 and shown else None,
        )

    async def _read(self) -> list[OrgUnit]:
        """As the tree stands: each unit before those in it."""
        async with self._database.reading() as statements:
            people = await statements.pairs(_PEOPLE)
            listed = await statements.rows(_Listed, "SELECT path, name, description FROM org_units")
        known = {unit.path: unit for unit in listed}
        below: dict[str, int] = {}
        for path in {"/", *known, *people}:
            for one in _with_those_above(path):
                below[one] = below.get(one, 0) + people.get(path, 0)
        return [
            OrgUnit(
                path=path,
                name=known[path].name if path in known else _last(path),
                description=known[path].description if path in known else "",
                people=people.get(path, 0),
                below=below[path],
            )
            for path in sorted(below, key=lambda path: [folded(step) for step in steps(path)])
        ]


class _Listed(msgspec.Struct, frozen=True):
    path: str
    name: str
    description: str


def steps(path: str) -> list[str]:
    """The names on the way to a unit; none to the root."""
    return [step for step in path.split("/") if step]


def _with_those_above(path: str) -> list[str]:
    names = steps(path)
    return ["/", *("/" + "/".join(names[: end + 1]) for end in range(len(names)))]


def _last(path: str) -> str:
    return (steps(path) or ["Whole company"])[-1]


def _searched(unit: OrgUnit) -> str:
    return folded(f"{unit.name} {unit.path} {unit.description}")


def _bounds(units: Sequence[OrgUnit], *, after: str, before: str, limit: int) -> tuple[int, int]:
    edge = after or before
    if not edge:
        return 0, limit
    place = next((number for number, unit in enumerate(units) if unit.path == edge), None)
    if place is None:
        raise Invalid("The unit this page goes on from is no more. Start again from the first page.")
    return (place + 1, place + 1 + limit) if after else (max(0, place - limit), place)


_PEOPLE = """
SELECT org_unit, count(*) FROM people WHERE removed_at IS NULL AND org_unit <> '' GROUP BY org_unit
"""

"""Who leads whom: the org chart, a level at a time, with the size of everybody's tree.

Managers are named by address, which may be one of their aliases, or of nobody at all.
"""

from collections import deque
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass

import msgspec
from psycopg import sql

from muster.errors import NotFound
from muster.people.person import Status
from muster.platform.database import Database
from muster.platform.paging import BATCH, PAGE, Cut, Keyset, Order, Wanted, all_of, words

SECOND_LEVEL = 10
"""So many of each node's own reports stand below it; a link leads to all of them."""

MOST_IN_CIRCLES = 50


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody in the chart: `reports` are led by them directly, `size` counts all below them."""

    id: str
    name: str
    email: str
    title: str
    department: str
    status: Status
    manager_email: str
    reports: int
    size: int
    sort_key: str = ""


class ChartFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Those led by `root`; without one those nobody leads, or with words, all who match them."""

    root: str = ""
    q: str = ""
    sort: str = "-size"


class _Named(msgspec.Struct, frozen=True):
    """An address that so many name as their manager's, whose it is, and whom its owner names."""

    email: str
    reports: int
    leader_id: str | None
    leaders_manager: str | None


_Stamp = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Lines:
    """Everybody who leads somebody: by whom they are led themselves, and how many are below them."""

    owners: dict[str, str | None]
    above: dict[str, str | None]
    addresses: dict[str, list[str]]
    reports: dict[str, int]
    sizes: dict[str, int]
    circling: set[str]

    @classmethod
    def of(cls, named: Iterable[_Named]) -> "Lines":
        owners: dict[str, str | None] = {}
        managers: dict[str, str] = {}
        addresses: dict[str, list[str]] = {}
        reports: dict[str, int] = {}
        for one in named:
            owners[one.email] = one.leader_id
            if one.leader_id is not None:
                managers[one.leader_id] = one.leaders_manager or ""
                addresses.setdefault(one.leader_id, []).append(one.email)
                reports[one.leader_id] = reports.get(one.leader_id, 0) + one.reports
        above = {leader: owners.get(manager) for leader, manager in managers.items()}
        for leader in [one for one, leads in above.items() if one == leads]:  # they name themselves
            above[leader] = None
            reports[leader] -= 1
        sizes, circling = _sizes(above, reports)
        return cls(owners, above, addresses, reports, sizes, circling)

    @property
    def unknown(self) -> list[str]:
        """Addresses that are named as a manager's and are nobody's."""
        return [email for email, leader in self.owners.items() if leader is None]

    def chain(self, manager_email: str) -> list[str]:
        """Those who lead whoever names this manager, the topmost first; in a circle each once."""
        found: dict[str, None] = {}
        leader = self.owners.get(manager_email)
        while leader is not None and leader not in found:
            found[leader] = None
            leader = self.above[leader]
        return list(found)[::-1]


def _sizes(above: dict[str, str | None], reports: dict[str, int]) -> tuple[dict[str, int], set[str]]:
    """The size of each leader's tree, and who is in a circle: whoever waits for themselves.

    Everybody has one manager at most, so each tree is the reports of all leaders in it.
    """
    sizes = dict(reports)
    waiting = dict.fromkeys(above, 0)
    for leader in above.values():
        if leader is not None:
            waiting[leader] += 1
    ready = deque(one for one, count in waiting.items() if not count)
    while ready:
        done = ready.popleft()
        del waiting[done]
        if (leader := above[done]) is not None:
            sizes[leader] += sizes[done]
            waiting[leader] -= 1
            if not waiting[leader]:
                ready.append(leader)
    circling = set(waiting)
    while waiting:
        circle = [next(iter(waiting))]
        while (leader := above[circle[-1]]) != circle[0] and leader is not None:
            circle.append(leader)
        size = sum(sizes[one] for one in circle)
        for one in circle:
            sizes[one] = size - 1  # all but themselves
            del waiting[one]
    return sizes, circling


class Chart:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: tuple[_Stamp, Lines] | None = None

    async def find(
        self, wanted: ChartFilter, *, after: str = "", before: str = "", limit: int = PAGE
    ) -> Cut[Node]:
        """Raises Invalid for an unknown order, and for a cursor of another order."""
        scope = _wanted(wanted, await self._lines())
        return await NODES.find(self._database, scope, after=after, before=before, limit=limit)

    async def count(self, wanted: ChartFilter) -> int:
        scope = _wanted(wanted, await self._lines())
        statement = sql.SQL("SELECT count(*) FROM people WHERE {}").format(scope.condition)
        return int(await self._database.value(statement, dict(scope.values)))

    async def stream(self, wanted: ChartFilter) -> AsyncGenerator[Node, None]:
        scope = _wanted(wanted, await self._lines())
        async for node in NODES.stream(self._database, scope, batch=10 * BATCH):
            yield node

    async def get(self, google_id: str) -> Node:
        """Raises NotFound."""
        values = {"id": google_id, **_measured(await self._lines(), [google_id])}
        scope = Wanted(sql.SQL("google_id = %(id)s"), values, "name")
        found = (await NODES.find(self._database, scope, limit=1)).rows
        if not found:
            raise NotFound("Nobody in the directory has this address.")
        return found[0]

    async def list_above(self, node: Node) -> list[Node]:
        """Those who lead to somebody, the topmost first."""
        chain = (await self._lines()).chain(node.manager_email)
        found = {one.id: one for one in await self._some([one for one in chain if one != node.id])}
        return [found[one] for one in chain if one in found]

    async def list_in_circles(self) -> list[Node]:
        """Those whose managers lead back to themselves, whom nobody at the top leads to."""
        return (await self._some(sorted((await self._lines()).circling)))[:MOST_IN_CIRCLES]

    async def list_reports(self, nodes: Sequence[Node]) -> dict[str, list[Node]]:
        """Of each of `nodes`, the few whose trees are the largest."""
        lines = await self._lines()
        leading = [node.id for node in nodes if node.reports]
        pairs = [(email, leader) for leader in leading for email in lines.addresses[leader]]
        led = set(leading)
        values = _measured(lines, [one for one, leader in lines.above.items() if leader in led]) | {
            "emails": [email for email, _ in pairs],
            "leaders": [leader for _, leader in pairs],
            "limit": SECOND_LEVEL,
        }
        found: dict[str, list[Node]] = {}
        for node in await self._database.rows(Node, _REPORTS, values):
            found.setdefault(lines.owners[node.manager_email] or "", []).append(node)
        return found

    async def _some(self, google_ids: Sequence[str]) -> list[Node]:
        values = {"ids": list(google_ids), **_measured(await self._lines(), google_ids)}
        scope = Wanted(sql.SQL("google_id = ANY(%(ids)s)"), values, "name")
        return (await NODES.find(self._database, scope, limit=max(len(google_ids), 1))).rows

    async def _lines(self) -> Lines:
        """As the directory stands; worked out anew only once it has changed."""
        async with self._database.reading() as statements:
            stamp = (await statements.value(_LAST_CHANGE), await statements.value(_LAST_RUN))
            if self._kept is None or self._kept[0] != stamp:
                self._kept = (stamp, Lines.of(await statements.rows(_Named, _NAMED)))
        return self._kept[1]


def _wanted(wanted: ChartFilter, lines: Lines) -> Wanted:
    NODES.check(wanted.sort)
    parts, values = words(sql.SQL("search_text"), wanted.q)
    parts.append(sql.SQL("removed_at IS NULL"))
    if wanted.root:
        parts.append(sql.SQL("manager_email = ANY(%(named)s) AND google_id <> %(root)s"))
        values |= {"named": lines.addresses.get(wanted.root, []), "root": wanted.root}
        measured = [one for one, leader in lines.above.items() if leader == wanted.root]
    elif wanted.q:
        measured = list(lines.above)
    else:
        parts.append(
            sql.SQL("(manager_email = '' OR manager_email = ANY(%(unknown)s) OR google_id = ANY(%(top)s))")
        )
        measured = [one for one, leader in lines.above.items() if leader is None]
        values |= {"unknown": lines.unknown, "top": measured}
    return Wanted(all_of(parts), {**values, **_measured(lines, measured)}, wanted.sort)


def _measured(lines: Lines, google_ids: Iterable[str]) -> dict[str, object]:
    """What a list needs of the leaders in it; whoever leads nobody needs no mention."""
    leaders = [one for one in google_ids if one in lines.sizes]
    return {
        "measured": leaders,
        "reports": [lines.reports[one] for one in leaders],
        "sizes": [lines.sizes[one] for one in leaders],
    }


_TABLES = sql.SQL(
    """
    people LEFT JOIN unnest(%(measured)s::text[], %(reports)s::integer[], %(sizes)s::integer[])
        AS tree (leader_id, reports, size) ON leader_id = google_id
    """
)
_COLUMNS = sql.SQL(
    """
    google_id AS id, name, email, title, department, status, manager_email,
    COALESCE(reports, 0) AS reports, COALESCE(size, 0) AS size
    """
)

NODES = Keyset(
    Node,
    columns=_COLUMNS,
    tables=_TABLES,
    id=sql.SQL("google_id"),
    orders={
        "name": Order("Name, A–Z", "Name, Z–A", sql.SQL("sort_name")),
        "size": Order("Tree, smallest first", "Tree, largest first", sql.SQL("COALESCE(size, 0)"), "integer"),
    },
)

_REPORTS = sql.SQL(
    """
    SELECT * FROM (
        SELECT {}, row_number() OVER (
            PARTITION BY led_by ORDER BY COALESCE(size, 0) DESC, sort_name, google_id
        ) AS place
        FROM unnest(%(emails)s::text[], %(leaders)s::text[]) AS line (address, led_by)
        JOIN people ON manager_email = address AND manager_email <> ''
        LEFT JOIN unnest(%(measured)s::text[], %(reports)s::integer[], %(sizes)s::integer[])
            AS tree (leader_id, reports, size) ON leader_id = google_id
        WHERE removed_at IS NULL AND google_id <> led_by
    ) AS reports WHERE place <= %(limit)s ORDER BY place
    """
).format(_COLUMNS)

_NAMED = """
WITH named AS (
    SELECT manager_email AS email, count(*) AS reports FROM people
    WHERE removed_at IS NULL AND manager_email <> '' GROUP BY manager_email
), owned AS MATERIALIZED (
    SELECT DISTINCT ON (named.email) named.email, named.reports, google_id FROM named
    LEFT JOIN people ON people.email = named.email AND removed_at IS NULL
    ORDER BY named.email, google_id
), aliased AS (
    SELECT DISTINCT ON (alias) alias AS email, google_id
    FROM people CROSS JOIN LATERAL unnest(aliases) AS alias
    WHERE removed_at IS NULL AND aliases && (SELECT array_agg(email) FROM owned WHERE google_id IS NULL)
    ORDER BY alias, google_id
)
SELECT owned.email, owned.reports, leader.google_id AS leader_id, leader.manager_email AS leaders_manager
FROM owned LEFT JOIN aliased ON owned.google_id IS NULL AND aliased.email = owned.email
LEFT JOIN people AS leader ON leader.google_id = COALESCE(owned.google_id, aliased.google_id)
"""

_LAST_CHANGE = "SELECT COALESCE(max(id), 0) FROM people_changes"
_LAST_RUN = "SELECT COALESCE(max(id), 0) FROM people_syncs WHERE kind = 'people' AND finished_at IS NOT NULL"
"""A first load tells no changes, but ends."""

"""Reading groups: lists of them, one of them, and who is in it, directly or through other groups."""

from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from psycopg import sql

from muster.errors import Invalid, NotFound
from muster.people.person import HERE, Status
from muster.platform.database import Database
from muster.platform.paging import BATCH, PAGE, Cut, Keyset, Order, Wanted, all_of, words

REACHED_BATCH = 20_000
"""Everybody a group reaches is worked out anew for each batch, so batches are few."""

MOST_SHOWN = 200
"""So many nested groups, and groups it is in, stand on a group's page."""

KINDS = {"": "All", "user": "People", "group": "Groups", "customer": "Whole company", "other": "Others"}
"""Kind of a member, as it stands in the address → its label."""

TABS = {"": "All", "outside": "With outsiders", "empty": "Empty", "gone": "Gone"}


class GroupBrief(msgspec.Struct, frozen=True, kw_only=True):
    """A group as another one's page, or a person's, names it."""

    id: str
    name: str
    email: str
    direct_members: int
    is_direct: bool = True


class GroupRow(msgspec.Struct, frozen=True, kw_only=True):
    """A group as a list shows it; `direct_members` are as many as Google counts."""

    id: str
    name: str
    email: str
    description: str
    aliases: list[str]
    direct_members: int
    members_read_at: datetime | None
    removed_at: datetime | None
    sort_key: str = ""


class GroupDetail(GroupRow, frozen=True, kw_only=True):
    first_seen_at: datetime
    changed_at: datetime


class MemberRow(msgspec.Struct, frozen=True, kw_only=True):
    """A member, by whichever of person, group or mere address they are.

    `rank` is that of the nearest group through which they are reached, `ways` how many lead to them; a
    direct member has rank 0. `is_known` says that the directory has them, and so a page about them.
    """

    id: str
    kind: str
    role: str
    name: str
    email: str
    title: str
    department: str
    status: Status | None
    is_known: bool
    is_outside: bool
    direct_members: int | None
    rank: int
    ways: int
    sort_key: str = ""


class GroupFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`show` is of TABS."""

    q: str = ""
    show: str = ""
    sort: str = "name"


class MemberFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is of KINDS, or `outside`; those reached through other groups are wanted if `effective`."""

    q: str = ""
    kind: str = ""
    role: str = ""
    sort: str = "kind"
    effective: bool = False


class Nested(msgspec.Struct, frozen=True, kw_only=True):
    """A group inside another, with those inside it; `is_again` where they are shown elsewhere already."""

    id: str
    name: str
    email: str
    direct_members: int
    is_known: bool
    is_again: bool
    inside: list["Nested"]


class _Edge(msgspec.Struct, frozen=True):
    group_id: str
    member_id: str
    name: str
    email: str
    direct_members: int | None


@dataclass(frozen=True)
class Nesting:
    """The groups inside a group, however deep and in whatever circles: each once, the nearest first.

    `ranks` holds all of them with the group itself at 0, `parents` through which each is reached by the
    fewest steps.
    """

    root: str
    edges: Mapping[str, Sequence[_Edge]]
    ranks: dict[str, int] = field(default_factory=dict)
    parents: dict[str, _Edge] = field(default_factory=dict)

    @classmethod
    def of(cls, root: str, edges: Iterable[_Edge]) -> "Nesting":
        inside: dict[str, list[_Edge]] = {}
        for edge in edges:
            inside.setdefault(edge.group_id, []).append(edge)
        nesting = cls(root, inside)
        nesting.ranks[root] = 0
        waiting = deque([root])
        while waiting:
            for edge in inside.get(waiting.popleft(), ()):
                if edge.member_id not in nesting.ranks:
                    nesting.ranks[edge.member_id] = len(nesting.ranks)
                    nesting.parents[edge.member_id] = edge
                    waiting.append(edge.member_id)
        return nesting

    @property
    def count(self) -> int:
        return len(self.ranks) - 1

    def path(self, rank: int) -> list[GroupBrief]:
        """The groups one after another that lead to the one of `rank`; none to the group itself."""
        steps: list[GroupBrief] = []
        group_id = self._by_rank[rank]
        while group_id != self.root:
            edge = self.parents[group_id]
            steps.append(_brief(edge))
            group_id = edge.group_id
        return steps[::-1]

    def tree(self, *, at_most: int = MOST_SHOWN) -> list[Nested]:
        """What is inside, as deep as it goes; each group is opened where it is nearest, and only there."""
        shown = {group_id for group_id, rank in self.ranks.items() if rank <= at_most}
        built: dict[str, list[Nested]] = {}
        # The farthest first, so that whatever a group holds is built before it is.
        for group_id in reversed([one for one in self.ranks if one in shown]):
            built[group_id] = [
                _nested(
                    edge, built.get(edge.member_id, []), is_again=self.parents.get(edge.member_id) != edge
                )
                for edge in self.edges.get(group_id, ())
                if edge.member_id in shown
            ]
        return built[self.root]

    @property
    def _by_rank(self) -> Sequence[str]:
        return list(self.ranks)


class Groups:
    def __init__(self, database: Database, *, company_domains: Sequence[str]) -> None:
        """`company_domains` are those whose addresses are ours even where the directory lacks them."""
        self._database = database
        self._domains = list(company_domains)

    async def find(
        self, wanted: GroupFilter, *, after: str = "", before: str = "", limit: int = PAGE
    ) -> Cut[GroupRow]:
        """Raises Invalid for an unknown tab or order, and for a cursor of another order."""
        return await GROUPS.find(
            self._database, self._groups(wanted), after=after, before=before, limit=limit
        )

    async def count(self, wanted: GroupFilter) -> int:
        return await GROUPS.count(self._database, self._groups(wanted))

    def stream(self, wanted: GroupFilter) -> AsyncGenerator[GroupRow, None]:
        """Raises Invalid at once, not at the first row."""
        GROUPS.check(wanted.sort)
        return GROUPS.stream(self._database, self._groups(wanted))

    async def get(self, group_id: str) -> GroupDetail:
        """Raises NotFound."""
        found = await self._database.row(GroupDetail, _GET, [group_id])
        if found is None:
            raise NotFound("There is no group of this address.")
        return found

    async def nesting(self, group_id: str) -> Nesting:
        return Nesting.of(group_id, await self._database.rows(_Edge, _INSIDE, [group_id]))

    async def list_containing(self, member_id: str, *, is_person_here: bool = False) -> list[GroupBrief]:
        """The groups somebody or some group is in, the direct ones first; of too many, the first by name.

        Whoever is here is also in the groups that hold the whole company.
        """
        return await self._database.rows(
            GroupBrief, _CONTAINING, {"id": member_id, "everybody": is_person_here, "limit": MOST_SHOWN}
        )

    async def find_members(
        self, nesting: Nesting, wanted: MemberFilter, *, after: str = "", before: str = "", limit: int = PAGE
    ) -> Cut[MemberRow]:
        """Raises Invalid for an unknown kind or order, and for a cursor of another order."""
        return await members_of(wanted).find(
            self._database, self._of(nesting, wanted), after=after, before=before, limit=limit
        )

    async def count_members(self, nesting: Nesting, wanted: MemberFilter) -> dict[str, int]:
        """Kind → members, of those who match all else; "" holds all of them."""
        source, scope = members_of(wanted), self._of(nesting, msgspec.structs.replace(wanted, kind=""))
        statement = sql.SQL(
            "{opening} SELECT CASE WHEN {outside} THEN 'outside' ELSE '' END AS place, kind, "
            "count(*) AS members FROM {tables} WHERE {condition} GROUP BY 1, 2"
        ).format(
            opening=source.opening or sql.SQL(""),
            outside=_OUTSIDE,
            tables=source.tables,
            condition=scope.condition,
        )
        counts = dict.fromkeys([*KINDS, "outside"], 0)
        for row in await self._database.rows(_Count, statement, dict(scope.values)):
            for key in {"", row.kind, row.place}:
                counts[key] += row.members
        return counts

    def stream_members(self, nesting: Nesting, wanted: MemberFilter) -> AsyncGenerator[MemberRow, None]:
        """Raises Invalid at once, not at the first row."""
        source = members_of(wanted)
        source.check(wanted.sort)
        batch = REACHED_BATCH if wanted.effective else BATCH
        return source.stream(self._database, self._of(nesting, wanted), batch=batch)

    def _groups(self, wanted: GroupFilter) -> Wanted:
        if wanted.show not in TABS:
            raise Invalid(
                f"There is no list {wanted.show!r}; expected one of {', '.join(filter(None, TABS))}."
            )
        parts, values = words(sql.SQL("search_text"), wanted.q)
        parts.append(_SHOWN[wanted.show])
        return Wanted(all_of(parts), {**values, "domains": self._domains}, wanted.sort)

    def _of(self, nesting: Nesting, wanted: MemberFilter) -> Wanted:
        if wanted.kind not in {*KINDS, "outside"}:
            raise Invalid(
                f"There is no kind {wanted.kind!r}; expected one of {', '.join(filter(None, KINDS))}."
            )
        parts, values = words(_SEARCHED, wanted.q)
        if wanted.kind == "outside":
            parts.append(_OUTSIDE)
        elif wanted.kind:
            parts.append(sql.SQL("members.kind = %(kind)s"))
        if wanted.role:
            parts.append(sql.SQL("members.role = upper(%(role)s)"))
        ranks = nesting.ranks if wanted.effective else {nesting.root: 0}
        return Wanted(
            all_of(parts),
            {
                **values,
                "kind": wanted.kind,
                "role": wanted.role,
                "domains": self._domains,
                "groups": list(ranks),
                "ranks": list(ranks.values()),
                "here": [status.value for status in HERE],
            },
            wanted.sort,
        )


class _Count(msgspec.Struct, frozen=True):
    place: str
    kind: str
    members: int


def _brief(edge: _Edge) -> GroupBrief:
    return GroupBrief(
        id=edge.member_id, name=edge.name, email=edge.email, direct_members=edge.direct_members or 0
    )


def _nested(edge: _Edge, inside: list[Nested], *, is_again: bool) -> Nested:
    return Nested(
        id=edge.member_id,
        name=edge.name,
        email=edge.email,
        direct_members=edge.direct_members or 0,
        is_known=edge.direct_members is not None,
        is_again=is_again,
        inside=[] if is_again else inside,
    )


def members_of(wanted: MemberFilter) -> Keyset[MemberRow]:
    return REACHED if wanted.effective else MEMBERS


GROUPS = Keyset(
    GroupRow,
    columns=sql.SQL(
        "google_id AS id, name, email, description, aliases, direct_members, members_read_at, removed_at"
    ),
    tables=sql.SQL("groups"),
    id=sql.SQL("google_id"),
    orders={
        "name": Order("Name, A–Z", "Name, Z–A", sql.SQL("sort_name")),
        "email": Order("Address, A–Z", "Address, Z–A", sql.SQL("email")),
        "members": Order(
            "Members, fewest first", "Members, most first", sql.SQL("direct_members"), "integer"
        ),
    },
)

# A guest is in the directory and so no outsider; an address of ours may only not have been read yet.
_OUTSIDE = sql.SQL(
    """
    (members.kind <> 'customer' AND people.google_id IS NULL AND groups.google_id IS NULL
     AND split_part(members.email, '@', 2) <> ALL(%(domains)s))
    """
)

_SHOWN = {
    "": sql.SQL("removed_at IS NULL"),
    "outside": sql.SQL(
        """
        removed_at IS NULL AND google_id IN (
            SELECT group_id FROM group_members AS members
            LEFT JOIN people ON people.google_id = member_id LEFT JOIN groups ON groups.google_id = member_id
            WHERE {}
        )
        """
    ).format(_OUTSIDE),
    "empty": sql.SQL("removed_at IS NULL AND direct_members = 0"),
    "gone": sql.SQL("removed_at IS NOT NULL"),
}

_GET = """
SELECT google_id AS id, name, email, description, aliases, direct_members, members_read_at, removed_at,
       first_seen_at, changed_at
FROM groups WHERE google_id = %s
"""

_INSIDE = """
WITH RECURSIVE inside AS (
    SELECT %s::text AS group_id
    UNION SELECT member_id FROM inside JOIN group_members USING (group_id) WHERE kind = 'group'
)
SELECT group_id, member_id, COALESCE(NULLIF(groups.name, ''), groups.email, members.email) AS name,
       COALESCE(groups.email, members.email) AS email, groups.direct_members
FROM inside JOIN group_members AS members USING (group_id)
LEFT JOIN groups ON groups.google_id = member_id
WHERE members.kind = 'group' ORDER BY groups.sort_name, members.email
"""
"""UNION keeps each group once, which is what ends a circle."""

_CONTAINING = """
WITH RECURSIVE above AS (
    SELECT group_id FROM group_members
    WHERE member_id = %(id)s OR (%(everybody)s AND kind = 'customer')
    UNION SELECT members.group_id FROM above
    JOIN group_members AS members ON members.member_id = above.group_id
)
SELECT google_id AS id, name, email, direct_members, EXISTS (
    SELECT FROM group_members AS members
    WHERE members.group_id = google_id AND members.member_id = %(id)s
) AS is_direct
FROM above JOIN groups ON google_id = above.group_id
WHERE removed_at IS NULL AND google_id <> %(id)s
ORDER BY is_direct DESC, sort_name, google_id LIMIT %(limit)s
"""

_SEARCHED = sql.SQL("COALESCE(people.search_text, groups.search_text, members.email)")
_SORT_NAME = "COALESCE(people.sort_name, groups.sort_name, members.email)"
_KIND_RANK = "CASE members.kind WHEN 'customer' THEN 0 WHEN 'group' THEN 1 WHEN 'user' THEN 2 ELSE 3 END"

_MEMBER_COLUMNS = sql.SQL(
    """
    members.id, members.kind, members.role,
    COALESCE(people.name, NULLIF(groups.name, ''), groups.email, members.email) AS name,
    COALESCE(people.email, groups.email, members.email) AS email, COALESCE(people.title, '') AS title,
    COALESCE(people.department, '') AS department, people.status,
    (people.google_id IS NOT NULL OR groups.google_id IS NOT NULL) AS is_known, {} AS is_outside,
    groups.direct_members, members.rank, members.ways
    """
).format(_OUTSIDE)

_JOINED = sql.SQL(
    """
LEFT JOIN people ON members.kind IN ('user', 'other') AND people.google_id = members.id
LEFT JOIN groups ON members.kind = 'group' AND groups.google_id = members.id
"""
)

_MEMBER_ORDERS = {
    "kind": Order("Kind", "Kind, backwards", sql.SQL(f"({_KIND_RANK} || {_SORT_NAME})")),
    "name": Order("Name, A–Z", "Name, Z–A", sql.SQL(_SORT_NAME)),
    "email": Order(
        "Address, A–Z", "Address, Z–A", sql.SQL("COALESCE(people.email, groups.email, members.email)")
    ),
}

MEMBERS = Keyset(
    MemberRow,
    columns=_MEMBER_COLUMNS,
    tables=sql.SQL(
        """
        (SELECT member_id AS id, kind, role, email, 0 AS rank, 1 AS ways
         FROM group_members WHERE group_id = ANY(%(groups)s)) AS members {}
        """
    ).format(_JOINED),
    id=sql.SQL("members.id"),
    orders={
        **_MEMBER_ORDERS,
        "role": Order("Role", "Role, backwards", sql.SQL("members.role")),
    },
)

REACHED = Keyset(
    MemberRow,
    columns=_MEMBER_COLUMNS,
    tables=sql.SQL(
        """
        (SELECT id, min(kind) AS kind, '' AS role, max(email) AS email, min(rank) AS rank,
                count(*)::integer AS ways
         FROM (
            SELECT member_id AS id, kind, email, rank FROM group_members JOIN reached USING (group_id)
            WHERE kind IN ('user', 'other')
            UNION ALL
            SELECT google_id, 'user', email, rank FROM people CROSS JOIN whole
            WHERE people.status = ANY(%(here)s) AND rank IS NOT NULL
         ) AS named GROUP BY id) AS members {}
        """
    ).format(_JOINED),
    id=sql.SQL("members.id"),
    orders=_MEMBER_ORDERS,
    opening=sql.SQL(
        """
        WITH reached AS (
            SELECT * FROM unnest(%(groups)s::text[], %(ranks)s::integer[]) AS reached (group_id, rank)
        ), whole AS (
            SELECT min(rank) AS rank FROM group_members JOIN reached USING (group_id) WHERE kind = 'customer'
        )
        """
    ),
)

"""Whose group is whose: the groups somebody is in, and by way of which others."""

import msgspec

from muster.people.person import HERE, Status
from muster.platform.database import Database, Statements

DEEPEST = 12
MOST = 500


class GroupName(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    email: str


class Membership(GroupName, frozen=True, kw_only=True):
    """A group somebody is in: directly with a `role`, or by way of the groups in `via`, the nearest first.

    `is_everybody`: the way begins with a group of which the whole company is a member.
    """

    role: str
    via: list[GroupName]
    is_everybody: bool

    @property
    def is_direct(self) -> bool:
        return not self.via


class _Step(GroupName, frozen=True, kw_only=True):
    from_id: str
    role: str
    is_everybody: bool


class Nesting:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, google_id: str, status: Status) -> list[Membership]:
        """The groups of a person, each by the shortest way to it, the direct ones first; MOST at most.

        The whole company, as a member, is everybody who is here.
        """
        steps = await self._database.rows(
            _Step,
            _STEPS,
            {"google_id": google_id, "is_here": status in HERE, "deepest": DEEPEST, "most": MOST},
        )
        found: dict[str, Membership] = {}
        for step in steps:  # each comes after the one it is reached from
            before = found.get(step.from_id)
            found[step.id] = Membership(
                id=step.id,
                name=step.name,
                email=step.email,
                role=step.role,
                via=[*before.via, GroupName(id=before.id, name=before.name, email=before.email)]
                if before
                else [],
                is_everybody=before.is_everybody if before else step.is_everybody,
            )
        return list(found.values())


async def group_ids_of(statements: Statements, google_id: str) -> list[str]:
    """The ids of the groups that a person is in by whichever way, for deciding what they may do."""
    return await statements.column(_GROUP_IDS, {"google_id": google_id, "here": [*HERE], "deepest": DEEPEST})


_GROUP_IDS = """
WITH RECURSIVE way AS (
    SELECT 1 AS height, group_id FROM group_members
    WHERE member_id = %(google_id)s OR (kind = 'customer' AND EXISTS (
        SELECT FROM people WHERE google_id = %(google_id)s AND status = ANY(%(here)s)
    ))
    UNION
    SELECT height + 1, edge.group_id
    FROM way JOIN group_members AS edge ON edge.member_id = way.group_id AND edge.kind = 'group'
    WHERE height < %(deepest)s
)
SELECT DISTINCT group_id FROM way JOIN groups ON google_id = group_id WHERE removed_at IS NULL
"""

_STEPS = """
WITH RECURSIVE way AS (
    SELECT 1 AS height, group_id, '' AS from_id, role, kind = 'customer' AS is_everybody
    FROM group_members
    WHERE member_id = %(google_id)s OR (kind = 'customer' AND %(is_here)s)
    UNION
    SELECT height + 1, edge.group_id, edge.member_id, '', false
    FROM way JOIN group_members AS edge ON edge.member_id = way.group_id AND edge.kind = 'group'
    WHERE height < %(deepest)s
), shortest AS (
    SELECT DISTINCT ON (group_id) * FROM way ORDER BY group_id, height, is_everybody, from_id
)
SELECT google_id AS id, COALESCE(NULLIF(name, ''), email) AS name, email, from_id, role, is_everybody
FROM shortest JOIN groups ON google_id = group_id
WHERE removed_at IS NULL
ORDER BY height, sort_name, google_id LIMIT %(most)s
"""
"""A way is a group and the one before it, at a height: circles and many ways to a group add no more rows
than there are memberships at each height.
"""

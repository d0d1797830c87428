"""Who has which role and why, as it is read.

Of the directory's tables it reads who is in which group; it writes none of them.
"""

from datetime import datetime

import msgspec

from muster.access.rights import GroupsOf
from muster.errors import NotFound
from muster.platform.database import Database, Statements


class PersonGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A role that somebody was given. `has_signed_in` is false for who has only been invited."""

    account_id: int
    email: str
    name: str
    role: str
    has_signed_in: bool
    granted_by: str
    granted_at: datetime


class GroupGrant(msgspec.Struct, frozen=True, kw_only=True):
    """A role that a group's members have; `name` and `email` are empty once Google has it no more."""

    group_id: str
    name: str
    email: str
    role: str
    granted_by: str
    granted_at: datetime


class GroupPerson(msgspec.Struct, frozen=True, kw_only=True):
    email: str
    name: str


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a group holds, those of its groups included. `outsiders` are not of the directory."""

    people: int
    outsiders: int
    is_everybody: bool


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why somebody has a role: `by` is who gave it, `group` the group it was given to, if any."""

    role: str
    by: str
    at: datetime | None
    group_id: str = ""
    group: str = ""


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody may do and why; without an account nobody has any role here."""

    email: str
    name: str
    has_account: bool
    is_suspended: bool
    reasons: list[Reason]


class Group(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    email: str


class _Account(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    email: str
    is_suspended: bool
    google_id: str | None
    name: str


class RoleBook:
    def __init__(self, database: Database, *, groups_of: GroupsOf) -> None:
        self._database = database
        self._groups_of = groups_of

    async def list_of_people(self) -> list[PersonGrant]:
        """Every role that a person was given, by address; the suspended have none."""
        return await self._database.rows(PersonGrant, _OF_PEOPLE)

    async def list_of_groups(self) -> list[GroupGrant]:
        return await self._database.rows(GroupGrant, _OF_GROUPS)

    async def list_people_of(self, group_id: str) -> list[GroupPerson]:
        """Everybody here who is in the group by whichever way, by address."""
        return await self._database.rows(
            GroupPerson, _WITHIN + _PEOPLE, {"group_id": group_id, "here": _HERE}
        )

    async def get_reach(self, group: str) -> Reach:
        """Raises NotFound for a group that the directory does not have."""
        async with self._database.reading() as statements:
            found = await find_group(statements, group)
            reach = await statements.row(Reach, _WITHIN + _COUNTS, {"group_id": found.id, "here": _HERE})
        if reach is None:
            raise LookupError("a statement that gives one row gave none")
        return reach

    async def explain(self, email: str) -> Explained:
        """What somebody may do and why, whether or not they have ever signed in."""
        async with self._database.reading() as statements:
            account = await statements.row(_Account, _EXPLAINED, [email])
            if account is None:
                return Explained(email=email, name="", has_account=False, is_suspended=False, reasons=[])
            own = await statements.rows(
                Reason,
                "SELECT role, granted_by AS by, granted_at AS at FROM account_roles WHERE account_id = %s",
                [account.id],
            )
            groups = (
                await self._groups_of(statements, account.google_id)
                if account.google_id and not account.is_suspended
                else []
            )
            by_group = await statements.rows(Reason, _BY_GROUP, [list(groups)])
        return Explained(
            email=account.email,
            name=account.name,
            has_account=True,
            is_suspended=account.is_suspended,
            reasons=[*own, *by_group],
        )


async def find_group(statements: Statements, group: str) -> Group:
    """By address or Google's id; also one that the directory has lost, so that its role can be taken away.

    Raises NotFound.
    """
    found = await statements.row(Group, _GROUP, {"group": group.strip()})
    if found is None:
        raise NotFound(f"The directory has no group {group.strip()}.")
    return found


_OF_PEOPLE = """
SELECT accounts.id AS account_id, email, google_id IS NOT NULL AS has_signed_in, role, granted_by, granted_at,
    COALESCE(NULLIF(name, ''), (
        SELECT people.name FROM people
        WHERE people.email = lower(accounts.email) AND removed_at IS NULL LIMIT 1
    ), '') AS name
FROM account_roles JOIN accounts ON accounts.id = account_id
WHERE suspended_at IS NULL AND email NOT LIKE '%%@muster.invalid'
ORDER BY lower(email), accounts.id, role
"""

_OF_GROUPS = """
SELECT group_id, COALESCE(groups.name, '') AS name, COALESCE(groups.email, '') AS email,
    role, granted_by, granted_at
FROM group_roles LEFT JOIN groups ON google_id = group_id AND removed_at IS NULL
ORDER BY lower(COALESCE(groups.email, '')), group_id, role
"""

_GROUP = """
SELECT google_id AS id, email FROM groups
WHERE removed_at IS NULL AND (google_id = %(group)s OR lower(email) = lower(%(group)s))
UNION ALL
SELECT group_id, group_id FROM group_roles WHERE group_id = %(group)s
LIMIT 1
"""


_HERE = ["active", "guest"]

_EXPLAINED = """
SELECT id, email, name, google_id, suspended_at IS NOT NULL AS is_suspended FROM accounts
WHERE lower(email) = lower(%s)
ORDER BY suspended_at IS NULL DESC, signed_in_at DESC NULLS LAST LIMIT 1
"""

_BY_GROUP = """
SELECT role, granted_by AS by, granted_at AS at, group_id, COALESCE(NULLIF(name, ''), email) AS "group"
FROM group_roles JOIN groups ON google_id = group_id
WHERE removed_at IS NULL AND group_id = ANY(%s) ORDER BY lower(email), role
"""

_WITHIN = """
WITH RECURSIVE within AS (
    SELECT google_id AS group_id FROM groups WHERE google_id = %(group_id)s AND removed_at IS NULL
    UNION
    SELECT member_id FROM within JOIN group_members USING (group_id) WHERE kind = 'group'
), whole AS (
    SELECT EXISTS (SELECT FROM within JOIN group_members USING (group_id) WHERE kind = 'customer')
        AS is_everybody
), members AS (
    SELECT DISTINCT member_id FROM within JOIN group_members USING (group_id) WHERE kind IN ('user', 'other')
)
"""

_PEOPLE = """
SELECT email, name FROM people, whole
WHERE status = ANY(%(here)s) AND (is_everybody OR google_id IN (SELECT member_id FROM members))
ORDER BY email
"""

_COUNTS = """
SELECT is_everybody, (
    SELECT count(*) FROM people
    WHERE status = ANY(%(here)s) AND (is_everybody OR google_id IN (SELECT member_id FROM members))
) AS people, (
    SELECT count(*) FROM members WHERE NOT EXISTS (SELECT FROM people WHERE google_id = member_id)
) AS outsiders
FROM whole
"""

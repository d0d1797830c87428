"""What deserves a second look before a role is given; the page and the command line ask by the same rule."""

from collections.abc import Iterator

import msgspec

from muster.access.role_book import Reach, RoleBook
from muster.access.role_grants import RoleGrants
from muster.access.roles import TITLES, Role
from muster.errors import Conflict
from muster.platform.database import Database

MANY = 50
"""People who may have a role at once without anybody asking: a department, not a company."""


class NeedsConfirming(Conflict):
    """What was asked is possible, and worth a second look."""

    code = "needs_confirming"


class _Address(msgspec.Struct, frozen=True, kw_only=True):
    """Who has an address, as far as anybody here knows."""

    can_sign_in: bool
    status: str | None
    main_address: str | None
    is_of_group: bool


class SecondLook:
    def __init__(self, database: Database, book: RoleBook, grants: RoleGrants) -> None:
        self._database = database
        self._book = book
        self._grants = grants

    async def check(self, holder: str, role: Role, *, is_group: bool) -> None:
        """Raises NeedsConfirming with what has to be confirmed, and whatever giving the role would raise
        for such a role, address or group.
        """
        if is_group:
            await self._check_group(holder, role)
        else:
            await self._check_person(holder, role)

    async def _check_group(self, group: str, role: Role) -> None:
        self._grants.check_role(role)
        reach = await self._book.get_reach(group)
        if doubts := list(_doubts(reach, role)):
            people = "1 person" if reach.people == 1 else f"{reach.people:,} people"
            raise NeedsConfirming(f"{people} would have the role {TITLES[role].name}: {'; '.join(doubts)}.")

    async def _check_person(self, email: str, role: Role) -> None:
        self._grants.check_role(role)
        email = self._grants.checked_address(email)
        found = await self._database.row(_Address, _ADDRESS, {"email": email.lower()})
        if found is None or found.can_sign_in:
            return
        if found.is_of_group:
            raise NeedsConfirming(
                f"{email} is the address of a group, and nobody signs in with it. "
                "Everybody in the group has the role once it is given to the group itself."
            )
        if found.main_address:
            raise NeedsConfirming(
                f"{email} is another address of {found.main_address}, and nobody signs in with it. "
                f"Give the role to {found.main_address}."
            )
        if found.status:
            raise NeedsConfirming(
                f"{email} is {found.status} at Google. The role would wait until they can sign in again."
            )
        raise NeedsConfirming(
            f"The directory knows nobody with the address {email}. "
            "The role would wait for whoever signs in with it first."
        )


def _doubts(reach: Reach, role: Role) -> Iterator[str]:
    if reach.is_everybody:
        yield "everybody in the company is in this group"
    elif reach.people > MANY:
        yield f"that is more than {MANY} at once"
    if reach.outsiders:
        are = "is not a person" if reach.outsiders == 1 else "are not people"
        yield f"{reach.outsiders:,} of its members {are} of the company"
    if role is Role.ADMIN:
        yield "whoever manages this group at Google decides who is an admin here"


_ADDRESS = """
SELECT EXISTS (
    SELECT FROM people WHERE email = %(email)s AND status IN ('active', 'guest')
) OR EXISTS (
    SELECT FROM accounts
    WHERE lower(email) = %(email)s AND google_id IS NOT NULL AND suspended_at IS NULL
) AS can_sign_in, (
    SELECT status FROM people WHERE email = %(email)s AND removed_at IS NULL LIMIT 1
) AS status, (
    SELECT email FROM people WHERE aliases @> ARRAY[%(email)s] AND removed_at IS NULL LIMIT 1
) AS main_address, EXISTS (
    SELECT FROM groups
    WHERE (lower(email) = %(email)s OR aliases @> ARRAY[%(email)s]) AND removed_at IS NULL
) AS is_of_group
"""

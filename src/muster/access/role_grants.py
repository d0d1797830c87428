"""Giving and taking roles: to a person, or to everybody in a Google group."""

from collections.abc import Sequence

import msgspec

from muster.access.rights import RightsBook, known
from muster.access.role_book import Group, find_group
from muster.access.roles import Role
from muster.errors import Conflict, Invalid, NotFound
from muster.platform import audit
from muster.platform.actor import Origin, Who
from muster.platform.database import Database, Transaction

LONGEST_ADDRESS = 254
"""https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.1, as its errata have it."""

ROLES_LOCK = 7004
"""Held by who takes a role away: of two who take the last two admins' at once, one comes second."""


class _Account(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    email: str
    is_suspended: bool
    has_signed_in: bool


class RoleGrants:
    def __init__(
        self,
        database: Database,
        rights: RightsBook,
        *,
        admin_emails: Sequence[str],
        allowed_domains: Sequence[str],
    ) -> None:
        self._database = database
        self._rights = rights
        self._admin_emails = frozenset(admin_emails)
        self._allowed_domains = frozenset(allowed_domains)

    async def grant(self, email: str, role: Role, *, by: Who, origin: Origin | None = None) -> bool:
        """Give somebody a role, from their next request on; false if they had it.

        Somebody who has never signed in has it when they do. Raises Invalid for an address that may not
        sign in here, Conflict for somebody who is suspended.
        """
        email = self.checked_address(email)
        self.check_role(role)
        async with self._database.transaction() as tx:
            account = await self._known(tx, email) or await self._invited(tx, email, by=by, origin=origin)
            if account.is_suspended:
                raise Conflict(f"{account.email} is suspended and may have no role.")
            before = await self._roles_of(tx, account.id)
            if role in before:
                return False
            await tx.execute(
                "INSERT INTO account_roles (account_id, role, granted_by) VALUES (%s, %s, %s)",
                [account.id, role.value, by.email],
            )
            await self._note(tx, "roles.granted", account, before, [*before, role], by=by, origin=origin)
        return True

    async def invite(self, email: str, role: Role, *, by: Who) -> None:
        """Grant `role` to somebody nobody has heard of; nothing happens if the address is known."""
        async with self._database.transaction() as tx:
            is_known = await self._known(tx, email) is not None
        if not is_known:
            await self.grant(email, role, by=by)

    async def revoke(self, email: str, role: Role, *, by: Who, origin: Origin | None = None) -> bool:
        """Take a role away, from their next request on; false if they had it not.

        Of everybody who has the address: the person who has it now, whoever had it before and has not
        signed in since, and an invitation that waits for it. Raises NotFound for an address that is
        nobody's, Conflict for the last admin and for an admin named in ADMIN_EMAILS, who would have the
        role again at their next sign-in.
        """
        self.check_role(role)
        async with self._database.transaction() as tx:
            await tx.execute("SELECT pg_advisory_xact_lock(%s)", [ROLES_LOCK])
            accounts = await tx.rows(_Account, _ACCOUNT + _ALL, {"email": email.strip()})
            if not accounts:
                raise NotFound(f"Nobody with the address {email.strip()} has an account here.")
            taken = [await self._take(tx, account, role, by=by, origin=origin) for account in accounts]
        return any(taken)

    async def _take(
        self, tx: Transaction, account: _Account, role: Role, *, by: Who, origin: Origin | None
    ) -> bool:
        before = await self._roles_of(tx, account.id)
        if role not in before:
            return False
        if role is Role.ADMIN:
            await self._check_not_needed(tx, account)
        await tx.execute(
            "DELETE FROM account_roles WHERE account_id = %s AND role = %s", [account.id, role.value]
        )
        after = [one for one in before if one is not role]
        await self._note(tx, "roles.revoked", account, before, after, by=by, origin=origin)
        return True

    async def grant_to_group(self, group: str, role: Role, *, by: Who, origin: Origin | None = None) -> bool:
        """Give a role to everybody who is or comes to be in a group, by its address or Google's id of it.

        Raises NotFound for a group that the directory does not have.
        """
        self.check_role(role)
        async with self._database.transaction() as tx:
            found = await find_group(tx, group)
            granted = await tx.execute(
                """
                INSERT INTO group_roles (group_id, role, granted_by) VALUES (%s, %s, %s)
                ON CONFLICT DO NOTHING
                """,
                [found.id, role.value, by.email],
            )
            if granted:
                await self._note_group(tx, "roles.granted_to_group", found, role, by=by, origin=origin)
        return bool(granted)

    async def revoke_from_group(
        self, group: str, role: Role, *, by: Who, origin: Origin | None = None
    ) -> bool:
        async with self._database.transaction() as tx:
            await tx.execute("SELECT pg_advisory_xact_lock(%s)", [ROLES_LOCK])
            found = await find_group(tx, group)
            if role is Role.ADMIN and not self._admin_emails and not await self._count_admins(tx):
                raise Conflict("Nobody would be admin any more. Make somebody admin themselves first.")
            revoked = await tx.execute(
                "DELETE FROM group_roles WHERE group_id = %s AND role = %s", [found.id, role.value]
            )
            if revoked:
                await self._note_group(tx, "roles.revoked_from_group", found, role, by=by, origin=origin)
        return bool(revoked)

    def is_named_in_settings(self, email: str) -> bool:
        return email.casefold() in self._admin_emails

    async def _check_not_needed(self, tx: Transaction, account: _Account) -> None:
        if self.is_named_in_settings(account.email):
            raise Conflict(f"{account.email} is named in ADMIN_EMAILS. Take the address out there first.")
        if account.has_signed_in and not await self._count_admins(tx, but=account.id):
            raise Conflict(f"{account.email} is the last admin. Make somebody else admin first.")

    async def _known(self, tx: Transaction, email: str) -> _Account | None:
        """Whoever has the address now: by the directory, else who signed in with it last, else who is
        invited by it.
        """
        return await tx.row(_Account, _ACCOUNT + _THE_PRESENT_ONE, {"email": email})

    async def _count_admins(self, tx: Transaction, *, but: int | None = None) -> int:
        """Who can sign in and is admin themselves, whatever their groups are."""
        return int(
            await tx.value(
                """
                SELECT count(*) FROM account_roles JOIN accounts ON id = account_id
                WHERE role = %s AND id IS DISTINCT FROM %s AND suspended_at IS NULL AND google_id IS NOT NULL
                """,
                [Role.ADMIN.value, but],
            )
        )

    async def _invited(self, tx: Transaction, email: str, *, by: Who, origin: Origin | None) -> _Account:
        invited = await tx.row(
            _Account,
            """
            INSERT INTO accounts (email) VALUES (%s)
            ON CONFLICT (lower(email)) WHERE google_id IS NULL DO UPDATE SET email = EXCLUDED.email
            RETURNING id, email, false AS is_suspended, false AS has_signed_in
            """,
            [email],
        )
        if invited is None:
            raise LookupError("INSERT … RETURNING gave no row")
        subject = f"account:{invited.id}"
        await audit.record(
            tx, "accounts.invited", by=by, subject=subject, after={"email": email}, origin=origin
        )
        return invited

    async def _roles_of(self, tx: Transaction, account_id: int) -> list[Role]:
        held = await tx.column("SELECT role FROM account_roles WHERE account_id = %s", [account_id])
        return [role for role in known(held) if role is not Role.MEMBER]

    async def _note(
        self,
        tx: Transaction,
        action: str,
        account: _Account,
        before: Sequence[Role],
        after: Sequence[Role],
        *,
        by: Who,
        origin: Origin | None,
    ) -> None:
        await audit.record(
            tx,
            action,
            by=by,
            subject=f"account:{account.id}",
            before={"email": account.email, "roles": sorted(before)},
            after={"email": account.email, "roles": sorted(after)},
            origin=origin,
        )
        await self._rights.changed(tx, [account.id])

    async def _note_group(
        self, tx: Transaction, action: str, group: Group, role: Role, *, by: Who, origin: Origin | None
    ) -> None:
        told = {"group": group.email, "role": role.value}
        is_grant = action == "roles.granted_to_group"
        await audit.record(
            tx,
            action,
            by=by,
            subject=f"group:{group.id}",
            before=None if is_grant else told,
            after=told if is_grant else None,
            origin=origin,
        )
        await self._rights.changed_for_anybody(tx)

    def check_role(self, role: Role) -> None:
        """Raises Invalid for the role that everybody has."""
        if role is Role.MEMBER:
            raise Invalid("Everybody who may sign in is a member; that role is neither granted nor revoked.")

    def checked_address(self, email: str) -> str:
        """The address without space around it. Raises Invalid for one that may not sign in here."""
        email = email.strip()
        if len(email) > LONGEST_ADDRESS or not email.isprintable():
            raise Invalid("That is not an e-mail address.")
        domain = email.rpartition("@")[2].casefold()
        if email.count("@") != 1 or not email.partition("@")[0] or " " in email:
            raise Invalid(f"{email!r} is not an e-mail address.")
        if domain not in self._allowed_domains:
            allowed = ", ".join(sorted(self._allowed_domains))
            raise Invalid(f"Nobody of {domain} may sign in here; expected an address of {allowed}.")
        return email


def role_named(name: str) -> Role:
    """Raises Invalid, naming those there are."""
    try:
        return Role(name)
    except ValueError as error:
        grantable = ", ".join(role.value for role in Role if role is not Role.MEMBER)
        raise Invalid(f"There is no role {name!r}; expected one of {grantable}.") from error


_ACCOUNT = """
WITH listed AS (
    SELECT google_id FROM people WHERE email = lower(%(email)s) AND removed_at IS NULL LIMIT 1
)
SELECT id, email, suspended_at IS NOT NULL AS is_suspended, google_id IS NOT NULL AS has_signed_in
FROM accounts WHERE lower(email) = lower(%(email)s) OR google_id = (SELECT google_id FROM listed)
"""
_THE_PRESENT_ONE = """
ORDER BY google_id IS NOT DISTINCT FROM (SELECT google_id FROM listed) DESC, suspended_at IS NULL DESC,
    signed_in_at DESC NULLS LAST
LIMIT 1 FOR UPDATE OF accounts
"""
_ALL = " ORDER BY id FOR UPDATE OF accounts"

"""The account one signs in with: known by Google's `sub`, since addresses are renamed and reissued."""

from collections.abc import Sequence

import msgspec

from muster.access.roles import Role
from muster.platform import audit
from muster.platform.actor import Origin, Who
from muster.platform.database import Database, Transaction


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified ID token says of somebody."""

    google_id: str
    email: str
    name: str


class Account(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    google_id: str | None
    email: str
    name: str
    role: Role

    @property
    def account_id(self) -> int:
        return self.id


class Accounts:
    def __init__(self, database: Database, *, admin_emails: Sequence[str]) -> None:
        self._database = database
        self._admin_emails = frozenset(admin_emails)

    async def sign_in(self, identity: Identity, origin: Origin) -> Account:
        """The account of `identity`, made or brought up to date, with its audit row."""
        async with self._database.transaction() as tx:
            account = await self._known(tx, identity) or await self._invited(tx, identity)
            if account is None:
                account = await self._created(tx, identity)
                await audit.record(
                    tx, "accounts.created", by=account, subject=_subject(account), origin=origin
                )
            if identity.email.casefold() in self._admin_emails and account.role is not Role.ADMIN:
                account = await self._granted(tx, account, Role.ADMIN, by=account, origin=origin)
            await audit.record(tx, "accounts.signed_in", by=account, subject=_subject(account), origin=origin)
        return account

    async def invite(self, email: str, role: Role, *, by: Who) -> None:
        """Give whoever first signs in with `email` this role; nothing happens if the address is known."""
        async with self._database.transaction() as tx:
            # Of two who invite at once, the unique index lets one in.
            invited = await tx.row(
                Account,
                """
                INSERT INTO accounts (email, role)
                SELECT %(email)s, %(role)s
                WHERE NOT EXISTS (SELECT FROM accounts WHERE lower(email) = lower(%(email)s))
                ON CONFLICT DO NOTHING
                RETURNING id, google_id, email, name, role
                """,
                {"email": email, "role": role.value},
            )
            if invited:
                await audit.record(
                    tx, "accounts.invited", by=by, subject=_subject(invited), after={"role": role.value}
                )

    async def _known(self, tx: Transaction, identity: Identity) -> Account | None:
        return await tx.row(
            Account,
            """
            UPDATE accounts SET email = %s, name = %s, signed_in_at = now() WHERE google_id = %s
            RETURNING id, google_id, email, name, role
            """,
            [identity.email, identity.name, identity.google_id],
        )

    async def _invited(self, tx: Transaction, identity: Identity) -> Account | None:
        return await tx.row(
            Account,
            """
            UPDATE accounts SET google_id = %s, name = %s, signed_in_at = now()
            WHERE google_id IS NULL AND lower(email) = lower(%s)
            RETURNING id, google_id, email, name, role
            """,
            [identity.google_id, identity.name, identity.email],
        )

    async def _created(self, tx: Transaction, identity: Identity) -> Account:
        # Two first sign-ins at once meet here; the second finds what the first made.
        created = await tx.row(
            Account,
            """
            INSERT INTO accounts (google_id, email, name, signed_in_at) VALUES (%s, %s, %s, now())
            ON CONFLICT (google_id) DO UPDATE SET signed_in_at = now()
            RETURNING id, google_id, email, name, role
            """,
            [identity.google_id, identity.email, identity.name],
        )
        if created is None:
            raise LookupError("INSERT … RETURNING gave no row")
        return created

    async def _granted(
        self, tx: Transaction, account: Account, role: Role, *, by: Who, origin: Origin
    ) -> Account:
        await tx.execute("UPDATE accounts SET role = %s WHERE id = %s", [role.value, account.id])
        await audit.record(
            tx,
            "roles.granted",
            by=by,
            subject=_subject(account),
            before={"role": account.role.value},
            after={"role": role.value},
            origin=origin,
        )
        return msgspec.structs.replace(account, role=role)


def _subject(account: Account) -> str:
    return f"account:{account.id}"

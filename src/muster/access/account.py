"""The account one signs in with: known by Google's `sub`, since addresses are renamed and reissued."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from muster.access.roles import Role
from muster.errors import NotAllowed, Unavailable
from muster.platform import audit
from muster.platform.actor import Origin, System, Who
from muster.platform.database import Database, Transaction
from muster.platform.sessions import LIFETIME, Sessions
from muster.platform.telemetry import logger

DIRECTORY = System("directory")

_LONGER_THAN_ANY_SESSION = LIFETIME + timedelta(hours=1)


class AccountSuspended(NotAllowed):
    """The directory does not let its owner in."""

    code = "sign_in_refused"


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


class _Voided(msgspec.Struct, frozen=True):
    id: int
    role: str


class _Suspended(msgspec.Struct, frozen=True):
    id: int
    email: str
    suspended_because: str

    @property
    def account_id(self) -> int:
        return self.id


class Accounts:
    def __init__(self, database: Database, sessions: Sessions, *, admin_emails: Sequence[str]) -> None:
        self._database = database
        self._sessions = sessions
        self._admin_emails = frozenset(admin_emails)

    async def sign_in(self, identity: Identity, origin: Origin) -> Account:
        """The account of `identity`, made or brought up to date, with its audit row.

        Raises AccountSuspended.
        """
        await self._refuse_suspended(identity, origin)
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

    async def suspend(self, tx: Transaction, google_ids: Sequence[str], *, because: str) -> None:
        """Void the accounts of these people, if they have any: no role, and within seconds no session."""
        voided = await tx.rows(
            _Voided,
            """
            UPDATE accounts SET suspended_at = now(), suspended_because = %(because)s, role = 'member'
            FROM (SELECT id, role FROM accounts WHERE google_id = ANY(%(ids)s) FOR UPDATE) AS before
            WHERE accounts.id = before.id AND accounts.suspended_at IS NULL
            RETURNING accounts.id, before.role
            """,
            {"because": because, "ids": list(google_ids)},
        )
        for account in voided:
            await audit.record(
                tx,
                "accounts.suspended",
                by=DIRECTORY,
                subject=f"account:{account.id}",
                before={"role": account.role},
                after={"role": None, "because": because},
            )
        if voided:
            tx.after_commit(self._end_sessions_soon)

    async def restore(self, tx: Transaction, google_ids: Sequence[str]) -> None:
        """Let these people sign in again; what they might do before is granted anew, or not."""
        restored = await tx.column(
            """
            UPDATE accounts SET suspended_at = NULL, suspended_because = ''
            WHERE google_id = ANY(%s) AND suspended_at IS NOT NULL RETURNING id
            """,
            [list(google_ids)],
        )
        for account_id in restored:
            await audit.record(tx, "accounts.restored", by=DIRECTORY, subject=f"account:{account_id}")

    async def end_sessions_of_suspended(self) -> int:
        """How many sessions were ended. Asked again and again: one may begin while its account is voided."""
        async with self._database.reading() as statements:
            suspended = await statements.column(
                "SELECT id FROM accounts WHERE suspended_at > now() - %s", [_LONGER_THAN_ANY_SESSION]
            )
        return sum([await self._sessions.end_all(account_id) for account_id in suspended])

    async def list_not_kept_out(self) -> list[str]:
        """The addresses of suspended accounts that still have a role or a session."""
        async with self._database.reading() as statements:
            with_role = await statements.column(
                "SELECT email FROM accounts WHERE suspended_at IS NOT NULL AND role <> 'member' LIMIT 100"
            )
            lately = await statements.pairs(
                "SELECT id, email FROM accounts WHERE suspended_at > now() - %s", [_LONGER_THAN_ANY_SESSION]
            )
        return with_role + [email for account, email in lately.items() if await self._sessions.count(account)]

    async def _end_sessions_soon(self) -> None:
        try:
            await self.end_sessions_of_suspended()
        except Unavailable as error:
            # The worker's clock does it as soon as Redis is back; until then no session opens anything.
            logger.warning("sessions_not_ended", error=str(error))

    async def _refuse_suspended(self, identity: Identity, origin: Origin) -> None:
        async with self._database.transaction() as tx:
            suspended = await tx.row(
                _Suspended,
                """
                SELECT id, email, suspended_because FROM accounts
                WHERE google_id = %s AND suspended_at IS NOT NULL
                """,
                [identity.google_id],
            )
            if suspended is None:
                return
            await audit.record(
                tx, "accounts.refused", by=suspended, subject=f"account:{suspended.id}", origin=origin
            )
        raise AccountSuspended(
            f"Your account {suspended.suspended_because}. If that has just been changed, "
            "try again in a minute: Google is being asked."
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

"""The account one signs in with: known by Google's `sub`, since addresses are renamed and reissued."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial

import msgspec

from muster.access.rights import Rights, RightsBook
from muster.access.roles import Role
from muster.errors import NotAllowed, Unavailable
from muster.platform import audit
from muster.platform.actor import Origin, System
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

    @property
    def account_id(self) -> int:
        return self.id


class _Voided(msgspec.Struct, frozen=True):
    id: int
    roles: list[str]


class _Suspended(msgspec.Struct, frozen=True):
    id: int
    email: str
    is_suspended: bool
    suspended_because: str

    @property
    def account_id(self) -> int:
        return self.id


class Accounts:
    def __init__(
        self,
        database: Database,
        sessions: Sessions,
        rights: RightsBook,
        *,
        admin_emails: Sequence[str],
        why_kept_out: Callable[[Transaction, str], Awaitable[str]],
    ) -> None:
        """`why_kept_out` says, by id, why the directory lets somebody not in; empty when it does."""
        self._database = database
        self._sessions = sessions
        self._rights = rights
        self._why_kept_out = why_kept_out
        self._admin_emails = frozenset(admin_emails)

    async def sign_in(self, identity: Identity, origin: Origin) -> Rights:
        """What the account of `identity` may do; it is made or brought up to date, with its audit row.

        Raises AccountSuspended.
        """
        async with self._database.transaction() as tx:
            refused = await self._refused(tx, identity, origin)
            rights = None if refused else await self._let_in(tx, identity, origin)
        if rights is None:
            raise AccountSuspended(
                f"Your account {refused}. If that has just been changed, "
                "try again in a minute: Google is being asked."
            )
        return rights

    async def _let_in(self, tx: Transaction, identity: Identity, origin: Origin) -> Rights | None:
        account = await self._known(tx, identity) or await self._invited(tx, identity)
        if account is None:
            account = await self._created(tx, identity)
            await audit.record(tx, "accounts.created", by=account, subject=_subject(account), origin=origin)
        await self._claim_invitation(tx, account, origin)
        if identity.email.casefold() in self._admin_emails:
            await self._make_admin(tx, account, origin)
        await audit.record(tx, "accounts.signed_in", by=account, subject=_subject(account), origin=origin)
        await self._rights.changed(tx, [account.id])  # of name and address, at least
        return await self._rights.read(tx, account.id)

    async def _refused(self, tx: Transaction, identity: Identity, origin: Origin) -> str:
        """Why this person may not come in, written down; empty for whoever may."""
        account = await tx.row(
            _Suspended,
            """
            SELECT id, email, suspended_at IS NOT NULL AS is_suspended, suspended_because FROM accounts
            WHERE google_id = %s FOR UPDATE
            """,
            [identity.google_id],
        )
        because = await self._why_kept_out(tx, identity.google_id)
        if account and account.is_suspended:
            because = because or account.suspended_because
        if because:
            await audit.record(
                tx,
                "accounts.refused",
                by=account or System(identity.email),
                subject=f"account:{account.id}" if account else f"google:{identity.google_id}",
                origin=origin,
            )
        return because

    async def suspend(self, tx: Transaction, google_ids: Sequence[str], *, because: str) -> None:
        """Void the accounts of these people, if they have any: no role, and within seconds no session."""
        # By itself and first: what follows must see roles and tokens that were given while it waited.
        await tx.execute(
            "SELECT FROM accounts WHERE google_id = ANY(%s) ORDER BY id FOR UPDATE", [list(google_ids)]
        )
        voided = await tx.rows(
            _Voided,
            """
            WITH voided AS (
                UPDATE accounts SET suspended_at = now(), suspended_because = %(because)s
                WHERE google_id = ANY(%(ids)s) AND suspended_at IS NULL RETURNING id
            ), stripped AS (
                DELETE FROM account_roles WHERE account_id IN (SELECT id FROM voided)
                RETURNING account_id, role
            ), revoked AS (
                UPDATE api_tokens SET revoked_at = now()
                WHERE account_id IN (SELECT id FROM voided) AND revoked_at IS NULL
            )
            SELECT id, ARRAY(SELECT role FROM stripped WHERE account_id = id ORDER BY role) AS roles
            FROM voided
            """,
            {"because": because, "ids": list(google_ids)},
        )
        for account in voided:
            await audit.record(
                tx,
                "accounts.suspended",
                by=DIRECTORY,
                subject=f"account:{account.id}",
                before={"roles": account.roles},
                after={"roles": [], "because": because},
            )
        if voided:
            await self._rights.changed(tx, [account.id for account in voided])
            tx.after_commit(partial(self._end_sessions_soon, [account.id for account in voided]))

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
        if restored:
            await self._rights.changed(tx, restored)

    async def end_sessions_of_suspended(self) -> int:
        """How many sessions were ended. Asked again and again: one may begin while its account is voided."""
        async with self._database.reading() as statements:
            suspended = await statements.column(
                "SELECT id FROM accounts WHERE suspended_at > now() - %s ORDER BY suspended_at DESC",
                [_LONGER_THAN_ANY_SESSION],
            )
        return sum([await self._sessions.end_all(account_id) for account_id in suspended])

    async def list_not_kept_out(self) -> list[str]:
        """The addresses of suspended accounts that still have a role, a token or a session."""
        async with self._database.reading() as statements:
            able = await statements.column(
                """
                SELECT email FROM accounts WHERE suspended_at IS NOT NULL AND (
                    EXISTS (SELECT FROM account_roles WHERE account_id = accounts.id)
                    OR EXISTS (
                        SELECT FROM api_tokens
                        WHERE account_id = accounts.id AND revoked_at IS NULL AND expires_at > now()
                    )
                ) LIMIT 100
                """
            )
            lately = await statements.pairs(
                "SELECT id, email FROM accounts WHERE suspended_at > now() - %s", [_LONGER_THAN_ANY_SESSION]
            )
        return able + [email for account, email in lately.items() if await self._sessions.count(account)]

    async def _end_sessions_soon(self, account_ids: Sequence[int]) -> None:
        try:
            for account_id in account_ids:
                await self._sessions.end_all(account_id)
        except Unavailable as error:
            # The worker's clock does it as soon as Redis is back; until then no session opens anything.
            logger.warning("sessions_not_ended", error=str(error))

    async def _known(self, tx: Transaction, identity: Identity) -> Account | None:
        return await tx.row(
            Account,
            """
            UPDATE accounts SET email = %s, name = %s, signed_in_at = now() WHERE google_id = %s
            RETURNING id, google_id, email, name
            """,
            [identity.email, identity.name, identity.google_id],
        )

    async def _invited(self, tx: Transaction, identity: Identity) -> Account | None:
        return await tx.row(
            Account,
            """
            UPDATE accounts SET google_id = %s, name = %s, signed_in_at = now()
            WHERE google_id IS NULL AND lower(email) = lower(%s)
            RETURNING id, google_id, email, name
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
            RETURNING id, google_id, email, name
            """,
            [identity.google_id, identity.email, identity.name],
        )
        if created is None:
            raise LookupError("INSERT … RETURNING gave no row")
        return created

    async def _claim_invitation(self, tx: Transaction, account: Account, origin: Origin) -> None:
        """Take over the roles that wait for the address somebody comes with: nobody else may, later."""
        claimed = await tx.column(_CLAIM, {"account": account.id, "email": account.email})
        if claimed:
            await audit.record(
                tx,
                "accounts.invitation_claimed",
                by=account,
                subject=_subject(account),
                after={"roles": sorted(claimed)},
                origin=origin,
            )

    async def _make_admin(self, tx: Transaction, account: Account, origin: Origin) -> None:
        if await tx.execute(_GRANT, [account.id, Role.ADMIN.value, "ADMIN_EMAILS"]):
            await audit.record(
                tx,
                "roles.granted",
                by=account,
                subject=_subject(account),
                after={"role": Role.ADMIN.value, "because": "ADMIN_EMAILS"},
                origin=origin,
            )


_CLAIM = """
WITH waiting AS (
    SELECT id FROM accounts
    WHERE google_id IS NULL AND lower(email) = lower(%(email)s) AND id <> %(account)s FOR UPDATE
), moved AS (
    DELETE FROM account_roles WHERE account_id IN (SELECT id FROM waiting)
    RETURNING role, granted_by, granted_at
)
INSERT INTO account_roles (account_id, role, granted_by, granted_at)
SELECT %(account)s, role, granted_by, granted_at FROM moved ON CONFLICT DO NOTHING RETURNING role
"""

_GRANT = """
INSERT INTO account_roles (account_id, role, granted_by) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING
"""


def _subject(account: Account) -> str:
    return f"account:{account.id}"

"""The account that probes use: known by an address that no mail reaches, and without Google's id."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from muster.access.rights import Rights, RightsBook
from muster.access.roles import Role
from muster.platform.database import Database
from muster.platform.probe import Failed

PROBE_LOCK = 7005
ADDRESS, CHANGING = "probe@muster.invalid", "probe-of-roles@muster.invalid"
"""The second one's roles change while it probes, which would give sessions of the first another id.

https://www.rfc-editor.org/rfc/rfc2606: nobody can ever have such addresses, so nobody can
sign in with them.
"""


class ProbeAccount:
    def __init__(self, database: Database, rights: RightsBook) -> None:
        self._database = database
        self._rights = rights

    async def get(self, address: str = ADDRESS) -> Rights:
        """Made when it is first asked for; a member, and nothing more."""
        await self._database.execute(
            "INSERT INTO accounts (email, name) VALUES (%s, 'Probe') ON CONFLICT DO NOTHING", [address]
        )
        account_id: int = await self._database.value(
            "SELECT id FROM accounts WHERE email = %s AND google_id IS NULL", [address]
        )
        rights = await self._rights.of(account_id)
        if rights is None:
            raise Failed(f"the account of probes, {address}, is suspended")
        return rights

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Of two that change its roles at once, one would take what the other has just given."""
        async with self._database.transaction() as tx:
            await tx.execute("SELECT pg_advisory_xact_lock(%s)", [PROBE_LOCK])
            yield

    async def change_role(self, account_id: int, *, is_given: bool) -> None:
        """Give auditor or take it, by the table: the audit log is no place for a change each minute."""
        async with self._database.transaction() as tx:
            if is_given:
                await tx.execute(_GIVE, [account_id, Role.AUDITOR.value])
            else:
                await tx.execute("DELETE FROM account_roles WHERE account_id = %s", [account_id])
            await self._rights.changed(tx, [account_id])

    async def sees_role(self, account_id: int) -> bool | None:
        """Whether auditor is seen, through what is cached; None for an account that is suspended."""
        kept = await self._rights.list_kept([account_id])
        seen = await self._rights.of(account_id, kept=kept.get(account_id))
        return None if seen is None else Role.AUDITOR in seen.roles


_GIVE = """
INSERT INTO account_roles (account_id, role, granted_by) VALUES (%s, %s, 'probe') ON CONFLICT DO NOTHING
"""

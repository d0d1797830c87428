"""The account that probes use: known by an address that no mail reaches, and without Google's id."""

from muster.access.rights import Rights, RightsBook
from muster.platform.database import Database
from muster.platform.probe import Failed

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

"""What the directory says of somebody to the rest of Muster."""

from collections.abc import Sequence

import msgspec

from muster.access.colleague import Colleague
from muster.people.person import HERE, Status
from muster.platform.database import Database, Transaction


async def why_kept_out(tx: Transaction, google_id: str) -> str:
    """Why somebody may not sign in, as in "Your account is …"; empty for whoever may, or is not known yet.

    Held until the commit: a sync that sees them leave comes before the sign-in, or after.
    """
    status: str | None = await tx.value(
        "SELECT status FROM people WHERE google_id = %s FOR SHARE", [google_id]
    )
    return "" if status is None or status in HERE else f"is {status} in Google Workspace"


class _Found(msgspec.Struct, frozen=True):
    address: str
    google_id: str
    name: str
    email: str
    status: Status


class Standings:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def who_is(self, addresses: Sequence[str]) -> dict[str, Colleague]:
        """Whose these addresses are, the main one or any alias; of several people the one who is here."""
        async with self._database.reading() as statements:
            found = await statements.rows(_Found, _BY_ADDRESS, {"addresses": list(addresses)})
            missing = sorted(set(addresses) - {one.address for one in found})
            if missing:  # aliases of whole domains, which no index holds
                found += await statements.rows(_Found, _BY_FIXED_ALIAS, {"addresses": missing})
        return {
            one.address: Colleague(
                id=one.google_id,
                name=one.name,
                email=one.email,
                status=one.status.value,
                is_here=one.status.is_here,
            )
            # The last one of an address counts: whoever is here.
            for one in sorted(found, key=lambda one: (one.status.is_here, not one.status.is_gone))
        }


_BY_ADDRESS = """
WITH asked AS MATERIALIZED (SELECT DISTINCT unnest(%(addresses)s::text[]) AS address)
SELECT address, google_id, name, email, status FROM asked JOIN people ON email = address
UNION ALL
SELECT address, google_id, name, email, status
FROM people CROSS JOIN unnest(aliases) AS alias JOIN asked ON address = alias
"""
"""Every alias once through a hash: `&&` with the addresses compares each person's with all of them, which
for 3,000 addresses and 100,000 people takes longer than a statement may.
"""

_BY_FIXED_ALIAS = """
WITH asked AS MATERIALIZED (SELECT DISTINCT unnest(%(addresses)s::text[]) AS address)
SELECT address, google_id, name, email, status
FROM people CROSS JOIN jsonb_array_elements_text(fixed_aliases) AS alias JOIN asked ON address = alias
"""

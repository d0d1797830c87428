"""What the directory says to somebody who wants to come in."""

from muster.people.person import HERE
from muster.platform.database import Transaction


async def why_kept_out(tx: Transaction, google_id: str) -> str:
    """Why somebody may not sign in, as in "Your account is …"; empty for whoever may, or is not known yet.

    Held until the commit: a sync that sees them leave comes before the sign-in, or after.
    """
    status: str | None = await tx.value(
        "SELECT status FROM people WHERE google_id = %s FOR SHARE", [google_id]
    )
    return "" if status is None or status in HERE else f"is {status} in Google Workspace"

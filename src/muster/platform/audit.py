"""Who did what to what: one row, written in the transaction of the act itself."""

from typing import Any

import msgspec

from muster.platform.actor import Origin, Who
from muster.platform.database import Transaction


async def record(
    tx: Transaction,
    action: str,
    *,
    by: Who,
    subject: str = "",
    before: Any = None,
    after: Any = None,
    origin: Origin | None = None,
) -> None:
    """Write down `action` (past tense, `slice.verb`) on `subject` (`kind:id`).

    `before` and `after` are what changed, as JSON can hold it; nothing secret belongs in them.
    """
    origin = origin or Origin()
    await tx.execute(
        """
        INSERT INTO audit_log
            (account_id, email, action, subject, before, after, request_id, address, via)
        VALUES (%s, %s, %s, %s, %s::jsonb, %s::jsonb, %s, %s, %s)
        """,
        [
            by.account_id,
            by.email,
            action,
            subject,
            _json(before),
            _json(after),
            origin.request_id,
            origin.address,
            origin.via,
        ],
    )


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()

"""How well the copies behind the numbers are kept: when each was last read, and how the last run went."""

from datetime import datetime

import msgspec

from muster.dashboard.metrics import Source
from muster.platform.database import Database


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Of the sync behind some numbers; `read_at` is None where none has ever finished."""

    source: Source
    read_at: datetime | None
    run_id: int | None
    status: str
    reason: str
    started_at: datetime | None

    @property
    def is_running(self) -> bool:
        return self.status == "running"

    @property
    def has_failed(self) -> bool:
        return self.status in {"failed", "refused"}


class Sources:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> dict[Source, Health]:
        found = await self._database.rows(Health, _HEALTH)
        return {one.source: one for one in found}


_HEALTH = """
SELECT 'Google' AS source, read_at, id AS run_id, COALESCE(status, '') AS status,
    COALESCE(reason, '') AS reason, started_at
FROM (SELECT) AS always LEFT JOIN (
    SELECT id, status, reason, started_at FROM people_syncs
    WHERE kind = 'people' AND started_at IS NOT NULL ORDER BY id DESC LIMIT 1
) AS last ON true LEFT JOIN (
    SELECT finished_at AS read_at FROM people_syncs
    WHERE kind = 'people' AND status = 'finished' AND NOT dry_run ORDER BY id DESC LIMIT 1
) AS read ON true
UNION ALL
SELECT 'HubSpot', read_at, id, COALESCE(status, ''), COALESCE(reason, ''), started_at
FROM (SELECT) AS always LEFT JOIN (
    SELECT id, status, reason, started_at FROM crm_syncs
    WHERE started_at IS NOT NULL ORDER BY id DESC LIMIT 1
) AS last ON true LEFT JOIN (
    SELECT finished_at AS read_at FROM crm_syncs
    WHERE status = 'finished' AND NOT dry_run ORDER BY id DESC LIMIT 1
) AS read ON true
"""

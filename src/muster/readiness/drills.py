"""Drills: faults caused on purpose, and what the last of each has shown."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from muster import __version__
from muster.platform import audit
from muster.platform.actor import Origin, Who
from muster.platform.database import Database
from muster.platform.probe import Failed, NotApplicable, Probe, Seen

KEPT = 50
"""Runs of each drill; the older ones are forgotten."""


class Drill(msgspec.Struct, frozen=True, kw_only=True):
    """`touches` is its blast radius: everything that it may change."""

    name: str
    row: str
    does: str
    touches: str
    takes: str


JOBS = Drill(
    name="jobs",
    row="jobs.survive",
    does="Runs 10,000 jobs while their workers are killed 200 times in mid job, and Redis 5 times, and "
    "counts the effects of each.",
    touches="Nothing of this system: PostgreSQL, Redis and the workers are its own, in a temporary folder "
    "that is removed. It takes what processor time there is.",
    takes="3 to 10 minutes; less with --jobs and --kills",
)
DRILLS = (JOBS,)


class Drilled(msgspec.Struct, frozen=True, kw_only=True):
    """What one run has shown."""

    held: bool
    evidence: str
    version: str
    at: datetime


class Drills:
    def __init__(self, database: Database) -> None:
        self._database = database

    def probes(self) -> list[Probe]:
        return [Probe(row=JOBS.row, ask=self.survive)]

    async def keep(
        self,
        drill: Drill,
        *,
        held: bool,
        evidence: str,
        figures: Any,
        took: timedelta,
        by: Who,
        origin: Origin,
    ) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                INSERT INTO drills (name, held, evidence, figures, took_ms, version)
                VALUES (%s, %s, %s, %s::jsonb, %s, %s)
                """,
                [
                    drill.name,
                    held,
                    evidence,
                    msgspec.json.encode(figures).decode(),
                    int(took.total_seconds() * 1000),
                    __version__,
                ],
            )
            await tx.execute(
                "DELETE FROM drills WHERE name = %s AND id <= "
                "(SELECT max(id) FROM drills WHERE name = %s) - %s",
                [drill.name, drill.name, KEPT],
            )
            await audit.record(
                tx,
                "drill.ran",
                by=by,
                subject=f"drill:{drill.name}",
                after={"held": held, "evidence": evidence},
                origin=origin,
            )

    async def last(self, drill: Drill) -> Drilled | None:
        found = await self._database.rows(
            Drilled,
            "SELECT held, evidence, version, at FROM drills WHERE name = %s ORDER BY id DESC LIMIT 1",
            [drill.name],
        )
        return found[0] if found else None

    async def survive(self) -> Seen:
        last = await self.last(JOBS)
        if last is None:
            raise NotApplicable(
                "no drill was run yet; `muster drill jobs` runs one, and touches nothing here"
            )
        told = f"drill of {last.at:%Y-%m-%d}: {last.evidence}"
        if not last.held:
            raise Failed(told)
        return Seen(told, at=last.at, version=last.version)

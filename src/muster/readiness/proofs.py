"""Proofs of the promises: asked of the running system, kept with their date, judged by their age."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec

from muster import __version__
from muster.errors import MusterError, Unavailable
from muster.platform.database import Database, first_line
from muster.platform.probe import NotApplicable, NotTried, Probe, Seen
from muster.platform.telemetry import logger
from muster.readiness.checklist import ROWS, Row

DEADLINE = timedelta(seconds=20)
KEPT_FOR = timedelta(days=30)
HISTORY = 20


class Status(StrEnum):
    """Proved: it holds, and was seen to lately. Stale: it held, but that was long ago or in another
    release. Unproved: nobody has looked. Unproved is never shown as proved. Not applicable: it was looked
    at, and has no meaning for this system.
    """

    PROVED = "proved"
    FAILED = "failed"
    STALE = "stale"
    UNPROVED = "unproved"
    NOT_APPLICABLE = "not applicable"


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What one look at a row showed; `held` is None where the promise does not apply.

    `mend_first` is the row of a server that was away, so that this row could not be tried. `seen_at` is
    when what is told was seen, where that was earlier, as in a drill; `version` is then of that day.
    """

    row: str
    held: bool | None
    evidence: str
    took_ms: int
    version: str
    at: datetime
    mend_first: str | None = None
    seen_at: datetime | None = None

    @property
    def as_of(self) -> datetime:
        """From when on it ages."""
        return self.seen_at or self.at


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A row with how it stands. `history` is held or not, or None for not applicable, oldest first."""

    row: Row
    status: Status
    proof: Proof | None
    history: list[bool | None]
    mend_first: Row | None = None
    """Whose remedy is the one to follow, if not this row's own."""

    @property
    def remedy(self) -> str:
        if self.mend_first:
            return f"First mend `{self.mend_first.id}`. {self.mend_first.remedy}"
        return self.row.remedy


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a check just made; `kept` is false when the evidence could not be written down."""

    rows: list[Judged]
    kept: bool


class Last(msgspec.Struct, frozen=True, kw_only=True):
    """How the rows stand, for figures: status → rows; row → seconds since its proof, and whether it held."""

    tally: dict[str, int]
    ages: dict[str, float]
    held: dict[str, bool]


class Proofs:
    def __init__(
        self,
        database: Database,
        probes: Sequence[Probe],
        rows: Sequence[Row] = ROWS,
        *,
        deadline: timedelta = DEADLINE,
    ) -> None:
        """Raises LookupError unless every row has exactly one probe and every probe a row."""
        self._database = database
        self._rows = rows
        self._deadline = deadline
        self._by_id = {row.id: row for row in rows}
        self._probes = {probe.row: probe for probe in probes}
        promised = Counter(row.id for row in rows)
        offered = Counter(probe.row for probe in probes)
        if promised != offered or max(promised.values(), default=1) > 1:
            differing = sorted((promised - offered) + (offered - promised))
            raise LookupError(f"rows and probes do not match: {differing}")

    async def prove(self) -> Checked:
        """Ask every probe now, all at once, and keep what they said."""
        proofs = await asyncio.gather(*(ask(self._probes[row.id], self._deadline) for row in self._rows))
        kept = await self._keep(proofs)
        now = datetime.now(UTC)
        return Checked(
            rows=[self._judged(row, [proof], now) for row, proof in zip(self._rows, proofs, strict=True)],
            kept=kept,
        )

    async def judge_all(self, *, history: int = HISTORY) -> list[Judged]:
        """How every row stands by the proofs there are; nothing is asked of the system."""
        recent: dict[str, list[Proof]] = {row.id: [] for row in self._rows}
        for proof in await self._database.rows(Proof, _RECENT, [list(recent), history]):
            recent[proof.row].append(proof)
        now = datetime.now(UTC)
        return [self._judged(row, recent[row.id], now) for row in self._rows]

    async def last(self) -> Last:
        rows, now = await self.judge_all(history=1), datetime.now(UTC)
        proofs = {one.row.id: one.proof for one in rows if one.proof}
        return Last(
            tally=tally(rows),
            ages={row: (now - proof.at).total_seconds() for row, proof in proofs.items()},
            held={row: proof.held for row, proof in proofs.items() if proof.held is not None},
        )

    async def tally(self) -> Mapping[str, int]:
        """Status → rows."""
        return tally(await self.judge_all())

    async def _keep(self, proofs: Sequence[Proof]) -> bool:
        try:
            async with self._database.transaction() as tx:
                for proof in proofs:
                    await tx.execute(
                        """
                        INSERT INTO proofs (row, held, evidence, took_ms, version, at, mend_first, seen_at)
                        VALUES (
                            %(row)s, %(held)s, %(evidence)s, %(took_ms)s, %(version)s, %(at)s,
                            %(mend_first)s, %(seen_at)s
                        )
                        """,
                        msgspec.structs.asdict(proof),
                    )
                await tx.execute("DELETE FROM proofs WHERE at < now() - %s", [KEPT_FOR])
        except Unavailable as error:
            logger.warning("proofs_not_kept", error=str(error))
            return False
        return True

    def _judged(self, row: Row, newest_first: Sequence[Proof], now: datetime) -> Judged:
        proof = newest_first[0] if newest_first else None
        return Judged(
            row=row,
            status=judge(row, proof, now),
            proof=proof,
            history=[one.held for one in reversed(newest_first)],
            mend_first=self._by_id.get(proof.mend_first or "") if proof else None,
        )


_RECENT = """
SELECT recent.* FROM unnest(%s::text[]) AS wanted (row)
CROSS JOIN LATERAL (
    SELECT row, held, evidence, took_ms, version, at, mend_first, seen_at FROM proofs
    WHERE proofs.row = wanted.row ORDER BY at DESC LIMIT %s
) AS recent
"""


def judge(row: Row, proof: Proof | None, now: datetime) -> Status:
    if proof is None:
        return Status.UNPROVED
    if proof.held is False:
        return Status.FAILED
    if now - proof.as_of > row.half_life or proof.version != __version__:
        return Status.STALE
    return Status.PROVED if proof.held else Status.NOT_APPLICABLE


def tally(rows: Sequence[Judged]) -> dict[str, int]:
    counted = Counter(judged.status.value for judged in rows)
    return {status.value: counted.get(status.value, 0) for status in Status}


async def ask(probe: Probe, deadline: timedelta) -> Proof:
    started = time.perf_counter()
    limit = asyncio.timeout(deadline.total_seconds())
    held: bool | None
    mend_first = ""
    earlier: Seen | None = None
    try:
        async with limit:
            held, evidence = True, await probe.ask()
        earlier = evidence if isinstance(evidence, Seen) else None
    except NotApplicable as error:
        held, evidence = None, str(error)
    except (Unavailable, NotTried) as error:
        held, evidence, mend_first = False, str(error), error.row
    except MusterError as error:
        held, evidence = False, str(error)
    except Exception as error:  # noqa: BLE001  a probe that breaks has not shown that the promise holds
        if limit.expired():
            held, evidence = False, f"no answer within {deadline.total_seconds():.0f} s"
        else:
            logger.exception("probe_broke", row=probe.row)
            held, evidence = False, f"the probe itself broke: {type(error).__name__}: {first_line(error)}"
    return Proof(
        row=probe.row,
        held=held,
        evidence=evidence,
        took_ms=round((time.perf_counter() - started) * 1000),
        version=earlier.version if earlier else __version__,
        at=datetime.now(UTC),
        mend_first=mend_first if mend_first not in {"", probe.row} else None,
        seen_at=earlier.at if earlier else None,
    )

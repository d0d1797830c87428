"""What waits to be written to HubSpot, written: in the order it was asked for, until it is done."""

import time
from datetime import timedelta

from muster.crm.edit_rows import Status
from muster.crm.edits import Edits
from muster.errors import Unavailable
from muster.platform.queue import Job, Queues, Tell, Work, tell_nobody
from muster.platform.telemetry import logger

EVERY = timedelta(seconds=15)
TURN = timedelta(seconds=10)
"""So long a run goes on before it makes room; runs of the clock would pile up behind a long one."""

_AT_ONCE = 100


class Outbox:
    def __init__(self, edits: Edits, queues: Queues) -> None:
        self._edits = edits
        self._queues = queues
        self.job = Job(
            name="crm.outbox",
            queue="crm",
            run=self._run,
            every=EVERY,
            deadline=timedelta(minutes=5),
            attempts=1,  # the clock comes round again
            idempotent="A writing is claimed before it is sent, and what is unknown is looked up.",
            shows="Records written to HubSpot in this turn.",
        )

    async def nudge(self, *, request_id: str = "") -> None:
        """Have it looked at soon. Without Redis it is looked at late: the clock does so as well."""
        try:
            await self._queues.nudge(self.job, request_id=request_id)
        except Unavailable as error:
            logger.warning("nudge_lost", job=self.job.name, error=str(error))

    async def work_off(self) -> int:
        """Try each whose turn it is once; how many of them HubSpot has now.

        What is behind another of its record, or in somebody else's hands, is left for the next time.
        """
        written, is_over = 0, False
        while not is_over:
            more, is_over = await self._take_turn()
            written += more
        return written

    async def _take_turn(self, tell: Tell = tell_nobody) -> tuple[int, bool]:
        """How many were written, and whether all have been tried."""
        ends_at, written, tried = time.monotonic() + TURN.total_seconds(), 0, set[int]()
        while due := [one for one in await self._edits.rows.due(limit=_AT_ONCE) if one not in tried]:
            for edit_id in due:
                if time.monotonic() > ends_at:
                    return written, False
                tried.add(edit_id)
                edit = await self._edits.send(edit_id)
                written += bool(edit and edit.status is Status.DONE)
                tell(written, None, f"records written; {len(tried):,} tried")
        return written, True

    async def _run(self, work: Work) -> None:
        _, is_over = await self._take_turn(work.progress)
        if not is_over:
            await self.nudge(request_id=work.request_id)

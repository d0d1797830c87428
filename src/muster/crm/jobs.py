"""What the workers do for customers. Without HubSpot they do nothing, and say so once."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from muster.crm.rereads import Rereads
from muster.crm.sync import CrmSync
from muster.errors import MusterError, Unavailable
from muster.platform.database import Database
from muster.platform.queue import Job, Queues, Work
from muster.platform.telemetry import logger

QUEUE = "crm"
LOOK_EVERY = timedelta(seconds=30)
SWEEP_EVERY = timedelta(hours=1)

HOOKS_KEPT_FOR = timedelta(minutes=30)
"""Longer than the time of a signature is accepted."""

RUNS_KEPT_FOR = timedelta(days=90)

Do = Callable[[Work], Awaitable[None]]


class AnotherRunIsAtIt(MusterError):
    """Passing: worth another try, since that run may have lost its worker a moment ago."""

    code = "another_run_is_at_it"


class CrmJobs:
    def __init__(
        self,
        database: Database,
        sync: CrmSync,
        rereads: Rereads,
        queues: Queues,
        *,
        every: timedelta,
        has_hubspot: bool,
    ) -> None:
        self._database = database
        self._sync = sync
        self._rereads = rereads
        self._queues = queues
        self._has_hubspot = has_hubspot
        self._has_said = False
        self.sync = self._job(
            "crm.sync",
            self._run,
            every=every,
            deadline=timedelta(hours=2),
            attempts=5,
            backoff=timedelta(seconds=5),  # by the fourth, a run that lost its worker counts as lost
            idempotent="What is as HubSpot has it is not written; the database lets one run at a time.",
            shows="Records read from HubSpot, and of which kind.",
        )
        self.reread = self._job(
            "crm.reread",
            self._reread,
            every=LOOK_EVERY,
            deadline=timedelta(minutes=30),
            idempotent="HubSpot is asked again, and what is as it was is not written.",
        )
        self.sweep = self._job(
            "crm.sweep",
            self._sweep,
            every=SWEEP_EVERY,
            deadline=timedelta(minutes=5),
            idempotent="What is forgotten cannot be forgotten again.",
        )

    def jobs(self) -> Sequence[Job]:
        return [self.sync, self.reread, self.sweep]

    async def nudge(self, job: Job, *, request_id: str = "") -> None:
        """Have a job of these run soon. Without Redis it does so late: its clock takes it up as well."""
        try:
            await self._queues.nudge(job, request_id=request_id)
        except Unavailable as error:
            logger.warning("nudge_lost", job=job.name, error=str(error))

    def _job(
        self,
        name: str,
        do: Do,
        *,
        every: timedelta,
        deadline: timedelta,
        attempts: int = 1,  # the clock comes round again
        backoff: timedelta = timedelta(seconds=5),
        idempotent: str,
        shows: str = "",
    ) -> Job:
        async def run(work: Work) -> None:
            if self._has_hubspot:
                await do(work)
            elif not self._has_said:
                self._has_said = True
                logger.info("hubspot_not_set_up", job=name, missing="HUBSPOT_TOKEN")

        return Job(
            name=name,
            queue=QUEUE,
            run=run,
            every=every,
            deadline=deadline,
            attempts=attempts,
            backoff=backoff,
            idempotent=idempotent,
            shows=shows,
        )

    async def _run(self, work: Work) -> None:
        """Do the run that is wanted, and whatever was asked for meanwhile. A dry run takes nobody's turn."""
        while (run := await self._sync.run(work.progress)) is not None:
            if not (run.dry_run or await self._sync.is_wanted()):
                return
        # The last attempt comes later than a lost run is taken for dead: that one lives, and goes on.
        if work.attempt < self.sync.attempts:
            raise AnotherRunIsAtIt("another sync is under way")

    async def _reread(self, work: Work) -> None:
        await self._rereads.work_off()

    async def _sweep(self, work: Work) -> None:
        await self._database.execute("DELETE FROM crm_hooks WHERE at < now() - %s", [HOOKS_KEPT_FOR])
        await self._sync.sweep(older_than=RUNS_KEPT_FOR)

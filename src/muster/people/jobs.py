"""What the workers do for the directory."""

from datetime import timedelta

from muster.errors import MusterError, Unavailable
from muster.people.group_sync import GroupSync
from muster.people.push import PushChannels
from muster.people.rereads import Rereads
from muster.people.runs import Runs
from muster.people.sync import PeopleSync
from muster.platform.queue import Job, Queues, Work
from muster.platform.telemetry import logger

LOOK_EVERY = timedelta(seconds=30)


class AnotherRunIsAtIt(MusterError):
    """Passing: worth another try, since that run may have lost its worker a moment ago."""

    code = "another_run_is_at_it"


class PeopleJobs:
    def __init__(
        self,
        sync: PeopleSync,
        groups: GroupSync,
        rereads: Rereads,
        push: PushChannels,
        queues: Queues,
        *,
        every: timedelta,
    ) -> None:
        self._rereads = rereads
        self._push = push
        self._queues = queues
        self.sync = _run_job("people.sync", sync, every, shows="People read from Google.")
        self.groups = _run_job("people.groups", groups, every, shows="Groups read, then those with members.")
        self.reread = Job(
            name="people.reread",
            queue="people",
            run=self._reread,
            every=LOOK_EVERY,
            deadline=timedelta(minutes=30),
            attempts=1,  # the clock comes round again
            idempotent="Google is asked again, and what is as it was is not written.",
        )
        self.watch = Job(
            name="people.watch",
            queue="people",
            run=self._watch,
            every=LOOK_EVERY,
            deadline=timedelta(minutes=5),
            attempts=1,
            at_once=1,
            idempotent="A channel that is open is left as it is.",
        )

    def jobs(self) -> list[Job]:
        return [self.sync, self.groups, self.reread, self.watch]

    async def nudge(self, job: Job, *, request_id: str = "") -> None:
        """Have a job of these run soon. Without Redis it does so late: its clock takes it up as well."""
        try:
            await self._queues.nudge(job, request_id=request_id)
        except Unavailable as error:
            logger.warning("nudge_lost", job=job.name, error=str(error))

    async def look_again(self, google_id: str) -> None:
        """Have Google asked soon about somebody whom the directory keeps out, and who may be back."""
        await self._rereads.want([google_id], because="signed in though kept out")
        await self.nudge(self.reread)

    async def _reread(self, work: Work) -> None:
        await self._rereads.work_off()

    async def _watch(self, work: Work) -> None:
        await self._push.keep_open()


def _run_job(name: str, runs: Runs, every: timedelta, *, shows: str) -> Job:
    """A job that does the run that is wanted, and whatever was asked for meanwhile."""

    async def run(work: Work) -> None:
        while await runs.run(work.progress) is not None:
            if not await runs.is_wanted():
                return
        # The last attempt comes later than a lost run is taken for dead: that one lives, and goes on.
        if work.attempt < job.attempts:
            raise AnotherRunIsAtIt("another sync is under way")

    job = Job(
        name=name,
        queue="people",
        run=run,
        every=every,
        deadline=timedelta(hours=2),
        backoff=timedelta(seconds=30),
        idempotent="What is as Google has it is not written; the database lets one run of a kind at a time.",
        shows=shows,
    )
    return job

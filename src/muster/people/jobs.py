"""What the workers do for the directory."""

from datetime import timedelta

from muster.errors import MusterError
from muster.people.sync import PeopleSync
from muster.platform.queue import Job, Work


class AnotherRunIsAtIt(MusterError):
    """Passing: worth another try, since that run may have lost its worker a moment ago."""

    code = "another_run_is_at_it"


class PeopleJobs:
    def __init__(self, sync: PeopleSync, *, every: timedelta) -> None:
        self._sync = sync
        self.sync = Job(
            name="people.sync",
            queue="people",
            run=self._run,
            every=every,
            deadline=timedelta(hours=2),
            backoff=timedelta(seconds=30),
        )

    def jobs(self) -> list[Job]:
        return [self.sync]

    async def _run(self, work: Work) -> None:
        """Do what is wanted, and what was asked for meanwhile."""
        while await self._sync.run() is not None:
            if not await self._sync.is_wanted():
                return
        # The last attempt comes later than a lost run is taken for dead: that one lives, and goes on.
        if work.attempt < self.sync.attempts:
            raise AnotherRunIsAtIt("another sync is under way")

"""What the workers do for the checklist."""

from datetime import timedelta

from muster.platform.queue import Job, Work
from muster.readiness.proofs import Proofs

PROVE_EVERY = timedelta(minutes=1)
SETTLING = timedelta(seconds=15)
"""What a new system is given to read its directory and open its doors before it is first judged."""


async def _sing(work: Work) -> None:
    """That it ran at all is the whole of its message."""


CANARY = Job(
    name="upkeep.canary",
    queue="upkeep",
    run=_sing,
    deadline=timedelta(seconds=10),
    attempts=1,
    idempotent="It does nothing.",
)


class ReadinessJobs:
    def __init__(self, proofs: Proofs) -> None:
        self._proofs = proofs

    def jobs(self) -> list[Job]:
        prove = Job(
            name="upkeep.prove",
            queue="upkeep",
            run=self._prove,
            every=PROVE_EVERY,
            first_after=SETTLING,
            deadline=timedelta(minutes=2),
            attempts=1,
            at_once=1,
            idempotent="Asking a probe changes nothing but its last answer.",
        )
        return [CANARY, prove]

    async def _prove(self, work: Work) -> None:
        await self._proofs.prove()

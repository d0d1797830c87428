"""A queue on a Redis, the workers of a test on it, and a count of what they ran."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from tests.town import eventually

from muster.errors import Unavailable
from muster.platform.queue import Cron, Job, Queues, Work, Worker
from muster.platform.redis import Redis, connect

SOON = timedelta(milliseconds=20)
LONG = timedelta(minutes=1)


class Yard:
    """One queue on one Redis, the workers of a test on it, and a count of what they ran."""

    def __init__(self, redis_url: str, redis: Redis) -> None:
        self.redis_url = redis_url
        self.redis = redis
        self.queues = Queues(redis_url)
        self.begun: Counter[str] = Counter()
        self.finished: Counter[str] = Counter()

    def job(
        self,
        run: Callable[[Work], Awaitable[None]] | None = None,
        *,
        name: str = "upkeep.test",
        deadline: timedelta = LONG,
        every: timedelta | None = None,
        cron: Cron | None = None,
        attempts: int = 3,
        backoff: timedelta = SOON,
        at_once: int | None = None,
    ) -> Job:
        """A job that counts its runs around `run`."""

        async def counted(work: Work) -> None:
            self.begun[work.job_id] += 1
            if run:
                await run(work)
            self.finished[work.job_id] += 1

        return Job(
            name=name,
            queue="upkeep",
            run=counted,
            deadline=deadline,
            every=every,
            cron=cron,
            attempts=attempts,
            backoff=backoff,
            at_once=at_once,
        )

    def worker(
        self, *jobs: Job, name: str = "first", lost_after: timedelta = LONG, concurrency: int = 4
    ) -> Worker:
        return Worker(
            self.redis_url,
            jobs,
            queues=["upkeep"],
            concurrency=concurrency,
            name=name,
            lost_after=lost_after,
        )

    @asynccontextmanager
    async def working(
        self, *jobs: Job, name: str = "first", lost_after: timedelta = LONG, concurrency: int = 4
    ) -> AsyncIterator[Worker]:
        worker = self.worker(*jobs, name=name, lost_after=lost_after, concurrency=concurrency)
        await worker.start()
        try:
            yield worker
        finally:
            await worker.drain(timedelta(seconds=10))

    async def add(self, job: Job, job_id: str) -> None:
        """Add it also where Redis has just come back, which the first to ask may still see as away."""

        async def added() -> bool:
            with suppress(Unavailable):
                await self.queues.add_once(job, job_id)
                return True
            return False

        await eventually(added)

    async def field(self, job_id: str, name: str) -> str:
        """What BullMQ keeps of a job, as any tool reads it."""
        found = await self.redis.hget(f"queue:upkeep:{job_id}", name)
        return found.decode() if isinstance(found, bytes) else ""

    async def finishes_more(self) -> None:
        before = self.finished.total()
        await until(lambda: self.finished.total() > before)

    async def ends(self, job: Job, job_id: str) -> str:
        """Its state once it is one that lasts: completed or failed."""

        async def ended() -> str | None:
            with suppress(Unavailable):
                state = await self.queues.state(job, job_id)
                return state if state in {"completed", "failed"} else None
            return None

        return str(await eventually(ended))

    async def reason(self, job_id: str) -> str:
        """What BullMQ, and with it any dashboard, shows as the reason of a failure."""
        return await self.field(job_id, "failedReason")


async def until(is_so: Callable[[], bool]) -> None:
    async def asked() -> bool:
        return is_so()

    await eventually(asked)


@asynccontextmanager
async def yard_on(redis_url: str) -> AsyncIterator[Yard]:
    client = connect(redis_url)
    await client.flushdb()
    yard = Yard(redis_url, client)
    yield yard
    await yard.queues.close()
    await client.aclose()


def failing(error: BaseException) -> Callable[[Work], Awaitable[None]]:
    async def run(_: Work) -> None:
        raise error

    return run


def until_set(event: asyncio.Event) -> Callable[[Work], Awaitable[None]]:
    async def run(_: Work) -> None:
        await event.wait()

    return run

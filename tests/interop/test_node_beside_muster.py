"""Node's BullMQ and Bull Board on Muster's queues: each side reads, feeds and mends what the other wrote."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from tests.node_side import NodeSide, node_side
from tests.town import eventually

from muster.platform import redis
from muster.platform.queue import QUEUES, Job, Queues, Work, Worker
from muster.settings import Settings

LONG = timedelta(minutes=1)


class Works:
    """Muster's side of one Redis: a job that counts who asked for it, and workers that run it."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self.queues = Queues(redis_url)
        self.asked_by: Counter[str] = Counter()

    def job(self, run: Callable[[Work], Awaitable[None]] | None = None, **how: Any) -> Job:
        async def counted(work: Work) -> None:
            if run:
                await run(work)
            self.asked_by[work.request_id] += 1

        made = {"name": "upkeep.test", "queue": "upkeep", "deadline": LONG, **how}
        return Job(run=counted, **made)

    @asynccontextmanager
    async def working(self, *jobs: Job, name: str = "muster-one") -> AsyncIterator[None]:
        worker = Worker(self._redis_url, jobs, queues=["upkeep"], concurrency=4, name=name)
        await worker.start()
        try:
            yield
        finally:
            await worker.drain(timedelta(seconds=10))

    async def becomes(self, job: Job, job_id: str, state: str) -> None:
        async def has_become() -> bool:
            return await self.queues.state(job, job_id) == state

        await eventually(has_become)


@pytest.fixture(scope="module")
def redis_url(new_settings: Callable[[], Settings]) -> str:
    return new_settings().redis_url.reveal()


@pytest.fixture(scope="module")
async def node(redis_url: str) -> AsyncIterator[NodeSide]:
    async with node_side("bullmq.js", redis_url) as side:
        yield side


@pytest.fixture
async def works(redis_url: str) -> AsyncIterator[Works]:
    client = redis.connect(redis_url)
    await client.flushdb()
    await client.aclose()
    made = Works(redis_url)
    yield made
    await made.queues.close()


async def fails(_: Work) -> None:
    raise RuntimeError("as it must the first time")


async def test_a_job_that_node_adds_is_run_by_muster(works: Works, node: NodeSide):
    job = works.job()

    job_id = await node.ask("add", queue="upkeep", name=job.name, data={"request_id": "r-of-node"})

    async with works.working(job):
        await works.becomes(job, job_id, "completed")
    assert works.asked_by == {"r-of-node": 1}
    seen = await node.ask("job", queue="upkeep", id=job_id)
    assert (seen["state"], seen["attemptsMade"]) == ("completed", 1)


async def test_a_delayed_job_of_nodes_is_run_when_it_is_due(works: Works, node: NodeSide):
    job = works.job()

    async with works.working(job):
        job_id = await node.ask("add", queue="upkeep", name=job.name, options={"delay": 300})
        await works.becomes(job, job_id, "completed")

    seen = await node.ask("job", queue="upkeep", id=job_id)
    assert seen["processedOn"] - seen["timestamp"] >= 300


async def test_node_finds_every_schedule_of_musters_by_its_name(works: Works, node: NodeSide):
    minutely, daily = (
        works.job(name="upkeep.minutely", every=LONG),
        works.job(name="upkeep.daily", every=timedelta(days=1)),
    )
    await works.queues.schedule([minutely, daily])

    found = await node.ask("schedules", queue="upkeep")

    assert {one["key"]: one["every"] for one in found} == {
        "upkeep.minutely": 60_000,
        "upkeep.daily": 86_400_000,
    }
    assert await works.queues.scheduled() == {one["key"]: one["next"] for one in found}


async def test_node_knows_each_worker_of_musters_by_its_name(works: Works, node: NodeSide):
    async with works.working(name="muster-one"), works.working(name="muster-two"):

        async def both_are_known() -> bool:
            found = await node.ask("workers", queue="upkeep")
            return {name.rpartition(":w:")[2] for name in found} == {"muster-one", "muster-two"}

        await eventually(both_are_known)

    assert await node.ask("workers", queue="people") == []


async def test_a_job_that_failed_here_is_retried_by_node_and_runs_here(works: Works, node: NodeSide):
    failing, mended = works.job(fails, attempts=1), works.job()
    await works.queues.add_once(failing, "a")
    async with works.working(failing):
        await works.becomes(failing, "a", "failed")
    (failed,) = await node.ask("failed", queue="upkeep")
    assert (failed["id"], failed["failedReason"]) == ("a", "as it must the first time")
    assert "RuntimeError" in "".join(failed["stacktrace"])

    await node.ask("retry", queue="upkeep", id="a")

    async with works.working(mended):
        await works.becomes(mended, "a", "completed")
    assert works.asked_by.total() == 1


async def test_a_nudge_that_comes_while_nodes_worker_runs_is_not_lost(works: Works, node: NodeSide):
    """De-duplication is written down in Redis, whoever runs the job."""
    go_on = asyncio.Event()

    async def until_told(_: Work) -> None:
        await go_on.wait()

    job = works.job(until_told)

    async with works.working(job):
        added = {"id": job.name, "keepLastIfActive": True}
        first = await node.ask("add", queue="upkeep", name=job.name, options={"deduplication": added})
        await works.becomes(job, first, "active")
        await works.queues.nudge(job, request_id="r-meanwhile")
        go_on.set()

        async def ran_twice() -> bool:
            return works.asked_by.total() == 2

        await eventually(ran_twice)

    assert works.asked_by["r-meanwhile"] == 1


async def test_what_nodes_worker_did_is_read_here(works: Works, node: NodeSide):
    good, bad = works.job(queue="crm", name="crm.good"), works.job(queue="crm", name="crm.bad", attempts=1)
    await works.queues.add_once(good, "good")
    await node.ask("add", queue="crm", name=bad.name, data={"fails": True}, options={"jobId": "bad"})

    await node.ask("work", queue="crm")

    await works.becomes(good, "good", "completed")
    await works.becomes(bad, "bad", "failed")
    assert (await works.queues.counts())["crm"] == {
        state: int(state == "failed") for state in (await works.queues.counts())["crm"]
    }


async def test_a_queue_that_node_pauses_is_left_alone_until_it_goes_on(works: Works, node: NodeSide):
    job = works.job()
    await node.ask("pause", queue="upkeep")

    async with works.working(job):
        await works.queues.add_once(job, "a")
        await asyncio.sleep(0.3)
        assert works.asked_by.total() == 0
        await node.ask("resume", queue="upkeep")
        await works.becomes(job, "a", "completed")


async def test_bull_board_shows_every_queue_with_its_counts(works: Works, node: NodeSide):
    failing, waiting = works.job(fails, attempts=1, name="upkeep.failing"), works.job()
    await works.queues.add_once(failing, "a")
    async with works.working(failing):
        await works.becomes(failing, "a", "failed")
    for job_id in ("b", "c"):
        await works.queues.add_once(waiting, job_id)
    names = [spec.name for spec in QUEUES]

    port = await node.ask("board", names=names)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20) as http:
        shown = (await http.get("/api/queues")).json()["queues"]

    assert {queue["name"] for queue in shown} == set(names)
    upkeep = next(queue for queue in shown if queue["name"] == "upkeep")
    assert (upkeep["counts"]["waiting"], upkeep["counts"]["failed"]) == (2, 1)

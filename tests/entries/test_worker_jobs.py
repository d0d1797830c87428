"""What becomes of a job: run, tried again, given up, handed on, and never lost."""

import asyncio
import sys
from collections import Counter
from datetime import timedelta

import pytest
from tests.entries.yard import LONG, SOON, Yard, failing, until, until_set
from tests.town import Town

from muster.embedded.valkey import Valkey
from muster.errors import NotFound, VendorDown, VendorRefused
from muster.people.jobs import AnotherRunIsAtIt
from muster.people.runs import LOST_AFTER
from muster.platform.queue import Work

# The fate of a run


async def test_a_job_that_is_added_is_run_once(yard: Yard) -> None:
    job = yard.job()
    await yard.add(job, "a")
    await yard.add(job, "a")

    async with yard.working(job):
        assert await yard.ends(job, "a") == "completed"

    assert yard.begun == {"a": 1}


@pytest.mark.parametrize("error", [VendorRefused("Google", "no"), NotFound("Nobody is called that.")])
async def test_what_will_not_get_better_is_not_tried_again(yard: Yard, error: Exception) -> None:
    job = yard.job(failing(error))
    await yard.add(job, "a")

    async with yard.working(job):
        assert await yard.ends(job, "a") == "failed"

    assert yard.begun == {"a": 1}
    assert await yard.reason("a") == str(error)


@pytest.mark.parametrize(
    "error",
    [VendorDown("Google", "away"), RuntimeError("a bug"), TimeoutError("an answer of its own took too long")],
)
async def test_what_may_get_better_is_tried_as_often_as_the_job_says(yard: Yard, error: Exception) -> None:
    job = yard.job(failing(error), attempts=3)
    await yard.add(job, "a")

    async with yard.working(job):
        assert await yard.ends(job, "a") == "failed"

    assert yard.begun == {"a": 3}
    assert await yard.reason("a") == str(error)


async def test_a_job_that_passes_at_the_second_try_is_completed(yard: Yard) -> None:
    async def once_in_vain(work: Work) -> None:
        if work.attempt == 1:
            raise VendorDown("Google", "away")

    job = yard.job(once_in_vain)
    await yard.add(job, "a")

    async with yard.working(job):
        assert await yard.ends(job, "a") == "completed"

    assert yard.begun == {"a": 2}


async def test_a_job_over_its_deadline_fails_and_says_so(yard: Yard) -> None:
    job = yard.job(lambda _: asyncio.sleep(60), deadline=SOON, attempts=1)
    await yard.add(job, "a")

    async with yard.working(job):
        assert await yard.ends(job, "a") == "failed"

    assert await yard.reason("a") == f"upkeep.test took longer than {SOON}"


async def test_a_job_that_cancels_itself_does_not_take_the_worker_with_it(yard: Yard) -> None:
    job, next_one = yard.job(failing(asyncio.CancelledError()), attempts=1), yard.job(name="upkeep.next")

    async with yard.working(job, next_one):
        await yard.add(job, "a")
        assert await yard.ends(job, "a") == "failed"
        await yard.add(next_one, "b")
        assert await yard.ends(next_one, "b") == "completed"

    assert await yard.reason("a") == "upkeep.test was cancelled from within"


async def test_a_job_that_this_release_does_not_know_fails_at_once(yard: Yard) -> None:
    stranger = yard.job(name="upkeep.of_another_release")
    await yard.add(stranger, "a")

    async with yard.working(yard.job()):
        assert await yard.ends(stranger, "a") == "failed"

    assert await yard.reason("a") == "no job is named 'upkeep.of_another_release'"


# Nudges and schedules


async def test_nudges_that_come_before_it_runs_are_one_run(yard: Yard) -> None:
    job = yard.job()
    for _ in range(5):
        await yard.queues.nudge(job)

    async with yard.working(job):
        await until(lambda: yard.finished.total() > 0)

    assert yard.begun.total() == 1


async def test_nudges_that_come_while_it_runs_are_one_more_run(yard: Yard) -> None:
    go_on = asyncio.Event()
    job = yard.job(until_set(go_on))

    async with yard.working(job):
        await yard.queues.nudge(job)
        await until(lambda: yard.begun.total() == 1)
        for _ in range(3):
            await yard.queues.nudge(job)
        go_on.set()
        await until(lambda: yard.finished.total() == 2)

    assert yard.begun.total() == 2
    assert (await yard.queues.counts())["upkeep"]["waiting"] == 0


async def test_a_nudge_carries_the_request_that_asked_for_it(yard: Yard) -> None:
    asked_by: list[str] = []

    async def note(work: Work) -> None:
        asked_by.append(work.request_id)

    job = yard.job(note)
    await yard.queues.nudge(job, request_id="r-12345678")

    async with yard.working(job):
        await until(lambda: bool(asked_by))

    assert asked_by == ["r-12345678"]


async def test_a_job_with_a_clock_is_run_again_and_again(yard: Yard) -> None:
    job = yard.job(every=timedelta(milliseconds=200))
    await yard.queues.schedule([job])

    async with yard.working(job):
        await until(lambda: yard.finished.total() >= 3)


async def test_the_clock_of_a_job_that_is_no_more_is_taken_away(yard: Yard) -> None:
    kept, gone = yard.job(name="upkeep.kept", every=LONG), yard.job(name="upkeep.gone", every=LONG)
    await yard.queues.schedule([kept, gone])

    await yard.queues.schedule([kept])

    assert set(await yard.queues.scheduled()) == {"upkeep.kept"}


# Stopping


async def test_stopping_under_load_loses_and_doubles_nothing(yard: Yard) -> None:
    job = yard.job(lambda _: asyncio.sleep(0.003))
    names = [f"job-{number}" for number in range(900)]
    for name in names:
        await yard.add(job, name)

    for stopped in range(25):
        worker = yard.worker(job, name=f"worker-{stopped}")
        await worker.start()
        await yard.finishes_more()
        assert await worker.drain(LONG) == 0
        counts = (await yard.queues.counts())["upkeep"]
        assert yard.begun == yard.finished
        assert counts["active"] == counts["failed"] == 0

    async with yard.working(job):
        await until(lambda: yard.finished.total() >= len(names))
    assert yard.finished == Counter(names)


async def test_a_job_that_outlasts_the_drain_is_put_back_and_run_by_another(yard: Yard) -> None:
    endless, quick = yard.job(lambda _: asyncio.sleep(60)), yard.job()
    worker = yard.worker(endless)
    await worker.start()
    await yard.add(endless, "a")
    await until(lambda: yard.begun["a"] == 1)

    assert await worker.drain(SOON) == 1

    async with yard.working(quick, name="second"):
        assert await yard.ends(quick, "a") == "completed"
    assert yard.begun == {"a": 2}


async def test_a_job_that_is_being_finished_is_not_taken_by_another(yard: Yard) -> None:
    lost_after, job = timedelta(seconds=1.2), yard.job(lambda _: asyncio.sleep(3))
    stopping, other = (yard.worker(job, name=name, lost_after=lost_after) for name in ("stopping", "other"))
    await stopping.start()
    await yard.add(job, "a")
    await until(lambda: yard.begun["a"] == 1)
    await other.start()

    assert await stopping.drain(LONG) == 0

    assert await yard.queues.state(job, "a") == "completed"
    await other.drain(LONG)
    assert yard.begun == {"a": 1}


async def test_a_worker_that_was_never_started_can_be_stopped(yard: Yard) -> None:
    assert await yard.worker(yard.job()).drain(LONG) == 0


# Crashes

DOOMED = """
import asyncio, sys
from datetime import timedelta
from muster.people.jobs import AnotherRunIsAtIt
from muster.people.runs import LOST_AFTER
from muster.platform.queue import Job, Worker

async def run(work):
    print("running", flush=True)
    await asyncio.sleep(600)

async def main():
    job = Job(name="upkeep.test", queue="upkeep", run=run, deadline=timedelta(minutes=10))
    worker = Worker(sys.argv[1], [job], queues=["upkeep"], concurrency=4, name="doomed",
                    lost_after=timedelta(seconds=1))
    await worker.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_the_job_of_a_killed_worker_is_run_by_another(yard: Yard) -> None:
    job = yard.job()
    await yard.add(job, "a")
    doomed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DOOMED, yard.redis_url, stdout=asyncio.subprocess.PIPE
    )
    assert doomed.stdout is not None
    assert await doomed.stdout.readline() == b"running\n"
    doomed.kill()
    await doomed.wait()

    survivor = yard.worker(job, lost_after=timedelta(seconds=1))
    await survivor.start()

    assert await yard.ends(job, "a") == "completed"
    await survivor.drain(LONG)
    assert yard.begun == {"a": 1}


async def test_a_worker_that_starts_while_redis_is_away_waits_for_it(frail: Yard, valkey: Valkey) -> None:
    job = frail.job()
    await frail.add(job, "a")
    valkey.stop()
    worker = frail.worker(job)
    starting = asyncio.create_task(worker.start())
    await asyncio.sleep(0.2)
    assert not starting.done()

    valkey.start()

    await starting
    assert await frail.ends(job, "a") == "completed"
    await worker.drain(LONG)


async def test_an_idle_worker_outlives_a_crash_of_redis(frail: Yard, valkey: Valkey) -> None:
    job = frail.job()

    async with frail.working(job):
        await frail.add(job, "before")
        assert await frail.ends(job, "before") == "completed"
        valkey.kill()
        valkey.start()
        await frail.add(job, "after")
        assert await frail.ends(job, "after") == "completed"

    assert frail.begun == {"before": 1, "after": 1}


async def test_a_job_that_ends_while_redis_is_away_still_counts_as_done(frail: Yard, valkey: Valkey) -> None:
    go_on = asyncio.Event()
    job = frail.job(until_set(go_on))

    async with frail.working(job):
        await frail.add(job, "a")
        await until(lambda: frail.begun["a"] == 1)
        valkey.kill()
        go_on.set()
        await until(lambda: frail.finished["a"] == 1)
        valkey.start()
        assert await frail.ends(job, "a") == "completed"

    assert frail.begun == {"a": 1}


async def test_a_worker_stops_also_while_redis_is_away(frail: Yard, valkey: Valkey) -> None:
    worker = frail.worker(frail.job())
    await worker.start()
    valkey.kill()

    async with asyncio.timeout(30):
        assert await worker.drain(timedelta(hours=1)) == 0


async def test_a_sync_whose_worker_was_just_killed_is_tried_again_later(town: Town) -> None:
    """Recovery hands the job on before the run it left behind counts as lost."""
    (sync,) = (job for job in town.portal.jobs if job.name == "people.sync")
    await town.execute(
        "INSERT INTO people_syncs (status, asked_by, beat_at) VALUES ('running', 'lost', now())"
    )
    work = Work(job_id="a", attempt=1, request_id="")

    with pytest.raises(AnotherRunIsAtIt):
        await sync.run(work)

    assert sync.backoff * 3 > LOST_AFTER, "the last try comes before the run counts as lost"
    await town.execute("UPDATE people_syncs SET beat_at = now() - %s", LOST_AFTER)
    await sync.run(work)
    assert await town.value("SELECT count(*) FROM people WHERE removed_at IS NULL") == 500

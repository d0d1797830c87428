"""What BullMQ gets wrong by itself, and what its door promises beyond it."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from structlog.contextvars import get_contextvars
from tests.entries.yard import LONG, Yard, failing, until, until_set
from tests.town import Town, eventually

from muster.errors import VendorDown
from muster.platform.queue import Cron, Work
from muster.platform.queue.schedules import next_turn

BERLIN = ZoneInfo("Europe/Berlin")
QUICKLY = timedelta(seconds=1)


# Schedules


def turns(pattern: str, zone: str, after: datetime, many: int) -> list[datetime]:
    """When `pattern` is due, as a queue reckons turn after turn."""
    at, found = int(after.timestamp() * 1000), list[datetime]()
    for _ in range(many):
        at = next_turn(at, {"pattern": pattern, "tz": zone}) or 0
        found.append(datetime.fromtimestamp(at / 1000, ZoneInfo(zone)))
    return found


def test_nine_in_the_morning_is_nine_also_when_clocks_have_been_put_forward() -> None:
    friday = datetime(2026, 3, 27, 12, tzinfo=BERLIN)

    assert turns("0 9 * * 1-5", "Europe/Berlin", friday, 2) == [
        datetime(2026, 3, 30, 9, tzinfo=BERLIN),
        datetime(2026, 3, 31, 9, tzinfo=BERLIN),
    ]


def test_an_hour_that_comes_twice_has_one_turn_and_one_that_is_left_out_has_one_too() -> None:
    autumn, spring = datetime(2026, 10, 24, 12, tzinfo=BERLIN), datetime(2026, 3, 28, 12, tzinfo=BERLIN)

    fallen_back = turns("30 2 * * *", "Europe/Berlin", autumn, 2)
    sprung_forward = turns("30 2 * * *", "Europe/Berlin", spring, 2)

    assert [turn.date().day for turn in fallen_back] == [25, 26]
    assert [turn.date().day for turn in sprung_forward] == [29, 30]


def test_a_pattern_of_another_tool_is_reckoned_as_bullmq_does() -> None:
    noon = int(datetime(2026, 3, 27, 12, tzinfo=UTC).timestamp() * 1000)

    assert next_turn(noon, {"pattern": "@daily"}) == noon + 12 * 3600 * 1000


@pytest.mark.parametrize(("pattern", "zone"), [("61 * * * *", "UTC"), ("0 9 * * *", "Europe/Atlantis")])
def test_a_schedule_that_cannot_be_is_refused_as_it_is_declared(pattern: str, zone: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        Cron(pattern, zone)


def test_a_job_has_one_schedule(yard: Yard) -> None:
    with pytest.raises(ValueError, match="two schedules"):
        yard.job(every=LONG, cron=Cron("0 9 * * *"))


async def test_a_new_schedule_runs_at_once_and_then_when_both_sides_reckon(yard: Yard) -> None:
    """The last weekday of a month, which BullMQ's own reckoning does not know on either side."""
    job = yard.job(cron=Cron("0 9 LW * *", "Europe/Berlin"))
    await yard.queues.schedule([job])

    async with yard.working(job):
        await until(lambda: yard.finished.total() == 1)

    (due,) = turns("0 9 LW * *", "Europe/Berlin", datetime.now(UTC), 1)
    assert await yard.queues.scheduled() == {job.name: int(due.timestamp() * 1000)}


async def test_schedules_that_are_in_place_are_left_alone(yard: Yard) -> None:
    jobs = [
        yard.job(name="upkeep.often", every=LONG),
        yard.job(name="upkeep.daily", cron=Cron("0 9 * * *", "Europe/Berlin")),
    ]

    assert await yard.queues.schedule(jobs) == 2

    due = await yard.queues.scheduled()
    assert await yard.queues.schedule(jobs) == 0
    assert await yard.queues.scheduled() == due


async def test_a_schedule_whose_next_turn_is_gone_is_put_in_place_again(yard: Yard) -> None:
    job = yard.job(every=timedelta(hours=1))
    await yard.queues.schedule([job])
    due = (await yard.queues.scheduled())[job.name]
    await yard.redis.delete(f"queue:upkeep:repeat:{job.name}:{due}")
    await yard.redis.delete("queue:upkeep:wait", "queue:upkeep:delayed")

    assert await yard.queues.schedule([job]) == 1

    async with yard.working(job):
        await yard.finishes_more()


async def test_a_redis_that_lost_everything_gets_schedules_and_work_back(yard: Yard) -> None:
    job = yard.job(every=timedelta(milliseconds=100))
    await yard.queues.schedule([job])

    async with yard.working(job):
        await yard.finishes_more()
        await yard.redis.flushdb()
        assert await yard.queues.schedule([job]) == 1
        await yard.finishes_more()
        await yard.queues.nudge(job)
        await yard.finishes_more()


async def test_a_release_that_is_on_its_way_out_does_not_take_the_schedules_of_the_next(yard: Yard) -> None:
    old, new = yard.job(name="upkeep.old", every=LONG), yard.job(name="upkeep.new", every=LONG)
    await yard.queues.schedule([old], since=1)
    await yard.queues.schedule([new], since=2)

    assert await yard.queues.schedule([old], since=1) == 0

    assert set(await yard.queues.scheduled()) == {"upkeep.new"}


# How many at once


async def test_of_a_job_no_more_run_at_once_than_it_says_and_no_nudge_is_lost(yard: Yard) -> None:
    running, most = 0, 0

    async def count(_: Work) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1

    job = yard.job(count, at_once=1)
    for name in "abc":
        await yard.add(job, name)

    async with yard.working(job), yard.working(job, name="second"):
        for name in "abc":
            assert await yard.ends(job, name) == "completed"

    assert (most, yard.begun) == (1, Counter("abc"))


async def test_a_turn_of_the_clock_is_left_out_while_the_one_before_runs(yard: Yard) -> None:
    go_on = asyncio.Event()
    job = yard.job(until_set(go_on), every=timedelta(milliseconds=100), at_once=1)
    await yard.queues.schedule([job])

    async def three_were_left_out() -> bool:
        return await yard.redis.zcard("queue:upkeep:completed") >= 3

    async with yard.working(job):
        await eventually(three_were_left_out)
        assert yard.begun.total() == 1
        go_on.set()
        await until(lambda: yard.finished.total() > 1)


# What a job says of itself


async def test_what_a_job_says_last_is_what_any_tool_shows(yard: Yard) -> None:
    async def tell(work: Work) -> None:
        for done in range(1000):
            work.progress(done, 1000, "people read")
        work.log("one is odd")
        work.log("another is even")

    job = yard.job(tell)
    await yard.add(job, "a")

    async with yard.working(job):
        assert await yard.ends(job, "a") == "completed"

    shown = msgspec.json.decode(await yard.field("a", "progress"))
    assert shown == {"done": 999, "of": 1000, "words": "people read"}
    lines = await yard.redis.lrange("queue:upkeep:a:logs", 0, -1)
    assert lines == [b"one is odd", b"another is even"]


async def test_what_a_job_says_is_shown_while_it_runs(yard: Yard) -> None:
    go_on = asyncio.Event()

    async def tell(work: Work) -> None:
        work.progress(1, None, "contacts so far")
        await go_on.wait()

    job = yard.job(tell)
    await yard.add(job, "a")

    async def is_shown() -> bool:
        return "contacts so far" in await yard.field("a", "progress")

    async with yard.working(job):
        await eventually(is_shown)
        go_on.set()


async def test_log_lines_of_a_job_name_it_and_the_request_that_caused_it(yard: Yard) -> None:
    bound = dict[str, object]()

    async def note(work: Work) -> None:
        bound.update(get_contextvars(), job_id=work.job_id)

    job = yard.job(note)
    await yard.queues.nudge(job, request_id="r-12345678")

    async with yard.working(job):
        await until(lambda: bool(bound))

    assert bound == {"job": job.name, "jobId": bound["job_id"], "reqId": "r-12345678", "job_id": "1"}


# Nudges


async def test_a_key_left_behind_does_not_swallow_nudges(yard: Yard) -> None:
    """As a Redis leaves it that lost the job and not the key."""
    job = yard.job()
    await yard.redis.set(f"queue:upkeep:de:{job.name}", "4711")

    async with yard.working(job):
        await yard.queues.nudge(job)
        await until(lambda: yard.finished.total() == 1)


async def test_nudges_go_on_though_a_worker_was_killed_in_mid_run(yard: Yard) -> None:
    job = yard.job()
    await yard.queues.nudge(job)
    async with outside(yard, "await asyncio.sleep(600)") as doomed:
        await yard.queues.nudge(job)  # in mid run
        doomed.kill()
        await doomed.wait()

    async with yard.working(job, lost_after=QUICKLY):
        await until(lambda: yard.finished.total() == 2)
        await yard.queues.nudge(job)
        await until(lambda: yard.finished.total() == 3)


# Speed, and what is not for speed's sake


async def test_finishing_a_job_brings_the_next_in_the_same_trip(yard: Yard) -> None:
    job = yard.job()
    for number in range(100):
        await yard.add(job, f"job-{number}")
    await yard.redis.config_resetstat()

    async with yard.working(job):
        await until(lambda: yard.finished.total() == 100)
        trips = (await yard.redis.info("commandstats"))["cmdstat_evalsha"]["calls"]

    assert trips < 150


async def test_as_many_jobs_as_a_worker_may_run_can_end_in_the_same_moment(yard: Yard) -> None:
    """redis-py allows a client a hundred connections, one of which waits for the next job."""
    go_on = asyncio.Event()
    job = yard.job(until_set(go_on))
    names = [f"job-{number}" for number in range(120)]
    for name in names:
        await yard.add(job, name)

    async with yard.working(job, concurrency=len(names)):
        await until(lambda: yard.begun.total() == len(names))
        go_on.set()
        for name in names:
            assert await yard.ends(job, name) == "completed"

    assert yard.begun == Counter(names)


async def test_a_rate_limit_that_any_tool_set_is_kept_and_waited_for(yard: Yard) -> None:
    job = yard.job()
    await yard.redis.hset("queue:upkeep:meta", mapping={"max": 2, "duration": 200})
    for number in range(10):
        await yard.add(job, f"job-{number}")

    async with yard.working(job):
        await until(lambda: yard.finished.total() == 10)


async def test_what_failed_together_does_not_come_back_together(yard: Yard) -> None:
    job = yard.job(failing(VendorDown("Google", "away")), backoff=timedelta(hours=1))
    names = [f"job-{number}" for number in range(8)]
    for name in names:
        await yard.add(job, name)

    async def wait_for_another_try() -> bool:
        return await yard.redis.zcard("queue:upkeep:delayed") == len(names)

    async with yard.working(job):
        await eventually(wait_for_another_try)

    waits = [int(await yard.field(name, "delay")) for name in names]
    assert all(0.8 * 3_600_000 <= wait <= 3_600_000 for wait in waits)
    assert len(set(waits)) > 1


# Holding what runs

OUTSIDE = """
import asyncio, sys, time
from datetime import timedelta
from muster.platform.queue import Job, Worker

async def run(work):
    print("running", flush=True)
    {body}

async def main():
    job = Job(name="upkeep.test", queue="upkeep", run=run, deadline=timedelta(minutes=10))
    worker = Worker(sys.argv[1], [job], queues=["upkeep"], concurrency=4, name="outside",
                    lost_after=timedelta(seconds=1))
    await worker.start()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def outside(yard: Yard, body: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker in a process of its own, as soon as it runs a job that does `body`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OUTSIDE.format(body=body),
        yard.redis_url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"running\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_job_that_blocks_its_worker_for_longer_than_the_hold_runs_once(yard: Yard) -> None:
    job = yard.job()
    await yard.add(job, "a")
    async with outside(yard, "time.sleep(4)"), yard.working(job, lost_after=QUICKLY):
        assert await yard.ends(job, "a") == "completed"

    assert not yard.begun


async def test_a_hold_that_ran_out_while_redis_was_away_is_taken_up_again(yard: Yard) -> None:
    go_on = asyncio.Event()
    job = yard.job(until_set(go_on))
    await yard.add(job, "a")

    async def is_held() -> bool:
        return bool(await yard.redis.exists("queue:upkeep:a:lock"))

    async with yard.working(job, lost_after=QUICKLY):
        await until(lambda: yard.begun["a"] == 1)
        await yard.redis.delete("queue:upkeep:a:lock")
        await eventually(is_held)
        go_on.set()
        assert await yard.ends(job, "a") == "completed"

    assert yard.begun == {"a": 1}


async def test_a_job_that_another_has_by_now_is_not_taken_back(yard: Yard) -> None:
    go_on = asyncio.Event()
    job = yard.job(until_set(go_on))
    await yard.add(job, "a")

    async with yard.working(job, lost_after=QUICKLY):
        await until(lambda: yard.begun["a"] == 1)
        await yard.redis.set("queue:upkeep:a:lock", "another's", keepttl=False)
        await asyncio.sleep(QUICKLY.total_seconds())
        assert await yard.redis.get("queue:upkeep:a:lock") == b"another's"
        go_on.set()
        await until(lambda: yard.finished["a"] == 1)

    assert await yard.queues.state(job, "a") == "active"  # it is the other's to complete


async def test_a_job_that_loses_its_worker_again_and_again_is_given_up(yard: Yard) -> None:
    job = yard.job()
    await yard.add(job, "a")
    await yard.redis.hset("queue:upkeep:a", "defa", "job stalled more than allowable limit")

    async with yard.working(job):
        assert await yard.ends(job, "a") == "failed"

    assert (yard.begun, await yard.reason("a")) == ({}, "job stalled more than allowable limit")


async def test_every_job_says_why_twice_does_no_harm(town: Town) -> None:
    assert not [job.name for job in town.portal.jobs if not job.idempotent]


async def test_a_sync_says_how_many_it_has_read(town: Town) -> None:
    (sync,) = (job for job in town.portal.jobs if job.name == "people.sync")
    said: list[tuple[int, int | None, str]] = []

    await town.portal.sync.run(lambda *told: said.append(told))

    assert (said[-1][0], said[-1][2], sync.shows) == (500, "people read", "People read from Google.")


async def test_a_listing_of_hubspot_says_what_it_reads(town: Town) -> None:
    said: list[tuple[int, int | None, str]] = []

    await town.portal.crm_sync.run(lambda *told: said.append(told))

    kinds = {words.split(" listed: ")[0] for _, _, words in said}
    assert kinds == {"contacts", "companies", "deals"}
    assert said[-1][0] == said[-1][1]

"""What is broken of the queue and of those who work it off."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

from tests.readiness.sabotage.siege import ALL_QUEUES, HOURLY, Siege, saboteur
from tests.town import eventually

from muster.platform.actor import Origin, System
from muster.platform.queue import Job, Worker
from muster.readiness.drills import JOBS
from muster.readiness.jobs import CANARY

HOUR_MS = 3_600_000


@saboteur("jobs.canary", sees="a job was still")
async def the_queue_is_paused(siege: Siege) -> AsyncIterator[None]:
    queue = siege.town.portal.queues._queues["upkeep"]
    await queue.pause()
    yield
    await queue.resume()


@saboteur("jobs.canary", sees="a job was still waiting after")
async def nobody_runs_jobs(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    yield
    await siege.start_worker()


@saboteur("jobs.canary", sees="the canary job failed")
async def the_worker_does_not_know_the_job(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    redis_url = siege.town.portal.settings.redis_url.reveal()
    other = Worker(redis_url, [], queues=ALL_QUEUES, concurrency=4, name="of-another-release")
    await other.start()
    yield
    await other.drain(timedelta(seconds=10))
    await siege.start_worker()


@saboteur("workers.alive", sees="no worker has said that it lives")
async def there_is_no_worker(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    yield
    await siege.start_worker()


@saboteur("workers.alive", sees="no worker has said that it lives")
async def the_worker_fell_silent(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE workers SET seen_at = now() - interval '1 minute'")
    yield
    await siege.beat()


@saboteur("workers.alive", sees="workers of release 0.0.1 beside")
async def a_worker_is_of_another_release(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "INSERT INTO workers (id, host, pid, version, queues, memory_bytes, running) "
        "VALUES ('old', 'host', 1, '0.0.1', '{people,upkeep}', 0, 0)"
    )
    yield
    await siege.sql("DELETE FROM workers WHERE id = 'old'")


@saboteur("workers.alive", sees="no worker takes the queue upkeep")
async def a_queue_is_forgotten(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE workers SET queues = array_remove(queues, 'upkeep')")
    yield
    await siege.sql("UPDATE workers SET queues = array_append(queues, 'upkeep')")


@saboteur("workers.alive", sees="working elsewhere: far-away on another Redis")
async def a_worker_asks_another_redis(siege: Siege) -> AsyncIterator[None]:
    await siege.town.portal.heartbeats.beat("far-away", concurrency={"crm": 4}, running=[])
    yield
    await siege.town.portal.heartbeats.stopped("far-away")


@saboteur("workers.alive", sees="working elsewhere: lost in database 9")
async def a_worker_asks_another_database_of_redis(siege: Siege) -> AsyncIterator[None]:
    redis_url = siege.town.portal.settings.redis_url.reveal()
    other = Worker(f"{redis_url[: redis_url.rindex('/')]}/9", [], queues=["crm"], concurrency=4, name="lost")
    await other.start()

    async def is_there() -> bool:
        lines = await siege.town.portal.redis.client_list()
        return any(line["name"].endswith(":w:lost") and line["db"] == "9" for line in lines)

    await eventually(is_there)
    await siege.town.portal.heartbeats.beat("lost", concurrency={"crm": 4}, running=[])
    yield
    await siege.town.portal.heartbeats.stopped("lost")
    await other.drain(timedelta(seconds=10))


@saboteur("jobs.backlog", sees="crm is paused, 1 of its jobs wait")
async def somebody_pauses_a_queue_and_forgets_it(siege: Siege) -> AsyncIterator[None]:
    queue = siege.town.portal.queues._queues["crm"]
    await queue.pause()
    await siege.town.portal.queues.add_once(replace(CANARY, queue="crm"), "forgotten")
    yield
    await queue.resume()
    await finished(siege, replace(CANARY, queue="crm"), "forgotten")


@saboteur("jobs.backlog", sees="the oldest job of crm waits for 60 min")
async def a_job_has_waited_for_an_hour(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    waiting = replace(CANARY, queue="crm")
    await siege.town.portal.queues.add_once(waiting, "old")
    an_hour_ago = int(time.time() * 1000) - HOUR_MS
    await siege.town.portal.redis.hset("queue:crm:old", "timestamp", str(an_hour_ago))
    yield
    await siege.start_worker()
    await finished(siege, waiting, "old")


@saboteur("jobs.backlog", sees="the oldest job of people waits for 60 min")
async def what_was_put_off_is_not_taken_up_when_it_is_due(siege: Siege) -> AsyncIterator[None]:
    await siege.stop_worker()
    waiting = replace(CANARY, queue="people")
    queue = siege.town.portal.queues._queues["people"]
    await queue.add(waiting.name, {}, {**waiting.options(), "jobId": "put-off", "delay": HOUR_MS})
    overdue = (int(time.time() * 1000) - HOUR_MS) * 4096
    await siege.town.portal.redis.zadd("queue:people:delayed", {"put-off": overdue})
    yield
    await siege.start_worker()
    await finished(siege, waiting, "put-off")


@saboteur("jobs.failed", sees="failed for good and has not run since: upkeep.of_another_release at")
async def a_job_fails_for_good(siege: Siege) -> AsyncIterator[None]:
    queues, stranger = siege.town.portal.queues, replace(CANARY, name="upkeep.of_another_release")
    await queues.add_once(stranger, "strange")
    await becomes(siege, stranger, "strange", "failed")
    yield
    await queues.remove(stranger, "strange")


@saboteur("jobs.failed", sees="its workers were lost again and again: upkeep.fatal (4 times)")
async def a_job_kills_its_workers(siege: Siege) -> AsyncIterator[None]:
    queues, fatal = siege.town.portal.queues, replace(CANARY, name="upkeep.fatal")
    await siege.stop_worker()
    await queues.add_once(fatal, "fatal")
    await siege.town.portal.redis.hset("queue:upkeep:fatal", "stc", "4")
    yield
    await queues.remove(fatal, "fatal")
    await siege.start_worker()


@saboteur("jobs.schedules", sees="not scheduled: upkeep.canary")
async def the_schedules_are_gone(siege: Siege) -> AsyncIterator[None]:
    await siege.town.portal.queues.schedule([])
    yield
    await siege.town.portal.queues.schedule([HOURLY])


@saboteur("jobs.schedules", sees="scheduled, though no job of this release is: upkeep.stray")
async def another_tool_adds_a_schedule(siege: Siege) -> AsyncIterator[None]:
    queue = siege.town.portal.queues._queues["upkeep"]
    await queue.upsertJobScheduler("upkeep.stray", {"every": HOUR_MS}, CANARY.name, {}, CANARY.options())
    yield
    await queue.removeJobScheduler("upkeep.stray")


@saboteur("jobs.schedules", sees="should have run 60 min ago: upkeep.canary")
async def a_turn_is_an_hour_late(siege: Siege) -> AsyncIterator[None]:
    redis, schedules = siege.town.portal.redis, "queue:upkeep:repeat"
    due = await redis.zscore(schedules, HOURLY.name) or 0
    await redis.zadd(schedules, {HOURLY.name: int(time.time() * 1000) - HOUR_MS})
    yield
    await redis.zadd(schedules, {HOURLY.name: due})


@saboteur("jobs.survive", sees="1 of 300 jobs lost")
async def a_drill_lost_a_job(siege: Siege) -> AsyncIterator[None]:
    await keep_a_drill(siege, held=False, evidence="1 of 300 jobs lost (≤ 1.6 %)")
    yield
    await keep_a_drill(siege, held=True, evidence="0 of 300 jobs lost (≤ 0.99 %)")


@saboteur("jobs.survive", sees="2 effects twice")
async def a_drill_saw_effects_twice(siege: Siege) -> AsyncIterator[None]:
    await keep_a_drill(siege, held=False, evidence="0 of 300 jobs lost (≤ 0.99 %), 2 effects twice")
    yield
    await keep_a_drill(siege, held=True, evidence="0 of 300 jobs lost (≤ 0.99 %)")


async def keep_a_drill(siege: Siege, *, held: bool, evidence: str) -> None:
    await siege.town.portal.drills.keep(
        JOBS,
        held=held,
        evidence=evidence,
        figures={},
        took=timedelta(minutes=1),
        by=System("a test"),
        origin=Origin(),
    )


async def becomes(siege: Siege, job: Job, job_id: str, state: str) -> None:
    async def has_become() -> bool:
        return await siege.town.portal.queues.state(job, job_id) == state

    await eventually(has_become)


async def finished(siege: Siege, job: Job, job_id: str) -> None:
    await becomes(siege, job, job_id, "completed")
    await siege.town.portal.queues.remove(job, job_id)

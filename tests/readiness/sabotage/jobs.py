"""What is broken of the queue and of those who work it off."""

from collections.abc import AsyncIterator
from datetime import timedelta

from tests.readiness.sabotage.siege import ALL_QUEUES, Siege, saboteur

from muster.platform.queue import Worker


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

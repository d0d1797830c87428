"""Entry 2, the worker: every slice's jobs and clocks, drained on SIGTERM."""

import asyncio
import secrets
import signal
import socket
import time
from collections.abc import Mapping
from datetime import timedelta

from muster.errors import Unavailable
from muster.platform import heartbeat
from muster.platform.queue import Worker
from muster.platform.telemetry import logger
from muster.settings import Settings
from muster.wiring import Portal, portal

DRAIN = timedelta(seconds=25)
"""Below the 30 s that Kubernetes and Heroku give before they kill."""


SCHEDULES_LOOKED_AT = timedelta(seconds=10)
"""How soon schedules are back that Redis has lost."""


async def work(settings: Settings, *, concurrency: Mapping[str, int]) -> None:
    """Run so many jobs of each of these queues at once until SIGTERM; a second signal stops at once."""
    began = time.time()
    stop = _signals()
    worker_id = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    async with portal(settings, application="muster-worker") as made:
        await _schedule(made, began, stop)
        worker = Worker(
            settings.redis_url.reveal(),
            made.jobs,
            queues=tuple(concurrency),
            concurrency=concurrency,
            name=worker_id,
        )
        told = asyncio.create_task(stop.wait())
        taking = asyncio.create_task(_take_jobs(worker, worker_id, concurrency))
        beating = asyncio.create_task(_beat(made, worker, worker_id, concurrency))
        scheduling = asyncio.create_task(_keep_schedules(made, began))
        tasks = {taking, beating, scheduling}
        ended, _ = await asyncio.wait(tasks | {told}, return_when=asyncio.FIRST_COMPLETED)
        taking.cancel()
        scheduling.cancel()
        logger.info("worker_draining", running=len(worker.running))
        put_back = await worker.drain(DRAIN)
        beating.cancel()
        # Not for ever: psycopg's pool may swallow the cancellation of somebody it has just served.
        await asyncio.wait(tasks, timeout=2)
        try:
            await made.heartbeats.stopped(worker_id)
        except Unavailable as error:
            logger.warning("heartbeat_not_ended", error=str(error))
        logger.info("worker_stopped", put_back=put_back)
        for task in ended - {told}:
            task.result()  # raises: whoever idles, or cannot say that they live, had better begin anew


async def _take_jobs(worker: Worker, worker_id: str, concurrency: Mapping[str, int]) -> None:
    await worker.start()
    logger.info("worker_started", worker=worker_id, queues=dict(concurrency))
    await worker.watch()


async def _schedule(made: Portal, began: float, stop: asyncio.Event) -> None:
    """Put the schedules in place, waiting for Redis for as long as it takes."""
    while not stop.is_set():
        try:
            await made.queues.schedule(made.jobs, since=began)
        except Unavailable as error:
            logger.warning("waiting_for_redis", error=str(error))
            await asyncio.sleep(2)
        else:
            return


async def _keep_schedules(made: Portal, began: float) -> None:
    """A Redis that comes back with nothing has forgotten the schedules too."""
    while True:
        await asyncio.sleep(SCHEDULES_LOOKED_AT.total_seconds())
        try:
            if put_back := await made.queues.schedule(made.jobs, since=began):
                logger.warning("schedules_put_back", schedules=put_back)
        except Unavailable as error:
            logger.warning("schedules_not_looked_at", error=str(error))


async def _beat(made: Portal, worker: Worker, worker_id: str, concurrency: Mapping[str, int]) -> None:
    while True:
        try:
            await made.heartbeats.beat(worker_id, concurrency=concurrency, running=worker.running)
        except Unavailable as error:
            logger.warning("heartbeat_missed", error=str(error))
        await asyncio.sleep(heartbeat.EVERY.total_seconds())


def _signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def told() -> None:
        if stop.is_set():
            raise SystemExit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    return stop

"""A worker of the drill, as a process to be killed: Muster's own worker with one job, that of the drill.

    python -m muster.readiness.drill_worker ORDERS NAME

ORDERS is a file, since it holds passwords, and what stands on a command line anybody may read.
"""

import asyncio
import random
import signal
import sys
from datetime import timedelta
from pathlib import Path

import msgspec

from muster.platform import telemetry
from muster.platform.database import Database
from muster.platform.queue import Job, Run, Work, Worker

QUEUE = "upkeep"
DRAIN = timedelta(seconds=10)

TABLES = """
CREATE TABLE drill_runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job text, worker text,
    began_at timestamptz DEFAULT clock_timestamp(), ended_at timestamptz
);
CREATE INDEX ON drill_runs (job);
CREATE INDEX ON drill_runs (worker);
CREATE TABLE drill_kills (worker text PRIMARY KEY, at timestamptz);
CREATE TABLE drill_keys (job text PRIMARY KEY);
CREATE TABLE drill_effects (job text)
"""

_BEGIN = "INSERT INTO drill_runs (job, worker) VALUES (%s, %s) RETURNING id"
_END = """
WITH ended AS (UPDATE drill_runs SET ended_at = clock_timestamp() WHERE id = %s),
new AS (INSERT INTO drill_keys (job) VALUES (%s) ON CONFLICT DO NOTHING RETURNING job)
INSERT INTO drill_effects (job) SELECT job FROM new
"""
"""The effect is written by whoever was first to write the job's key, as every job of ours would do it."""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    redis_url: str
    database_url: str
    at_once: int
    shortest_seconds: float
    longest_seconds: float
    lost_after_seconds: float


def drill_job(run: Run) -> Job:
    return Job(name="upkeep.drill", queue=QUEUE, run=run, deadline=timedelta(minutes=1))


def main(orders_path: str, name: str) -> None:
    telemetry.configure("error", name="muster-drill", stream=sys.stderr)
    asyncio.run(_work(msgspec.json.decode(Path(orders_path).read_bytes(), type=Orders), name))


async def _work(orders: Orders, name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    database = Database(orders.database_url, application=name, min_size=2)
    await database.open()

    async def run(work: Work) -> None:
        began = await database.value(_BEGIN, [work.job_id, name])
        await asyncio.sleep(random.uniform(orders.shortest_seconds, orders.longest_seconds))  # noqa: S311
        await database.execute(_END, [began, work.job_id])

    worker = Worker(
        orders.redis_url,
        [drill_job(run)],
        queues=[QUEUE],
        concurrency=orders.at_once,
        name=name,
        lost_after=timedelta(seconds=orders.lost_after_seconds),
    )
    await worker.start()
    told, watching = asyncio.create_task(stop.wait()), asyncio.create_task(worker.watch())
    ended, _ = await asyncio.wait({told, watching}, return_when=asyncio.FIRST_COMPLETED)
    await worker.drain(DRAIN)
    watching.cancel()
    await database.close()
    for task in ended - {told}:
        task.result()  # raises: a worker that ends by itself is one the drill has to hear of


if __name__ == "__main__":
    main(*sys.argv[1:])

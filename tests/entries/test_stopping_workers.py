"""Two workers told to stop while there is more to do than they can: nothing lost, nothing run twice."""

import re
import signal
from collections import Counter
from collections.abc import Iterator
from subprocess import Popen
from typing import Any

import pytest
from tests.entries.command_line import CommandLine
from tests.town import Town, eventually

from muster.readiness.jobs import CANARY
from muster.worker import DRAIN

MANY = 1500


@pytest.fixture
def started() -> Iterator[list[Popen[bytes]]]:
    """Whatever a test puts here is gone after it."""
    processes: list[Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


async def add_many(town: Town) -> None:
    jobs = [
        {"name": CANARY.name, "data": {}, "opts": {**CANARY.options(), "jobId": f"one-{n}"}}
        for n in range(MANY)
    ]
    await town.portal.queues._queues["upkeep"].addBulk(jobs)


async def completed(town: Town) -> Counter[str]:
    """How often each of our jobs was completed, as BullMQ's stream of events has it."""
    entries: Any = await town.portal.redis.xrange("queue:upkeep:events")
    ids = [fields[b"jobId"].decode() for _, fields in entries if fields.get(b"event") == b"completed"]
    return Counter(job_id for job_id in ids if job_id.startswith("one-"))


def run(muster: CommandLine) -> Counter[str]:
    """How often each was run, as the workers' log has it."""
    return Counter(re.findall(r'"jobId": ?"(one-\d+)".*"job_finished"', muster.output))


async def ended(process: Popen[bytes]) -> int:
    async def asked() -> bool:
        return process.poll() is not None

    await eventually(asked, within=DRAIN.total_seconds() + 15)
    return int(process.returncode)


async def test_two_workers_told_to_stop_under_load_lose_nothing_and_run_nothing_twice(
    town: Town, muster: CommandLine, started: list[Popen[bytes]]
):
    await town.sandbox.fault("slow", seconds=2)
    await add_many(town)
    started += [muster.start("worker"), muster.start("worker")]

    async def are_at_it() -> bool:
        is_syncing = await town.value("SELECT count(*) FROM people_syncs WHERE status = 'running'")
        are_two = len(await town.portal.heartbeats.list_alive()) == 2
        return bool(is_syncing and are_two and await completed(town))

    await eventually(are_at_it, within=60)
    for process in started:
        process.send_signal(signal.SIGTERM)
    assert [await ended(process) for process in started] == [0, 0]

    assert len(await completed(town)) > 0
    counts = await town.portal.queues.counts()
    assert [states["active"] for states in counts.values()] == [0, 0, 0]
    assert await town.portal.heartbeats.list_alive() == []
    syncs = await town.value("SELECT array_agg(status) FROM people_syncs WHERE kind = 'people'")
    assert Counter(syncs) == {"finished": 1}

    started.append(muster.start("worker"))

    async def are_all_done() -> bool:
        return len(await completed(town)) == MANY

    await eventually(are_all_done, within=60)
    once = Counter(f"one-{n}" for n in range(MANY))
    assert run(muster) == once
    assert await completed(town) == once

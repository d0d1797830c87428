"""The jobs pages against the real wiring: what stands in the queues, whoever put it there."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bullmq import Queue, Worker
from tests.town import Town, eventually, path_of

from muster.access.roles import Role
from muster.jobs.addresses import job_path, read, written
from muster.platform import redis
from muster.platform.actor import System

OPERATIONS = "ada@acme.test"


@asynccontextmanager
async def connected(town: Town) -> AsyncIterator[redis.Redis]:
    """A client of BullMQ's, which leaves open the connection on which it was waiting for a job."""
    client = redis.connect_patiently(town.portal.settings.redis_url.reveal())
    try:
        yield client
    finally:
        await client.connection_pool.disconnect(inuse_connections=True)
        await client.aclose()


@asynccontextmanager
async def strangers(town: Town, name: str = "crm") -> AsyncIterator[Any]:
    """A queue as any other program has it that speaks BullMQ."""
    async with connected(town) as client:
        yield Queue(name, {"connection": client, "prefix": "queue"})


@asynccontextmanager
async def failing(town: Town, name: str = "crm") -> AsyncIterator[None]:
    """A worker of a stranger's, which fails everything but what is named fine."""

    async def process(job: Any, _: str) -> dict[str, str]:
        if job.name == "fine":
            await job.log("all is well, Bearer abcdef0123456789")
            return {"answer": "42"}
        raise ValueError("the far end said no")

    async with connected(town) as client:
        options = {"connection": client, "prefix": "queue", "metrics": {"maxDataPoints": 60}}
        worker = Worker(name, process, {**options, "autorun": False})
        running = asyncio.create_task(worker.run())
        try:
            yield
        finally:
            await worker.close(force=True)
            running.cancel()  # closing leaves it asking for jobs
            await asyncio.wait({running})


async def in_state(queue: Any, job_id: str, state: str) -> None:
    async def is_there() -> bool:
        return bool(await queue.getJobState(job_id) == state)

    await eventually(is_there)


async def failed(town: Town, queue: Any, *names: str) -> list[str]:
    jobs = [await queue.add(name, {"n": n}) for n, name in enumerate(names)]
    async with failing(town, queue.name):
        for job in jobs:
            await in_state(queue, job.id, "failed")
    return [str(job.id) for job in jobs]


async def test_an_empty_place_says_what_to_do(town: Town):
    async with town.signed_in(OPERATIONS) as ada:
        page = (await ada.get("/jobs")).text

        assert "No worker is alive" in page
        assert "Nothing is scheduled" in page
        for state in ("failed", "completed", "waiting", "active", "delayed"):
            assert 'class="empty"' in (await ada.get(f"/jobs/people?state={state}")).text


async def test_the_first_page_shows_queues_workers_and_what_is_due(town: Town):
    async with town.signed_in(OPERATIONS) as ada:
        await town.portal.queues.schedule(town.portal.jobs)
        async with town.working(name="one-worker"):
            await eventually(lambda: _has_run(town, "cache.relay"))
            page = (await ada.get("/jobs")).text
            answer = (await ada.get("/api/v1/jobs")).json()

    assert "people.sync" in page
    assert "every 15 min" in page
    assert [queue["name"] for queue in answer["queues"]] == ["people", "crm", "upkeep"]
    assert [worker["id"] for worker in answer["workers"]] == ["one-worker"]
    relay = next(one for one in answer["schedules"] if one["key"] == "cache.relay")
    assert relay["last"]["state"] in {"completed", "active"}
    assert relay["next_at"] > relay["last"]["started_at"]


async def _has_run(town: Town, name: str) -> bool:
    return bool(await town.portal.desk.view.recent("upkeep", name, limit=1))


async def test_a_strangers_job_is_shown_whatever_it_holds(town: Town):
    hostile = "<script>alert(1)</script>\u202e"
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        data = {hostile: hostile, "half": "\ud800", "client_secret": "hunter2hunter2", "n": 2**70}
        job = await queue.add(hostile, data, {"jobId": "../../admin"})
        listed = (await ada.get("/jobs/crm?state=waiting")).text
        page = await ada.get(job_path("crm", job.id))
        answer = await ada.get(f"/api/v1{job_path('crm', job.id)}")

    assert answer.json()["data"]["client_secret"] == "[hidden]"
    assert answer.json()["data"]["n"] == 2**70
    assert page.status_code == 200
    for text in (listed, page.text):
        assert "<script>alert" not in text
        assert "\u202e" not in text
    assert job_path("crm", "../../admin") in listed
    assert "hunter2" not in page.text
    assert "[hidden]" in page.text


NO_JOBS: dict[str, dict[Any, bytes]] = {
    "no-text": {"data": b"\xff\xfe{", "opts": b"[", "name": b"\xff", "timestamp": b"soon"},
    "deep": {"data": b"[" * 5000, "name": b"deep"},
    "long": {"data": b'"' + b"x" * 200_000 + b'"', "name": b"long"},
    "times": {"name": b"times", "timestamp": b"9" * 30, "processedOn": b"-1", "finishedOn": b"1e5"},
    "progress": {"name": b"p", "progress": b'{"done": "x", "of": [], "words": 3}', "stacktrace": b"{}"},
    "numbers": {"name": b"n", "opts": b'{"attempts": 1e999, "delay": "x", "prevMillis": {}}'},
    "reason": {"name": b"", "failedReason": b"\x1b[31m" + b"r" * 50_000},
}


async def test_what_is_no_job_at_all_breaks_no_page(town: Town):
    for job_id, fields in NO_JOBS.items():
        await town.portal.redis.hset(f"queue:crm:{job_id}", mapping={"timestamp": b"1700000000000", **fields})
        await town.portal.redis.zadd("queue:crm:failed", {job_id: 1.0})
    await town.portal.redis.lpush("queue:crm:wait", "gone", b"\xff", "meta")
    lists = ["?state=failed", "?state=failed&name=o", "?state=waiting"]
    async with town.signed_in(OPERATIONS) as ada:
        for path in (
            "/jobs",
            *(f"/jobs/crm{query}" for query in lists),
            *(f"/jobs/crm.csv{query}" for query in lists),
            *(f"/api/v1/jobs/crm{query}" for query in lists),
            *(f"/jobs/crm/{job_id}" for job_id in NO_JOBS),
            *(f"/api/v1/jobs/crm/{job_id}" for job_id in NO_JOBS),
        ):
            answer = await ada.get(path)
            assert answer.status_code == 200, path
            assert len(answer.content) < 200_000, path
            assert b"\x1b" not in answer.content, path


NEVER_JOBS = [
    "meta",
    "wait",
    "events",
    "id",
    "1:logs",
    "none",
    "~",
    "~!",
    "~_w",
    "x" * 5000,
    "metrics:failed",
]


async def test_what_is_no_job_is_neither_shown_nor_touched(town: Town):
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        await queue.add("one", {}, {"jobId": "one"})
        before = await town.keys()
        for job_id in NEVER_JOBS:
            assert (await ada.get(f"/jobs/crm/{job_id}")).status_code == 404, job_id
            for act in ("retries", "discard"):
                assert (await ada.post(f"/jobs/crm/{job_id}/{act}")).status_code == 404, job_id

        assert [key for key in before if key.startswith("queue:") and key not in await town.keys()] == []


@pytest.mark.parametrize(
    "job_id", ["1", "repeat:people.sync:17", "..", "a/b", "pause", "é", "~1", "a b", "failed", ""]
)
def test_an_id_is_found_again_from_its_address(job_id: str):
    part = written(job_id)

    assert read(part) == job_id
    assert "/" not in part
    assert part not in {"", ".", "..", "pause", "failed"}


async def test_a_failed_job_shows_why_and_is_retried_by_a_button(town: Town):
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        [job_id] = await failed(town, queue, "mail")
        page = (await ada.get(f"/jobs/crm/{job_id}")).text
        assert "the far end said no" in page
        assert "ValueError" in page

        retried = await ada.post(f"/jobs/crm/{job_id}/retries")

        assert path_of(retried.headers["location"]) == f"/jobs/crm/{job_id}"
        assert await queue.getJobState(job_id) == "waiting"
    assert "jobs.retried" in await town.audited()
    assert (
        await town.value("SELECT before->>'state' FROM audit_log WHERE action = 'jobs.retried'") == "failed"
    )


async def test_a_job_that_waits_cannot_be_retried(town: Town):
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        job = await queue.add("mail", {})
        answer = await ada.post(f"/jobs/crm/{job.id}/retries")

        assert answer.status_code == 409
        assert "waits for its turn already" in answer.text
    assert "jobs.retried" not in await town.audited()


async def test_all_that_failed_is_retried_or_what_has_a_name(town: Town):
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        await failed(town, queue, "mail.send", "mail.send", "other")
        assert "Retry all 3" in (await ada.get("/jobs/crm?state=failed")).text

        await ada.post("/jobs/crm/failed/retries", {"name": "MAIL"})
        assert await queue.getJobCounts("failed", "waiting") == {"failed": 1, "waiting": 2}
        answer = await ada.request(
            "POST", "/api/v1/jobs/crm/failed/retries", headers={"x-csrf-token": await ada.csrf()}
        )
        assert answer.json() == {"retried": 1, "left": 0}
    assert (await town.audited()).count("jobs.all_retried") == 2


async def test_a_job_is_discarded_once_it_was_asked_twice(town: Town):
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        job = await queue.add("mail", {})
        page = (await ada.get(f"/jobs/crm/{job.id}")).text
        assert page.index("Discard…") < page.index("Discard this job")

        await ada.post(f"/jobs/crm/{job.id}/discard")

        assert await queue.getJobState(job.id) == "unknown"
        assert (await ada.get(f"/jobs/crm/{job.id}")).status_code == 404
    assert "jobs.discarded" in await town.audited()


async def test_a_schedules_next_turn_is_not_discarded(town: Town):
    await town.portal.queues.schedule(town.portal.jobs)
    async with town.signed_in(OPERATIONS) as ada:
        jobs = (await ada.get("/api/v1/jobs/people?state=delayed")).json()["jobs"]
        jobs += (await ada.get("/api/v1/jobs/people?state=waiting")).json()["jobs"]
        assert jobs
        answer = await ada.post(f"{job_path('people', jobs[0]['id'])}/discard")

    assert answer.status_code == 409
    assert "next turn of a schedule" in answer.text


async def test_a_job_that_runs_is_not_discarded(town: Town):
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        job = await queue.add("mail", {})
        await queue.client.lmove("queue:crm:wait", "queue:crm:active", "RIGHT", "LEFT")
        answer = await ada.post(f"/jobs/crm/{job.id}/discard")

    assert answer.status_code == 409
    assert "running" in answer.text


async def test_a_paused_queue_is_loud_and_says_who_and_since_when(town: Town):
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        await ada.post("/jobs/crm/pause")
        assert await queue.isPaused()
        for path in ("/jobs", "/jobs/crm"):
            page = (await ada.get(path)).text
            assert 'role="alert"><p><strong>The queue crm is paused' in page.replace(">\n<p", "><p")
            assert "by ada@acme.test" in page

        await ada.post("/jobs/crm/resumption")
        assert not await queue.isPaused()
        assert "is paused" not in (await ada.get("/jobs")).text

        await queue.pause()
        assert "by another tool" in (await ada.get("/jobs")).text
    assert [one for one in await town.audited() if one.startswith("jobs.")] == ["jobs.paused", "jobs.resumed"]


async def test_a_schedule_is_run_now_and_the_worker_does_it(town: Town):
    await town.portal.queues.schedule(town.portal.jobs)
    async with town.signed_in(OPERATIONS) as ada:
        started = await ada.post("/jobs/upkeep/schedules/cache.relay/runs")
        path = path_of(started.headers["location"])
        job = (await ada.get(f"/api/v1{path}")).json()
        assert job["job"]["name"] == "cache.relay"
        assert len(job["request_id"]) >= 8
        assert (await ada.post("/jobs/upkeep/schedules/none/runs")).status_code == 404

        async with town.working():
            await eventually(lambda: _says(ada, path, "Completed"))
    assert "jobs.schedule_run" in await town.audited()


async def _says(visitor: Any, path: str, word: str) -> bool:
    return word in (await visitor.get(path)).text


async def test_the_list_is_paged_searched_and_downloaded(town: Town):
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        for n in range(7):
            await queue.add(f"mail.{n}" if n % 2 else "=cmd()", {})
        first = (await ada.get("/api/v1/jobs/crm?state=waiting&limit=4")).json()
        second = (await ada.get(first["next"])).json()
        found = (await ada.get("/api/v1/jobs/crm?state=waiting&name=MAIL")).json()
        rows = list(csv.reader(io.StringIO((await ada.get("/jobs/crm.csv?state=waiting")).text)))

    assert [len(first["jobs"]), len(second["jobs"]), second["next"]] == [4, 3, None]
    assert not {job["id"] for job in first["jobs"]} & {job["id"] for job in second["jobs"]}
    assert [job["name"] for job in found["jobs"]] == ["mail.1", "mail.3", "mail.5"]
    assert (found["matching"], found["total"]) == (3, 7)
    assert len(rows) == 8
    assert rows[1][1] == "'=cmd()"


async def test_a_finished_job_shows_its_log_result_and_times(town: Town):
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        job = await queue.add("fine", {"request_id": "abcdef123456"}, {"removeOnComplete": False})
        async with failing(town):
            await in_state(queue, job.id, "completed")
        page = (await ada.get(f"/jobs/crm/{job.id}")).text
        answer = (await ada.get(f"/api/v1/jobs/crm/{job.id}")).json()

    assert "all is well" in page
    assert "abcdef0123456789" not in page
    assert "/admin/audit?request=abcdef123456" in page
    assert answer["returned"] == {"answer": "42"}
    assert answer["took_seconds"] >= 0
    assert answer["waited_seconds"] >= 0


async def test_throughput_is_what_bullmq_counts(town: Town):
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        done = [await queue.add("fine", {}) for _ in range(3)]
        await failed(town, queue, "mail")
        for job in done:
            await in_state(queue, job.id, "completed")
        [crm] = [one for one in (await ada.get("/api/v1/jobs")).json()["queues"] if one["name"] == "crm"]

    assert (sum(crm["completed"]), sum(crm["failed"])) == (3, 1)
    assert len(crm["completed"]) == 96


async def test_the_oldest_waiting_job_counts_from_when_it_was_due(town: Town):
    async with strangers(town) as queue:
        before = int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1000)
        await queue.add("late", {}, {"timestamp": before})
        [crm] = [one for one in await town.portal.desk.view.look() if one.name == "crm"]

    assert crm.oldest_waiting_at == datetime.fromtimestamp(before / 1000, UTC)


async def test_an_auditor_sees_jobs_and_touches_none(town: Town):
    await town.portal.grants.grant("cy@acme.test", Role.AUDITOR, by=System("tester"))
    async with strangers(town) as queue, town.signed_in("cy@acme.test") as cy:
        job = await queue.add("mail", {})
        page = (await cy.get(f"/jobs/crm/{job.id}")).text
        assert "Discard" not in page
        for path in (f"/jobs/crm/{job.id}/discard", "/jobs/crm/pause", "/jobs/crm/failed/retries"):
            assert (await cy.post(path)).status_code == 403
        assert "Pause" not in (await cy.get("/jobs")).text


async def test_a_member_does_not_see_jobs(town: Town):
    async with town.signed_in("cy@acme.test") as cy:
        assert (await cy.get("/jobs")).status_code == 403
        assert 'href="/jobs"' not in (await cy.get("/")).text


async def test_a_queue_that_is_not_ours_is_not_found(town: Town):
    async with town.signed_in(OPERATIONS) as ada:
        for path in ("/jobs/none", "/jobs/none/1", "/jobs/none.csv", "/api/v1/jobs/none"):
            assert (await ada.get(path)).status_code == 404
        assert (await ada.post("/jobs/none/pause")).status_code == 404
        assert (await ada.get("/jobs/crm?state=lost")).status_code == 422


async def test_progress_is_that_of_our_convention_or_a_percentage(town: Town):
    async with strangers(town) as queue, town.signed_in(OPERATIONS) as ada:
        job = await queue.add("mail", {})
        await job.updateProgress({"done": 3, "of": 8, "words": "letters sent"})
        page = (await ada.get(f"/jobs/crm/{job.id}")).text
        assert "3 of 8, letters sent" in page
        await town.portal.redis.hset(f"queue:crm:{job.id}", "progress", json.dumps(40))
        assert "40 of 100" in (await ada.get(f"/jobs/crm/{job.id}")).text

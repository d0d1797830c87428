"""Jobs for programs, and what is said of them while Redis is away."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.access.test_tokens import token_of
from tests.readiness.away import nobody, silence
from tests.town import Town, opened, problem

from muster.access.roles import Permission
from muster.embedded.valkey import Valkey
from muster.errors import Unavailable
from muster.platform import redis
from muster.platform.queue_desk import QueueDesk
from muster.settings import Secret, Settings


async def test_a_script_pauses_runs_reads_and_discards(town: Town):
    await town.portal.queues.schedule(town.portal.jobs)
    async with town.signed_in("ada@acme.test") as ada:
        token = await token_of(ada, Permission.SEE_JOBS.value, Permission.RUN_JOBS.value)
    town.raw.headers["authorization"] = f"Bearer {token}"
    jobs = f"{town.base_url}/api/v1/jobs"

    paused = (await town.raw.post(f"{jobs}/people/pause")).json()
    assert (paused["is_paused"], paused["paused_by"]) == (True, "ada@acme.test")
    made = (await town.raw.post(f"{jobs}/people/schedules/people.sync/runs")).json()
    one = f"{town.base_url}/api/v1{made['address']}"
    shown = (await town.raw.get(one)).json()
    assert (shown["job"]["name"], shown["job"]["state"]) == ("people.sync", "waiting")
    refused = await town.raw.post(f"{one}/retries")
    assert (refused.status_code, problem(refused)["code"]) == (409, "conflict")
    assert (await town.raw.delete(one)).json()["id"] == made["id"]
    assert (await town.raw.get(one)).status_code == 404
    assert not (await town.raw.delete(f"{jobs}/people/pause")).json()["is_paused"]

    acts = [action for action in await town.audited() if action.startswith("jobs.")]
    assert acts == ["jobs.paused", "jobs.schedule_run", "jobs.discarded", "jobs.resumed"]
    assert (
        await town.value("SELECT DISTINCT via FROM audit_log WHERE action LIKE 'jobs.%%'") == "token:a script"
    )


async def test_a_script_that_may_only_read_changes_nothing(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        token = await token_of(ada, Permission.SEE_JOBS.value)
    town.raw.headers["authorization"] = f"Bearer {token}"

    assert (await town.raw.get(f"{town.base_url}/api/v1/jobs")).status_code == 200
    assert (await town.raw.post(f"{town.base_url}/api/v1/jobs/people/pause")).status_code == 403
    assert not (await town.raw.get(f"{town.base_url}/api/v1/jobs")).json()["queues"][0]["is_paused"]


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.stop()


async def test_the_page_says_so_while_redis_is_away(own_valkey: Valkey, settings: Settings):
    async with (
        opened(replace(settings, redis_url=Secret(own_valkey.url))) as town,
        town.signed_in("ada@acme.test") as ada,
    ):
        assert (await ada.get("/jobs")).status_code == 200
        own_valkey.stop()
        for path in ("/jobs", "/jobs/people", "/jobs/people/1"):
            answer = await ada.get(path)
            assert answer.status_code == 503
            assert "does not answer" in answer.text


@pytest.mark.parametrize("somewhere", [nobody, silence])
async def test_nothing_hangs_on_a_redis_that_is_not_there(
    somewhere: Callable[[], AbstractContextManager[str]],
):
    with somewhere() as place:
        client = redis.connect(f"redis://{place}/0")
        desk = QueueDesk(f"redis://{place}/0", client)
        async with asyncio.timeout(60):
            for ask in (
                desk.view.look,
                desk.view.schedules,
                lambda: desk.pause("people"),
                lambda: desk.retry_failed("people"),
                lambda: desk.run_schedule("people", "people.sync", request_id=""),
            ):
                with pytest.raises(Unavailable):
                    await ask()
        await desk.close()
        await client.aclose()

"""Web and worker as processes that were started before PostgreSQL's tables or Redis were there."""

import contextlib
import signal
from collections.abc import Iterator
from subprocess import Popen

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.entries.command_line import CommandLine
from tests.readiness.between import free_address
from tests.town import Town, eventually

from muster import __version__
from muster.embedded.valkey import Valkey

TOKEN = "of-prometheus-and-nobody-else"

OF_THE_WHOLE = ("muster_workers", "muster_people active", "muster_queue_workers crm")


@contextlib.contextmanager
def running(muster: CommandLine, *words: str, **settings: str) -> Iterator[Popen[bytes]]:
    process = muster.start(*words, METRICS_TOKEN=TOKEN, **settings)
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
    finally:
        process.kill()
        process.wait()


async def answered(client: httpx2.AsyncClient, path: str, status: int) -> httpx2.Response:
    async def asked() -> httpx2.Response | None:
        with contextlib.suppress(httpx2.HTTPError):
            response = await client.get(path)
            return response if response.status_code == status else None
        return None

    found: httpx2.Response = await eventually(asked, within=40)
    return found


def lines(muster: CommandLine, event: str) -> list[str]:
    return [line for line in muster.output.splitlines() if f'"msg": "{event}"' in line]


@pytest.mark.parametrize("entry", ["web", "worker"])
async def test_it_is_alive_and_not_ready_says_once_what_it_waits_for_and_goes_on(
    muster: CommandLine, valkey: Valkey, empty_database: str, entry: str
):
    address = free_address()
    valkey.stop()
    at = {"web": "PORT", "worker": "WORKER_PORT"}[entry]
    settings = {
        at: address.rpartition(":")[2],
        "PUBLIC_URL": address,
        "DATABASE_URL": empty_database,
        "REDIS_URL": valkey.url,
    }
    with running(muster, entry, **settings):
        async with httpx2.AsyncClient(base_url=address, timeout=20) as client:
            await answered(client, "/livez", 200)
            before = await answered(client, "/readyz", 503)
            for _ in range(5):
                await client.get("/readyz")
            valkey.start()
            assert muster("migrate", DATABASE_URL=empty_database).returncode == 0
            after = await answered(client, "/readyz", 200)

            async def goes_on() -> list[str]:
                return lines(muster, "servers_are_there")

            await eventually(goes_on)

    assert before.json()["checks"]["redis"][0]["status"] == "fail"
    assert after.json()["checks"]["redis"][0]["status"] == "pass"
    said = lines(muster, "waiting_for_servers")
    assert "redis (" in said[0]
    assert "migrations (" in said[0]
    assert len(said) <= 6, "it says so when that changes, and not every second"
    assert len(lines(muster, "servers_are_there")) == 1


async def test_figures_of_the_whole_are_the_same_from_each_process_and_of_a_process_its_own(
    town: Town, muster: CommandLine
):
    await town.portal.sync.run()
    web_address, worker_address = free_address(), free_address()
    ports = {"PORT": web_address.rpartition(":")[2], "WORKER_PORT": worker_address.rpartition(":")[2]}
    token = {"authorization": f"Bearer {TOKEN}"}
    with running(muster, "web", PUBLIC_URL=web_address, **ports), running(muster, "worker", **ports):
        async with httpx2.AsyncClient(headers=token, timeout=20) as client:

            async def told(address: str) -> dict[str, float]:
                response = await answered(client, f"{address}/metrics", 200)
                return {
                    " ".join([one.name, *(one.labels[name] for name in sorted(one.labels))]): one.value
                    for family in text_string_to_metric_families(response.text)
                    for one in family.samples
                }

            async def are_at_one() -> tuple[dict[str, float], dict[str, float]] | None:
                web, worker = await told(web_address), await told(worker_address)
                have_worked = [name for name in worker if name.startswith("muster_job_runs_total")]
                is_told = all(web.get(name) == worker.get(name) for name in OF_THE_WHOLE)
                return (web, worker) if is_told and web["muster_workers"] == 1 and have_worked else None

            web, worker = await eventually(are_at_one, within=60)

    for name in OF_THE_WHOLE:
        assert web[name] == worker[name] > 0
    assert web["process_resident_memory_bytes"] != worker["process_resident_memory_bytes"]
    assert f"muster_build_info web {__version__}" in web
    assert f"muster_build_info worker {__version__}" in worker
    assert not any(name.startswith("muster_job_runs_total") for name in web)


def test_a_port_that_is_taken_is_said_with_its_setting(muster: CommandLine, town: Town):
    taken = town.base_url.rpartition(":")[2]

    refused = muster("worker", PORT="1", WORKER_PORT=taken)

    assert refused.returncode == 2
    assert "set WORKER_PORT to another" in refused.stderr


@pytest.mark.parametrize(
    ("setting", "value", "why"),
    [
        ("WORKER_PORT", "many", "expected a number from 1 to 65535, or 0 for none"),
        ("WORKER_PORT", "70000", "expected a number from 1 to 65535, or 0 for none"),
        ("METRICS_TOKEN", "short", "at least 16"),
        ("METRICS_TOKEN", "long enough, but with spaces", "at least 16"),
    ],
)
def test_a_bad_value_is_refused_at_start(muster: CommandLine, setting: str, value: str, why: str):
    refused = muster("config", **{setting: value})

    assert refused.returncode == 2
    assert setting in refused.stderr
    assert why in refused.stderr
    assert value not in refused.stderr or setting == "WORKER_PORT"

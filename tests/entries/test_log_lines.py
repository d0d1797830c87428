"""One click, followed through the log of `muster web`, of `muster worker`, and at the vendors they ask."""

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.entries.command_line import CommandLine
from tests.entries.test_web_process import web
from tests.node_side import run_node
from tests.town import Town, Visitor, eventually

REQUEST = "a-click-of-adas-0001"


@pytest.fixture
def other_folder(tmp_path: Path, muster: CommandLine) -> CommandLine:
    """For the worker, whose log is then its own."""
    (tmp_path / "worker").mkdir()
    return CommandLine(folder=tmp_path / "worker", settings=muster.settings)


@asynccontextmanager
async def worker(muster: CommandLine, **settings: str) -> AsyncIterator[None]:
    running = muster.start("worker", **settings)
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        running.wait(40)


def lines(muster: CommandLine) -> list[dict[str, Any]]:
    return [json.loads(line) for line in muster.output.splitlines()]


async def line(muster: CommandLine, msg: str, **fields: Any) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        wanted = {"msg": msg, **fields}.items()
        # The last line may be half written.
        written = [json.loads(one) for one in muster.output.splitlines(keepends=True) if one.endswith("\n")]
        return next(
            (one for one in written if wanted <= {k: v for k, v in one.items() if _is_plain(v)}.items()), None
        )

    told: dict[str, Any] = await eventually(found, within=30)
    return told


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


async def test_a_click_is_followed_to_the_job_it_asked_for_and_to_the_vendor(
    town: Town, muster: CommandLine, other_folder: CommandLine
):
    async with (
        web(muster, LOG_LEVEL="debug") as client,
        worker(other_folder, LOG_LEVEL="debug"),
        Visitor(str(client.base_url).rstrip("/")) as ada,
    ):
        await ada.sign_in("ada@acme.test")
        await line(
            other_folder, "job_finished", job="people.sync"
        )  # that of its clock, which would be joined
        asked = await ada.request(
            "POST",
            "/people/syncs",
            data={"csrf": await ada.csrf(), "kind": "people"},
            headers={"origin": ada.base_url, "x-request-id": REQUEST},
        )
        assert asked.status_code == 303, asked.text
        session = ada.session_id

        request = await line(muster, "request", reqId=REQUEST)
        job = await line(other_folder, "job_finished", reqId=REQUEST)
        call = await line(other_folder, "vendor_called", reqId=REQUEST, status=200)

    assert (request["status"], request["route"]) == (303, "/people/syncs")
    assert request["queries"] >= 2
    assert request["redisTrips"] >= 1
    assert min(request["ms"], request["queriesMs"], request["redisMs"]) > 0
    assert job["job"] == "people.sync"
    assert job["queries"] > 3
    assert (call["host"], call["attempt"]) == ("127.0.0.1", 1)
    at_google = (await town.sandbox.ask("requests"))["requests"]
    assert REQUEST in {one["request_id"] for one in at_google}
    written = muster.output + other_folder.output
    assert session
    assert session not in written
    assert [secret for secret in town.portal.settings.secrets() if secret in written] == []


@pytest.mark.usefixtures("town")
async def test_pino_pretty_renders_what_web_and_worker_write(muster: CommandLine):
    async with web(muster) as client, worker(muster):
        await client.get("/sign-in")
        await line(muster, "job_finished")

    pretty = await run_node(
        "node_modules/pino-pretty/bin.js", "--colorize", "false", "--singleLine", read=muster.output
    )

    told_of = [told for told in pretty.splitlines() if told.startswith("[")]
    assert len(told_of) == len(lines(muster))
    for told in ("INFO (muster-web/", "INFO (muster-worker/", "job_finished", '"route":"/sign-in"'):
        assert told in pretty, pretty

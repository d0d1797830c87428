"""A bug in `muster web`, a job or a command arrives at Sentry, cleaned; nothing that is no bug does."""

import asyncio
import logging
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.entries.command_line import CommandLine
from tests.entries.test_log_lines import line, lines
from tests.entries.test_web_process import web
from tests.readiness.between import free_address
from tests.town import Town, Visitor, eventually

from muster.errors import NotFound, Unavailable, VendorDown
from muster.platform.error_reports import PER_KIND, ErrorReports
from muster.platform.queue import Job, Queues, Work, Worker
from muster.platform.redaction import Redaction
from muster.platform.telemetry import begin, bind, logger
from muster.settings import Secret, Settings
from muster.wiring import portal

PLANTED = f"muster_{'planted-' * 5}abc"
_BROKEN = f"""
CREATE VIEW proofs AS
    SELECT row, held, evidence, '{PLANTED}'::text::int AS took_ms, version, at, mend_first,
        seen_at FROM proofs_kept;
GRANT SELECT ON proofs TO PUBLIC
"""  # noqa: S608  made up above


@asynccontextmanager
async def a_bug(town: Town) -> AsyncIterator[None]:
    """The checklist's page meets an error that nobody expects, in whose words PostgreSQL repeats a secret."""
    await town.raw_execute("ALTER TABLE proofs RENAME TO proofs_kept")
    try:
        await town.raw_execute(_BROKEN)
        yield
    finally:
        await town.raw_execute("DROP VIEW IF EXISTS proofs; ALTER TABLE proofs_kept RENAME TO proofs")


async def arrived(town: Town, count: int = 1) -> list[dict[str, Any]]:
    async def so_many() -> list[dict[str, Any]]:
        told = await town.sandbox.ask("sentry")
        return list(told["events"]) if told["count"] >= count else []

    events: list[dict[str, Any]] = await eventually(so_many, within=30)
    return events


@pytest.fixture(autouse=True)
async def nothing_arrived_yet(town: Town) -> None:
    await town.sandbox.tell("sentry/reset")


@pytest.fixture
def reports(sentry_dsn: Secret) -> ErrorReports:
    redaction = Redaction(emails=True)
    return ErrorReports(sentry_dsn.reveal(), redaction=redaction, environment="development", process="test")


async def test_a_bug_of_the_web_arrives_without_the_secret_in_its_words(
    town: Town, muster: CommandLine, sentry_dsn: Secret
):
    async with (
        web(muster, SENTRY_DSN=sentry_dsn.reveal()) as client,
        Visitor(str(client.base_url).rstrip("/")) as ada,
    ):
        await ada.sign_in("ada@acme.test")
        assert (await ada.get("/no/such")).status_code == 404
        async with a_bug(town):
            broken = await ada.get("/checklist?token=planted-in-the-query")
            assert broken.status_code == 500
        (event,) = await arrived(town)
        told = str(event)
        session = ada.session_id

    assert event["tags"]["request_id"] == broken.headers["x-request-id"]
    assert event["tags"]["process"] == "muster-web"
    assert (event["release"], event["environment"]) == ("muster@0.1.0", "development")
    account = await town.value("SELECT id FROM accounts WHERE email = 'ada@acme.test'")
    assert event["user"] == {"id": str(account)}
    assert event["extra"]["path"] == "/checklist"
    assert "invalid input syntax for type integer" in event["exception"]["values"][-1]["value"]
    assert session
    for secret in (PLANTED, "planted-in-the-query", session, "ada@acme.test", "muster_session"):
        assert secret not in told
    assert "'vars'" not in told


async def test_a_bug_of_a_job_arrives_with_the_jobs_id_and_what_came_before(
    town: Town, reports: ErrorReports, settings: Settings, caplog: pytest.LogCaptureFixture
):
    async def run(_: Work) -> None:
        logger.error("before_it", exc_info=VendorDown("HubSpot", "is away"))
        logging.getLogger().warning("a hint of Bearer abcdefgh12345")
        raise LookupError(f"no {PLANTED}")

    job = Job(name="upkeep.test", queue="upkeep", run=run, deadline=timedelta(minutes=1), attempts=1)
    queues = Queues(settings.redis_url.reveal())
    worker = Worker(settings.redis_url.reveal(), [job], queues=["upkeep"], concurrency=2, name="test")
    with caplog.at_level("INFO"), reports:
        await worker.start()
        await queues.nudge(job, request_id="r-1234567")
        (event,) = await arrived(town)
        await worker.drain(timedelta(seconds=10))
        await queues.close()

    assert event["exception"]["values"][-1]["value"] == "no [hidden]"
    assert {"job": "upkeep.test", "request_id": "r-1234567"}.items() <= event["tags"].items()
    assert event["tags"]["job_id"]
    (crumb,) = event["breadcrumbs"]["values"]
    assert crumb["message"] == "a hint of Bearer [hidden]"


async def test_what_is_expected_is_not_reported(town: Town, reports: ErrorReports):
    with reports:
        for error in (
            NotFound("x"),
            VendorDown("Google", "x"),
            Unavailable("x"),
            ConnectionResetError(),
            KeyboardInterrupt(),
        ):
            logger.error("failed", exc_info=error)
        logger.error("said_without_a_cause")
        (event,) = await arrived(town)

    assert event["message"] == "said_without_a_cause"


async def test_a_flood_of_one_error_is_a_few_reports_and_another_still_arrives(
    town: Town, reports: ErrorReports
):
    begin(reqId="r-7654321")
    bind(account=7)
    with reports:
        for number in range(200):
            try:
                int(f"{number} or so")
            except ValueError:
                logger.exception("failed")
        logger.error("another", exc_info=LookupError("once"))
        events = await arrived(town, PER_KIND + 1)

    kinds = [event["exception"]["values"][-1]["type"] for event in events]
    assert kinds == ["ValueError"] * PER_KIND + ["LookupError"]
    assert {event["user"]["id"] for event in events} == {"7"}


async def test_whoever_ends_by_a_bug_reports_it_first(town: Town, settings: Settings, sentry_dsn: Secret):
    with pytest.raises(ZeroDivisionError):
        async with portal(replace(settings, sentry_dsn=sentry_dsn), application="muster-command"):
            raise ZeroDivisionError

    (event,) = (await town.sandbox.ask("sentry"))["events"]
    assert (event["level"], event["tags"]["process"]) == ("fatal", "muster-command")


async def test_a_sentry_that_cannot_be_reached_delays_nobody_and_is_told_of_once(
    town: Town, muster: CommandLine
):
    nowhere = free_address().replace("://", "://key@") + "/1"
    async with web(muster, SENTRY_DSN=nowhere) as client, Visitor(str(client.base_url).rstrip("/")) as ada:
        await ada.sign_in("ada@acme.test")
        async with a_bug(town):
            assert (await ada.get("/checklist")).status_code == 500
            told = await line(muster, "errors_not_reported")
            assert (await ada.get("/checklist")).status_code == 500
        assert (await ada.get("/account")).status_code == 200

    assert (told["host"], told["reason"]) == ("127.0.0.1", "does not answer")
    assert [one["msg"] for one in lines(muster)].count("errors_not_reported") == 1
    assert lines(muster)[-1]["msg"] == "web_stopped"


async def test_a_redirect_of_sentrys_is_not_followed(town: Town, reports: ErrorReports):
    await town.sandbox.tell("sentry/mood", {"status": 307})

    with pytest.raises(VendorDown, match=r"127\.0\.0\.1: 307"):
        await reports.try_out("nothing")

    assert reports.trouble.startswith("307")


async def test_a_silent_sentry_does_not_keep_a_process_from_stopping(
    muster: CommandLine, town: Town, sentry_dsn: Secret
):
    await town.sandbox.fault("slow", path="/api/1/envelope/", seconds=60, times=5)
    running = muster.start("web", SENTRY_DSN=sentry_dsn.reveal(), PORT=free_address().rpartition(":")[2])
    await line(muster, "web_started")

    running.send_signal(signal.SIGTERM)

    assert running.wait(30) == 0


async def test_without_their_settings_neither_sentrys_sdk_nor_that_of_traces_is_read(
    muster: CommandLine,
):
    script = (
        "import asyncio, sys; from muster.settings import load; from muster.wiring import make\n"
        "async def main(): make(load(), application='x')\n"
        "asyncio.run(main()); print({'sentry_sdk', 'muster.platform.otlp'} & set(sys.modules))"
    )
    asked = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", script), env=muster.environment(), cwd=muster.folder, stdout=PIPE
    )

    assert (await asked.communicate())[0].split() == [b"set()"]

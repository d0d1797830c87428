"""Bringing the directory in step, and never losing anybody over it."""

import asyncio
import contextlib
from typing import Any

import httpx2
import msgspec
import pytest
from tests.town import Town, eventually

from muster.errors import VendorDown, VendorRefused
from muster.people.google_api import Credentials, GoogleApi
from muster.people.google_directory import GoogleDirectory
from muster.people.google_user import records
from muster.people.jobs import AnotherRunIsAtIt
from muster.people.runs import SCHEDULE, RunLost, SyncRun
from muster.people.throttle import Throttle
from muster.platform.actor import System
from muster.platform.queue import Work

TESTER = System("tester")
USERS = "/admin/directory/v1/users"


async def _sync(town: Town) -> SyncRun:
    run = await town.portal.sync.run()
    assert run is not None
    return run


def _counts(run: SyncRun) -> tuple[int, int, int, int]:
    return run.created, run.updated, run.unchanged, run.removed


async def _here(town: Town) -> int:
    return int(await town.value("SELECT count(*) FROM people WHERE removed_at IS NULL"))


async def _hire(town: Town, count: int) -> None:
    for number in range(count):
        await town.sandbox.tell(
            "people", {"primaryEmail": f"p{number}@acme.test", "name": {"givenName": "P"}}
        )


async def test_the_first_sync_brings_everybody(town: Town):
    run = await _sync(town)

    assert run.status == "finished"
    assert _counts(run) == (500, 0, 0, 0)
    assert (run.seen, run.pages) == (500, 1)
    statuses = await town.value("SELECT array_agg(DISTINCT status ORDER BY status) FROM people")
    assert statuses == ["active", "archived", "deleted", "guest", "suspended"]
    assert await _here(town) == 500


async def test_a_sync_with_nothing_new_writes_nobody(town: Town):
    await _sync(town)
    before = await town.value("SELECT array_agg(xmin::text ORDER BY google_id) FROM people")

    run = await _sync(town)

    assert _counts(run) == (0, 0, 500, 0)
    assert await town.value("SELECT array_agg(xmin::text ORDER BY google_id) FROM people") == before


async def test_what_changed_is_carried_over_and_counted(town: Town):
    await _sync(town)
    await town.sandbox.change("cy@acme.test", suspended=True, suspensionReason="ADMIN", title="Explorer")
    await town.sandbox.tell("people", {"primaryEmail": "new@acme.test", "name": {"givenName": "Nia"}})

    run = await _sync(town)

    assert _counts(run) == (1, 1, 499, 0)
    assert await town.value("SELECT status FROM people WHERE email = 'cy@acme.test'") == "suspended"
    assert await town.value("SELECT title FROM people WHERE email = 'cy@acme.test'") == "Explorer"


async def test_a_renamed_person_stays_the_same_person(town: Town):
    await _sync(town)
    known = await town.value("SELECT google_id FROM people WHERE email = 'cy@acme.test'")
    await town.sandbox.change("cy@acme.test", primaryEmail="cyrus@acme.test")

    run = await _sync(town)

    assert _counts(run) == (0, 1, 499, 0)
    assert await town.value("SELECT google_id FROM people WHERE email = 'cyrus@acme.test'") == known


async def test_somebody_deleted_in_google_is_removed_once_google_confirms_it(town: Town):
    await _sync(town)
    await town.sandbox.change("cy@acme.test", deleted=True)

    run = await _sync(town)

    assert _counts(run) == (0, 0, 499, 1)
    assert await town.value("SELECT status FROM people WHERE email = 'cy@acme.test'") == "deleted"
    assert await _here(town) == 499
    assert "people.removed" in await town.audited()


async def test_somebody_who_comes_back_is_here_again(town: Town):
    await _sync(town)
    await town.sandbox.change("cy@acme.test", deleted=True)
    await _sync(town)
    await town.sandbox.change("cy@acme.test", deleted=False)

    run = await _sync(town)

    assert _counts(run) == (0, 1, 499, 0)
    assert await _here(town) == 500


@pytest.mark.parametrize("kind", ["missing-users-key", "empty-users"])
async def test_an_empty_listing_removes_nobody(town: Town, kind: str):
    await _sync(town)
    await town.sandbox.fault(kind)

    run = await _sync(town)

    assert run.status == "refused"
    assert "nobody was removed" in (run.reason or "")
    assert await _here(town) == 500


@pytest.mark.parametrize(
    "fault",
    [{"kind": "truncated"}, {"kind": "missing-users-key", "page": 2}],
    ids=["cut short", "empty page 2"],
)
async def test_a_listing_that_ends_too_early_removes_nobody(town: Town, fault: dict[str, Any]):
    await _hire(town, 300)
    await _sync(town)
    await town.sandbox.fault(**fault)

    run = await _sync(town)

    assert run.status == "refused"
    assert "cut short" in (run.reason or "")
    assert await _here(town) == 800


@pytest.mark.parametrize(("attempt", "tries_again"), [(1, True), (3, False)])
async def test_a_job_that_finds_another_run_under_way_comes_back_until_that_one_surely_lives(
    town: Town, attempt: int, *, tries_again: bool
):
    job = next(job for job in town.portal.jobs if job.name == "people.sync")
    await town.execute(
        """
        INSERT INTO people_syncs (status, asked_by, started_at, beat_at)
        VALUES ('running', 'schedule', now(), now())
        """
    )
    wanted = await town.portal.sync.ask(by=TESTER)
    work = Work(job_id="1", attempt=attempt, request_id="")

    with pytest.raises(AnotherRunIsAtIt) if tries_again else contextlib.nullcontext():
        await job.run(work)

    kept = await town.portal.sync.get(wanted)
    assert kept is not None
    assert kept.status == "waiting"


async def test_whoever_google_cannot_be_asked_about_stays(town: Town):
    await _sync(town)
    gone = await town.value("SELECT google_id FROM people WHERE email = 'cy@acme.test'")
    await town.sandbox.change("cy@acme.test", deleted=True)
    await town.sandbox.fault("missing-users-key", query={"showDeleted": "true"})
    await town.sandbox.tell("faults", {"path": f"{USERS}/{gone}", "kind": "forbidden", "times": 20})

    run = await _sync(town)

    assert (run.status, run.removed) == ("finished", 0)
    assert "may not be asked about" in (run.reason or "")
    assert await _here(town) == 500


@pytest.mark.parametrize(
    "kind",
    [
        "userRateLimitExceeded",
        "rateLimitExceeded",
        "quotaExceeded",
        "429",
        "500",
        "502",
        "503",
        "backendError",
        "504",
        "failedPrecondition",
        "unknownError",
        "html",
        "text",
        "drop",
    ],
)
async def test_a_passing_fault_is_tried_again(town: Town, kind: str):
    await town.sandbox.fault(kind, times=2)

    run = await _sync(town)

    assert run.status == "finished"
    assert _counts(run) == (500, 0, 0, 0)
    assert run.retried == 2


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("domainCannotUseApis", "API controls"),
        ("accessNotConfigured", "Admin SDK"),
        ("forbidden", "GOOGLE_ADMIN_EMAIL"),
    ],
)
async def test_a_wrong_set_up_is_said_in_plain_words_at_once(town: Town, kind: str, advice: str):
    await town.sandbox.fault(kind, times=20)

    with pytest.raises(VendorRefused, match=advice):
        await town.portal.sync.run()

    last = await town.portal.sync.find_last()
    assert last is not None
    assert (last.status, last.retried) == ("failed", 0)
    assert advice in (last.reason or "")


async def test_a_missing_delegation_is_said_in_plain_words(town: Town):
    await town.sandbox.tell("faults", {"path": "/token", "kind": "unauthorized_client", "times": 1})

    with pytest.raises(VendorRefused, match="Domain-wide delegation"):
        await town.portal.sync.run()


async def test_an_unusable_page_token_restarts_the_listing(town: Town):
    await _hire(town, 300)
    await _sync(town)
    await town.sandbox.fault("bad-token")

    run = await _sync(town)

    assert (run.status, run.seen, run.pages) == ("finished", 800, 3)
    assert _counts(run) == (0, 0, 800, 0)


async def test_page_tokens_that_stay_unusable_fail_the_run_and_remove_nobody(town: Town):
    await _hire(town, 300)
    await _sync(town)
    await town.sandbox.fault("bad-token", times=20)

    with pytest.raises(VendorDown, match="cannot be read to its end"):
        await town.portal.sync.run()

    assert await _here(town) == 800


async def test_a_dry_run_counts_and_changes_nothing(town: Town):
    await _sync(town)
    await town.sandbox.change("cy@acme.test", title="Explorer")
    await town.sandbox.change("ben@acme.test", deleted=True)
    asked = await town.portal.sync.ask(by=TESTER, dry_run=True)

    run = await _sync(town)

    assert run.id == asked
    assert _counts(run) == (0, 1, 498, 1)
    assert await _here(town) == 500
    assert await town.value("SELECT title FROM people WHERE email = 'cy@acme.test'") != "Explorer"


async def test_two_who_ask_get_the_same_run(town: Town):
    first, second = await asyncio.gather(town.portal.sync.ask(by=TESTER), town.portal.sync.ask(by=SCHEDULE))

    assert first == second


async def test_two_workers_do_one_run_at_a_time(town: Town):
    await town.sandbox.fault("slow", seconds=0.5)

    runs = await asyncio.gather(town.portal.sync.run(), town.portal.sync.run())

    assert sorted(run is None for run in runs) == [False, True]


async def test_a_run_whose_worker_was_lost_makes_way(town: Town):
    await town.execute(
        """
        INSERT INTO people_syncs (status, asked_by, started_at, beat_at)
        VALUES ('running', 'schedule', now() - interval '5 minutes', now() - interval '2 minutes')
        """
    )

    run = await _sync(town)

    assert run.status == "finished"
    assert await town.value("SELECT reason FROM people_syncs WHERE id = 1") == "its worker was lost"


async def test_a_run_that_is_stopped_says_so_and_leaves_no_trace_of_its_listing(town: Town):
    await town.sandbox.fault("slow", seconds=5)
    running = asyncio.create_task(town.portal.sync.run())
    await eventually(lambda: town.value("SELECT count(*) FROM people_syncs WHERE status = 'running'"))

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    last = await eventually(town.portal.sync.find_last)
    assert (last.status, last.reason) == ("failed", "its worker was stopped")
    assert await town.value("SELECT count(*) FROM people_pages") == 0


async def test_what_google_sends_is_kept_as_it_is(town: Town):
    await _sync(town)
    google: dict[str, Any] = await town.sandbox.change("cy@acme.test")
    kept = await town.value(
        "SELECT ARRAY[email, name, department, title, org_unit] FROM people WHERE google_id = %s",
        google["id"],
    )

    work = google["organizations"][0]
    assert kept == [
        google["primaryEmail"],
        google["name"]["fullName"],
        work["department"],
        work["title"],
        google["orgUnitPath"],
    ]


async def test_a_run_taken_for_dead_writes_nothing_more(town: Town):
    await _sync(town)
    await town.sandbox.change("cy@acme.test", title="Explorer")
    await town.sandbox.fault("slow", seconds=1)
    slow = asyncio.create_task(town.portal.sync.run())
    await eventually(lambda: town.value("SELECT count(*) FROM people_syncs WHERE status = 'running'"))
    await town.execute(
        "UPDATE people_syncs SET beat_at = now() - interval '2 minutes' WHERE status = 'running'"
    )

    other = await _sync(town)
    with pytest.raises(RunLost):
        await slow

    assert (other.status, other.seen, other.updated) == ("finished", 500, 1)
    assert (
        await town.value("SELECT reason FROM people_syncs WHERE id = %s", other.id - 1)
        == "its worker was lost"
    )


async def test_a_404_that_is_not_googles_says_nothing_about_a_person(town: Town):
    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return httpx2.Response(200, json={"access_token": "given", "expires_in": 3600})
        return httpx2.Response(404, text="<html>not here</html>")

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        key = town.portal.settings.google_service_account
        credentials = Credentials(
            http, service_account=key.reveal() if key else None, admin_email="ada@acme.test"
        )
        api = GoogleApi(http, credentials, Throttle())
        directory = GoogleDirectory(api, base_url="http://proxy.test", customer="my_customer")

        with pytest.raises(VendorRefused):
            await directory.user("1")


async def test_somebody_with_an_odd_record_stops_nobody_elses_sync(town: Town):
    await town.sandbox.change("cy@acme.test", name={"givenName": "C\u0000y", "familyName": "Marchetti"})

    run = await _sync(town)

    assert (run.status, run.seen) == ("finished", 500)
    assert await town.value("SELECT name FROM people WHERE email = 'cy@acme.test'") == "Cy Marchetti"


async def test_a_wish_that_comes_while_a_run_is_under_way_is_fulfilled_by_the_same_job(town: Town):
    job = next(job for job in town.portal.jobs if job.name == "people.sync")
    await town.sandbox.fault("slow", seconds=1)
    doing = asyncio.ensure_future(job.run(Work(job_id="1", attempt=1, request_id="")))
    await eventually(lambda: town.value("SELECT count(*) FROM people_syncs WHERE status = 'running'"))

    wanted = await town.portal.sync.ask(by=TESTER)
    await doing

    run = await town.portal.sync.get(wanted)
    assert run is not None
    assert run.status == "finished"


async def test_whoever_may_not_be_asked_about_freezes_nobody_else(town: Town):
    await _sync(town)
    gone = await town.value("SELECT google_id FROM people WHERE email = 'ben@acme.test'")
    await town.sandbox.change("ben@acme.test", deleted=True)
    await town.sandbox.fault("missing-users-key", query={"showDeleted": "true"}, times=3)
    await town.sandbox.tell("faults", {"path": f"{USERS}/{gone}", "kind": "forbidden", "times": 20})
    await _sync(town)
    await town.sandbox.change("cy@acme.test", suspended=True)

    run = await _sync(town)

    assert (run.status, run.updated) == ("finished", 1)
    assert await town.value("SELECT status FROM people WHERE email = 'cy@acme.test'") == "suspended"


def test_of_an_odd_record_the_rest_is_kept():
    for odd in (
        b'"relations":[{"value":null}]',
        b'"title":"\\ud83d"',
        b'"customSchemas":{"a":{"b":1e999999}}',
    ):
        sent = b'{"id":"1","primaryEmail":"cy@acme.test","suspended":true,' + odd + b"}"

        (record,) = records([msgspec.Raw(sent)])
        person = record.person()

        assert person is not None, odd
        assert (person.google_id, person.status) == ("1", "suspended")
        assert b"999999" not in bytes(person.custom_schemas)


async def test_somebody_gone_without_an_account_gets_none(town: Town):
    await town.sandbox.change("ben@acme.test", deleted=True)
    await _sync(town)
    await town.sandbox.change("ben@acme.test", deleted=False)  # Google lets them in; we have not heard of it

    async with town.visitor() as ben:
        refused = await ben.sign_in("ben@acme.test")

        assert refused.status_code == 403
        assert ben.session_id is None
    assert await town.value("SELECT count(*) FROM accounts") == 0
    await town.portal.rereads.work_off()
    async with town.signed_in("ben@acme.test") as ben:
        assert (await ben.get("/people")).status_code == 200

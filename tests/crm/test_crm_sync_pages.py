"""Runs of the sync of customers as people see, start and download them."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from tests.crm.hubspot_town import a_deal, in_haste, some, synced
from tests.town import Town, Visitor, eventually, serving

from muster.crm.fields import Kind
from muster.crm.runs import CrmRun
from muster.crm.sync_words import advice_on, faults_of
from muster.errors import VendorRefused
from muster.platform.queue import Work
from muster.settings import Settings
from muster.web import application
from muster.wiring import portal


async def _says(visitor: Visitor, path: str, word: str) -> bool:
    return word in (await visitor.get(path)).text


async def test_a_sync_is_started_by_a_button_and_a_worker_does_it(town: Town):
    await in_haste(town)
    async with town.signed_in("ada@acme.test") as ada, town.working():
        started = await ada.post("/crm/syncs", {"full": "true"})
        path = urlsplit(started.headers["location"]).path

        assert started.status_code == 303
        await eventually(lambda: _says(ada, path, "Finished"))
        run = (await ada.get(f"/api/v1{path}")).json()
        assert (run["is_full"], run["asked_by"]) == (True, "ada@acme.test")
        assert "crm.sync_asked" in await town.audited()


async def test_whoever_may_not_sync_sees_runs_and_starts_none(town: Town):
    async with town.signed_in("cy@acme.test") as cy:
        assert "Sync now" not in (await cy.get("/crm/syncs")).text
        assert (await cy.post("/crm/syncs", {})).status_code == 403
        assert await town.value("SELECT count(*) FROM crm_syncs WHERE asked_by = 'cy@acme.test'") == 0


async def test_the_list_says_what_runs_did_and_what_the_day_has_cost(town: Town):
    await in_haste(town)
    await synced(town)
    [deal] = await some(town, Kind.DEALS)
    await town.sandbox.hubspot(f"deals/{deal}", properties={"dealname": "Renamed"})
    await in_haste(town)
    await synced(town)
    async with town.signed_in("cy@acme.test") as cy:
        page = (await cy.get("/crm/syncs")).text
        assert "HubSpot syncs" in page
        assert "everything" in page
        assert "calls are left to all apps of the account" in page
        assert ">sync</th>" in page
    async with town.signed_in("ada@acme.test") as ada:
        answer = (await ada.get("/api/v1/crm/syncs?way=changes")).json()
        assert [run["updated"] for run in answer["syncs"]] == [1]
        full = (await ada.get("/api/v1/crm/syncs?way=full")).json()
        assert [run["is_full"] for run in full["syncs"]] == [True]
        told = csv.DictReader(io.StringIO((await ada.get("/crm/syncs.csv?news=yes")).text.lstrip("\ufeff")))
        assert [(row["Everything"], row["Updated"]) for row in told] == [("", "1"), ("yes", "0")]
        assert (await ada.get("/crm/syncs?way=sideways")).status_code == 422
        assert (await ada.get("/crm/syncs/999")).status_code == 404


async def test_a_run_that_failed_says_why_and_what_to_do(town: Town):
    await town.sandbox.hubspot("scopes", revoked=True)
    with pytest.raises(VendorRefused):
        await town.portal.crm_sync.run()
    run = await town.portal.crm_sync.find_last()
    assert run
    async with town.signed_in("ada@acme.test") as ada:
        page = (await ada.get(f"/crm/syncs/{run.id}")).text

    assert "HUBSPOT_TOKEN is not accepted" in page
    assert "Mend the app" in page


async def test_faults_are_told_in_words(town: Town):
    await in_haste(town)
    await town.sandbox.hubspot("faults", path="/crm/owners/*", status=503, times=1)
    run = await synced(town)

    assert [(fault.reason, fault.count) for fault in faults_of(run)] == [("503", 1)]
    assert "busy" in faults_of(run)[0].meaning
    async with town.signed_in("ada@acme.test") as ada:
        assert "HubSpot was busy" in (await ada.get(f"/crm/syncs/{run.id}")).text


@pytest.mark.parametrize(
    ("status", "reason", "word"),
    [
        ("refused", "HubSpot's listing held no deals", "could not be believed"),
        ("failed", "its worker was lost", "Nothing to do"),
        ("failed", "hubspot: the token lacks a scope for this", "doctor"),
        ("failed", "an error of Muster's own; see the log", "customers_synced"),
        ("failed", "hubspot: does not answer", "What was read is kept"),
        ("finished", None, ""),
    ],
)
async def test_every_end_has_its_advice(town: Town, status: str, reason: str | None, word: str):
    await town.execute(
        "INSERT INTO crm_syncs (status, reason, asked_by, finished_at) VALUES (%s, %s, 'x', now())",
        status,
        reason,
    )
    run: CrmRun | None = await town.portal.crm_sync.find_last()
    assert run

    assert word in advice_on(run)
    assert bool(advice_on(run)) == bool(word)


async def test_without_hubspot_pages_say_so_and_jobs_do_nothing(
    town: Town, new_settings: Callable[[], Settings]
):
    bare = replace(new_settings(), hubspot_token=None, hubspot_webhook_secret=None)
    async with (
        portal(bare, application="muster-test") as made,
        serving(application(made), bare.port) as base_url,
        replace(town, portal=made, base_url=base_url).signed_in("ada@acme.test") as ada,
    ):
        page = (await ada.get("/crm/syncs")).text
        for job in made.jobs:
            if job.queue == "crm":
                await job.run(Work(job_id="1", attempt=1, request_id=""))
        started = await ada.post("/crm/syncs", {})
        hook = await town.raw.post(f"{base_url}/hooks/hubspot", content=b"[]")

    assert "HUBSPOT_TOKEN" in page
    assert "Sync now" not in page
    assert (started.status_code, hook.status_code) == (409, 404)
    assert await town.value("SELECT count(*) FROM crm_syncs") == 0


async def test_what_is_asked_for_in_mid_run_is_done_by_the_same_job(town: Town):
    await in_haste(town)
    await synced(town)
    await a_deal(town)
    await in_haste(town)
    async with town.signed_in("ada@acme.test") as ada, town.working():
        await ada.post("/crm/syncs", {"dry_run": "true"})
        await ada.post("/crm/syncs", {})

        async def are_done() -> bool:
            waiting = await town.value(
                "SELECT count(*) FROM crm_syncs WHERE status IN ('waiting', 'running')"
            )
            return not waiting

        await eventually(are_done)
    assert await town.value("SELECT sum(created) FROM crm_syncs WHERE NOT is_full") == 2

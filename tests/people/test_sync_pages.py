"""Runs of both kinds: lists of them, one in words, starting one, and how push stands."""

import csv
import dataclasses
import io
import re
from collections.abc import Callable
from urllib.parse import urlsplit

from tests.town import Town, Visitor, eventually, served

from muster.platform.pages import in_words
from muster.settings import Settings
from muster.wiring import portal


async def _runs(visitor: Visitor, **asked: str | int) -> list[dict[str, object]]:
    answer = (await visitor.get("/api/v1/people/syncs", params=asked)).json()
    assert len(answer["syncs"]) <= answer["total"]
    return list(answer["syncs"])


async def _says(visitor: Visitor, path: str, word: str) -> bool:
    return word in (await visitor.get(path)).text


async def test_a_form_without_fields_asks_for_people_and_others_for_what_they_say(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        for fields, expected in (
            ({}, ("people", False, False)),
            ({"kind": "groups"}, ("groups", False, False)),
            ({"kind": "groups", "dry_run": "true"}, ("groups", True, False)),
            ({"kind": "people", "dry_run": "true", "full": "true"}, ("people", True, True)),
        ):
            started = await ada.post("/people/syncs", fields)
            path = urlsplit(started.headers["location"]).path
            run = (await ada.get(f"/api/v1{path}")).json()

            assert started.status_code == 303
            assert (run["kind"], run["dry_run"], run["is_full"]) == expected
        assert (await ada.post("/people/syncs", {"kind": "deals"})).status_code == 422
        assert set(await town.audited()) >= {"people.sync_asked", "groups.sync_asked"}


async def test_a_sync_of_groups_is_started_by_a_button_and_a_worker_does_it(town: Town):
    await town.portal.sync.run()
    async with town.signed_in("ada@acme.test") as ada, town.working():
        started = await ada.post("/people/syncs", {"kind": "groups"})
        path = urlsplit(started.headers["location"]).path

        await eventually(lambda: _says(ada, path, "Finished"))
        assert "Members came" in (await ada.get(path)).text


async def test_runs_are_filtered_by_kind_outcome_and_dry_runs(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        await town.portal.sync.run()
        await town.portal.groups.run()
        await ada.post("/people/syncs", {"dry_run": "true"})
        await town.portal.sync.run()

        assert len(await _runs(ada)) == 3
        assert [run["kind"] for run in await _runs(ada, kind="groups")] == ["groups"]
        assert [run["dry_run"] for run in await _runs(ada, dry="only")] == [True]
        assert len(await _runs(ada, dry="no", status="finished")) == 2
        assert [run["asked_by"] for run in await _runs(ada, q="ADA@")] == ["ada@acme.test"]
        assert await _runs(ada, status="failed") == []
        assert "No sync matches" in (await ada.get("/people/syncs?status=failed")).text
        rows = csv.DictReader(io.StringIO((await ada.get("/people/syncs.csv?kind=people")).text))
        assert [row["Kind"] for row in rows] == ["people", "people"]
        for wrong in ("kind=x", "status=x", "dry=x", "sort=x"):
            assert (await ada.get(f"/people/syncs.csv?{wrong}")).status_code == 422, wrong


async def test_runs_are_paged_in_every_order(town: Town):
    for _ in range(5):
        await town.portal.sync.run()
    async with town.signed_in("cy@acme.test") as cy:
        for sort in ("started", "-started", "took", "-took", "changes", "-changes"):
            seen: list[int] = []
            after = ""
            while True:
                asked = {"sort": sort, "limit": 2, "after": after}
                answer = (await cy.get("/api/v1/people/syncs", params=asked)).json()
                seen += [run["id"] for run in answer["syncs"]]
                if not (after := answer["after"] or ""):
                    break
            assert sorted(seen) == [1, 2, 3, 4, 5], sort


async def test_a_run_says_what_failed_and_what_that_means(town: Town):
    await town.sandbox.fault("backendError", times=2)
    await town.portal.sync.run()

    async with town.signed_in("cy@acme.test") as cy:
        page = (await cy.get("/people/syncs/1")).text

        assert "First load" in page
        assert "that people were already there is no event" in page
        reasons = (await cy.get("/api/v1/people/syncs/1")).json()["faults"]
        for reason in reasons:
            assert f">{reason}</th>" in page
        assert reasons
        assert "The call was made again." in page


async def test_a_refused_run_says_why_and_what_to_do(town: Town):
    await town.portal.sync.run()
    await town.sandbox.fault("missing-users-key")
    await town.portal.sync.run()

    async with town.signed_in("cy@acme.test") as cy:
        page = (await cy.get("/people/syncs/2")).text

        assert "Refused" in page
        assert "held nobody at all" in page
        assert "muster doctor" in page


async def test_a_run_under_way_tells_its_rate_and_what_is_left(town: Town):
    await town.execute(
        """
        INSERT INTO people_syncs (kind, status, asked_by, started_at, beat_at, expected, seen)
        VALUES ('people', 'running', 'schedule', now() - interval '10 s', now(), 1000, 500)
        """
    )
    async with town.signed_in("cy@acme.test") as cy:
        for path in ("/people/syncs", "/people/syncs/1"):
            page = (await cy.get(path)).text
            assert re.search(r"500 of about 1,000 people, \d+ a second, about 1\d s left", page), path
            assert "data-live" in page


async def test_push_is_shown_to_whoever_may_sync(town: Town):
    await town.portal.push.keep_open()
    async with town.signed_in("ada@acme.test") as ada, town.signed_in("cy@acme.test") as cy:
        page = (await ada.get("/people/syncs")).text

        assert page.count(">Live</span>") == 5
        assert "without a gap" in page
        assert "Push from Google" not in (await cy.get("/people/syncs")).text


async def test_push_that_cannot_be_says_why(town: Town, new_settings: Callable[[], Settings]):
    """A company's own Google on a portal without https; whoever is signed in beside it is so here too."""
    ours = dataclasses.replace(new_settings(), google_issuer="https://accounts.google.com")
    async with (
        town.signed_in("ada@acme.test") as ada,
        portal(ours, application="muster-test") as made,
        served(made, ours.port) as base_url,
    ):
        page = (await ada.get(f"{base_url}/people/syncs")).text

        assert "PUBLIC_URL is not https" in page


async def test_the_last_runs_are_drawn_once_there_are_two(town: Town):
    async with town.signed_in("cy@acme.test") as cy:
        await town.portal.sync.run()
        assert "<svg" not in (await cy.get("/people/syncs")).text.split("<main", 1)[1]
        await town.portal.sync.run()
        assert "Seconds of the last 2 runs" in (await cy.get("/people/syncs")).text


async def test_an_unknown_run_is_not_found(town: Town):
    async with town.signed_in("cy@acme.test") as cy:
        assert (await cy.get("/people/syncs/1")).status_code == 404
        assert (await cy.get("/api/v1/people/syncs/1")).status_code == 404


def test_a_stretch_of_time_is_said_at_a_glance():
    assert [in_words(seconds) for seconds in (0.04, 12.4, 99, 150, 4800)] == [
        "0.0 s",
        "12 s",
        "99 s",
        "2 min",
        "1 h 20 min",
    ]

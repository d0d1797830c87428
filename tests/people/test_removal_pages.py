"""Removals that are held: who sees them, and how they are decided."""

import csv
import io

import pytest
from tests.town import Town, Visitor

LEAVING = 60
STAYING = ("ada@acme.test", "ben@acme.test", "cy@acme.test")


async def _delete(town: Town, count: int) -> list[str]:
    emails: list[str] = await town.value(
        """
        SELECT array_agg(email) FROM (
            SELECT email FROM people WHERE removed_at IS NULL AND email <> ALL(%s)
            ORDER BY google_id LIMIT %s
        ) AS leaving
        """,
        list(STAYING),
        count,
    )
    for email in emails:
        await town.sandbox.change(email, deleted=True)
    return emails


@pytest.fixture
async def holding(town: Town) -> Town:
    """A sync has found more people gone than may leave unasked."""
    await town.portal.sync.run()
    await _delete(town, LEAVING)
    run = await town.portal.sync.run()
    assert run
    assert run.held == LEAVING
    return town


async def _here(town: Town) -> int:
    return int(await town.value("SELECT count(*) FROM people WHERE removed_at IS NULL"))


async def _decide(visitor: Visitor, verdict: str, expected: int, typed: str = "") -> int:
    fields = {"verdict": verdict, "expected": str(expected), "typed": typed}
    return (await visitor.post("/people/removals/1/decision", fields)).status_code


async def test_a_removal_is_shown_with_its_reason_and_everybody_in_it(holding: Town):
    async with holding.signed_in("ada@acme.test") as ada:
        listed = (await ada.get("/people/removals")).text
        page = (await ada.get("/people/removals/1")).text
        rows = list(
            csv.DictReader(io.StringIO((await ada.get("/people/removals/1.csv")).content.decode("utf-8-sig")))
        )

        assert "60 of 500 people would leave at once" in listed
        assert f"Type {LEAVING} to release" in page
        assert "20 days left to restore" in page
        assert len(rows) == LEAVING
        assert {row["Google says"] for row in rows} == {"deleted"}
        first = (await ada.get("/api/v1/people/removals/1?limit=40")).json()
        second = (await ada.get("/api/v1/people/removals/1", params={"after": first["after"]})).json()
        assert len({one["id"] for one in first["people"] + second["people"]}) == LEAVING
        assert "Nobody matches" in (await ada.get("/people/removals/1?absence=unknown")).text


async def test_the_run_that_found_them_leads_there_and_so_does_a_banner(holding: Town):
    async with holding.signed_in("ada@acme.test") as ada, holding.signed_in("cy@acme.test") as cy:
        assert 'href="/people/removals/1"' in (await ada.get("/people/syncs/2")).text
        assert "60 people wait to be removed" in (await ada.get("/people/syncs")).text
        assert "wait to be removed" not in (await cy.get("/people/syncs")).text
        assert (await cy.get("/people/removals/1")).status_code == 403


async def test_a_release_removes_them_once_their_number_is_typed(holding: Town):
    async with holding.signed_in("ada@acme.test") as ada:
        assert await _decide(ada, "release", LEAVING) == 422
        assert await _decide(ada, "release", LEAVING, "61") == 422
        assert await _here(holding) == 500

        assert await _decide(ada, "release", LEAVING, "60") == 303

        assert await _here(holding) == 500 - LEAVING
        page = (await ada.get("/people/removals/1")).text
        assert "ada@acme.test had 60 of them removed" in page
        assert "Release: remove" not in page
        assert "people.removal_released" in await holding.audited()


async def test_a_decision_on_other_people_than_were_shown_is_a_conflict(holding: Town):
    async with holding.signed_in("ada@acme.test") as ada:
        await _delete(holding, LEAVING + 1)
        await holding.portal.sync.run()

        assert await _decide(ada, "release", LEAVING, "60") == 409
        assert await _decide(ada, "reject", LEAVING) == 409
        assert await _here(holding) == 500


async def test_a_rejection_keeps_them_and_is_decided_once(holding: Town):
    async with holding.signed_in("ada@acme.test") as ada:
        assert await _decide(ada, "reject", LEAVING) == 303
        assert await _decide(ada, "reject", LEAVING) == 409
        run = await holding.portal.sync.run()

        assert run
        assert (run.held, run.removed) == (0, 0)
        assert await _here(holding) == 500
        assert "wait to be removed" not in (await ada.get("/people/syncs")).text
        assert await _decide(ada, "release", LEAVING, "60") == 303  # after all
        assert await _decide(ada, "release", LEAVING, "60") == 409
        assert await _here(holding) == 500 - LEAVING


async def test_whoever_comes_back_leaves_the_removal_and_the_number_on_the_banner(holding: Town):
    gone: list[str] = await holding.value("SELECT array_agg(google_id) FROM people_removal_entries")
    async with holding.portal.database.transaction() as tx:
        await holding.portal.removals.seen(tx, gone[:5])

    async with holding.signed_in("ada@acme.test") as ada:
        assert "55 people wait to be removed" in (await ada.get("/people/syncs")).text
        assert "Type 55 to release" in (await ada.get("/people/removals/1")).text


async def test_few_need_no_typing(holding: Town):
    await holding.execute(
        """
        DELETE FROM people_removal_entries WHERE google_id NOT IN (
            SELECT google_id FROM people_removal_entries LIMIT 12
        )
        """
    )
    async with holding.signed_in("ada@acme.test") as ada:
        assert "to release</label>" not in (await ada.get("/people/removals/1")).text
        assert await _decide(ada, "release", 12) == 303
        assert await _here(holding) == 488


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"verdict": "burn", "expected": "60"},
        {"verdict": "reject"},
        {"verdict": "reject", "expected": "-1"},
    ],
)
async def test_a_decision_that_says_too_little_is_refused(holding: Town, fields: dict[str, str]):
    async with holding.signed_in("ada@acme.test") as ada:
        assert (await ada.post("/people/removals/1/decision", fields)).status_code == 422


async def test_nothing_held_says_that_nothing_needs_doing(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        assert "Nothing needs doing" in (await ada.get("/people/removals")).text
        assert (await ada.get("/people/removals/1")).status_code == 404
        assert await _decide(ada, "reject", 1) == 404

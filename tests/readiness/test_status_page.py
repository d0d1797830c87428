"""What works, told to people: true while servers are away, and sparing with who is not signed in."""

import re
import time
from dataclasses import replace

import httpx2
from tests.readiness.away import nobody, silence, without_postgresql, without_redis
from tests.readiness.line import Cut, line_to
from tests.town import Town, Visitor, eventually, served

from muster.settings import Secret, Settings
from muster.wiring import portal

EVERYTHING = {
    "Signing in": "works",
    "People and groups": "works",
    "Customers": "works",
    "Changing customers": "works",
    "Background work": "works",
}


def told(response: httpx2.Response) -> dict[str, str]:
    """Capability → whether it works."""
    assert response.status_code == 200, response.text
    found = re.findall(r"<strong>([^<]+)</strong> <span [^>]+>([^<]+)</span>", response.text)
    return {name: works.lower() for name, works in found}


async def proved(town: Town, *, days_ago: int, held: bool, minutes: int = 1) -> None:
    await town.execute(
        "INSERT INTO proofs (row, held, evidence, took_ms, version, at) "
        "SELECT 'workers.alive', %s, '', 1, '0', "
        "date_trunc('day', now()) - make_interval(days => %s, mins => -minute) "
        "FROM generate_series(0, %s) AS minute",
        held,
        days_ago,
        minutes - 1,
    )


async def test_everything_works_and_a_member_sees_its_past(town: Town):
    await town.all_in_step()
    async with town.working(), town.signed_in("cy@acme.test") as cy:
        await proved(town, days_ago=0, held=True)
        page = await cy.get("/status")

    assert told(page) == EVERYTHING
    assert "Everything works" in page.text
    assert "Nothing to mind." in page.text
    assert "without a failure" in page.text


async def test_what_failed_on_a_day_is_in_its_picture(town: Town):
    async with town.signed_in("cy@acme.test") as cy:
        await proved(town, days_ago=4, held=False, minutes=3)
        await proved(town, days_ago=3, held=False, minutes=30)
        await proved(town, days_ago=2, held=True)
        page = await cy.get("/status")

    work = page.text.split("Background work")[-1]
    assert "last trouble on" in work
    assert re.findall(r'<i data-status="(\w+)"', work) == ["stale", "failed", "proved"]
    assert "trouble for 30 min" in work
    assert "1 of the last 3 days without a failure" in work


async def test_a_stranger_learns_what_works_and_nothing_else(town: Town):
    async with town.visitor() as stranger:
        page = await stranger.get("/status")

    assert told(page)["Background work"] == "does not work"
    assert told(page)["People and groups"] == "works in part"
    assert "Since" not in page.text.replace("Since when, and what", "")
    assert "<i " not in page.text.split("Part by part")[1].split("</dl>")[0]


async def test_while_redis_is_away_the_page_says_so(settings: Settings):
    with nobody() as somewhere:
        async with (
            portal(without_redis(settings, somewhere), application="muster-test") as made,
            served(made, 0) as base_url,
            Visitor(base_url) as visitor,
        ):
            visitor.cookies.set("muster_session", "of-an-hour-ago")
            page = await visitor.get("/status")
            elsewhere = await visitor.get("/people")

    assert told(page) == dict.fromkeys(EVERYTHING, "does not work")
    assert "Nothing works at this moment" in page.text
    assert elsewhere.status_code == 503
    assert 'href="/status"' in elsewhere.text
    assert somewhere not in page.text


async def test_while_nothing_answers_the_page_comes_in_time(settings: Settings):
    with silence() as somewhere:
        away = without_redis(without_postgresql(settings, somewhere), somewhere)
        async with (
            portal(away, application="muster-test") as made,
            served(made, 0) as base_url,
            Visitor(base_url) as visitor,
        ):
            visitor.cookies.set("muster_session", "of-an-hour-ago")
            started = time.monotonic()
            page = await visitor.get("/status")

    assert time.monotonic() - started < 10
    assert told(page) == dict.fromkeys(EVERYTHING, "does not work")


async def test_whoever_is_signed_in_is_told_what_it_means_once_a_line_breaks(town: Town, settings: Settings):
    """The same town, seen by a process whose line to PostgreSQL is cut: rights are cached in Redis."""
    async with line_to(settings.database_url.reveal()) as line:
        cut_off = replace(settings, database_url=Secret(line.url(settings.database_url.reveal())))
        async with (
            portal(cut_off, application="muster-test") as made,
            served(made, 0) as base_url,
            town.signed_in("cy@acme.test") as cy,
            Visitor(base_url) as there,
        ):
            there.cookies.set("muster_session", cy.session_id or "")
            assert "Cy" in (await there.get("/status")).text
            await line.cut(Cut.REFUSE)

            async def is_told() -> httpx2.Response | None:
                page = await there.get("/status")
                return page if told(page)["People and groups"] == "does not work" else None

            page = await eventually(is_told)

    assert "The directory cannot be read here." in page.text
    assert "or longer" in page.text


async def test_without_hubspot_nothing_is_said_of_customers(settings: Settings):
    async with (
        portal(replace(settings, hubspot_token=None), application="muster-test") as made,
        served(made, 0) as base_url,
        Visitor(base_url) as visitor,
    ):
        page = await visitor.get("/status")

    assert {name for name in told(page) if "ustomers" in name} == set()

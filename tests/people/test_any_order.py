"""Whatever order changes, pages, push messages and faults come in, our copy ends as the directory is."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.town import Town, eventually

from muster.people.directory_copy import News, Occasion, Reading
from muster.people.rereads import Answers, _Wish, ask_about

PEOPLE = ("ben@acme.test", "cy@acme.test")
LISTED = Occasion(source="listing")
ORDERS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

_who = st.sampled_from(PEOPLE)
changes = st.one_of(
    st.tuples(st.just("title"), _who, st.integers(0, 3)),
    st.tuples(st.just("suspended"), _who, st.booleans()),
    st.tuples(st.just("deleted"), _who, st.booleans()),
)
steps = st.one_of(
    changes,
    st.tuples(st.just("ask")),
    st.tuples(st.just("take answers"), st.integers(0, 3)),
    st.tuples(st.just("list")),
    st.tuples(st.just("take page"), st.integers(0, 3)),
)


@dataclass
class Play:
    """A company of whom answers are under way: asked for, come back, and not written yet."""

    town: Town
    ids: dict[str, str] = field(default_factory=dict)
    answers: list[tuple[Sequence[_Wish], Answers]] = field(default_factory=list)
    pages: list[Reading] = field(default_factory=list)

    async def begin(self) -> None:
        await self.town.sandbox.tell("reset")
        await self.town.raw_execute(
            "TRUNCATE people, people_syncs, people_chains, people_pages, people_changes, people_removals, "
            "people_removal_entries, people_rereads RESTART IDENTITY"
        )
        await self.town.portal.sync.run()
        async with self.town.portal.database.reading() as statements:
            self.ids = await statements.pairs(
                "SELECT email, google_id FROM people WHERE email = ANY(%s)", [list(PEOPLE)]
            )

    async def do(self, step: tuple[Any, ...], *, pushed: bool) -> None:
        match step:
            case ("title", who, number):
                await self._change(who, {"title": f"Title {number}"}, pushed=pushed)
            case ("suspended" | "deleted" as what, who, value):
                await self._change(who, {what: value}, pushed=pushed)
            case ("ask",):
                await self._ask()
            case ("take answers", number) if number < len(self.answers):
                await self._take_answers(number)
            case ("list",):
                await self._list()
            case ("take page", number) if number < len(self.pages):
                await self._take_page(number)

    async def end(self) -> None:
        """All that is under way arrives, the youngest first, and whoever is named is asked about."""
        while self.answers:
            await self._take_answers(-1)
        while self.pages:
            await self._take_page(-1)
        await self.town.portal.rereads.work_off()

    async def ours(self) -> dict[str, tuple[str, str]]:
        """Id → (state, title); somebody deleted has no title that Google would still tell."""
        rows = await self.town.value(
            """
            SELECT jsonb_object_agg(google_id, jsonb_build_array(
                status, CASE WHEN removed_at IS NULL THEN title ELSE '' END))
            FROM people WHERE google_id = ANY(%s)
            """,
            list(self.ids.values()),
        )
        return {google_id: (state, title) for google_id, (state, title) in rows.items()}

    async def theirs(self) -> dict[str, tuple[str, str]]:
        found = {}
        for google_id in self.ids.values():
            user = (await self.town.sandbox.tell(f"people/{google_id}"))["user"]
            if user.get("deletionTime"):
                found[google_id] = ("deleted", "")
            else:
                state = "suspended" if user["suspended"] else "active"
                found[google_id] = (state, user["organizations"][0]["title"])
        return found

    async def _change(self, who: str, patch: dict[str, Any], *, pushed: bool) -> None:
        google_id = self.ids[who]
        await self.town.sandbox.tell(f"people/{google_id}", patch)
        if pushed:
            await self.town.portal.rereads.want([google_id], because="push")

    async def _ask(self) -> None:
        made = self.town.portal
        wishes = await made.database.rows(_Wish, "SELECT google_id, wish FROM people_rereads")
        answers = await ask_about(made.directory, made.sync.copy, [one.google_id for one in wishes])
        self.answers.append((wishes, answers))

    async def _take_answers(self, number: int) -> None:
        await self.town.portal.rereads._settle(*self.answers.pop(number))

    async def _list(self) -> None:
        made = self.town.portal
        asked = await made.sync.copy.number()
        page = await made.directory.users_page("")
        self.pages.append(Reading(asked=asked, records=page.records))

    async def _take_page(self, number: int) -> None:
        made = self.town.portal
        news: list[News] = await made.sync.copy.compare([self.pages.pop(number)])
        async with made.database.transaction() as tx:
            await made.sync.copy.settle(tx, news, LISTED)


@ORDERS
@given(order=st.lists(steps, min_size=4, max_size=16))
async def test_where_no_push_is_lost_no_listing_is_needed(town: Town, order: list[tuple[Any, ...]]):
    play = Play(town)
    await play.begin()

    for step in order:
        await play.do(step, pushed=True)
    await play.end()

    assert await play.ours() == await play.theirs()


@ORDERS
@given(
    order=st.lists(steps, min_size=4, max_size=16),
    fault=st.sampled_from([None, "503", "userRateLimitExceeded", "missing-users-key", "truncated", "html"]),
)
async def test_where_every_push_is_lost_the_next_whole_listing_mends_it(
    town: Town, order: list[tuple[Any, ...]], fault: str | None
):
    play = Play(town)
    await play.begin()

    for step in order:
        await play.do(step, pushed=False)
    await play.end()
    if fault:
        await town.sandbox.fault(fault)
    run = await town.portal.sync.run()
    if run is None or run.status != "finished":
        await town.portal.sync.run()
    await town.portal.rereads.work_off()

    assert await play.ours() == await play.theirs()


async def test_a_page_read_before_a_push_does_not_undo_it(town: Town):
    play = Play(town)
    await play.begin()

    await play.do(("list",), pushed=True)
    await play.do(("title", "cy@acme.test", 1), pushed=True)
    await town.portal.rereads.work_off()
    await play.do(("take page", 0), pushed=True)

    assert (await play.ours())[play.ids["cy@acme.test"]] == ("active", "Title 1")


async def test_whoever_came_in_the_wake_of_a_listing_is_not_missed_by_it(town: Town):
    """Hired after their place in the listing had been passed: here by push, and in no page."""
    await town.portal.sync.run()
    await town.sandbox.fault("slow", seconds=1, query={"showDeleted": "true"})
    running = asyncio.create_task(town.portal.sync.run())
    await eventually(lambda: town.value("SELECT count(*) FROM people_chains WHERE is_done"))
    hired = await town.sandbox.tell(
        "people", {"primaryEmail": "nia@acme.test", "name": {"givenName": "Nia", "familyName": "New"}}
    )
    await town.portal.rereads.want([hired["user"]["id"]], because="push: add")
    await town.portal.rereads.work_off()

    run = await running

    assert run is not None
    assert (run.status, run.removed, run.missed) == ("finished", 0, 0)
    assert await town.value("SELECT removed_at IS NULL FROM people WHERE email = 'nia@acme.test'")


async def test_a_page_read_between_two_changes_that_cancel_out_does_not_bring_the_first_back(town: Town):
    """The push finds what was known already; that it looked is what makes the page old."""
    play = Play(town)
    await play.begin()
    await play.do(("title", "cy@acme.test", 0), pushed=True)
    await town.portal.rereads.work_off()

    await play.do(("title", "cy@acme.test", 1), pushed=True)
    await play.do(("list",), pushed=True)
    await play.do(("title", "cy@acme.test", 0), pushed=True)
    await town.portal.rereads.work_off()
    await play.do(("take page", 0), pushed=True)
    await town.portal.rereads.work_off()

    assert (await play.ours())[play.ids["cy@acme.test"]] == ("active", "Title 0")

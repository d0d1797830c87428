"""Who leaves: at once where few do, and by an administrator's leave where many would."""

import pytest
from msgspec import Raw
from tests.town import Town

from muster.errors import Conflict, NotFound, VendorDown
from muster.people.directory_copy import Occasion, Reading
from muster.people.google_user import Record
from muster.people.runs import SyncRun
from muster.platform.actor import Actor

ADA = Actor(
    account_id=1,
    email="ada@acme.test",
    name="Ada",
    title="Admin",
    roles=("admin",),
    permissions=frozenset(),
)
MANY = 60


@pytest.fixture
async def people(town: Town) -> Town:
    await town.portal.sync.run()
    await town.execute(
        "INSERT INTO accounts (google_id, email) "
        "SELECT google_id, email FROM people WHERE email = 'ada@acme.test'"
    )
    return town


async def sync(town: Town) -> SyncRun:
    run = await town.portal.sync.run()
    assert run is not None
    return run


async def delete(town: Town, count: int) -> list[str]:
    """Delete so many in Google; their addresses."""
    emails: list[str] = await town.value(
        """
        SELECT array_agg(email) FROM (
            SELECT email FROM people WHERE removed_at IS NULL AND email <> ALL(%s) ORDER BY google_id LIMIT %s
        ) AS chosen
        """,
        ["ada@acme.test", "ben@acme.test", "cy@acme.test"],
        count,
    )
    await town.sandbox.tell("people/many", {"emails": emails, "patch": {"deleted": True}})
    return emails


async def here(town: Town) -> int:
    return int(await town.value("SELECT count(*) FROM people WHERE removed_at IS NULL"))


async def test_a_few_leave_at_once(people: Town):
    await delete(people, 20)

    run = await sync(people)

    assert (run.removed, run.held) == (20, 0)
    assert await here(people) == 480
    assert await people.portal.removals.find_waiting() is None


async def test_many_wait_for_an_administrator_while_all_else_goes_on(people: Town):
    await delete(people, MANY)
    await people.sandbox.change("cy@acme.test", title="Explorer")

    run = await sync(people)

    assert (run.status, run.removed, run.held, run.updated) == ("finished", 0, MANY, 1)
    assert await here(people) == 500
    assert await people.value("SELECT title FROM people WHERE email = 'cy@acme.test'") == "Explorer"
    removal = await people.portal.removals.find_waiting()
    assert removal is not None
    assert (removal.total, removal.sync_id) == (MANY, run.id)
    assert f"{MANY} of 500 people would leave at once" in removal.reason
    assert await people.value("SELECT count(*) FROM people_removal_entries") == MANY


async def test_what_is_released_leaves(people: Town):
    await delete(people, MANY)
    await sync(people)
    waiting = await people.portal.removals.find_waiting()
    assert waiting is not None

    removal = await people.portal.removals.release(waiting.id, by=ADA)

    assert (removal.status, removal.removed, removal.decided_by) == ("released", MANY, "ada@acme.test")
    assert await here(people) == 500 - MANY
    assert "people.removal_released" in await people.audited()
    told = await people.value(
        "SELECT count(*) FROM people_changes WHERE source = 'released' AND by_email = 'ada@acme.test'"
    )
    assert told == MANY
    run = await sync(people)
    assert (run.removed, run.held) == (0, 0)


async def test_whoever_came_back_before_the_release_stays(people: Town):
    emails = await delete(people, MANY)
    await sync(people)
    waiting = await people.portal.removals.find_waiting()
    assert waiting is not None
    await people.sandbox.tell("people/many", {"emails": emails[:5], "patch": {"deleted": False}})
    ids = await people.value("SELECT array_agg(google_id) FROM people WHERE email = ANY(%s)", emails[:5])
    await people.portal.rereads.want(ids, because="test")
    await people.portal.rereads.work_off()

    removal = await people.portal.removals.release(waiting.id, by=ADA)

    assert removal.removed == MANY - 5
    assert await here(people) == 500 - MANY + 5


async def test_what_is_rejected_stays_and_is_not_asked_again(people: Town):
    await delete(people, MANY)
    await sync(people)
    waiting = await people.portal.removals.find_waiting()
    assert waiting is not None

    removal = await people.portal.removals.reject(waiting.id, by=ADA)
    run = await sync(people)

    assert removal.status == "rejected"
    assert (run.removed, run.held) == (0, 0)
    assert await here(people) == 500
    assert await people.portal.removals.find_waiting() is None
    assert "people.removal_rejected" in await people.audited()


async def test_whoever_was_kept_may_still_be_let_go(people: Town):
    await delete(people, MANY)
    await sync(people)
    waiting = await people.portal.removals.find_waiting()
    assert waiting is not None
    await people.portal.removals.reject(waiting.id, by=ADA)

    removal = await people.portal.removals.release(waiting.id, by=ADA)

    assert (removal.status, removal.removed) == ("released", MANY)


async def test_whoever_was_kept_and_came_back_may_leave_like_anybody(people: Town):
    emails = await delete(people, MANY)
    await sync(people)
    waiting = await people.portal.removals.find_waiting()
    assert waiting is not None
    await people.portal.removals.reject(waiting.id, by=ADA)
    await people.sandbox.tell("people/many", {"emails": emails, "patch": {"deleted": False}})
    await sync(people)
    await people.sandbox.tell("people/many", {"emails": emails[:3], "patch": {"deleted": True}})

    run = await sync(people)

    assert (run.removed, run.held) == (3, 0)


async def test_a_removal_whose_people_all_came_back_is_over(people: Town):
    emails = await delete(people, MANY)
    await sync(people)
    await people.sandbox.tell("people/many", {"emails": emails, "patch": {"deleted": False}})

    run = await sync(people)

    assert run.held == 0
    assert await people.portal.removals.find_waiting() is None
    assert await people.value("SELECT status FROM people_removals") == "gone"


async def test_many_in_small_portions_are_many(people: Town):
    await delete(people, 20)
    await sync(people)
    await delete(people, 20)

    run = await sync(people)

    assert (run.removed, run.held) == (0, 20)
    removal = await people.portal.removals.find_waiting()
    assert removal is not None
    assert "after 20 within the last hour" in removal.reason


async def test_many_that_push_tells_of_wait_like_any_others(people: Town):
    emails = await delete(people, MANY)
    ids = await people.value("SELECT array_agg(google_id) FROM people WHERE email = ANY(%s)", emails)

    await people.portal.rereads.want(ids, because="push: delete")
    await people.portal.rereads.work_off()

    assert await here(people) == 500
    removal = await people.portal.removals.find_waiting()
    assert removal is not None
    assert removal.total == MANY


async def test_a_second_decision_is_refused(people: Town):
    await delete(people, MANY)
    await sync(people)
    waiting = await people.portal.removals.find_waiting()
    assert waiting is not None
    await people.portal.removals.release(waiting.id, by=ADA)

    with pytest.raises(Conflict):
        await people.portal.removals.release(waiting.id, by=ADA)
    with pytest.raises(NotFound):
        await people.portal.removals.reject(999, by=ADA)


async def test_a_dry_run_says_what_would_be_held_and_stages_nothing(people: Town):
    await delete(people, MANY)
    await people.portal.sync.ask(by=ADA, dry_run=True)

    run = await sync(people)

    assert (run.dry_run, run.removed, run.held) == (True, 0, MANY)
    assert await people.portal.removals.find_waiting() is None


async def test_the_days_left_are_counted_from_googles_own_date(people: Town):
    await people.sandbox.change("cy@acme.test", deleted=True)

    await sync(people)

    assert await people.value(
        "SELECT deleted_at > now() - interval '1 minute' FROM people WHERE email = 'cy@acme.test'"
    )
    assert await people.value("SELECT status FROM people WHERE email = 'cy@acme.test'") == "deleted"


async def test_whoever_google_has_forgotten_is_gone_for_good(people: Town):
    await people.sandbox.change("cy@acme.test", deleted=True)
    await sync(people)
    await people.sandbox.tell("clock", {"days": 21})

    await sync(people)

    assert await people.value("SELECT status FROM people WHERE email = 'cy@acme.test'") == "purged"
    kinds = await people.value(
        "SELECT array_agg(kinds[1] ORDER BY id) FROM people_changes WHERE email = 'cy@acme.test'"
    )
    assert kinds == ["left", "purged"]


async def test_a_page_that_calls_everybody_deleted_removes_nobody_unasked(people: Town):
    """The hold is for Google's faults, too."""
    made = people.portal
    page = await made.directory.users_page("")
    gone = [
        Record(one.google_id, Raw(bytes(one.raw)[:-1] + b',"deletionTime":"2026-11-01T00:00:00.000Z"}'))
        for one in page.records
    ]
    asked = await made.sync.copy.number()
    news = await made.sync.copy.compare([Reading(asked=asked, records=gone)])
    async with made.database.transaction() as tx:
        await made.sync.copy.settle(tx, news, Occasion(source="listing"))

    assert await here(people) == 500
    assert await made.rereads.count() == 500
    assert await made.rereads.work_off() == 500
    assert await here(people) == 500


async def test_whoever_waits_for_a_decision_is_not_removed_by_push(people: Town):
    emails = await delete(people, MANY)
    await sync(people)
    await people.execute("UPDATE people_changes SET at = now() - interval '2 hours'")
    ids = await people.value("SELECT array_agg(google_id) FROM people WHERE email = ANY(%s)", emails[:5])

    await people.portal.rereads.want(ids, because="push: delete")
    await people.portal.rereads.work_off()

    assert await here(people) == 500
    removal = await people.portal.removals.find_waiting()
    assert removal is not None
    assert removal.total == MANY


async def test_whoever_a_listing_under_way_has_shown_is_not_released(people: Town):
    emails = await delete(people, MANY)
    await sync(people)
    waiting = await people.portal.removals.find_waiting()
    assert waiting is not None
    await people.sandbox.tell("people/many", {"emails": emails[:10], "patch": {"deleted": False}})
    await people.sandbox.fault("503", query={"showDeleted": "true"}, times=7)
    with pytest.raises(VendorDown):
        await people.portal.sync.run()

    removal = await people.portal.removals.release(waiting.id, by=ADA)

    assert removal.removed == MANY - 10

"""Google's push: kept open, believed only with its token, and no harm when it fails."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from tests.town import Town, eventually

from muster.errors import VendorRefused
from muster.people.push import EVENTS

HOOK = "/hooks/google"


@pytest.fixture
async def pushed(town: Town) -> AsyncIterator[Town]:
    """A company in step, with channels whose first messages have come."""
    await town.portal.push.keep_open()
    await eventually(town.portal.push.live_since)
    await town.portal.sync.run()
    yield town
    await settled(town)


async def settled(town: Town) -> None:
    """Wait until the sandbox has sent all that it will."""
    await eventually(lambda: _no_more(town))


async def _no_more(town: Town) -> bool:
    return bool((await town.sandbox.ask("webhooks"))["pending"] == 0)


async def told(town: Town) -> int:
    """Whatever has been pushed is asked about; how many people were."""
    await settled(town)
    return await town.portal.rereads.work_off()


async def title(town: Town, email: str = "cy@acme.test") -> str:
    return str(await town.value("SELECT title FROM people WHERE email = %s", email))


async def test_a_change_is_here_as_soon_as_google_has_told_of_it(pushed: Town):
    async with pushed.working():
        await pushed.sandbox.change("cy@acme.test", title="Explorer")

        await eventually(lambda: _is_titled(pushed, "Explorer"), within=10)

    source = await pushed.value("SELECT source FROM people_changes ORDER BY id DESC LIMIT 1")
    assert source == "push"


async def _is_titled(town: Town, wanted: str) -> bool:
    return await title(town) == wanted


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"suspended": True}, "suspended"),
        ({"archived": True}, "archived"),
        ({"deleted": True}, "deleted"),
        ({"isGuestUser": True}, "guest"),
    ],
)
async def test_every_event_brings_the_person_into_step(pushed: Town, change: dict[str, Any], expected: str):
    await pushed.sandbox.change("cy@acme.test", **change)
    await told(pushed)
    assert await pushed.value("SELECT status FROM people WHERE email = 'cy@acme.test'") == expected

    await pushed.sandbox.change("cy@acme.test", **dict.fromkeys(change, False))
    await told(pushed)
    assert await pushed.value("SELECT status FROM people WHERE email = 'cy@acme.test'") == "active"


async def test_a_newcomer_is_here_before_the_next_listing(pushed: Town):
    await pushed.sandbox.tell(
        "people", {"primaryEmail": "nia@acme.test", "name": {"givenName": "Nia", "familyName": "New"}}
    )

    assert await told(pushed) == 1

    assert await pushed.value("SELECT name FROM people WHERE email = 'nia@acme.test'") == "Nia New"
    assert await pushed.value("SELECT kinds FROM people_changes WHERE email = 'nia@acme.test'") == ["joined"]


async def test_a_message_said_twice_is_one_question(pushed: Town):
    await pushed.sandbox.tell("webhooks", {"kind": "doubled", "times": 3})
    await pushed.sandbox.change("cy@acme.test", title="One")
    await pushed.sandbox.change("cy@acme.test", title="Two")

    assert await told(pushed) == 1

    assert await title(pushed) == "Two"


async def test_messages_out_of_order_end_in_the_truth(pushed: Town):
    await pushed.sandbox.tell("webhooks", {"kind": "reordered", "times": 1, "seconds": 0.3})
    await pushed.sandbox.change("cy@acme.test", title="One")
    await pushed.sandbox.change("cy@acme.test", title="Two")

    await told(pushed)

    assert await title(pushed) == "Two"


async def test_a_lost_message_is_found_by_the_listing_counted_and_the_channels_replaced(pushed: Town):
    await pushed.sandbox.tell("webhooks", {"kind": "lost"})
    await pushed.sandbox.change("cy@acme.test", title="Explorer")
    assert await told(pushed) == 0
    channels = {channel.id for channel in await pushed.portal.push.list_open()}

    run = await pushed.portal.sync.run()

    assert run is not None
    assert (run.updated, run.drift) == (1, 1)
    assert await title(pushed) == "Explorer"
    assert await pushed.portal.push.live_since() is None
    assert await pushed.portal.push.keep_open() == len(EVENTS)
    await eventually(pushed.portal.push.live_since)
    assert channels.isdisjoint({channel.id for channel in await pushed.portal.push.list_open()})


async def test_channels_that_died_in_silence_are_noticed(pushed: Town):
    await pushed.sandbox.tell("channels/kill")
    await pushed.sandbox.change("cy@acme.test", title="Explorer")
    await told(pushed)

    run = await pushed.portal.sync.run()

    assert run is not None
    assert run.drift == 1
    await pushed.portal.push.keep_open()
    await eventually(pushed.portal.push.live_since)
    await pushed.sandbox.change("cy@acme.test", title="Again")
    await told(pushed)
    assert await title(pushed) == "Again"


async def test_what_was_pushed_is_no_drift(pushed: Town):
    await pushed.sandbox.change("cy@acme.test", title="Explorer")
    await told(pushed)

    run = await pushed.portal.sync.run()

    assert run is not None
    assert (run.updated, run.drift) == (0, 0)


async def test_without_push_there_is_no_drift(town: Town):
    await town.portal.sync.run()
    await town.sandbox.change("cy@acme.test", title="Explorer")

    run = await town.portal.sync.run()

    assert run is not None
    assert (run.updated, run.drift) == (1, 0)


async def test_a_channel_is_replaced_before_it_expires_without_a_gap(pushed: Town):
    since = await pushed.portal.push.live_since()
    old = {channel.id for channel in await pushed.portal.push.list_open()}
    # As if most of their six hours were over.
    await pushed.execute(
        "UPDATE push_channels "
        "SET opened_at = now() - interval '5 hours', expires_at = now() + interval '1 hour'"
    )

    assert await pushed.portal.push.keep_open() == len(EVENTS)

    await eventually(pushed.portal.push.live_since)
    assert await pushed.portal.push.live_since() == since
    sandbox = await pushed.sandbox.ask("channels")
    assert {channel["id"] for channel in sandbox["channels"]}.isdisjoint(old), "the old ones were stopped"
    assert await pushed.portal.push.keep_open() == 0


async def test_what_google_grants_is_what_counts(town: Town):
    await town.sandbox.tell("channels", {"longest_seconds": 600})

    await town.portal.push.keep_open()

    for channel in await town.portal.push.list_open():
        assert channel.expires_at is not None
        assert channel.expires_at - datetime.now(UTC) < timedelta(minutes=10)


async def test_channels_that_do_not_reach_us_are_replaced(town: Town):
    await town.portal.push.keep_open()
    await eventually(town.portal.push.live_since)
    await town.execute(
        "UPDATE push_channels SET confirmed_at = NULL, opened_at = now() - interval '3 minutes'"
    )

    assert await town.portal.push.live_since() is None
    assert await town.portal.push.keep_open() == len(EVENTS)


async def test_a_channel_that_google_refuses_leaves_none_behind(town: Town):
    await town.sandbox.tell(
        "faults", {"path": "/admin/directory/v1/users/watch", "kind": "forbidden", "times": 5}
    )

    with pytest.raises(VendorRefused, match="forbidden"):
        await town.portal.push.keep_open()

    assert await town.portal.push.list_open() == []


async def _message(town: Town, **headers: str) -> httpx2.Response:
    return await town.raw.post(
        f"{town.base_url}{HOOK}",
        headers={f"x-goog-{name.replace('_', '-')}": value for name, value in headers.items()},
        json={"id": "1", "primaryEmail": "cy@acme.test"},
    )


async def test_a_message_without_its_channels_token_is_not_believed(pushed: Town):
    channel = (await pushed.portal.push.list_open())[0]
    known = {"channel_id": channel.id, "resource_id": channel.resource_id, "resource_state": "delete"}

    for forged in (
        {**known, "channel_token": "guessed"},
        known,
        {**known, "channel_id": "another", "channel_token": "guessed"},
        {"resource_state": "delete"},
        {},
    ):
        response = await _message(pushed, **forged)
        assert response.status_code in {403, 404}, forged
    assert await pushed.portal.rereads.count() == 0


async def test_a_forged_message_of_the_sandboxs_own_is_not_believed(pushed: Town):
    await pushed.sandbox.tell("webhooks", {"kind": "forged-token"})
    await pushed.sandbox.change("cy@acme.test", title="Explorer")

    assert await told(pushed) == 0


@pytest.mark.parametrize(
    "body", [b"[", b'{"id": 7}', b'{"id": "\\u0000"}', b"\xff", b'{"id": "' + b"1" * 99 + b'"}']
)
async def test_a_message_that_cannot_be_read_is_refused(pushed: Town, body: bytes):
    response = await pushed.raw.post(f"{pushed.base_url}{HOOK}", content=body)

    assert response.status_code == 422


async def test_the_token_is_kept_only_as_a_hash(pushed: Town):
    rows = await pushed.value("SELECT string_agg(push_channels::text, ' ') FROM push_channels")
    sandbox = await pushed.sandbox.ask("channels")

    assert sandbox["channels"]
    assert await pushed.value("SELECT count(*) FROM push_channels WHERE octet_length(token_hash) = 32") == 5
    assert "token" not in rows


async def test_whoever_leaves_by_push_is_no_drift_when_google_tells_the_date(pushed: Town):
    await pushed.sandbox.change("cy@acme.test", deleted=True)
    await told(pushed)

    run = await pushed.portal.sync.run()

    assert run is not None
    assert (run.removed, run.drift) == (0, 0)
    kinds = await pushed.value("SELECT array_agg(kinds[1]) FROM people_changes WHERE email = 'cy@acme.test'")
    assert kinds == ["left"]


async def test_one_event_that_google_refuses_keeps_none_of_the_others_from_being_told(town: Town):
    await town.sandbox.tell(
        "faults", {"path": "/admin/directory/v1/users/watch", "kind": "forbidden", "times": 1}
    )

    with pytest.raises(VendorRefused):
        await town.portal.push.keep_open()

    assert len(await town.portal.push.list_open()) == len(EVENTS) - 1

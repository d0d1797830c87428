"""HubSpot's webhooks: whatever they name is read again, and only what HubSpot signed is believed, once."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import pytest
from tests.crm.hubspot_town import a_deal, held, history, in_haste, is_archived, row, some, synced
from tests.readiness.away import nobody, silence, without_postgresql, without_redis
from tests.town import Town, eventually, serving

from muster.crm.fields import Kind
from muster.crm.signature import SIGNATURE, TIMESTAMP, signature
from muster.settings import Settings
from muster.web import application
from muster.wiring import portal

PATH = "/hooks/hubspot"


@pytest.fixture
async def told(town: Town) -> AsyncIterator[Town]:
    """A town whose copy is whole, and whose HubSpot tells it of every change."""
    await in_haste(town)
    await synced(town)
    await town.sandbox.hubspot("webhooks", target=f"{town.base_url}{PATH}", day_seconds=3)
    yield town
    await town.sandbox.hubspot("webhooks", target=None)


Place = Callable[[], AbstractContextManager[str]]


@asynccontextmanager
async def beside(
    town: Town, place: Place, without: Callable[[Settings, str], Settings]
) -> AsyncIterator[Town]:
    """The same town, served by a portal that lacks a server."""
    with place() as away:
        async with (
            portal(without(town.portal.settings, away), application="muster-test") as made,
            serving(application(made), 0) as base_url,
        ):
            yield replace(town, portal=made, base_url=base_url)


def secret(town: Town) -> str:
    kept = town.portal.settings.hubspot_webhook_secret
    assert kept
    return kept.reveal()


def headers(
    town: Town, body: bytes, *, key: str = "", at: float | None = None, path: str = PATH
) -> dict[str, str]:
    timestamp = str(int((time.time() if at is None else at) * 1000))
    signed = signature(
        key or secret(town), "POST", f"{town.portal.settings.public_url}{path}", body, timestamp
    )
    return {SIGNATURE: signed, TIMESTAMP: timestamp, "content-type": "application/json"}


async def post(town: Town, events: Any, *, path: str = PATH, **how: Any) -> httpx2.Response:
    body = events if isinstance(events, bytes) else msgspec.json.encode(events)
    return await town.raw.post(
        f"{town.base_url}{path}", content=body, headers=headers(town, body, path=path, **how)
    )


def about(*ids: str, kind: str = "0-3", what: str = "propertyChange") -> list[dict[str, Any]]:
    return [{"subscriptionType": f"object.{what}", "objectTypeId": kind, "objectId": int(one)} for one in ids]


async def named(town: Town) -> list[tuple[str, str]]:
    found = await town.value(
        "SELECT coalesce(jsonb_agg(jsonb_build_array(kind, record_id) ORDER BY kind, record_id), '[]') "
        "FROM crm_rereads"
    )
    return [(kind, record_id) for kind, record_id in found]


async def worked_off(town: Town) -> None:
    """Everything HubSpot has to tell is here, and read again."""

    async def is_told() -> bool:
        return not (await town.sandbox.ask("hubspot/webhooks"))["pending"]

    await eventually(is_told)
    await town.portal.crm_rereads.work_off()
    assert await named(town) == []


async def test_a_change_at_hubspot_is_here_as_soon_as_it_is_told(told: Town):
    [deal] = await some(told, Kind.DEALS)
    await told.sandbox.hubspot("search", lag=600)

    await told.sandbox.hubspot(f"deals/{deal}", properties={"dealname": "Told"})
    await worked_off(told)

    assert (await row(told, Kind.DEALS, deal))["name"] == "Told"
    assert [(what, source) for what, source, _ in await history(told, Kind.DEALS, deal)] == [
        ("changed", "webhook")
    ]


@pytest.mark.parametrize("form", ["object", "legacy"])
async def test_every_kind_of_event_is_understood_in_either_form(told: Town, form: str):
    await told.sandbox.hubspot("webhooks", target=f"{told.base_url}{PATH}", form=form)
    gone, back, one, other = await some(told, Kind.DEALS, count=4)
    [contact] = await some(told, Kind.CONTACTS)

    made = await a_deal(told)
    await told.sandbox.hubspot(f"deals/{gone}", archived=True)
    await told.sandbox.hubspot(f"deals/{back}", archived=True)
    await worked_off(told)
    assert await is_archived(told, Kind.DEALS, back)
    await told.sandbox.hubspot(f"deals/{back}", archived=False)
    merged = await told.sandbox.hubspot(f"deals/{one}", merge=other)
    await told.sandbox.hubspot(f"deals/{made}", tie=[{"type": "contacts", "id": contact}])
    await worked_off(told)

    assert await is_archived(told, Kind.DEALS, gone)
    assert not await is_archived(told, Kind.DEALS, back)
    assert (await row(told, Kind.DEALS, one))["merged_into"] == merged["id"]
    assert (await row(told, Kind.DEALS, other))["merged_into"] == merged["id"]
    assert await told.value(
        "SELECT true FROM crm_associations WHERE from_kind = 'deals' AND from_id = %s AND to_id = %s",
        made,
        contact,
    )
    assert (await synced(told, is_full=True)).changes == 0


async def test_who_wants_to_be_forgotten_is(told: Town):
    [contact] = await some(told, Kind.CONTACTS)
    await told.sandbox.hubspot(f"contacts/{contact}", properties={"city": "Ghent"})
    await worked_off(told)

    await told.sandbox.hubspot(f"contacts/{contact}", forget=True)
    await worked_off(told)

    kept = await row(told, Kind.CONTACTS, contact)
    assert (kept["fields"], kept["email"], kept["search_text"]) == ({}, "", "")
    assert kept["archived_at"]
    assert all(not fields for _, _, fields in await history(told, Kind.CONTACTS, contact))


@pytest.mark.parametrize("fault", ["doubled", "shuffled", "late"])
async def test_events_twice_in_any_order_or_late_end_in_what_is(told: Town, fault: str):
    deals = await some(told, Kind.DEALS, count=3)
    await told.sandbox.hubspot("webhooks/faults", kind=fault, times=3, seconds=0.3)

    for deal in deals:
        await told.sandbox.hubspot(f"deals/{deal}", properties={"dealname": "First"})
        await told.sandbox.hubspot(f"deals/{deal}", properties={"dealname": "Last"})
    await worked_off(told)

    assert [(await row(told, Kind.DEALS, deal))["name"] for deal in deals] == ["Last"] * 3


@pytest.mark.parametrize("fault", ["forged", "old", "future"])
async def test_what_hubspot_did_not_sign_just_now_is_refused(told: Town, fault: str):
    [deal] = await some(told, Kind.DEALS)
    await told.sandbox.hubspot("webhooks", target=f"{told.base_url}{PATH}", day_seconds=0.1)
    await told.sandbox.hubspot("webhooks/faults", kind=fault)

    await told.sandbox.hubspot(f"deals/{deal}", properties={"dealname": "Untold"})

    async def is_given_up() -> Any:
        return (await told.sandbox.ask("hubspot/webhooks"))["given_up"]

    await eventually(is_given_up)
    sent = (await told.sandbox.ask("hubspot/webhooks"))["sent"]
    assert {one["status"] for one in sent} == {403}
    assert await named(told) == []


async def test_what_was_lost_is_found_by_the_next_sync(told: Town):
    [deal] = await some(told, Kind.DEALS)
    await told.sandbox.hubspot("webhooks/faults", kind="lost")
    await told.sandbox.hubspot(f"deals/{deal}", properties={"dealname": "Untold"})
    await asyncio.sleep(0.2)
    assert await named(told) == []

    await synced(told)

    assert (await row(told, Kind.DEALS, deal))["name"] == "Untold"


async def test_the_very_same_message_is_taken_once(town: Town):
    body = msgspec.json.encode(about("5"))
    signed = headers(town, body)

    answers = await asyncio.gather(
        *(town.raw.post(f"{town.base_url}{PATH}", content=body, headers=signed) for _ in range(8))
    )

    assert sorted(answer.status_code for answer in answers) == [204, *[409] * 7]


async def test_a_message_counts_for_the_address_the_body_and_the_time_it_was_signed_for(town: Town):
    body = msgspec.json.encode(about("5"))
    good = headers(town, body)
    url = f"{town.base_url}{PATH}"
    later = str(int(good[TIMESTAMP]) + 1)

    for tried in (
        town.raw.post(url, content=body + b" ", headers=good),
        town.raw.post(f"{url}?x=1", content=body, headers=good),
        town.raw.post(url, content=body, headers=good | {TIMESTAMP: later}),
        town.raw.post(url, content=body, headers={k: v for k, v in good.items() if k != SIGNATURE}),
        town.raw.post(url, content=body, headers={k: v for k, v in good.items() if k != TIMESTAMP}),
        town.raw.post(url, content=body, headers=good | {SIGNATURE: good[SIGNATURE].lower()}),
        town.raw.post(url, content=body, headers=good | {TIMESTAMP: "9" * 16}),
        town.raw.post(url, content=body, headers=good | {TIMESTAMP: "-1"}),
        town.raw.post(url, content=body, headers=good | {TIMESTAMP: "soon"}),
    ):
        assert (await tried).status_code == 403
    assert (await town.raw.post(url, content=body, headers=good)).status_code == 204


@pytest.mark.parametrize(
    ("seconds", "status"), [(-301, 403), (-290, 204), (50, 204), (61.5, 403), (-400_000_000_000, 403)]
)
async def test_a_message_is_good_for_five_minutes_and_a_minute_ahead(town: Town, seconds: float, status: int):
    answer = await post(town, about("5"), at=max(0, time.time() + seconds))

    assert answer.status_code == status


async def test_an_address_with_encoded_signs_is_signed_in_plain_ones(town: Town):
    assert (await post(town, about("5"), path=f"{PATH}?a=%3A%2f%40&b=%20")).status_code == 204


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{}",
        b"[1]",
        b"null",
        b"\xff\xfe",
        b"[" * 10_000,
        msgspec.json.encode([{"objectTypeId": "0-3", "objectId": "x"}]),
        msgspec.json.encode([{"objectTypeId": "0-3", "objectId": -1}]),
        msgspec.json.encode([{"objectTypeId": "0-3", "objectId": 2**63}]),
        msgspec.json.encode([{"objectTypeId": "0-3", "objectId": 1.5}]),
        msgspec.json.encode([{"objectTypeId": "0-3", "objectId": True}]),
        msgspec.json.encode([{"objectTypeId": "0-3", "objectId": {"a": 1}}]),
        msgspec.json.encode([{"objectTypeId": 3}]),
        msgspec.json.encode(about(*map(str, range(1, 102)))),
    ],
)
async def test_what_is_signed_and_no_message_is_refused(town: Town, body: bytes):
    answer = await post(town, body)

    assert answer.status_code == 422, answer.text
    assert await named(town) == []


async def test_a_body_without_end_is_refused(town: Town):
    assert (await post(town, b" " * 600_000)).status_code == 413


async def test_events_of_what_is_not_copied_are_passed_over(town: Town):
    events = [
        *about("7", kind="0-5"),
        *about("8", kind="2-123"),
        {"subscriptionType": "ticket.creation", "objectId": 9},
        {"subscriptionType": "company.creation", "objectId": 10},
        {},
    ]

    assert (await post(town, events)).status_code == 204
    assert await named(town) == [("companies", "10")]


async def test_a_hundred_events_are_taken_well_within_a_second(town: Town):
    await post(town, about("1"))
    began = time.perf_counter()

    answer = await post(town, about(*map(str, range(1, 101))))

    assert answer.status_code == 204
    assert time.perf_counter() - began < 0.5
    assert len(await named(town)) == 100


async def test_whoever_shows_a_named_record_reads_it_anew(town: Town):
    tags = ["crm:deals:5", "crm:deals:any"]
    values = iter(range(9))

    async def read() -> int:
        return next(values)

    first = await town.portal.cache.get("canary", int, read, tags=tags)
    await post(town, about("5"))

    assert (await town.portal.cache.get("canary", int, read, tags=tags)).value == first.value + 1


@pytest.mark.parametrize("place", [nobody, silence])
async def test_without_postgresql_hubspot_is_told_to_come_again(town: Town, place: Place):
    async with beside(town, place, without_postgresql) as other:
        assert (await post(other, about("5"))).status_code == 503


@pytest.mark.parametrize("place", [nobody, silence])
async def test_without_redis_a_message_is_taken_all_the_same(town: Town, place: Place):
    async with beside(town, place, without_redis) as other:
        began = time.perf_counter()
        first = await post(other, about("5"))
        took = time.perf_counter() - began
        second = await post(other, about("6"))

    assert (first.status_code, second.status_code) == (204, 204)
    assert took < 4, took  # of the five seconds that HubSpot waits
    assert await named(town) == [("deals", "5"), ("deals", "6")]


async def test_a_worker_reads_what_was_named(told: Town):
    [deal] = await some(told, Kind.DEALS)
    async with told.working():
        await told.sandbox.hubspot(f"deals/{deal}", properties={"dealname": "By a worker"})

        async def is_here() -> bool:
            return bool((await row(told, Kind.DEALS, deal))["name"] == "By a worker")

        await eventually(is_here, within=8)


async def test_a_wish_is_kept_while_hubspot_is_away_and_granted_after(told: Town):
    [deal] = await some(told, Kind.DEALS)
    before = await held(told, Kind.DEALS)
    await told.sandbox.hubspot("faults", path="/crm/objects/*/batch/read", status=400, category="X", times=1)
    await told.sandbox.hubspot(f"deals/{deal}", archived=True)
    await asyncio.sleep(0.3)
    with pytest.raises(Exception, match="refused"):
        await told.portal.crm_rereads.work_off()
    assert await named(told) == [("deals", deal)]

    await worked_off(told)

    assert await held(told, Kind.DEALS) == before - 1


async def _is_waiting(town: Town) -> bool:
    """Whether some connection waits for a lock."""
    return bool(
        await town.value(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


_LOCK = "SELECT record_id FROM crm_rereads WHERE kind = 'contacts' AND record_id = %s FOR UPDATE"


async def test_a_message_of_mixed_reasons_and_another_do_not_wait_for_each_other(town: Town):
    await post(town, about("1", "2", kind="0-1"))
    mixed = [*about("2", kind="0-1", what="privacyDeletion"), *about("1", "2", kind="0-1")]
    async with town.portal.database.transaction() as tx:
        await tx.execute(_LOCK, ["1"])
        answer = asyncio.create_task(post(town, mixed))
        await eventually(lambda: _is_waiting(town))
        await tx.execute(_LOCK, ["2"])

    assert (await answer).status_code == 204
    assert await town.value("SELECT because FROM crm_rereads WHERE record_id = '2'") == "privacy"


async def test_what_is_granted_and_what_is_told_do_not_wait_for_each_other(town: Town):
    await in_haste(town)
    await post(town, about("2", kind="0-1"))
    await post(town, about("1", kind="0-1"))
    async with town.portal.database.transaction() as tx:
        await tx.execute(_LOCK, ["1"])
        granting = asyncio.create_task(town.portal.crm_rereads.work_off())
        await eventually(lambda: _is_waiting(town))
        await tx.execute(_LOCK, ["2"])

    assert await granting == 2


async def test_a_message_that_made_room_for_another_is_taken_all_the_same(town: Town):
    await post(town, about("1", "2", kind="0-1"))
    async with town.portal.database.transaction() as tx:
        await tx.execute(_LOCK, ["2"])
        answer = asyncio.create_task(post(town, about("1", "2", kind="0-1")))
        await eventually(lambda: _is_waiting(town))
        await tx.execute(_LOCK, ["1"])

    assert (await answer).status_code == 204


async def test_signatures_are_swept_once_their_time_is_over(town: Town):
    await post(town, about("5"))
    await town.execute("UPDATE crm_hooks SET at = at - %s", timedelta(hours=2))
    [sweep] = [job for job in town.portal.jobs if job.name == "crm.sweep"]

    await sweep.run(None)  # type: ignore[arg-type]  # it looks at no work

    assert await town.value("SELECT count(*) FROM crm_hooks") == 0

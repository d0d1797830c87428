"""The copy of HubSpot's records: late answers overwrite nothing, and what is news is kept and busted."""

import random
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.crm.hubspot_town import history, row
from tests.town import Town

from muster.crm.fields import Kind
from muster.crm.mirror import TOLD_APART, Source, Taken, kind_tag, record_tags
from muster.crm.record import Record

BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
DEAL = "77"


def deal(name: str = "A deal", *, minute: int = 0, record_id: str = DEAL, **more: Any) -> Record:
    values = {"dealname": name} | more.pop("values", {})
    return Record(
        kind=Kind.DEALS,
        id=record_id,
        values={key: value for key, value in values.items() if value},
        created_at=BEGAN,
        modified_at=BEGAN + timedelta(minutes=minute),
        **more,
    )


async def take(
    town: Town, *records: Record, asked: int | None = None, source: Source = Source.WEBHOOK, **how: Any
) -> Taken:
    mirror = town.portal.mirror
    number = asked or await mirror.number()
    async with town.portal.database.transaction() as tx:
        return await mirror.take(tx, records[0].kind, records, asked=number, source=source, **how)


async def archive(town: Town, *ids: str, asked: int | None = None) -> int:
    number = asked or await town.portal.mirror.number()
    async with town.portal.database.transaction() as tx:
        return await town.portal.mirror.archive(tx, Kind.DEALS, ids, asked=number, source=Source.SYNC)


async def tie(town: Town, ties: dict[str, list[str]], **how: Any) -> int:
    async with town.portal.database.transaction() as tx:
        return await town.portal.mirror.tie(tx, Kind.DEALS, Kind.CONTACTS, ties, **how)


async def tied(town: Town) -> set[tuple[str, str]]:
    found = await town.value(
        "SELECT coalesce(jsonb_agg(jsonb_build_array(from_id, to_id)), '[]') FROM crm_associations"
    )
    return {(one, other) for one, other in found}


async def busted(town: Town) -> set[str]:
    """The tags of what was announced since the last look."""
    tags = await town.value(
        "SELECT coalesce(jsonb_agg(DISTINCT tag), '[]') FROM cache_busts, unnest(tags) AS tag"
    )
    await town.execute("DELETE FROM cache_busts")
    return set(tags)


async def test_a_record_is_kept_as_it_is_shown_and_searched(town: Town):
    values = {
        "dealname": "Ünïted Ltd — pilot",
        "amount": "1200.505",
        "pipeline": "default",
        "dealstage": "closedwon",
        "closedate": "2026-12-31T23:30:00+00:00",
        "hubspot_owner_id": "5",
        "hs_is_closed": "true",
        "hs_is_closed_won": "true",
        "notes_last_contacted": "1767225600000",
    }
    await take(town, deal(values=values))

    kept = await row(town, Kind.DEALS, DEAL)

    assert kept["fields"] == values
    assert (kept["name"], kept["sort_name"]) == ("Ünïted Ltd — pilot", "united ltd — pilot")
    assert (float(kept["amount"]), kept["closes_on"]) in {(1200.5, "2026-12-31"), (1200.51, "2026-12-31")}
    assert (kept["owner_id"], kept["pipeline_id"], kept["stage_id"]) == ("5", "default", "closedwon")
    assert (kept["is_closed"], kept["is_won"]) == (True, True)
    assert datetime.fromisoformat(kept["contacted_at"]) == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "values",
    [
        {"amount": "a lot", "closedate": "soon", "notes_last_contacted": "-"},
        {"amount": "NaN", "closedate": "9" * 30},
        {"amount": "1e400", "closedate": "-1"},
        {"amount": "Infinity", "closedate": "²"},
    ],
)
async def test_values_that_are_none_of_their_kind_hold_nothing_up(town: Town, values: dict[str, str]):
    await take(town, deal(values=values))

    kept = await row(town, Kind.DEALS, DEAL)
    assert kept["fields"]["amount"] == values["amount"]
    assert kept["amount"] is None


async def test_what_postgresql_does_not_take_keeps_no_other_record_waiting(town: Town):
    spoilt = [deal(record_id=one, values={"pipeline": secrets.token_hex(6000)}) for one in ("3", "8")]

    taken = await take(town, *(deal(record_id=str(one)) for one in range(10, 20)), *spoilt)

    assert (taken.created, set(taken.unwritten)) == (10, {"3", "8"})
    assert taken.news.keys() == {str(one) for one in range(10, 20)}
    assert await town.value("SELECT count(*) FROM crm_records") == 10
    assert await town.value("SELECT count(*) FROM crm_changes") == 10


async def test_what_happened_is_kept_field_by_field(town: Town):
    await take(town, deal("One", values={"amount": "1"}))
    await take(town, deal("Two", minute=1, values={"amount": "", "description": "New"}))
    await archive(town, DEAL)
    await take(town, deal("Two", minute=1, values={"description": "New"}))

    assert await history(town, Kind.DEALS, DEAL) == [
        ("created", "webhook", {}),
        (
            "changed",
            "webhook",
            {"dealname": ["One", "Two"], "amount": ["1", ""], "description": ["", "New"]},
        ),
        ("archived", "sync", {}),
        ("restored", "webhook", {}),
    ]


async def test_an_edit_is_kept_under_the_name_of_who_made_it(town: Town):
    await take(town, deal("One"))
    mirror = town.portal.mirror
    async with town.portal.database.transaction() as tx:
        record = await mirror.wrote(
            tx, Kind.DEALS, DEAL, {"dealname": "Two", "amount": ""}, modified_at=BEGAN + timedelta(minutes=1)
        )
        assert record
        asked = await mirror.number()
        await mirror.take(tx, Kind.DEALS, [record], asked=asked, source=Source.EDIT, by="ben@acme.test")

    assert await town.value("SELECT by_email FROM crm_changes WHERE what = 'changed'") == "ben@acme.test"
    assert await mirror_has(town, "Two")


async def mirror_has(town: Town, name: str) -> bool:
    return bool((await row(town, Kind.DEALS, DEAL))["name"] == name)


async def test_an_answer_asked_for_earlier_never_overwrites_one_asked_for_later(town: Town):
    early, late = await town.portal.mirror.number(), await town.portal.mirror.number()
    await take(town, deal("Later", minute=2), asked=late)

    taken = await take(town, deal("Earlier", minute=3), asked=early)

    assert taken.late == 1
    assert await mirror_has(town, "Later")
    assert await archive(town, DEAL, asked=early) == 0


async def test_an_answer_that_says_the_same_stands_in_the_way_of_older_ones_too(town: Town):
    await take(town, deal("Same", minute=2))
    early, late = await town.portal.mirror.number(), await town.portal.mirror.number()
    assert (await take(town, deal("Same", minute=2), asked=late)).unchanged == 1

    assert (await take(town, deal("Other", minute=1), asked=early)).late == 1
    assert await mirror_has(town, "Same")


async def test_search_that_is_behind_is_not_believed_where_it_says_older(town: Town):
    await take(town, deal("New", minute=2))

    assert (await take(town, deal("Old", minute=1), lags=True)).late == 1
    assert (await take(town, deal("Newer", minute=3), lags=True)).updated == 1
    assert await mirror_has(town, "Newer")


async def test_search_brings_back_nobody_who_is_archived(town: Town):
    await take(town, deal(minute=1))
    await archive(town, DEAL)

    taken = await take(town, deal(minute=1), lags=True)

    assert (taken.restored, taken.doubted) == (0, (DEAL,))
    assert (await row(town, Kind.DEALS, DEAL))["archived_at"]


async def test_search_that_differs_about_the_same_moment_is_doubted(town: Town):
    await take(town, deal("By id", minute=1))

    taken = await take(town, deal("By search", minute=1), lags=True)

    assert (taken.updated, taken.doubted) == (0, (DEAL,))


async def test_merged_records_lead_on_and_search_revives_none(town: Town):
    await take(town, deal(record_id="1"), deal(record_id="2"), deal(record_id="9"))
    await tie(town, {"1": ["5"]})
    merged = deal(record_id="3", minute=1, merged_ids=("1", "2"))

    taken = await take(town, merged, deal(record_id="1"), lags=True)

    assert (taken.created, taken.merged) == (1, 2)
    for old in ("1", "2"):
        assert (await row(town, Kind.DEALS, old))["merged_into"] == "3"
        assert [what for what, _, _ in await history(town, Kind.DEALS, old)] == ["created", "merged"]
    assert await tied(town) == set()
    again = await take(town, deal(record_id="4", minute=2, merged_ids=("1", "2", "3")))
    assert again.merged == 3
    assert (await take(town, deal(record_id="3", minute=1, merged_ids=("1", "2")), lags=True)).late == 1
    assert (await row(town, Kind.DEALS, "1"))["merged_into"] == "4"


async def test_who_was_never_known_and_is_archived_is_not_taken_up(town: Town):
    taken = await take(town, deal(archived_at=BEGAN))

    assert taken.news == {}
    assert await town.value("SELECT count(*) FROM crm_records") == 0


async def test_what_shows_a_record_is_busted_when_it_changes_and_only_then(town: Town):
    await take(town, deal("One"))
    assert await busted(town) == {kind_tag(Kind.DEALS), record_tags(Kind.DEALS, DEAL)[0]}

    await take(town, deal("One"))
    assert await busted(town) == set()

    await take(town, deal("Two", minute=1))
    assert record_tags(Kind.DEALS, DEAL)[0] in await busted(town)

    await archive(town, DEAL)
    assert record_tags(Kind.DEALS, DEAL)[0] in await busted(town)

    await take(town, *(deal(record_id=str(one)) for one in range(1, TOLD_APART + 2)))
    assert await busted(town) == {kind_tag(Kind.DEALS), record_tags(Kind.DEALS, DEAL)[1]}


async def test_both_ends_of_an_association_that_is_made_or_ended_are_busted_and_no_others(town: Town):
    await take(town, deal(record_id="1"), deal(record_id="2"))
    await tie(town, {"1": ["5", "6"], "2": ["5"]})
    await busted(town)

    assert await tie(town, {"1": ["5", "7"], "2": ["5"]}) == 2

    assert await busted(town) == {
        "crm:deals",
        "crm:deals:1",
        "crm:contacts",
        "crm:contacts:6",
        "crm:contacts:7",
    }
    assert await tie(town, {"1": ["5", "7"], "2": ["5"]}) == 0
    assert await busted(town) == set()


async def test_associations_are_the_same_from_either_end(town: Town):
    await take(town, deal(record_id="1"), deal(record_id="2"))
    await tie(town, {"1": ["5"], "2": ["5"]})

    async with town.portal.database.transaction() as tx:
        moved = await town.portal.mirror.tie(tx, Kind.CONTACTS, Kind.DEALS, {"5": ["2", "3"], "6": []})

    assert moved == 2
    assert await tied(town) == {("2", "5"), ("3", "5")}


async def test_a_late_answer_neither_makes_nor_ends_an_association(town: Town):
    await take(town, deal(record_id="1"))
    early, late = await town.portal.mirror.number(), await town.portal.mirror.number()
    await tie(town, {"1": ["5"]}, asked=late)

    assert await tie(town, {"1": ["6"]}, asked=early) == 0

    assert await tied(town) == {("1", "5")}


async def test_a_late_answer_from_one_end_ends_nothing_that_the_other_told_of_since(town: Town):
    await take(town, deal(record_id="1"))
    early, late = await town.portal.mirror.number(), await town.portal.mirror.number()
    async with town.portal.database.transaction() as tx:
        await town.portal.mirror.tie(tx, Kind.CONTACTS, Kind.DEALS, {"5": ["1"]}, asked=late)

    await tie(town, {"1": []}, asked=early)

    assert await tied(town) == {("1", "5")}


async def test_a_look_changes_nothing(town: Town):
    await take(town, deal("One"))

    taken = await take(town, deal("Two", minute=1), deal(record_id="8"), dry_run=True)

    assert (taken.updated, taken.created) == (1, 1)
    assert await mirror_has(town, "One")
    assert await town.value("SELECT count(*) FROM crm_records") == 1


@pytest.mark.parametrize("seed", range(12))
async def test_answers_in_any_order_end_in_what_hubspot_said_last(town: Town, seed: int):
    """A record that changes, leaves and comes back, asked about again and again: by id, and through a search
    that may be behind. Whatever order the answers come in, the last one asked by id is what stands.
    """
    chance = random.Random(seed)
    truths = [deal("v0")]
    for minute in range(1, 8):
        last = truths[-1]
        if last.archived_at or chance.random() < 0.3:
            gone = None if last.archived_at else BEGAN + timedelta(minutes=minute)
            truths.append(
                Record(
                    kind=last.kind,
                    id=last.id,
                    values=last.values,
                    created_at=BEGAN,
                    modified_at=last.modified_at,
                    archived_at=gone,
                )
            )
        else:
            truths.append(deal(f"v{minute}", minute=minute))
    first = await town.portal.mirror.number()
    answers = []
    for place, truth in enumerate(truths):
        answers.append((await town.portal.mirror.number(), truth, False))
        answers.append((await town.portal.mirror.number(), chance.choice(truths[: place + 1]), True))
    answers.append((await town.portal.mirror.number(), truths[-1], False))
    answers.append((await town.portal.mirror.number(), chance.choice(truths), True))
    await take(town, truths[0], asked=first)
    chance.shuffle(answers)

    for asked, said, lags in answers:
        if not (lags and said.archived_at):  # search shows nobody who is archived
            await take(town, said, asked=asked, lags=lags)

    kept = await row(town, Kind.DEALS, DEAL)
    assert kept["fields"] == truths[-1].values
    assert bool(kept["archived_at"]) == bool(truths[-1].archived_at)

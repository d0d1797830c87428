"""Editing records: what is written, what is a conflict, and that nothing is lost or done twice."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.crm.account import (
    BEN,
    a_deal,
    colleague_changes,
    copied,
    made,
    read_account,
    truth,
    writes,
)
from tests.town import Town, eventually

from muster.access.roles import Role
from muster.crm.edit_rows import Edit, Status
from muster.crm.edit_values import InvalidFields
from muster.crm.fields import Kind
from muster.errors import Conflict, Invalid, NotFound
from muster.platform.actor import Origin, System

CY = System("cy@acme.test")
DEALS = "/crm/objects/2026-09/deals"


@pytest.fixture(autouse=True)
async def account(town: Town) -> None:
    await read_account(town)


async def edit(
    town: Town, record_id: str, fields: dict[str, str], *, by: System = BEN, **before: str
) -> Edit:
    done = await town.portal.editing.edits.edit(Kind.DEALS, record_id, fields, before, by=by, origin=Origin())
    assert done is not None
    return done


async def later(town: Town) -> int:
    """The outbox's next turn, with every wait over."""
    await town.execute("UPDATE crm_edits SET next_at = now(), held_until = now() WHERE status <> 'done'")
    return await town.portal.editing.outbox.work_off()


# What is written


async def test_an_edit_is_in_hubspot_in_the_copy_in_the_history_and_in_the_audit_record(town: Town):
    deal = await a_deal(town)

    done = await edit(town, deal, {"amount": "12,500.50", "dealname": "Another deal"})

    assert done.status is Status.DONE
    assert (await truth(town, Kind.DEALS, deal))["amount"] == "12500.50"
    assert (await copied(town, Kind.DEALS, deal))["amount"] == "12500.50"
    fields, by, source = await _last_change(town, deal)
    assert (fields["amount"], by, source) == (["1000", "12500.50"], "ben@acme.test", "edit")
    assert (await town.audited())[-2:] == ["crm.edit_asked", "crm.edited"]
    before = await town.value("SELECT before FROM audit_log ORDER BY id DESC LIMIT 1")
    assert before == {"amount": "1000", "dealname": "A deal"}


async def _last_change(town: Town, deal: str) -> tuple[Any, ...]:
    statement = (
        "SELECT ARRAY[fields::text, by_email, source] FROM crm_changes WHERE record_id = %s "
        "ORDER BY id DESC LIMIT 1"
    )
    fields, by, source = await town.value(statement, deal)
    return msgspec.json.decode(fields), by, source


async def test_only_what_differs_is_sent_and_nothing_at_all_if_nothing_does(town: Town):
    deal = await a_deal(town, closedate="2026-12-01T09:30:00Z")

    nothing = await town.portal.editing.edits.edit(
        Kind.DEALS,
        deal,
        {"amount": "1,000.00", "dealname": " A deal ", "closedate": "2026-12-01"},
        {},
        by=BEN,
        origin=Origin(),
    )

    assert nothing is None
    assert await writes(town) == 0
    assert (await edit(town, deal, {"amount": "1000", "dealname": "B"})).fields == {"dealname": "B"}


async def test_what_hubspot_sets_after_a_write_is_in_the_copy_at_once(town: Town):
    deal = await a_deal(town, closedate="2026-12-01T09:30:00Z")

    await edit(town, deal, {"dealstage": "closedwon"})

    assert (await copied(town, Kind.DEALS, deal))["hs_is_closed_won"] == "true"
    assert await town.value("SELECT is_won FROM crm_records WHERE id = %s", deal)


async def test_a_field_is_cleared_by_emptying_it(town: Town):
    deal = await a_deal(town, description="Some words")

    await edit(town, deal, {"description": ""})

    assert not (await truth(town, Kind.DEALS, deal)).get("description")
    assert "description" not in await copied(town, Kind.DEALS, deal)


async def test_the_pipeline_follows_the_stage(town: Town):
    deal = await a_deal(town)

    assert (await edit(town, deal, {"dealstage": "146208802"})).status is Status.DONE

    assert (await truth(town, Kind.DEALS, deal))["pipeline"] == "75190321"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("1234", "1234"),
        ("1,234", "1234"),
        ("1,234.5", "1234.5"),
        ("1.234,50", "1234.50"),
        ("1 234,50", "1234.50"),
        ("1'234.50", "1234.50"),
        ("1.234.567", "1234567"),
        ("1,234,567.89", "1234567.89"),
        ("12,5", "12.5"),
        ("€ 99.90", "99.90"),
        ("99.90 EUR", "99.90"),
        ("-5", "-5"),
        ("0.125", "0.125"),
    ],
)
async def test_amounts_are_read_as_people_type_them(town: Town, typed: str, kept: str):
    values = await town.portal.editing.edits.values(Kind.DEALS)

    assert values.read({"amount": typed}, {}) == {"amount": kept}


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("amount", "many", "is not a number"),
        ("amount", "1,23,4", "is not a number"),
        ("amount", "1.234", "could be 1234 or 1.234"),
        ("amount", "9" * 16, "is too large"),
        ("amount", "Infinity", "is not a number"),
        ("closedate", "someday", "is not a date"),
        ("closedate", "0001-01-01", "is a date before 1970"),
        ("dealstage", "nowhere", "is none of the stages"),
        ("dealstage", "", "cannot be empty"),
        ("pipeline", "75190321", "is no stage of Renewals"),
        ("hubspot_owner_id", "1", "is nobody who owns records"),
        ("dealtype", "oldbusiness", "is none of the choices"),
        ("dealname", "x" * 1001, "is longer than"),
        ("description", "x" * 65_537, "is longer than"),
        ("dealname", "a\0b", "no text has"),
        ("dealname", "a\ud800b", "no text has"),
        ("hs_is_closed", "true", "is not a field that can be changed"),
        ("nonsense", "1", "is not a field that can be changed"),
    ],
)
async def test_what_cannot_be_is_said_beside_its_field_and_nothing_is_sent(
    town: Town, name: str, typed: str, said: str
):
    deal = await a_deal(town)

    with pytest.raises(InvalidFields) as refused:
        await edit(town, deal, {name: typed, "dealname": typed if name == "dealname" else "Kept"})

    assert said in next(iter(refused.value.fields.values()))
    assert await writes(town) == 0
    assert await town.value("SELECT count(*) FROM crm_edits") == 0


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("20261130", "2026-11-30T12:00:00Z"), ("1796040000000", "2026-11-30T12:00:00Z")]
    + [(bad, None) for bad in ("2026", "30", "-30", "20269999", "99991231235959", "-99999999999999")]
    + [(bad, None) for bad in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00")],
)
async def test_digits_and_odd_moments_are_no_day_of_1970(town: Town, typed: str, kept: str | None):
    values = await town.portal.editing.edits.values(Kind.DEALS)

    if kept:
        assert values.read({"closedate": typed}, {}) == {"closedate": kept}
    else:
        with pytest.raises(InvalidFields):
            values.read({"closedate": typed}, {"closedate": "9999-12-31T23:59:59-13:00"})


async def test_nobody_who_has_left_is_given_a_record(town: Town):
    deal = await a_deal(town)
    owners = await town.portal.owners.list_all()
    gone = next(owner for owner in owners if not owner.may_own)
    here = next(owner for owner in owners if owner.may_own)

    with pytest.raises(InvalidFields):
        await edit(town, deal, {"hubspot_owner_id": gone.id})

    assert (await edit(town, deal, {"hubspot_owner_id": here.id})).status is Status.DONE


async def test_a_record_that_is_not_there_or_not_any_more_is_not_edited(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot(f"deals/{deal}", archived=True)

    stopped = await edit(town, deal, {"dealname": "B"})

    assert stopped.status is Status.REFUSED
    assert "not in HubSpot any more" in stopped.problem
    with pytest.raises(Conflict):
        await edit(town, deal, {"dealname": "C"})
    with pytest.raises(NotFound):
        await edit(town, "31400270999", {"dealname": "C"})


# Conflicts


async def test_the_same_field_changed_meanwhile_is_a_conflict_and_nothing_is_written(town: Town):
    deal = await a_deal(town)
    await colleague_changes(town, Kind.DEALS, deal, amount="2000")

    stopped = await edit(town, deal, {"amount": "3000", "dealname": "B"})

    assert stopped.status is Status.CONFLICT
    assert stopped.theirs == {"amount": "2000"}
    assert (await truth(town, Kind.DEALS, deal))["dealname"] == "A deal"
    assert (await copied(town, Kind.DEALS, deal))["amount"] == "2000"


async def test_another_field_changed_meanwhile_is_no_conflict(town: Town):
    deal = await a_deal(town)
    await colleague_changes(town, Kind.DEALS, deal, description="Called twice")

    assert (await edit(town, deal, {"amount": "3000"})).status is Status.DONE

    assert (await truth(town, Kind.DEALS, deal))["description"] == "Called twice"
    assert (await copied(town, Kind.DEALS, deal))["description"] == "Called twice"


async def test_the_same_field_changed_to_the_same_is_no_conflict(town: Town):
    deal = await a_deal(town)
    await colleague_changes(town, Kind.DEALS, deal, amount="3000.00")

    assert (await edit(town, deal, {"amount": "3,000"})).status is Status.DONE

    assert await writes(town) == 0


async def test_a_conflict_is_settled_field_by_field(town: Town):
    deal = await a_deal(town)
    await colleague_changes(town, Kind.DEALS, deal, amount="2000", dealname="Theirs")
    stopped = await edit(town, deal, {"amount": "3000", "dealname": "Mine", "description": "New"})

    done = await town.portal.editing.edits.resolve_conflict(stopped.id, ["amount"], by=BEN, origin=Origin())

    assert done.status is Status.DONE
    there = await truth(town, Kind.DEALS, deal)
    assert (there["amount"], there["dealname"], there["description"]) == ("3000", "Theirs", "New")
    with pytest.raises(Conflict):
        await town.portal.editing.edits.resolve_conflict(stopped.id, [], by=CY, origin=Origin())


@pytest.mark.parametrize(("mine", "pipeline"), [([], "default"), (["dealstage"], "75190321")])
async def test_a_pipeline_and_its_stage_are_settled_as_one(town: Town, mine: list[str], pipeline: str):
    deal = await a_deal(town)
    await colleague_changes(town, Kind.DEALS, deal, dealstage="contractsent")
    stopped = await edit(town, deal, {"dealstage": "146208802", "description": "Moved"})
    assert set(stopped.theirs) == {"dealstage"}

    done = await town.portal.editing.edits.resolve_conflict(stopped.id, mine, by=BEN, origin=Origin())

    assert done.status is Status.DONE
    there = await truth(town, Kind.DEALS, deal)
    assert (there["description"], there["pipeline"]) == ("Moved", pipeline)
    assert there["dealstage"] == ("146208802" if mine else "contractsent")


async def test_a_conflict_settled_for_theirs_alone_writes_nothing(town: Town):
    deal = await a_deal(town)
    await colleague_changes(town, Kind.DEALS, deal, amount="2000")
    stopped = await edit(town, deal, {"amount": "3000"})

    settled = await town.portal.editing.edits.resolve_conflict(stopped.id, [], by=BEN, origin=Origin())

    assert settled.status is Status.WITHDRAWN
    assert await writes(town) == 0


async def test_a_conflict_changed_once_more_before_it_is_settled_is_one_again(town: Town):
    deal = await a_deal(town)
    await colleague_changes(town, Kind.DEALS, deal, amount="2000")
    stopped = await edit(town, deal, {"amount": "3000"})
    await colleague_changes(town, Kind.DEALS, deal, amount="2500")

    again = await town.portal.editing.edits.resolve_conflict(stopped.id, ["amount"], by=BEN, origin=Origin())

    assert (again.status, again.theirs) == (Status.CONFLICT, {"amount": "2500"})


async def test_two_writers_of_one_field_at_once_one_writes_and_the_other_is_told(town: Town):
    deal = await a_deal(town)

    both = await asyncio.gather(
        edit(town, deal, {"amount": "2000"}), edit(town, deal, {"amount": "3000"}, by=CY)
    )

    assert sorted(one.status for one in both) == [Status.CONFLICT, Status.DONE]
    winner = next(one for one in both if one.status is Status.DONE)
    assert (await truth(town, Kind.DEALS, deal))["amount"] == winner.fields["amount"]
    assert await writes(town) == 1


async def test_the_answer_to_a_write_does_not_overwrite_what_was_changed_after_it(town: Town):
    deal = await a_deal(town)
    at = datetime.now(UTC).isoformat()
    answer = {"id": deal, "properties": {"amount": "5"}, "createdAt": at, "updatedAt": at}
    await town.sandbox.hubspot(
        "faults", method="PATCH", path=f"{DEALS}/*", after_write=True, delay=1.5, status=200, body=answer
    )

    writing = asyncio.create_task(edit(town, deal, {"amount": "5"}))
    await eventually(lambda: _has_amount(town, deal, "5"))
    await colleague_changes(town, Kind.DEALS, deal, amount="7777")
    await town.portal.crm_rereads.refresh(Kind.DEALS, deal)

    assert (await writing).status is Status.DONE
    assert (await copied(town, Kind.DEALS, deal))["amount"] == "7777"
    assert await town.value("SELECT because FROM crm_rereads WHERE record_id = %s", deal) == "edit"


async def test_what_is_read_while_an_edit_is_written_is_read_once_more(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", method="PATCH", path=f"{DEALS}/*", delay=1.5)

    writing = asyncio.create_task(edit(town, deal, {"amount": "5"}))
    await eventually(lambda: _is_noted(town))
    await colleague_changes(town, Kind.DEALS, deal, description="Called")
    await town.portal.crm_rereads.refresh(Kind.DEALS, deal)
    await writing
    asked = await town.value("SELECT because FROM crm_rereads WHERE record_id = %s", deal)
    await town.portal.crm_rereads.work_off()

    assert asked == "edit"
    here = await copied(town, Kind.DEALS, deal)
    assert (here["amount"], here["description"]) == ("5", "Called")
    assert await town.value("SELECT count(*) FROM crm_rereads") == 0


async def test_a_reading_that_is_overtaken_by_an_edit_is_made_again(town: Town):
    deal = await a_deal(town)
    async with town.portal.database.transaction() as tx:
        await town.portal.crm_rereads.ask(tx, Kind.DEALS, {deal: "webhook"})
    await town.sandbox.hubspot("faults", method="PATCH", path=f"{DEALS}/*", delay=1)
    await town.sandbox.hubspot("faults", path="/crm/associations/*", delay=3)

    writing = asyncio.create_task(edit(town, deal, {"amount": "5"}))
    await eventually(lambda: _is_noted(town))
    await colleague_changes(town, Kind.DEALS, deal, description="Called")
    await town.portal.crm_rereads.work_off()
    await writing
    await town.portal.crm_rereads.work_off()

    here = await copied(town, Kind.DEALS, deal)
    assert (here["amount"], here["description"]) == ("5", "Called")
    assert await town.value("SELECT count(*) FROM crm_rereads") == 0


async def _has_amount(town: Town, deal: str, amount: str) -> bool:
    return bool((await truth(town, Kind.DEALS, deal))["amount"] == amount)


async def _is_noted(town: Town) -> bool:
    return bool(await town.value("SELECT count(*) = 1 FROM crm_edits WHERE sent_at IS NOT NULL"))


async def test_ten_writers_of_two_fields_at_once_lose_nothing(town: Town):
    deal = await a_deal(town)

    await asyncio.gather(
        *(edit(town, deal, {"description": f"Words {number}"}) for number in range(5)),
        *(edit(town, deal, {"dealname": f"Name {number}"}, by=CY) for number in range(5)),
    )
    while await later(town):
        pass

    statuses = await town.value("SELECT array_agg(status) FROM crm_edits")
    assert sorted(statuses) == ["conflict"] * 8 + ["done"] * 2
    assert await writes(town) == 2
    there, here = await truth(town, Kind.DEALS, deal), await copied(town, Kind.DEALS, deal)
    assert (there["dealname"], there["description"]) == (here["dealname"], here["description"])


# Refusals


async def test_a_rule_of_the_account_names_the_field_it_asks_for_and_keeps_what_was_typed(town: Town):
    deal = await a_deal(town)

    stopped = await edit(town, deal, {"dealstage": "closedwon", "description": "Signed"})

    assert stopped.status is Status.REFUSED
    assert "must be filled in" in stopped.problem_fields["closedate"]
    assert stopped.fields == {"dealstage": "closedwon", "description": "Signed"}
    assert stopped.correlation_id
    assert (await copied(town, Kind.DEALS, deal))["dealstage"] == "qualifiedtobuy"


async def test_an_edit_sent_again_as_asked_puts_the_refused_one_aside(town: Town):
    deal = await a_deal(town)
    stopped = await edit(town, deal, {"dealstage": "closedwon"})

    done = await town.portal.editing.edits.edit(
        Kind.DEALS,
        deal,
        {"dealstage": "closedwon", "closedate": "2026-12-01"},
        {},
        by=BEN,
        origin=Origin(),
        instead_of=stopped.id,
    )

    assert done is not None
    assert done.status is Status.DONE
    assert (await town.portal.editing.edits.rows.get(stopped.id)).status is Status.WITHDRAWN
    assert (await town.audited())[-3:] == ["crm.edit_withdrawn", "crm.edit_asked", "crm.edited"]


async def test_a_token_that_is_not_accepted_keeps_edits_waiting(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("scopes", missing=["crm.objects.deals.write"])

    waiting = await edit(town, deal, {"amount": "3000"})
    await town.sandbox.hubspot("scopes")
    await later(town)

    assert waiting.status is Status.WAITING
    assert "crm.objects.deals.write" in waiting.problem
    assert (await truth(town, Kind.DEALS, deal))["amount"] == "3000"


# When HubSpot is away


async def test_hubspot_down_keeps_the_edit_and_writes_it_once_when_it_is_back(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", status=503, times=2)

    waiting = await edit(town, deal, {"amount": "3000"})

    assert waiting.status is Status.WAITING
    assert (await copied(town, Kind.DEALS, deal))["amount"] == "1000"
    assert await later(town) == 0
    assert await later(town) == 1
    assert await later(town) == 0
    assert (await truth(town, Kind.DEALS, deal))["amount"] == "3000"
    assert (await copied(town, Kind.DEALS, deal))["amount"] == "3000"
    assert await writes(town) == 1


@pytest.mark.parametrize("policy", ["TEN_SECONDLY_ROLLING", "DAILY"])
async def test_a_limit_that_is_reached_keeps_the_edit(town: Town, policy: str):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", policy=policy, method="PATCH", path=f"{DEALS}/*")

    waiting = await edit(town, deal, {"amount": "3000"})

    assert waiting.status is Status.WAITING
    wait = (waiting.next_at - waiting.asked_at).total_seconds()
    assert (wait > 600) is (policy == "DAILY")
    assert await later(town) == 1
    assert await writes(town) == 2


@pytest.mark.parametrize("fault", [{"reset": True}, {"status": 502}, {"text": "<html>", "status": 200}])
async def test_a_write_that_was_made_and_not_answered_is_found_to_be_made(town: Town, fault: dict[str, Any]):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", method="PATCH", path=f"{DEALS}/*", after_write=True, **fault)

    unknown = await edit(town, deal, {"amount": "3000"})

    assert unknown.status is Status.UNKNOWN
    assert await later(town) == 1
    assert await writes(town) == 1
    assert (await copied(town, Kind.DEALS, deal))["amount"] == "3000"
    after = await town.value("SELECT after FROM audit_log ORDER BY id DESC LIMIT 1")
    assert after == {"amount": "3000"}
    fields, by, source = await _last_change(town, deal)
    assert (fields["amount"], by, source) == (["1000", "3000"], "ben@acme.test", "edit")


async def test_hubspot_that_never_answers_keeps_the_page_waiting_ten_seconds_and_no_longer(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", method="PATCH", path=f"{DEALS}/*", after_write=True)

    async with asyncio.timeout(12):
        unknown = await edit(town, deal, {"amount": "3000"})

    assert unknown.status is Status.UNKNOWN
    assert await later(town) == 1
    assert await writes(town) == 1


async def test_a_write_that_was_not_made_and_not_answered_is_made_again(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", method="PATCH", path=f"{DEALS}/*", reset=True)

    unknown = await edit(town, deal, {"amount": "3000"})

    assert unknown.status is Status.UNKNOWN
    assert await later(town) == 1
    assert (await truth(town, Kind.DEALS, deal))["amount"] == "3000"


async def test_a_write_of_unknown_outcome_that_somebody_wrote_over_is_a_conflict(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", method="PATCH", path=f"{DEALS}/*", reset=True)
    unknown = await edit(town, deal, {"amount": "3000"})
    await colleague_changes(town, Kind.DEALS, deal, amount="4000")

    await later(town)

    assert (await town.portal.editing.edits.rows.get(unknown.id)).status is Status.CONFLICT
    assert (await truth(town, Kind.DEALS, deal))["amount"] == "4000"


async def test_while_an_outcome_is_unknown_hubspot_down_leaves_it_unknown(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", method="PATCH", path=f"{DEALS}/*", reset=True, after_write=True)
    unknown = await edit(town, deal, {"amount": "3000"})
    await town.sandbox.hubspot("faults", status=503)

    await later(town)

    assert (await town.portal.editing.edits.rows.get(unknown.id)).status is Status.UNKNOWN
    with pytest.raises(Conflict):
        await town.portal.editing.edits.withdraw(unknown.id, by=BEN, origin=Origin())
    assert await later(town) == 1


async def test_edits_of_a_record_are_written_in_the_order_they_were_asked_for(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", status=503)
    first = await edit(town, deal, {"amount": "2000"})

    second = await edit(town, deal, {"amount": "3000"}, amount="2000")

    assert (first.status, second.status) == (Status.WAITING, Status.WAITING)
    assert await later(town) == 2
    assert (await truth(town, Kind.DEALS, deal))["amount"] == "3000"


async def test_what_waits_can_be_withdrawn(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", status=503)
    waiting = await edit(town, deal, {"amount": "3000"})

    await town.portal.editing.edits.withdraw(waiting.id, by=BEN, origin=Origin())

    assert await later(town) == 0
    assert await writes(town) == 0
    assert (await town.audited())[-1] == "crm.edit_withdrawn"


# Killed processes: what each step leaves behind, and what is made of it


@pytest.mark.parametrize("is_written", [False, True], ids=["before the write", "after the write"])
@pytest.mark.parametrize("is_noted", [False, True], ids=["not noted", "noted"])
async def test_an_edit_whose_process_was_killed_is_done_once(town: Town, is_noted: bool, is_written: bool):  # noqa: FBT001
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", status=503)
    left = await edit(town, deal, {"amount": "3000"})
    await town.execute(
        "UPDATE crm_edits SET status = 'sending', held_until = now() + interval '1 hour', "
        "sent_at = CASE WHEN %s THEN now() END WHERE id = %s",
        is_noted,
        left.id,
    )
    if is_written:
        await town.portal.hubspot.update(Kind.DEALS, deal, {"amount": "3000"})

    assert await town.portal.editing.outbox.work_off() == 0
    assert await later(town) == 1

    assert (await truth(town, Kind.DEALS, deal))["amount"] == "3000"
    assert await writes(town) == 1
    assert (await town.audited()).count("crm.edited") == 1


async def test_whoever_lost_an_edit_to_another_ends_it_no_more(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", status=503)
    waiting = await edit(town, deal, {"amount": "3000"})
    rows = town.portal.editing.edits.rows
    slow = await rows.claim(waiting.id)
    await town.execute("UPDATE crm_edits SET held_until = now()")
    quick = await rows.claim(waiting.id)

    assert slow
    assert quick
    assert not await rows.begin_write(slow)
    async with town.portal.database.transaction() as tx:
        assert not await rows.finish(tx, slow, Status.DONE)
    assert await rows.begin_write(quick)


# Creating


async def create(town: Town, key: str = "a-form-of-ben", kind: Kind = Kind.DEALS, **values: str) -> Edit:
    usual = {"dealname": "New", "dealstage": "146208802"} if kind is Kind.DEALS else {}
    return await town.portal.editing.edits.create(
        kind, usual | values, creation_key=key, by=BEN, origin=Origin()
    )


async def test_a_form_sent_twice_creates_one(town: Town):
    both = await asyncio.gather(*(create(town) for _ in range(4)))

    assert {one.status for one in both} == {Status.DONE}
    assert len({one.record_id for one in both}) == 1
    assert await writes(town, "POST") == 1
    assert (await town.audited()).count("crm.created") == 1
    made = await copied(town, Kind.DEALS, both[0].record_id or "")
    assert made["pipeline"] == "75190321"


async def test_a_deal_is_created_for_a_company_and_a_contact(town: Town):
    company = await made(town, Kind.COMPANIES, name="Globex")
    contact = await made(town, Kind.CONTACTS, email="hank@globex.test")

    deal = await town.portal.editing.edits.create(
        Kind.DEALS,
        {"dealname": "New", "dealstage": "qualifiedtobuy"},
        [(Kind.COMPANIES, company), (Kind.CONTACTS, contact)],
        creation_key="a-form-of-ben",
        by=BEN,
        origin=Origin(),
    )

    ties = await town.value("SELECT array_agg(to_id ORDER BY to_kind) FROM crm_associations")
    assert ties == [company, contact]
    shown = await town.sandbox.ask(f"hubspot/deals/{deal.record_id}")
    assert {one["id"] for one in shown["associations"]["companies"]["results"]} == {company}


async def test_a_creation_without_what_is_needed_is_not_sent(town: Town):
    with pytest.raises(InvalidFields):
        await create(town, dealname="")
    with pytest.raises(InvalidFields):
        await create(town, kind=Kind.CONTACTS, phone="1")
    with pytest.raises(Invalid):
        await create(town, key="!")

    assert await writes(town, "POST") == 0


async def test_a_creation_that_hubspot_refuses_says_why(town: Town):
    await made(town, Kind.CONTACTS, email="hank@globex.test")

    refused = await create(town, kind=Kind.CONTACTS, email="hank@globex.test")

    assert refused.status is Status.REFUSED
    assert refused.problem == "HubSpot has a contact with this e-mail address already."


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Kind.DEALS, {"amount": "5,000"}),
        (Kind.CONTACTS, {"email": "hank@globex.test"}),
        (Kind.COMPANIES, {"name": "Globex"}),
    ],
)
async def test_a_creation_that_was_made_and_not_answered_is_found(
    town: Town, kind: Kind, values: dict[str, str]
):
    await town.sandbox.hubspot(
        "faults", method="POST", path=f"/crm/objects/2026-09/{kind}", after_write=True, reset=True
    )

    unknown = await create(town, kind=kind, **values)
    assert unknown.status is Status.UNKNOWN
    await town.sandbox.hubspot("search", settle=True)
    assert await later(town) == 1

    assert await writes(town, "POST") == 1
    done = await town.portal.editing.edits.rows.get(unknown.id)
    assert done.record_id
    assert await copied(town, kind, done.record_id)


async def test_a_creation_that_search_does_not_know_yet_is_not_made_again(town: Town):
    await town.sandbox.hubspot("search", lag=600)
    await town.sandbox.hubspot(
        "faults", method="POST", path="/crm/objects/2026-09/deals", after_write=True, reset=True
    )
    unknown = await create(town)

    assert await later(town) == 0
    assert (await town.portal.editing.edits.rows.get(unknown.id)).status is Status.UNKNOWN
    await town.sandbox.hubspot("search", settle=True)
    assert await later(town) == 1

    assert await writes(town, "POST") == 1


async def test_a_creation_that_was_made_and_changed_before_it_is_found_is_a_persons_to_tell(town: Town):
    await town.sandbox.hubspot(
        "faults", method="POST", path="/crm/objects/2026-09/deals", after_write=True, reset=True
    )
    unknown = await create(town, amount="7")
    await town.sandbox.hubspot("search", settle=True)
    (made_id,) = await _of_name(town, "New")
    await colleague_changes(town, Kind.DEALS, made_id, amount="8")
    await town.sandbox.hubspot("search", settle=True)

    await town.execute("UPDATE crm_edits SET sent_at = sent_at - interval '61 seconds'")
    assert await later(town) == 0

    stopped = await town.portal.editing.edits.rows.get(unknown.id)
    assert stopped.status is Status.REFUSED
    assert stopped.problem.startswith("A deal of this name was created at that moment: is it yours?")
    assert await writes(town, "POST") == 1
    await town.portal.grants.grant(BEN.email, Role.SALES, by=CY)
    async with town.signed_in(BEN.email) as ben:
        page = await ben.follow(f"/crm/edits/{unknown.id}")
        assert f'<a href="/crm/deals/{made_id}">Look at it</a>' in page.text
        assert (await ben.get(f"/crm/deals/{made_id}")).status_code == 200


async def test_a_namesake_of_another_hour_is_not_what_was_made(town: Town):
    await made(town, Kind.DEALS, dealname="New", pipeline="default", dealstage="qualifiedtobuy")
    await town.sandbox.hubspot("search", settle=True)
    await town.sandbox.hubspot("faults", method="POST", path="/crm/objects/2026-09/deals", reset=True)
    await create(town)

    await town.execute("UPDATE crm_edits SET sent_at = sent_at - interval '1 hour'")
    assert await later(town) == 1


async def _of_name(town: Town, name: str) -> list[str]:
    now = datetime.now(UTC)
    found = await town.portal.hubspot.search(
        Kind.DEALS, since=now - timedelta(minutes=5), until=now + timedelta(minutes=5), above_id=""
    )
    return [record.id for record in found.records if record.values.get("dealname") == name]


async def test_a_creation_that_was_not_made_is_made_once_search_would_know_it(town: Town):
    await town.sandbox.hubspot("faults", method="POST", path="/crm/objects/2026-09/deals", reset=True)
    await create(town)

    assert await later(town) == 0
    await town.execute("UPDATE crm_edits SET sent_at = sent_at - interval '61 seconds'")
    assert await later(town) == 1

    assert await writes(town, "POST") == 2


async def test_a_contact_that_only_the_refusal_of_a_second_one_tells_of_is_taken_as_made(town: Town):
    await town.sandbox.hubspot("search", lag=600)
    await town.sandbox.hubspot(
        "faults", method="POST", path="/crm/objects/2026-09/contacts", after_write=True, reset=True
    )
    await create(town, kind=Kind.CONTACTS, email="hank@globex.test")
    await town.execute("UPDATE crm_edits SET sent_at = sent_at - interval '61 seconds'")

    assert await later(town) == 1


async def test_of_whoever_wants_to_be_forgotten_nothing_is_left_in_edits(town: Town):
    done = await create(town, kind=Kind.CONTACTS, email="Hank@globex.test", phone="+41 79 1")
    refused = await create(town, key="another-form", kind=Kind.CONTACTS, email="hank@globex.test")
    await town.sandbox.hubspot("faults", status=503, times=4)
    waiting = await town.portal.editing.edits.edit(
        Kind.CONTACTS, done.record_id or "", {"phone": "+41 79 2"}, {}, by=BEN, origin=Origin()
    )
    assert waiting

    asked = await town.portal.mirror.number()
    async with town.portal.database.transaction() as tx:
        await town.portal.mirror.forget(tx, Kind.CONTACTS, done.record_id or "", asked=asked)

    for one, status in ((done, "done"), (refused, "withdrawn"), (waiting, "withdrawn")):
        kept = await town.portal.editing.edits.rows.get(one.id)
        assert kept.status == status
        assert (kept.fields, kept.before, kept.written, kept.theirs) == ({}, {}, {}, {})
        assert (kept.problem, kept.problem_fields) == ("", {})


async def test_two_edits_of_one_person_while_hubspot_is_down_are_no_conflict(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", status=503, times=3)
    first = await edit(town, deal, {"amount": "2000"}, amount="1000")
    second = await edit(town, deal, {"amount": "3000"}, amount="1000")
    third = await edit(town, deal, {"amount": "4000"}, by=CY, amount="1000")

    for _ in range(4):
        await later(town)

    got = [(await town.portal.editing.edits.rows.get(one.id)).status for one in (first, second, third)]
    assert got == [Status.DONE, Status.DONE, Status.CONFLICT]
    assert (await truth(town, Kind.DEALS, deal))["amount"] == "3000"


async def test_a_tie_to_what_no_database_can_keep_is_refused(town: Town):
    with pytest.raises(InvalidFields):
        await town.portal.editing.edits.create(
            Kind.DEALS,
            {"dealname": "New", "dealstage": "qualifiedtobuy"},
            [(Kind.CONTACTS, "\0")],
            creation_key="a-form-of-ben",
            by=BEN,
            origin=Origin(),
        )


async def test_a_contact_that_was_made_is_not_called_refused_because_it_cannot_be_looked_up(town: Town):
    contacts = "/crm/objects/2026-09/contacts"
    await town.sandbox.hubspot("search", lag=600)
    await town.sandbox.hubspot("faults", method="POST", path=contacts, after_write=True, reset=True)
    unknown = await create(town, kind=Kind.CONTACTS, email="hank@globex.test")
    await town.execute("UPDATE crm_edits SET sent_at = sent_at - interval '61 seconds'")
    await town.sandbox.hubspot("faults", method="GET", path=f"{contacts}/*", status=503)

    await later(town)

    assert (await town.portal.editing.edits.rows.get(unknown.id)).status is Status.UNKNOWN
    await town.sandbox.hubspot("search", settle=True)
    await later(town)
    assert (await town.portal.editing.edits.rows.get(unknown.id)).status is Status.DONE

"""A record's page and its interface for programs: what is shown, edited, refused, and what waits."""

import re
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.crm.account import a_deal, colleague_changes, made, read_account, truth
from tests.town import Town, Visitor, problem, serving

from muster.access.roles import Permission, Role
from muster.crm.edit_rows import Status
from muster.crm.fields import Kind
from muster.crm.mirror import Source
from muster.platform.actor import Actor, Origin, System
from muster.web import application
from muster.wiring import portal

BEN = "ben@acme.test"


@pytest.fixture(autouse=True)
async def account(town: Town) -> None:
    await read_account(town)
    await town.portal.grants.grant(BEN, Role.SALES, by=System("tester"))


async def submit(visitor: Visitor, path: str, fields: dict[str, str]) -> Any:
    response = await visitor.post(path, fields)
    assert response.status_code == 303, response.text
    return await visitor.get(response.headers["location"])


async def api(visitor: Visitor, method: str, path: str, body: object = None) -> Any:
    return await visitor.request(
        method, f"/api/v1{path}", json=body, headers={"x-csrf-token": await visitor.csrf()}
    )


async def test_a_deal_is_shown_with_all_its_fields_in_words(town: Town):
    owner = next(one for one in await town.portal.owners.list_all() if one.email == BEN)
    deal = await a_deal(
        town,
        amount="12500.5",
        deal_currency_code="EUR",
        closedate="2026-12-01T09:30:00Z",
        hubspot_owner_id=owner.id,
        description="<b>Loud</b>",
    )
    async with town.signed_in("cy@acme.test") as cy:
        page = await cy.get(f"/crm/deals/{deal}")

    assert page.status_code == 200
    for words in ("12,500.50 EUR", "1 Dec 2026", "Qualified to buy", "HubSpot, ", "&lt;b&gt;Loud"):
        assert words in page.text, words
    assert f'href="/people/{owner.person_id}"' in page.text
    assert "Edit all fields" not in page.text


async def test_an_edit_by_the_form_of_all_fields_changes_what_differs(town: Town):
    deal = await a_deal(town)
    async with town.signed_in(BEN) as ben:
        form = await ben.get(f"/crm/deals/{deal}")
        fields = dict(re.findall(r'name="((?:was|f)_\w+)" value="([^"]*)"', form.text))
        for name, choices in re.findall(r'<select [^>]*name="(f_\w+)">(.*?)</select>', form.text, re.DOTALL):
            if chosen := re.search(r'value="(\w+)" selected', choices):
                fields[name] = chosen.group(1)
        page = await submit(ben, f"/crm/deals/{deal}", {**fields, "f_amount": "2,500"})

    assert "Written to HubSpot: Amount." in page.text
    assert "2,500" in page.text
    assert "edited here by ben@acme.test" in page.text
    assert (await truth(town, Kind.DEALS, deal))["dealname"] == "A deal"


async def test_a_single_field_is_cleared_by_a_form_of_its_own(town: Town):
    deal = await a_deal(town, description="Words")
    async with town.signed_in(BEN) as ben:
        await submit(ben, f"/crm/deals/{deal}", {"f_description": "", "was_description": "Words"})

    assert not (await truth(town, Kind.DEALS, deal)).get("description")


async def test_what_cannot_be_read_is_said_beside_the_field_with_what_was_typed(town: Town):
    deal = await a_deal(town)
    async with town.signed_in(BEN) as ben:
        page = await ben.post(f"/crm/deals/{deal}", {"f_amount": "much", "f_description": "Kept words"})

    assert page.status_code == 422
    assert "Amount is not a number" in page.text
    assert 'value="much"' in page.text
    assert "Kept words" in page.text


async def test_a_refused_edit_asks_for_the_field_and_shows_what_was_typed(town: Town):
    deal = await a_deal(town)
    async with town.signed_in(BEN) as ben:
        page = await submit(
            ben,
            f"/crm/deals/{deal}",
            {"f_dealstage": "closedwon", "was_dealstage": "qualifiedtobuy", "f_description": "Signed"},
        )

        assert "Close date must be filled in because of the stage" in page.text
        assert '<option value="closedwon" selected>' in page.text
        assert "Signed</textarea>" in page.text
        edit_id = re.search(r'name="edit" value="(\d+)"', page.text)
        assert edit_id
        done = await submit(
            ben,
            f"/crm/deals/{deal}",
            {
                "f_dealstage": "closedwon",
                "was_dealstage": "qualifiedtobuy",
                "f_closedate": "2026-12-01",
                "edit": edit_id.group(1),
            },
        )
    assert "Written to HubSpot" in done.text
    assert "refused" not in done.text


async def test_what_a_colleague_changed_since_is_not_overwritten_by_a_refused_edit_sent_again(town: Town):
    deal = await a_deal(town)
    path = f"/crm/deals/{deal}"
    async with town.signed_in(BEN) as ben:
        stage = {"f_dealstage": "closedwon", "was_dealstage": "qualifiedtobuy"}
        await submit(ben, path, {"f_amount": "3000", "was_amount": "1000", **stage})
        await _colleague_changes_amount(town, deal)
        form = _form_of(await ben.get(path))

        again = await submit(ben, path, {**form, **stage, "f_closedate": "2026-12-01"})

    assert form["was_amount"] == "1000"
    assert "Somebody else changed this meanwhile" in again.text
    assert (await truth(town, Kind.DEALS, deal))["amount"] == "2000"


async def test_what_a_colleague_changed_since_is_not_overwritten_by_a_form_that_came_back(town: Town):
    deal = await a_deal(town)
    path = f"/crm/deals/{deal}"
    async with town.signed_in(BEN) as ben:
        await _colleague_changes_amount(town, deal)
        form = _form_of(
            await ben.post(path, {"f_amount": "3000", "was_amount": "1000", "f_closedate": "someday"})
        )

        again = await submit(ben, path, {**form, "f_closedate": "2026-12-01"})

    assert "Somebody else changed this meanwhile" in again.text
    assert (await truth(town, Kind.DEALS, deal))["amount"] == "2000"


async def _colleague_changes_amount(town: Town, deal: str) -> None:
    await colleague_changes(town, Kind.DEALS, deal, amount="2000")
    await town.portal.crm_rereads.refresh(Kind.DEALS, deal)


def _form_of(page: Any) -> dict[str, str]:
    """The amount, and which edit is put aside, as the form of all fields would send them again."""
    form = page.text[page.text.index('id="edit-form"') :]
    return dict(re.findall(r'name="((?:f|was)_amount|edit)" value="([^"]*)"', form))


async def test_a_conflict_shows_all_three_sides_and_is_settled(town: Town):
    deal = await a_deal(town)
    await colleague_changes(town, Kind.DEALS, deal, amount="2000")
    async with town.signed_in(BEN) as ben:
        page = await submit(ben, f"/crm/deals/{deal}", {"f_amount": "3000", "was_amount": "1000"})

        for words in ("Somebody else changed this", "1,000", "2,000", "3,000"):
            assert words in page.text
        action = re.search(r'action="(/crm/edits/\d+/resolution)"', page.text)
        assert action
        settled = await submit(ben, action.group(1), {"mine": "amount"})

    assert "Written to HubSpot: Amount." in settled.text
    assert (await truth(town, Kind.DEALS, deal))["amount"] == "3000"


async def test_while_hubspot_is_down_the_page_shows_what_waits_and_it_can_be_withdrawn(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", status=503)
    async with town.signed_in(BEN) as ben:
        page = await submit(ben, f"/crm/deals/{deal}", {"f_amount": "3000", "was_amount": "1000"})

        assert "Waiting to be written to HubSpot" in page.text
        assert "→ 3,000" in page.text
        assert "data-live" in page.text
        action = re.search(r'action="(/crm/edits/\d+/withdrawal)"', page.text)
        assert action
        after = await submit(ben, action.group(1), {})

    assert "Waiting to be written" not in after.text


async def test_a_merged_record_leads_to_what_it_was_merged_into(town: Town):
    old, new = await a_deal(town), await a_deal(town, dealname="The other")
    asked = await town.portal.mirror.number()
    async with town.portal.database.transaction() as tx:
        await town.portal.mirror.lead(tx, Kind.DEALS, {old: new}, asked=asked, source=Source.SYNC)
    async with town.signed_in(BEN) as ben:
        response = await ben.get(f"/crm/deals/{old}")

    assert response.headers["location"] == f"/crm/deals/{new}"


async def test_an_archived_record_says_so_and_is_not_edited(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot(f"deals/{deal}", archived=True)
    async with town.signed_in(BEN) as ben:
        page = await submit(ben, f"/crm/deals/{deal}/refresh", {})
        assert "Gone from HubSpot" in page.text
        assert "Edit all fields" not in page.text
        assert (await ben.post(f"/crm/deals/{deal}", {"f_amount": "3"})).status_code == 409


async def test_a_deal_is_made_for_a_company_once_however_often_the_form_is_sent(town: Town):
    company = await made(town, Kind.COMPANIES, name="Globex")
    async with town.signed_in(BEN) as ben:
        form = await ben.get(f"/crm/deals/new?company={company}")
        assert "Globex" in form.text
        key = re.search(r'name="key" value="(\w+)"', form.text)
        assert key
        fields = {
            "key": key.group(1),
            "company": company,
            "f_dealname": "A new one",
            "f_dealstage": "qualifiedtobuy",
        }
        first = await submit(ben, "/crm/deals", fields)
        second = await submit(ben, "/crm/deals", fields)

        assert "Created in HubSpot." in first.text
        assert first.url == second.url
        assert "A new one" in (await ben.get(f"/crm/companies/{company}")).text


async def test_a_form_of_a_new_record_sent_again_with_something_else_loses_nothing(town: Town):
    async with town.signed_in(BEN) as ben:
        first = await submit(ben, "/crm/contacts", {"key": "k" * 16, "f_email": "one@globex.test"})
        other = await ben.post("/crm/contacts", {"key": "k" * 16, "f_email": "two@globex.test"})
        elsewhere = await ben.post(
            "/crm/deals", {"key": "k" * 16, "f_dealname": "A deal", "f_dealstage": "qualifiedtobuy"}
        )
        key = re.search(r'name="key" value="(\w+)"', other.text)
        assert key
        second = await submit(ben, "/crm/contacts", {"key": key.group(1), "f_email": "two@globex.test"})
        told = await api(
            ben, "POST", "/crm/contacts", {"creation_key": "k" * 16, "fields": {"email": "two@globex.test"}}
        )

    assert (other.status_code, elsewhere.status_code) == (409, 409)
    assert "This form was sent before with something else in it" in other.text
    assert 'value="two@globex.test"' in other.text
    assert "Created in HubSpot." in second.text
    assert first.url != second.url
    assert told.status_code == 409
    assert problem(told)["detail"] == "This form was sent before with something else in it: open a new one."


async def test_a_refused_form_of_a_new_record_is_mended_by_going_back(town: Town):
    await made(town, Kind.CONTACTS, email="hank@globex.test")
    async with town.signed_in(BEN) as ben:
        await submit(ben, "/crm/contacts", {"key": "k" * 16, "f_email": "hank@globex.test"})
        mended = {"key": "k" * 16, "f_email": "hal@globex.test"}
        page = await submit(ben, "/crm/contacts", mended)
        again = await submit(ben, "/crm/contacts", mended)

    assert "Created in HubSpot." in page.text
    assert page.url == again.url
    assert (await town.audited()).count("crm.edit_withdrawn") == 1


async def test_a_new_record_without_its_name_comes_back_with_what_was_typed(town: Town):
    async with town.signed_in(BEN) as ben:
        page = await ben.post("/crm/companies", {"key": "k" * 16, "f_city": "Springfield"})

    assert page.status_code == 422
    assert "Name must be filled in" in page.text
    assert "Springfield" in page.text


async def test_a_creation_that_waits_has_a_page_that_leads_to_the_record(town: Town):
    await town.sandbox.hubspot("faults", status=503, method="POST")
    await town.sandbox.hubspot("faults", policy="TEN_SECONDLY", method="POST", skip=1)
    async with town.signed_in(BEN) as ben:
        page = await submit(ben, "/crm/companies", {"key": "k" * 16, "f_name": "Globex"})
        assert "HubSpot, which has not said" in page.text
        await town.execute("UPDATE crm_edits SET next_at = now(), sent_at = NULL, status = 'waiting'")
        await town.portal.editing.outbox.work_off()
        waiting = await ben.get(str(page.url))
        assert "Waiting to be written" in waiting.text
        await town.execute("UPDATE crm_edits SET next_at = now()")
        await town.portal.editing.outbox.work_off()
        found = await ben.follow(str(page.url))

    assert "Created in HubSpot." in found.text


async def test_a_refused_creation_comes_back_with_what_was_typed(town: Town):
    await made(town, Kind.CONTACTS, email="hank@globex.test")
    async with town.signed_in(BEN) as ben:
        page = await submit(
            ben, "/crm/contacts", {"key": "k" * 16, "f_email": "hank@globex.test", "f_city": "Springfield"}
        )

    assert "HubSpot has a contact with this e-mail address already." in page.text
    assert "Springfield" in page.text


async def test_a_look_at_a_hubspot_that_hangs_ends_after_ten_seconds_on_the_record_itself(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", path=f"/crm/objects/2026-09/deals/{deal}", delay=6)
    await town.sandbox.hubspot("faults", path="/crm/associations/*", hang=True, times=9)
    began = time.monotonic()
    async with town.signed_in(BEN) as ben:
        page = await ben.request(
            "POST",
            f"/crm/deals/{deal}/refresh",
            content=f"csrf={await ben.csrf()}",
            headers={"content-type": "application/x-www-form-urlencoded", "origin": ben.base_url},
            timeout=30,
        )

    assert time.monotonic() - began < 14
    assert page.status_code == 503
    assert "HubSpot does not answer</strong>; this is from" in page.text
    assert "<h1>A deal</h1>" in page.text


async def test_without_a_token_nothing_is_offered_that_needs_hubspot(town: Town):
    deal = await a_deal(town)
    settings = replace(town.portal.settings, hubspot_token=None)
    async with (
        portal(settings, application="muster-test") as made_,
        serving(application(made_), 0) as base_url,
    ):
        alone = replace(town, portal=made_, base_url=base_url)
        async with alone.signed_in(BEN) as ben:
            page = await ben.get(f"/crm/deals/{deal}")
            refreshed = await ben.post(f"/crm/deals/{deal}/refresh")
            new = await ben.get("/crm/deals/new")
        sent = await made_.editing.edits.create(
            Kind.DEALS,
            {"dealname": "New", "dealstage": "qualifiedtobuy"},
            creation_key="k" * 16,
            by=System(BEN),
            origin=Origin(),
        )

    assert page.status_code == 200
    assert "/refresh" not in page.text
    assert "Edit all fields" not in page.text
    for answer in (refreshed, new):
        assert answer.status_code == 409
        assert "HUBSPOT_TOKEN is not set" in answer.text
    assert (sent.status, sent.sent_at) == (Status.WAITING, None)


async def test_hubspots_reference_is_told_wherever_it_refused_or_failed(town: Town):
    deal, path = await a_deal(town), "/crm/objects/2026-09/deals"
    refused = {"status": "error", "category": "VALIDATION_ERROR", "message": "No", "correlationId": "ref-1"}
    failed = {"status": "error", "message": "Oops", "correlationId": "ref-2"}
    async with town.signed_in(BEN) as ben:
        await town.sandbox.hubspot("faults", method="PATCH", path=f"{path}/*", status=400, body=refused)
        told = await api(ben, "PATCH", f"/crm/deals/{deal}", {"fields": {"dealname": "B"}})
        await town.sandbox.hubspot("faults", method="POST", path=path, status=400, body=refused)
        new = await submit(
            ben, "/crm/deals", {"f_dealname": "N", "f_dealstage": "qualifiedtobuy", "key": "k" * 16}
        )
        await town.sandbox.hubspot("faults", method="PATCH", path=f"{path}/*", status=502, body=failed)
        waiting = await submit(ben, f"/crm/deals/{deal}", {"f_amount": "5", "was_amount": "1000"})

    assert problem(told)["correlationId"] == "ref-1"
    assert "ref-1" in new.text
    assert "HubSpot's reference ref-2" in waiting.text


async def test_addresses_of_pages_are_links_only_if_they_lead_to_the_web(town: Town):
    bad = await made(town, Kind.COMPANIES, name="Evil", website="javascript:alert(1)")
    good = await made(town, Kind.COMPANIES, name="Good", website="globex.test/about")
    async with town.signed_in(BEN) as ben:
        assert 'href="javascript' not in (await ben.get(f"/crm/companies/{bad}")).text
        assert 'href="https://globex.test/about"' in (await ben.get(f"/crm/companies/{good}")).text


# For programs


async def test_a_program_reads_and_edits_a_record(town: Town):
    deal = await a_deal(town)
    async with town.signed_in(BEN) as ben:
        read = (await api(ben, "GET", f"/crm/deals/{deal}")).json()
        edited = await api(ben, "PATCH", f"/crm/deals/{deal}", {"fields": {"amount": "3000"}})

    assert read["fields"]["amount"] == "1000"
    assert edited.status_code == 200
    assert edited.json()["fields"]["amount"] == "3000"
    assert edited.json()["edit"]["written"] == {"amount": ["1000", "3000"]}


async def test_a_program_is_told_of_a_conflict_with_all_three_sides(town: Town):
    deal = await a_deal(town)
    await colleague_changes(town, Kind.DEALS, deal, amount="2000")
    async with town.signed_in(BEN) as ben:
        response = await api(
            ben, "PATCH", f"/crm/deals/{deal}", {"fields": {"amount": "3000"}, "before": {"amount": "1000"}}
        )

    told = problem(response)
    assert (response.status_code, told["code"]) == (409, "conflict")
    assert (told["theirs"], told["mine"], told["before"]) == (
        {"amount": "2000"},
        {"amount": "3000"},
        {"amount": "1000"},
    )


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"amount": "much"}, "amount"),
        ({"dealstage": "closedwon"}, "closedate"),
        ({"hs_is_closed": "true"}, "hs_is_closed"),
        ({"x\0": "1"}, "x\0"),
        ({"dealname": "x\0"}, "dealname"),
    ],
)
async def test_a_program_is_told_which_field_is_wrong(town: Town, fields: dict[str, str], name: str):
    deal = await a_deal(town)
    async with town.signed_in(BEN) as ben:
        response = await api(ben, "PATCH", f"/crm/deals/{deal}", {"fields": fields})

    assert response.status_code == 422
    assert name in problem(response)["fields"]


async def test_what_no_database_can_keep_is_refused_wherever_it_stands(town: Town):
    deal = await a_deal(town)
    async with town.signed_in(BEN) as ben:
        for before in ({"amount": "\0"}, {"a\0": "1"}):
            body = {"fields": {"amount": "5"}, "before": before}
            assert (await api(ben, "PATCH", f"/crm/deals/{deal}", body)).status_code == 422
        for key in ("\0" * 8, "a" * 200, ""):
            new = {"fields": {"name": "A"}, "creation_key": key}
            assert (await api(ben, "POST", "/crm/companies", new)).status_code == 422


async def test_a_program_creates_a_record_once(town: Town):
    company = await made(town, Kind.COMPANIES, name="Globex")
    body = {
        "fields": {"dealname": "New", "dealstage": "qualifiedtobuy"},
        "creation_key": "of-a-program-1",
        "ties": [{"kind": "companies", "id": company}],
    }
    async with town.signed_in(BEN) as ben:
        first, second = [await api(ben, "POST", "/crm/deals", body) for _ in range(2)]

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert first.json()["ties"] == [{"kind": "companies", "id": company, "name": "Globex"}]


async def test_what_waits_is_told_as_accepted(town: Town):
    deal = await a_deal(town)
    await town.sandbox.hubspot("faults", status=503)
    async with town.signed_in(BEN) as ben:
        response = await api(ben, "PATCH", f"/crm/deals/{deal}", {"fields": {"amount": "3000"}})

    assert response.status_code == 202
    assert response.json()["edit"]["status"] == "waiting"
    assert response.json()["fields"]["amount"] == "1000"


async def test_whoever_may_only_edit_customers_reads_none(town: Town):
    deal = await a_deal(town)
    async with town.signed_in(BEN):
        account_id = await town.value("SELECT id FROM accounts WHERE email = %s", BEN)
    everything = frozenset(permission.value for permission in Permission)
    owner = Actor(account_id=account_id, email=BEN, name="Ben", title="", roles=(), permissions=everything)
    token = await town.portal.tokens.create(
        name="A form", scopes=[Permission.EDIT_CUSTOMERS], life=timedelta(days=1), by=owner, origin=Origin()
    )
    path = f"{town.base_url}/api/v1/crm/deals/{deal}"
    headers = {"authorization": f"Bearer {token}"}

    async def patch(**asked: dict[str, str]) -> Any:
        return await town.raw.patch(path, headers=headers, json=asked)

    nothing = await patch(fields={})
    conflict = await patch(fields={"amount": "5"}, before={"amount": "4"})
    done = await patch(fields={"amount": "2000"})

    assert (nothing.status_code, conflict.status_code, done.status_code) == (200, 409, 200)
    assert done.json()["edit"]["status"] == "done"
    for answer in (nothing, conflict, done):
        assert "1000" not in answer.text
        assert "A deal" not in answer.text


async def test_whoever_may_only_see_customers_edits_none(town: Town):
    deal = await a_deal(town)
    async with town.signed_in("cy@acme.test") as cy:
        assert (await api(cy, "PATCH", f"/crm/deals/{deal}", {"fields": {}})).status_code == 403
        assert (await cy.post(f"/crm/deals/{deal}", {"f_amount": "1"})).status_code == 403
        assert (await cy.get("/crm/deals/new")).status_code == 403

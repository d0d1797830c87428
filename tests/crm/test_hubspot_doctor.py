"""HubSpot's set-up examined: every cause told apart, with what to do, and never a token."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.town import Town

from muster.crm.hubspot import SCOPES
from muster.platform.step import Standing, Step
from muster.settings import Secret, Settings
from muster.wiring import portal

OK, FAILED, NOT_REACHED = Standing.OK, Standing.FAILED, Standing.NOT_REACHED


async def examined(
    settings: Settings, problems: Mapping[str, str] | None = None, **how: Any
) -> dict[str, Step]:
    """Step id → the step, of an examination of `settings`; what it says holds no secret."""
    async with portal(settings, application="muster-test") as made:
        steps = [step async for step in made.hubspot_doctor.examine(problems, **how)]
    for step in steps:
        assert step.detail
        assert bool(step.remedy) >= (step.status is FAILED), f"{step.id} says nothing of what to do"
        assert "pat-" not in step.detail + step.remedy, step
    return {step.id: step for step in steps}


def failed(steps: dict[str, Step]) -> list[str]:
    return [step.id for step in steps.values() if step.status is FAILED]


async def test_all_is_well_with_the_sandbox(town: Town):
    steps = await examined(town.portal.settings)

    assert {step.status for step in steps.values()} == {OK}
    assert "(Europe/Berlin, EUR)" in steps["hubspot.account"].detail
    assert len([name for name in steps if name.startswith("hubspot.scope.")]) == len(SCOPES)
    assert f"{town.portal.settings.public_url}/hooks/hubspot" in steps["hubspot.webhook_address"].detail
    assert "of 650,000 calls are left" in steps["hubspot.allowance"].detail
    assert {one.feature for one in await town.portal.meter.today()} == {"doctor"}


async def test_without_a_token_nothing_fails_and_nothing_is_asked(town: Town):
    steps = await examined(replace(town.portal.settings, hubspot_token=None, hubspot_webhook_secret=None))

    assert {step.status for step in steps.values()} == {NOT_REACHED}
    assert ",".join(SCOPES) in steps["hubspot.token"].remedy
    assert (await town.sandbox.ask("hubspot"))["calls"] == 0


async def test_a_setting_that_is_wrong_comes_first(town: Town):
    steps = await examined(town.portal.settings, {"HUBSPOT_TOKEN": "HUBSPOT_TOKEN holds …"})

    assert failed(steps) == []
    assert steps["hubspot.token"].detail == "first HUBSPOT_TOKEN must be set right"


async def test_a_token_that_is_not_accepted_is_one_failure(town: Town):
    steps = await examined(replace(town.portal.settings, hubspot_token=Secret("pat-eu1-wrong")))

    assert failed(steps) == ["hubspot.token"]
    assert "HUBSPOT_TOKEN is not accepted" in steps["hubspot.token"].detail
    assert "Auth → Access token" in steps["hubspot.token"].remedy


async def test_all_missing_scopes_are_named_to_be_added_at_once(town: Town):
    missing = ["crm.objects.deals.write", "crm.objects.owners.read"]
    await town.sandbox.hubspot("scopes", missing=missing)

    steps = await examined(town.portal.settings)

    assert failed(steps) == ["hubspot.scope.deals.write", "hubspot.scope.owners.read"]
    for name in failed(steps):
        assert ",".join(missing) in steps[name].remedy.splitlines()


async def test_an_account_that_is_not_told_leaves_the_token_accepted(town: Town):
    await town.sandbox.hubspot("scopes", missing=["oauth"])

    assert failed(await examined(town.portal.settings)) == ["hubspot.account"]


async def test_a_missing_webhook_secret_is_said_with_what_it_costs(town: Town):
    steps = await examined(replace(town.portal.settings, hubspot_webhook_secret=None))

    assert failed(steps) == []
    assert "changes show with the next sync" in steps["hubspot.webhook_secret"].detail
    assert "Client secret" in steps["hubspot.webhook_secret"].remedy


async def test_a_day_that_is_nearly_used_up_is_a_failure(town: Town):
    await town.sandbox.hubspot("limits", daily=1000)
    await town.sandbox.hubspot("spend", calls=950)

    steps = await examined(town.portal.settings)

    assert failed(steps) == ["hubspot.allowance"]
    assert "of 1,000 calls are left" in steps["hubspot.allowance"].detail


async def test_a_used_up_day_is_told_apart(town: Town):
    await town.sandbox.hubspot("limits", daily=1000)
    await town.sandbox.hubspot("spend", calls=1000)

    steps = await examined(town.portal.settings)

    assert failed(steps) == ["hubspot.token"]
    assert "until HubSpot's day ends" in steps["hubspot.token"].detail


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"hang": True}, "HubSpot is not reached: it does not answer in time"),
        ({"status": 500}, "failed"),
        ({"status": 403, "text": "<html>blocked</html>"}, "not worded as HubSpot words its answers"),
        ({"status": 200, "text": "<html>portal</html>"}, "an answer that cannot be read"),
    ],
    ids=str,
)
async def test_what_keeps_hubspot_from_answering_is_told_apart(town: Town, fault: dict[str, Any], told: str):
    await town.sandbox.hubspot("faults", path="/account-info/*", times=50, **fault)

    steps = await examined(town.portal.settings, step_deadline=timedelta(seconds=1))

    assert failed(steps) == ["hubspot.token"]
    assert told in steps["hubspot.token"].detail


async def test_scopes_that_cannot_be_tried_end_within_the_time_for_all(town: Town):
    await town.sandbox.hubspot("faults", path="/crm/*", times=50, hang=True)

    steps = await examined(town.portal.settings, step_deadline=timedelta(seconds=0.5))

    scopes = [name for name in steps if name.startswith("hubspot.scope.")]
    assert failed(steps) == scopes


async def test_nobody_at_the_address_is_told_with_what_to_open(town: Town):
    steps = await examined(
        replace(town.portal.settings, hubspot_url="http://127.0.0.1:1"), step_deadline=timedelta(seconds=2)
    )

    assert failed(steps) == ["hubspot.token"]
    assert "127.0.0.1 at port 1" in steps["hubspot.token"].remedy


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("https://portal.example.com", OK),
        ("https://localhost", NOT_REACHED),
        ("https://10.0.0.1", NOT_REACHED),
        ("http://portal.example.com", NOT_REACHED),
    ],
)
async def test_where_webhooks_must_point_is_said(town: Town, url: str, status: Standing):
    settings = replace(town.portal.settings, public_url=url, hubspot_url="http://sandbox.invalid")

    step = (await examined(settings, step_deadline=timedelta(seconds=1)))["hubspot.webhook_address"]

    assert step.status is status
    assert url in step.detail

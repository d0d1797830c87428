"""What the checklist says of HubSpot, and what it costs to know."""

import pytest
from tests.crm.hubspot_town import in_haste
from tests.town import Town

from muster.crm.fields import Kind
from muster.crm.hubspot import SCOPES
from muster.crm.probes import CrmProbes
from muster.errors import VendorDown, VendorRefused
from muster.platform.probe import Failed


@pytest.fixture
async def probes(town: Town) -> CrmProbes:
    await in_haste(town)
    made = town.portal
    return CrmProbes(
        town.raw,
        made.hubspot,
        made.crm_sync,
        made.crm_rereads,
        made.meter,
        made.editing.edits.rows,
        every=made.settings.crm_sync_every,
        public_url=made.settings.public_url,
        secret=None,
        has_hubspot=True,
    )


async def calls(town: Town) -> int:
    return int((await town.sandbox.ask("hubspot"))["calls"])


async def test_scopes_are_tried_at_first_and_then_only_now_and_again(town: Town, probes: CrmProbes):
    before = await calls(town)

    await probes.reachable()
    assert await calls(town) - before == 1 + len(SCOPES)
    assert "scopes just now" in await probes.reachable()
    assert await calls(town) - before == 2 + len(SCOPES)


async def test_a_call_refused_for_want_of_a_scope_has_them_tried_at_once(town: Town, probes: CrmProbes):
    await probes.reachable()
    await town.sandbox.hubspot("scopes", missing=["crm.objects.companies.read"])
    with pytest.raises(VendorRefused):
        await town.portal.hubspot.page(Kind.COMPANIES)

    for _ in range(2):
        with pytest.raises(Failed, match=r"lacks crm\.objects\.companies\.read"):
            await probes.reachable()


async def test_a_day_that_is_used_up_shows_though_the_refusal_has_no_figures(town: Town, probes: CrmProbes):
    assert "calls left just now" in await probes.allowance()
    await town.sandbox.hubspot("faults", policy="DAILY")
    with pytest.raises(VendorDown):
        await town.portal.hubspot.page(Kind.DEALS)

    with pytest.raises(Failed, match="0 of 650000 calls left"):
        await probes.allowance()


async def test_what_hubspot_said_long_ago_is_asked_for_again(town: Town, probes: CrmProbes):
    await probes.allowance()
    await town.execute("UPDATE crm_allowance SET said_at = now() - interval '1 hour', daily_left = 7")

    assert "calls left just now" in await probes.allowance()


async def test_what_hubspot_says_no_more_is_not_known(town: Town, probes: CrmProbes):
    await probes.allowance()
    await town.execute("UPDATE crm_allowance SET said_at = now() - interval '1 hour'")
    silent = {"portalId": 1}
    await town.sandbox.hubspot("faults", path="/account-info/*", status=200, body=silent)

    with pytest.raises(Failed, match=r"does not say how many calls are left; it last did: .* 1 h ago"):
        await probes.allowance()

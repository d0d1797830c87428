"""Every change of people, groups, roles and deals ends what is cached of it, and nothing else does."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tests.dashboard.customers import Customers
from tests.town import Town

from muster.access.roles import Role
from muster.platform.actor import System
from muster.platform.cache import Cache
from muster.wiring import Portal

TESTER = System("tester")


class Watch:
    """Counts how often what has a tag is read anew."""

    def __init__(self, cache: Cache, *tags: str) -> None:
        self._cache, self._tags = cache, tags
        self.reads = 0

    async def _read(self) -> int:
        self.reads += 1
        return self.reads

    async def look(self) -> int:
        found = await self._cache.get(f"watch:{self._tags}", int, self._read, tags=self._tags)
        return found.value


async def ended(watch: Watch, act: Callable[[], Awaitable[object]]) -> bool:
    """Whether what was cached before `act` is read anew after it."""
    before = await watch.look()
    await act()
    return await watch.look() != before


async def figures(portal: Portal, metric_id: str) -> dict[str, float]:
    (metric,) = [one for one in portal.metrics.all if one.id == metric_id]
    (reading,) = await portal.metrics.read([metric])
    assert reading.value, reading.problem
    return {figure.name: figure.value for figure in reading.value.figures}


async def test_whoever_is_suspended_is_counted_at_the_next_look_of_another_process(
    people: Town, elsewhere: Portal
):
    before = await figures(elsewhere, "people.headcount")
    await people.sandbox.change("cy@acme.test", suspended=True)

    await people.portal.sync.run()

    after = await figures(elsewhere, "people.headcount")
    assert after["suspended"] == before["suspended"] + 1


async def test_a_sync_that_changes_nothing_ends_nothing(people: Town, onlooker: Cache):
    await people.portal.groups.run()
    watches = [Watch(onlooker, tag) for tag in ("people", "groups", "org_units", "roles")]

    async def sync_again() -> None:
        await people.portal.sync.run()
        await people.portal.groups.run()

    assert [await watch.look() for watch in watches] == [1, 1, 1, 1]
    await sync_again()
    assert [await watch.look() for watch in watches] == [1, 1, 1, 1]


async def test_a_dry_run_ends_nothing(people: Town, onlooker: Cache):
    await people.sandbox.change("cy@acme.test", suspended=True)
    await people.portal.sync.ask(by=TESTER, dry_run=True)

    assert not await ended(Watch(onlooker, "people"), people.portal.sync.run)


async def test_whoever_push_names_is_seen_at_once(people: Town, onlooker: Cache):
    person = await people.value("SELECT google_id FROM people WHERE email = 'cy@acme.test'")
    await people.sandbox.change("cy@acme.test", suspended=True)
    await people.portal.rereads.want([person], because="test")

    assert await ended(Watch(onlooker, "people"), people.portal.rereads.work_off)


async def test_whoever_is_deleted_is_gone_from_the_numbers(people: Town, onlooker: Cache, elsewhere: Portal):
    before = await figures(elsewhere, "people.headcount")
    await people.sandbox.change("cy@acme.test", deleted=True)

    assert await ended(Watch(onlooker, "people"), people.portal.sync.run)
    assert (await figures(elsewhere, "people.headcount"))["total"] == before["total"] - 1


async def test_groups_and_their_members_end_what_shows_groups(people: Town, onlooker: Cache):
    watch = Watch(onlooker, "groups")
    assert await ended(watch, people.portal.groups.run)
    group = await people.value("SELECT google_id FROM groups ORDER BY google_id LIMIT 1")
    await people.execute("DELETE FROM group_members WHERE group_id = %s", group)
    await people.execute("UPDATE groups SET members_due = true WHERE google_id = %s", group)

    assert await ended(watch, people.portal.groups.run)


async def test_only_a_role_within_a_group_is_a_change_too(people: Town, onlooker: Cache):
    await people.portal.groups.run()
    group = await people.value("SELECT group_id FROM group_members WHERE role = 'MEMBER' LIMIT 1")
    await people.execute("UPDATE group_members SET role = 'OWNER' WHERE group_id = %s", group)
    await people.execute("UPDATE groups SET members_due = true WHERE google_id = %s", group)

    assert await ended(Watch(onlooker, "groups"), people.portal.groups.run)


async def test_org_units_that_change_end_what_shows_them(people: Town, onlooker: Cache):
    await people.execute("UPDATE org_units SET name = 'Old' WHERE path = '/Sales'")

    assert await ended(Watch(onlooker, "org_units"), people.portal.sync.run)


@pytest.mark.parametrize("is_given", [True, False], ids=["given", "taken"])
async def test_a_role_ends_what_is_cached_of_roles(people: Town, onlooker: Cache, *, is_given: bool):
    grants = people.portal.grants
    if not is_given:
        await grants.grant("ben@acme.test", Role.SALES, by=TESTER)

    async def change() -> None:
        await (grants.grant if is_given else grants.revoke)("ben@acme.test", Role.SALES, by=TESTER)

    assert await ended(Watch(onlooker, "roles"), change)


async def test_a_deal_is_counted_at_the_next_look_of_another_process(customers: Customers, elsewhere: Portal):
    deal = customers.deal("1", amount="1000")
    await customers.take([deal])
    assert (await figures(elsewhere, "customers.pipeline_by_stage"))["amount_EUR"] == 1000

    await customers.take([msgspec.structs.replace(deal, values={**deal.values, "amount": "2500"})])

    assert (await figures(elsewhere, "customers.pipeline_by_stage"))["amount_EUR"] == 2500


async def test_the_same_deal_again_ends_nothing(customers: Customers, onlooker: Cache):
    deal = customers.deal("1")
    await customers.take([deal])

    async def again() -> None:
        await customers.take([deal])

    assert not await ended(Watch(onlooker, "crm:deals"), again)


async def test_deals_of_whoever_is_suspended_are_orphaned_at_once(
    people: Town, customers: Customers, elsewhere: Portal
):
    await customers.take([customers.deal("2"), customers.deal("1")])
    assert (await figures(elsewhere, "customers.orphaned_deals"))["deals"] == 0
    await people.sandbox.change("cy@acme.test", suspended=True)

    await people.portal.sync.run()

    assert (await figures(elsewhere, "customers.orphaned_deals"))["deals"] == 1


async def test_a_crash_between_commit_and_bust_is_made_good_by_the_worker(people: Town, elsewhere: Portal):
    before = await figures(elsewhere, "people.headcount")
    # As it lies there when the process dies right after its commit.
    await people.execute("UPDATE people SET status = 'archived' WHERE email = 'cy@acme.test'")
    await people.execute("INSERT INTO cache_busts (tags) VALUES ('{people}')")
    assert await figures(elsewhere, "people.headcount") == before

    await people.portal.busts.relay()

    assert (await figures(elsewhere, "people.headcount"))["archived"] == before["archived"] + 1


async def test_what_is_rolled_back_ends_nothing(people: Town, onlooker: Cache):
    async def roll_back() -> None:
        with pytest.raises(RuntimeError):  # noqa: PT012  the transaction is what is left by it
            async with people.portal.database.transaction() as tx:
                await people.portal.sync.copy.bust(tx)
                raise RuntimeError

    assert not await ended(Watch(onlooker, "people"), roll_back)


def test_every_tag_of_a_metric_is_busted_by_somebody(town: Town):
    """The owners' and the catalogue's by the sync of HubSpot."""
    known = {"people", "crm:deals", "crm:contacts", "crm:companies", "crm:owners", "crm:catalogue"}

    assert {tag for metric in town.portal.metrics.all for tag in metric.tags} <= known

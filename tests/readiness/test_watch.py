"""Whoever watches: from a proof that fails to a message that arrives, once, and to its end."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.readiness.away import nobody, without_postgresql, without_redis
from tests.town import Town, eventually

from muster.errors import SettingsError, Unavailable
from muster.platform.actor import Origin, System
from muster.platform.probe import Failed, Probe
from muster.readiness.alerts import OPENS_AFTER, REMINDED_EVERY
from muster.readiness.checklist import ROWS
from muster.readiness.proofs import Proofs
from muster.readiness.watch import CANARY_EVERY, Watch
from muster.settings import Secret, Settings
from muster.wiring import portal

MINUTE = timedelta(minutes=1)
MEMBER = System("ada@acme.test")


@dataclass
class Scene:
    """A town whose rows do as they are told, watched by a clock that the test holds."""

    town: Town
    watch: Watch
    at: datetime
    broken: dict[str, Exception] = field(default_factory=dict)

    async def look(self, times: int = 1, *, each: timedelta = MINUTE) -> None:
        for _ in range(times):
            self.at += each
            await self.watch.look("scene")
            await self.watch.deliver()

    async def kept(self, sink: str = "on-call") -> list[dict[str, Any]]:
        return [one for one in (await self.town.sandbox.ask("alerts"))["kept"] if one["sink"] == sink]

    async def titles(self, sink: str = "on-call") -> list[str]:
        """Of everything but canaries."""
        return [one["title"] for one in await self.kept(sink) if "canary" not in one["title"]]

    async def behave(self, sink: str, how: str, **more: Any) -> None:
        await self.town.sandbox.tell(f"alerts/{sink}", {"how": how, **more})

    async def open_id(self) -> int:
        return int(await self.town.value("SELECT id FROM alerts WHERE closed_at IS NULL"))


def scene_of(town: Town) -> Scene:
    scene = Scene(town, town.portal.watch, datetime.now(UTC))

    def asking(row_id: str) -> Callable[[], Awaitable[str]]:
        async def ask() -> str:
            if error := scene.broken.get(row_id):
                raise error
            return "seen to hold"

        return ask

    proofs = Proofs(town.portal.database, [Probe(row=row.id, ask=asking(row.id)) for row in ROWS])
    scene.watch = town.portal.alerting.watch(proofs, clock=lambda: scene.at, trusts_for=timedelta(0))
    return scene


@pytest.fixture
async def scene(settings: Settings, town: Town) -> AsyncIterator[Scene]:
    """With two channels beside each other."""
    first = settings.alert_urls[0].reveal()
    both = replace(settings, alert_urls=(Secret(first), Secret(first.replace("on-call", "second"))))
    async with portal(both, application="muster-scene") as made:
        await town.sandbox.tell("alerts", {})
        yield scene_of(replace(town, portal=made))


async def test_what_fails_three_times_is_told_once_on_every_channel_and_so_is_its_end(scene: Scene):
    scene.broken["directory.fresh"] = Failed("read two hours ago")
    await scene.look(6)
    del scene.broken["directory.fresh"]
    await scene.look(6)

    for sink in ("on-call", "second"):
        opened, recovered = await scene.titles(sink)
        assert opened == "[warning] Failing: Directory sync (directory.fresh)"
        assert recovered == "[recovered] Holds again after 7 min: Directory sync (directory.fresh)"
    assert (await scene.town.sandbox.ask("alerts"))["repeated"] == 0


async def test_a_message_says_what_is_wrong_since_when_what_was_seen_and_what_to_do(scene: Scene):
    scene.broken["workers.alive"] = Failed("no worker has said that it lives")
    await scene.look(3)

    (message,) = [one for one in await scene.kept() if "critical" in one["title"]]
    assert message["kind"] == "failure"
    for said in (
        "Does not hold: A dedicated worker",
        "Since: ",
        "(2 min ago)",
        "Seen: no worker has said that it lives",
        "What to do: Start one with `muster worker`.",
        f"/alerts/{await scene.open_id()}",
        "/checklist#workers.alive",
        "docs/runbooks/workers.alive.md",
    ):
        assert said in message["message"]


async def test_rows_that_could_not_be_tried_have_no_alert_of_their_own(scene: Scene):
    away = Unavailable("Redis does not answer: gone", row="redis.persistence")
    for row in ("redis.persistence", "redis.policy", "jobs.canary", "cache.busts"):
        scene.broken[row] = away
    await scene.look(4)

    assert await scene.titles() == ["[critical] Failing: Persistence (redis.persistence)"]
    (message,) = [one for one in await scene.kept() if "critical" in one["title"]]
    assert "3 other promises could not be looked at" in message["message"]


async def test_it_is_said_again_every_four_hours_until_somebody_takes_it_on(scene: Scene):
    scene.broken["hubspot.fresh"] = Failed("read yesterday")
    await scene.look(3)
    await scene.look(1, each=REMINDED_EVERY)
    await scene.town.portal.alerting.book.acknowledge(
        await scene.open_id(), "calling HubSpot", by=MEMBER, origin=Origin()
    )
    await scene.look(3, each=REMINDED_EVERY)
    del scene.broken["hubspot.fresh"]
    await scene.look(2)

    assert [title.split(" (")[0] for title in await scene.titles()] == [
        "[warning] Failing: HubSpot sync",
        "[warning] Still failing after 4 h 2 min: HubSpot sync",
        "[recovered] Holds again after 16 h 4 min: HubSpot sync",
    ]


async def test_nobody_is_told_of_what_is_silenced_and_everybody_after(scene: Scene):
    scene.broken["cache.busts"] = Failed("3 busts wait")
    await scene.look(3)
    book = scene.town.portal.alerting.book
    quiet_id = await book.silence(
        await scene.open_id(), "known", scene.at + timedelta(hours=12), by=MEMBER, origin=Origin()
    )
    await scene.look(2, each=REMINDED_EVERY)
    assert len(await scene.titles()) == 1

    await book.end_quiet(quiet_id, by=MEMBER, origin=Origin())
    await scene.look()

    assert len(await scene.titles()) == 2
    assert {"alerts.silenced", "alerts.quiet_ended"} <= set(await scene.town.audited())


async def test_failures_within_a_maintenance_window_do_not_count(scene: Scene):
    starts = datetime.now(UTC)
    await scene.town.portal.alerting.book.plan(
        ["Cache", "redis.policy"],
        "new Redis",
        starts,
        starts + timedelta(hours=2),
        by=MEMBER,
        origin=Origin(),
    )
    for row in ("cache.busts", "redis.policy", "redis.prefixes"):
        scene.broken[row] = Failed("as planned")
    await scene.look(5)

    assert await scene.titles() == ["[warning] Failing: Key namespaces (redis.prefixes)"]


async def test_a_restart_neither_forgets_nor_repeats(scene: Scene):
    scene.broken["directory.fresh"] = Failed("read two hours ago")
    await scene.look(2)
    again = scene_of(scene.town)
    again.at, again.broken = scene.at, scene.broken
    await again.look(3)
    once_more = scene_of(scene.town)
    once_more.at, once_more.broken = again.at, again.broken
    await once_more.look(3)

    assert len(await scene.titles()) == 1


async def test_two_who_watch_look_once_between_them(scene: Scene):
    assert await scene.watch.look("one", after=MINUTE)
    assert not await scene.watch.look("other", after=MINUTE)


async def test_a_proof_counts_once_however_often_it_is_looked_at(scene: Scene):
    scene.broken["directory.fresh"] = Failed("read two hours ago")
    await scene.look()
    patient = scene.town.portal.alerting.watch(
        scene.town.portal.proofs, clock=lambda: scene.at, trusts_for=timedelta(days=1)
    )
    for _ in range(5):
        await patient.look("patient")

    assert (
        await scene.town.value("SELECT failures FROM alert_standings WHERE subject = 'directory.fresh'") == 1
    )


# Channels


async def test_a_channel_that_refuses_holds_up_no_other_and_gets_it_later(scene: Scene):
    await scene.behave("second", "refuse", times=2)
    scene.broken["directory.fresh"] = Failed("read two hours ago")
    await scene.look(3)
    assert len(await scene.titles("on-call")) == 1

    await scene.look(3)

    assert len(await scene.titles("on-call")) == len(await scene.titles("second")) == 1


async def test_a_channel_gets_its_canary_once_a_day(scene: Scene):
    await scene.look(5)
    assert len(await scene.kept()) == len(await scene.kept("second")) == 1

    await scene.look(1, each=CANARY_EVERY)

    assert len(await scene.kept()) == 2


async def test_what_a_channel_says_holds_nothing_of_its_address(settings: Settings, town: Town):
    url = "json://somebody:secretword@127.0.0.1:9/hooks/T0KENT0KEN?+X-Key=alsosecret"
    async with portal(replace(settings, alert_urls=(Secret(url),)), application="muster-scene") as made:
        scene = scene_of(replace(town, portal=made))
        await scene.look()
        said = await town.value("SELECT name || ' ' || last_error FROM deliveries")

    assert said.startswith("json://127.0.0.1:9 ")
    for secret in ("secretword", "T0KENT0KEN", "alsosecret", "somebody"):
        assert secret not in said


# The dead-man switch


async def test_the_switch_is_told_that_somebody_looked_and_the_head_of_the_audit_log(scene: Scene):
    async with scene.town.portal.database.transaction() as tx:
        await scene.watch.test(tx, by="ada@acme.test")
    await scene.town.portal.alerting.book.plan(
        ["Cache"], "so that the log has an entry", scene.at, scene.at + MINUTE * 5, by=MEMBER, origin=Origin()
    )
    await scene.look(2)

    pings = (await scene.town.sandbox.ask("alerts"))["pings"]
    assert [one["what"] for one in pings] == ["start", "success"]
    head = await scene.town.portal.audit_log.head()
    assert f"audit log: {head.number} entries, head {head.hash.hex()}" in pings[1]["body"]


async def test_the_switch_is_told_when_a_channel_takes_nothing(scene: Scene):
    await scene.behave("second", "refuse")
    await scene.look(2)
    await scene.look(1, each=timedelta(minutes=20))

    last = (await scene.town.sandbox.ask("alerts"))["pings"][-1]
    assert last["what"] == "fail"
    assert "not delivered for a quarter of an hour: json://" in last["body"]


# Pages


async def test_who_is_critical_rings_on_every_page_of_those_who_may_see_it(scene: Scene):
    scene.broken["workers.alive"] = Failed("no worker has said that it lives")
    await scene.look(3)
    await scene.watch.ring()
    alarm = scene.town.portal.alerting.alarm

    assert [one.title for one in alarm.ringing] == ["Worker process (Jobs and workers)"]


# Whoever watches goes on


async def looked_by(town: Town, name: str) -> bool:
    return (await town.portal.watch.state()).looked_by == name


async def test_a_worker_watches_for_as_long_as_it_lives(town: Town):
    async with town.portal.watch.going("a-worker"):
        await eventually(lambda: looked_by(town, "a-worker"))
        await eventually(lambda: town.value("SELECT accepted_at FROM deliveries"))


async def test_a_worker_with_a_channel_that_nobody_understands_does_not_start(settings: Settings):
    wrong = replace(settings, alert_urls=(Secret("slack://secretword"),))
    async with portal(wrong, application="muster-scene") as made:
        with pytest.raises(SettingsError, match="number 1"):
            async with made.watch.going("a-worker"):
                pass


async def test_the_web_watches_once_nobody_else_has_for_a_while(town: Town):
    await town.portal.watch.look("a-worker")
    async with town.portal.watch.standing_by("a-web"):
        await eventually(lambda: town.value("SELECT sum(requests) FROM web_minutes"))
    assert await looked_by(town, "a-worker")

    await town.execute("UPDATE alert_watch SET looked_at = now() - interval '4 minutes'")
    async with town.portal.watch.standing_by("a-web"):
        await eventually(lambda: looked_by(town, "a-web"))


async def test_with_neither_postgresql_nor_redis_it_is_told_all_the_same(settings: Settings, town: Town):
    await town.sandbox.tell("alerts", {})
    with nobody() as somewhere:
        alone = without_redis(without_postgresql(settings, somewhere), somewhere)
        async with portal(alone, application="muster-scene") as made:
            for _ in range(OPENS_AFTER):
                await made.watch.look("alone")

    kept = (await town.sandbox.ask("alerts"))["kept"]
    assert [one["title"] for one in kept] == ["[critical] Failing: Pool and health (postgresql.answers)"]
    assert "planted" not in kept[0]["message"]

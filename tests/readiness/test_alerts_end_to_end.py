"""Servers that go away and come back, the real proofs, and what arrives by mail and at two webhooks."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.platform.wire import Wire, wire_to
from tests.readiness.mail_sink import MailSink, mail_sink
from tests.town import Town, eventually, opened

from muster.embedded.valkey import Valkey
from muster.readiness.alerts import OPENS_AFTER, REMINDED_EVERY
from muster.readiness.watch import Watch
from muster.settings import Secret, Settings
from muster.wiring import portal

MINUTE = timedelta(minutes=1)


@dataclass
class Watched:
    """A town that is watched by a clock the test holds; every look proves every row."""

    town: Town
    mail: MailSink
    wires: dict[str, Wire]
    at: datetime
    watch: Watch

    async def look(self, times: int = 1, *, each: timedelta = MINUTE) -> None:
        for _ in range(times):
            self.at += each
            await self.watch.look("watched")
            await self.watch.deliver()

    async def titles(self, sink: str) -> list[str]:
        kept = (await self.town.sandbox.ask("alerts"))["kept"]
        return [one["title"] for one in kept if one["sink"] == sink and "canary" not in one["title"]]

    async def told(self) -> list[str]:
        """What arrived, in short; each channel got the same."""
        titles = await self.titles("on-call")
        assert self.mail.titles == await self.titles("second") == titles
        return [
            title.partition("]")[0].removeprefix("[") + " " + title[title.rindex("(") + 1 : -1]
            for title in titles
        ]

    async def open_subjects(self) -> list[str]:
        return [one.subject for one in await self.town.portal.alerting.book.list_open()]


@contextlib.asynccontextmanager
async def watched(settings: Settings) -> AsyncIterator[Watched]:
    async with contextlib.AsyncExitStack() as stack:
        mail = await stack.enter_async_context(mail_sink())
        first = settings.alert_urls[0].reveal()
        urls = (first, first.replace("on-call", "second"), mail.url)
        settings = replace(settings, alert_urls=tuple(Secret(one) for one in urls))
        town = await stack.enter_async_context(opened(settings))
        await town.sandbox.tell("alerts", {})
        addresses = {
            "directory": settings.google_directory_url,
            "hubspot": settings.hubspot_url,
            "postgresql": settings.database_url.reveal(),
        }
        wires = {name: await stack.enter_async_context(wire_to(url)) for name, url in addresses.items()}
        # Whoever watches is on wires that may be cut; the web and the worker are not.
        made = await stack.enter_async_context(
            portal(
                replace(
                    settings,
                    google_directory_url=wires["directory"].url,
                    hubspot_url=wires["hubspot"].url,
                    database_url=Secret(wires["postgresql"].url),
                ),
                application="muster-watched",
            )
        )
        await town.all_in_step()
        await stack.enter_async_context(town.working())
        await stack.enter_async_context(town.signed_in("ada@acme.test"))
        scene = Watched(town, mail, wires, datetime.now(UTC), made.watch)
        scene.watch = made.alerting.watch(made.proofs, clock=lambda: scene.at, trusts_for=timedelta(0))
        yield scene


@pytest.fixture
async def scene(settings: Settings) -> AsyncIterator[Watched]:
    async with watched(settings) as made:
        yield made


async def test_valkey_that_stops_and_starts_again_is_told_three_times_on_every_channel(
    new_settings: Callable[[], Settings], servers_home
):
    home = servers_home / "valkey-of-alerts"
    home.mkdir(mode=0o755)
    valkey = Valkey(home)
    valkey.start()
    try:
        async with watched(replace(new_settings(), redis_url=Secret(valkey.url))) as scene:
            await scene.look()
            valkey.stop()
            await scene.look(OPENS_AFTER)
            await scene.look(1, each=REMINDED_EVERY)
            valkey.start()
            await eventually(lambda: is_back(scene))
            await scene.look(3)

            assert await scene.told() == [
                "critical redis.persistence",
                "critical redis.persistence",
                "recovered redis.persistence",
            ]
            assert await scene.open_subjects() == []
            assert (await scene.town.sandbox.ask("alerts"))["repeated"] == 0
    finally:
        valkey.stop()


async def is_back(scene: Watched) -> bool:
    """The worker has found Valkey again, and runs jobs."""
    checked = await scene.town.portal.proofs.prove()
    return all(one.proof and one.proof.held for one in checked.rows if one.row.id in {"jobs.canary"})


@pytest.mark.parametrize(
    ("wire", "subject"), [("directory", "directory.reachable"), ("hubspot", "hubspot.reachable")]
)
async def test_what_is_cut_off_has_the_one_alert_that_names_it(scene: Watched, wire: str, subject: str):
    await scene.look()

    with scene.wires[wire].being_cut():
        await scene.look(OPENS_AFTER + 1)

    assert await scene.open_subjects() == [subject]


async def test_postgresql_away_is_told_from_memory_and_written_down_when_it_is_back(scene: Watched):
    await scene.look()

    with scene.wires["postgresql"].being_cut():
        await scene.look(OPENS_AFTER + 1)
        assert await scene.titles("on-call") == ["[critical] Pool and health fails (postgresql.answers)"]
    await scene.look(4)

    assert await scene.told() == ["critical postgresql.answers", "recovered postgresql.answers"]
    assert await scene.open_subjects() == []
    (past,) = await scene.town.portal.alerting.book.list_past()
    assert past.subject == "postgresql.answers"

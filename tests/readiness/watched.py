"""A town that is watched: every proof is a real one, a mail server and two webhooks take what is told."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tests.platform.wire import Wire, wire_to
from tests.readiness.mail_sink import MailSink, mail_sink
from tests.town import Town, opened

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

    async def look(self, times: int = 1, *, each: timedelta = MINUTE, delivers: bool = True) -> None:
        for _ in range(times):
            self.at += each
            await self.town.beat()
            await self.watch.look("watched")
            if delivers:
                await self.watch.deliver()

    async def titles(self, sink: str) -> list[str]:
        kept = (await self.town.sandbox.ask("alerts"))["kept"]
        return [one["title"] for one in kept if one["sink"] == sink and "canary" not in one["title"]]

    async def told(self) -> list[str]:
        """What arrived, in short; each channel got the same."""
        titles = await self.titles("on-call")
        assert self.mail.titles == await self.titles("second") == titles
        return [
            title.partition("]")[0].removeprefix("[") + " " + title.split("(")[-1][:-1] for title in titles
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
        await town.schedule()
        await stack.enter_async_context(town.signed_in("ada@acme.test"))
        scene = Watched(town, mail, wires, datetime.now(UTC), made.watch)
        scene.watch = made.alerting.watch(made.proofs, clock=lambda: scene.at, trusts_for=timedelta(0))
        yield scene

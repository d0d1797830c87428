"""A town under siege, and how what breaks it is told apart."""

import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from tests.readiness.between import Between
from tests.town import Town, eventually

from muster.platform.actor import System
from muster.platform.database import Database
from muster.platform.probe import Probe
from muster.platform.probes import CanaryProbe
from muster.platform.queue import QUEUES, Worker
from muster.platform.queue_probes import QueueProbes
from muster.readiness.checklist import ROWS
from muster.readiness.jobs import CANARY
from muster.readiness.proofs import Judged, Proofs

ALL_QUEUES = [spec.name for spec in QUEUES]
HOURLY = replace(CANARY, every=timedelta(hours=1))


@dataclass(kw_only=True)
class Siege:
    """A town in good order, and what a saboteur may lay hands on."""

    town: Town
    front: Between
    """What stands before the portal at its PUBLIC_URL."""
    google: Between
    """What stands before Google's sign-in."""
    archive: Database
    """Keeps the proofs, out of the saboteurs' reach."""
    probes: dict[str, Probe] = field(default_factory=dict)
    worker: Worker | None = None

    def __post_init__(self) -> None:
        made = self.town.portal
        self.probes = {row.id: made.proofs._probes[row.id] for row in ROWS}
        impatient = CanaryProbe(made.queues, CANARY, deadline=timedelta(seconds=1.5))
        self.probes["jobs.canary"] = Probe(row="jobs.canary", ask=impatient.canary)
        # The portal's own would mend what saboteurs break.
        scheduled = QueueProbes(made.redis, made.queues, made.heartbeats, [HOURLY])
        self.probes["jobs.schedules"] = Probe(row="jobs.schedules", ask=scheduled.schedules)

    async def judged(self, row_id: str) -> Judged:
        row = next(row for row in ROWS if row.id == row_id)
        proofs = Proofs(self.archive, [self.probes[row_id]], [row])
        return (await proofs.prove()).rows[0]

    async def start_worker(self) -> None:
        made = self.town.portal
        redis_url = made.settings.redis_url.reveal()
        self.worker = Worker(redis_url, made.jobs, queues=ALL_QUEUES, concurrency=4, name="besieged")
        await self.worker.start()
        await self.beat()

    async def stop_worker(self) -> None:
        if self.worker:
            await self.worker.drain(timedelta(seconds=10))
            await self.town.portal.heartbeats.stopped("besieged")
            self.worker = None

    async def turn_the_clock(self) -> None:
        """What the schedules of a portal do, which this one has not: saboteurs would be mended by them."""
        await self.open_channels()  # a sync that was faster than push distrusts them
        await self.town.portal.busts.relay()
        await self.town.watched()
        if self.worker:
            await self.beat()

    async def open_channels(self) -> None:
        await self.town.portal.push.keep_open()
        await eventually(self.town.portal.push.live_since)

    async def list_all_of_hubspot(self) -> None:
        await self.town.portal.crm_sync.ask(by=System("a test"), is_full=True)
        await self.town.portal.crm_sync.run()

    async def beat(self) -> None:
        await self.town.portal.heartbeats.beat(
            "besieged", concurrency=dict.fromkeys(ALL_QUEUES, 4), running=[]
        )

    async def sql(self, *statements: str) -> None:
        """Each statement for itself, on a connection that is not the portal's."""
        for statement in statements:
            await self.town.raw_execute(statement)


Act = Callable[[Siege], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Sabotage:
    """`act` breaks what `row` promises for as long as its block lasts; the evidence then holds `sees`."""

    row: str
    act: Act
    sees: str

    @property
    def name(self) -> str:
        return f"{self.row}: {self.act.__name__.replace('_', ' ')}"


SABOTAGES: list[Sabotage] = []


def saboteur(row: str, *, sees: str) -> Callable[[Callable[[Siege], AsyncIterator[None]]], Act]:
    """Registers a generator that breaks something, yields, and mends it again."""

    def registered(breaks: Callable[[Siege], AsyncIterator[None]]) -> Act:
        @contextlib.asynccontextmanager
        @functools.wraps(breaks)
        async def act(siege: Siege) -> AsyncIterator[None]:
            breaking = breaks(siege)
            await anext(breaking)
            try:
                yield
            finally:
                await anext(breaking, None)  # mended, whatever went wrong meanwhile

        SABOTAGES.append(Sabotage(row=row, act=act, sees=sees))
        return act

    return registered

"""How each part that Muster stands on is doing, as this process sees it.

A component is declared with what its failure means. Without one that is *needed* a page cannot be served,
so the process is not ready and a load balancer passes it over. Any other only warns: a vendor that is
dead, a worker that is missing or a cache that is away take no web out of service.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import msgspec

from muster.errors import MusterError
from muster.platform import migrations
from muster.platform.database import Database
from muster.platform.heartbeat import MISSING_AFTER
from muster.platform.patience import answered, shared
from muster.platform.prometheus import COMPONENT
from muster.platform.queue import QUEUES, Queues
from muster.platform.redis import Redis, answering
from muster.platform.telemetry import logger

ASKED_FOR = 2.5
"""Seconds a component has to answer; whoever asks for all of them is answered within three."""

SLOW_AFTER = timedelta(seconds=1)
"""Who answers, but not sooner, is degraded: a page asks several times."""

TOLD_FOR = 1.0
"""Seconds for which a report is given again: anybody may ask for it, and it asks each server."""

TURNS = 3
"""So many turns of its schedule a sync may miss before what it copies counts as old."""

_LATENESS = timedelta(minutes=2)


class State(StrEnum):
    """In the words of the IETF's expired health+json draft."""

    PASS = "pass"  # noqa: S105  no password
    WARN = "warn"
    FAIL = "fail"


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A component at this moment. `since` is when this process first saw it as it is now, `age_seconds` of
    what is old how old it is; `last_problem` stays when it has passed.
    """

    name: str
    status: State
    is_needed: bool
    problem: str
    time: datetime
    took_ms: int
    since: datetime
    age_seconds: int | None = None
    last_problem: str = ""
    last_problem_at: datetime | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    status: State
    components: list[Standing]

    def of(self, name: str) -> Standing | None:
        return next((one for one in self.components if one.name == name), None)

    @property
    def missing(self) -> list[Standing]:
        """What is needed and not there."""
        return [one for one in self.components if one.is_needed and one.status is State.FAIL]


class Degraded(MusterError):
    """It is there, but not as it should be; the message holds no address."""

    code = "degraded"


class Down(MusterError):
    """It is not there, or nothing of it can be used; the message holds no address."""

    code = "component_down"


Ask = Callable[[], Awaitable[timedelta | None]]
"""Gives the age of what is old, if anything is; raises Degraded, or anything else where it is down."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Component:
    name: str
    ask: Ask
    is_needed: bool = False


class Health:
    """The components asked side by side, each with its own deadline, and what became of them before."""

    def __init__(self, components: Sequence[Component], *, told_for: float = TOLD_FOR) -> None:
        self._components = components
        self._told_for = told_for
        self._seen: dict[str, Standing] = {}
        self._asking: asyncio.Task[Report] | None = None
        self._told: tuple[float, Report] | None = None

    async def report(self) -> Report:
        """Whoever comes while it is made shares it, and whoever comes just after."""
        if self._told and time.monotonic() - self._told[0] < self._told_for:
            return self._told[1]
        if self._asking is None or self._asking.done():
            self._asking = shared(self._ask_all())
        return await asyncio.shield(self._asking)

    async def _ask_all(self) -> Report:
        found = await asyncio.gather(*(self._ask(component) for component in self._components))
        report = Report(status=_worst(found), components=list(found))
        self._told = (time.monotonic(), report)
        for one in found:
            for state in State:
                COMPONENT.labels(one.name, state.value).set(one.status is state)
        return report

    async def _ask(self, component: Component) -> Standing:
        started, age = time.perf_counter(), None
        status, problem = State.PASS, ""
        try:
            age = await answered(_asked(component.ask), within=ASKED_FOR)
        except TimeoutError:
            status, problem = State.FAIL, f"no answer within {ASKED_FOR:g} s"
        except Degraded as error:
            status, problem = State.WARN, str(error)
        except Exception as error:  # noqa: BLE001  whatever is wrong with it, the component is not there
            # Its own words may hold a server's address.
            status, problem = State.FAIL, str(error) if isinstance(error, Down) else "does not answer"
            if self._is_news(component, problem):
                logger.warning("component_down", component=component.name, error=str(error))
        seconds = time.perf_counter() - started
        if status is State.PASS and seconds > SLOW_AFTER.total_seconds():
            status, problem = State.WARN, f"took {seconds:.1f} s to answer"
        return self._remember(component, status, problem, age, round(seconds * 1000))

    def _is_news(self, component: Component, problem: str) -> bool:
        before = self._seen.get(component.name)
        return before is None or before.problem != problem

    def _remember(
        self, component: Component, status: State, problem: str, age: timedelta | None, took_ms: int
    ) -> Standing:
        now, before = datetime.now(UTC), self._seen.get(component.name)
        standing = Standing(
            name=component.name,
            status=status,
            is_needed=component.is_needed,
            problem=problem,
            time=now,
            took_ms=took_ms,
            since=before.since if before and before.status is status else now,
            age_seconds=None if age is None else round(age.total_seconds()),
            last_problem=problem or (before.last_problem if before else ""),
            last_problem_at=now if problem else before.last_problem_at if before else None,
        )
        self._seen[component.name] = standing
        return standing


async def _asked(ask: Ask) -> timedelta | None:
    return await ask()


def _worst(found: Sequence[Standing]) -> State:
    if any(one.is_needed and one.status is State.FAIL for one in found):
        return State.FAIL
    return State.PASS if all(one.status is State.PASS for one in found) else State.WARN


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """What PostgreSQL knows of what is not asked itself: no vendor is asked whether we are ready."""

    people_at: datetime | None
    customers_at: datetime | None
    worked: list[str]
    sign_in_held: bool | None
    sign_in_at: datetime | None


_KNOWN = """
SELECT
    (SELECT max(finished_at) FROM people_syncs
        WHERE kind = 'people' AND status = 'finished' AND NOT dry_run) AS people_at,
    (SELECT max(finished_at) FROM crm_syncs WHERE status = 'finished' AND NOT dry_run) AS customers_at,
    coalesce((SELECT array_agg(DISTINCT taken) FROM workers, unnest(queues) AS taken
        WHERE seen_at > now() - %(missing_after)s), '{}') AS worked,
    last.held AS sign_in_held, last.at AS sign_in_at
FROM (SELECT 1) AS one
LEFT JOIN LATERAL (
    SELECT held, at FROM proofs WHERE row = 'signin.discovery' ORDER BY at DESC LIMIT 1
) AS last ON true
"""


class Components:
    """What there is to ask, and how."""

    def __init__(
        self,
        database: Database,
        redis: Redis,
        cache: Redis,
        queues: Queues,
        *,
        people_every: timedelta,
        customers_every: timedelta | None,
    ) -> None:
        """`customers_every` is None where there is no HubSpot."""
        self._database = database
        self._redis = redis
        self._cache = cache
        self._queues = queues
        self._people_every = people_every
        self._customers_every = customers_every
        self._knowing: asyncio.Task[_Known] | None = None

    def declared(self) -> list[Component]:
        hubspot = [Component(name="hubspot", ask=self._ask_customers)] if self._customers_every else []
        return [
            Component(name="postgresql", ask=self._ask_database, is_needed=True),
            Component(name="migrations", ask=self._ask_tables, is_needed=True),
            Component(name="redis", ask=self._ask_redis, is_needed=True),
            Component(name="cache", ask=self._ask_cache),
            Component(name="queue", ask=self._ask_queue),
            Component(name="workers", ask=self._ask_workers),
            Component(name="directory", ask=self._ask_directory),
            *hubspot,
            Component(name="sign_in", ask=self._ask_sign_in),
        ]

    async def _ask_database(self) -> None:
        await self._database.value("SELECT 1")
        if waiting := self._database.figures().get("requests_waiting", 0):
            raise Degraded(f"{waiting} wait for a connection")

    async def _ask_tables(self) -> None:
        version = await self._database.value("SELECT max(version_num) FROM alembic_version")
        if version != migrations.head():
            raise Down(f"tables are of version {version}, this release wants {migrations.head()}")

    async def _ask_redis(self) -> None:
        with answering():
            await self._redis.ping()

    async def _ask_cache(self) -> None:
        with answering():
            await self._cache.ping()

    async def _ask_queue(self) -> None:
        await self._queues.counts()

    async def _ask_workers(self) -> None:
        worked = set((await self._known()).worked)
        if not worked:
            raise Down("no worker has said that it lives")
        if untaken := sorted({spec.name for spec in QUEUES} - worked):
            raise Degraded(f"no worker takes the queue {', '.join(untaken)}")

    async def _ask_directory(self) -> timedelta:
        return _fresh((await self._known()).people_at, self._people_every, "the directory")

    async def _ask_customers(self) -> timedelta:
        every = self._customers_every or timedelta(0)
        return _fresh((await self._known()).customers_at, every, "HubSpot")

    async def _ask_sign_in(self) -> timedelta | None:
        """As the checklist's probe last saw Google's."""
        known = await self._known()
        if known.sign_in_held is False:
            raise Down("Google's sign-in did not answer as it should when it was last looked at")
        return datetime.now(UTC) - known.sign_in_at if known.sign_in_at else None

    async def _known(self) -> _Known:
        """Asked once for all who want to know at the same time."""
        if self._knowing is None or self._knowing.done():
            self._knowing = shared(self._ask_known())
        return await asyncio.shield(self._knowing)

    async def _ask_known(self) -> _Known:
        known = await self._database.row(_Known, _KNOWN, {"missing_after": MISSING_AFTER})
        if known is None:
            raise Down("is not known")
        return known


def _fresh(at: datetime | None, every: timedelta, what: str) -> timedelta:
    if at is None:
        raise Degraded(f"{what} was never read to its end")
    age = datetime.now(UTC) - at
    if age > every * TURNS + _LATENESS:
        raise Degraded(f"{what} was last read {round(age.total_seconds() / 60)} min ago")
    return age

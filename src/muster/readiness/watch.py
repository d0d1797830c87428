"""Whoever watches: looks at every proof and figure each minute, keeps the alerts, and has people told.

Not a job: it must go on while Redis, which hands out jobs, is away. Each worker watches, and the web stands
by for when no worker does; by one row of PostgreSQL one of them all looks each minute. While PostgreSQL
itself is away, the workers keep that one alert in memory and send it without a row; by a key of Redis one of
them does, as long as Redis answers.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from muster.errors import Unavailable
from muster.platform.database import Database, Transaction
from muster.platform.notices import Notices
from muster.platform.notify import Letter, NotDelivered, Tone
from muster.platform.pages import Alarm, Ringing
from muster.platform.probe import Probe
from muster.platform.redis import QUEUE, Redis, answering
from muster.platform.telemetry import logger
from muster.readiness import alert_words
from muster.readiness.alert_book import SUBJECTS, AlertBook, Seen
from muster.readiness.alert_rules import RULES
from muster.readiness.alerts import Notice, Severity, Standing, blamed, look, root_of, severity_of
from muster.readiness.dead_man import DeadMan
from muster.readiness.proofs import Judged, Proof, Proofs, ask
from muster.readiness.web_minutes import WebMinutes

EVERY = timedelta(minutes=1)
_ALMOST = timedelta(seconds=50)
"""Nobody looks sooner after anybody's last look."""

STANDS_BY = timedelta(minutes=3)
"""For so long nobody has looked when the web begins to."""

YIELDS = timedelta(seconds=75)
"""Once it has, it looks every other minute, so that a worker that comes back finds its turn."""

TRUSTS_FOR = timedelta(seconds=90)
"""Proofs older than this are made anew by whoever watches: no job makes them while Redis is away. From then
on they make them with every look, until a job does again.
"""

DELIVERS_EVERY = timedelta(seconds=5)
RINGS_EVERY = timedelta(seconds=15)
PINGS_EVERY = timedelta(minutes=4, seconds=30)
CANARY_EVERY = timedelta(hours=24)
STUCK_AFTER = timedelta(minutes=15)
RULE_DEADLINE = timedelta(seconds=10)

SERVER = "postgresql.answers"
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)

CANARY_TITLE = "[canary] Muster's alerts reach you"
CANARY_BODY = (
    "Sent once a day to every channel, so that a channel that fell silent is noticed before it is needed.\n"
    "Nothing is wrong, and there is nothing to do."
)

Clock = Callable[[], datetime]


class WatchState(msgspec.Struct, frozen=True, kw_only=True):
    """When somebody last looked, and how the last ping went."""

    looked_at: datetime | None
    looked_by: str
    pinged_at: datetime | None
    ping_accepted_at: datetime | None
    ping_error: str


class _Untold:
    """What is said from memory, with the channels that have not taken it yet."""

    def __init__(self, letter: Letter, channels: Sequence[str]) -> None:
        self.letter = letter
        self.waiting = set(channels)


def real_clock() -> datetime:
    return datetime.now(UTC)


def watching_key() -> str:
    return f"{QUEUE}watching"


class Watch:
    def __init__(
        self,
        database: Database,
        redis: Redis,
        proofs: Proofs,
        rules: Sequence[Probe],
        book: AlertBook,
        notices: Notices,
        dead_man: DeadMan,
        web_minutes: WebMinutes,
        alarm: Alarm,
        *,
        clock: Clock = real_clock,
        trusts_for: timedelta = TRUSTS_FOR,
    ) -> None:
        self._database = database
        self._redis = redis
        self._proofs = proofs
        self._rules = rules
        self._book = book
        self._notices = notices
        self._dead_man = dead_man
        self._web_minutes = web_minutes
        self._alarm = alarm
        self._clock = clock
        self._trusts_for = trusts_for
        self._blind: Standing | None = None
        self._blind_at = _LONG_AGO
        self._proved_at: datetime | None = None
        self._last_known = Standing()
        self._untold: list[_Untold] = []
        self._may_prove_at = _LONG_AGO

    @contextlib.asynccontextmanager
    async def going(self, name: str) -> AsyncIterator[None]:
        """Watch for as long as the block lasts, as a worker does. Raises SettingsError for a channel that
        apprise does not understand.
        """
        await asyncio.to_thread(self._notices.channels.check)
        # A new system is given a moment: what has never been proved is proved by its job first.
        self._may_prove_at = self._clock() + TRUSTS_FOR
        async with _running(
            _again(EVERY, lambda: self.look(name, after=_ALMOST), self._broke),
            _again(DELIVERS_EVERY, self._deliver, self._broke),
        ):
            yield

    @contextlib.asynccontextmanager
    async def standing_by(self, name: str) -> AsyncIterator[None]:
        """Write down what the web answers, and watch once nobody else has for a while."""
        self._may_prove_at = self._clock() + TRUSTS_FOR
        async with _running(
            _again(EVERY, lambda: self._stand_by(name), self._broke),
            _again(RINGS_EVERY, self._ring, self._broke),
        ):
            yield

    async def look(self, name: str, *, after: timedelta = timedelta(0)) -> bool:
        """One look, unless somebody has looked within `after`; whether it was made."""
        now = self._clock()
        try:
            if not await self._take_turn(name, now, after):
                return False
            pings = await self._begin_ping(now)
            seen = await self._seen(now)
            async with self._database.transaction() as tx:
                await self._adopt(tx)
                await self._book.take_in(tx, seen, now)
                await self._send_canary(tx, now)
                await self._notices.sweep(tx, now)
            self._blind = None
            self._last_known = await self._standing_of_server()
        except Unavailable as error:
            await self._look_blind(name, error, now)
            return True
        if pings:
            await self._end_ping(now, seen)
        return True

    async def deliver(self) -> int:
        """Send what waits; how many messages were accepted."""
        told = await self._tell_from_memory()
        return told + await self._notices.deliver(self._clock())

    async def state(self) -> WatchState:
        found = await self._database.row(
            WatchState,
            "SELECT looked_at, looked_by, pinged_at, ping_accepted_at, ping_error FROM alert_watch",
        )
        return found or WatchState(
            looked_at=None, looked_by="", pinged_at=None, ping_accepted_at=None, ping_error=""
        )

    async def test(self, tx: Transaction, *, by: str) -> int:
        """Have a test notice sent to every channel; its number."""
        return await self._notices.write(
            tx,
            "test",
            title="[test] A test of Muster's alerts",
            body=f"{by} asked for this message on /alerts. Nothing is wrong, and there is nothing to do.",
            tone=Tone.INFO,
            now=self._clock(),
        )

    # The loops

    async def _broke(self, error: Exception) -> None:
        """The next turn may go well, and whoever keeps the dead-man switch learns of this one."""
        logger.error("watch_broke", exc_info=error)
        if self._dead_man.is_wanted:
            await self._dead_man.fail(f"watching broke: {type(error).__name__}")

    async def _stand_by(self, name: str) -> None:
        try:
            await self._web_minutes.write(name)
            is_ours = (await self.state()).looked_by == name
        except Unavailable as error:  # the workers say that, from memory
            logger.warning("standing_by_blind", error=str(error))
            return
        if await self.look(name, after=YIELDS if is_ours else STANDS_BY) or is_ours:
            await self._deliver()

    async def ring(self) -> None:
        """Have the pages of this process say what is critical now."""
        self._alarm.ringing = tuple(
            Ringing(title=f"{one.row.title} ({one.row.group})", href=one.href, since=one.failing_since)
            for one in await self._book.list_open()
            if one.severity is Severity.CRITICAL
        )

    async def _ring(self) -> None:
        with contextlib.suppress(Unavailable):  # what rang goes on ringing
            await self.ring()

    async def _deliver(self) -> None:
        try:
            await self.deliver()
        except Unavailable as error:
            logger.warning("notices_wait", error=str(error))

    # One look

    async def _take_turn(self, name: str, now: datetime, after: timedelta) -> bool:
        taken = await self._database.execute(_TAKE_TURN, [now, name, now - after])
        return taken > 0

    async def _seen(self, now: datetime) -> list[Seen]:
        rows = await self._proofs.judge_all()
        newest = _newest(rows)
        is_old = now - newest >= self._trusts_for or newest == self._proved_at
        if is_old and now >= self._may_prove_at:
            rows = list((await self._proofs.prove()).rows)
            self._proved_at = _newest(rows)
        figures = await asyncio.gather(*(ask(rule, RULE_DEADLINE) for rule in self._rules))
        return seen_of(rows, figures)

    async def _send_canary(self, tx: Transaction, now: datetime) -> None:
        """To each channel that was sent none for a day, a new one at once."""
        lately = set(await tx.column(_CANARIES, [now - CANARY_EVERY]))
        due = [one for one in self._notices.channels.all if one.id not in lately]
        if due:
            await self._notices.write(
                tx, "canary", title=CANARY_TITLE, body=CANARY_BODY, tone=Tone.INFO, now=now, to=due
            )

    # While PostgreSQL is away

    async def _standing_of_server(self) -> Standing:
        """What was last known of PostgreSQL, to go on from when it goes away."""
        found = await self._database.row(_ServerStanding, _SERVER_STANDING, [SERVER])
        return found.standing() if found else Standing()

    async def _look_blind(self, name: str, error: Unavailable, now: datetime) -> None:
        logger.warning("watching_blind", error=str(error))
        if not await self._is_ours_to_tell(name):
            return
        step = look(self._blind or self._last_known, now, held=False)
        self._blind, self._blind_at = step.standing, datetime.now(UTC)
        if step.notice:
            self._remember(self._letter(step.standing, step.notice, str(error), now))
        await self._tell_from_memory()
        if self._dead_man.is_wanted:
            await self._dead_man.succeed_blind("watching from memory: PostgreSQL does not answer")

    async def _is_ours_to_tell(self, name: str) -> bool:
        """Whether this process is the one of all to tell of it; if Redis is away too, each is."""
        mine = name.encode()
        try:
            with answering():
                if await self._redis.set(watching_key(), mine, nx=True, ex=150):
                    return True
                if await self._redis.get(watching_key()) != mine:
                    return False
                await self._redis.set(watching_key(), mine, ex=150)
        except Unavailable as error:
            logger.warning("watching_alone", error=str(error))
        return True

    def _letter(self, standing: Standing, notice: Notice, evidence: str, now: datetime) -> Letter:
        one = Seen(row=SUBJECTS[SERVER], held=False, evidence=evidence, at=now)
        since = standing.failing_since or now
        title, body = self._book.letter(one, standing, notice, now, since=since, alert_id=None)
        key = f"muster-blind-{now:%Y%m%d%H%M%S}"
        tone = alert_words.tone(notice, severity_of(SERVER))
        return Letter(title=title, body=body, tone=tone, key=key, thread="muster-postgresql")

    def _remember(self, letter: Letter) -> None:
        self._untold.append(_Untold(letter, [one.id for one in self._notices.channels.all]))

    async def _tell_from_memory(self) -> int:
        """Tried again with every look and every round of deliveries, until each channel has taken it."""
        told = 0
        for untold in list(self._untold):
            for channel in [one for one in self._notices.channels.all if one.id in untold.waiting]:
                try:
                    await self._notices.channels.send(channel, untold.letter)
                except NotDelivered as error:
                    logger.warning("notice_not_delivered", channel=channel.name, error=str(error))
                else:
                    untold.waiting.discard(channel.id)
                    told += 1
            if not untold.waiting:
                self._untold.remove(untold)
        return told

    async def _adopt(self, tx: Transaction) -> None:
        """PostgreSQL is back: what was said without it is written down, and ends as every alert does."""
        if self._blind is None:
            return
        seen = Seen(row=SUBJECTS[SERVER], held=False, evidence="PostgreSQL did not answer", at=self._blind_at)
        await self._book.adopt(tx, seen, self._blind)

    # The ping

    async def _begin_ping(self, now: datetime) -> bool:
        """Whether one is due; its beginning is told."""
        if not self._dead_man.is_wanted:
            return False
        pinged_at = (await self.state()).pinged_at
        if pinged_at and now - pinged_at < PINGS_EVERY:
            return False
        await self._dead_man.start()
        return True

    async def _end_ping(self, now: datetime, seen: Sequence[Seen]) -> None:
        """A channel that takes nothing cannot say so itself: the ping fails, and somebody else tells."""
        failing = sum(one.held is False for one in seen)
        words = f"looked at {len(seen)} promises, {failing} fail"
        stuck = await self._find_stuck(now)
        if stuck:
            why = await self._dead_man.fail(
                f"{words}; not delivered for a quarter of an hour: {', '.join(stuck)}"
            )
        else:
            why = await self._dead_man.succeed(words)
        await self._database.execute(_PINGED, [now, None if why else now, why])
        if why:
            logger.warning("ping_not_accepted", why=why)

    async def _find_stuck(self, now: datetime) -> list[str]:
        states = [(one, await self._notices.state_of(one)) for one in self._notices.channels.all]
        return [
            channel.name
            for channel, state in states
            if state.waiting_since and now - state.waiting_since > STUCK_AFTER
        ]


def _newest(rows: Sequence[Judged]) -> datetime:
    return max((one.proof.at for one in rows if one.proof), default=_LONG_AGO)


def seen_of(rows: Sequence[Judged], figures: Sequence[Proof]) -> list[Seen]:
    """What the proofs of rows and rules say; who could not be tried stands behind what comes first.

    A promise without meaning here holds. What was never proved, or not for long, says nothing.
    """
    rules = {rule.id: rule for rule in RULES}
    looked = [(one.row, one.proof) for one in rows if one.proof]
    looked += [(rules[proof.row], proof) for proof in figures]
    failing = blamed({proof.row: proof.mend_first for _, proof in looked if proof.held is False})
    roots = {name: root_of(name, failing) for name in failing}
    return [
        Seen(
            row=row,
            held=None if roots.get(row.id, row.id) != row.id else proof.held is not False,
            evidence=proof.evidence,
            at=proof.at,
            follow=sum(root == row.id for one, root in roots.items() if one != row.id),
        )
        for row, proof in looked
    ]


@contextlib.asynccontextmanager
async def _running(*loops: Awaitable[None]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(one) for one in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        # Not for ever: psycopg's pool may swallow the cancellation of somebody it has just served.
        await asyncio.wait(tasks, timeout=2)


async def _again(
    every: timedelta, do: Callable[[], Awaitable[object]], broke: Callable[[Exception], Awaitable[None]]
) -> None:
    while True:
        try:
            await do()
        except Exception as error:  # noqa: BLE001  whatever broke this turn, there is a next
            await broke(error)
        await asyncio.sleep(every.total_seconds())


class _ServerStanding(msgspec.Struct, frozen=True, kw_only=True):
    failures: int
    successes: int
    failing_since: datetime | None
    openings: tuple[datetime, ...]
    opened_at: datetime | None
    told_at: datetime | None
    is_acknowledged: bool

    def standing(self) -> Standing:
        return msgspec.convert(msgspec.structs.asdict(self), Standing)


_TAKE_TURN = """
INSERT INTO alert_watch (looked_at, looked_by) VALUES (%s, %s)
ON CONFLICT (is_one) DO UPDATE SET looked_at = excluded.looked_at, looked_by = excluded.looked_by
    WHERE alert_watch.looked_at <= %s
"""

_PINGED = """
UPDATE alert_watch SET pinged_at = %s, ping_accepted_at = coalesce(%s, ping_accepted_at), ping_error = %s
"""

_CANARIES = """
SELECT DISTINCT deliveries.channel FROM deliveries JOIN notices ON notices.id = deliveries.notice_id
WHERE notices.kind = 'canary' AND notices.at > %s
"""

_SERVER_STANDING = """
SELECT s.failures, s.successes, s.failing_since, s.openings, alerts.opened_at, alerts.told_at,
       alerts.acknowledged_at IS NOT NULL AS is_acknowledged
FROM alert_standings AS s LEFT JOIN alerts ON alerts.subject = s.subject AND alerts.closed_at IS NULL
WHERE s.subject = %s
"""

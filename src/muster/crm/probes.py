"""Whether HubSpot can be read, was, has calls left for today, and is believed only where it signs."""

import secrets
import time
from datetime import UTC, datetime, timedelta

import httpx2

from muster.crm import signature
from muster.crm.edit_rows import EditRows
from muster.crm.hook import PATH
from muster.crm.hubspot import SCOPES, HubSpot
from muster.crm.meter import Allowance, Meter
from muster.crm.rereads import Rereads
from muster.crm.runs import CrmRun
from muster.crm.sync import CrmSync
from muster.platform.pages import age
from muster.platform.probe import Failed, NotApplicable, Probe

FEATURE = "checklist"

TURNS_MISSED = 3
LISTED_WITHIN = timedelta(hours=36)
"""Everything is listed each night; by noon it shows that one was missed."""

LISTS_FOR = timedelta(hours=2)
"""How long listing everything may take, during which nothing else is read."""

REREAD_WITHIN = timedelta(minutes=5)
WRITTEN_WITHIN = timedelta(minutes=15)
LEFT_SHARE = 0.1
SAID_WITHIN = timedelta(minutes=15)
SCOPES_TRIED_EVERY = timedelta(minutes=15)
"""It takes ten calls, and what a token may do is seldom changed."""

_ABOUT_NOTHING = b'[{"subscriptionType":"muster.canary"}]'


class CrmProbes:
    def __init__(
        self,
        http: httpx2.AsyncClient,
        hubspot: HubSpot,
        sync: CrmSync,
        rereads: Rereads,
        meter: Meter,
        edits: EditRows,
        *,
        every: timedelta,
        public_url: str,
        secret: str | None,
        has_hubspot: bool,
    ) -> None:
        self._http = http
        self._hubspot = hubspot
        self._sync = sync
        self._rereads = rereads
        self._meter = meter
        self._edits = edits
        self._every = every
        self._address = f"{public_url}{PATH}"
        self._secret = secret
        self._has_hubspot = has_hubspot
        self._scopes_held_at: datetime | None = None

    def probes(self) -> list[Probe]:
        return [
            Probe(row="hubspot.reachable", ask=self.reachable),
            Probe(row="hubspot.fresh", ask=self.fresh),
            Probe(row="hubspot.allowance", ask=self.allowance),
            Probe(row="hubspot.webhooks", ask=self.webhooks),
            Probe(row="hubspot.written", ask=self.written),
        ]

    async def reachable(self) -> str:
        self._expect_hubspot()
        hubspot = self._hubspot.for_(FEATURE).impatient()
        account = await hubspot.account()
        held_at, lacked_at = self._scopes_held_at, self._meter.scope_lacked_at
        is_doubted = held_at and lacked_at and lacked_at > held_at
        if held_at is None or is_doubted or datetime.now(UTC) - held_at > SCOPES_TRIED_EVERY:
            self._scopes_held_at = None
            if missing := await hubspot.try_scopes():
                raise Failed(f"the token lacks {', '.join(missing)}")
            held_at = self._scopes_held_at = datetime.now(UTC)
        return (
            f"account {account.portal_id} answered; the token could use each of {len(SCOPES)} scopes "
            f"{age(held_at)}"
        )

    async def fresh(self) -> str:
        self._expect_hubspot()
        whole, listed = await self._sync.find_whole(), await self._sync.find_whole(is_full=True)
        last = await self._sync.find_last()
        because = f"; the last run: {last.status}, {last.reason}" if last and last.reason else ""
        if whole is None or listed is None:
            raise Failed(f"customers have never been read to the end{because}")
        until = await self._counted_until()
        if _ended(whole, until) > self._every * TURNS_MISSED:
            raise Failed(f"what changed was last read {age(whole.finished_at)}{because}")
        if _ended(listed, until) > LISTED_WITHIN:
            raise Failed(f"everything was last listed {age(listed.finished_at)}{because}")
        if listed.drift:
            raise Failed(f"sync {listed.id} found {listed.drift} changes that earlier runs should have known")
        return (
            f"what changed read {age(whole.finished_at)}; everything listed {age(listed.finished_at)}, "
            f"{listed.seen} records, no drift{because}"
        )

    async def allowance(self) -> str:
        self._expect_hubspot()
        said = await self._meter.allowance()
        if said is None or _is_old(said):
            # Perhaps nothing was asked for a while: any answer says how many are left.
            await self._hubspot.for_(FEATURE).impatient().account()
            said = await self._meter.allowance()
        if said is None:
            raise Failed("HubSpot has not said yet how many calls a day are allowed")
        features = await self._meter.today()
        ours = ", ".join(f"{one.feature} {one.calls}" for one in features[:4]) or "none"
        left = f"{said.daily_left} of {said.daily_limit} calls left {age(said.said_at)}; ours today: {ours}"
        if said.daily_left < said.daily_limit * LEFT_SHARE:
            raise Failed(f"the day's calls are nearly used up: {left}")
        if _is_old(said):
            raise Failed(f"HubSpot answers and does not say how many calls are left; it last did: {left}")
        return left

    async def webhooks(self) -> str:
        self._expect_hubspot()
        if self._secret is None:
            raise NotApplicable("HUBSPOT_WEBHOOK_SECRET is not set; changes show with the next sync")
        now = time.time()
        body = _ABOUT_NOTHING + b" " * secrets.randbelow(64)
        began = time.perf_counter()
        await self._expect(204, "one signed as HubSpot signs", body, self._secret, now)
        took = time.perf_counter() - began
        await self._expect(409, "the same again", body, self._secret, now)
        await self._expect(403, "one signed with another secret", body, secrets.token_hex(16), now)
        stale = now - (signature.OLDEST + timedelta(minutes=1)).total_seconds()
        await self._expect(403, "one signed six minutes ago", body, self._secret, stale)
        waiting = await self._rereads.waiting()
        if waiting.oldest_at and datetime.now(UTC) - waiting.oldest_at > REREAD_WITHIN:
            raise Failed(
                f"{waiting.records} records were named and not read again, the first {age(waiting.oldest_at)}"
            )
        return (
            f"a signed message taken in {took * 1000:.0f} ms; the same again, a forged and an old one "
            f"refused; {waiting.records} records wait to be read again"
        )

    async def written(self) -> str:
        self._expect_hubspot()
        edits = await self._edits.find_stuck(WRITTEN_WITHIN)
        if edits.stuck:
            because = f"; {edits.problem}" if edits.problem else ""
            raise Failed(
                f"{edits.stuck} changes made here are not in HubSpot, the first asked for "
                f"{age(edits.oldest_at)}{because}"
            )
        return f"{edits.waiting} changes wait to be written, none for {WRITTEN_WITHIN.seconds // 60} min"

    async def _expect(self, status: int, what: str, body: bytes, secret: str, at: float) -> None:
        timestamp = str(int(at * 1000))
        headers = {
            "content-type": "application/json",
            signature.TIMESTAMP: timestamp,
            signature.SIGNATURE: signature.signature(secret, "POST", self._address, body, timestamp),
        }
        try:
            answer = await self._http.post(self._address, content=body, headers=headers)
        except httpx2.HTTPError as error:
            raise Failed(f"{self._address} does not answer ({type(error).__name__})") from error
        if answer.status_code != status:
            raise Failed(f"of webhooks, {what} was answered {answer.status_code}, not {status}")

    async def _counted_until(self) -> datetime:
        """Till when runs are counted: one that lists everything keeps the others waiting for a while."""
        running = await self._sync.find_running()
        now = datetime.now(UTC)
        if running and running.is_full and running.started_at and now - running.started_at < LISTS_FOR:
            return running.started_at
        return now

    def _expect_hubspot(self) -> None:
        if not self._has_hubspot:
            raise NotApplicable("HUBSPOT_TOKEN is not set, so there are no customers here")


def _is_old(said: Allowance) -> bool:
    return datetime.now(UTC) - said.said_at > SAID_WITHIN


def _ended(run: CrmRun, until: datetime) -> timedelta:
    return until - (run.finished_at or run.asked_at)

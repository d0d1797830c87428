"""HubSpot's set-up examined step by step, and each failing step explained in plain words.

As with Google's, nothing is assumed to work, and no step takes longer than its deadline. Muster runs without
HubSpot, so a token that is not set is no failure.
"""

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from muster.crm.hubspot import SCOPES, Account, HubSpot
from muster.crm.hubspot_errors import HubSpotRefused
from muster.crm.meter import Meter
from muster.errors import MusterError, Unavailable, VendorDown
from muster.platform.step import Standing, Step
from muster.platform.tally import Tally

STEP_DEADLINE = timedelta(seconds=8)
DEADLINE = timedelta(seconds=30)
SCARCE = 0.1
"""What share of the day's calls is little."""

TOKEN, ACCOUNT = "hubspot.token", "hubspot.account"

_AGAIN = "Then run `muster doctor` again."
_APP = "In HubSpot: Development → Projects → the project → its app"
_LEGACY = "(of an older private app: Development → Legacy apps → the app)"
_WHO_ASKS = f"{_APP} → Monitoring → Logs shows who asks so much {_LEGACY}."
_ADD_SCOPES = (
    "Add it to requiredScopes in the app's app-hsmeta.json, then `hs project upload` "
    "(of an older private app: Development → Legacy apps → the app → Scopes)"
)
_APPROVE = "A super admin then approves it: the app's Distribution tab → Install."
_PAST_VENDOR = "HubSpot: "

_MAKE = (
    "To have customers here, make an app with `hs project create`, of private distribution and static auth.",
    "A super admin of the account installs it. A private app of earlier days does, too.",
    "Its requiredScopes:",
    ",".join(SCOPES),
    f"{_APP} → Auth → Access token {_LEGACY}. Put it into HUBSPOT_TOKEN.",
    _AGAIN,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SetUp:
    """The settings that HubSpot's set-up rests on, beside the token's own value."""

    has_token: bool
    has_webhook_secret: bool
    url: str
    public_url: str
    is_sandbox: bool


class _Ailing(MusterError):
    """A step that fails; the message says what was seen."""

    code = "set_up_ailing"

    def __init__(self, detail: str, *remedy: str) -> None:
        super().__init__(detail)
        self.remedy = "\n".join(remedy)


class _NotReached(_Ailing):
    """A step that cannot be judged now, or need not be, and why."""


Ask = Callable[[], Awaitable[str]]


class HubSpotDoctor:
    def __init__(self, hubspot: HubSpot, meter: Meter, set_up: SetUp) -> None:
        self._hubspot = hubspot
        self._meter = meter
        self._set_up = set_up

    async def examine(
        self,
        problems: Mapping[str, str] | None = None,
        *,
        step_deadline: timedelta = STEP_DEADLINE,
        deadline: timedelta = DEADLINE,
    ) -> AsyncIterator[Step]:
        """Every step as soon as it is done; `problems` are settings that are wrong, each with why."""
        examination = _Examination(
            self._hubspot.for_("doctor"), self._meter, self._set_up, problems or {}, step_deadline, deadline
        )
        async for step in examination.steps():
            yield step


@dataclass(slots=True)
class _Examination:
    """One walk through the steps, and what the earlier ones found for the later."""

    hubspot: HubSpot
    meter: Meter
    set_up: SetUp
    problems: Mapping[str, str]
    step_deadline: timedelta
    deadline: timedelta
    began: float = field(default_factory=time.monotonic)
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    tally: Tally = field(default_factory=Tally)
    is_accepted: bool = False
    account: Account | None = None
    refusal: HubSpotRefused | None = None
    lacking: list[str] = field(default_factory=list)
    untried: dict[str, MusterError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hubspot = self.hubspot.counted(self.tally)

    async def steps(self) -> AsyncIterator[Step]:
        yield await self._step(TOKEN, "HubSpot: token", self._token)
        yield await self._step(ACCOUNT, "HubSpot: account", self._account)
        if self.is_accepted:
            await self._try_scopes()
        for scope in SCOPES:
            name = scope.removeprefix("crm.").removeprefix("objects.")
            yield await self._step(f"hubspot.scope.{name}", f"Scope {scope}", self._granted(scope))
        yield await self._step("hubspot.webhook_secret", "HubSpot: webhook secret", self._webhook_secret)
        yield await self._step("hubspot.webhook_address", "HubSpot: webhook address", self._webhook_address)
        yield await self._step("hubspot.allowance", "HubSpot: the day's allowance", self._allowance)

    async def _step(self, step_id: str, title: str, ask: Ask) -> Step:
        status, remedy = Standing.OK, ""
        self.tally.faults.clear()
        try:
            async with asyncio.timeout(self._seconds_left()):
                detail = await ask()
        except _NotReached as error:
            status, detail, remedy = Standing.NOT_REACHED, str(error), error.remedy
        except TimeoutError:
            found = self._late()
            status, detail, remedy = Standing.FAILED, str(found), found.remedy
        except MusterError as error:
            found = self._ailment(error)
            status, detail, remedy = Standing.FAILED, str(found), found.remedy
        return Step(id=step_id, title=title, status=status, detail=detail, remedy=remedy)

    def _seconds_left(self) -> float:
        whole = self.deadline.total_seconds() - (time.monotonic() - self.began)
        return min(self.step_deadline.total_seconds(), max(whole, 0.1))

    # Steps

    async def _token(self) -> str:
        if wrong := [name for name in ("HUBSPOT_TOKEN", "HUBSPOT_URL") if name in self.problems]:
            raise _NotReached(f"first {' and '.join(wrong)} must be set right")
        if not self.set_up.has_token:
            raise _NotReached("HUBSPOT_TOKEN is not set, so there are no customers here", *_MAKE)
        asked = time.monotonic()
        try:
            self.account = await self.hubspot.account()
        except HubSpotRefused as refusal:
            # Refused for another reason than who asks, the token has been accepted.
            if refusal.status != 403 or not refusal.category:
                raise
            self.refusal = refusal
        self.is_accepted = True
        took = (time.monotonic() - asked) * 1000
        return f"{urlsplit(self.set_up.url).hostname} accepts it, within {took:.0f} ms"

    async def _account(self) -> str:
        self._need_the_token()
        if self.account is None:
            raise self.refusal or _NotReached("it was not told")
        told = [self.account.time_zone, self.account.currency]
        return f"{self.account.portal_id}" + (f" ({', '.join(filter(None, told))})" if any(told) else "")

    async def _try_scopes(self) -> None:
        """All before the first is told of, since all that are missing are added in one go."""
        late: MusterError | None = None
        for scope in SCOPES:
            if late:
                self.untried[scope] = late
                continue
            try:
                async with asyncio.timeout(self._seconds_left()):
                    if not await self.hubspot.has_scope(scope):
                        self.lacking.append(scope)
            except TimeoutError:
                late = self.untried[scope] = self._late()
            except MusterError as error:
                self.untried[scope] = error

    def _granted(self, scope: str) -> Ask:
        async def ask() -> str:
            self._need_the_token()
            if error := self.untried.get(scope):
                raise error
            if scope in self.lacking:
                raise self._lacks_scopes()
            return "granted"

        return ask

    async def _webhook_secret(self) -> str:
        if "HUBSPOT_WEBHOOK_SECRET" in self.problems:
            raise _NotReached("first HUBSPOT_WEBHOOK_SECRET must be set right")
        if not self.set_up.has_webhook_secret:
            self._need_a_token()
            raise _NotReached(
                "HUBSPOT_WEBHOOK_SECRET is not set: changes show with the next sync, not at once",
                f"{_APP} → Auth → Client secret {_LEGACY}. Put it into HUBSPOT_WEBHOOK_SECRET.",
                _AGAIN,
            )
        return "set; whether it is the right one shows with the first message"

    async def _webhook_address(self) -> str:
        self._need_a_token()
        if "PUBLIC_URL" in self.problems:
            raise _NotReached("first PUBLIC_URL must be set right")
        address = f"{self.set_up.public_url}/hooks/hubspot"
        if self.set_up.is_sandbox:
            return f"{address}, which the sandbox company reaches"
        if not _is_public(self.set_up.public_url):
            raise _NotReached(
                f"HubSpot sends to public https addresses only, and PUBLIC_URL is {self.set_up.public_url}: "
                "changes show with the next sync, not at once"
            )
        return f"{address} must be the target URL of the app's webhooks, to the letter"

    async def _allowance(self) -> str:
        self._need_the_token()
        try:
            told = await self.meter.allowance()
        except Unavailable as error:
            raise _NotReached(str(error)) from error
        if told is None or told.said_at < self.began_at:
            raise _NotReached("HubSpot's answers did not say how many calls are left")
        left = f"{told.daily_left:,} of {told.daily_limit:,} calls are left"
        if told.daily_left < told.daily_limit * SCARCE:
            raise _Ailing(
                f"only {left} until HubSpot's day ends; all apps of the account share them",
                _WHO_ASKS,
                _AGAIN,
            )
        return left

    def _need_a_token(self) -> None:
        if not self.set_up.has_token:
            raise _NotReached("first HUBSPOT_TOKEN must be set")

    def _need_the_token(self) -> None:
        if not self.is_accepted:
            raise _NotReached("first “HubSpot: token” must go well")

    # What an error means

    def _late(self) -> _Ailing:
        """What a step was waiting for when its time was up: silence, or failures one after another."""
        if not self.tally.faults:
            return self._away("it does not answer in time")
        reason, times = self.tally.faults.most_common(1)[0]
        return self._ailment(VendorDown("HubSpot", f"failed {times} times in a row", reason=reason))

    def _ailment(self, error: MusterError) -> _Ailing:
        said = str(error).removeprefix(_PAST_VENDOR)
        match error:
            case _Ailing():
                return error
            case HubSpotRefused():
                return self._refusal(error, said)
            case VendorDown(reason="unreachable"):
                return self._away(said)
            case VendorDown(reason="DAILY"):
                remedy = _WHO_ASKS
            case VendorDown(reason="unreadable"):
                remedy = f"A proxy seems to answer in HubSpot's place: {self._reach}"
            case _:
                remedy = (
                    "That usually passes by itself; https://status.hubspot.com shows whether HubSpot has a "
                    "fault."
                )
        return _Ailing(said, remedy, _AGAIN)

    def _refusal(self, refusal: HubSpotRefused, said: str) -> _Ailing:
        if refusal.status == 401:
            return _Ailing(
                said,
                f"{_APP} → Auth → Access token {_LEGACY}: copy it into HUBSPOT_TOKEN, all of it.",
                "Where the app is gone or not installed any more, a super admin installs it again.",
                _AGAIN,
            )
        if refusal.category == "MISSING_SCOPES":
            return _Ailing(said, f"{_ADD_SCOPES}.", _APPROVE, _AGAIN)
        if not refusal.correlation_id:
            return _Ailing(
                f"the answer is not worded as HubSpot words its answers ({said})",
                f"A proxy or a firewall seems to answer in HubSpot's place: {self._reach}",
                _AGAIN,
            )
        return _Ailing(f"HubSpot answers {said}", "HubSpot's support can look the reference up.", _AGAIN)

    def _away(self, said: str) -> _Ailing:
        return _Ailing(
            f"HubSpot is not reached: {said}",
            f"DNS, a firewall, or a proxy? {self._reach}",
            _AGAIN,
        )

    @property
    def _reach(self) -> str:
        parts = urlsplit(self.set_up.url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return (
            f"let this machine reach {parts.hostname} at port {port}, untouched. Muster reads no HTTP_PROXY."
        )

    def _lacks_scopes(self) -> _Ailing:
        return _Ailing(
            "the token lacks this scope",
            f"{_ADD_SCOPES}:",
            ",".join(self.lacking),
            _APPROVE,
            _AGAIN,
        )


def _is_public(url: str) -> bool:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        is_public = ipaddress.ip_address(host).is_global
    except ValueError:
        is_public = host != "localhost" and "." in host
    return parts.scheme == "https" and is_public

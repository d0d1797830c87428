"""Google's set-up examined step by step, and each failing step explained in plain words.

Nothing is assumed to work: no database, no Redis, no Google. A step that needs another one first says so
instead of failing in its wake, and none may take longer than its deadline.
"""

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx2

from muster.access.google_signin import GoogleSignIn
from muster.errors import MusterError, Unavailable, VendorDown, VendorRefused
from muster.people.google_api import (
    GROUPS,
    MEMBERS,
    ORG_UNITS,
    SCOPES,
    USERS,
    VENDOR,
    Credentials,
    GoogleApi,
    explained,
    reason,
    unreachable,
)
from muster.people.google_directory import Gone, GoogleDirectory, GoogleGroup
from muster.people.key_file import KeyFile, taken_apart
from muster.people.push import CONFIRMED_WITHIN, EVENTS, PushChannels
from muster.people.remedies import (
    AGAIN,
    Ailment,
    Named,
    ailment,
    frozen,
    stranger,
    undelegated,
    wrong_clock,
)
from muster.people.throttle import Throttle
from muster.platform.addresses import is_loopback
from muster.platform.step import Standing, Step
from muster.platform.tally import Tally

STEP_DEADLINE = timedelta(seconds=8)
DEADLINE = timedelta(seconds=45)
DATABASE_DEADLINE = timedelta(seconds=5)
MOST_SKEW = timedelta(minutes=5)

SETTINGS, KEY, TOKEN_ENDPOINT, API = "settings", "google.key", "google.token_endpoint", "google.api"
_SCOPE_STEPS = {
    USERS: "google.scope.users",
    GROUPS: "google.scope.groups",
    MEMBERS: "google.scope.members",
    ORG_UNITS: "google.scope.org_units",
}
_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@dataclass(frozen=True, kw_only=True, slots=True)
class SetUp:
    """The settings that Google's set-up rests on. An empty `service_account` is an empty file."""

    service_account: str | None
    admin_email: str
    customer: str
    directory_url: str
    client_id: str
    public_url: str
    is_sandbox: bool


class _NotReached(MusterError):
    """A step that cannot be judged now, and why; `remedy` where something may be done about it."""

    def __init__(self, detail: str, remedy: str = "") -> None:
        super().__init__(detail)
        self.remedy = remedy


Ask = Callable[[], Awaitable[str]]


class GoogleDoctor:
    def __init__(
        self,
        http: httpx2.AsyncClient,
        set_up: SetUp,
        sign_in: GoogleSignIn,
        push: PushChannels,
    ) -> None:
        self._http = http
        self._set_up = set_up
        self._sign_in = sign_in
        self._push = push

    async def examine(
        self,
        problems: Mapping[str, str] | None = None,
        *,
        step_deadline: timedelta = STEP_DEADLINE,
        deadline: timedelta = DEADLINE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> AsyncIterator[Step]:
        """Every step as soon as it is done; `problems` are settings that are missing or wrong, each with why.

        Tokens are minted anew each time: one of an hour ago opens what has been closed since.
        """
        examination = _Examination(
            self._http,
            self._set_up,
            self._sign_in,
            self._push,
            now,
            step_deadline,
            deadline,
            problems=self._wrong(problems or {}),
        )
        async for step in examination.steps():
            yield step

    def _wrong(self, problems: Mapping[str, str]) -> dict[str, str]:
        """With those that Muster starts without, and the directory cannot be read without."""
        wrong = dict(problems)
        if self._set_up.service_account is None:
            wrong.setdefault(
                "GOOGLE_SERVICE_ACCOUNT",
                "GOOGLE_SERVICE_ACCOUNT is not set; expected the service account's key, or its file's path",
            )
        if not self._set_up.admin_email:
            wrong.setdefault(
                "GOOGLE_ADMIN_EMAIL",
                "GOOGLE_ADMIN_EMAIL is not set; expected the administrator in whose name people are read",
            )
        return wrong


@dataclass(slots=True)
class _Examination:
    """One walk through the steps, and what the earlier ones found for the later."""

    http: httpx2.AsyncClient
    set_up: SetUp
    sign_in: GoogleSignIn
    push: PushChannels
    now: Callable[[], datetime]
    step_deadline: timedelta
    deadline: timedelta
    problems: Mapping[str, str]
    began: float = field(default_factory=time.monotonic)
    done: dict[str, Step] = field(default_factory=dict)
    key: KeyFile = field(default_factory=KeyFile)
    google_says: datetime | None = None
    refused: dict[str, MusterError] = field(default_factory=dict)
    groups: list[GoogleGroup] = field(default_factory=list)
    somebody: str = ""
    tally: Tally = field(default_factory=Tally)
    directory: GoogleDirectory = field(init=False)
    credentials: Credentials = field(init=False)

    def __post_init__(self) -> None:
        self.credentials = Credentials(
            self.http, service_account=self.set_up.service_account, admin_email=self.set_up.admin_email
        )
        self.directory = GoogleDirectory(
            GoogleApi(self.http, self.credentials, Throttle(), self.tally),
            base_url=self.set_up.directory_url,
            customer=self.set_up.customer,
        )

    async def steps(self) -> AsyncIterator[Step]:
        async for step in self._directory_steps():
            yield step
        async for step in self._push_steps():
            yield step
        async for step in self._sign_in_steps():
            yield step

    async def _directory_steps(self) -> AsyncIterator[Step]:
        yield await self._step(SETTINGS, "Settings", self._settings)
        yield await self._step(
            KEY, "Service account's key", self._read_file, settings=["GOOGLE_SERVICE_ACCOUNT"]
        )
        yield await self._step(TOKEN_ENDPOINT, "Google's token endpoint", self._reach, after=[KEY])
        yield await self._step("google.clock", "This machine's clock", self._clock, after=[TOKEN_ENDPOINT])
        await self._mint_all()
        for scope, step_id in _SCOPE_STEPS.items():
            yield await self._step(
                step_id,
                f"Scope {scope.rpartition('/')[2]}",
                self._granted(scope),
                after=[TOKEN_ENDPOINT],
                settings=["GOOGLE_ADMIN_EMAIL"],
            )
        yield await self._step(API, "Directory API", self._reach_api, settings=["GOOGLE_DIRECTORY_URL"])
        for step_id, title, ask, scope, after in (
            ("google.users", "People", self._users, USERS, []),
            ("google.person", "Somebody by id", self._person, USERS, ["google.users"]),
            ("google.groups", "Groups", self._groups, GROUPS, []),
            ("google.members", "Members of a group", self._members, MEMBERS, ["google.groups"]),
            ("google.org_units", "Org units", self._org_units, ORG_UNITS, []),
        ):
            needed = [API, _SCOPE_STEPS[scope], *after]
            yield await self._step(step_id, title, ask, after=needed, scope=scope)

    async def _push_steps(self) -> AsyncIterator[Step]:
        url, channels = "google.push_address", "google.push_channels"
        yield await self._step(url, "Push: our address", self._push_address, settings=["PUBLIC_URL"])
        yield await self._step(
            channels, "Push: channels", self._push_channels, after=[url], settings=["DATABASE_URL"]
        )

    async def _sign_in_steps(self) -> AsyncIterator[Step]:
        discovery, client = "signin.discovery", ["GOOGLE_CLIENT_ID", "GOOGLE_CLIENT_SECRET"]
        yield await self._step(discovery, "Sign-in: discovery", self._discovery, settings=["GOOGLE_ISSUER"])
        yield await self._step("signin.keys", "Sign-in: signing keys", self._signing_keys, after=[discovery])
        yield await self._step(
            "signin.client", "Sign-in: our client", self._client, after=[discovery], settings=client
        )
        yield await self._step(
            "signin.redirect", "Sign-in: redirect URI", self._redirect, settings=["PUBLIC_URL"]
        )

    async def _step(
        self,
        step_id: str,
        title: str,
        ask: Ask,
        *,
        after: Sequence[str] = (),
        settings: Sequence[str] = (),
        scope: str = USERS,
    ) -> Step:
        """Ask, unless a step it comes `after` or one of the `settings` it reads is not in order."""
        status, remedy = Standing.OK, ""
        self.tally.faults.clear()
        try:
            self._check_needs(after, settings)
            async with asyncio.timeout(self._seconds_left()):
                detail = await ask()
        except _NotReached as error:
            status, detail, remedy = Standing.NOT_REACHED, str(error), error.remedy
        except TimeoutError:
            found = ailment(self._late(), self._named, scope=scope)
            status, detail, remedy = Standing.FAILED, str(found), found.remedy
        except MusterError as error:
            found = ailment(error, self._named, scope=scope)
            status, detail, remedy = Standing.FAILED, str(found), found.remedy
        self.done[step_id] = Step(id=step_id, title=title, status=status, detail=detail, remedy=remedy)
        return self.done[step_id]

    def _check_needs(self, after: Sequence[str], settings: Sequence[str]) -> None:
        if wrong := [name for name in settings if name in self.problems]:
            raise _NotReached(f"first {' and '.join(wrong)} must be set right")
        for step_id in after:
            if (before := self.done[step_id]).status is not Standing.OK:
                raise _NotReached(f"first “{before.title}” must go well")
        if time.monotonic() - self.began > self.deadline.total_seconds():
            raise Ailment("not examined: the time for all steps together is up, so slow is Google", AGAIN)

    def _seconds_left(self) -> float:
        whole = self.deadline.total_seconds() - (time.monotonic() - self.began)
        return min(self.step_deadline.total_seconds(), max(whole, 0.1))

    def _late(self) -> MusterError:
        """What a step was waiting for when its time was up: silence, or failures tried again and again."""
        if not self.tally.faults:
            return frozen("Google")
        code, times = self.tally.faults.most_common(1)[0]
        return VendorDown(VENDOR, f"{code}, {times} times in a row", reason=code)

    @property
    def _named(self) -> Named:
        return Named(
            client_id=self.key.client_id,
            client_email=self.key.client_email,
            key_id=self.key.private_key_id,
            project=self.key.project_id,
            admin_email=self.set_up.admin_email,
            customer=self.set_up.customer,
        )

    # The directory

    async def _settings(self) -> str:
        if self.problems:
            raise Ailment(
                f"missing or wrong: {', '.join(self.problems)}",
                *self.problems.values(),
                "Set what is named, in the environment or in .env; docs/operating.md explains each.",
                AGAIN,
            )
        return "all are set"

    async def _read_file(self) -> str:
        self.key = key = taken_apart(self.set_up.service_account or "")
        return f"of {key.client_email}, client ID {key.client_id or 'not in the file'}"

    async def _reach(self) -> str:
        """A request without an assertion: Google refuses it in words of its own, which no proxy has."""
        asked = time.monotonic()
        try:
            response = await self.http.post(
                self.key.token_uri, data={"grant_type": _JWT_BEARER, "assertion": ""}
            )
        except httpx2.HTTPError as error:
            raise unreachable(error) from error
        self.google_says = _date(response)
        if not reason(response):
            raise stranger(f"{response.status_code} from {urlsplit(self.key.token_uri).netloc}")
        if response.status_code == 429 or response.status_code >= 500:
            raise VendorDown(VENDOR, explained(response), reason=reason(response))
        return (
            f"{urlsplit(self.key.token_uri).netloc} answers within {(time.monotonic() - asked) * 1000:.0f} ms"
        )

    async def _clock(self) -> str:
        if self.google_says is None:
            raise _NotReached("Google's answer held no date")
        skew = (self.now() - self.google_says).total_seconds()
        # Its date is cut to whole seconds, and the answer was under way.
        told = (
            "right to the second" if abs(skew) < 2 else f"{abs(skew):.0f} s {'fast' if skew > 0 else 'slow'}"
        )
        if abs(skew) > MOST_SKEW.total_seconds():
            raise wrong_clock(f"it is {told} by Google's; more than 5 minutes make every token void")
        return told

    async def _mint_all(self) -> None:
        """All before the first is told of, since all that are missing are delegated in one go."""
        if self.done[TOKEN_ENDPOINT].status is not Standing.OK or not self.set_up.admin_email:
            return
        late: MusterError | None = None
        for scope in SCOPES:
            error = late or await self._mint(scope)
            if isinstance(error, Ailment):
                late = error
            if error:
                self.refused[scope] = error

    async def _mint(self, scope: str) -> MusterError | None:
        try:
            async with asyncio.timeout(self._seconds_left()):
                try:
                    await self.credentials.token(scope)
                except VendorDown:
                    await self.credentials.token(scope)
        except TimeoutError:
            return frozen("Google's token endpoint")
        except MusterError as error:
            return error
        return None

    def _granted(self, scope: str) -> Ask:
        async def ask() -> str:
            error = self.refused.get(scope)
            if error is None:
                return "granted"
            missing = [each for each in SCOPES if _is_undelegated(self.refused.get(each))]
            if scope in missing:
                raise undelegated(missing, self._named, is_new=len(missing) == len(SCOPES))
            raise error

        return ask

    async def _reach_api(self) -> str:
        """Whatever it answers at its root; the listings are tried again too long to tell why one fails."""
        try:
            response = await self.http.get(self.set_up.directory_url)
        except httpx2.HTTPError as error:
            raise unreachable(error) from error
        return f"{response.url.host} answers"

    async def _users(self) -> str:
        page = await self.directory.users_page("")
        if not page.records:
            raise Ailment(
                "Google answers, and lists nobody",
                f"Does GOOGLE_CUSTOMER ({self.set_up.customer}) name the Workspace with the people in it?",
                AGAIN,
            )
        self.somebody = page.records[0].google_id
        count = len(page.records)
        return f"{count} read" + (", and more follow" if page.next_token else ", nobody else follows")

    async def _person(self) -> str:
        found = await self.directory.user(self.somebody)
        if isinstance(found, Gone):
            raise Ailment(f"{self.somebody}, who was just listed, is not found by id", AGAIN)
        return f"{found.google_id} read"

    async def _groups(self) -> str:
        self.groups, more = await self.directory.groups_page("")
        return f"{len(self.groups)} read" + (", and more follow" if more else ", no more follow")

    async def _members(self) -> str:
        filled = [group for group in self.groups if group.direct_members_count not in {"", "0"}]
        if not filled:
            raise _NotReached("no group has any members")
        smallest = min(filled, key=lambda group: int(group.direct_members_count))
        members = await self.directory.members(smallest.id)
        if members is None:
            raise Ailment(f"{smallest.email}, which was just listed, is not found", AGAIN)
        return f"{len(members)} of {smallest.email} read"

    async def _org_units(self) -> str:
        units = await self.directory.org_units()
        return f"{len(units)} read" if units else "none but the root"

    # Push

    async def _push_address(self) -> str:
        url = self.set_up.public_url
        if self.set_up.is_sandbox:
            return f"{url}/hooks/google, which the sandbox company reaches"
        parts = urlsplit(url)
        if parts.scheme == "https" and not _is_private(parts.hostname or ""):
            return f"Google's messages come to {url}/hooks/google"
        raise _NotReached(
            f"Google sends to public https addresses only, and PUBLIC_URL is {url}: changes show with "
            "the next listing, not at once"
        )

    async def _push_channels(self) -> str:
        try:
            async with asyncio.timeout(DATABASE_DEADLINE.total_seconds()):
                channels = await self.push.list_open()
                since = await self.push.live_since()
        except TimeoutError:
            raise _NotReached("PostgreSQL does not answer") from None
        except Unavailable as error:
            raise _NotReached(str(error)) from error
        if since:
            return f"every change has been told since {since:%Y-%m-%d %H:%M} UTC"
        if not channels:
            raise _NotReached(
                "none is open yet", "Start `muster worker`: it opens them within half a minute."
            )
        now = datetime.now(UTC)
        events = {channel.event for channel in channels if channel.is_live(now)}
        lacking = ", ".join(event for event in EVENTS if event not in events)
        if all(channel.confirmed_at or now - channel.opened_at < CONFIRMED_WITHIN for channel in channels):
            raise _NotReached(f"not all are open yet (without: {lacking})", "Wait two minutes.\n" + AGAIN)
        raise Ailment(
            f"Google's messages do not arrive here (without: {lacking})",
            f"From outside your network, `curl -i -X POST {self.set_up.public_url}/hooks/google` must be "
            "answered by Muster, with a status of 4xx and X-Request-ID.",
            "Its certificate must be one that browsers trust. A proxy must let POST /hooks/google through "
            "without a sign-in of its own, with its X-Goog- headers.",
            "The worker opens new channels every half minute.",
            AGAIN,
        )

    # Sign-in

    async def _discovery(self) -> str:
        metadata = await self.sign_in.metadata(fresh=True)
        return f"{metadata.issuer}"

    async def _signing_keys(self) -> str:
        keys = await self.sign_in.signing_keys(fresh=True)
        if not keys:
            raise Ailment("no signing key is published, so nobody can be believed", AGAIN)
        return f"{len(keys)} published"

    async def _client(self) -> str:
        try:
            await self.sign_in.check_client()
        except VendorRefused as error:
            raise self._strange_client(error) from error
        return f"Google knows {self.set_up.client_id}, and its secret"

    def _strange_client(self, error: VendorRefused) -> Ailment:
        client_id = self.set_up.client_id
        odd = (
            []
            if client_id.endswith(".apps.googleusercontent.com")
            else ["A client id ends with .apps.googleusercontent.com; the one that is set does not."]
        )
        return Ailment(
            str(error).removeprefix("Google: "),
            *odd,
            "In console.cloud.google.com: APIs & Services → Credentials "
            f"(https://console.cloud.google.com/apis/credentials) → OAuth 2.0 Client IDs → {client_id}.",
            "Copy its client id into GOOGLE_CLIENT_ID, its secret into GOOGLE_CLIENT_SECRET; one that is "
            "lost is replaced with Add secret. If the client is not there, it was deleted: make another.",
            AGAIN,
        )

    async def _redirect(self) -> str:
        """Whether Google knows it shows at a sign-in only; that it would take it can be said."""
        uri = f"{self.set_up.public_url}/sign-in/google/callback"
        parts = urlsplit(uri)
        host = parts.hostname or ""
        if not is_loopback(host) and (parts.scheme != "https" or _is_address(host)):
            raise Ailment(
                f"Google takes no redirect URI like {uri}: only https, and a name, but for localhost",
                "Set PUBLIC_URL to the https address of the portal.",
                AGAIN,
            )
        return f"{uri} must stand among the client's authorised redirect URIs, to the letter"


def _is_undelegated(error: MusterError | None) -> bool:
    return isinstance(error, VendorRefused) and error.reason == "unauthorized_client"


def _date(response: httpx2.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_private(host: str) -> bool:
    """Nowhere that Google could reach."""
    if not _is_address(host):
        return host == "localhost" or "." not in host
    return not ipaddress.ip_address(host).is_global

"""Probes that come to the front door as a browser would, and try there what must not work."""

import asyncio
import functools
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import rsa

from muster.access.gate import Site
from muster.access.google_signin import GoogleSignIn, SignInRefused
from muster.access.probe_account import ProbeAccount
from muster.errors import Unavailable, VendorDown, VendorError
from muster.platform.probe import Failed, NotTried, Probe
from muster.platform.rate_limit import READING, Limit
from muster.platform.sessions import Session, Sessions

_FORM_TOKEN = re.compile(r'name="csrf" content="([0-9a-f]{64,})"')
_LEFT = re.compile(rf'"{READING.name}";r=(\d+)')
_AT_ONCE = 8
_FEW = Limit(name="probe", times=3, per=timedelta(minutes=1), fails_open=False)
_GOOGLE, _FRONT = "signin.discovery", "web.headers"
_GOOGLE_WITHIN, _ALL_WITHIN = 4.0, 15.0
"""Seconds: less than a probe is given, so that who was silent is named."""

_PATIENCE = 4.0
"""Seconds: who proves the rows again and again uses up what the probe's account may do in a minute."""

_ROWS = {
    "redis": "redis.persistence",
    "postgresql": "postgresql.answers",
    "migrations": "postgresql.migrated",
}
"""Component of `/readyz` → the row that says what to do about it."""


@functools.cache
def _stranger() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class _Component(msgspec.Struct, frozen=True):
    status: str = ""


class _Ready(msgspec.Struct, frozen=True):
    """What is read of `/readyz`."""

    checks: dict[str, list[_Component]] = {}


class FrontDoor:
    def __init__(
        self,
        http: httpx2.AsyncClient,
        sessions: Sessions,
        google: GoogleSignIn,
        site: Site,
        *,
        probe_account: ProbeAccount,
    ) -> None:
        self._http = http
        self._sessions = sessions
        self._google = google
        self._site = site
        self._probe_account = probe_account

    def probes(self) -> list[Probe]:
        return [
            Probe(row="web.csrf", ask=self.csrf),
            Probe(row="web.limits", ask=self.limits),
            Probe(row="signin.refuses", ask=self.sign_in),
        ]

    async def csrf(self) -> str:
        """Signed in as nobody, try to have the session ended by requests that another site could send."""
        own = self._site.public_url
        async with self._session() as session_id:
            page = await self._ask("GET", "/", cookie=session_id)
            found = _FORM_TOKEN.search(page.text)
            if page.status_code != 200 or not found:
                raise Failed(f"a signed-in page answered {page.status_code}, with no form token to try")
            token = found.group(1)
            forgeries = {
                "without a token": {"origin": own},
                "with a token made up": {"origin": own, "x-csrf-token": secrets.token_hex(64)},
                "from another site": {"origin": "https://evil.invalid", "x-csrf-token": token},
                "from a page without an origin": {"origin": "null", "x-csrf-token": token},
                "that the browser calls cross-site": {"sec-fetch-site": "cross-site", "x-csrf-token": token},
                "that the browser calls same-site": {"sec-fetch-site": "same-site", "x-csrf-token": token},
            }
            for what, headers in forgeries.items():
                answer = await self._ask(
                    "POST", "/sign-out", cookie=session_id, headers=headers, patience=True
                )
                if answer.status_code != 403:
                    raise Failed(f"a request {what} was answered {answer.status_code} and not refused")
            # A true form for a session that is none: past every lock, and then nothing is there.
            true = await self._ask(
                "POST",
                "/account/sessions/ended",
                cookie=session_id,
                headers={"origin": own, "x-csrf-token": token, "content-type": "application/json"},
                body=b'{"session": "none"}',
                patience=True,
            )
            if true.status_code != 404:
                raise Failed(f"a true form was answered {true.status_code}: nobody can change anything")
        after = await self._ask("GET", "/", cookie=session_id)
        if after.status_code == 200:
            raise Failed("a session that was ended still opens a page")
        return f"{len(forgeries)} forged requests refused; the session that was ended opens nothing"

    async def limits(self) -> str:
        caller = f"probe:{secrets.token_hex(8)}"
        granted = [(await self._sessions.admit(None, caller, _FEW)).allowance for _ in range(_FEW.times + 1)]
        if not all(one.granted for one in granted[:-1]) or granted[-1].granted:
            raise Failed(f"{_FEW.times + 1} requests passed where {_FEW.times} are allowed")
        # All at once: the allowance grows again while one waits for an answer.
        answers = await asyncio.gather(*(self._ask("GET", "/sign-in") for _ in range(_AT_ONCE)))
        left = sorted(self._left(answer) for answer in answers)
        if left[0] == left[-1] and all(answer.status_code != 429 for answer in answers):
            raise Failed(f"{_AT_ONCE} requests were not counted: each was told that {left[0]} are left")
        wait = granted[-1].retry_after.total_seconds()
        return (
            f"request {_FEW.times + 1} of {_FEW.times} refused for {wait:.0f} s; "
            f"{left[0]} of {READING.times} left to this machine"
        )

    async def sign_in(self) -> str:
        """Come back from Google as those would who never went there, or went as somebody else."""
        try:
            async with asyncio.timeout(_ALL_WITHIN):
                await self._see_google()
                return await self._try_the_back_door()
        except VendorError as error:
            raise NotTried(str(error), row=_GOOGLE) from error
        except TimeoutError as error:
            raise NotTried(f"it took longer than {_ALL_WITHIN:.0f} s", row=_FRONT) from error

    async def _try_the_back_door(self) -> str:
        state, browser = await self._begun()
        stranger = secrets.token_urlsafe(32)
        callbacks: dict[str, tuple[Mapping[str, str], str]] = {
            "of a sign-in that nobody began": ({"state": stranger, "code": "x"}, stranger),
            "without any state": ({"code": "x"}, browser),
            "from another browser": ({"state": state, "code": "x"}, stranger),
            "a second time": ({"state": state, "code": "x"}, browser),
            "that Google refused": ({"state": stranger, "error": "access_denied"}, browser),
        }
        for what, (query, cookie) in callbacks.items():
            await self._come_back(what, query, cookie)
        state, browser = await self._begun()
        await self._come_back("with a code that was made up", {"state": state, "code": "x"}, browser)
        forged = await self._try_forged_tokens()
        claimed = self._try_hostile_claims()
        return (
            f"{len(callbacks) + 1} false returns, {forged} forged tokens and {claimed} strangers refused; "
            "no session"
        )

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[str]:
        rights = await self._probe_account.get()
        session = Session(
            account_id=rights.account_id,
            sign_in=secrets.token_urlsafe(16),
            started_at=datetime.now(UTC),
            user_agent="Muster's own probe",
        )
        # With the stamp of what it may do, or the first answer would give it another id.
        session_id = await self._sessions.start(session, stamp=rights.stamp)
        try:
            yield session_id
        finally:
            await self._sessions.end(session_id)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        cookie: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        patience: bool = False,
    ) -> httpx2.Response:
        """One that has `patience` asks again, once, when it is told to come back later."""
        sent = {"accept": "text/html", **(headers or {})}
        if cookie:
            sent["cookie"] = f"{self._site.session_cookie}={cookie}"
        try:
            answer = await self._http.request(
                method, f"{self._site.public_url}{path}", headers=sent, content=body or None
            )
        except httpx2.HTTPError as error:
            why = f"{self._site.public_url} does not answer ({type(error).__name__})"
            raise NotTried(why, row=_FRONT) from error
        if answer.status_code == 429 and patience:
            await asyncio.sleep(min(float(answer.headers.get("retry-after", 1)), _PATIENCE))
            return await self._ask(method, path, cookie=cookie, headers=headers, body=body, patience=False)
        # An error says nothing of what was tried, unless it lets somebody in all the same.
        if answer.status_code >= 500 and self._site.session_cookie not in answer.cookies:
            raise await self._what_is_away(f"{path.partition('?')[0]} answered {answer.status_code}")
        return answer

    async def _what_is_away(self, seen: str) -> NotTried:
        """Why the portal cannot do what it was asked, as far as it can be found out from here."""
        try:
            await self._sessions.admit(None, f"probe:{secrets.token_hex(8)}", _FEW)
            await self._see_google()
        except Unavailable as error:
            return NotTried(str(error), row=error.row or "sessions.stored")
        except VendorError as error:
            return NotTried(str(error), row=_GOOGLE)
        if down := await self._find_component_down():
            return NotTried(f"the portal's /readyz fails for {down}, and {seen}", row=_ROWS[down])
        return NotTried(seen, row=_FRONT)

    async def _see_google(self) -> None:
        """Raises VendorError unless Google's sign-in answers."""
        try:
            async with asyncio.timeout(_GOOGLE_WITHIN):
                await self._google.metadata(fresh=True)
        except TimeoutError as error:
            raise VendorDown("Google", f"sign-in is silent for {_GOOGLE_WITHIN:.0f} s") from error

    async def _find_component_down(self) -> str | None:
        try:
            ready = await self._http.get(f"{self._site.public_url}/readyz")
            checks = msgspec.json.decode(ready.content, type=_Ready).checks
        except (httpx2.HTTPError, msgspec.DecodeError):
            return None
        failing = (name for name in _ROWS if any(one.status == "fail" for one in checks.get(name, [])))
        return next(failing, None)

    def _left(self, answer: httpx2.Response) -> int:
        found = _LEFT.search(answer.headers.get("ratelimit", ""))
        if not found:
            raise Failed(f"/sign-in answered {answer.status_code} without a RateLimit header")
        return int(found.group(1))

    async def _begun(self) -> tuple[str, str]:
        """The state of a sign-in begun here, and the cookie by which the browser is known again."""
        answer = await self._ask("GET", "/sign-in/google")
        query = parse_qs(urlsplit(answer.headers.get("location", "")).query)
        for needed in ("state", "nonce", "code_challenge"):
            if not query.get(needed):
                raise Failed(f"a sign-in began without a {needed} (answered {answer.status_code})")
        if query.get("code_challenge_method") != ["S256"]:
            raise Failed("a sign-in began without PKCE's S256")
        browser = answer.cookies.get(self._site.attempt_cookie)
        if not browser:
            raise Failed("a sign-in began without a cookie that binds it to the browser")
        return query["state"][0], browser

    async def _come_back(self, what: str, query: Mapping[str, str], browser: str) -> None:
        answer = await self._ask(
            "GET",
            f"/sign-in/google/callback?{urlencode(query)}",
            headers={"cookie": f"{self._site.attempt_cookie}={browser}"},
        )
        if not 400 <= answer.status_code < 500 or self._site.session_cookie in answer.cookies:
            raise Failed(f"a return from Google {what} was answered {answer.status_code} and not refused")

    async def _try_forged_tokens(self) -> int:
        key = _stranger()
        known = next(iter(await self._google.signing_keys()), "")
        claims = self._google.expected_claims() | {"email_verified": True, "sub": "1"}
        forged = {
            "signed by a stranger": jwt.encode(claims, key, algorithm="RS256", headers={"kid": "x"}),
            "signed by a stranger under Google's key id": jwt.encode(
                claims, key, algorithm="RS256", headers={"kid": known}
            ),
            "not signed": jwt.encode(claims, "", algorithm="none", headers={"kid": known}),
            "signed with a word": jwt.encode(
                claims, known.ljust(32, "x"), algorithm="HS256", headers={"kid": known}
            ),
        }
        for what, token in forged.items():
            try:
                await self._google.verified(token)
            except SignInRefused:
                continue
            raise Failed(f"an ID token {what} was believed")
        return len(forged)

    def _try_hostile_claims(self) -> int:
        ours: dict[str, Any] = self._google.expected_claims() | {"sub": "1", "email_verified": True}
        hostile: dict[str, dict[str, Any]] = {
            "of another domain": {"hd": "evil.invalid"},
            "of a domain that only ends like ours": {"hd": f"not-{ours['hd']}"},
            "with a private account": {"hd": None},
            "whose address is not verified": {"email_verified": False},
            "without an address": {"email": None},
        }
        for what, claims in hostile.items():
            try:
                self._google.identity(ours | claims)
            except SignInRefused:
                continue
            raise Failed(f"somebody {what} would be let in")
        return len(hostile)

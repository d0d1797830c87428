"""Signing in and out."""

import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.account import Accounts, AccountSuspended
from muster.access.gate import Site
from muster.access.google_signin import ATTEMPT_LIFETIME, GoogleSignIn, SignInRefused
from muster.access.roles import Permission
from muster.errors import NotFound
from muster.platform import audit
from muster.platform.database import Database
from muster.platform.pages import Pages
from muster.platform.rate_limit import SIGNING_IN
from muster.platform.routes import Anyone, Request, Route
from muster.platform.sessions import Session, Sessions
from muster.platform.telemetry import logger

LONGEST_NEXT = 2000
"""It is kept in Redis while somebody signs in, and anybody may begin to."""


class SignInPage(msgspec.Struct, frozen=True):
    next: str = "/"


class BeginSignIn(msgspec.Struct, frozen=True):
    next: str = "/"
    login_hint: str = ""


class Callback(msgspec.Struct, frozen=True):
    state: str = ""
    code: str = ""
    error: str = ""
    iss: str = ""


class AccessPages:
    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        google: GoogleSignIn,
        sessions: Sessions,
        pages: Pages,
        site: Site,
        *,
        company: str,
        look_again: Callable[[str], Awaitable[None]],
    ) -> None:
        """`look_again` has Google asked, soon, how somebody (by id) stands whom the directory keeps out."""
        self._database = database
        self._accounts = accounts
        self._google = google
        self._sessions = sessions
        self._pages = pages
        self._site = site
        self._company = company
        self._look_again = look_again

    def routes(self) -> list[Route]:
        return [
            Route(path="/sign-in", handler=self.show, may=Anyone.MAY, reads=SignInPage),
            Route(
                path="/sign-in/google",
                handler=self.begin,
                may=Anyone.MAY,
                reads=BeginSignIn,
                limit=SIGNING_IN,
            ),
            Route(
                path="/sign-in/google/callback",
                handler=self.finish,
                may=Anyone.MAY,
                reads=Callback,
                limit=SIGNING_IN,
            ),
            Route(path="/sign-out", method="POST", handler=self.sign_out, may=Permission.USE_PORTAL),
        ]

    def last_routes(self) -> list[Route]:
        """Behind every other: an address that leads nowhere still shows who is signed in the way back.

        A program is told so whoever it is: what there is under `/api/` anybody may read in /openapi.json.
        """
        return [
            Route(path="/api/{anywhere:path}", handler=self.nothing_here, may=Anyone.MAY),
            Route(path="/{anywhere:path}", handler=self.nothing_here, may=Permission.USE_PORTAL),
        ]

    async def nothing_here(self, request: Request) -> Response:
        # Asked of the address as it came: reading it as a URL drops tabs and ends of lines.
        if request.scope["path"].endswith("/"):
            return RedirectResponse(safe_path(request.url.path.rstrip("/")), status_code=308)
        raise NotFound("Nothing is at this address.")

    async def show(self, request: Request, asked: SignInPage) -> Response:
        return self._pages.render(
            request,
            "sign_in.html",
            title="Sign in",
            next=safe_path(asked.next),
            company=self._company,
        )

    async def begin(self, request: Request, asked: BeginSignIn) -> Response:
        begun = await self._google.begin(
            next_path=safe_path(asked.next),
            redirect_uri=f"{self._site.base_url(request)}/sign-in/google/callback",
            login_hint=asked.login_hint,
            browser=request.cookies.get(self._site.attempt_cookie, ""),
        )
        response = RedirectResponse(begun.url, status_code=303)
        self._site.set_cookie(response, self._site.attempt_cookie, begun.browser, ATTEMPT_LIFETIME)
        return response

    async def finish(self, request: Request, asked: Callback) -> Response:
        if asked.error:
            raise SignInRefused("Google did not sign you in. Please start again.")
        finished = await self._google.finish(
            state=asked.state,
            code=asked.code,
            browser=request.cookies.get(self._site.attempt_cookie, ""),
            issuer=asked.iss,
        )
        try:
            rights = await self._accounts.sign_in(
                finished.identity, msgspec.structs.replace(request.origin, via="browser")
            )
        except AccountSuspended:
            await self._look_again(finished.identity.google_id)
            raise
        # A session id from before is never kept: whoever planted it would be signed in too.
        if earlier := request.cookies.get(self._site.session_cookie):
            await self._sessions.end(earlier)
        session_id = await self._sessions.start(
            Session(
                account_id=rights.account_id,
                sign_in=secrets.token_urlsafe(16),
                started_at=datetime.now(UTC),
                user_agent=request.headers.get("user-agent", "")[:200],
                address=request.origin.address,
            ),
            stamp=rights.stamp,
        )
        logger.info("signed_in", account=rights.account_id)
        response = RedirectResponse(finished.next, status_code=303)
        self._site.set_session_cookie(response, session_id, self._sessions.lifetime)
        return response

    async def sign_out(self, request: Request) -> Response:
        await self._sessions.end(request.session_id)
        async with self._database.transaction() as tx:
            await audit.record(
                tx,
                "accounts.signed_out",
                by=request.actor,
                subject=f"account:{request.actor.account_id}",
                origin=request.origin,
            )
        response = RedirectResponse("/sign-in", status_code=303)
        self._site.drop_cookie(response, self._site.session_cookie)
        response.headers["clear-site-data"] = '"cache"'
        return response


def safe_path(path: str) -> str:
    """A path of this portal, or `/`: never an address that leads away from it, nor one without end."""
    try:
        parts = urlsplit(path)
    except ValueError:
        return "/"
    if len(path) > LONGEST_NEXT:
        return "/"
    leads_away = parts.scheme or parts.netloc or not path.startswith("/") or path.startswith(("//", "/\\"))
    return "/" if leads_away or any(ord(char) < 32 or char == "\\" for char in path) else path

"""Your account: what you may do, where you are signed in, and the tokens of your programs."""

import functools
from datetime import timedelta
from typing import Annotated

import msgspec
import ua_parser
from starlette.responses import RedirectResponse, Response

from muster.access.gate import Site, form_of
from muster.access.roles import GRANTS, TITLES, Permission, Role
from muster.access.tokens import Tokens
from muster.errors import Conflict, Invalid, NotAllowed, NotFound
from muster.platform import audit
from muster.platform.actor import Actor, Origin
from muster.platform.database import Database
from muster.platform.pages import Pages
from muster.platform.routes import Request, Route
from muster.platform.sessions import OpenSession, Sessions

LIVES = {7: "a week", 30: "a month", 90: "three months", 365: "a year"}
"""Days → how long a token may live."""


class EndSession(msgspec.Struct, frozen=True, kw_only=True):
    """`session` is the name of one; `others` all but the one that asks."""

    session: str = ""
    others: bool = False


class CreateToken(msgspec.Struct, frozen=True, kw_only=True):
    """Its scopes are the boxes that were ticked, which a form sends as one field many times."""

    name: str = ""
    days: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 90


class AccountPages:
    def __init__(
        self, database: Database, sessions: Sessions, tokens: Tokens, pages: Pages, site: Site
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._tokens = tokens
        self._pages = pages
        self._site = site

    def routes(self) -> list[Route]:
        use = Permission.USE_PORTAL
        return [
            Route(path="/account", handler=self.show, may=use),
            Route(
                path="/account/sessions/ended",
                method="POST",
                handler=self.end_session,
                may=use,
                reads=EndSession,
            ),
            Route(
                path="/account/tokens", method="POST", handler=self.create_token, may=use, reads=CreateToken
            ),
            Route(
                path="/account/tokens/{token_id:int}/revocation",
                method="POST",
                handler=self.revoke_token,
                may=use,
            ),
        ]

    async def show(self, request: Request) -> Response:
        return await self._page(request)

    async def end_session(self, request: Request, asked: EndSession) -> Response:
        me = request.actor
        if asked.others:
            await note_ended(self._database, me.account_id, "all others", by=me, origin=request.origin)
            await self._sessions.end_all(me.account_id, but=request.session_id)
            return RedirectResponse("/account#sessions", status_code=303)
        found = await self._sessions.find(asked.session)
        if found is None or found.session.account_id != me.account_id:
            raise NotFound("There is no such session of yours; it may have ended by itself.")
        what = device(found.session.user_agent)
        await note_ended(self._database, me.account_id, what, by=me, origin=request.origin)
        await self._sessions.end_named(asked.session, account_id=me.account_id)
        return RedirectResponse("/account#sessions", status_code=303)

    async def create_token(self, request: Request, asked: CreateToken) -> Response:
        scopes = await _ticked(request)
        try:
            told = await self._tokens.create(
                name=asked.name,
                scopes=scopes,
                life=timedelta(days=asked.days),
                by=request.actor,
                origin=request.origin,
            )
        except (Invalid, Conflict, NotAllowed) as refusal:
            return await self._page(request, status=422, refusal=str(refusal), name=asked.name, ticked=scopes)
        return await self._page(request, told=told)

    async def revoke_token(self, request: Request) -> Response:
        me = request.actor
        await self._tokens.revoke(
            request.path_params["token_id"], owner=me.account_id, by=me, origin=request.origin
        )
        return RedirectResponse("/account#tokens", status_code=303)

    async def _page(
        self,
        request: Request,
        *,
        status: int = 200,
        told: str = "",
        refusal: str = "",
        name: str = "",
        ticked: list[str] | None = None,
    ) -> Response:
        me = request.actor
        mine = await self._sessions.list_of(me.account_id)
        may = [one for one in Permission if me.may(one)]
        return self._pages.render(
            request,
            "account.html",
            title="Your account",
            status=status,
            me=me,
            roles=[TITLES[role] for role in Role if role.value in me.roles],
            may=may,
            sessions=[shown(one, sign_in=request.sign_in) for one in mine],
            tokens=await self._tokens.list_of(me.account_id),
            scopes=[
                {"key": one.value, "ticked": one.value in ticked if ticked is not None else one in READING}
                for one in may
                if one.value in self._tokens.scopes
            ],
            lives=LIVES,
            told=told,
            refusal=refusal,
            name=name,
            address=self._site.base_url(request),
        )


READING = frozenset(one for one in GRANTS[Role.MEMBER] if one.value.startswith("see "))
"""What a new token is offered with: enough for a script that only looks things up."""


async def _ticked(request: Request) -> list[str]:
    """The boxes that were ticked: a form has one field for each, all of one name."""
    form = await form_of(request)
    return [value for value in form.getlist("scope") if isinstance(value, str)]


async def note_ended(database: Database, account_id: int, what: str, *, by: Actor, origin: Origin) -> None:
    """Before they are ended: no session ends without a trace of who did it."""
    async with database.transaction() as tx:
        await audit.record(
            tx,
            "sessions.ended",
            by=by,
            subject=f"account:{account_id}",
            before={"sessions": what},
            origin=origin,
        )


def shown(one: OpenSession, *, sign_in: str = "") -> dict[str, object]:
    """`sign_in` is of whoever looks: their session may have got another id while they asked."""
    return {
        "id": one.id,
        "device": device(one.session.user_agent),
        "address": one.session.address,
        "started_at": one.session.started_at,
        "seen_at": one.seen_at,
        "ends_at": one.ends_at,
        "is_here": one.session.sign_in == sign_in,
    }


@functools.lru_cache(maxsize=1000)
def device(user_agent: str) -> str:
    """As in "Chrome on Mac OS X", or as much as can be told."""
    parsed = ua_parser.parse(user_agent)
    browser = parsed.user_agent.family if parsed.user_agent else ""
    system = parsed.os.family if parsed.os else ""
    return " on ".join(filter(None, (browser, system))) or user_agent[:40] or "an unknown device"

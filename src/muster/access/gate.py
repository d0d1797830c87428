"""What stands between a request and its handler: session and limit, permission, CSRF, a readable body."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from starlette.datastructures import FormData, ImmutableMultiDict
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from muster.access.rights import Rights, RightsBook
from muster.access.roles import label
from muster.access.tokens import Tokens
from muster.errors import Invalid, NotAllowed, NotFound, NotSignedIn, TooLarge, TooMany, Unavailable
from muster.platform import csrf
from muster.platform.actor import Actor
from muster.platform.addresses import hostname, is_loopback
from muster.platform.csrf import Csrf
from muster.platform.patience import answered
from muster.platform.prometheus import LIMITED
from muster.platform.rate_limit import TRYING_TOKENS, Allowance, Limit, caller_at
from muster.platform.routes import Anyone, Request, Route, as_text, decoded, from_json, plural
from muster.platform.sessions import Session, Sessions
from muster.platform.telemetry import bind, logger


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """The addresses this portal answers to, and what its cookies are called there."""

    public_url: str
    development: bool

    @property
    def is_https(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def session_cookie(self) -> str:
        return "__Host-session" if self.is_https else "muster_session"

    @property
    def attempt_cookie(self) -> str:
        return "__Host-attempt" if self.is_https else "muster_attempt"

    def set_session_cookie(self, response: Response, session_id: str, lifetime: timedelta) -> None:
        self.set_cookie(response, self.session_cookie, session_id, lifetime)

    def set_cookie(self, response: Response, name: str, value: str, lifetime: timedelta) -> None:
        response.set_cookie(
            name,
            value,
            max_age=int(lifetime.total_seconds()),
            path="/",
            secure=self.is_https,
            httponly=True,
            samesite="lax",
        )

    def drop_cookie(self, response: Response, name: str) -> None:
        response.delete_cookie(name, path="/", secure=self.is_https, httponly=True, samesite="lax")

    def base_url(self, request: Request) -> str:
        """PUBLIC_URL; in development also whichever loopback name the browser used, so that
        `localhost` and `127.0.0.1` both keep their cookies through a sign-in.
        """
        host = request.headers.get("host", "")
        if self.development and is_loopback(hostname(f"//{host}")):
            return f"http://{host}"
        return self.public_url

    def origins(self, request: Request) -> frozenset[str]:
        """As browsers name us: scheme, host and port."""
        return frozenset(url.casefold() for url in (self.public_url, self.base_url(request)))


_GREETED_WITHIN = 1.0
"""Seconds; the page that says what is away shall not wait for it for long."""


class Gate:
    """Every route but the bare ones goes through here; a handler runs only for who may call it."""

    def __init__(
        self, sessions: Sessions, rights: RightsBook, tokens: Tokens, csrf_tokens: Csrf, site: Site
    ) -> None:
        self._sessions = sessions
        self._rights = rights
        self._tokens = tokens
        self._csrf_tokens = csrf_tokens
        self._site = site

    def guard(self, route: Route) -> ASGIApp:
        """The route as an ASGI application. Raises what `web.py` turns into an answer."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"]["route"] = route
            request = Request(scope, _limited(receive, route.max_body_bytes))
            try:
                if not route.bare:
                    await self._admit(route, request)
                    await self._check_csrf(route, request)
                elif route.greets:
                    await self._greet(route, request)
                response = await self._handle(route, request)
            except ClientDisconnect:
                return
            finally:
                await request.close()
            await response(scope, receive, send)

        return guarded

    async def _admit(self, route: Route, request: Request) -> None:
        """Find out who asks and count the request, in that order for whoever comes with a token."""
        bearer = _bearer(request) if route.takes_tokens else None
        if route.may is Anyone.MAY:
            await self._count(route.rate, request, caller_at(request.origin.address))
            return
        if bearer is not None:
            await self._admit_token(route, request, bearer)
            return
        await self._admit_session(route, request)
        if not request.actor.may(route.may):
            raise NotAllowed(f"Your role does not let you {route.may}.")

    async def _greet(self, route: Route, request: Request) -> None:
        """Know who is signed in, if Redis and PostgreSQL say so at once; the request goes on in any case."""
        session_id = request.cookies.get(self._site.session_cookie)
        if not session_id:
            return
        try:
            session, rights = await answered(self._find(session_id, request, route), within=_GREETED_WITHIN)
        except (Unavailable, TimeoutError):
            return
        if session and rights:
            state = request.scope["state"]
            state["session_id"], state["sign_in"], state["via"] = session_id, session.sign_in, "browser"
            _become(request, actor(rights))

    async def _find(
        self, session_id: str, request: Request, route: Route
    ) -> tuple[Session | None, Rights | None]:
        admission = await self._sessions.admit(session_id, caller_at(request.origin.address), route.rate)
        session = admission.session if admission.allowance.granted else None
        rights = await self._rights.of(session.account_id, kept=admission.rights) if session else None
        return session, rights

    async def _admit_session(self, route: Route, request: Request) -> None:
        session_id = request.cookies.get(self._site.session_cookie)
        admission = await self._sessions.admit(session_id, caller_at(request.origin.address), route.rate)
        _take(request, admission.allowance)
        session = admission.session
        rights = await self._rights.of(session.account_id, kept=admission.rights) if session else None
        if session_id is None or session is None or rights is None:
            raise NotSignedIn("Please sign in.")
        if rights.stamp != admission.stamp:
            session_id = await self._renewed(request, session_id, session, rights)
        state = request.scope["state"]
        state["session_id"], state["sign_in"], state["via"] = session_id, session.sign_in, "browser"
        _become(request, actor(rights))

    async def _renewed(self, request: Request, session_id: str, session: Session, rights: Rights) -> str:
        """The id by which the session goes on: another one, now that it may do more or less."""
        renewed = await self._sessions.rotate(session_id, session, stamp=rights.stamp)
        if renewed is None:
            return session_id
        remaining = session.started_at + self._sessions.lifetime - datetime.now(UTC)
        # A header of the request's, not of a response: an answer that refuses must carry it, too.
        carrier = Response()
        self._site.set_session_cookie(carrier, renewed, remaining)
        request.scope["state"]["headers"] = [
            header for header in carrier.raw_headers if header[0] == b"set-cookie"
        ]
        return renewed

    async def _admit_token(self, route: Route, request: Request, bearer: str) -> None:
        await self._count(TRYING_TOKENS, request, caller_at(request.origin.address))
        holder = await self._tokens.holder_of(bearer, request.origin) if self._tokens.is_one(bearer) else None
        if holder is None:
            await self._count(route.rate, request, caller_at(request.origin.address))
            raise NotSignedIn("This token does not exist, has expired or was revoked.")
        await self._count(route.rate, request, f"account:{holder.actor.account_id}")
        request.scope["state"]["via"] = f"token:{holder.token_name}"
        _become(request, holder.actor)
        if route.may not in holder.scopes:
            raise NotAllowed(f"This token may not {route.may}: it was made without that scope.")
        if not holder.actor.may(route.may):
            raise NotAllowed(f"This token may not {route.may}: its owner's roles no longer allow it.")

    async def _count(self, limit: Limit, request: Request, caller: str) -> None:
        """Count a request that comes without a session."""
        try:
            admission = await self._sessions.admit(None, caller, limit)
        except Unavailable as error:
            if not limit.fails_open:
                raise
            logger.warning("request_not_counted", limit=limit.name, error=str(error))
        else:
            _take(request, admission.allowance)

    async def _check_csrf(self, route: Route, request: Request) -> None:
        if route.method in csrf.SAFE_METHODS:
            return
        csrf.check_site(
            site=request.headers.get("sec-fetch-site"),
            origin=request.headers.get("origin"),
            origins=self._site.origins(request),
        )
        if "sign_in" not in request.scope["state"]:
            return  # no session that a forged request could use
        token = request.headers.get(csrf.HEADER) or (await _form(request)).get(csrf.FIELD, "")
        self._csrf_tokens.check_token(request.sign_in, token)

    async def _handle(self, route: Route, request: Request) -> Response:
        _check_path(request)
        if route.reads is None:
            answer = await route.handler(request)
        else:
            answer = await route.handler(request, await _read(route, request, route.reads))
        if isinstance(answer, Response):
            return answer
        return Response(msgspec.json.encode(answer), media_type="application/json")


def actor(rights: Rights) -> Actor:
    return Actor(
        account_id=rights.account_id,
        email=rights.email,
        name=rights.name,
        title=label(rights.roles),
        roles=tuple(role.value for role in rights.roles),
        permissions=frozenset(permission.value for permission in rights.permissions),
    )


def _become(request: Request, who: Actor) -> None:
    request.scope["state"]["actor"] = who
    bind(account=who.account_id)


def _take(request: Request, allowance: Allowance) -> None:
    request.scope["state"]["allowance"] = allowance
    if not allowance.granted:
        LIMITED.labels(allowance.limit.name).inc()
        raise TooMany("Too many requests. Please wait a moment.", retry_after=allowance.retry_after)


def _bearer(request: Request) -> str | None:
    """The token of `Authorization: Bearer …`, "" for anything else that stands there, None for nothing."""
    given = request.headers.get("authorization")
    if given is None:
        return None
    scheme, _, token = given.partition(" ")
    return token.strip() if scheme.casefold() == "bearer" else ""


def _check_path(request: Request) -> None:
    """Nothing can be at an address that PostgreSQL could not even be asked for."""
    for value in request.path_params.values():
        if "\0" in str(value) or (isinstance(value, int) and value >= 2**63):
            raise NotFound("Nothing is at this address.")


async def _read(route: Route, request: Request, shape: type[msgspec.Struct]) -> msgspec.Struct:
    if route.method == "GET":
        return decoded(_said(request.query_params, shape), shape)
    if request.headers.get("content-type", "").startswith("application/json"):
        return as_text(from_json(await request.body(), shape))
    said = _said(await form_of(request), shape) if _is_form(request) else {}
    return decoded({name: value for name, value in said.items() if name != csrf.FIELD}, shape)


def _said(given: ImmutableMultiDict[str, Any], shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The text fields, as a tuple where `shape` takes several. Raises Invalid for what else is said twice:
    whoever looked at it before us may have believed the other one.
    """
    several = plural(shape)
    for name in shape.__struct_encode_fields__:
        if name not in several and len(given.getlist(name)) > 1:
            raise Invalid(f"{name} is given twice.")
    return {
        name: tuple(one for one in given.getlist(name) if isinstance(one, str) and one)
        if name in several
        else value
        for name, value in given.items()
        if isinstance(value, str)
    }


async def _form(request: Request) -> dict[str, Any]:
    """The text fields of a form; {} for any other kind of body."""
    if not _is_form(request):
        return {}
    return {name: value for name, value in (await form_of(request)).items() if isinstance(value, str)}


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    )


async def form_of(request: Request) -> FormData:
    """Raises Invalid for a form in letters that are none: its sender names the alphabet."""
    try:
        return await request.form()
    except (LookupError, UnicodeError) as error:
        raise Invalid("The form is not in an alphabet that can be read; expected UTF-8.") from error


def _limited(receive: Receive, max_bytes: int) -> Receive:
    """Counts what arrives, since Content-Length may be missing or a lie."""
    arrived = 0

    async def counted() -> Any:
        nonlocal arrived
        message = await receive()
        arrived += len(message.get("body", b""))
        if arrived > max_bytes:
            raise TooLarge(f"The request is larger than {max_bytes // 1024} KB.")
        return message

    return counted

"""What stands between a request and its handler: session and limit, permission, CSRF, a readable body."""

from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.datastructures import ImmutableMultiDict
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from muster.access.roles import GRANTS, Role
from muster.errors import Invalid, NotAllowed, NotFound, NotSignedIn, TooLarge, TooMany
from muster.platform import csrf
from muster.platform.actor import Actor
from muster.platform.addresses import hostname, is_loopback, netloc
from muster.platform.csrf import Csrf
from muster.platform.routes import Anyone, Request, Route, decoded
from muster.platform.sessions import Session, Sessions
from muster.platform.telemetry import bind


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

    def base_url(self, request: Request) -> str:
        """PUBLIC_URL; in development also whichever loopback name the browser used, so that
        `localhost` and `127.0.0.1` both keep their cookies through a sign-in.
        """
        host = request.headers.get("host", "")
        if self.development and is_loopback(hostname(f"//{host}")):
            return f"http://{host}"
        return self.public_url

    def hosts(self, request: Request) -> frozenset[str]:
        return frozenset(netloc(url) for url in (self.public_url, self.base_url(request)))


class Gate:
    """Every route but the bare ones goes through here; a handler runs only for who may call it."""

    def __init__(self, sessions: Sessions, tokens: Csrf, site: Site) -> None:
        self._sessions = sessions
        self._tokens = tokens
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
                response = await self._handle(route, request)
            except ClientDisconnect:
                return
            finally:
                await request.close()
            await response(scope, receive, send)

        return guarded

    async def _admit(self, route: Route, request: Request) -> None:
        state = request.scope["state"]
        session_id = None if route.may is Anyone.MAY else request.cookies.get(self._site.session_cookie)
        admission = await self._sessions.admit(session_id, state["address"], route.rate)
        state["allowance"] = admission.allowance
        if not admission.allowance.granted:
            raise TooMany(
                "Too many requests. Please wait a moment.", retry_after=admission.allowance.retry_after
            )
        if route.may is Anyone.MAY:
            return
        if admission.session is None:
            raise NotSignedIn("Please sign in.")
        actor = _actor(admission.session)
        state["actor"], state["session_id"] = actor, session_id
        bind(account=actor.account_id)
        if not actor.may(route.may):
            raise NotAllowed(f"Your role does not let you {route.may}.")

    async def _check_csrf(self, route: Route, request: Request) -> None:
        if route.method in csrf.SAFE_METHODS:
            return
        csrf.check_site(
            site=request.headers.get("sec-fetch-site"),
            origin=request.headers.get("origin"),
            hosts=self._site.hosts(request),
        )
        if route.may is Anyone.MAY:
            return  # no session that a forged request could use
        token = request.headers.get(csrf.HEADER) or (await _form(request)).get(csrf.FIELD, "")
        self._tokens.check_token(request.session_id, token)

    async def _handle(self, route: Route, request: Request) -> Response:
        _check_path(request)
        if route.reads is None:
            answer = await route.handler(request)
        else:
            answer = await route.handler(request, await _read(route, request, route.reads))
        if isinstance(answer, Response):
            return answer
        return Response(msgspec.json.encode(answer), media_type="application/json")


def _actor(session: Session) -> Actor:
    """Whoever the session stands for, with what this release lets their role do."""
    try:
        granted = GRANTS[Role(session.role)]
    except ValueError as error:
        raise NotSignedIn("Please sign in again: your role has changed.") from error
    return Actor(
        account_id=session.account_id,
        email=session.email,
        name=session.name,
        role=session.role,
        permissions=frozenset(permission.value for permission in granted),
    )


def _check_path(request: Request) -> None:
    """Nothing can be at an address that PostgreSQL could not even be asked for."""
    for value in request.path_params.values():
        if "\0" in str(value) or (isinstance(value, int) and value >= 2**63):
            raise NotFound("Nothing is at this address.")


async def _read(route: Route, request: Request, shape: type[msgspec.Struct]) -> msgspec.Struct:
    if route.method == "GET":
        _check_once(request.query_params, shape)
        return decoded(dict(request.query_params), shape)
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            return msgspec.json.decode(await request.body(), type=shape)
        except (msgspec.DecodeError, RecursionError) as error:  # the latter for what is nested too deep
            raise Invalid(f"The body is not as expected: {error}") from error
    _check_once(await request.form(), shape)
    fields = await _form(request)
    return decoded({name: value for name, value in fields.items() if name != csrf.FIELD}, shape)


def _check_once(given: ImmutableMultiDict[str, Any], shape: type[msgspec.Struct]) -> None:
    """Refuse what is said twice: whoever looked at it before us may have believed the other one."""
    for name in shape.__struct_encode_fields__:
        if len(given.getlist(name)) > 1:
            raise Invalid(f"{name} is given twice.")


async def _form(request: Request) -> dict[str, Any]:
    """The text fields of a form; {} for any other kind of body."""
    if not request.headers.get("content-type", "").startswith(
        ("application/x-www-form-urlencoded", "multipart/form-data")
    ):
        return {}
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str)}


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

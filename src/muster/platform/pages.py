"""Pages: one frame, one set of filters, and what every template is told."""

import functools
import hashlib
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from muster import __version__
from muster.platform.actor import Actor
from muster.platform.csrf import Csrf
from muster.platform.routes import Request, Route

PACKAGE = Path(__file__).parents[1]


class NavEntry(msgspec.Struct, frozen=True, kw_only=True):
    label: str
    href: str
    icon: str
    current: bool


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Whoever is signed in, as the frame shows them."""

    name: str
    email: str
    initials: str
    role_label: str


class Ringing(msgspec.Struct, frozen=True, kw_only=True):
    """A critical alert that is open."""

    title: str
    href: str
    since: datetime


class Page(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    nav: list[NavEntry]
    second_nav: list[NavEntry]
    person: Person | None
    sandbox: bool
    ringing: tuple[Ringing, ...]
    unset: frozenset[str]
    csrf: str
    nonce: str
    request_id: str
    now: datetime
    version: str
    assets: str


class Alarm:
    """What is critical at this moment, told on every page to whoever `may` see it.

    Kept in memory: a page that everybody looks at all day asks nobody for it.
    """

    def __init__(self, *, may: str = "") -> None:
        self.may = may
        self.ringing: tuple[Ringing, ...] = ()


class Pages:
    def __init__(
        self, csrf: Csrf, *, sandbox: bool, unset: Collection[str] = (), alarm: Alarm | None = None
    ) -> None:
        """`unset` are settings that are not set, which the pages of what they are for say."""
        self._csrf = csrf
        self._alarm = alarm or Alarm()
        self._sandbox = sandbox
        self._unset = frozenset(unset)
        self._places: list[Route] = []

    def navigate(self, routes: Sequence[Route]) -> None:
        """Take the navigation from the table of all routes, which is whole only once every slice is."""
        self._places = sorted((route for route in routes if route.nav), key=_order)

    def render(
        self, request: Request, template: str, *, title: str, status: int = 200, **context: Any
    ) -> HTMLResponse:
        page = self._page(request, title)
        body = _environment().get_template(template).render(page=page, **context)
        return HTMLResponse(body, status_code=status)

    def _page(self, request: Request, title: str) -> Page:
        state = request.scope["state"]
        actor: Actor | None = state.get("actor")
        return Page(
            title=title,
            nav=self._navigation(actor, request.url.path) if actor else [],
            second_nav=self._second_navigation(actor, request.url.path) if actor else [],
            person=_person(actor) if actor else None,
            sandbox=self._sandbox,
            ringing=self._alarm.ringing if actor and actor.may(self._alarm.may) else (),
            unset=self._unset,
            csrf=self._csrf.token(state["sign_in"]) if actor else "",
            nonce=state["nonce"],
            request_id=state["request_id"],
            now=datetime.now(UTC),
            version=__version__,
            assets=_static_version(),
        )

    def _navigation(self, actor: Actor, path: str) -> list[NavEntry]:
        allowed = self._allowed(actor)
        tops = [route for route in allowed if route.nav and route.nav.is_top]
        return _entries(tops, _owner(allowed, path) if _here(tops, path) is None else path)

    def _second_navigation(self, actor: Actor, path: str) -> list[NavEntry]:
        """The places under the one that `path` is in, that one first; none where there are none."""
        allowed = self._allowed(actor)
        owner = _owner(allowed, path)
        places = [route for route in allowed if route.nav and owner in {route.path, route.nav.under}]
        return _entries(places, path, is_within=True)

    def _allowed(self, actor: Actor) -> list[Route]:
        return [route for route in self._places if actor.may(route.may)]


def _entries(places: Sequence[Route], path: str, *, is_within: bool = False) -> list[NavEntry]:
    here = _here(places, path)
    return [
        NavEntry(
            label=(is_within and route.nav.label_within) or route.nav.label,
            href=route.path,
            icon=route.nav.icon,
            current=route.path == here,
        )
        for route in places
        if route.nav
    ]


def _here(places: Sequence[Route], path: str) -> str | None:
    """The place that `path` is in: /people/syncs has its own, so it is not in /people."""
    return max((route.path for route in places if _within(path, route.path)), key=len, default=None)


def _owner(places: Sequence[Route], path: str) -> str:
    """The place at the head of the second row that `path` belongs to, or `path`."""
    here = _here(places, path)
    return next((route.nav.under or route.path for route in places if route.nav and route.path == here), path)


@functools.cache
def _environment() -> Environment:
    """Compiled templates are the same for everybody."""
    environment = Environment(
        loader=FileSystemLoader(PACKAGE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(age=age, when=when, number=number, initials=initials)
    return environment


@functools.cache
def _static_version() -> str:
    """Changes with any static file, so that browsers may keep what they have for good."""
    digest = hashlib.blake2b(digest_size=6)
    for path in sorted((PACKAGE / "static").iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in the words of a glance: "just now", "3 min ago", "2 days ago", "never"."""
    if moment is None:
        return "never"
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if seconds < 0:
        return "soon"
    for limit, size, unit in (
        (50, 0, ""),
        (3600, 60, "min"),
        (86_400, 3600, "h"),
        (30 * 86_400, 86_400, "day"),
    ):
        if seconds < limit:
            if not size:
                return "just now"
            count = max(1, round(seconds / size))
            return f"{count} {unit}{'s' if unit == 'day' and count != 1 else ''} ago"
    return f"{moment:%d %b %Y}".lstrip("0")


def in_words(seconds: float) -> str:
    """A stretch of time at a glance: "0.4 s", "12 s", "3 min", "1 h 20 min"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def when(moment: datetime | None) -> Markup:
    if moment is None:
        return Markup("never")
    exact = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(moment.isoformat(), exact, age(moment))


def number(value: float) -> str:
    return f"{value:,}"


def initials(name: str) -> str:
    words = [word for word in name.split() if word[0].isalnum()]
    return "".join(word[0] for word in (words[:1] + words[1:][-1:])).upper()


def _person(actor: Actor) -> Person:
    return Person(
        name=actor.name,
        email=actor.email,
        initials=initials(actor.name),
        role_label=actor.title,
    )


def _order(route: Route) -> int:
    return route.nav.order if route.nav else 0


def _within(path: str, place: str) -> bool:
    return path == place or (place != "/" and path.startswith(place + "/"))

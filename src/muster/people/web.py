"""People, as pages and CSV."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import quote, urlencode

import msgspec
from starlette.responses import Response

from muster.access.roles import Permission
from muster.errors import Invalid, NotAllowed, NotFound
from muster.people import wording
from muster.people.history import ChangeFilter, History
from muster.people.nesting import Nesting
from muster.people.person import Status
from muster.people.photos import KEPT_FOR, Photos
from muster.people.removals import Removals
from muster.people.reporting import ReportingLines
from muster.people.roster import SORTS, Filter, Found, PersonDetail, PersonRow, Roster
from muster.people.sync import PeopleSync
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages
from muster.platform.routes import Nav, Request, Route

_TABS = {
    "": "Everybody here",
    Status.ACTIVE: "Active",
    Status.GUEST: "Guests",
    Status.SUSPENDED: "Suspended",
    Status.ARCHIVED: "Archived",
    Status.DELETED: "Deleted (restorable)",
    Status.PURGED: "Gone for good",
}
_CHANGES = 20

Owned = Callable[[str], Awaitable[object | None]]
"""By Google's id, what somebody owns in another slice, whose template shows it; None for nothing."""
ChangeId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class ListPeople(msgspec.Struct, frozen=True, kw_only=True):
    """`after` and `before` are cursors that an earlier page gave. `org_unit` includes all below it, `manager`
    is an address, and `as_of` a date, whose end is meant, or a time. `two_step` (on, off) and `idle_days`
    (nobody has signed in for so long) are of those who may sign in, for whoever may see how they do.
    """

    q: str = ""
    status: str = ""
    department: str = ""
    org_unit: str = ""
    manager: str = ""
    admins: bool = False
    two_step: str = ""
    idle_days: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 0
    as_of: str = ""
    sort: str = "name"
    after: str = ""
    before: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50

    def filter(self) -> Filter:
        """Raises Invalid for a moment that cannot be read."""
        return Filter(
            q=self.q,
            status=self.status,
            department=self.department,
            org_unit=self.org_unit,
            manager=self.manager,
            admins=self.admins,
            two_step=self.two_step,
            idle_days=self.idle_days,
            as_of=wording.moment_of(self.as_of),
            sort=self.sort,
        )


class ShowPerson(msgspec.Struct, frozen=True, kw_only=True):
    """`before` and `after` are ids in the person's history."""

    as_of: str = ""
    before: ChangeId | None = None
    after: ChangeId | None = None


class PeoplePages:
    def __init__(
        self,
        roster: Roster,
        sync: PeopleSync,
        removals: Removals,
        pages: Pages,
        *,
        history: History,
        lines: ReportingLines,
        nesting: Nesting,
        photos: Photos,
        deals: Owned,
    ) -> None:
        self._roster = roster
        self._sync = sync
        self._removals = removals
        self._pages = pages
        self._history = history
        self._lines = lines
        self._nesting = nesting
        self._photos = photos
        self._deals = deals

    def routes(self) -> list[Route]:
        see = Permission.SEE_PEOPLE
        people = Nav(label="People", icon="people", order=2)
        return [
            Route(path="/people", handler=self.list_people, may=see, reads=ListPeople, nav=people),
            Route(path="/people.csv", handler=self.download, may=see, reads=ListPeople),
            Route(path="/people/{google_id}", handler=self.show_person, may=see, reads=ShowPerson),
            Route(path="/people/{google_id}/photo", handler=self.show_photo, may=see),
        ]

    async def list_people(self, request: Request, asked: ListPeople) -> Response:
        wanted = allowed(request, asked)
        sees = request.actor.may(Permission.SEE_SIGN_INS) and not wanted.as_of
        began_at = await self._history.began_at() if wanted.as_of else None
        is_unknown = wanted.as_of is not None and (began_at is None or wanted.as_of < began_at)
        found = (
            Found(people=[], total=0, counts={}, after=None, before=None)
            if is_unknown
            else await self._roster.find(wanted, after=asked.after, before=asked.before, limit=asked.limit)
        )
        return self._pages.render(
            request,
            "people.html",
            title="People",
            people=found.people,
            total=found.total,
            filters=asked,
            as_of=wanted.as_of,
            began_at=began_at,
            is_unknown=is_unknown,
            now_href=_href("/people", asked, as_of=""),
            sorts=[{"key": key, "label": label} for key, label in SORTS.items() if sees or not _tells(key)],
            sort_href={key: _href("/people", asked, sort=key) for key in SORTS},
            departments=await self._roster.list_departments(),
            org_units=await self._roster.list_org_units(),
            tabs=[
                {
                    "key": key,
                    "label": label,
                    "count": found.counts.get(key, 0),
                    "href": _href("/people", asked, status=key),
                }
                for key, label in _TABS.items()
            ],
            next_href=_href("/people", asked, after=found.after) if found.after else None,
            previous_href=_href("/people", asked, before=found.before) if found.before else None,
            csv_href=_href("/people.csv", asked),
            synced_at=await self._sync.synced_at(),
            may_sync=request.actor.may(Permission.SYNC_PEOPLE),
            sees_sign_ins=sees,
            idle_choices=sorted({30, 60, 90, 180, 365, asked.idle_days} - {0}),
            removal_waiting=await self._removals.find_waiting()
            if request.actor.may(Permission.DECIDE_REMOVALS)
            else None,
        )

    async def download(self, request: Request, asked: ListPeople) -> Response:
        wanted = allowed(request, asked)
        await check_known(self._history, wanted.as_of)
        sees = request.actor.may(Permission.SEE_SIGN_INS) and not wanted.as_of
        columns = {**_COLUMNS, **(_SIGN_IN_COLUMNS if sees else {})}
        rows = self._roster.stream(wanted)
        return CsvResponse(
            "people.csv", list(columns), rows, lambda row: [of(row) for of in columns.values()]
        )

    async def show_person(self, request: Request, asked: ShowPerson) -> Response:
        google_id = request.path_params["google_id"]
        as_of = wording.moment_of(asked.as_of)
        try:
            person = await self._roster.get(google_id, as_of=as_of)
        except NotFound:
            if as_of is None:
                raise
            now = await self._roster.get(google_id)
            return self._pages.render(
                request, "person_unknown.html", title=now.name, status=404, person=now, as_of=as_of
            )
        sees = wording.seen_fields(request.actor)
        sees_deals = request.actor.may(Permission.SEE_CUSTOMERS) and as_of is None
        history = await self._history.page(
            ChangeFilter(sees=sees, google_id=google_id, until=as_of and as_of + timedelta(microseconds=1)),
            before=asked.before,
            after=asked.after,
            limit=_CHANGES,
        )
        here = f"/people/{quote(google_id)}"
        then = {"as_of": asked.as_of} if asked.as_of else {}
        return self._pages.render(
            request,
            "person.html",
            title=person.name,
            person=person,
            here=here,
            then=f"?{urlencode(then)}" if then else "",
            as_of=as_of,
            standing=_standing(person, as_of),
            line=await self._lines.of(google_id, as_of=as_of),
            groups=[] if as_of else await self._nesting.of(google_id, person.status),
            custom=_custom_fields(person) if request.actor.may(Permission.SEE_PRIVATE) else {},
            entries=[wording.told(change, sees) for change in history.changes],
            older_href=f"{here}?{urlencode({**then, 'before': history.older})}#history"
            if history.older
            else None,
            newer_href=f"{here}?{urlencode({**then, 'after': history.newer})}#history"
            if history.newer
            else None,
            synced_at=await self._sync.synced_at(),
            sees_deals=sees_deals,
            portfolio=await self._deals(google_id) if sees_deals else None,
            sees_sign_ins=request.actor.may(Permission.SEE_SIGN_INS),
            sees_private=request.actor.may(Permission.SEE_PRIVATE),
        )

    async def show_photo(self, request: Request) -> Response:
        person = await self._roster.get(request.path_params["google_id"])
        if not person.photo_etag:
            raise NotFound("There is no photo.")
        headers = {
            "cache-control": f"private, max-age={KEPT_FOR.total_seconds():.0f}",
            "etag": f'"{quote(person.photo_etag, safe="")}"',
            "content-security-policy": "default-src 'none'; sandbox",
        }
        if headers["etag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        photo = await self._photos.find(person.google_id, person.photo_etag)
        if photo is None:
            raise NotFound("There is no photo.")
        return Response(photo.content, media_type=photo.media_type, headers=headers)


_COLUMNS: dict[str, Callable[[PersonRow], object]] = {
    "Name": lambda row: row.name,
    "E-mail": lambda row: row.email,
    "Title": lambda row: row.title,
    "Department": lambda row: row.department,
    "Cost centre": lambda row: row.cost_center,
    "Org unit": lambda row: row.org_unit,
    "Manager": lambda row: row.manager_email,
    "Status": lambda row: row.status.value,
    "Admin": lambda row: "yes" if row.is_admin else "delegated" if row.is_delegated_admin else "",
    "Joined": lambda row: row.joined_at,
    "Removed": lambda row: row.removed_at,
}
_SIGN_IN_COLUMNS: dict[str, Callable[[PersonRow], object]] = {"Last sign-in": lambda row: row.last_login_at}


def allowed(request: Request, asked: ListPeople) -> Filter:
    """What is looked for; a filter or an order tells as much as a column does. Raises NotAllowed, Invalid."""
    wanted = asked.filter()
    if wanted.tells_sign_ins and not request.actor.may(Permission.SEE_SIGN_INS):
        what = "order" if _tells(asked.sort) else "filter"
        raise NotAllowed(f"This {what} is for whoever may {Permission.SEE_SIGN_INS}.")
    return wanted


async def check_known(history: History, as_of: datetime | None) -> None:
    """Raises Invalid for a moment before anything was known."""
    if as_of is None:
        return
    began_at = await history.began_at()
    if began_at is None or as_of < began_at:
        since = f"it is known since {began_at.astimezone(UTC).isoformat()}" if began_at else "it is empty"
        raise Invalid(f"as_of: nothing is known of how the directory stood then; {since}.")


def _tells(sort: str) -> bool:
    """Whether an order is by when people signed in."""
    return sort.removeprefix("-") == "last_login"


class _Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to a status: why, and how long a deleted account can be brought back."""

    reason: str
    restorable_until: datetime | None
    days_left: int


def _standing(person: PersonDetail, as_of: datetime | None) -> _Standing:
    until = wording.restorable_until(person.deleted_at)
    return _Standing(
        reason=wording.reason(person.suspended_reason),
        restorable_until=until,
        days_left=wording.days_left(until, as_of or datetime.now(UTC)) if until else 0,
    )


def _custom_fields(person: PersonDetail) -> dict[str, str]:
    """`Schema: field` → value in words; a schema that is no object has its own name alone."""
    return {
        f"{schema}: {field}" if field else schema: wording.said(value)
        for schema, fields in person.custom_schemas.items()
        for field, value in (fields.items() if isinstance(fields, Mapping) else [("", fields)])
    }


def _href(path: str, asked: ListPeople, **over: str) -> str:
    """The address of a list: only what differs from a list without filters stands in it."""
    query = msgspec.structs.asdict(asked) | {"after": "", "before": ""} | over
    ordinary = {"sort": "name", "limit": 50}
    kept = {name: value for name, value in query.items() if value and ordinary.get(name) != value}
    if kept.pop("admins", False):
        kept["admins"] = "true"
    return f"{path}?{urlencode(kept)}" if kept else path

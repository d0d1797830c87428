"""People, as pages, CSV and JSON."""

from collections.abc import Callable
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from starlette.responses import Response

from muster.access.roles import Permission
from muster.errors import NotAllowed
from muster.people.person import Status
from muster.people.roster import SORTS, Filter, Found, PersonDetail, PersonRow, Roster
from muster.people.sync import PeopleSync
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages
from muster.platform.routes import Nav, Request, Route

_TABS = {
    "": "Everybody",
    Status.ACTIVE: "Active",
    Status.GUEST: "Guests",
    Status.SUSPENDED: "Suspended",
    Status.ARCHIVED: "Archived",
    Status.DELETED: "Deleted",
    Status.PURGED: "Gone for good",
}


class ListPeople(msgspec.Struct, frozen=True, kw_only=True):
    """`after` and `before` are cursors that an earlier page gave."""

    q: str = ""
    status: str = ""
    department: str = ""
    sort: str = "name"
    after: str = ""
    before: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50

    def filter(self) -> Filter:
        return Filter(q=self.q, status=self.status, department=self.department, sort=self.sort)


class PersonBrief(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    email: str
    title: str
    department: str
    status: Status


class PeopleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of people; `after` is the cursor of the next page, absent on the last."""

    people: list[PersonBrief]
    total: int
    after: str | None


class PeoplePages:
    def __init__(self, roster: Roster, sync: PeopleSync, pages: Pages) -> None:
        self._roster = roster
        self._sync = sync
        self._pages = pages

    def routes(self) -> list[Route]:
        see = Permission.SEE_PEOPLE
        people = Nav(label="People", icon="people", order=2)
        return [
            Route(path="/people", handler=self.list_people, may=see, reads=ListPeople, nav=people),
            Route(path="/people.csv", handler=self.download, may=see, reads=ListPeople),
            Route(path="/people/{google_id}", handler=self.show_person, may=see),
            Route(
                path="/api/v1/people",
                handler=self.answer_people,
                may=see,
                reads=ListPeople,
                returns=PeopleAnswer,
            ),
        ]

    async def list_people(self, request: Request, asked: ListPeople) -> Response:
        wanted = _allowed(request, asked)
        found = await self._roster.find(wanted, after=asked.after, before=asked.before, limit=asked.limit)
        counts = await self._roster.count_by_status(wanted)
        sees = request.actor.may(Permission.SEE_SIGN_INS)
        return self._pages.render(
            request,
            "people.html",
            title="People",
            people=found.people,
            total=found.total,
            filters=wanted,
            sorts=[{"key": key, "label": label} for key, label in SORTS.items() if sees or not _tells(key)],
            sort_href={key: _href("/people", wanted, sort=key) for key in SORTS},
            departments=await self._roster.list_departments(),
            statuses=[
                {"key": key, "label": label, "count": counts.get(key, 0)} for key, label in _TABS.items()
            ],
            next_href=_href("/people", wanted, after=found.after) if found.after else None,
            previous_href=_href("/people", wanted, before=found.before) if found.before else None,
            csv_href=_href("/people.csv", wanted),
            synced_at=await self._sync.synced_at(),
            may_sync=request.actor.may(Permission.SYNC_PEOPLE),
            sees_sign_ins=sees,
        )

    async def download(self, request: Request, asked: ListPeople) -> Response:
        columns = {**_COLUMNS, **(_SIGN_IN_COLUMNS if request.actor.may(Permission.SEE_SIGN_INS) else {})}
        rows = self._roster.stream(_allowed(request, asked))
        return CsvResponse(
            "people.csv", list(columns), rows, lambda row: [of(row) for of in columns.values()]
        )

    async def answer_people(self, request: Request, asked: ListPeople) -> PeopleAnswer:
        found = await self._roster.find(
            _allowed(request, asked), after=asked.after, before=asked.before, limit=asked.limit
        )
        return _answer(found)

    async def show_person(self, request: Request) -> Response:
        person = await self._roster.get(request.path_params["google_id"])
        return self._pages.render(
            request,
            "person.html",
            title=person.name,
            person=person,
            manager=await self._manager(person),
            reports=await self._roster.list_reports(person.email),
            synced_at=await self._sync.synced_at(),
            sees_sign_ins=request.actor.may(Permission.SEE_SIGN_INS),
        )

    async def _manager(self, person: PersonDetail) -> dict[str, str] | None:
        """Whom the directory names; somebody it does not hold is shown by address alone."""
        if not person.manager_email:
            return None
        found = await self._roster.find_by_email(person.manager_email)
        if found is None:
            return {"id": "", "name": person.manager_email, "email": person.manager_email}
        return {"id": found.google_id, "name": found.name, "email": found.email}


_COLUMNS: dict[str, Callable[[PersonRow], object]] = {
    "Name": lambda row: row.name,
    "E-mail": lambda row: row.email,
    "Title": lambda row: row.title,
    "Department": lambda row: row.department,
    "Org unit": lambda row: row.org_unit,
    "Status": lambda row: row.status.value,
    "Joined": lambda row: row.joined_at,
}
_SIGN_IN_COLUMNS: dict[str, Callable[[PersonRow], object]] = {"Last sign-in": lambda row: row.last_login_at}


def _allowed(request: Request, asked: ListPeople) -> Filter:
    """What is looked for; an order tells as much as a column does. Raises NotAllowed."""
    if _tells(asked.sort) and not request.actor.may(Permission.SEE_SIGN_INS):
        raise NotAllowed(f"Your role does not let you {Permission.SEE_SIGN_INS}.")
    return asked.filter()


def _tells(sort: str) -> bool:
    """Whether an order is by when people signed in."""
    return sort.removeprefix("-") == "last_login"


def _answer(found: Found) -> PeopleAnswer:
    return PeopleAnswer(
        people=[
            PersonBrief(
                id=row.google_id,
                name=row.name,
                email=row.email,
                title=row.title,
                department=row.department,
                status=row.status,
            )
            for row in found.people
        ],
        total=found.total,
        after=found.after,
    )


def _href(path: str, wanted: Filter, **over: str) -> str:
    """The address of a list: only what differs from a list without filters stands in it."""
    query = {**msgspec.structs.asdict(wanted), **over}
    kept = {name: value for name, value in query.items() if value and (name, value) != ("sort", "name")}
    return f"{path}?{urlencode(kept)}" if kept else path

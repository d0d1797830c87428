"""People and their history for programs, under `/api/v1`."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from muster.access.roles import Permission
from muster.people import wording
from muster.people.changes_web import ListChanges
from muster.people.history import Change, ChangeFilter, ChangePage, History
from muster.people.nesting import Membership, Nesting
from muster.people.person import Email, Phone, Status
from muster.people.reporting import Colleague, Report, ReportingLines
from muster.people.roster import PersonDetail, PersonRow, Roster
from muster.people.web import ListPeople, allowed, check_known
from muster.platform.routes import Request, Route


class AsOf(msgspec.Struct, frozen=True, kw_only=True):
    """`as_of` is a date, whose end is meant, or a time; without it, things are as they are now."""

    as_of: str = ""


class ListPersonChanges(ListChanges, frozen=True, kw_only=True):
    """As `/people/changes`, of one person."""


class PersonListed(msgspec.Struct, frozen=True, kw_only=True):
    """`last_login_at` is there for those who may see how people sign in, and never with `as_of`."""

    id: str
    name: str
    email: str
    title: str
    department: str
    cost_center: str
    org_unit: str
    manager_email: str
    status: Status
    is_admin: bool
    is_delegated_admin: bool
    is_guest: bool
    joined_at: datetime | None
    removed_at: datetime | None
    last_login_at: datetime | UnsetType | None = UNSET


class PeopleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of people; `after` and `before` are the cursors of its neighbours, absent where there is none.

    `counts` are people by status, of those who match all else; "here" is all who are not gone.
    """

    people: list[PersonListed]
    total: int
    counts: dict[str, int]
    after: str | None
    before: str | None


class ColleagueAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    email: str
    title: str
    status: Status


class ReportAnswer(ColleagueAnswer, frozen=True, kw_only=True):
    """`reports` is how many report to them in turn."""

    reports: int


class PersonAnswer(PersonListed, frozen=True, kw_only=True):
    """All that is kept of a person, as far as the caller may see it.

    `managers` are the line above, the nearest first, which ends as `line_ends` says: "top", "unknown"
    (`manager_email` of the last one is nobody's), "circle" or "too long". `reports` are the first hundred of
    `reports_total`. `groups` are as they are now, and absent with `as_of`.
    """

    given_name: str
    family_name: str
    employee_id: str
    aliases: list[str]
    fixed_aliases: list[str]
    phones: list[Phone]
    locations: list[str]
    has_photo: bool
    suspended_reason: str
    suspended_at: datetime | None
    archived_at: datetime | None
    deleted_at: datetime | None
    restorable_until: datetime | None
    known_since: datetime
    manager: ColleagueAnswer | None
    managers: list[ColleagueAnswer]
    line_ends: str
    reports: list[ReportAnswer]
    reports_total: int
    groups: list[Membership] | UnsetType = UNSET
    emails: list[Email] | UnsetType = UNSET
    custom_schemas: dict[str, Any] | UnsetType = UNSET
    enrolled_2sv: bool | UnsetType = UNSET
    enforced_2sv: bool | UnsetType = UNSET


class ChangeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` are field → [before, after]; `source` is listing, push, confirmed, released or groups."""

    id: int
    person_id: str
    at: datetime
    kinds: list[str]
    source: str
    sync_id: int | None
    by_email: str
    name: str
    email: str
    fields: dict[str, list[Any]]


class ChangesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The newest first. `before` leads on to older changes, `after` to newer ones; absent at the ends."""

    changes: list[ChangeAnswer]
    before: int | None
    after: int | None


class PeopleApi:
    def __init__(self, roster: Roster, history: History, lines: ReportingLines, nesting: Nesting) -> None:
        self._roster = roster
        self._history = history
        self._lines = lines
        self._nesting = nesting

    def routes(self) -> list[Route]:
        see, api = Permission.SEE_PEOPLE, "/api/v1/people"
        sign_ins, private = Permission.SEE_SIGN_INS, Permission.SEE_PRIVATE
        return [
            Route(
                path=api,
                handler=self.list_people,
                may=see,
                shows=[sign_ins],
                reads=ListPeople,
                returns=PeopleAnswer,
            ),
            Route(
                path=f"{api}/changes",
                handler=self.list_changes,
                may=see,
                shows=[sign_ins, private],
                reads=ListChanges,
                returns=ChangesAnswer,
            ),
            Route(
                path=f"{api}/{{google_id}}",
                handler=self.show_person,
                may=see,
                shows=[sign_ins, private],
                reads=AsOf,
                returns=PersonAnswer,
            ),
            Route(
                path=f"{api}/{{google_id}}/changes",
                handler=self.list_person_changes,
                may=see,
                shows=[sign_ins, private],
                reads=ListPersonChanges,
                returns=ChangesAnswer,
            ),
        ]

    async def list_people(self, request: Request, asked: ListPeople) -> PeopleAnswer:
        """List people a page at a time: searched, filtered and sorted, as they are or were on a day."""
        wanted = allowed(request, asked)
        await check_known(self._history, wanted.as_of)
        found = await self._roster.find(wanted, after=asked.after, before=asked.before, limit=asked.limit)
        sees = request.actor.may(Permission.SEE_SIGN_INS) and not wanted.as_of
        return PeopleAnswer(
            people=[
                PersonListed(**_listed(row), last_login_at=row.last_login_at if sees else UNSET)
                for row in found.people
            ],
            total=found.total,
            counts={status or "here": count for status, count in found.counts.items()},
            after=found.after,
            before=found.before,
        )

    async def show_person(self, request: Request, asked: AsOf) -> PersonAnswer:
        """Show one person in full, with managers, reports and groups, as they are or were on a day."""
        as_of = wording.moment_of(asked.as_of)
        person = await self._roster.get(request.path_params["google_id"], as_of=as_of)
        line = await self._lines.of(person.google_id, as_of=as_of)
        managers = [_colleague(one) for one in line.managers]
        sees = request.actor.may(Permission.SEE_SIGN_INS)
        private = request.actor.may(Permission.SEE_PRIVATE)
        return PersonAnswer(
            **_listed(person),
            **_detailed(person),
            last_login_at=person.last_login_at if sees and not as_of else UNSET,
            manager=managers[0] if managers else None,
            managers=managers,
            line_ends=line.end.value,
            reports=[_report(one) for one in line.reports],
            reports_total=line.reports_total,
            groups=UNSET if as_of else await self._nesting.of(person.google_id, person.status),
            emails=person.emails if private else UNSET,
            custom_schemas=person.custom_schemas if private else UNSET,
            enrolled_2sv=person.enrolled_2sv if sees else UNSET,
            enforced_2sv=person.enforced_2sv if sees else UNSET,
        )

    async def list_changes(self, request: Request, asked: ListChanges) -> ChangesAnswer:
        """List what changed about anybody (joined, left, moved, renamed …), the newest first."""
        return await self._answer_changes(asked, asked.filter(wording.seen_fields(request.actor)))

    async def list_person_changes(self, request: Request, asked: ListPersonChanges) -> ChangesAnswer:
        """List what changed about one person, the newest first."""
        person = await self._roster.get(request.path_params["google_id"])
        sees = wording.seen_fields(request.actor)
        return await self._answer_changes(asked, asked.filter(sees, google_id=person.google_id))

    async def _answer_changes(self, asked: ListChanges, wanted: ChangeFilter) -> ChangesAnswer:
        page: ChangePage = await self._history.page(
            wanted, before=asked.before, after=asked.after, limit=asked.limit
        )
        return ChangesAnswer(
            changes=[_change(change, wanted.sees) for change in page.changes],
            before=page.older,
            after=page.newer,
        )


def _listed(row: PersonRow) -> dict[str, Any]:
    return {
        "id": row.google_id,
        "name": row.name,
        "email": row.email,
        "title": row.title,
        "department": row.department,
        "cost_center": row.cost_center,
        "org_unit": row.org_unit,
        "manager_email": row.manager_email,
        "status": row.status,
        "is_admin": row.is_admin,
        "is_delegated_admin": row.is_delegated_admin,
        "is_guest": row.is_guest,
        "joined_at": row.joined_at,
        "removed_at": row.removed_at,
    }


def _detailed(person: PersonDetail) -> dict[str, Any]:
    return {
        "given_name": person.given_name,
        "family_name": person.family_name,
        "employee_id": person.employee_id,
        "aliases": person.aliases,
        "fixed_aliases": person.fixed_aliases,
        "phones": person.phones,
        "locations": person.locations,
        "has_photo": bool(person.photo_etag),
        "suspended_reason": person.suspended_reason,
        "suspended_at": person.suspended_at,
        "archived_at": person.archived_at,
        "deleted_at": person.deleted_at,
        "restorable_until": wording.restorable_until(person.deleted_at)
        if person.status is Status.DELETED
        else None,
        "known_since": person.first_seen_at,
    }


def _colleague(one: Colleague) -> ColleagueAnswer:
    return ColleagueAnswer(
        id=one.google_id, name=one.name, email=one.email, title=one.title, status=one.status
    )


def _report(one: Report) -> ReportAnswer:
    return ReportAnswer(
        id=one.google_id,
        name=one.name,
        email=one.email,
        title=one.title,
        status=one.status,
        reports=one.reports,
    )


def _change(change: Change, sees: tuple[str, ...]) -> ChangeAnswer:
    return ChangeAnswer(
        id=change.id,
        person_id=change.google_id,
        at=change.at.astimezone(UTC),
        kinds=change.kinds,
        source=change.source,
        sync_id=change.sync_id,
        by_email=change.by_email,
        name=change.name,
        email=change.email,
        fields=wording.seen(change, sees),
    )

"""Removals that wait for an administrator: who would go and why, and the decision."""

from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.roles import Permission
from muster.errors import Invalid
from muster.people.held_people import (
    ABSENCES,
    HELD,
    REMOVALS,
    STATUSES,
    HeldFilter,
    HeldPeople,
    HeldRow,
    RemovalRow,
)
from muster.people.removals import Removal, Removals
from muster.people.sync import PeopleSync
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages
from muster.platform.paging import ListQuery, href, links
from muster.platform.routes import Nav, Request, Route

TYPED_ABOVE = 50
"""Whoever removes more people than this types how many: a click may be a slip, a number is not."""


class ListRemovals(ListQuery, frozen=True, kw_only=True):
    status: str = ""
    sort: str = "-staged"


class ShowRemoval(ListQuery, frozen=True, kw_only=True):
    q: str = ""
    absence: str = ""
    sort: str = "name"

    def filter(self) -> HeldFilter:
        return HeldFilter(q=self.q, absence=self.absence, sort=self.sort)


class Decide(msgspec.Struct, frozen=True, kw_only=True):
    """`expected` is the number of people shown; `typed` repeats it where many are to be removed."""

    verdict: Literal["release", "reject"]
    expected: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    typed: str = ""


class RemovalsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of removals; `after` is the cursor of the next page, absent on the last."""

    removals: list[Removal]
    after: str | None


class HeldAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A removal with a page of those held in it; `held` counts all of them who match."""

    removal: Removal
    people: list[HeldRow]
    held: int
    after: str | None


class RemovalPages:
    def __init__(self, held: HeldPeople, removals: Removals, sync: PeopleSync, pages: Pages) -> None:
        self._held = held
        self._removals = removals
        self._sync = sync
        self._pages = pages

    def routes(self) -> list[Route]:
        decide = Permission.DECIDE_REMOVALS
        nav = Nav(label="Removals", icon="leave", order=7, under="/people", is_top=False)
        one = "/people/removals/{removal_id:int}"
        return [
            Route(
                path="/people/removals", handler=self.list_removals, may=decide, reads=ListRemovals, nav=nav
            ),
            Route(
                path="/people/removals.csv", handler=self.download_removals, may=decide, reads=ListRemovals
            ),
            Route(path=one, handler=self.show_removal, may=decide, reads=ShowRemoval),
            Route(path=f"{one}.csv", handler=self.download_held, may=decide, reads=ShowRemoval),
            Route(path=f"{one}/decision", method="POST", handler=self.decide, may=decide, reads=Decide),
            Route(
                path="/api/v1/people/removals",
                handler=self.answer_removals,
                may=decide,
                reads=ListRemovals,
                returns=RemovalsAnswer,
            ),
            Route(
                path=f"/api/v1{one}",
                handler=self.answer_removal,
                may=decide,
                reads=ShowRemoval,
                returns=HeldAnswer,
            ),
        ]

    async def list_removals(self, request: Request, asked: ListRemovals) -> Response:
        found = await self._held.list_removals(
            asked.status, asked.sort, after=asked.after, before=asked.before, limit=asked.limit
        )
        counts = await self._held.count_removals()
        return self._pages.render(
            request,
            "removals.html",
            title="Held removals",
            removals=found.rows,
            tabs=[
                {
                    "key": key,
                    "label": label,
                    "count": counts.get(key, 0),
                    "href": href("/people/removals", asked, status=key),
                }
                for key, label in STATUSES.items()
            ],
            synced_at=await self._sync.synced_at(),
            **links("/people/removals", "/people/removals.csv", asked, found, REMOVALS.labels),
        )

    async def download_removals(self, request: Request, asked: ListRemovals) -> Response:
        rows = self._held.stream_removals(asked.status, asked.sort)
        return CsvResponse(
            "removals.csv", list(_COLUMNS), rows, lambda row: [of(row) for of in _COLUMNS.values()]
        )

    async def show_removal(self, request: Request, asked: ShowRemoval) -> Response:
        removal = await self._removals.get(request.path_params["removal_id"])
        wanted = asked.filter()
        found = await self._held.find(
            removal.id, wanted, after=asked.after, before=asked.before, limit=asked.limit
        )
        here = f"/people/removals/{removal.id}"
        return self._pages.render(
            request,
            "removal.html",
            title=f"Removal {removal.id}",
            removal=removal,
            status_label=STATUSES[removal.status],
            held=await self._held.count(removal.id, HeldFilter()),
            total=await self._held.count(removal.id, wanted),
            here=await self._held.count_here(),
            people=found.rows,
            absences=ABSENCES,
            typed_above=TYPED_ABOVE,
            synced_at=await self._sync.synced_at(),
            **links(here, f"{here}.csv", asked, found, HELD.labels),
        )

    async def download_held(self, request: Request, asked: ShowRemoval) -> Response:
        removal = await self._removals.get(request.path_params["removal_id"])
        rows = self._held.stream(removal.id, asked.filter())
        return CsvResponse(
            f"removal-{removal.id}.csv",
            list(_HELD_COLUMNS),
            rows,
            lambda row: [of(row) for of in _HELD_COLUMNS.values()],
        )

    async def decide(self, request: Request, decision: Decide) -> Response:
        """Release or reject; Conflict when it is decided already, or holds other people than were shown."""
        removal_id = request.path_params["removal_id"]
        if decision.verdict == "release":
            _check_typed(decision)
            await self._removals.release(
                removal_id, by=request.actor, origin=request.origin, expected=decision.expected
            )
        else:
            await self._removals.reject(
                removal_id, by=request.actor, origin=request.origin, expected=decision.expected
            )
        return RedirectResponse(f"/people/removals/{removal_id}", status_code=303)

    async def answer_removals(self, request: Request, asked: ListRemovals) -> RemovalsAnswer:
        """List removals that are held or were decided, the newest first unless sorted otherwise."""
        found = await self._held.list_removals(
            asked.status, asked.sort, after=asked.after, before=asked.before, limit=asked.limit
        )
        return RemovalsAnswer(removals=[_plain(row) for row in found.rows], after=found.after)

    async def answer_removal(self, request: Request, asked: ShowRemoval) -> HeldAnswer:
        """Show one removal and the people it would take away, a page of them at a time."""
        removal = await self._removals.get(request.path_params["removal_id"])
        wanted = asked.filter()
        found = await self._held.find(
            removal.id, wanted, after=asked.after, before=asked.before, limit=asked.limit
        )
        return HeldAnswer(
            removal=removal,
            people=found.rows,
            held=await self._held.count(removal.id, wanted),
            after=found.after,
        )


def _check_typed(decision: Decide) -> None:
    typed = decision.typed.strip().replace(",", "")
    if decision.expected > TYPED_ABOVE and typed != str(decision.expected):
        raise Invalid(f"Type {decision.expected} to remove {decision.expected} people; nobody was removed.")


def _plain(row: RemovalRow) -> Removal:
    return Removal(**{name: getattr(row, name) for name in Removal.__struct_fields__})


_COLUMNS: dict[str, Callable[[RemovalRow], object]] = {
    "Removal": lambda row: row.id,
    "Status": lambda row: row.status_label,
    "Held": lambda row: row.staged_at,
    "Reason": lambda row: row.reason,
    "People": lambda row: row.total,
    "Removed": lambda row: row.removed,
    "Decided by": lambda row: row.decided_by,
    "Decided": lambda row: row.decided_at,
    "Sync": lambda row: row.sync_id,
}
_HELD_COLUMNS: dict[str, Callable[[HeldRow], object]] = {
    "Name": lambda row: row.name,
    "E-mail": lambda row: row.email,
    "Title": lambda row: row.title,
    "Department": lambda row: row.department,
    "Google says": lambda row: row.absence,
    "Deleted": lambda row: row.deleted_at,
    "Days left to restore": lambda row: row.days_left,
}

"""Everybody's sessions and tokens, for those who look after them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated
from urllib.parse import urlencode

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.account_page import EndSession, device, note_ended, shown
from muster.access.rights import RightsBook
from muster.access.roles import TITLES, Permission
from muster.access.tokens import Tokens
from muster.errors import NotFound
from muster.platform import audit
from muster.platform.csv import CsvResponse
from muster.platform.database import Database
from muster.platform.pages import Pages
from muster.platform.routes import Nav, Request, Route
from muster.platform.sessions import OpenSession, Place, Sessions

PAGE = 50
MOST_FOUND = 200
"""People whose sessions a search looks through."""

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=2**45)]


class ListSessions(msgspec.Struct, frozen=True, kw_only=True):
    """`q` is part of a name or an address; `since` and `name` are of the last session of the page before."""

    q: str = ""
    since: Milliseconds | None = None
    name: str = ""

    @property
    def place(self) -> Place | None:
        return None if self.since is None else Place(ms=self.since, name=self.name)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    google_id: str | None
    email: str
    name: str
    is_suspended: bool


class SessionPages:
    def __init__(
        self, database: Database, sessions: Sessions, tokens: Tokens, rights: RightsBook, pages: Pages
    ) -> None:
        self._database = database
        self._sessions = sessions
        self._tokens = tokens
        self._rights = rights
        self._pages = pages

    def routes(self) -> list[Route]:
        see, end = Permission.SEE_SESSIONS, Permission.END_SESSIONS
        nav = Nav(label="Sessions", icon="sessions", order=20, under="/admin/roles", is_top=False)
        person = "/admin/sessions/{account_id:int}"
        return [
            Route(path="/admin/sessions", handler=self.show, may=see, reads=ListSessions, nav=nav),
            Route(path="/admin/sessions.csv", handler=self.download, may=see, reads=ListSessions),
            Route(path=person, handler=self.show_person, may=see),
            Route(path=f"{person}/ended", method="POST", handler=self.end, may=end, reads=EndSession),
            Route(
                path=f"{person}/tokens/{{token_id:int}}/revocation",
                method="POST",
                handler=self.revoke_token,
                may=end,
            ),
        ]

    async def show(self, request: Request, asked: ListSessions) -> Response:
        most = MOST_FOUND if asked.q.strip() else PAGE
        rows = await self._first(asked, most + 1)
        more, rows = len(rows) > most, rows[:most]
        people = await self._people_of(rows)
        return self._pages.render(
            request,
            "sessions.html",
            title="Sessions",
            sessions=[
                {**shown(one), "person": people[one.session.account_id]}
                for one in rows
                if one.session.account_id in people
            ],
            total=await self._sessions.count_all(),
            q=asked.q,
            sees_audit=request.actor.may(Permission.SEE_AUDIT),
            csv_href=f"/admin/sessions.csv?{urlencode({'q': asked.q})}" if asked.q else "/admin/sessions.csv",
            is_cut=more and bool(asked.q.strip()),
            next_href=_next_href(rows[-1]) if more and not asked.q.strip() else None,
            first_href="/admin/sessions" if asked.place else None,
        )

    async def download(self, request: Request, asked: ListSessions) -> Response:
        async with self._database.transaction() as tx:
            await audit.record(
                tx, "sessions.exported", by=request.actor, after={"q": asked.q}, origin=request.origin
            )
        return CsvResponse("sessions.csv", _COLUMNS, self._rows(asked), list)

    async def show_person(self, request: Request) -> Response:
        person = await self._person(request)
        rights = await self._rights.of(person.id)
        return self._pages.render(
            request,
            "session_person.html",
            title=person.name or person.email,
            person=person,
            roles=[TITLES[role] for role in rights.roles] if rights else [],
            sessions=[shown(one) for one in await self._sessions.list_of(person.id)],
            tokens=await self._tokens.list_of(person.id),
            may_end=request.actor.may(Permission.END_SESSIONS),
            sees_audit=request.actor.may(Permission.SEE_AUDIT),
        )

    async def end(self, request: Request, asked: EndSession) -> Response:
        person = await self._person(request)
        if asked.session:
            found = await self._sessions.find(asked.session)
            if found is None or found.session.account_id != person.id:
                raise NotFound("There is no such session of theirs; it may have ended by itself.")
            what = device(found.session.user_agent)
            await note_ended(self._database, person.id, what, by=request.actor, origin=request.origin)
            await self._sessions.end_named(asked.session, account_id=person.id)
        else:
            await note_ended(self._database, person.id, "all", by=request.actor, origin=request.origin)
            await self._sessions.end_all(person.id)
        return RedirectResponse(f"/admin/sessions/{person.id}", status_code=303)

    async def revoke_token(self, request: Request) -> Response:
        person = await self._person(request)
        await self._tokens.revoke(
            request.path_params["token_id"], owner=person.id, by=request.actor, origin=request.origin
        )
        return RedirectResponse(f"/admin/sessions/{person.id}#tokens", status_code=303)

    async def _first(self, asked: ListSessions, most: int) -> list[OpenSession]:
        rows: list[OpenSession] = []
        async with aclosing(self._found(asked)) as found:
            async for one in found:
                rows.append(one)
                if len(rows) == most:
                    break
        return rows

    async def _found(self, asked: ListSessions) -> AsyncGenerator[OpenSession, None]:
        if not asked.q.strip():
            async for one in self._sessions.list_all(after=asked.place):
                yield one
            return
        for account_id in await self._accounts_like(asked.q.strip()):
            for one in await self._sessions.list_of(account_id):
                yield one

    async def _rows(self, asked: ListSessions) -> AsyncGenerator[Sequence[object], None]:
        batch: list[OpenSession] = []
        async for one in self._found(msgspec.structs.replace(asked, since=None)):
            batch.append(one)
            if len(batch) >= PAGE:
                for row in await self._told(batch):
                    yield row
                batch = []
        for row in await self._told(batch):
            yield row

    async def _told(self, batch: Sequence[OpenSession]) -> list[list[object]]:
        people = await self._people_of(batch)
        return [
            [
                people[one.session.account_id].email,
                people[one.session.account_id].name,
                device(one.session.user_agent),
                one.session.address,
                one.session.started_at,
                one.seen_at,
                one.ends_at,
            ]
            for one in batch
            if one.session.account_id in people
        ]

    async def _accounts_like(self, q: str) -> list[int]:
        async with self._database.reading() as statements:
            return await statements.column(
                """
                SELECT id FROM accounts
                WHERE google_id IS NOT NULL AND strpos(lower(name || ' ' || email), lower(%s)) > 0
                ORDER BY lower(email) LIMIT %s
                """,
                [q[:100], MOST_FOUND],
            )

    async def _people_of(self, sessions: Sequence[OpenSession]) -> dict[int, Person]:
        """Whose they are. Those of the probe's account are nobody's."""
        ids = [one.session.account_id for one in sessions]
        people = await self._database.rows(Person, _PERSON + " = ANY(%s) AND google_id IS NOT NULL", [ids])
        return {person.id: person for person in people}

    async def _person(self, request: Request) -> Person:
        found = await self._database.row(Person, _PERSON + " = %s", [request.path_params["account_id"]])
        if found is None:
            raise NotFound("There is no account of this number.")
        return found


_PERSON = """
SELECT id, google_id, email, name, suspended_at IS NOT NULL AS is_suspended FROM accounts WHERE id"""

_COLUMNS = ["Address", "Name", "Device", "From", "Signed in", "Last seen", "Ends"]


def _next_href(last: OpenSession) -> str:
    place = Place.of(last)
    return f"/admin/sessions?{urlencode({'since': place.ms, 'name': place.name})}"

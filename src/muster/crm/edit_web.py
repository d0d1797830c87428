"""A record's page: read it, edit it in place, make a new one, settle what did not go through."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, cast

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.roles import Permission
from muster.crm.edit_rows import Edit, Status
from muster.crm.edit_values import InvalidFields, check_text
from muster.crm.edit_writing import SAME_NAME
from muster.crm.edits import TIES, Edits, SentBefore
from muster.crm.fields import FIELDS, Kind, Type, edited
from muster.crm.outbox import Outbox
from muster.crm.record_page import Records, is_in_forms, refused
from muster.errors import Conflict, Invalid, NotFound, VendorDown
from muster.platform.pages import Pages
from muster.platform.routes import Handler, Request, Route

BODY_BYTES = 1024 * 1024

Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class ShowRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`before` is an id in the history, `edit` the edit that led here."""

    before: Id | None = None
    edit: Id | None = None


class ResolveConflict(msgspec.Struct, frozen=True, kw_only=True):
    """`mine` are the fields in which mine is written over theirs."""

    mine: tuple[str, ...] = ()


class NewRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the new one is to belong to; `edit` is one that was refused, whose values are shown again."""

    contact: str = ""
    company: str = ""
    edit: Id | None = None


RecordForm = msgspec.Struct
"""The fields of a kind as `f_…`, with what was there before each as `was_…`; what is empty is left out."""


def _form(kind: Kind) -> type[RecordForm]:
    names = [f"{part}_{field.name}" for part in ("f", "was") for field in edited(kind)]
    others: list[tuple[str, Any, Any]] = [
        ("edit", int | None, None),
        ("key", str, ""),
        ("contact", str, ""),
        ("company", str, ""),
    ]
    fields: list[tuple[str, Any, Any]] = [(name, str, "") for name in names]
    name = f"Edit{kind.one.capitalize()}"
    return msgspec.defstruct(name, [*fields, *others], frozen=True, kw_only=True, module=__name__)


_FORMS = {kind: _form(kind) for kind in Kind}


class EditPages:
    def __init__(
        self,
        records: Records,
        edits: Edits,
        outbox: Outbox,
        pages: Pages,
        *,
        refresh: Callable[[Kind, str], Awaitable[object]],
        has_hubspot: bool,
    ) -> None:
        self._records = records
        self._edits = edits
        self._outbox = outbox
        self._pages = pages
        self._refresh = refresh
        self._has_hubspot = has_hubspot

    def routes(self) -> list[Route]:
        change = Permission.EDIT_CUSTOMERS
        one = "/crm/edits/{edit_id:int}"
        return [
            *(route for kind in Kind for route in self._routes_of(kind)),
            Route(path=one, handler=self.show_edit, may=Permission.SEE_CUSTOMERS),
            Route(path=f"{one}/withdrawal", method="POST", handler=self.withdraw, may=change),
            Route(
                path=f"{one}/resolution",
                method="POST",
                handler=self.resolve,
                may=change,
                reads=ResolveConflict,
            ),
        ]

    def _routes_of(self, kind: Kind) -> list[Route]:
        see, change = Permission.SEE_CUSTOMERS, Permission.EDIT_CUSTOMERS
        here, one, form = f"/crm/{kind}", f"/crm/{kind}/{{record_id:int}}", _FORMS[kind]

        def of(handler: Any) -> Handler:
            async def handled(request: Request, *read: Any) -> Response:
                return cast("Response", await handler(request, kind, *read))

            return handled

        return [
            Route(path=f"{here}/new", handler=of(self.show_new), may=change, reads=NewRecord),
            Route(
                path=here,
                method="POST",
                handler=of(self.create),
                may=change,
                reads=form,
                max_body_bytes=BODY_BYTES,
            ),
            Route(path=one, handler=of(self.show_record), may=see, reads=ShowRecord),
            Route(
                path=one,
                method="POST",
                handler=of(self.edit),
                may=change,
                reads=form,
                max_body_bytes=BODY_BYTES,
            ),
            Route(path=f"{one}/refresh", method="POST", handler=of(self.refresh), may=see),
        ]

    async def show_record(self, request: Request, kind: Kind, asked: ShowRecord) -> Response:
        return await self._page(request, kind, asked)

    async def edit(self, request: Request, kind: Kind, form: RecordForm) -> Response:
        typed, before = _typed(kind, form)
        record_id = _record_id(request)
        try:
            edit = await self._edits.edit(
                kind,
                record_id,
                typed,
                before,
                by=request.actor,
                origin=request.origin,
                instead_of=cast("int | None", getattr(form, "edit", None)),
            )
        except InvalidFields as problem:
            return await self._page(
                request, kind, ShowRecord(), typed=typed, before=before, problems=problem.fields
            )
        return await self._onward(request, kind, record_id, edit)

    async def refresh(self, request: Request, kind: Kind) -> Response:
        record_id = _record_id(request)
        try:
            await self._refresh(kind, (await self._records.get(kind, record_id)).id)
        except NotFound:
            pass  # the page says that it is gone
        except VendorDown:
            return await self._page(request, kind, ShowRecord(), is_unanswered=True)
        return RedirectResponse(f"/crm/{kind}/{record_id}", status_code=303)

    async def show_new(self, request: Request, kind: Kind, asked: NewRecord) -> Response:
        if not self._has_hubspot:
            raise Conflict("HubSpot is not set up: HUBSPOT_TOKEN is not set.")
        typed: Mapping[str, str] = {}
        problems: Mapping[str, str] = {}
        problem, namesake, reference, contact, company = "", "", "", asked.contact, asked.company
        if asked.edit is not None:
            stopped = await self._edits.rows.get(asked.edit)
            if not stopped.is_creation or stopped.kind is not kind:
                raise NotFound("There is no such refused record.")
            typed, problems, problem = stopped.fields, stopped.problem_fields, stopped.problem
            reference = stopped.correlation_id
            namesake, ties = stopped.theirs.get(SAME_NAME, ""), dict(stopped.ties)
            contact, company = ties.get(Kind.CONTACTS, ""), ties.get(Kind.COMPANIES, "")
        return await self._new_page(
            request,
            kind,
            typed,
            problems,
            contact=contact,
            company=company,
            problem=problem,
            namesake=namesake,
            reference=reference,
        )

    async def create(self, request: Request, kind: Kind, form: RecordForm) -> Response:
        typed, _ = _typed(kind, form)
        contact, company, key = (str(getattr(form, name)) for name in ("contact", "company", "key"))
        try:
            edit = await self._edits.create(
                kind,
                typed,
                _ties(contact, company),
                creation_key=key,
                by=request.actor,
                origin=request.origin,
            )
        except InvalidFields as problem:
            return await self._new_page(
                request, kind, typed, problem.fields, contact=contact, company=company
            )
        except SentBefore as before:
            return await self._new_page(
                request, kind, typed, {}, contact=contact, company=company, before=before
            )
        if edit.status is Status.REFUSED:
            return RedirectResponse(f"/crm/{edit.kind}/new?edit={edit.id}", status_code=303)
        return await self._onward(request, edit.kind, edit.record_id, edit)

    async def show_edit(self, request: Request) -> Response:
        edit = await self._edits.rows.get(request.path_params["edit_id"])
        if edit.record_id:
            return RedirectResponse(f"/crm/{edit.kind}/{edit.record_id}?edit={edit.id}", status_code=303)
        if edit.status is Status.REFUSED:
            return RedirectResponse(f"/crm/{edit.kind}/new?edit={edit.id}", status_code=303)
        books = await self._records.books()
        return self._pages.render(
            request,
            "crm_record_awaited.html",
            title=f"New {edit.kind.one}",
            edit=edit,
            is_live=edit.status.is_open,
            may_edit=request.actor.may(Permission.EDIT_CUSTOMERS),
            lines=[
                (field.label, books.words(edit.kind, field.name, edit.fields[field.name]))
                for field in FIELDS[edit.kind]
                if field.name in edit.fields
            ],
        )

    async def withdraw(self, request: Request) -> Response:
        edit = await self._edits.withdraw(
            request.path_params["edit_id"], by=request.actor, origin=request.origin
        )
        where = f"/{edit.record_id}" if edit.record_id else ""
        return RedirectResponse(f"/crm/{edit.kind}{where}", status_code=303)

    async def resolve(self, request: Request, asked: ResolveConflict) -> Response:
        edit = await self._edits.resolve_conflict(
            request.path_params["edit_id"], asked.mine, by=request.actor, origin=request.origin
        )
        return await self._onward(request, edit.kind, edit.record_id, edit)

    async def _onward(
        self, request: Request, kind: Kind, record_id: str | None, edit: Edit | None
    ) -> Response:
        """To the page that shows what came of it."""
        if edit and edit.status.is_open:
            await self._outbox.nudge(request_id=request.origin.request_id)
        if record_id is None:
            return RedirectResponse(f"/crm/edits/{edit.id}" if edit else f"/crm/{kind}", status_code=303)
        said = f"?edit={edit.id}" if edit else ""
        return RedirectResponse(f"/crm/{kind}/{record_id}{said}", status_code=303)

    async def _page(
        self,
        request: Request,
        kind: Kind,
        asked: ShowRecord,
        *,
        typed: Mapping[str, str] | None = None,
        before: Mapping[str, str] | None = None,
        problems: Mapping[str, str] | None = None,
        is_unanswered: bool = False,
    ) -> Response:
        record = await self._records.get(kind, _record_id(request))
        if record.merged_into:
            return RedirectResponse(f"/crm/{kind}/{record.merged_into}", status_code=303)
        books, edits = await self._records.books(), await self._records.edits(record)
        may_edit = request.actor.may(Permission.EDIT_CUSTOMERS) and not record.archived_at
        stopped = refused(edits) if typed is None else None
        if stopped and not record.archived_at:
            typed, before, problems = stopped.fields, stopped.before, stopped.problem_fields
        fields = books.shown(record, edits=edits, typed=typed, before=before, problems=problems)
        past, is_more = await self._records.history(record, before=asked.before)
        return self._pages.render(
            request,
            "crm_record.html",
            title=record.name,
            status=503 if is_unanswered else 422 if problems and not stopped else 200,
            is_unanswered=is_unanswered,
            has_hubspot=self._has_hubspot,
            kind=kind,
            record=record,
            here=f"/crm/{kind}/{record.id}",
            fields={field.name: field for field in fields},
            options={
                field.name: books.options(kind, field, typed_or(record.fields, typed, field.name))
                for field in FIELDS[kind]
                if is_in_forms(field)
            }
            if may_edit
            else {},
            owner=books.owners.get(record.owner_id),
            ties=await self._records.ties(record),
            entries=[books.entry(kind, change) for change in past],
            older_href=f"?before={past[-1].id}#history" if is_more else None,
            is_older=asked.before is not None,
            edits=[_told(edit, books, record.fields) for edit in edits],
            is_live=any(edit.status.is_open for edit in edits),
            said=await self._said(asked, record.id),
            is_form_open=bool(problems or stopped),
            instead_of=stopped.id if stopped else None,
            may_edit=may_edit,
            may_give=request.actor.may(Permission.REASSIGN_CUSTOMERS),
            types=Type,
        )

    async def _said(self, asked: ShowRecord, record_id: str) -> Edit | None:
        """The edit that led here, if it is done: then the page says so."""
        if asked.edit is None:
            return None
        try:
            edit = await self._edits.rows.get(asked.edit)
        except NotFound:
            return None
        return edit if edit.record_id == record_id and edit.status is Status.DONE else None

    async def _new_page(
        self,
        request: Request,
        kind: Kind,
        typed: Mapping[str, str],
        problems: Mapping[str, str],
        *,
        contact: str,
        company: str,
        problem: str = "",
        namesake: str = "",
        reference: str = "",
        before: SentBefore | None = None,
    ) -> Response:
        books = await self._records.books()
        tied = []
        for other, other_id in _ties(contact, company):
            if other not in TIES[kind]:
                raise Invalid(f"A new {kind.one} cannot be tied to a {other.one} here.")
            check_text({other: other_id})
            tied.append(await self._records.get(other, other_id))
        if not typed and not problems:
            mine = [
                owner.id
                for owner in books.owners.values()
                if owner.may_own and owner.email == request.actor.email
            ]
            typed = {"hubspot_owner_id": mine[0]} if mine else {}
        return self._pages.render(
            request,
            "crm_record_new.html",
            title=f"New {kind.one}",
            status=409 if before else 422 if problems else 200,
            kind=kind,
            fields=books.form(kind, typed, problems),
            options={
                field.name: books.options(kind, field, typed.get(field.name, ""))
                for field in FIELDS[kind]
                if is_in_forms(field)
            },
            tied=tied,
            contact=contact,
            company=company,
            problem=problem,
            namesake=namesake,
            reference=reference,
            before=before,
            key=secrets.token_hex(16),
            types=Type,
        )


def typed_or(held: Mapping[str, str], typed: Mapping[str, str] | None, name: str) -> str:
    return (typed or {}).get(name, held.get(name, ""))


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An edit that is not done, in words; `lines` are (name, label, what was, mine, theirs)."""

    edit: Edit
    lines: list[tuple[str, str, str, str, str]]
    problems: list[tuple[str, str]]


def _told(edit: Edit, books: Any, held: Mapping[str, str]) -> Told:
    currency = held.get("deal_currency_code", "")
    labels = {field.name: field.label for field in FIELDS[edit.kind]}

    def words(name: str, value: str) -> str:
        return str(books.words(edit.kind, name, value, currency)) or "nothing"

    return Told(
        edit=edit,
        lines=[
            (
                name,
                labels.get(name, name),
                words(name, edit.before.get(name, "")),
                words(name, value),
                words(name, edit.theirs[name]) if name in edit.theirs else "",
            )
            for name, value in edit.fields.items()
        ],
        problems=[
            (labels.get(name, name), books.told(edit.kind, problem))
            for name, problem in edit.problem_fields.items()
        ],
    )


def _typed(kind: Kind, form: RecordForm) -> tuple[dict[str, str], dict[str, str]]:
    """What was typed and what was there before, of the fields that are not empty on both sides."""
    typed, before = {}, {}
    for field in edited(kind):
        value, was = str(getattr(form, f"f_{field.name}")), str(getattr(form, f"was_{field.name}"))
        if value or was:
            typed[field.name], before[field.name] = value, was
    return typed, before


def _ties(contact: str, company: str) -> list[tuple[Kind, str]]:
    named = ((Kind.CONTACTS, contact), (Kind.COMPANIES, company))
    return [(kind, record_id) for kind, record_id in named if record_id]


def _record_id(request: Request) -> str:
    return str(request.path_params["record_id"])

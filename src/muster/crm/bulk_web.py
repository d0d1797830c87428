"""Changing many records at once: what would change, the act as it goes, taking it back, and all acts."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.roles import Permission
from muster.crm import views
from muster.crm.bulks import MOST, Bulk, BulkEdit, Bulks, Plan
from muster.crm.edit_rows import Status
from muster.crm.edit_values import InvalidFields
from muster.crm.edit_web import BODY_BYTES, Id
from muster.crm.fields import FIELDS, Kind, Type, field_of
from muster.crm.lists import Lists, filter_of
from muster.crm.record_page import Books, Records, is_in_forms
from muster.errors import Conflict, Invalid, NotAllowed
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages
from muster.platform.routes import API, Nav, Request, Route

SAMPLE = 20
LISTED = 50

STATUSES = {
    Status.WAITING: "Waiting",
    Status.SENDING: "Being written",
    Status.UNKNOWN: "Sent, not answered",
    Status.DONE: "Done",
    Status.CONFLICT: "Conflict",
    Status.REFUSED: "Refused",
    Status.WITHDRAWN: "Dropped",
}
_STOPPED = (Status.CONFLICT, Status.REFUSED)


class _ManyForm(msgspec.Struct, frozen=True, kw_only=True):
    """`ids` are chosen records, or `query` names all of a list, as in its address. `set` are the fields that
    are to change, to what stands in the field of their name. `seen` is the preview's `Plan.digest`.
    """

    kind: Kind
    query: str = ""
    ids: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    seen: str = ""

    def fields(self) -> dict[str, str]:
        """Raises Invalid for a field that is none of the kind's."""
        for name in self.set:
            field = field_of(self.kind, name)
            if field is None or not is_in_forms(field):
                raise Invalid(f"set: {name!r} is no field of {self.kind} that can be changed.")
        return {name: str(getattr(self, f"f_{name}")) for name in self.set}


_NAMES = sorted({field.name for kind in Kind for field in FIELDS[kind] if is_in_forms(field)})
ManyForm = cast(
    "type[_ManyForm]",
    msgspec.defstruct(
        "ChangeMany",
        [(f"f_{name}", str, "") for name in _NAMES],
        bases=(_ManyForm,),
        frozen=True,
        kw_only=True,
        module=__name__,
    ),
)


class ListBulks(msgspec.Struct, frozen=True, kw_only=True):
    """`before` is the id below which acts are listed."""

    before: Id | None = None


class ShowBulk(msgspec.Struct, frozen=True, kw_only=True):
    """`after` is the id of an edit beyond which those that were stopped are listed."""

    after: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0


class BulksAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The newest first; `before` leads on to older ones, absent at the end."""

    bulks: list[Bulk]
    before: int | None


class BulkAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An act with the first of its edits that were stopped by a conflict or by HubSpot."""

    bulk: Bulk
    stopped: list[BulkEdit]


class BulkPages:
    def __init__(self, bulks: Bulks, lists: Lists, records: Records, pages: Pages) -> None:
        self._bulks = bulks
        self._lists = lists
        self._records = records
        self._pages = pages

    def routes(self) -> list[Route]:
        see, change = Permission.SEE_CUSTOMERS, Permission.EDIT_CUSTOMERS
        give = Permission.REASSIGN_CUSTOMERS
        nav = Nav(label="Bulk edits", icon="changes", order=60, under="/crm/deals", is_top=False)
        here, one = "/crm/bulks", "/crm/bulks/{bulk_id:int}"
        given = "/crm/reassignments/{bulk_id:int}"
        return [
            Route(path=here, handler=self.list_bulks, may=see, reads=ListBulks, nav=nav),
            Route(
                path=f"{here}/preview",
                method="POST",
                handler=self.preview,
                may=change,
                reads=ManyForm,
                max_body_bytes=BODY_BYTES,
            ),
            Route(
                path=here,
                method="POST",
                handler=self.begin,
                may=change,
                reads=ManyForm,
                max_body_bytes=BODY_BYTES,
            ),
            Route(path=one, handler=self.show_bulk, may=see, reads=ShowBulk),
            Route(path=f"{one}/edits.csv", handler=self.download, may=see),
            Route(path=f"{one}/cancellation", method="POST", handler=self.cancel, may=change),
            Route(path=f"{one}/undo", method="POST", handler=self.undo, may=change),
            # Whoever may give records away need not be one who edits them.
            Route(path=f"{given}/cancellation", method="POST", handler=self.cancel_giving, may=give),
            Route(path=f"{given}/undo", method="POST", handler=self.undo_giving, may=give),
            Route(
                path=f"{API}{here}", handler=self.answer_bulks, may=see, reads=ListBulks, returns=BulksAnswer
            ),
            Route(path=f"{API}{one}", handler=self.answer_bulk, may=see, returns=BulkAnswer),
        ]

    async def preview(self, request: Request, asked: _ManyForm) -> Response:
        fields, problems, plan = asked.fields(), {}, None
        ids = await self._ids(request, asked)
        if fields and ids:
            try:
                plan = await self._bulks.plan(asked.kind, ids, fields)
            except InvalidFields as wrong:
                problems = wrong.fields
        books = await self._records.books()
        return self._pages.render(
            request,
            "crm_bulk_new.html",
            title=f"Edit {len(ids):,} {asked.kind.one if len(ids) == 1 else asked.kind}",
            status=422 if problems else 200,
            kind=asked.kind,
            asked=asked,
            count=len(ids),
            most=MOST,
            fields=books.form(asked.kind, fields, problems),
            options={
                field.name: books.options(asked.kind, field, "")
                for field in FIELDS[asked.kind]
                if is_in_forms(field)
            },
            plan=plan,
            words=words_of(books, asked.kind, fields),
            sample=sample_of(books, plan) if plan else [],
            types=Type,
        )

    async def begin(self, request: Request, asked: _ManyForm) -> Response:
        fields = asked.fields()
        plan = await self._bulks.plan(asked.kind, await self._ids(request, asked), fields)
        check_seen(plan, asked.seen)
        books = await self._records.books()
        bulk_id = await self._bulks.begin(
            plan,
            kind=asked.kind,
            what="edit",
            words=words_of(books, asked.kind, fields),
            fields=fields,
            query=views.normal(asked.kind, asked.query) if not asked.ids else "",
            by=request.actor,
            origin=request.origin,
        )
        return RedirectResponse(f"/crm/bulks/{bulk_id}", status_code=303)

    async def list_bulks(self, request: Request, asked: ListBulks) -> Response:
        bulks = await self._bulks.list_latest(before=asked.before, limit=LISTED + 1)
        return self._pages.render(
            request,
            "crm_bulks.html",
            title="Bulk edits",
            bulks=bulks[:LISTED],
            is_live=any(bulk.is_live for bulk in bulks),
            older_href=f"/crm/bulks?before={bulks[LISTED - 1].id}" if len(bulks) > LISTED else None,
            newest_href="/crm/bulks" if asked.before else None,
            may_edit=request.actor.may(Permission.EDIT_CUSTOMERS),
        )

    async def show_bulk(self, request: Request, asked: ShowBulk) -> Response:
        bulk = await self._bulks.get(request.path_params["bulk_id"])
        is_giving = await self._is_giving(bulk)
        stopped = await self._bulks.edits(bulk.id, statuses=_STOPPED, after=asked.after, limit=LISTED + 1)
        needed = Permission.REASSIGN_CUSTOMERS if is_giving else Permission.EDIT_CUSTOMERS
        books = await self._records.books()
        return self._pages.render(
            request,
            "crm_bulk.html",
            title=f"Bulk edit {bulk.id}",
            bulk=bulk,
            is_live=bulk.is_live,
            stopped=[(edit, why(books, edit)) for edit in stopped[:LISTED]],
            next_href=f"/crm/bulks/{bulk.id}?after={stopped[LISTED - 1].id}"
            if len(stopped) > LISTED
            else None,
            statuses=STATUSES,
            acts_at=f"/crm/{'reassignments' if is_giving else 'bulks'}/{bulk.id}",
            may_act=request.actor.may(needed),
        )

    async def download(self, request: Request) -> Response:
        bulk = await self._bulks.get(request.path_params["bulk_id"])
        books = await self._records.books()
        header = ["Kind", "Record", "Name", "Outcome", "Changed", "Why not"]
        return CsvResponse(
            f"bulk-edit-{bulk.id}.csv",
            header,
            self._bulks.stream(bulk.id),
            lambda edit: [
                edit.kind,
                edit.record_id,
                edit.name,
                STATUSES[edit.status],
                "; ".join(
                    _line(books, edit.kind, name, before, after)
                    for name, (before, after) in edit.written.items()
                ),
                why(books, edit) if edit.status in _STOPPED else edit.problem,
            ],
        )

    async def cancel(self, request: Request) -> Response:
        return await self._cancel(request, is_giving=False)

    async def undo(self, request: Request) -> Response:
        return await self._undo(request, is_giving=False)

    async def cancel_giving(self, request: Request) -> Response:
        return await self._cancel(request, is_giving=True)

    async def undo_giving(self, request: Request) -> Response:
        return await self._undo(request, is_giving=True)

    async def answer_bulks(self, request: Request, asked: ListBulks) -> BulksAnswer:
        """List acts on many records, the newest first."""
        bulks = await self._bulks.list_latest(before=asked.before, limit=LISTED + 1)
        return BulksAnswer(bulks=bulks[:LISTED], before=bulks[LISTED - 1].id if len(bulks) > LISTED else None)

    async def answer_bulk(self, request: Request) -> BulkAnswer:
        """Show an act on many records: how far it is, and what was stopped."""
        bulk = await self._bulks.get(request.path_params["bulk_id"])
        return BulkAnswer(
            bulk=bulk, stopped=await self._bulks.edits(bulk.id, statuses=_STOPPED, limit=LISTED)
        )

    async def _cancel(self, request: Request, *, is_giving: bool) -> Response:
        bulk = await self._own(request, is_giving=is_giving)
        await self._bulks.cancel(bulk.id, by=request.actor, origin=request.origin)
        return RedirectResponse(f"/crm/bulks/{bulk.id}", status_code=303)

    async def _undo(self, request: Request, *, is_giving: bool) -> Response:
        bulk = await self._own(request, is_giving=is_giving)
        undo_id = await self._bulks.undo(bulk.id, by=request.actor, origin=request.origin)
        return RedirectResponse(f"/crm/bulks/{undo_id}", status_code=303)

    async def _own(self, request: Request, *, is_giving: bool) -> Bulk:
        """The act, if it is of the sort that this address may touch."""
        bulk = await self._bulks.get(request.path_params["bulk_id"])
        if await self._is_giving(bulk) != is_giving:
            raise NotAllowed("Another permission is needed for this: go by the buttons of its own page.")
        return bulk

    async def _is_giving(self, bulk: Bulk) -> bool:
        while bulk.of_bulk is not None:
            bulk = await self._bulks.get(bulk.of_bulk)
        return bulk.what == "reassign"

    async def _ids(self, request: Request, asked: _ManyForm) -> Sequence[str]:
        """Raises Invalid for a filter that cannot be, and where more match than can be changed at once."""
        if asked.ids:
            return list(dict.fromkeys(asked.ids))
        wanted = filter_of(views.read(asked.kind, asked.query))
        ids = await self._lists.ids(asked.kind, wanted, me=request.actor.email, limit=MOST + 1)
        if len(ids) > MOST:
            raise Invalid(f"More than {MOST:,} {asked.kind} match; filter the list until fewer do.")
        return ids


def check_seen(plan: Plan, seen: str) -> None:
    """Raises Conflict where something else would change than was shown."""
    if plan.to_do and seen != plan.digest:
        raise Conflict("What would change is not what you were shown any more: look again.")


def words_of(books: Books, kind: Kind, fields: Mapping[str, str]) -> str:
    """An act as people read it."""
    said = [
        f"{field.label} → {books.words(kind, name, value) or 'nothing'}"
        for name, value in fields.items()
        if (field := field_of(kind, name))
    ]
    return f"{kind.capitalize()}: {', '.join(said)}"


def sample_of(books: Books, plan: Plan) -> list[tuple[Any, list[str]]]:
    return [
        (
            change,
            [
                _line(books, change.kind, name, change.before.get(name, ""), value)
                for name, value in change.fields.items()
            ],
        )
        for change in plan.to_do[:SAMPLE]
    ]


def why(books: Books, edit: BulkEdit) -> str:
    """What stopped an edit, in words."""
    labels = {field.name: field.label for field in FIELDS[edit.kind]}
    if edit.status is Status.CONFLICT:
        return "; ".join(
            f"{labels.get(name, name)} became {books.words(edit.kind, name, theirs) or 'nothing'} meanwhile"
            for name, theirs in edit.theirs.items()
        )
    said = [
        f"{labels.get(name, name)} {books.told(edit.kind, problem)}"
        for name, problem in edit.problem_fields.items()
    ]
    words = "; ".join(said) or edit.problem
    is_told = not edit.correlation_id or edit.correlation_id in words
    return words if is_told else f"{words} (HubSpot's reference {edit.correlation_id})"


def _line(books: Books, kind: Kind, name: str, before: str, after: str) -> str:
    field = field_of(kind, name)
    was, becomes = (books.words(kind, name, value) or "nothing" for value in (before, after))
    return f"{field.label if field else name}: {was} → {becomes}"

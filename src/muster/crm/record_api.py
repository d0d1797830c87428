"""Records for programs, under `/api/v1/crm`: read, edited and created as their pages do it."""

from datetime import datetime
from typing import Any, cast

import msgspec
from starlette.responses import Response

from muster.access.roles import Permission
from muster.crm.edit_rows import Edit, Status
from muster.crm.edit_values import InvalidFields
from muster.crm.edit_web import BODY_BYTES
from muster.crm.edits import Edits
from muster.crm.fields import Kind
from muster.crm.outbox import Outbox
from muster.crm.record_page import RecordDetail, Records
from muster.platform.routes import API, Handler, Problem, Request, Route


class EditRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`fields` are HubSpot's properties with what they are to be ("" clears), `before` what they were for
    whoever decided that. Of a field without it, what Muster has counts.
    """

    fields: dict[str, str]
    before: dict[str, str] = {}


class TieTo(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    id: str


class CreateRecord(msgspec.Struct, frozen=True, kw_only=True):
    """`creation_key` is the caller's own, new for each record: sent again, it creates nothing more."""

    fields: dict[str, str]
    creation_key: str
    ties: list[TieTo] = []


class EditAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An edit, and how it stands; "unknown" is sent, and HubSpot has not said whether it took it.

    `written` is property → [before, after] of what was done, `theirs` what HubSpot had instead of `before`,
    `correlation_id` HubSpot's own of its last failure.
    """

    id: int
    status: Status
    fields: dict[str, str]
    before: dict[str, str]
    theirs: dict[str, str]
    written: dict[str, tuple[str, str]]
    problem: str
    problem_fields: dict[str, str]
    correlation_id: str
    asked_at: datetime
    ended_at: datetime | None
    by: str


class TiedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    kind: Kind
    id: str
    name: str


class RecordAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A record as HubSpot is known to have it. `edits` are those that wait or were stopped; `edit` the one
    just made. `ties` are the first fifty of each kind. Until it is created a new record has no `id`. Whoever
    may change customers and not see them is told only how the edit went.
    """

    kind: Kind
    id: str | None
    name: str
    fields: dict[str, str]
    created_at: datetime | None
    modified_at: datetime | None
    seen_at: datetime | None
    archived_at: datetime | None
    merged_into: str | None
    ties: list[TiedAnswer] = []
    edits: list[EditAnswer] = []
    edit: EditAnswer | None = None


class EditProblem(Problem, frozen=True, kw_only=True):
    """`fields` are properties with what is wrong with each; of a conflict there are all three sides. Of a
    creation that may have been made, the `hs_object_id` of `theirs` is the record of its name.
    """

    edit_id: int | None = None
    correlation_id: str = ""
    fields: dict[str, str] = msgspec.field(default_factory=dict)
    theirs: dict[str, str] = msgspec.field(default_factory=dict)
    mine: dict[str, str] = msgspec.field(default_factory=dict)
    before: dict[str, str] = msgspec.field(default_factory=dict)


class RecordApi:
    def __init__(self, records: Records, edits: Edits, outbox: Outbox) -> None:
        self._records = records
        self._edits = edits
        self._outbox = outbox

    def routes(self) -> list[Route]:
        return [route for kind in Kind for route in self._routes_of(kind)]

    def _routes_of(self, kind: Kind) -> list[Route]:
        all_of, change = f"{API}/crm/{kind}", Permission.EDIT_CUSTOMERS
        one = f"{all_of}/{{record_id}}"

        def of(handler: Any) -> Handler:
            async def handled(request: Request, *read: Any) -> Response | RecordAnswer:
                return cast("Response | RecordAnswer", await handler(request, kind, *read))

            handled.__doc__ = str(handler.__doc__).replace(" a record", f" a {kind.one}")
            handled.__name__ = f"{handler.__name__}_{kind.one}"
            return handled

        return [
            Route(
                path=all_of,
                method="POST",
                handler=of(self.create),
                may=change,
                reads=CreateRecord,
                returns=RecordAnswer,
                max_body_bytes=BODY_BYTES,
            ),
            Route(path=one, handler=of(self.show), may=Permission.SEE_CUSTOMERS, returns=RecordAnswer),
            Route(
                path=one,
                method="PATCH",
                handler=of(self.edit),
                may=change,
                reads=EditRecord,
                returns=RecordAnswer,
                max_body_bytes=BODY_BYTES,
            ),
        ]

    async def show(self, request: Request, kind: Kind) -> RecordAnswer:
        """Show a record with what it belongs to and the edits that wait."""
        record = await self._records.get(kind, request.path_params["record_id"])
        return await self._answer(record)

    async def edit(self, request: Request, kind: Kind, asked: EditRecord) -> Response:
        """Write a record's fields to HubSpot: 200 once done, 202 while it waits, 409 or 422 if it cannot."""
        record_id = request.path_params["record_id"]
        try:
            edit = await self._edits.edit(
                kind, record_id, asked.fields, asked.before, by=request.actor, origin=request.origin
            )
        except InvalidFields as problem:
            return _refusal(request, problem.fields)
        if edit and (stopped := _stopped(request, edit)):
            return stopped
        return await self._done(request, kind, record_id, edit, status=200)

    async def create(self, request: Request, kind: Kind, asked: CreateRecord) -> Response:
        """Create a record in HubSpot: 201 once it is there, 202 while that waits, 422 if it cannot be."""
        try:
            edit = await self._edits.create(
                kind,
                asked.fields,
                [(tie.kind, tie.id) for tie in asked.ties],
                creation_key=asked.creation_key,
                by=request.actor,
                origin=request.origin,
            )
        except InvalidFields as problem:
            return _refusal(request, problem.fields)
        if stopped := _stopped(request, edit):
            return stopped
        return await self._done(request, edit.kind, edit.record_id, edit, status=201)

    async def _done(
        self, request: Request, kind: Kind, record_id: str | None, edit: Edit | None, *, status: int
    ) -> Response:
        if edit and edit.status.is_open:
            await self._outbox.nudge(request_id=request.origin.request_id)
            status = 202
        if not request.actor.may(Permission.SEE_CUSTOMERS):
            answer = _not_shown(kind, record_id, _unseen(edit) if edit else None)
        elif record_id:
            answer = await self._answer(await self._records.get(kind, record_id), edit)
        else:
            answer = _not_shown(kind, None, edit)
        return Response(msgspec.json.encode(answer), status_code=status, media_type="application/json")

    async def _answer(self, record: RecordDetail, edit: Edit | None = None) -> RecordAnswer:
        return RecordAnswer(
            kind=record.kind,
            id=record.id,
            name=record.name,
            fields=record.fields,
            created_at=record.created_at,
            modified_at=record.modified_at,
            seen_at=record.seen_at,
            archived_at=record.archived_at,
            merged_into=record.merged_into,
            ties=[
                TiedAnswer(kind=tied.kind, id=tied.id, name=tied.name)
                for ties in await self._records.ties(record)
                for tied in ties.records
            ],
            edits=[_told(one) for one in await self._records.edits(record)],
            edit=_told(edit) if edit else None,
        )


def _unseen(edit: Edit) -> Edit:
    """What may be told of an edit to whoever may not see customers."""
    return msgspec.structs.replace(edit, fields={}, before={}, theirs={}, written={})


def _not_shown(kind: Kind, record_id: str | None, edit: Edit | None) -> RecordAnswer:
    return RecordAnswer(
        kind=kind,
        id=record_id,
        name="",
        fields={},
        created_at=None,
        modified_at=None,
        seen_at=None,
        archived_at=None,
        merged_into=None,
        edit=_told(edit) if edit else None,
    )


def _told(edit: Edit) -> EditAnswer:
    return EditAnswer(
        id=edit.id,
        status=edit.status,
        fields=edit.fields,
        before=edit.before,
        theirs=edit.theirs,
        written=edit.written,
        problem=edit.problem,
        problem_fields=edit.problem_fields,
        correlation_id=edit.correlation_id,
        asked_at=edit.asked_at,
        ended_at=edit.ended_at,
        by=edit.by_email,
    )


def _stopped(request: Request, edit: Edit) -> Response | None:
    if not request.actor.may(Permission.SEE_CUSTOMERS):
        edit = _unseen(edit)
    if edit.status is Status.CONFLICT:
        return _problem(
            request,
            409,
            "conflict",
            "Somebody else has changed what this changes: nothing was written.",
            edit_id=edit.id,
            theirs=edit.theirs,
            mine={name: edit.fields[name] for name in edit.theirs},
            before={name: edit.before.get(name, "") for name in edit.theirs},
        )
    if edit.status is Status.REFUSED:
        return _refusal(
            request,
            edit.problem_fields,
            words=edit.problem,
            edit_id=edit.id,
            theirs=edit.theirs,
            correlation_id=edit.correlation_id,
        )
    return None


def _refusal(request: Request, fields: dict[str, str], *, words: str = "", **more: Any) -> Response:
    wrong = "; ".join(f"{name} {problem}" for name, problem in fields.items())
    detail = " ".join(part for part in (words, wrong) if part)
    return _problem(request, 422, "invalid", detail, fields=fields, **more)


def _problem(request: Request, status: int, code: str, detail: str, **more: Any) -> Response:
    titles = {409: "Somebody was faster", 422: "That could not be understood"}
    problem = EditProblem(
        title=titles[status],
        status=status,
        detail=detail,
        code=code,
        request_id=request.origin.request_id,
        **more,
    )
    return Response(msgspec.json.encode(problem), status_code=status, media_type="application/problem+json")

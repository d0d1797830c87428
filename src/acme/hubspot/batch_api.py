"""/crm/objects/2026-09/{kind}/batch: a hundred records at a time."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.hubspot.errors import HubSpotError, invalid
from acme.hubspot.gate import Gate
from acme.hubspot.inputs import (
    BatchRead,
    BatchUpdate,
    Creation,
    ObjectId,
    check_batch,
    is_archived,
    kind_of,
    read,
    read_batch,
)
from acme.hubspot.kinds import Kind
from acme.hubspot.moments import iso
from acme.hubspot.object_api import OBJECTS, ties_of
from acme.hubspot.pages import send
from acme.hubspot.portal import API, Portal
from acme.hubspot.records import Record
from acme.hubspot.rendering import Rendering, Shown, Wanted

_MULTI_STATUS = 207


class Step(NamedTuple):
    """One of a batch's inputs."""

    trace_id: str | None
    check: Callable[[], object]
    do: Callable[[], Shown]


class BatchApi:
    """What cannot be found, or failed with a trace id of its own, is told in `errors` beside the rest."""

    def __init__(self, portal: Portal, gate: Gate) -> None:
        self._portal = portal
        self._gate = gate
        self._rendering = Rendering(portal)

    def routes(self) -> list[Route]:
        table = (
            ("read", self._read),
            ("create", self._create),
            ("update", self._update),
            ("archive", self._archive),
        )
        return [
            Route(f"{OBJECTS}/batch/{verb}", self._gate.before(handler), methods=["POST"])
            for verb, handler in table
        ]

    async def _read(self, request: Request) -> Response:
        kind = kind_of(request)
        self._gate.require(f"crm.objects.{kind.name}.read")
        wanted = await read(request, BatchRead)
        check_batch(len(wanted.inputs))
        shown = Wanted(wanted.properties, wanted.properties_with_history)
        began, archived = self._portal.now(), is_archived(request)
        found: dict[int, Record] = {}
        missing: list[str] = []
        for each in wanted.inputs:
            record = self._portal.find(kind, each.text, wanted.id_property)
            if record is None or (record.archived_at is not None) != archived:
                missing.append(each.text)
            else:
                found[record.number] = record
        results = [self._rendering.shown(kind, record, shown) for record in found.values()]
        errors = [_missing(kind, missing).in_batch()] if missing else []
        return self._answer(request, began, results, errors)

    async def _create(self, request: Request) -> Response:
        kind = self._writable(request)
        inputs = await read_batch(request, Creation)

        def create(wanted: Creation) -> Shown:
            ties = ties_of(self._portal, kind, wanted.associations)
            record = self._portal.create(kind, wanted.properties, API, ties)
            return self._rendering.whole(kind, record) | _traced(wanted.object_write_trace_id)

        steps = [
            Step(
                one.object_write_trace_id,
                partial(self._portal.judge, kind, one.properties, None),
                partial(create, one),
            )
            for one in inputs
        ]
        return self._each(request, steps, 201)

    async def _update(self, request: Request) -> Response:
        kind = self._writable(request)
        inputs = await read_batch(request, BatchUpdate)
        ids = [str(one.id) for one in inputs]
        if twice := sorted({each for each in ids if ids.count(each) > 1}):
            raise invalid(f"Duplicate IDs found in batch input: [{', '.join(twice)}]. IDs must be unique")

        def update(wanted: BatchUpdate, record: Record) -> Shown:
            record = self._portal.change(kind, record, wanted.properties, API)
            shown = self._rendering.written(kind, record, wanted.properties)
            return shown | _traced(wanted.object_write_trace_id)

        steps: list[Step] = []
        missing: list[str] = []
        for one in inputs:
            record = self._portal.find(kind, str(one.id), one.id_property)
            if record is None or record.archived_at is not None:
                missing.append(str(one.id))
                continue
            check = partial(self._portal.judge, kind, one.properties, record)
            steps.append(Step(one.object_write_trace_id, check, partial(update, one, record)))
        errors = [_missing(kind, missing).in_batch()] if missing else []
        return self._each(request, steps, 200, errors)

    async def _archive(self, request: Request) -> Response:
        """Those that are not there are passed over."""
        kind = self._writable(request)
        for each in await read_batch(request, ObjectId):
            if (record := self._portal.find(kind, each.text)) is not None:
                self._portal.archive(kind, record, API)
        return Response(status_code=204)

    def _each(
        self, request: Request, steps: list[Step], status: int, errors: list[Shown] | None = None
    ) -> Response:
        """Without a trace id, one that is refused ends the batch before anything is written."""
        began = self._portal.now()
        errors = list(errors or ())
        results: list[Shown] = []
        for step in steps:
            if step.trace_id is None:
                step.check()
        for step in steps:
            try:
                results.append(step.do())
            except HubSpotError as error:
                if step.trace_id is None:
                    raise
                context = {**error.context, "objectWriteTraceId": [step.trace_id]}
                errors.append(error.in_batch() | {"context": context})
        return self._answer(request, began, results, errors, status)

    def _answer(
        self, request: Request, began: int, results: list[Shown], errors: list[Shown], status: int = 200
    ) -> Response:
        return send(
            request, told(began, self._portal.now(), results, errors), _MULTI_STATUS if errors else status
        )

    def _writable(self, request: Request) -> Kind:
        kind = kind_of(request)
        self._gate.require(f"crm.objects.{kind.name}.write")
        return kind


def told(began: int, ended: int, results: list[Shown], errors: list[Shown]) -> Shown:
    """How every batch answers."""
    answer: Shown = {
        "status": "COMPLETE",
        "results": results,
        "startedAt": iso(began),
        "completedAt": iso(ended),
    }
    return answer | ({"numErrors": len(errors), "errors": errors} if errors else {})


def _missing(kind: Kind, ids: list[str]) -> HubSpotError:
    message = (
        f"Could not get some {kind.name} objects, they may be deleted or not exist. Check that ids are valid."
    )
    return HubSpotError(404, "OBJECT_NOT_FOUND", message, context={"ids": ids})


def _traced(trace_id: str | None) -> Shown:
    return {} if trace_id is None else {"objectWriteTraceId": trace_id}

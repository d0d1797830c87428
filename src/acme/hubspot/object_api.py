"""/crm/objects/2026-09/{kind}: one record at a time, lists, search, merge."""

from itertools import islice

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.hubspot.errors import invalid, not_found
from acme.hubspot.gate import Gate
from acme.hubspot.inputs import (
    Creation,
    GdprDelete,
    Merge,
    Update,
    WithAssociation,
    cursor_of,
    is_archived,
    kind_of,
    limit_of,
    read,
    wanted_of,
)
from acme.hubspot.kinds import CONTACTS, KINDS, Kind
from acme.hubspot.links import End, is_primary_type
from acme.hubspot.pages import Page, Pages, send, send_zipped, zip_up
from acme.hubspot.portal import API, Portal, Tie
from acme.hubspot.records import Record
from acme.hubspot.rendering import Rendering, Shown, Wanted
from acme.hubspot.search import Search
from acme.hubspot.search_index import SearchIndex
from acme.hubspot.search_request import parse

VERSION = "2026-09"
OBJECTS = f"/crm/objects/{VERSION}/{{kind}}"
_MOST_LISTED, _MOST_LISTED_WITH_HISTORY = 100, 50


class ObjectApi:
    def __init__(self, portal: Portal, index: SearchIndex, gate: Gate, pages: Pages, address: str) -> None:
        self._portal = portal
        self._index = index
        self._search = Search(index)
        self._gate = gate
        self._pages = pages
        self._address = address
        self._rendering = Rendering(portal)

    def routes(self) -> list[Route]:
        one = f"{OBJECTS}/{{key}}"
        table = (
            (OBJECTS, self._list, "GET"),
            (OBJECTS, self._create, "POST"),
            (one, self._get, "GET"),
            (one, self._update, "PATCH"),
            (one, self._archive, "DELETE"),
            (f"{OBJECTS}/merge", self._merge, "POST"),
            (f"{OBJECTS}/gdpr-delete", self._purge, "POST"),
        )
        search = self._gate.before(self._answer_search, is_search=True)
        return [
            Route(f"{OBJECTS}/search", search, methods=["POST"]),
            *(Route(path, self._gate.before(handler), methods=[method]) for path, handler, method in table),
        ]

    # Reading

    async def _list(self, request: Request) -> Response:
        kind = self._readable(request)
        wanted = wanted_of(request)
        most = _MOST_LISTED_WITH_HISTORY if wanted.history else _MOST_LISTED
        limit, cursor = limit_of(request, 10, most), cursor_of(request)
        first = kind.number_after(cursor)
        records = self._portal.records[kind]
        if is_archived(request):
            found: list[Record | int] = list(islice(records.archived_from(first), limit + 1))
            return send(request, self._page(kind, found, limit, wanted, is_archived=True))
        # What a record is tied to changes when others do.
        key = kind, first, limit, wanted, self._portal.tied if wanted.associations else None
        if (zipped := self._pages.find(key, records.is_untouched)) is not None:
            return send_zipped(request, zipped)
        found = list(islice(records.live_from(first), limit + 1))
        body = msgspec.json.encode(self._page(kind, found, limit, wanted))
        zipped = zip_up(body)
        after = _number(found[limit]) if len(found) > limit else records.end
        self._pages.keep(key, Page(zipped, range(first, after), records.revision))
        return send_zipped(request, zipped)

    def _page(
        self, kind: Kind, found: list[Record | int], limit: int, wanted: Wanted, *, is_archived: bool = False
    ) -> Shown:
        glimpse, names = self._portal.records[kind].glimpse, wanted.names(kind)
        records = (glimpse(each, names) if isinstance(each, int) else each for each in found[:limit])
        page: Shown = {"results": [self._rendering.shown(kind, record, wanted) for record in records]}
        if len(found) > limit:
            after = kind.id_of(_number(found[limit]))
            query = f"limit={limit}&after={after}" + ("&archived=true" if is_archived else "")
            link = f"{self._address}/crm/objects/{VERSION}/{kind.name}?{query}"
            page["paging"] = {"next": {"after": after, "link": link}}
        return page

    async def _get(self, request: Request) -> Response:
        kind = self._readable(request)
        record = self._record(request, kind, archived=is_archived(request))
        shown = self._rendering.shown(kind, record, self._without_old_links(request, kind, record))
        return send(request, shown)

    def _without_old_links(self, request: Request, kind: Kind, record: Record) -> Wanted:
        """Asked for by an id from before a merge, a record has no associations."""
        wanted = wanted_of(request)
        is_old = request.query_params.get("idProperty") is None and (
            request.path_params["key"] != kind.id_of(record.number)
        )
        return msgspec.structs.replace(wanted, associations=()) if is_old else wanted

    async def _answer_search(self, request: Request) -> Response:
        kind = self._readable(request)
        wanted = parse(kind, await request.body())
        numbers = await self._search.numbers(kind, wanted)
        shown = Wanted(wanted.properties)
        end = wanted.offset + wanted.limit
        page: Shown = {
            "total": len(numbers),
            "results": [
                self._rendering.shown(kind, self._index.record(kind, number), shown)
                for number in numbers[wanted.offset : end]
            ],
        }
        if end < len(numbers):
            page["paging"] = {"next": {"after": str(end)}}
        return send(request, page)

    # Writing

    async def _create(self, request: Request) -> Response:
        kind = self._writable(request)
        wanted = await read(request, Creation)
        ties = ties_of(self._portal, kind, wanted.associations)
        record = self._portal.create(kind, wanted.properties, API, ties)
        return send(request, self._rendering.whole(kind, record), 201)

    async def _update(self, request: Request) -> Response:
        kind = self._writable(request)
        properties = (await read(request, Update)).properties
        record = self._portal.change(kind, self._record(request, kind), properties, API)
        return send(request, self._rendering.written(kind, record, properties))

    async def _archive(self, request: Request) -> Response:
        kind, key = self._writable(request), request.path_params["key"]
        record = self._portal.find(kind, key)
        if record is None:
            raise not_found(kind.name, key)
        self._portal.archive(kind, record, API)
        return Response(status_code=204)

    async def _merge(self, request: Request) -> Response:
        kind = self._writable(request)
        wanted = await read(request, Merge)
        primary = self._portal.get(kind, str(wanted.primary_object_id))
        other = self._portal.get(kind, str(wanted.object_id_to_merge))
        merged = self._portal.merge(kind, primary, other, API)
        return send(request, self._rendering.shown(kind, merged, Wanted()))

    async def _purge(self, request: Request) -> Response:
        kind = self._writable(request)
        if kind is not CONTACTS:
            raise invalid("Only contacts can be deleted for privacy")
        wanted = await read(request, GdprDelete)
        record = self._portal.find(kind, str(wanted.object_id), wanted.id_property)
        if record is not None:
            self._portal.purge(record, API)
        elif wanted.id_property is None:
            raise not_found(kind.name, str(wanted.object_id))
        return Response(status_code=204)

    def _record(self, request: Request, kind: Kind, *, archived: bool = False) -> Record:
        key = request.path_params["key"]
        return self._portal.get(kind, key, request.query_params.get("idProperty"), archived=archived)

    def _readable(self, request: Request) -> Kind:
        kind = kind_of(request)
        self._gate.require(f"crm.objects.{kind.name}.read")
        return kind

    def _writable(self, request: Request) -> Kind:
        kind = kind_of(request)
        self._gate.require(f"crm.objects.{kind.name}.write")
        return kind


def ties_of(portal: Portal, kind: Kind, wanted: tuple[WithAssociation, ...]) -> list[Tie]:
    """Raises HubSpotError 400 or 404. The type says what kind of record is meant."""
    ties: list[Tie] = []
    for each in wanted:
        for spec in each.types:
            other, is_primary = _meant(kind, spec.association_type_id)
            target = portal.get(other, each.to.text)
            ties.append(Tie(End(other, target.number), is_primary=is_primary))
    return ties


def _meant(kind: Kind, type_id: int) -> tuple[Kind, bool]:
    for other in KINDS:
        if (is_primary := is_primary_type(kind, other, type_id)) is not None:
            return other, is_primary
    raise invalid(f"One or more association types are not valid: {type_id} for {kind.name}")


def _number(found: Record | int) -> int:
    return found if isinstance(found, int) else found.number

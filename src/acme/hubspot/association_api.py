"""/crm/associations/2026-09: which records belong together, many at a time."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.hubspot.batch_api import told
from acme.hubspot.errors import HubSpotError, invalid
from acme.hubspot.gate import Gate
from acme.hubspot.inputs import ObjectId, Spec, kind_of, read_batch
from acme.hubspot.kinds import Kind
from acme.hubspot.links import HUBSPOT_DEFINED, PRIMARY, End, Link, is_primary_type, labels
from acme.hubspot.object_api import VERSION
from acme.hubspot.pages import send
from acme.hubspot.portal import API, Portal
from acme.hubspot.rendering import Shown

_ROOT = f"/crm/associations/{VERSION}/{{kind}}/{{to_kind}}/batch"
_MOST_READ, _MOST_WRITTEN = 1_000, 2_000
_MOST_A_RECORD = 500  # then the next page of this one record
_MULTI_STATUS = 207


class Asked(msgspec.Struct, frozen=True):
    id: str | int
    after: str | None = None

    @property
    def offset(self) -> int:
        """Raises HubSpotError 400."""
        if not (self.after or "0").isdecimal():
            raise invalid(f"{self.after} is not a valid cursor")
        return int(self.after or 0)


class Pair(msgspec.Struct, frozen=True, rename={"source": "from"}):
    source: ObjectId
    to: ObjectId
    types: tuple[Spec, ...] = ()


class Parting(msgspec.Struct, frozen=True, rename={"source": "from"}):
    source: ObjectId
    to: tuple[ObjectId, ...]


class AssociationApi:
    def __init__(self, portal: Portal, gate: Gate) -> None:
        self._portal = portal
        self._gate = gate

    def routes(self) -> list[Route]:
        table = (("read", self._read), ("create", self._create), ("archive", self._archive))
        return [
            Route(f"{_ROOT}/{verb}", self._gate.before(handler), methods=["POST"]) for verb, handler in table
        ]

    async def _read(self, request: Request) -> Response:
        kind, other = self._kinds(request, "read")
        began = self._portal.now()
        results: list[Shown] = []
        lonely: list[str] = []
        for asked in await read_batch(request, Asked, _MOST_READ):
            record_id = str(asked.id)
            links = self._links(kind, record_id, other)
            if links:
                results.append(_page(kind, other, record_id, links, asked.offset))
            else:
                lonely.append(record_id)
        errors = [_none_found(kind, other, record_id) for record_id in lonely]
        answer = told(began, self._portal.now(), results, errors)
        return send(request, answer, _MULTI_STATUS if errors else 200)

    async def _create(self, request: Request) -> Response:
        kind, other = self._kinds(request, "write")
        began = self._portal.now()
        pairs = await read_batch(request, Pair, _MOST_WRITTEN)
        for pair in pairs:
            for spec in pair.types:
                if is_primary_type(kind, other, spec.association_type_id) is None:
                    raise invalid(f"Association type {spec.association_type_id} is not valid here")
        results = [self._tie(kind, other, pair) for pair in pairs]
        return send(request, told(began, self._portal.now(), results, []))

    async def _archive(self, request: Request) -> Response:
        kind, other = self._kinds(request, "write")
        began = self._portal.now()
        for parting in await read_batch(request, Parting, _MOST_READ):
            near = self._portal.get(kind, parting.source.text)
            for each in parting.to:
                far = self._portal.find(other, each.text)
                if far is not None:
                    self._portal.untie(End(kind, near.number), End(other, far.number), API)
        return send(request, told(began, self._portal.now(), [], []))

    def _tie(self, kind: Kind, other: Kind, pair: Pair) -> Shown:
        near, far = self._portal.get(kind, pair.source.text), self._portal.get(other, pair.to.text)
        is_primary = any(is_primary_type(kind, other, spec.association_type_id) for spec in pair.types)
        one, two = End(kind, near.number), End(other, far.number)
        self._portal.tie(one, two, API, is_primary=is_primary)
        return {
            "fromObjectTypeId": kind.type_id,
            "fromObjectId": kind.id_of(near.number),
            "toObjectTypeId": other.type_id,
            "toObjectId": other.id_of(far.number),
            "labels": [PRIMARY] if is_primary else [],
        }

    def _links(self, kind: Kind, record_id: str, other: Kind) -> list[Link]:
        """None by an id from before a merge, and none of what is archived."""
        record = self._portal.find(kind, record_id)
        if record is None or not record.is_live or kind.id_of(record.number) != record_id:
            return []
        return self._portal.linked(End(kind, record.number), other)

    def _kinds(self, request: Request, way: str) -> tuple[Kind, Kind]:
        kind, other = kind_of(request), kind_of(request, "to_kind")
        self._gate.require(*(f"crm.objects.{each.name}.{way}" for each in {kind, other}))
        return kind, other


def _page(kind: Kind, other: Kind, record_id: str, links: list[Link], offset: int) -> Shown:
    page: Shown = {
        "from": {"id": record_id},
        "to": [
            {
                "toObjectId": other.id_of(link.to),
                "associationTypes": [
                    {"category": HUBSPOT_DEFINED, "typeId": label.type_id, "label": label.label}
                    for label in labels(kind, other, is_primary=link.is_primary)
                ],
            }
            for link in links[offset : offset + _MOST_A_RECORD]
        ],
    }
    if offset + _MOST_A_RECORD < len(links):
        page["paging"] = {"next": {"after": str(offset + _MOST_A_RECORD)}}
    return page


def _none_found(kind: Kind, other: Kind, record_id: str) -> Shown:
    return HubSpotError(
        404,
        "OBJECT_NOT_FOUND",
        f"No {other.singular} is associated with {kind.singular} {record_id}.",
        context={"fromObjectId": [record_id], "fromObjectType": [kind.name], "toObjectType": [other.name]},
        sub_category="crm.associations.NO_ASSOCIATIONS_FOUND",
    ).in_batch()

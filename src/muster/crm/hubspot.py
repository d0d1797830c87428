"""HubSpot's CRM: records of three kinds, what ties them, and who and what they refer to.

https://developers.hubspot.com/docs/api-reference/crm-objects-v3/guide
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec

from muster.crm.fields import Kind, properties_of
from muster.crm.hubspot_api import HubSpotApi
from muster.crm.hubspot_errors import HubSpotDown, HubSpotRefused
from muster.crm.hubspot_wire import (
    AssociationBatch,
    FoundRecords,
    Owners,
    Pipelines,
    Properties,
    RecordBatch,
    Records,
    WireAccount,
    WireRecord,
)
from muster.crm.record import Owner, Property, Record, Stage
from muster.platform.tally import Tally

VERSION = "2026-09"

LISTED = 100
FOUND = 200
FOUND_IN_ALL = 10_000
"""What one search shows at most, over all its pages."""

_OBJECTS = f"/crm/objects/{VERSION}"
_OWNERS = f"/crm/owners/{VERSION}"
_BATCH = 100
_TIES_BATCH = 1_000
_OWNERS_PAGE = 100
_ASKED_SINGLY = 10
"""Of so many a batch may say nothing at all before it is taken for broken."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TIE_TYPES = {
    (Kind.DEALS, Kind.CONTACTS): 3,
    (Kind.CONTACTS, Kind.DEALS): 4,
    (Kind.DEALS, Kind.COMPANIES): 341,
    (Kind.COMPANIES, Kind.DEALS): 342,
    (Kind.CONTACTS, Kind.COMPANIES): 279,
    (Kind.COMPANIES, Kind.CONTACTS): 280,
}
_PRIMARY_TYPES = {(Kind.DEALS, Kind.COMPANIES): 5, (Kind.CONTACTS, Kind.COMPANIES): 1}
"""https://developers.hubspot.com/docs/api-reference/crm-associations-v4/guide#association-type-id-values"""

_OWNERS_SCOPE, _ACCOUNT_SCOPE = "crm.objects.owners.read", "oauth"
SCOPES = (
    *(f"crm.objects.{kind}.{way}" for kind in Kind for way in ("read", "write")),
    *(f"crm.schemas.{kind}.read" for kind in Kind),
    _OWNERS_SCOPE,
)
"""What the token has to be granted; `oauth` every token has."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Part of all records, and where the next one begins ("" on the last)."""

    records: list[Record]
    after: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The first of those that were searched for, and how many there are in all."""

    records: list[Record]
    total: int


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """`missing` are archived, deleted or were never there; `leads_to` tells the ids of records that were
    merged from those of what they became.
    """

    records: list[Record]
    missing: list[str]
    leads_to: dict[str, str]


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What HubSpot tells after a change: what was written and what follows from it, not the whole record.
    In `values` "" is a field that is empty now.
    """

    id: str
    values: dict[str, str]
    modified_at: datetime


class Account(msgspec.Struct, frozen=True, kw_only=True):
    portal_id: str
    time_zone: str
    currency: str


class HubSpot:
    """Raises what HubSpotApi raises."""

    def __init__(self, api: HubSpotApi) -> None:
        self._api = api

    def for_(self, feature: str) -> "HubSpot":
        """The same, with its calls put down to `feature`."""
        return HubSpot(self._api.for_(feature))

    def counted(self, tally: Tally) -> "HubSpot":
        """The same, with what it costs counted in `tally`."""
        return HubSpot(self._api.counted(tally))

    def impatient(self) -> "HubSpot":
        """The same, that tries nothing twice: for whoever wants to know how things stand now."""
        return HubSpot(self._api.impatient())

    # Reading

    async def page(self, kind: Kind, after: str = "", *, archived: bool = False, limit: int = LISTED) -> Page:
        """Of all records, or of the archived ones, by id."""
        query = {"limit": str(limit), "properties": ",".join(properties_of(kind)), **_archived(archived)}
        listed = await self._api.get(
            f"{_OBJECTS}/{kind}", Records, query | ({"after": after} if after else {})
        )
        if listed.after and listed.after == after:
            raise HubSpotDown("the next page is the same page again", reason="unreadable")
        return Page(records=[one.record(kind) for one in listed.results], after=listed.after)

    async def search(
        self, kind: Kind, *, since: datetime, until: datetime, above_id: str = "", limit: int = FOUND
    ) -> Found:
        """Those last changed from `since` to `until`, by id: the next page begins above the last one's.

        Pages by offset would end at 10,000, and one moment can hold more than that.
        """
        filters = [_filter(kind.modified, "GTE", _ms(since)), _filter(kind.modified, "LTE", _ms(until))]
        if above_id:
            filters.append(_filter("hs_object_id", "GT", above_id))
        body = {
            "filterGroups": [{"filters": filters}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": properties_of(kind),
            "limit": limit,
        }
        found = await self._api.ask(f"{_OBJECTS}/{kind}/search", body, FoundRecords, bucket="search")
        return Found(records=[one.record(kind) for one in found.results], total=found.total)

    async def read(self, kind: Kind, ids: Sequence[str]) -> Batch:
        """Those of these ids that are there, however many. Only whom HubSpot names as missing is."""
        asked = list(dict.fromkeys(ids))
        found: dict[str, Record] = {}
        without: set[str] = set()
        for some in _parts(asked, _BATCH):
            body = {"inputs": [{"id": one} for one in some], "properties": properties_of(kind)}
            batch = await self._api.ask(f"{_OBJECTS}/{kind}/batch/read", body, RecordBatch)
            _expect_all(batch.failure)
            found |= {record.id: record for record in (one.record(kind) for one in batch.results)}
            without |= batch.without
        former = {old: record.id for record in found.values() for old in record.merged_ids}
        leads_to = {one: former[one] for one in asked if one not in found and one in former}
        missing = [one for one in asked if one in without and one not in found and one not in leads_to]
        told = {*found, *leads_to, *missing}
        for one in _few([one for one in asked if one not in told]):
            record = await self.get(kind, one)
            if record is None:
                missing.append(one)
            else:
                found[record.id] = record
                leads_to |= {one: record.id} if record.id != one else {}
        return Batch(records=list(found.values()), missing=missing, leads_to=leads_to)

    async def get(self, kind: Kind, record_id: str, *, archived: bool = False) -> Record | None:
        """A record that is there, or with `archived` one that is not any more. An id from before a merge
        gives what it became.
        """
        query = {"properties": ",".join(properties_of(kind)), **_archived(archived)}
        try:
            found = await self._api.get(_address(kind, record_id), WireRecord, query)
        except HubSpotRefused as refusal:
            if refusal.is_not_found:
                return None
            raise
        return found.record(kind)

    async def associations(self, from_kind: Kind, to_kind: Kind, ids: Sequence[str]) -> dict[str, list[str]]:
        """Id → the ids it is tied to. Whoever has no ties is left out, and so is who is not there.

        HubSpot names those without ties among the errors; whether always is nowhere said. So it is asked
        again about whom it says nothing, and only twice nothing means none.
        """
        tied: dict[str, dict[str, None]] = {}
        path = f"/crm/associations/{VERSION}/{from_kind}/{to_kind}/batch/read"
        for some in _parts(list(dict.fromkeys(ids)), _TIES_BATCH):
            silent = await self._read_ties(path, some, tied)
            if silent:
                await self._read_ties(path, silent, tied)
        return {source: list(far) for source, far in tied.items() if far}

    async def _read_ties(self, path: str, ids: Sequence[str], tied: dict[str, dict[str, None]]) -> list[str]:
        """Into `tied`; those of whom HubSpot said nothing."""
        without: set[str] = set()
        inputs = [{"id": one} for one in ids]
        asked: set[tuple[str, str]] = set()
        while inputs:
            batch = await self._api.ask(path, {"inputs": inputs}, AssociationBatch)
            _expect_all(batch.failure)
            without |= batch.without
            inputs = []
            for one in batch.results:
                source = str(one.source.id)
                tied.setdefault(source, {}).update(dict.fromkeys(one.ids))
                if one.after and (source, one.after) not in asked:
                    asked.add((source, one.after))
                    inputs.append({"id": source, "after": one.after})
        return [one for one in ids if one not in tied and one not in without]

    async def owners(self) -> list[Owner]:
        """Those who are active, and those who were deactivated and may still own records."""
        found: dict[str, Owner] = {}
        for is_archived in (True, False):
            after, seen = "", set[str]()
            while True:
                query = {"limit": str(_OWNERS_PAGE), **_archived(is_archived)}
                page = await self._api.get(_OWNERS, Owners, query | ({"after": after} if after else {}))
                found |= {str(one.id): one.owner(is_archived=is_archived) for one in page.results}
                after = page.after
                if not after:
                    break
                if after in seen:
                    raise HubSpotDown("the list of owners goes round", reason="unreadable")
                seen.add(after)
        return list(found.values())

    async def pipelines(self) -> list[Stage]:
        """The stages of deals, in the order of pipelines and of stages in them."""
        return (await self._api.get(f"/crm/pipelines/{VERSION}/{Kind.DEALS}", Pipelines)).stages()

    async def properties(self, kind: Kind) -> list[Property]:
        listed = await self._api.get(f"/crm/properties/{VERSION}/{kind}", Properties)
        return [one.property() for one in listed.results]

    async def account(self) -> Account:
        told = await self._api.get(f"/account-info/{VERSION}/details", WireAccount)
        return Account(
            portal_id=str(told.portal_id),
            time_zone=told.time_zone or "",
            currency=told.company_currency or "",
        )

    async def try_scopes(self) -> list[str]:
        """Which of SCOPES the token lacks."""
        return [scope for scope in SCOPES if not await self.has_scope(scope)]

    async def has_scope(self, scope: str) -> bool:
        """Tries it with a call that changes nothing: a write of no records is refused as empty."""
        try:
            await self._try(scope)
        except HubSpotRefused as refusal:
            if refusal.category == "MISSING_SCOPES":
                return False
            if not (refusal.status == 400 and scope.endswith(".write")):
                raise
        return True

    async def _try(self, scope: str) -> None:
        if scope == _OWNERS_SCOPE:
            await self._api.get(_OWNERS, msgspec.Raw, {"limit": "1"})
            return
        _, area, name, way = scope.split(".")
        if area == "schemas":
            await self._api.get(f"/crm/properties/{VERSION}/{name}/hs_object_id", msgspec.Raw)
        elif way == "read":
            await self._api.get(f"{_OBJECTS}/{name}", msgspec.Raw, {"limit": "1"})
        else:
            await self._api.ask(f"{_OBJECTS}/{name}/batch/update", {"inputs": []}, msgspec.Raw)

    # Writing

    async def create(
        self, kind: Kind, values: dict[str, str], ties: Sequence[tuple[Kind, str]] = ()
    ) -> Record:
        """A new record, tied to others; what it answers may lack what HubSpot adds later. Raises
        OutcomeUnknown.
        """
        body = {"properties": values, "associations": list(_associations(kind, ties))}
        made = await self._api.write("POST", f"{_OBJECTS}/{kind}", body, WireRecord)
        return made.record(kind)

    async def update(self, kind: Kind, record_id: str, values: dict[str, str]) -> Written:
        """An empty value clears its field. Raises OutcomeUnknown."""
        body = {"properties": values}
        written = await self._api.write("PATCH", _address(kind, record_id), body, WireRecord)
        return Written(id=str(written.id), values=written.written(kind), modified_at=written.updated_at)

    async def archive(self, kind: Kind, record_id: str) -> None:
        """One that is not there is archived already."""
        try:
            await self._api.delete(_address(kind, record_id))
        except HubSpotRefused as refusal:
            if not refusal.is_not_found:
                raise


def _address(kind: Kind, record_id: str) -> str:
    return f"{_OBJECTS}/{kind}/{quote(record_id, safe='')}"


def _archived(archived: bool) -> dict[str, str]:  # noqa: FBT001  it is the parameter's value
    return {"archived": "true" if archived else "false"}


def _filter(name: str, operator: str, value: str) -> dict[str, str]:
    return {"propertyName": name, "operator": operator, "value": value}


def _ms(moment: datetime) -> str:
    return str((moment - _EPOCH) // timedelta(milliseconds=1))


def _parts(ids: list[str], most: int) -> Iterator[list[str]]:
    return (ids[start : start + most] for start in range(0, len(ids), most))


def _few(silent: list[str]) -> list[str]:
    """Raises VendorDown for more than are worth asking for one by one."""
    if len(silent) > _ASKED_SINGLY:
        raise HubSpotDown(f"said nothing of {len(silent)} records of a batch", reason="incomplete")
    return silent


def _expect_all(failure: str) -> None:
    """What HubSpot failed to read is not missing. Raises VendorDown."""
    if failure:
        raise HubSpotDown(f"did not answer for all of a batch: {failure}", reason="incomplete")


def _associations(kind: Kind, ties: Iterable[tuple[Kind, str]]) -> Iterator[dict[str, Any]]:
    """The first company is the primary one, by which HubSpot's own pages go."""
    has_primary = False
    for other, record_id in ties:
        type_id = _TIE_TYPES.get((kind, other))
        if type_id is None:
            raise ValueError(f"{kind} are not tied to {other}")
        if not has_primary and (kind, other) in _PRIMARY_TYPES:
            type_id, has_primary = _PRIMARY_TYPES[kind, other], True
        yield {
            "to": {"id": record_id},
            "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id}],
        }

"""Customers for programs, under `/api/v1`: lists with their filters, pipelines, and a search of all kinds."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from muster.access.roles import Permission
from muster.crm.catalogue import Catalogue, Catalogues
from muster.crm.fields import Kind
from muster.crm.lists import Found, Hit, ListRecords, Lists, RecordRow, Sum, filter_of, list_query
from muster.crm.owners import OwnerCard, Owners, Standing
from muster.platform.paging import href
from muster.platform.routes import API, Request, Route

HITS = 4


class OwnerBrief(msgspec.Struct, frozen=True, kw_only=True):
    """`person_id` is empty where nobody in the directory has the owner's address."""

    id: str
    name: str
    email: str
    standing: Standing
    person_id: str


class StageBrief(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    label: str
    pipeline_id: str
    pipeline: str


class RecordListed(msgspec.Struct, frozen=True, kw_only=True):
    """`properties` are by HubSpot's names, those that are not empty."""

    id: str
    name: str
    owner: OwnerBrief | None
    properties: dict[str, str]
    created_at: datetime
    changed_at: datetime


class DealListed(RecordListed, frozen=True, kw_only=True):
    """`currency` is empty where it is the account's own."""

    amount: Decimal | None
    currency: str
    stage: StageBrief
    closes_on: date | None
    is_closed: bool
    is_won: bool


class SumAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`amounts` are by currency."""

    count: int
    amounts: dict[str, Decimal]


class DealsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of deals. `states` are those who match all but the state: all, open, closed, won and lost.

    `next` is the address of the next page, `after` and `before` are the cursors of the neighbours; absent
    where there is none. `synced_at` is when HubSpot was last read to the end.
    """

    deals: list[DealListed]
    total: int
    amounts: dict[str, Decimal]
    states: dict[str, SumAnswer]
    next: str | None
    after: str | None
    before: str | None
    synced_at: datetime | None


class ContactsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of contacts. `owners` counts those who match all but the owner: all, me, nobody and orphaned.

    `next` is the address of the next page, `after` and `before` are the cursors of the neighbours; absent
    where there is none. `synced_at` is when HubSpot was last read to the end.
    """

    contacts: list[RecordListed]
    total: int
    owners: dict[str, int]
    next: str | None
    after: str | None
    before: str | None
    synced_at: datetime | None


class CompaniesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of companies; as of contacts."""

    companies: list[RecordListed]
    total: int
    owners: dict[str, int]
    next: str | None
    after: str | None
    before: str | None
    synced_at: datetime | None


class StageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    label: str
    probability: float
    is_closed: bool
    is_won: bool


class PipelineAnswer(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    label: str
    stages: list[StageAnswer]


class PipelinesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """In HubSpot's order, as are their stages."""

    pipelines: list[PipelineAnswer]


class FindRecords(msgspec.Struct, frozen=True, kw_only=True):
    q: str = ""


class RecordsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A few of each kind; `note` is what tells a record from others of its name."""

    records: list[Hit]


class CustomersApi:
    def __init__(self, lists: Lists, owners: Owners, catalogues: Catalogues) -> None:
        self._lists = lists
        self._owners = owners
        self._catalogues = catalogues

    def routes(self) -> list[Route]:
        see, here = Permission.SEE_CUSTOMERS, f"{API}/crm"
        return [
            Route(
                path=f"{here}/deals",
                handler=self.list_deals,
                may=see,
                reads=list_query(Kind.DEALS),
                returns=DealsAnswer,
            ),
            Route(
                path=f"{here}/contacts",
                handler=self.list_contacts,
                may=see,
                reads=list_query(Kind.CONTACTS),
                returns=ContactsAnswer,
            ),
            Route(
                path=f"{here}/companies",
                handler=self.list_companies,
                may=see,
                reads=list_query(Kind.COMPANIES),
                returns=CompaniesAnswer,
            ),
            Route(path=f"{here}/pipelines", handler=self.list_pipelines, may=see, returns=PipelinesAnswer),
            Route(
                path=f"{here}/records",
                handler=self.find_records,
                may=see,
                reads=FindRecords,
                returns=RecordsAnswer,
            ),
        ]

    async def list_deals(self, request: Request, asked: ListRecords) -> DealsAnswer:
        """List deals, searched, filtered and sorted, with counts and amounts by state."""
        found = await self._find(request, Kind.DEALS, asked)
        owners, catalogue = await self._owners.by_id(), await self._catalogues.get()
        return DealsAnswer(
            deals=[_deal(row, owners, catalogue) for row in found.rows],
            total=found.tally.total.count,
            amounts=found.tally.total.amounts,
            states={key or "all": _sum(one) for key, one in found.tally.tabs.items()},
            **await self._around(Kind.DEALS, asked, found),
        )

    async def list_contacts(self, request: Request, asked: ListRecords) -> ContactsAnswer:
        """List contacts, searched, filtered and sorted, with counts by whose they are."""
        found = await self._find(request, Kind.CONTACTS, asked)
        owners = await self._owners.by_id()
        return ContactsAnswer(
            contacts=[RecordListed(**_listed(row, owners)) for row in found.rows],
            total=found.tally.total.count,
            owners={key or "all": one.count for key, one in found.tally.tabs.items()},
            **await self._around(Kind.CONTACTS, asked, found),
        )

    async def list_companies(self, request: Request, asked: ListRecords) -> CompaniesAnswer:
        """List companies, searched, filtered and sorted, with counts by whose they are."""
        found = await self._find(request, Kind.COMPANIES, asked)
        owners = await self._owners.by_id()
        return CompaniesAnswer(
            companies=[RecordListed(**_listed(row, owners)) for row in found.rows],
            total=found.tally.total.count,
            owners={key or "all": one.count for key, one in found.tally.tabs.items()},
            **await self._around(Kind.COMPANIES, asked, found),
        )

    async def list_pipelines(self, request: Request) -> PipelinesAnswer:
        """List the pipelines of deals with their stages, as HubSpot has them."""
        catalogue = await self._catalogues.get()
        return PipelinesAnswer(
            pipelines=[
                PipelineAnswer(
                    id=pipeline_id,
                    label=label,
                    stages=[
                        StageAnswer(
                            id=stage.id,
                            label=stage.label,
                            probability=stage.probability,
                            is_closed=stage.is_closed,
                            is_won=stage.is_won,
                        )
                        for stage in catalogue.stages_of(pipeline_id)
                    ],
                )
                for pipeline_id, label in catalogue.pipelines.items()
            ]
        )

    async def find_records(self, request: Request, asked: FindRecords) -> RecordsAnswer:
        """List deals, contacts and companies by words: a few of each, those first whose name begins so."""
        found = await self._lists.search(asked.q, limit=HITS) if asked.q.strip() else []
        return RecordsAnswer(records=found)

    async def _find(self, request: Request, kind: Kind, asked: ListRecords) -> Found:
        return await self._lists.find(
            kind,
            filter_of(asked),
            me=request.actor.email,
            after=asked.after,
            before=asked.before,
            limit=asked.limit,
        )

    async def _around(self, kind: Kind, asked: ListRecords, found: Found) -> dict[str, Any]:
        return {
            "next": href(f"{API}/crm/{kind}", asked, after=found.after) if found.after else None,
            "after": found.after,
            "before": found.before,
            "synced_at": await self._lists.synced_at(),
        }


def _sum(one: Sum) -> SumAnswer:
    return SumAnswer(count=one.count, amounts=one.amounts)


def _owner(owner_id: str, card: OwnerCard | None) -> OwnerBrief | None:
    """An owner whom HubSpot has not named yet is known by their id alone."""
    if card is None:
        unknown = OwnerBrief(id=owner_id, name="", email="", standing=Standing.UNKNOWN, person_id="")
        return unknown if owner_id else None
    return OwnerBrief(
        id=card.id, name=card.name, email=card.email, standing=card.standing, person_id=card.person_id
    )


def _listed(row: RecordRow, owners: dict[str, OwnerCard]) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "owner": _owner(row.owner_id, owners.get(row.owner_id)),
        "properties": row.fields,
        "created_at": row.created_at,
        "changed_at": row.modified_at,
    }


def _deal(row: RecordRow, owners: dict[str, OwnerCard], catalogue: Catalogue) -> DealListed:
    stage = catalogue.stage_or_gone(row.stage_id, row.pipeline_id)
    return DealListed(
        **_listed(row, owners),
        amount=row.amount,
        currency=row.currency,
        stage=StageBrief(
            id=row.stage_id,
            label=stage.label if stage else row.stage_id,
            pipeline_id=row.pipeline_id,
            pipeline=catalogue.pipelines.get(row.pipeline_id, row.pipeline_id),
        ),
        closes_on=row.closes_on,
        is_closed=row.is_closed,
        is_won=row.is_won,
    )

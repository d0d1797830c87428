"""Deals, contacts and companies as lists: pages, CSV, saved views, and a way to any of them by name."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.roles import Permission
from muster.crm import views
from muster.crm.catalogue import Catalogue, Catalogues
from muster.crm.fields import FIELDS, OWNER, Field, Kind, Type
from muster.crm.lists import (
    LISTS,
    ME,
    NOBODY,
    ORPHANED,
    Filter,
    ListRecords,
    Lists,
    RecordRow,
    Sum,
    Tally,
    filter_of,
    list_query,
)
from muster.crm.owners import OwnerCard, Owners
from muster.crm.views import Views
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages
from muster.platform.paging import PAGE, Cut, href, links
from muster.platform.routes import Nav, Request, Route

_DEAL_TABS = {"": "All", "open": "Open", "won": "Won", "lost": "Lost"}
_OWNER_TABS = {"": "All", ME: "Mine", NOBODY: "Without an owner", ORPHANED: "Owner is gone"}
_WHOSE = {"": "Anybody", ME: "Me", NOBODY: "Nobody", ORPHANED: "Nobody who is still here"}
"""Words in the place of an owner → as they are offered."""

_IN_SIGHT = {
    *("limit", "after", "before", "sort", "q", "owner", "pipeline", "lifecycle", "industry", "state"),
    *(kind.one for kind in Kind),
}
"""What is not under "More filters"."""


class SaveView(msgspec.Struct, frozen=True, kw_only=True):
    """`query` stands in the address of the list that is saved."""

    kind: Kind
    name: str
    query: str = ""
    shared: bool = False


class ChangeView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    shared: bool = False


class ListPages:
    def __init__(
        self,
        lists: Lists,
        saved: Views,
        owners: Owners,
        catalogues: Catalogues,
        pages: Pages,
        *,
        has_hubspot: bool,
    ) -> None:
        self._lists = lists
        self._views = saved
        self._owners = owners
        self._catalogues = catalogues
        self._pages = pages
        self._has_hubspot = has_hubspot

    def routes(self) -> list[Route]:
        see = Permission.SEE_CUSTOMERS
        navs = {
            Kind.DEALS: Nav(label="Customers", icon="deals", order=4, label_within="Deals"),
            Kind.CONTACTS: Nav(label="Contacts", icon="contacts", order=20, under="/crm/deals", is_top=False),
            Kind.COMPANIES: Nav(
                label="Companies", icon="companies", order=30, under="/crm/deals", is_top=False
            ),
        }
        handlers = {
            Kind.DEALS: (self.list_deals, self.download_deals),
            Kind.CONTACTS: (self.list_contacts, self.download_contacts),
            Kind.COMPANIES: (self.list_companies, self.download_companies),
        }
        return [
            *(
                route
                for kind, (show, download) in handlers.items()
                for route in (
                    Route(path=f"/crm/{kind}", handler=show, may=see, reads=list_query(kind), nav=navs[kind]),
                    Route(path=f"/crm/{kind}.csv", handler=download, may=see, reads=list_query(kind)),
                )
            ),
            Route(path="/crm/views", method="POST", handler=self.save_view, may=see, reads=SaveView),
            Route(
                path="/crm/views/{view_id:int}",
                method="POST",
                handler=self.change_view,
                may=see,
                reads=ChangeView,
            ),
            Route(path="/crm/views/{view_id:int}/deletion", method="POST", handler=self.delete_view, may=see),
        ]

    async def list_deals(self, request: Request, asked: ListRecords) -> Response:
        return await self._list(request, Kind.DEALS, asked)

    async def list_contacts(self, request: Request, asked: ListRecords) -> Response:
        return await self._list(request, Kind.CONTACTS, asked)

    async def list_companies(self, request: Request, asked: ListRecords) -> Response:
        return await self._list(request, Kind.COMPANIES, asked)

    async def download_deals(self, request: Request, asked: ListRecords) -> Response:
        return await self._download(request, Kind.DEALS, asked)

    async def download_contacts(self, request: Request, asked: ListRecords) -> Response:
        return await self._download(request, Kind.CONTACTS, asked)

    async def download_companies(self, request: Request, asked: ListRecords) -> Response:
        return await self._download(request, Kind.COMPANIES, asked)

    async def save_view(self, request: Request, asked: SaveView) -> Response:
        await self._views.save(
            asked.kind,
            asked.name,
            asked.query,
            is_shared=asked.shared,
            by=request.actor,
            origin=request.origin,
        )
        query = views.normal(asked.kind, asked.query)
        return RedirectResponse(address(asked.kind, query), status_code=303)

    async def change_view(self, request: Request, asked: ChangeView) -> Response:
        view = await self._views.change(
            request.path_params["view_id"],
            asked.name,
            is_shared=asked.shared,
            by=request.actor,
            origin=request.origin,
        )
        return RedirectResponse(address(view.kind, view.query), status_code=303)

    async def delete_view(self, request: Request) -> Response:
        view = await self._views.delete(
            request.path_params["view_id"], by=request.actor, origin=request.origin
        )
        return RedirectResponse(f"/crm/{view.kind}", status_code=303)

    async def _list(self, request: Request, kind: Kind, asked: ListRecords) -> Response:
        wanted, me = filter_of(asked), request.actor
        path = f"/crm/{kind}"
        found = await self._lists.find(
            kind, wanted, me=me.email, after=asked.after, before=asked.before, limit=asked.limit
        )
        catalogue = await self._catalogues.get()
        saved = await self._views.list_for(kind, me.account_id)
        query = href("", asked, limit=PAGE).removeprefix("?")
        owners = await self._owners.list_all()
        return self._pages.render(
            request,
            "crm_list.html",
            title=kind.value.capitalize(),
            kind=kind,
            rows=found.rows,
            tally=found.tally,
            sums=found.tally.total.amounts,
            tabs=tabs(kind, path, asked, found.tally),
            owners={owner.id: owner for owner in owners},
            whose=whose(owners),
            offered=offered(kind, catalogue),
            stage_of=partial(stage_label, catalogue),
            label_of=lambda name, row: catalogue.label_of(kind, name, row.fields.get(name, "")),
            stages=offered_stages(catalogue, wanted, found.tally),
            ties=[
                {
                    "kind": other.one,
                    "label": other.one.capitalize(),
                    "name": name,
                    "href": href(path, asked, **{other.one: ""}),
                }
                for other, name in (await self._names(wanted)).items()
            ],
            views=saved,
            view=next((view for view in saved if view.query == query), None),
            query=query,
            is_filtered=wanted != Filter(sort=wanted.sort),
            has_more=any(
                getattr(asked, name) != getattr(type(asked)(), name)
                for name in asked.__struct_fields__
                if name not in _IN_SIGHT
            ),
            board_href=href("/crm/deals/board", asked, limit=PAGE) if kind is Kind.DEALS else "",
            synced_at=await self._lists.synced_at(),
            has_hubspot=self._has_hubspot,
            may_edit=me.may(Permission.EDIT_CUSTOMERS),
            may_sync=me.may(Permission.SYNC_CUSTOMERS),
            cents=any(row.amount is not None and row.amount % 1 for row in found.rows),
            **links(
                path, f"{path}.csv", asked, Cut(found.rows, found.after, found.before), LISTS[kind].labels
            ),
        )

    async def _names(self, wanted: Filter) -> dict[Kind, str]:
        """What the records are called that the list is of, by their kind."""
        ids = {Kind.DEALS: wanted.deal, Kind.CONTACTS: wanted.contact, Kind.COMPANIES: wanted.company}
        return {kind: await self._lists.name_of(kind, one) or one for kind, one in ids.items() if one}

    async def _download(self, request: Request, kind: Kind, asked: ListRecords) -> Response:
        rows: AsyncGenerator[RecordRow, None] = await self._lists.stream(
            kind, filter_of(asked), me=request.actor.email
        )
        columns = csv_columns(kind, await self._catalogues.get(), await self._owners.by_id())
        return CsvResponse(
            f"{kind}.csv", list(columns), rows, lambda row: [of(row) for of in columns.values()]
        )


def address(kind: Kind, query: str) -> str:
    return f"/crm/{kind}?{query}" if query else f"/crm/{kind}"


def tabs(kind: Kind, path: str, asked: ListRecords, tally: Tally) -> list[dict[str, Any]]:
    """Of deals by state, of others by whose they are; `is_here` is the one that is looked at."""
    labels, name = (_DEAL_TABS, "state") if kind is Kind.DEALS else (_OWNER_TABS, "owner")
    return [
        {
            "key": key,
            "label": label,
            "count": tally.tabs[key].count,
            "href": href(path, asked, **{name: key}),
            "is_here": getattr(asked, name) == key,
        }
        for key, label in labels.items()
    ]


def whose(owners: Sequence[OwnerCard]) -> list[tuple[str, str]]:
    """Whose records can be asked for, as a select offers it."""
    return [*_WHOSE.items(), *((owner.id, owner.name) for owner in owners)]


def offered(kind: Kind, catalogue: Catalogue) -> dict[str, list[tuple[str, str]]]:
    """Filter → what can be chosen, with its label."""
    choices = catalogue.choices.get(kind, {})
    return {"pipeline": list(catalogue.pipelines.items())} | {
        name: [(choice.value, choice.label) for choice in choices.get(field, [])]
        for name, field in _CHOSEN.items()
    }


_CHOSEN = {"lifecycle": "lifecyclestage", "lead_status": "hs_lead_status", "industry": "industry"}


def offered_stages(catalogue: Catalogue, wanted: Filter, tally: Tally) -> dict[str, list[dict[str, Any]]]:
    """Pipeline → its stages; of the chosen pipeline, or of all."""
    return {
        label: [
            {
                "id": stage.id,
                "label": stage.label,
                "count": tally.stages.get((stage.pipeline_id, stage.id), Sum(0, {})).count,
                "is_chosen": stage.id in wanted.stage,
            }
            for stage in catalogue.stages_of(pipeline_id)
        ]
        for pipeline_id, label in catalogue.pipelines.items()
        if wanted.pipeline in {"", pipeline_id}
    }


def csv_columns(
    kind: Kind, catalogue: Catalogue, owners: Mapping[str, OwnerCard]
) -> dict[str, Callable[[RecordRow], object]]:
    """Every field in words, and of the owner the address, which is what a spreadsheet can look up by."""

    def of(field: Field) -> Callable[[RecordRow], object]:
        name = field.name
        if name == OWNER:
            return lambda row: owners[row.owner_id].name if row.owner_id in owners else row.owner_id
        if name == "dealstage":
            return lambda row: stage_label(catalogue, row)
        if field.type in {Type.CHOICE, Type.PIPELINE}:
            return lambda row: catalogue.label_of(kind, name, row.fields.get(name, ""))
        return lambda row: row.fields.get(name, "")

    columns: dict[str, Callable[[RecordRow], object]] = {"Id": lambda row: row.id}
    for field in FIELDS[kind]:
        columns[field.label] = of(field)
        if field.name == OWNER:
            columns["Owner's e-mail"] = lambda row: (
                owners[row.owner_id].email if row.owner_id in owners else ""
            )
    return columns


def stage_label(catalogue: Catalogue, row: RecordRow) -> str:
    stage = catalogue.stage_or_gone(row.stage_id, row.pipeline_id)
    return stage.label if stage else row.stage_id

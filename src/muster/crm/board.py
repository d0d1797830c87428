"""Deals as a board: a column for each stage of a pipeline."""

from collections import Counter
from datetime import datetime
from functools import partial
from typing import Any

import msgspec
from starlette.responses import Response

from muster.access.roles import Permission
from muster.crm.catalogue import Catalogue, Catalogues
from muster.crm.fields import Kind
from muster.crm.lists import Filter, ListRecords, Lists, RecordRow, Sum, filter_of, list_query
from muster.crm.lists_web import whose
from muster.crm.owners import Owners
from muster.crm.record import Stage
from muster.platform.pages import Pages
from muster.platform.paging import PAGE, href
from muster.platform.routes import Nav, Request, Route

CARDS = 20
"""So many stand in a column; the list holds the others."""

PATH = "/crm/deals/board"
GONE = "Stage no longer in HubSpot"


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A stage with the deals in it that changed last; `amounts` and `count` are of all of them. The one
    without a `stage_id` holds those whose stage is in HubSpot no more.
    """

    stage_id: str
    label: str
    count: int
    amounts: dict[str, Any]
    cards: list[RecordRow]
    href: str


class BoardPage:
    def __init__(
        self, lists: Lists, owners: Owners, catalogues: Catalogues, pages: Pages, *, has_hubspot: bool
    ) -> None:
        self._lists = lists
        self._owners = owners
        self._catalogues = catalogues
        self._pages = pages
        self._has_hubspot = has_hubspot

    def routes(self) -> list[Route]:
        nav = Nav(label="Board", icon="deals", order=10, under="/crm/deals", is_top=False)
        return [
            Route(
                path=PATH,
                handler=self.show_board,
                may=Permission.SEE_CUSTOMERS,
                reads=list_query(Kind.DEALS),
                nav=nav,
            )
        ]

    async def show_board(self, request: Request, asked: ListRecords) -> Response:
        """Of one pipeline, with all of its stages: a filter by stage or state has no meaning here."""
        catalogue = await self._catalogues.get()
        wanted = msgspec.structs.replace(filter_of(asked), stage=(), state="")
        pipeline = wanted.pipeline or next(iter(catalogue.pipelines), "")
        wanted = msgspec.structs.replace(wanted, pipeline=pipeline)
        asked = msgspec.structs.replace(asked, stage=(), state="", sort="-changed", pipeline=pipeline)
        owners = await self._owners.list_all()
        return self._pages.render(
            request,
            "crm_board.html",
            title="Board",
            columns=await self._columns(request, asked, wanted, catalogue.stages_of(pipeline)),
            stage_label=partial(catalogue.label_of, Kind.DEALS, "dealstage"),
            pipelines=list(_pipelines(catalogue).items()),
            filters=asked,
            is_filtered=wanted != Filter(sort=wanted.sort, pipeline=pipeline),
            owners={owner.id: owner for owner in owners},
            whose=whose(owners),
            list_href=href("/crm/deals", asked, limit=PAGE),
            here=href(PATH, asked, limit=PAGE),
            synced_at=await self._lists.synced_at(),
            has_hubspot=self._has_hubspot,
            may_edit=request.actor.may(Permission.EDIT_CUSTOMERS),
            may_sync=request.actor.may(Permission.SYNC_CUSTOMERS),
        )

    async def _columns(
        self, request: Request, asked: ListRecords, wanted: Filter, stages: list[Stage]
    ) -> list[Column]:
        me = request.actor.email
        tally = await self._lists.tally(Kind.DEALS, wanted, me=me)
        ids = [stage.id for stage in stages]
        gone = [stage_id for pipeline_id, stage_id in tally.stages if pipeline_id == wanted.pipeline]
        gone = sorted(set(gone).difference(ids))
        cards = await self._lists.columns(wanted, [*ids, *gone], me=me, limit=CARDS)

        def column(stage_id: str, label: str, *ids: str) -> Column:
            sums = [tally.stages.get((wanted.pipeline, one), Sum(0, {})) for one in ids]
            amounts: Counter[str] = Counter()
            for one in sums:
                amounts.update(one.amounts)
            found = sorted((card for one in ids for card in cards[one]), key=_changed, reverse=True)
            return Column(
                stage_id=stage_id,
                label=label,
                count=sum(one.count for one in sums),
                amounts=dict(amounts),
                cards=found[:CARDS],
                href=href("/crm/deals", asked, stage=ids, limit=PAGE),
            )

        columns = [column(stage.id, stage.label, stage.id) for stage in stages]
        return [*columns, column("", GONE, *gone)] if gone else columns


def _pipelines(catalogue: Catalogue) -> dict[str, str]:
    """With those that HubSpot has no more: deals may still be in them."""
    gone = {stage.pipeline_id: f"{stage.pipeline} (no longer in HubSpot)" for stage in catalogue.gone}
    return catalogue.pipelines | {id_: name for id_, name in gone.items() if id_ not in catalogue.pipelines}


def _changed(card: RecordRow) -> tuple[datetime, str]:
    return card.modified_at, card.id

"""Offboarding: what people who are gone still own, and giving it to a colleague; as pages, CSV and JSON."""

from collections.abc import AsyncGenerator, Sequence
from decimal import Decimal

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.roles import Permission
from muster.crm.bulk_web import check_seen, sample_of
from muster.crm.leavers import Leaver, Leavers, Share
from muster.crm.lists import Lists
from muster.crm.owners import Standing
from muster.crm.owners_web import STANDINGS
from muster.crm.record_page import Records
from muster.errors import Invalid
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages
from muster.platform.routes import API, Nav, Request, Route

PATH = "/crm/leavers"


class ShowLeaver(msgspec.Struct, frozen=True, kw_only=True):
    """`share` are open deals, closed deals, contacts, companies; `to` is the owner's id of a colleague."""

    share: tuple[Share, ...] = ()
    to: str = ""


class Reassign(msgspec.Struct, frozen=True, kw_only=True):
    """`seen` is the `Plan.digest` of what was shown."""

    share: tuple[Share, ...]
    to: str
    seen: str


class LeaverAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`open_amounts` are of open deals by currency; "" is the account's own."""

    owner_id: str
    name: str
    email: str
    standing: Standing
    person_id: str
    open_deals: int
    closed_deals: int
    contacts: int
    companies: int
    open_amounts: dict[str, Decimal]


class LeaversAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Those with most open deals first."""

    leavers: list[LeaverAnswer]


class LeaverPages:
    def __init__(self, leavers: Leavers, lists: Lists, records: Records, pages: Pages) -> None:
        self._leavers = leavers
        self._lists = lists
        self._records = records
        self._pages = pages

    def routes(self) -> list[Route]:
        give = Permission.REASSIGN_CUSTOMERS
        nav = Nav(label="Leavers", icon="leave", order=50, under="/crm/deals", is_top=False)
        one = f"{PATH}/{{owner_id:int}}"
        return [
            Route(path=PATH, handler=self.list_leavers, may=give, nav=nav),
            Route(path=f"{PATH}.csv", handler=self.download, may=give),
            Route(path=one, handler=self.show_leaver, may=give, reads=ShowLeaver),
            Route(path=f"{one}/reassignment", method="POST", handler=self.reassign, may=give, reads=Reassign),
            Route(path=f"{API}{PATH}", handler=self.answer_leavers, may=give, returns=LeaversAnswer),
        ]

    async def list_leavers(self, request: Request) -> Response:
        leavers = await self._leavers.list_all()
        amounts: dict[str, Decimal] = {}
        for leaver in leavers:
            for currency, amount in leaver.amounts.items():
                amounts[currency] = amounts.get(currency, Decimal(0)) + amount
        return self._pages.render(
            request,
            "crm_leavers.html",
            title="Leavers",
            leavers=leavers,
            totals={share: sum(one.counts[share] for one in leavers) for share in Share},
            amounts=amounts,
            nobodys=await self._leavers.count_without_owner(),
            standings=STANDINGS,
            shares=Share,
            synced_at=await self._lists.synced_at(),
        )

    async def download(self, request: Request) -> Response:
        leavers = await self._leavers.list_all()
        currencies = sorted({currency for one in leavers for currency in one.amounts})
        header = ["Name", "E-mail", "Standing", *(share.capitalize() for share in Share)]
        header += [f"Open amount {currency}".strip() for currency in currencies]
        return CsvResponse(
            "leavers.csv",
            header,
            _each(leavers),
            lambda one: [
                one.card.name,
                one.card.email,
                STANDINGS[one.card.standing],
                *(one.counts[share] for share in Share),
                *(one.amounts.get(currency, "") for currency in currencies),
            ],
        )

    async def show_leaver(self, request: Request, asked: ShowLeaver) -> Response:
        leaver = await self._leavers.get(str(request.path_params["owner_id"]))
        shares = tuple(share for share in asked.share if leaver.counts[share])
        plan = await self._leavers.plan(leaver.card.id, shares, asked.to) if asked.to and shares else None
        books = await self._records.books()
        colleagues = await self._leavers.colleagues()
        return self._pages.render(
            request,
            "crm_leaver.html",
            title=leaver.card.name,
            leaver=leaver,
            here=f"{PATH}/{leaver.card.id}",
            standing=STANDINGS[leaver.card.standing],
            shares=Share,
            chosen=asked.share or (Share.OPEN_DEALS,),
            given=shares,
            colleagues=colleagues,
            to=next((one for one in colleagues if one.id == asked.to), None),
            plan=plan,
            sample=sample_of(books, plan) if plan else [],
            synced_at=await self._lists.synced_at(),
        )

    async def reassign(self, request: Request, asked: Reassign) -> Response:
        leaver = await self._leavers.get(str(request.path_params["owner_id"]))
        if not asked.share:
            raise Invalid("share: at least one of open deals, closed deals, contacts, companies is expected.")
        plan = await self._leavers.plan(leaver.card.id, asked.share, asked.to)
        check_seen(plan, asked.seen)
        bulk_id = await self._leavers.reassign(
            plan, leaver, asked.share, asked.to, by=request.actor, origin=request.origin
        )
        return RedirectResponse(f"/crm/bulks/{bulk_id}", status_code=303)

    async def answer_leavers(self, request: Request) -> LeaversAnswer:
        """List what people who are gone still own in HubSpot."""
        return LeaversAnswer(leavers=[_told(one) for one in await self._leavers.list_all()])


async def _each(leavers: Sequence[Leaver]) -> AsyncGenerator[Leaver, None]:
    for leaver in leavers:
        yield leaver


def _told(leaver: Leaver) -> LeaverAnswer:
    return LeaverAnswer(
        owner_id=leaver.card.id,
        name=leaver.card.name,
        email=leaver.card.email,
        standing=leaver.card.standing,
        person_id=leaver.card.person_id,
        open_deals=leaver.counts[Share.OPEN_DEALS],
        closed_deals=leaver.counts[Share.CLOSED_DEALS],
        contacts=leaver.counts[Share.CONTACTS],
        companies=leaver.counts[Share.COMPANIES],
        open_amounts=leaver.amounts,
    )

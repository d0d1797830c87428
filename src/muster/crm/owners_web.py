"""HubSpot's owners: who of the company each is, how they stand, and what they own; as page, CSV and JSON."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from decimal import Decimal

import msgspec
from starlette.responses import Response

from muster.access.roles import Permission
from muster.crm.fields import Kind
from muster.crm.lists import ORPHANED, Lists, Sum
from muster.crm.owners import OwnerCard, Owners, Standing, stranger
from muster.errors import Invalid
from muster.platform.csv import CsvResponse
from muster.platform.folding import folded
from muster.platform.pages import Pages
from muster.platform.paging import Cursor, Cut, ListQuery, href, links
from muster.platform.routes import API, Nav, Request, Route

PATH = "/crm/owners"

STANDINGS = {
    Standing.HERE: "Here",
    Standing.QUEUE: "Queue",
    Standing.DEACTIVATED: "Deactivated in HubSpot",
    Standing.SUSPENDED: "Suspended",
    Standing.ARCHIVED: "Archived",
    Standing.DELETED: "Deleted",
    Standing.UNKNOWN: "Not in the directory",
}
"""As people read them."""

_TABS = {"": "All", ORPHANED: "Without a live person"} | {
    standing.value: label for standing, label in STANDINGS.items()
}


class ListOwners(ListQuery, frozen=True, kw_only=True):
    """`standing` is one of here, queue, deactivated, suspended, archived, deleted and unknown, or orphaned,
    which is any of the last five.
    """

    q: str = ""
    standing: str = ""
    sort: str = "name"


class OwnerRow(msgspec.Struct, frozen=True, kw_only=True):
    """An owner with what they own; `amounts` are of their open deals, by currency."""

    card: OwnerCard
    deals: int
    amounts: dict[str, Decimal]
    contacts: int
    companies: int
    sort_key: str = ""

    @property
    def id(self) -> str:
        return self.card.id


class OwnerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`open_amounts` are the amounts of open deals by currency; "" is the account's own. `person_id` is empty
    where nobody in the directory has the address.
    """

    id: str
    name: str
    email: str
    team: str
    standing: Standing
    orphaning: bool
    person_id: str
    person_name: str
    open_deals: int
    open_amounts: dict[str, Decimal]
    contacts: int
    companies: int


class OwnersAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of owners; `counts` are of those who match all else, by standing. `after` and `before` are
    cursors, `next` the address of the next page; absent where there is none.
    """

    owners: list[OwnerAnswer]
    total: int
    counts: dict[str, int]
    next: str | None
    after: str | None
    before: str | None


class OwnerPages:
    def __init__(self, owners: Owners, lists: Lists, pages: Pages, *, has_hubspot: bool) -> None:
        self._owners = owners
        self._lists = lists
        self._pages = pages
        self._has_hubspot = has_hubspot

    def routes(self) -> list[Route]:
        see = Permission.SEE_CUSTOMERS
        nav = Nav(label="Owners", icon="people", order=40, under="/crm/deals", is_top=False)
        return [
            Route(path=PATH, handler=self.show_owners, may=see, reads=ListOwners, nav=nav),
            Route(path=f"{PATH}.csv", handler=self.download, may=see, reads=ListOwners),
            Route(
                path=f"{API}{PATH}", handler=self.list_owners, may=see, reads=ListOwners, returns=OwnersAnswer
            ),
        ]

    async def show_owners(self, request: Request, asked: ListOwners) -> Response:
        rows, counts = await self._matching(asked)
        cut = paged(rows, asked)
        return self._pages.render(
            request,
            "crm_owners.html",
            title="Owners",
            rows=cut.rows,
            total=len(rows),
            tabs=[
                {
                    "key": key,
                    "label": label,
                    "count": counts[key],
                    "href": href(PATH, asked, standing=str(key)),
                }
                for key, label in _TABS.items()
                if counts[key] or key in {"", ORPHANED, asked.standing}
            ],
            labels=STANDINGS,
            is_filtered=bool(asked.q or asked.standing),
            synced_at=await self._lists.synced_at(),
            has_hubspot=self._has_hubspot,
            may_sync=request.actor.may(Permission.SYNC_CUSTOMERS),
            **links(PATH, f"{PATH}.csv", asked, cut, LABELS),
        )

    async def download(self, request: Request, asked: ListOwners) -> Response:
        rows, _ = await self._matching(asked)
        currencies = sorted({currency for row in rows for currency in row.amounts})
        columns = _COLUMNS | {
            f"Open amount {currency}".strip(): _amount_in(currency) for currency in currencies
        }
        return CsvResponse(
            "owners.csv", list(columns), _each(rows), lambda row: [of(row) for of in columns.values()]
        )

    async def list_owners(self, request: Request, asked: ListOwners) -> OwnersAnswer:
        """List HubSpot's owners: who each is in the company, whether still here, and what they own."""
        rows, counts = await self._matching(asked)
        cut = paged(rows, asked)
        return OwnersAnswer(
            owners=[_answer(row) for row in cut.rows],
            total=len(rows),
            counts={key or "all": count for key, count in counts.items()},
            next=href(f"{API}{PATH}", asked, after=cut.after) if cut.after else None,
            after=cut.after,
            before=cut.before,
        )

    async def _matching(self, asked: ListOwners) -> tuple[list[OwnerRow], dict[str, int]]:
        """Those who match, in order, and for each standing how many match all else. Raises Invalid."""
        if asked.standing not in _TABS:
            expected = ", ".join(key for key in _TABS if key)
            raise Invalid(f"There is no standing {asked.standing!r}; expected one of {expected}.")
        order = _ORDERS.get(asked.sort.removeprefix("-"))
        if order is None or asked.sort not in LABELS:
            raise Invalid(f"There is no order {asked.sort!r}; expected one of {', '.join(LABELS)}.")
        owned = await self._lists.owned()
        known = await self._owners.by_id()
        unknown = {one for of_kind in owned.values() for one in of_kind if one} - known.keys()
        everybody = [*known.values(), *map(stranger, sorted(unknown))]
        cards = [card for card in everybody if _has(card, folded(asked.q).split())]
        counts = {key: sum(_stands(card, key) for card in cards) for key in _TABS}
        rows = [_row(card, owned) for card in cards if _stands(card, asked.standing)]
        rows = [msgspec.structs.replace(row, sort_key=order(row)) for row in rows]
        rows.sort(key=lambda row: (row.sort_key, row.id), reverse=asked.sort.startswith("-"))
        return rows, counts


def paged(rows: Sequence[OwnerRow], asked: ListOwners) -> Cut[OwnerRow]:
    """One page of `rows`, which are in order, by the cursors that lists have. Raises Invalid."""
    limit = asked.limit
    if asked.after or asked.before:
        edge = Cursor.read(asked.after or asked.before, asked.sort)
        turn = asked.sort.startswith("-")
        at = (edge.key, edge.id)
        # Rows before the edge, whichever way the order runs.
        ahead = sum(((row.sort_key, row.id) > at) if turn else ((row.sort_key, row.id) < at) for row in rows)
        is_there = any((row.sort_key, row.id) == at for row in rows)
        start = max(0, ahead - limit) if asked.before else ahead + is_there
        end = ahead if asked.before else start + limit
    else:
        start, end = 0, limit
    shown = list(rows[start:end])
    return Cut(
        rows=shown,
        after=Cursor.of(shown[-1], asked.sort).written() if shown and end < len(rows) else None,
        before=Cursor.of(shown[0], asked.sort).written() if shown and start else None,
    )


def _has(card: OwnerCard, words: Sequence[str]) -> bool:
    text = folded(f"{card.name} {card.email} {card.team} {card.person_name}")
    return all(word in text for word in words)


def _stands(card: OwnerCard, standing: str) -> bool:
    return standing in {"", card.standing} or (standing == ORPHANED and card.standing.is_orphaning)


def _row(card: OwnerCard, owned: Mapping[Kind, Mapping[str, Sum]]) -> OwnerRow:
    nothing = Sum(0, {})
    deals = owned[Kind.DEALS].get(card.id, nothing)
    return OwnerRow(
        card=card,
        deals=deals.count,
        amounts=deals.amounts,
        contacts=owned[Kind.CONTACTS].get(card.id, nothing).count,
        companies=owned[Kind.COMPANIES].get(card.id, nothing).count,
    )


_DIGITS = 12
_ORDERS: dict[str, Callable[[OwnerRow], str]] = {
    "name": lambda row: folded(row.card.name),
    "deals": lambda row: f"{row.deals:0{_DIGITS}}",
    "contacts": lambda row: f"{row.contacts:0{_DIGITS}}",
    "companies": lambda row: f"{row.companies:0{_DIGITS}}",
}
LABELS = {"name": "Name, A–Z", "-name": "Name, Z–A"} | {
    f"{sign}{what}": f"{label}, {way}"
    for what, label in (("deals", "Open deals"), ("contacts", "Contacts"), ("companies", "Companies"))
    for sign, way in (("", "fewest first"), ("-", "most first"))
}


async def _each(rows: Sequence[OwnerRow]) -> AsyncGenerator[OwnerRow, None]:
    for row in rows:
        yield row


def _amount_in(currency: str) -> Callable[[OwnerRow], object]:
    return lambda row: row.amounts.get(currency)


_COLUMNS: dict[str, Callable[[OwnerRow], object]] = {
    "Id": lambda row: row.id,
    "Name": lambda row: row.card.name,
    "E-mail": lambda row: row.card.email,
    "Team": lambda row: row.card.team,
    "Standing": lambda row: STANDINGS[row.card.standing],
    "Person": lambda row: row.card.person_name,
    "Contacts": lambda row: row.contacts,
    "Companies": lambda row: row.companies,
    "Open deals": lambda row: row.deals,
}


def _answer(row: OwnerRow) -> OwnerAnswer:
    card = row.card
    return OwnerAnswer(
        id=card.id,
        name=card.name,
        email=card.email,
        team=card.team,
        standing=card.standing,
        orphaning=card.standing.is_orphaning,
        person_id=card.person_id,
        person_name=card.person_name,
        open_deals=row.deals,
        open_amounts=row.amounts,
        contacts=row.contacts,
        companies=row.companies,
    )

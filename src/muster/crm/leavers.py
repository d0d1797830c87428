"""What people who are gone still own in HubSpot, and giving it to a colleague."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum

import msgspec

from muster.crm import owners as owners_module
from muster.crm.bulks import MOST, Bulks, Plan
from muster.crm.edit_values import InvalidFields
from muster.crm.fields import OWNER, Kind
from muster.crm.mirror import kind_tag
from muster.crm.owners import OwnerCard, Owners, live, stranger
from muster.errors import Invalid, NotFound
from muster.platform.actor import Origin, Who
from muster.platform.cache import Cache
from muster.platform.database import Database

_TTL = timedelta(minutes=10)


class Share(StrEnum):
    """A part of what somebody owns."""

    OPEN_DEALS = "open deals"
    CLOSED_DEALS = "closed deals"
    CONTACTS = "contacts"
    COMPANIES = "companies"

    @property
    def kind(self) -> Kind:
        return Kind.DEALS if self in {Share.OPEN_DEALS, Share.CLOSED_DEALS} else Kind(self.value)


class Leaver(msgspec.Struct, frozen=True, kw_only=True):
    """An owner who is no live person, with what they own; `amounts` are of open deals, by currency."""

    card: OwnerCard
    counts: dict[Share, int]
    amounts: dict[str, Decimal]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


class Leavers:
    def __init__(self, database: Database, cache: Cache, owners: Owners, bulks: Bulks) -> None:
        self._database = database
        self._cache = cache
        self._owners = owners
        self._bulks = bulks

    async def list_all(self) -> list[Leaver]:
        """Whoever owns anything and is gone, those with most open deals first."""
        cards = await self._owners.by_id()
        here = set(live(list(cards.values())))
        owned = await self._owned()
        found: dict[str, list[_Owned]] = {}
        for one in owned:
            if one.owner_id and one.owner_id not in here:
                found.setdefault(one.owner_id, []).append(one)
        leavers = [_leaver(cards.get(owner_id) or stranger(owner_id), of) for owner_id, of in found.items()]
        return sorted(
            leavers, key=lambda one: (-one.counts[Share.OPEN_DEALS], -one.total, one.card.name, one.card.id)
        )

    async def get(self, owner_id: str) -> Leaver:
        """Raises NotFound for who is no owner, or is here."""
        card = (await self._owners.by_id()).get(owner_id)
        if card and not card.standing.is_orphaning:
            raise NotFound(f"{card.name} is here: what they own is theirs to give away.")
        owned = [one for one in await self._owned() if one.owner_id == owner_id]
        if card is None and not owned:
            raise NotFound(f"Nobody who owns records has the id {owner_id}.")
        return _leaver(card or stranger(owner_id), owned)

    async def count_without_owner(self) -> dict[Kind, int]:
        """Records that nobody has ever owned, or whose owner was taken away; of deals the open ones."""
        counted = dict.fromkeys(Kind, 0)
        for one in await self._owned():
            if not one.owner_id and not one.is_closed:
                counted[one.kind] += one.number
        return counted

    async def colleagues(self) -> list[OwnerCard]:
        """Who may be given records, by name."""
        return [card for card in await self._owners.list_all() if card.may_own]

    async def plan(self, owner_id: str, shares: Sequence[Share], to: str) -> Plan:
        """What would be given to whom. Raises Invalid for who may not own, and for too many at once."""
        if to not in {card.id for card in await self.colleagues()}:
            raise InvalidFields({"to": "is nobody who may be given records"})
        changes = []
        for share in shares:
            async with self._database.reading() as statements:
                ids = await statements.column(_IDS[share], [owner_id, MOST + 1])
            changes += (await self._bulks.plan(share.kind, ids, {OWNER: to})).changes
        if len(changes) > MOST:
            raise Invalid(f"They own more than {MOST:,} of these: give away fewer kinds at a time.")
        return Plan(changes=changes)

    async def reassign(
        self, plan: Plan, leaver: Leaver, shares: Sequence[Share], to: str, *, by: Who, origin: Origin
    ) -> int:
        """Give it to `to`, as one act that can be undone; its id."""
        colleague = (await self._owners.by_id())[to]
        kinds = {share.kind for share in shares}
        return await self._bulks.begin(
            plan,
            kind=next(iter(kinds)) if len(kinds) == 1 else None,
            what="reassign",
            words=f"{leaver.card.name}'s {', '.join(shares)} → {colleague.name}",
            fields={OWNER: to},
            by=by,
            origin=origin,
        )

    async def _owned(self) -> list["_Owned"]:
        tags = [*(kind_tag(kind) for kind in Kind), owners_module.TAG]
        found = await self._cache.get("crm:owned", list[_Owned], self._read, tags=tags, ttl=_TTL)
        return found.value

    async def _read(self) -> list["_Owned"]:
        return await self._database.rows(
            _Owned,
            "SELECT owner_id, kind, is_closed, currency, count(*) AS number, "
            "COALESCE(sum(amount), 0) AS amount FROM crm_records WHERE archived_at IS NULL "
            "GROUP BY owner_id, kind, is_closed, currency",
        )


class _Owned(msgspec.Struct, frozen=True):
    owner_id: str
    kind: Kind
    is_closed: bool
    currency: str
    number: int
    amount: Decimal


def _leaver(card: OwnerCard, owned: Sequence[_Owned]) -> Leaver:
    counts = dict.fromkeys(Share, 0)
    amounts: dict[str, Decimal] = {}
    for one in owned:
        share = _share(one)
        counts[share] += one.number
        if share is Share.OPEN_DEALS and one.amount:
            amounts[one.currency] = amounts.get(one.currency, Decimal(0)) + one.amount
    return Leaver(card=card, counts=counts, amounts=amounts)


def _share(one: _Owned) -> Share:
    if one.kind is Kind.DEALS:
        return Share.CLOSED_DEALS if one.is_closed else Share.OPEN_DEALS
    return Share(one.kind.value)


_IDS = {
    Share.OPEN_DEALS: "SELECT id FROM crm_records WHERE archived_at IS NULL AND kind = 'deals' "
    "AND NOT is_closed AND owner_id = %s LIMIT %s",
    Share.CLOSED_DEALS: "SELECT id FROM crm_records WHERE archived_at IS NULL AND kind = 'deals' "
    "AND is_closed AND owner_id = %s LIMIT %s",
    Share.CONTACTS: "SELECT id FROM crm_records WHERE archived_at IS NULL AND kind = 'contacts' "
    "AND owner_id = %s LIMIT %s",
    Share.COMPANIES: "SELECT id FROM crm_records WHERE archived_at IS NULL AND kind = 'companies' "
    "AND owner_id = %s LIMIT %s",
}

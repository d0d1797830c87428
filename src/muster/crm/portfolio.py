"""What somebody of the company owns in HubSpot, at a glance."""

from datetime import date, timedelta
from decimal import Decimal

import msgspec

from muster.crm.catalogue import TAG as CATALOGUE
from muster.crm.catalogue import Catalogues
from muster.crm.fields import Kind
from muster.crm.mirror import kind_tag
from muster.crm.owners import PEOPLE_TAG, TAG, OwnerCard, Owners
from muster.platform.cache import Cache
from muster.platform.database import Database

SHOWN = 10


class Sum(msgspec.Struct, frozen=True):
    """What open deals come to; `currency` is "" for those that name none."""

    currency: str
    deals: int
    amount: Decimal


class OpenDeal(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    amount: Decimal | None
    currency: str
    stage: str
    closes_on: date | None


class Portfolio(msgspec.Struct, frozen=True, kw_only=True):
    """As whom somebody owns records, and their open deals: all of them in `sums`, the largest in `deals`."""

    owners: list[OwnerCard]
    sums: list[Sum]
    deals: list[OpenDeal]

    @property
    def total(self) -> int:
        return sum(one.deals for one in self.sums)

    @property
    def has_access(self) -> bool:
        """Whether HubSpot still lets them in."""
        return any(not owner.is_deactivated for owner in self.owners)


class _Deal(msgspec.Struct, frozen=True):
    id: str
    name: str
    amount: Decimal | None
    currency: str
    pipeline_id: str
    stage_id: str
    closes_on: date | None


class Portfolios:
    def __init__(self, database: Database, owners: Owners, catalogues: Catalogues, cache: Cache) -> None:
        self._database = database
        self._owners = owners
        self._catalogues = catalogues
        self._cache = cache

    async def of(self, person_id: str) -> Portfolio | None:
        """None for whoever owns nothing in HubSpot and cannot."""
        owners = await self._owners.of_person(person_id)
        if not owners:
            return None
        found = await self._cache.get(
            f"crm:portfolio:{person_id}",
            Portfolio,
            lambda: self._read(owners),
            tags=(kind_tag(Kind.DEALS), CATALOGUE, TAG, PEOPLE_TAG),
            ttl=timedelta(minutes=10),
        )
        return found.value

    async def _read(self, owners: list[OwnerCard]) -> Portfolio:
        ids, catalogue = [owner.id for owner in owners], await self._catalogues.get()
        async with self._database.reading() as statements:
            sums = await statements.rows(Sum, _SUMS, [ids])
            deals = await statements.rows(_Deal, _LARGEST, [ids, SHOWN])
        return Portfolio(
            owners=owners,
            sums=sums,
            deals=[
                OpenDeal(
                    id=one.id,
                    name=one.name,
                    amount=one.amount,
                    currency=one.currency,
                    stage=stage.label
                    if (stage := catalogue.stage_or_gone(one.stage_id, one.pipeline_id))
                    else one.stage_id,
                    closes_on=one.closes_on,
                )
                for one in deals
            ],
        )


_SUMS = """
SELECT currency, count(*) AS deals, COALESCE(sum(amount), 0) AS amount FROM crm_records
WHERE kind = 'deals' AND archived_at IS NULL AND NOT is_closed AND owner_id = ANY(%s)
GROUP BY currency ORDER BY deals DESC, currency
"""

_LARGEST = """
SELECT id, name, amount, currency, pipeline_id, stage_id, closes_on FROM crm_records
WHERE kind = 'deals' AND archived_at IS NULL AND NOT is_closed AND owner_id = ANY(%s)
ORDER BY amount DESC NULLS LAST, id LIMIT %s
"""

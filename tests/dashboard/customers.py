"""Customers for tests: owners, stages and records as HubSpot would have told of them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from tests.town import Town

from muster.crm.fields import OWNER, Kind
from muster.crm.mirror import Source
from muster.crm.record import Record

NOW = datetime.now(UTC)
STAGES = (
    ("sales", "Sales", "new", "New", 0, 0.1, False, False),
    ("sales", "Sales", "offer", "Offer made", 1, 0.5, False, False),
    ("sales", "Sales", "won", "Won", 2, 1.0, True, True),
)


class Customers:
    def __init__(self, town: Town) -> None:
        self.town = town
        self._ids = 0

    async def set_up(self) -> None:
        """Stages, and Ben, Cy and a stranger as owners."""
        for stage in STAGES:
            await self.town.execute(
                "INSERT INTO crm_stages (pipeline_id, pipeline, id, label, place, probability, is_closed, "
                "is_won) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                *stage,
            )
        await self.own("1", "ben@acme.test", "Ben")
        await self.own("2", "cy@acme.test", "Cy")
        await self.own("3", "stranger@elsewhere.test", "Stranger")

    async def own(self, owner_id: str, email: str, name: str, *, is_archived: bool = False) -> None:
        await self.town.execute(
            "INSERT INTO crm_owners (id, email, name, is_archived) VALUES (%s, %s, %s, %s)",
            owner_id,
            email,
            name,
            is_archived,
        )

    def deal(self, owner_id: str, **values: str) -> Record:
        usual = {"pipeline": "sales", "dealstage": "offer", "deal_currency_code": "EUR", "amount": "1000"}
        return self.record(Kind.DEALS, **{OWNER: owner_id, **usual, **values})

    def record(self, kind: Kind, **values: str) -> Record:
        """Changed yesterday."""
        self._ids += 1
        number = str(self._ids)
        named = {"dealname": f"Deal {number}"} if kind is Kind.DEALS else {}
        return Record(
            kind=kind,
            id=number,
            values={name: value for name, value in {**named, **values}.items() if value},
            created_at=NOW - timedelta(days=200),
            modified_at=NOW - timedelta(days=1),
        )

    async def take(self, records: Sequence[Record]) -> None:
        """As a sync does."""
        mirror = self.town.portal.mirror
        for kind in Kind:
            of_kind = [one for one in records if one.kind is kind]
            if of_kind:
                asked = await mirror.number()
                async with self.town.portal.database.transaction() as tx:
                    await mirror.take(tx, kind, of_kind, asked=asked, source=Source.SYNC)

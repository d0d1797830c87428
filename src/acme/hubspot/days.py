"""Days that pass in HubSpot: deals move, close and change hands, the same ones for a seed and a day."""

from collections import Counter
from collections.abc import Callable
from random import Random

from acme.hubspot.errors import HubSpotError
from acme.hubspot.kinds import CONTACTS, DEALS
from acme.hubspot.moments import DAY, iso
from acme.hubspot.pipelines import PIPELINE_OF_STAGE, SALES
from acme.hubspot.portal import Portal, Source, colleague
from acme.hubspot.records import Record

_DEALS_PER_HAPPENING = 60
_MOST_HAPPENINGS = 200
_MOST_TRIES = 200
_WEIGHTS = {
    "advanced": 30,
    "won": 9,
    "lost": 8,
    "opened": 14,
    "repriced": 10,
    "postponed": 12,
    "reassigned": 6,
    "met": 7,
    "archived": 3,
    "merged": 1,
}


class HubSpotDays:
    def __init__(self, portal: Portal, seed: int) -> None:
        self._portal = portal
        self._seed = seed
        self._happenings: dict[str, Callable[[Random], bool]] = {
            "advanced": self._advance,
            "won": lambda chance: self._close(chance, is_won=True),
            "lost": lambda chance: self._close(chance, is_won=False),
            "opened": self._open,
            "repriced": self._reprice,
            "postponed": self._postpone,
            "reassigned": self._reassign,
            "met": self._meet,
            "archived": self._archive,
            "merged": self._merge,
        }
        self.rewound()

    def rewound(self) -> None:
        self._passed = 0

    def pass_one(self) -> Counter[str]:
        """How much happened, by kind."""
        self._passed += 1
        chance = Random(f"{self._seed}/hubspot/{self._passed}")  # noqa: S311  it must repeat itself
        listed = self._portal.records[DEALS].listed_at_first
        happenings = min(_MOST_HAPPENINGS, max(3, listed // _DEALS_PER_HAPPENING))
        counts: Counter[str] = Counter()
        for kind in chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=happenings):
            try:
                counts[kind] += self._happenings[kind](chance)
            except HubSpotError:  # a rule of the account forbids it, as it would a colleague
                counts["refused"] += 1
        return +counts

    def _deal(self, chance: Random, fits: Callable[[Record], bool]) -> Record | None:
        records = self._portal.records[DEALS]
        for _ in range(_MOST_TRIES):
            record = records.find(chance.randrange(records.end))
            if record is not None and record.is_live and fits(record):
                return record
        return None

    def _change(self, record: Record, **properties: str) -> bool:
        self._portal.change(DEALS, record, properties, self._owner_of(record))
        return True

    def _owner_of(self, record: Record) -> Source:
        owner = self._portal.owners.find(record.values.get("hubspot_owner_id", ""))
        return colleague(next(iter(self._portal.owners)).user_id if owner is None else owner.user_id)

    def _advance(self, chance: Random) -> bool:
        deal = self._deal(chance, _is_open)
        if deal is None:
            return False
        stages = PIPELINE_OF_STAGE[deal.values["dealstage"]].stages
        place = next(at for at, stage in enumerate(stages) if stage.id == deal.values["dealstage"])
        following = stages[place + 1]
        return not following.is_closed and self._change(deal, dealstage=following.id)

    def _close(self, chance: Random, *, is_won: bool) -> bool:
        deal = self._deal(chance, _is_open)
        if deal is None:
            return False
        stages = PIPELINE_OF_STAGE[deal.values["dealstage"]].stages
        stage = next(stage for stage in stages if stage.is_closed and stage.is_won == is_won)
        return self._change(deal, dealstage=stage.id, closedate=iso(self._portal.now()))

    def _open(self, chance: Random) -> bool:
        model = self._deal(chance, lambda _: True)
        if model is None:
            return False
        owned = {key: model.values[key] for key in ("hubspot_owner_id",) if key in model.values}
        owner = self._portal.owners.find(owned.get("hubspot_owner_id", ""))
        if owner is None or owner.is_archived:
            owned = {}
        properties = {
            "dealname": model.values["dealname"],
            "amount": str(chance.randrange(1, 60) * 500),
            "pipeline": SALES.id,
            "dealstage": SALES.stages[0].id,
            "closedate": iso(self._portal.now() + chance.randrange(20, 90) * DAY),
            **owned,
        }
        self._portal.create(DEALS, properties, self._owner_of(model))
        return True

    def _reprice(self, chance: Random) -> bool:
        deal = self._deal(chance, _is_open)
        return deal is not None and self._change(deal, amount=str(chance.randrange(1, 160) * 250))

    def _postpone(self, chance: Random) -> bool:
        deal = self._deal(chance, _is_open)
        later = iso(self._portal.now() + chance.randrange(5, 60) * DAY)
        return deal is not None and self._change(deal, closedate=later)

    def _reassign(self, chance: Random) -> bool:
        active = [owner for owner in self._portal.owners if not owner.is_archived]
        deal = self._deal(chance, _is_open)
        return deal is not None and self._change(deal, hubspot_owner_id=chance.choice(active).id)

    def _meet(self, chance: Random) -> bool:
        """Somebody new at a customer's."""
        deal = self._deal(chance, lambda _: True)
        if deal is None:
            return False
        number = self._portal.records[CONTACTS].end
        properties = {
            "email": f"met.{number}@fair.example",
            "firstname": "Robin",
            "lastname": f"Visitor {number}",
        }
        self._portal.create(CONTACTS, properties, self._owner_of(deal))
        return True

    def _archive(self, chance: Random) -> bool:
        deal = self._deal(chance, _is_open)
        if deal is None:
            return False
        self._portal.archive(DEALS, deal, self._owner_of(deal))
        return True

    def _merge(self, chance: Random) -> bool:
        one, other = self._deal(chance, _is_open), self._deal(chance, _is_open)
        if one is None or other is None or one.number == other.number:
            return False
        self._portal.merge(DEALS, one, other, self._owner_of(one))
        return True


def _is_open(record: Record) -> bool:
    return record.values.get("hs_is_closed") == "false"

"""The portal at the start: every deal, contact and company computed from seed and number, none stored."""

from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from struct import Struct as Layout
from typing import NamedTuple

from acme.hubspot.businesses import business, number_of_domain
from acme.hubspot.kinds import COMPANIES, CONTACTS, DEALS, Kind
from acme.hubspot.moments import DAY, HOUR, iso
from acme.hubspot.pipelines import PIPELINES, Pipeline, Stage, truth
from acme.hubspot.properties import INDUSTRIES, LEAD_STATUS, LIFECYCLE
from acme.hubspot.ties import Ties
from acme.names import FAMILY, GIVEN, name_of, number_at

_CHANCES = 1 << 16
_DRAWS = Layout("<16H")
_SPAN = 540 * DAY
_IMPORTED = 12_000
"""So many deals of a large portal were last changed in one moment, by an import; search shows 10,000."""
_LARGE = 24_000
_BEN_SHARE, _ADA_SHARE, _NOBODY_SHARE = _CHANCES * 25 // 100, _CHANCES * 4 // 100, _CHANCES * 3 // 100
_WHATS = (
    "annual licence",
    "pilot",
    "expansion",
    "support plan",
    "rollout",
    "migration",
    "training",
    "framework agreement",
)
_LOST = ("Price", "Went with a competitor", "No budget this year", "Champion left", "No answer any more")
_TITLES = (
    "Head of operations",
    "Buyer",
    "Plant manager",
    "CFO",
    "IT lead",
    "Managing director",
    "Office manager",
)
_PLACES = (
    ("Rotterdam", "Netherlands", "+31 10 555"),
    ("Lyon", "France", "+33 4 555"),
    ("Hamburg", "Germany", "+49 40 555"),
    ("Gdańsk", "Poland", "+48 58 555"),
    ("Porto", "Portugal", "+351 22 555"),
    ("Leeds", "United Kingdom", "+44 113 496"),
    ("Boston", "United States", "+1 617 555"),
)

# Each stage as often as it weighs, by pipeline and by whether it ends a deal.
_WEIGHTED = {
    (pipeline.id, is_closed): [
        stage for stage in pipeline.stages if stage.is_closed == is_closed for _ in range(stage.weight)
    ]
    for pipeline in PIPELINES
    for is_closed in (True, False)
}

Draws = tuple[int, ...]
Make = Callable[[int, Draws], str | None]


class Size(NamedTuple):
    """How many are listed, and where the numbers end of those that were archived before the start."""

    listed: int

    @property
    def end(self) -> int:
        return self.listed + self.listed // 40


def sizes(deals: int) -> dict[Kind, Size]:
    return {DEALS: Size(deals), CONTACTS: Size(deals * 3 // 2), COMPANIES: Size(max(1, deals // 2))}


class World:
    def __init__(self, seed: int, today: int, deals: int, owner_ids: list[str]) -> None:
        """`today` is the midnight (milliseconds) that everything is counted back from."""
        self.sizes = sizes(deals)
        self.ties = Ties(deals, self.sizes[CONTACTS].listed, self.sizes[COMPANIES].listed)
        self._slots = {kind: _SPAN // size.end for kind, size in self.sizes.items()}
        self._standing: tuple[int, Stage] | None = None
        self._seed = seed
        self._today = today
        self._owner_ids = owner_ids
        self._hashes = {
            kind: blake2b(digest_size=_DRAWS.size, key=seed.to_bytes(8, "big"), person=kind.type_id.encode())
            for kind in (DEALS, CONTACTS, COMPANIES)
        }
        self.makers: dict[Kind, dict[str, Make]] = {
            DEALS: self._deal_makers(),
            CONTACTS: self._contact_makers(),
            COMPANIES: self._company_makers(),
        }

    def draws(self, kind: Kind, number: int) -> Draws:
        """Sixteen numbers of chance, always the same."""
        drawing = self._hashes[kind].copy()
        drawing.update(number.to_bytes(8, "big"))
        return _DRAWS.unpack(drawing.digest())

    def values(self, kind: Kind, number: int, names: Iterable[str] | None = None) -> dict[str, str]:
        """All there are, or the named ones."""
        draws, makers = self.draws(kind, number), self.makers[kind]
        wanted = makers if names is None else (name for name in names if name in makers)
        return {name: value for name in wanted if (value := makers[name](number, draws)) is not None}

    def created(self, kind: Kind, number: int, draws: Draws) -> int:
        """Later ones have higher numbers."""
        slot = self._slots[kind]
        return self._today - _SPAN + slot * number + slot * draws[0] // _CHANCES

    def modified(self, kind: Kind, number: int, draws: Draws) -> int:
        if kind is DEALS and self._is_imported(number):
            return self._today - 9 * DAY
        created = self.created(kind, number, draws)
        return created + (self._today - created) * draws[1] // _CHANCES * draws[1] // _CHANCES

    def archived(self, kind: Kind, number: int, draws: Draws) -> int | None:
        size = self.sizes[kind]
        if not size.listed <= number < size.end:
            return None
        modified = self.modified(kind, number, draws)
        return modified + (self._today - modified) * draws[2] // _CHANCES

    def contact_with(self, email: str) -> int | None:
        """Undoes the address: its domain says the company, its letters which of the company's people."""
        local_part, _, domain = email.lower().partition("@")
        company = number_of_domain(domain)
        lap = number_at(local_part, self._seed + 31)
        if company is None or lap is None:
            return None
        everyone = range(company, self.sizes[CONTACTS].end, self.ties.companies)
        return next((number for number in everyone if self._address(number) == email.lower()), None)

    def stages_of(self, number: int) -> Iterator[Stage]:
        """Those a deal has been through, the one it stands in last."""
        draws = self.draws(DEALS, number)
        now = self._stage(number, draws)
        pipeline = _pipeline(draws)
        way = [stage for stage in pipeline.stages if not stage.is_closed]
        passed = way[: 1 + draws[10] % len(way)] if now.is_closed else way[: way.index(now)]
        yield from passed
        yield now

    def _is_imported(self, number: int) -> bool:
        deals = self.sizes[DEALS].listed
        first = deals // 3
        return deals >= _LARGE and first <= number < first + _IMPORTED

    def _owner(self, _: int, draws: Draws) -> str | None:
        draw = draws[3]
        if draw < _BEN_SHARE:
            return self._owner_ids[0]
        if draw < _BEN_SHARE + _ADA_SHARE:
            return self._owner_ids[1]
        if draw < _BEN_SHARE + _ADA_SHARE + _NOBODY_SHARE:
            return None
        return self._owner_ids[2 + draw % (len(self._owner_ids) - 2)]

    def _shared_makers(self, kind: Kind) -> dict[str, Make]:
        return {
            "hs_object_id": lambda number, _: kind.id_of(number),
            "createdate": lambda number, draws: iso(self.created(kind, number, draws)),
            kind.modified: lambda number, draws: iso(self.modified(kind, number, draws)),
            "hubspot_owner_id": self._owner,
        }

    # Deals

    def _deal_makers(self) -> dict[str, Make]:
        return {
            "dealname": self._deal_name,
            "amount": _amount,
            "pipeline": lambda _, draws: _pipeline(draws).id,
            "dealstage": lambda number, draws: self._stage(number, draws).id,
            "closedate": self._close_date,
            "dealtype": lambda _, draws: ("newbusiness", "existingbusiness")[draws[8] % 3 == 0],
            "hs_priority": lambda _, draws: ("low", "medium", "high", None)[draws[9] % 4],
            "closed_lost_reason": self._why_lost,
            "deal_currency_code": lambda _, __: "EUR",
            "notes_last_contacted": self._last_contacted,
            "hs_is_closed": lambda number, draws: truth(self._stage(number, draws).is_closed),
            "hs_is_closed_won": lambda number, draws: truth(self._stage(number, draws).is_won),
            "hs_deal_stage_probability": lambda number, draws: self._stage(number, draws).probability,
            **self._shared_makers(DEALS),
        }

    def _deal_name(self, number: int, draws: Draws) -> str:
        company = self.ties.company_of_deal(number)
        who = "Walk-in" if company is None else business(company).name
        return f"{who} – {_WHATS[draws[6] % len(_WHATS)]}"

    def _stage(self, number: int, draws: Draws) -> Stage:
        """Old deals are mostly closed, new ones mostly not. Kept for the next question, which is about the
        same deal.
        """
        standing = self._standing
        if standing is None or standing[0] != number:
            age = 1 - number / self.sizes[DEALS].end
            is_closed = draws[4] < _CHANCES * (0.2 + 0.75 * age)
            fitting = _WEIGHTED[_pipeline(draws).id, is_closed]
            standing = self._standing = number, fitting[draws[5] % len(fitting)]
        return standing[1]

    def _close_date(self, number: int, draws: Draws) -> str | None:
        """When it was closed, or when that is hoped for; some hopes have passed, some were never had."""
        if self._stage(number, draws).is_closed:
            return iso(self.modified(DEALS, number, draws))
        if draws[11] % 25 == 0:
            return None
        return iso(self._today + (draws[11] % 130 - 25) * DAY + 16 * HOUR)

    def _why_lost(self, number: int, draws: Draws) -> str | None:
        lost = self._stage(number, draws).probability == "0.0"
        return _LOST[draws[12] % len(_LOST)] if lost else None

    def _last_contacted(self, number: int, draws: Draws) -> str | None:
        if draws[13] % 8 == 0:
            return None
        return iso(self.modified(DEALS, number, draws) - draws[13] * 40)

    # Contacts

    def _contact_makers(self) -> dict[str, Make]:
        return {
            "email": lambda number, _: self._address(number),
            "firstname": lambda number, _: GIVEN[name_of(number, self._seed + 31).given],
            "lastname": lambda number, _: FAMILY[name_of(number, self._seed + 31).family],
            "phone": lambda _, draws: _phone(draws) if draws[6] % 3 else None,
            "jobtitle": lambda _, draws: _TITLES[draws[7] % len(_TITLES)],
            "company": lambda number, _: business(number % self.ties.companies).name,
            "city": lambda _, draws: _PLACES[draws[5] % len(_PLACES)][0],
            "lifecyclestage": lambda _, draws: LIFECYCLE[draws[8] % len(LIFECYCLE)],
            "hs_lead_status": lambda _, draws: (*LEAD_STATUS, None)[draws[9] % (len(LEAD_STATUS) + 1)],
            **self._shared_makers(CONTACTS),
        }

    def _address(self, number: int) -> str:
        local_part = name_of(number, self._seed + 31).address
        return f"{local_part}@{business(number % self.ties.companies).domain}"

    # Companies

    def _company_makers(self) -> dict[str, Make]:
        return {
            "name": lambda number, _: business(number).name,
            "domain": lambda number, _: business(number).domain,
            "website": lambda number, _: f"https://www.{business(number).domain}",
            "phone": lambda _, draws: _phone(draws),
            "industry": lambda _, draws: INDUSTRIES[draws[6] % len(INDUSTRIES)],
            "city": lambda _, draws: _PLACES[draws[5] % len(_PLACES)][0],
            "country": lambda _, draws: _PLACES[draws[5] % len(_PLACES)][1],
            "numberofemployees": lambda _, draws: str(5 + draws[7] * draws[7] // 900_000),
            "annualrevenue": lambda _, draws: str((1 + draws[8] // 40) * 50_000),
            "lifecyclestage": lambda _, draws: LIFECYCLE[draws[9] % len(LIFECYCLE)],
            **self._shared_makers(COMPANIES),
        }


def _pipeline(draws: Draws) -> Pipeline:
    return PIPELINES[draws[2] % 4 == 0]


def _amount(_: int, draws: Draws) -> str | None:
    """Most are small, a few are large, some are not known yet."""
    draw = draws[7]
    if draw % 20 == 0:
        return None
    euros = 400 + draw * draw // 60_000 + (draw * draw // 9_000 if draw % 7 == 0 else 0)
    return f"{euros}.50" if draw % 3 == 0 else str(euros)


def _phone(draws: Draws) -> str:
    return f"{_PLACES[draws[5] % len(_PLACES)][2]} {draws[10] % 10_000:04d}"

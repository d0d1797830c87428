"""Metrics of customers: what is open, who owns it, and what nobody looks after."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from urllib.parse import urlencode

import msgspec

from muster.access.roles import Permission
from muster.crm.catalogue import TAG as CATALOGUE
from muster.crm.catalogue import Catalogues
from muster.crm.fields import Kind
from muster.crm.lists import NOBODY, ORPHANED
from muster.crm.mirror import kind_tag
from muster.crm.owners import PEOPLE_TAG, Owners, Standing
from muster.crm.owners import TAG as OWNERS
from muster.dashboard.metrics import Figure, Metric, Picture, Row, Section, Source, Value, sole
from muster.platform.database import Database

STALLED_DAYS = 30
SHOWN = 12
OUT = (Standing.SUSPENDED, Standing.ARCHIVED, Standing.DELETED)


def _open_deals(**filters: str) -> str:
    return f"/crm/deals?{urlencode({'state': 'open', **filters})}"


_STALLED_DEALS = _open_deals(stalled=str(STALLED_DAYS))
_ORPHANED_DEALS = _open_deals(owner=ORPHANED)
_DEALS, _WHO = kind_tag(Kind.DEALS), (OWNERS, PEOPLE_TAG)
_of_customers = partial(
    Metric, section=Section.CUSTOMERS, source=Source.HUBSPOT, may=Permission.SEE_CUSTOMERS
)


class CustomerMetrics:
    def __init__(self, database: Database, owners: Owners, catalogues: Catalogues) -> None:
        self._database = database
        self._owners = owners
        self._catalogues = catalogues

    def metrics(self) -> list[Metric]:
        return [
            _of_customers(
                id="customers.orphaned_deals",
                title="Open deals nobody looks after",
                question="How many open deals belong to somebody suspended, deleted or missing, and what are "
                "they worth?",
                read=self.orphaned_deals,
                tags=(_DEALS, *_WHO),
                href="/crm/leavers",
                href_may=Permission.REASSIGN_CUSTOMERS,
            ),
            _of_customers(
                id="customers.leavers_with_access",
                title="Leavers with access to HubSpot",
                question="Who is suspended, archived or deleted in Workspace, and still active in HubSpot?",
                read=self.leavers_with_access,
                tags=_WHO,
                href="/crm/owners",
            ),
            _of_customers(
                id="customers.unmatched_owners",
                title="Owners unknown to Workspace",
                question="Which active owners in HubSpot have an address that is nobody's in Workspace?",
                read=self.unmatched_owners,
                tags=_WHO,
                href=f"/crm/owners?{urlencode({'standing': Standing.UNKNOWN})}",
            ),
            _of_customers(
                id="customers.stalled_deals",
                title="Stalled deals",
                question=f"How many open deals have seen neither change nor contact for {STALLED_DAYS} days?",
                read=self.stalled_deals,
                tags=(_DEALS,),
                href=_STALLED_DEALS,
            ),
            _of_customers(
                id="customers.without_owner",
                title="Contacts and companies without an owner",
                question="How many contacts and companies belong to somebody who is out, or to nobody?",
                read=self.without_owner,
                tags=(kind_tag(Kind.CONTACTS), kind_tag(Kind.COMPANIES), *_WHO),
                href="/crm/leavers",
                href_may=Permission.REASSIGN_CUSTOMERS,
            ),
            _of_customers(
                id="customers.pipeline_by_stage",
                title="Open pipeline by stage",
                question="What is open in which stage, and what of it is likely to come?",
                read=self.pipeline_by_stage,
                tags=(_DEALS, CATALOGUE),
                href="/crm/deals?state=open",
                picture=Picture.PARTS,
            ),
            _of_customers(
                id="customers.pipeline_by_owner",
                title="Open pipeline by owner",
                question="What is open with whom, and what of it is likely to come?",
                read=self.pipeline_by_owner,
                tags=(_DEALS, CATALOGUE, *_WHO),
                href="/crm/owners",
                picture=Picture.PARTS,
            ),
        ]

    async def orphaned_deals(self) -> Value:
        owners = await self._owners.list_all()
        if not await self._is_synced():
            return _NOTHING
        live = [owner.id for owner in owners if not owner.standing.is_orphaning]
        sums = await self._database.rows(_Sum, _ORPHANED, [live])
        return Value(figures=_counted(sums, name="deals", href=_ORPHANED_DEALS, is_worry=True))

    async def leavers_with_access(self) -> Value:
        owners = await self._owners.list_all()
        if not owners:
            return _NOTHING
        out = [owner for owner in owners if owner.standing in OUT and not owner.is_deactivated]
        by_standing = {standing: sum(1 for owner in out if owner.standing is standing) for standing in OUT}
        return Value(
            figures=[
                Figure(
                    name="owners",
                    label=f"of {len(owners):,} owners",
                    value=len(out),
                    is_worry=bool(out),
                ),
                *(
                    Figure(
                        name=standing.value,
                        label=standing.value.capitalize(),
                        value=count,
                        href=f"/crm/owners?{urlencode({'standing': standing.value})}",
                    )
                    for standing, count in by_standing.items()
                    if count
                ),
            ]
        )

    async def unmatched_owners(self) -> Value:
        owners = await self._owners.list_all()
        if not owners:
            return _NOTHING
        unknown = [
            owner for owner in owners if owner.standing is Standing.UNKNOWN and not owner.is_deactivated
        ]
        return Value(
            figures=[
                Figure(
                    name="owners",
                    label=f"of {len(owners):,} owners",
                    value=len(unknown),
                    is_worry=bool(unknown),
                )
            ]
        )

    async def stalled_deals(self) -> Value:
        sums = await self._database.rows(_Sum, _STALLED, [STALLED_DAYS])
        if not sums and not await self._is_synced():
            return _NOTHING
        return Value(figures=_counted(sums, name="deals", href=_STALLED_DEALS))

    async def without_owner(self) -> Value:
        owners = await self._owners.list_all()
        live = [owner.id for owner in owners if not owner.standing.is_orphaning]
        found = await sole(self._database, _Ownerless, _OWNERLESS, {"live": live})
        if not found.total:
            return _NOTHING
        return Value(
            figures=[
                Figure(
                    name="contacts_out",
                    label="Contacts, owner out",
                    value=found.contacts_out,
                    href=f"/crm/contacts?owner={ORPHANED}",
                ),
                Figure(
                    name="companies_out",
                    label="Companies, owner out",
                    value=found.companies_out,
                    href=f"/crm/companies?owner={ORPHANED}",
                ),
                Figure(
                    name="contacts_none",
                    label="Contacts of nobody",
                    value=found.contacts_none,
                    href=f"/crm/contacts?owner={NOBODY}",
                ),
                Figure(
                    name="companies_none",
                    label="Companies of nobody",
                    value=found.companies_none,
                    href=f"/crm/companies?owner={NOBODY}",
                ),
            ]
        )

    async def pipeline_by_stage(self) -> Value:
        catalogue = await self._catalogues.get()
        groups = await self._database.rows(_Group, _BY_STAGE)
        places = {(one.pipeline_id, one.id): place for place, one in enumerate(catalogue.stages)}
        has_several = len(catalogue.pipelines) > 1
        groups.sort(key=lambda one: places.get((one.pipeline_id, one.key), len(places)))

        def label(group: _Group) -> str:
            stage = catalogue.stage_or_gone(group.key, group.pipeline_id)
            if stage is None:
                return group.key or "No stage"
            return f"{stage.pipeline}: {stage.label}" if has_several else stage.label

        return await self._pipeline(
            groups,
            _totals(groups),
            lambda one: Row(
                label=label(one),
                value=float(one.amount),
                part=float(one.weighted),
                unit=one.currency,
                href=_open_deals(pipeline=one.pipeline_id, stage=one.key),
            ),
        )

    async def pipeline_by_owner(self) -> Value:
        names = {owner.id: owner.name for owner in await self._owners.list_all()}
        groups = await self._database.rows(_Group, _BY_OWNER)
        owning = Figure(
            name="owners", label="owners with open deals", value=len({one.key for one in groups if one.key})
        )
        return await self._pipeline(
            groups,
            [owning],
            lambda one: Row(
                label=names.get(one.key, f"Owner {one.key}") if one.key else "Nobody",
                value=float(one.amount),
                part=float(one.weighted),
                unit=one.currency,
                href=_open_deals(owner=one.key or NOBODY),
            ),
        )

    async def _pipeline(
        self, groups: Sequence["_Group"], figures: list[Figure], row: Callable[["_Group"], Row]
    ) -> Value:
        """Amounts of unlike currencies do not add up: the one most deals are in is drawn."""
        if not groups and not await self._is_synced():
            return _NOTHING
        deals = Counter[str]()
        for one in groups:
            deals[one.currency] += one.deals
        drawn = deals.most_common(1)[0][0] if deals else ""
        return Value(
            figures=figures,
            rows=_folded([row(one) for one in groups if one.currency == drawn]),
            note=f"The picture is of deals in {drawn or 'no currency'}." if len(deals) > 1 else "",
        )

    async def _is_synced(self) -> bool:
        """Whether a zero means none, or only that nothing was read yet."""
        return bool(await self._database.value("SELECT EXISTS (SELECT FROM crm_records)"))


_NOTHING = Value(
    note="Nothing has been read from HubSpot yet: HUBSPOT_TOKEN must be set, and a first sync be run."
)


def _totals(groups: Sequence["_Group"]) -> list[Figure]:
    """How many deals, and for each currency, the most usual first, what they come to."""
    totals: dict[str, _Total] = defaultdict(_Total)
    for one in groups:
        totals[one.currency].add(one)
    figures = [Figure(name="deals", label="open deals", value=sum(one.deals for one in groups))]
    for currency in sorted(totals, key=lambda currency: (-totals[currency].deals, currency)):
        total, unit = totals[currency], currency or "no currency"
        figures += [
            Figure(name=f"amount_{unit}", label="open", value=float(total.amount), unit=unit),
            Figure(name=f"weighted_{unit}", label="likely", value=float(total.weighted), unit=unit),
        ]
    return figures


def _folded(rows: Sequence[Row]) -> list[Row]:
    """No more than a picture holds; the last ones are added up."""
    if len(rows) <= SHOWN:
        return list(rows)
    rest = rows[SHOWN - 1 :]
    together = Row(
        label=f"{len(rest)} others",
        value=sum(one.value for one in rest),
        part=sum(one.part or 0 for one in rest),
        unit=rest[0].unit,
    )
    return [*rows[: SHOWN - 1], together]


def _counted(sums: Sequence["_Sum"], *, name: str, href: str, is_worry: bool = False) -> list[Figure]:
    """How many there are, and what they are worth in each currency."""
    deals = sum(one.deals for one in sums)
    return [
        Figure(name=name, label="deals", value=deals, href=href, is_worry=is_worry and deals > 0),
        *(
            Figure(
                name=f"amount_{one.currency or 'no currency'}",
                label="open",
                value=float(one.amount),
                unit=one.currency or "no currency",
            )
            for one in sums
        ),
    ]


class _Sum(msgspec.Struct, frozen=True):
    currency: str
    deals: int
    amount: Decimal


class _Group(msgspec.Struct, frozen=True):
    """Open deals of one stage or owner, in one currency."""

    key: str
    pipeline_id: str
    currency: str
    deals: int
    amount: Decimal
    weighted: Decimal


class _Total:
    def __init__(self) -> None:
        self.deals, self.amount, self.weighted = 0, Decimal(0), Decimal(0)

    def add(self, group: _Group) -> None:
        self.deals += group.deals
        self.amount += group.amount
        self.weighted += group.weighted


class _Ownerless(msgspec.Struct, frozen=True):
    total: int
    contacts_out: int
    companies_out: int
    contacts_none: int
    companies_none: int


_ORPHANED = """
SELECT currency, count(*) AS deals, COALESCE(sum(amount), 0) AS amount FROM crm_records
WHERE kind = 'deals' AND archived_at IS NULL AND NOT is_closed AND owner_id <> '' AND owner_id <> ALL(%s)
GROUP BY currency ORDER BY deals DESC, currency
"""

_STALLED = """
SELECT currency, count(*) AS deals, COALESCE(sum(amount), 0) AS amount FROM crm_records
WHERE kind = 'deals' AND archived_at IS NULL AND NOT is_closed
    AND GREATEST(modified_at, contacted_at)
        < date_trunc('day', now(), 'UTC') - make_interval(days => %s)
GROUP BY currency ORDER BY deals DESC, currency
"""
"""A contact in the future is a meeting that is planned, so such a deal does not stand still."""

_OWNERLESS = """
SELECT count(*) AS total,
    count(*) FILTER (WHERE kind = 'contacts' AND is_out) AS contacts_out,
    count(*) FILTER (WHERE kind = 'companies' AND is_out) AS companies_out,
    count(*) FILTER (WHERE kind = 'contacts' AND owner_id = '') AS contacts_none,
    count(*) FILTER (WHERE kind = 'companies' AND owner_id = '') AS companies_none
FROM (
    SELECT kind, owner_id, owner_id <> '' AND owner_id <> ALL(%(live)s) AS is_out FROM crm_records
    WHERE kind IN ('contacts', 'companies') AND archived_at IS NULL
) AS owned
"""

_BY_STAGE = """
SELECT stage_id AS key, pipeline_id, currency, deals, amount,
    round(amount * COALESCE(probability, 0)::numeric, 2) AS weighted
FROM (
    SELECT pipeline_id, stage_id, currency, count(*) AS deals, COALESCE(sum(amount), 0) AS amount
    FROM crm_records WHERE kind = 'deals' AND archived_at IS NULL AND NOT is_closed GROUP BY 1, 2, 3
) AS open LEFT JOIN (SELECT pipeline_id, id AS stage_id, probability FROM crm_stages) AS stages
    USING (pipeline_id, stage_id)
"""

_BY_OWNER = """
SELECT owner_id AS key, '' AS pipeline_id, currency, sum(deals)::int AS deals, sum(amount) AS amount,
    round(sum(amount * COALESCE(probability, 0)::numeric), 2) AS weighted
FROM (
    SELECT owner_id, pipeline_id, stage_id, currency, count(*) AS deals, COALESCE(sum(amount), 0) AS amount
    FROM crm_records WHERE kind = 'deals' AND archived_at IS NULL AND NOT is_closed GROUP BY 1, 2, 3, 4
) AS open LEFT JOIN (SELECT pipeline_id, id AS stage_id, probability FROM crm_stages) AS stages
    USING (pipeline_id, stage_id)
GROUP BY owner_id, currency ORDER BY amount DESC, key
"""

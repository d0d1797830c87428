"""Metrics of the people of the company, and of how they sign in."""

from decimal import Decimal
from functools import partial
from urllib.parse import urlencode

import msgspec

from muster.access.roles import Permission
from muster.dashboard.metrics import (
    Figure,
    Metric,
    Month,
    Newcomer,
    Picture,
    Row,
    Section,
    Source,
    Value,
    percent,
    sole,
)
from muster.people.tags import PEOPLE
from muster.platform.database import Database

HEADCOUNT = "people.headcount"
MONTHS = 12
NEWCOMERS = 8
IDLE_DAYS = (30, 60, 90)
UNUSED_AFTER = IDLE_DAYS[-1]


class SeatPrice(msgspec.Struct, frozen=True):
    """What a seat costs a month."""

    amount: Decimal
    currency: str

    @classmethod
    def of(cls, said: str) -> "SeatPrice | None":
        """Of an amount and a currency, as the setting has been checked to be; None where it says nothing."""
        amount, _, currency = said.partition(" ")
        return cls(Decimal(amount), currency) if said else None


class PeopleMetrics:
    def __init__(self, database: Database, *, seat_price: SeatPrice | None) -> None:
        self._database = database
        self._seat_price = seat_price

    def metrics(self) -> list[Metric]:
        return [
            _of_people(
                id=HEADCOUNT,
                title="Headcount",
                question="How many people does the directory hold, and how do they stand?",
                read=self.headcount,
                href="/people",
            ),
            _of_people(
                id="people.turnover",
                title="Joined and left",
                question="How many people came and went, month by month?",
                read=self.turnover,
                is_followed=False,
                href="/people/changes",
                picture=Picture.MONTHS,
            ),
            _of_people(
                id="people.departments",
                title="Departments",
                question="How many people are in which department?",
                read=self.departments,
                is_followed=False,
                href="/people?sort=department",
                picture=Picture.BARS,
            ),
            _of_people(
                id="people.newcomers",
                title="New colleagues",
                question="Who has joined within the last 30 days?",
                read=self.newcomers,
                is_followed=False,
                href="/people?sort=-joined",
                picture=Picture.PEOPLE,
            ),
            _of_people(
                id="people.admins",
                title="Workspace administrators",
                question="How many people are administrators, and has that changed within 30 days?",
                read=self.admins,
                href="/people?admins=true",
                section=Section.SECURITY,
            ),
            _of_sign_ins(
                id="security.admins_without_two_step",
                title="Administrators without 2-step",
                question="How many administrators sign in with a password alone?",
                read=self.admins_without_two_step,
                href="/people?admins=true&two_step=off",
            ),
            _of_sign_ins(
                id="security.unused_seats",
                title="Unused seats",
                question=f"How many active accounts has nobody used for {UNUSED_AFTER} days?",
                read=self.unused_seats,
                href=f"/people?status=active&idle_days={UNUSED_AFTER}",
            ),
            _of_sign_ins(
                id="security.two_step",
                title="2-step sign-in",
                question="How many of those who may sign in have 2-step, by org unit?",
                read=self.two_step,
                href="/people?two_step=off",
                picture=Picture.SHARES,
            ),
            _of_sign_ins(
                id="security.idle",
                title="Not signed in",
                question="How many accounts has nobody used for 30, 60 or 90 days?",
                read=self.idle,
                href=f"/people?idle_days={IDLE_DAYS[0]}",
                picture=Picture.BARS,
            ),
        ]

    async def headcount(self) -> Value:
        async with self._database.reading() as statements:
            counts: dict[str, int] = await statements.pairs(_HEADCOUNT)
        said = {"active": "Active", "suspended": "Suspended", "archived": "Archived", "guest": "Guests"}
        return Value(
            figures=[
                Figure(name="total", label="Everybody here", value=sum(counts.values()), href="/people"),
                *(
                    Figure(
                        name=status, label=label, value=counts.get(status, 0), href=f"/people?status={status}"
                    )
                    for status, label in said.items()
                ),
            ]
        )

    async def turnover(self) -> Value:
        months = await self._database.rows(Month, _MONTHS, {"months": MONTHS})
        now = months[-1]
        return Value(
            figures=[
                Figure(name="joined", label="Joined this month", value=now.joined),
                Figure(name="left", label="Left this month", value=now.left),
            ],
            months=months,
        )

    async def departments(self) -> Value:
        rows = await self._database.rows(_Counted, _DEPARTMENTS)
        return Value(
            figures=[Figure(name="departments", label="Departments", value=len(rows))],
            rows=[
                Row(
                    label=one.name,
                    value=one.people,
                    href=f"/people?{urlencode({'department': one.name})}",
                )
                for one in rows[:100]
            ],
        )

    async def newcomers(self) -> Value:
        rows = await self._database.rows(_Newcomer, _NEWCOMERS, [NEWCOMERS])
        return Value(
            figures=[Figure(name="newcomers", label="In 30 days", value=rows[0].total if rows else 0)],
            people=[
                Newcomer(
                    id=one.id,
                    name=one.name,
                    email=one.email,
                    title=one.title,
                    department=one.department,
                    joined_on=one.joined_on,
                )
                for one in rows
            ],
        )

    async def admins(self) -> Value:
        found = await sole(self._database, _Admins, _ADMINS)
        since = "/people/changes?kind="
        return Value(
            figures=[
                Figure(name="admins", label="Super admins", value=found.admins, href="/people?admins=true"),
                Figure(
                    name="delegated", label="Delegated", value=found.delegated, href="/people?admins=true"
                ),
                Figure(name="made", label="Made in 30 days", value=found.made, href=f"{since}made_admin"),
                Figure(name="ended", label="Ended in 30 days", value=found.ended, href=f"{since}admin_ended"),
            ]
        )

    async def admins_without_two_step(self) -> Value:
        found = await sole(self._database, _Share, _ADMINS_WITHOUT)
        return Value(
            figures=[
                Figure(name="without", label=f"of {found.total:,}", value=found.part, is_worry=found.part > 0)
            ]
        )

    async def two_step(self) -> Value:
        units = await self._database.rows(_Unit, _TWO_STEP)
        total, on = sum(one.total for one in units), sum(one.part for one in units)
        if not total:
            return Value(note="Nobody may sign in yet.")
        return Value(
            figures=[
                Figure(name="coverage", label="of all who may sign in", value=percent(on, total), unit="%"),
                Figure(name="without", label="Without", value=total - on, href="/people?two_step=off"),
            ],
            rows=[
                Row(
                    label=one.unit,
                    value=one.total,
                    part=one.part,
                    href=f"/people?{urlencode({'org_unit': one.unit, 'two_step': 'off'})}",
                )
                for one in units
            ],
        )

    async def idle(self) -> Value:
        found = await sole(self._database, _Idle, _IDLE)
        if not found.is_known:
            return Value(note=_UNKNOWN)
        return Value(
            figures=[
                Figure(
                    name=f"idle_{days}",
                    label=f"for {days} days",
                    value=found.of(days),
                    href=f"/people?idle_days={days}",
                )
                for days in IDLE_DAYS
            ],
            rows=[
                *(
                    Row(
                        label=f"For {days} days",
                        value=found.of(days),
                        href=f"/people?idle_days={days}",
                    )
                    for days in IDLE_DAYS
                ),
                Row(label="Never, for 30 days since joining", value=found.never),
            ],
        )

    async def unused_seats(self) -> Value:
        found = await sole(self._database, _Idle, _IDLE)
        if not found.is_known:
            return Value(note=_UNKNOWN)
        seats = Figure(
            name="seats",
            label=f"of {found.active:,} active accounts",
            value=found.seats,
            href=f"/people?status=active&idle_days={UNUSED_AFTER}",
        )
        price = self._seat_price
        if price is None:
            return Value(figures=[seats], note="Set SEAT_PRICE to see them in money.")
        cost = round(float(found.seats * price.amount), 2)
        return Value(
            figures=[seats, Figure(name="cost", label="a month", value=cost, unit=price.currency)],
        )


_of_people = partial(
    Metric, section=Section.PEOPLE, source=Source.GOOGLE, may=Permission.SEE_PEOPLE, tags=(PEOPLE,)
)
_of_sign_ins = partial(
    Metric, section=Section.SECURITY, source=Source.GOOGLE, may=Permission.SEE_SIGN_INS, tags=(PEOPLE,)
)
_UNKNOWN = "Google has not told of any sign-in yet."


class _Counted(msgspec.Struct, frozen=True):
    name: str
    people: int


class _Newcomer(Newcomer, frozen=True, kw_only=True):
    total: int


class _Admins(msgspec.Struct, frozen=True):
    admins: int
    delegated: int
    made: int
    ended: int


class _Share(msgspec.Struct, frozen=True):
    part: int
    total: int


class _Unit(msgspec.Struct, frozen=True):
    unit: str
    part: int
    total: int


class _Idle(msgspec.Struct, frozen=True):
    """People who have not signed in for so many days; `seats` are active accounts of the company's own."""

    is_known: bool
    idle_30: int
    idle_60: int
    idle_90: int
    never: int
    seats: int
    active: int

    def of(self, days: int) -> int:
        return {30: self.idle_30, 60: self.idle_60, 90: self.idle_90}[days]


_HEADCOUNT = "SELECT status, count(*) FROM people WHERE removed_at IS NULL GROUP BY status"

_DEPARTMENTS = """
SELECT department AS name, count(*) AS people FROM people
WHERE removed_at IS NULL AND department <> '' GROUP BY department ORDER BY people DESC, name
"""

_NEWCOMERS = """
SELECT google_id AS id, name, email, title, department, joined_at::date AS joined_on,
    count(*) OVER () AS total
FROM people WHERE removed_at IS NULL AND COALESCE(joined_at, '-infinity') > now() - interval '30 days'
ORDER BY COALESCE(joined_at, '-infinity') DESC LIMIT %s
"""

_MONTHS = """
WITH months AS (
    SELECT generate_series(
        date_trunc('month', now()) - make_interval(months => %(months)s - 1),
        date_trunc('month', now()), interval '1 month'
    ) AS month
), joined AS (
    SELECT date_trunc('month', joined_at) AS month, count(*) AS n FROM people
    WHERE COALESCE(joined_at, '-infinity') >= (SELECT min(month) FROM months) GROUP BY 1
), left_ AS (
    SELECT date_trunc('month', removed_at) AS month, count(*) AS n FROM people
    WHERE removed_at >= (SELECT min(month) FROM months) GROUP BY 1
), told AS (
    -- What the last snapshot of a month knew is kept, whatever is deleted or restored since.
    SELECT date_trunc('month', day) AS of_month, max(value) FILTER (WHERE name = 'joined') AS joined,
        max(value) FILTER (WHERE name = 'left') AS left_
    FROM (
        SELECT DISTINCT ON (date_trunc('month', day), name) day, name, value FROM metric_snapshots
        WHERE metric = 'people.turnover' AND day >= (SELECT min(month) FROM months)
        ORDER BY date_trunc('month', day), name, day DESC
    ) AS last_of_month GROUP BY 1
)
SELECT month::date AS month, GREATEST(COALESCE(joined.n, 0), told.joined)::int AS joined,
    GREATEST(COALESCE(left_.n, 0), told.left_)::int AS left
FROM months LEFT JOIN joined USING (month) LEFT JOIN left_ USING (month)
    LEFT JOIN told ON of_month = month AND month < date_trunc('month', now())
ORDER BY month
"""

_ADMINS = """
SELECT count(*) FILTER (WHERE is_admin) AS admins,
    count(*) FILTER (WHERE is_delegated_admin AND NOT is_admin) AS delegated,
    (SELECT count(*) FROM people_changes
     WHERE kinds @> '{made_admin}' AND at > now() - interval '30 days') AS made,
    (SELECT count(*) FROM people_changes
     WHERE kinds @> '{admin_ended}' AND at > now() - interval '30 days') AS ended
FROM people WHERE (is_admin OR is_delegated_admin) AND removed_at IS NULL
"""

_ADMINS_WITHOUT = """
SELECT count(*) FILTER (WHERE NOT enrolled_2sv) AS part, count(*) AS total
FROM people WHERE (is_admin OR is_delegated_admin) AND status IN ('active', 'guest')
"""

_TWO_STEP = """
SELECT '/' || split_part(org_unit, '/', 2) AS unit, count(*) FILTER (WHERE enrolled_2sv) AS part,
    count(*) AS total
FROM people WHERE status IN ('active', 'guest') GROUP BY 1
ORDER BY count(*) FILTER (WHERE NOT enrolled_2sv) DESC, unit
"""
"""By the units right under the company's root, which hold all below them."""

_IDLE = """
SELECT bool_or(last_login_at IS NOT NULL) IS TRUE AS is_known,
    count(*) FILTER (WHERE used_at < now() - interval '30 days') AS idle_30,
    count(*) FILTER (WHERE used_at < now() - interval '60 days') AS idle_60,
    count(*) FILTER (WHERE used_at < now() - interval '90 days') AS idle_90,
    count(*) FILTER (WHERE last_login_at IS NULL AND used_at < now() - interval '30 days') AS never,
    count(*) FILTER (WHERE status = 'active' AND used_at < now() - interval '90 days') AS seats,
    count(*) FILTER (WHERE status = 'active') AS active
FROM (
    SELECT status, last_login_at, COALESCE(last_login_at, joined_at, first_seen_at) AS used_at
    FROM people WHERE status IN ('active', 'guest')
) AS accounts
"""
"""Whoever has never signed in counts from when their account was made."""

"""What happened to people: who joined, left, moved, and how somebody stood on any day."""

from collections.abc import AsyncGenerator
from datetime import date, datetime
from typing import Any

import msgspec
from psycopg import sql

from muster.errors import Invalid
from muster.platform.database import Database
from muster.platform.search import containing

PAGE = 50
BATCH = 1000
COUNTED = 100_000
"""So many of the newest are counted; a history of years would take seconds."""

KINDS = {
    "joined": "Joined",
    "left": "Left",
    "returned": "Came back",
    "suspended": "Suspended",
    "archived": "Archived",
    "restored": "Restored",
    "purged": "Gone for good",
    "renamed": "Renamed",
    "moved": "Moved",
    "made_admin": "Made admin",
    "admin_ended": "No longer admin",
    "joined_group": "Joined a group",
    "left_group": "Left a group",
    "changed": "Changed",
}
"""What a change was, as it stands in the address and the API → its label."""

FIELDS = {
    "status": "Status",
    "email": "E-mail",
    "name": "Name",
    "title": "Title",
    "department": "Department",
    "cost_center": "Cost centre",
    "org_unit": "Org unit",
    "manager_email": "Manager",
    "employee_id": "Employee id",
    "aliases": "Aliases",
    "emails": "Other addresses",
    "phones": "Phones",
    "locations": "Places",
    "custom_schemas": "Custom fields",
    "is_admin": "Administrator",
    "is_delegated_admin": "Delegated administrator",
    "is_guest": "Guest",
    "enrolled_2sv": "2-step sign-in",
    "enforced_2sv": "2-step enforced",
    "suspended_reason": "Reason of the suspension",
    "group": "Group",
}
"""Column → how it is called where people read of it; the others only serve to look back."""

PRIVATE_FIELDS = frozenset({"emails", "custom_schemas"})
SIGN_IN_FIELDS = frozenset({"enrolled_2sv", "enforced_2sv"})
"""Those of FIELDS that not everybody may read."""

KINDS_OF_CHANGE = sql.SQL(
    """
    COALESCE(NULLIF(array_remove(ARRAY[
        CASE WHEN fields->'status'->>1 = 'deleted' THEN 'left' END,
        CASE WHEN fields->'status'->>1 = 'purged' AND fields->'status'->>0 = 'deleted' THEN 'purged' END,
        CASE WHEN fields->'status'->>1 = 'purged' AND fields->'status'->>0 <> 'deleted' THEN 'left' END,
        CASE WHEN fields->'status'->>1 = 'suspended' THEN 'suspended' END,
        CASE WHEN fields->'status'->>1 = 'archived' THEN 'archived' END,
        CASE WHEN fields->'status'->>0 IN ('deleted', 'purged')
              AND fields->'status'->>1 NOT IN ('deleted', 'purged') THEN 'returned' END,
        CASE WHEN fields->'status'->>0 IN ('suspended', 'archived')
              AND fields->'status'->>1 IN ('active', 'guest') THEN 'restored' END,
        CASE WHEN fields ?| '{name,email}' THEN 'renamed' END,
        CASE WHEN fields ?| '{org_unit,department,title,manager_email}' THEN 'moved' END,
        CASE WHEN 'true' IN (fields->'is_admin'->>1, fields->'is_delegated_admin'->>1) THEN 'made_admin' END,
        CASE WHEN 'false' IN (fields->'is_admin'->>1, fields->'is_delegated_admin'->>1) THEN 'admin_ended' END
    ], NULL), '{}'), '{changed}')
    """
)
"""SQL: from `fields` (column → [before, after]) what a change was; a change may be several things."""


def people_as_of(moment: datetime, google_id: str | None = None) -> sql.Composed:
    """SQL in the place of the table: everybody, or one, as they were known at `moment`.

    Later changes are undone; whoever has none is taken as they stand. When somebody last signed in is no
    change, so that it is as it is now.
    """
    return _AS_OF.format(
        moment=sql.Literal(moment),
        whose=sql.SQL("AND google_id = {}").format(sql.Literal(google_id)) if google_id else sql.SQL(""),
    )


_AS_OF = sql.SQL(
    """
    (WITH undone AS MATERIALIZED (
         SELECT google_id, jsonb_object_agg(key, before) AS fields FROM (
             SELECT DISTINCT ON (google_id, field.key) google_id, field.key, field.value->0 AS before
             FROM people_changes, jsonb_each(people_changes.fields) AS field
             WHERE people_changes.at > {moment} {whose}
             ORDER BY google_id, field.key, people_changes.id
         ) AS first_since GROUP BY google_id
     )
     SELECT people.* FROM people
     WHERE first_seen_at <= {moment} {whose}
         AND NOT EXISTS (SELECT FROM undone WHERE undone.google_id = people.google_id)
     UNION ALL
     SELECT earlier.* FROM undone JOIN people USING (google_id)
     CROSS JOIN LATERAL jsonb_populate_record(people, undone.fields) AS earlier
     WHERE people.first_seen_at <= {moment})
    """
)


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one person. `fields` are column → [before, after]; `kinds` are of KINDS.

    `source` says how it was learned: from a listing, from Google's push, confirmed by id, or released by
    an administrator (`by_email`), or from the groups.
    """

    id: int
    google_id: str
    at: datetime
    kinds: list[str]
    source: str
    sync_id: int | None
    by_email: str
    name: str
    email: str
    fields: dict[str, list[Any]]


class ChangeFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is of KINDS, or empty for all; `q` is part of a name or an address, then or now.

    `sees` are the fields the reader may know of: a change of nothing else is not there for them.
    """

    sees: tuple[str, ...]
    kind: str = ""
    q: str = ""
    google_id: str = ""
    since: datetime | None = None
    until: datetime | None = None


class ChangePage(msgspec.Struct, frozen=True, kw_only=True):
    """The newest first. `older` and `newer` are the ids to go on from, where there is more."""

    changes: list[Change]
    older: int | None
    newer: int | None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many changes match, by kind and in all, among the newest COUNTED of them."""

    by_kind: dict[str, int]
    total: int

    @property
    def is_whole(self) -> bool:
        return self.total < COUNTED


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """How many came and went on a day, and how many were changed otherwise."""

    day: date
    came: int
    went: int
    other: int


class History:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_changes(
        self, wanted: ChangeFilter, *, before: int | None = None, after: int | None = None, limit: int = PAGE
    ) -> list[Change]:
        """The newest first: those before the id `before`, or the next ones after the id `after`.

        Raises Invalid for an unknown kind.
        """
        condition, values = _condition(wanted)
        forward = after is not None and before is None
        for name, edge, sign in (("before", before, "<"), ("after", after, ">")):
            if edge is not None:
                condition += sql.SQL(" AND id {} {}").format(sql.SQL(sign), sql.Placeholder(name))
                values[name] = edge
        statement = _SELECT.format(condition=condition, order=sql.SQL("ASC" if forward else "DESC"))
        found = await self._database.rows(Change, statement, {**values, "limit": limit})
        return found[::-1] if forward else found

    async def page(
        self, wanted: ChangeFilter, *, before: int | None = None, after: int | None = None, limit: int = PAGE
    ) -> ChangePage:
        """As `list_changes`, with the way on."""
        found = await self.list_changes(wanted, before=before, after=after, limit=limit + 1)
        forward = after is not None and before is None
        more = len(found) > limit
        kept = found[-limit:] if forward else found[:limit]
        has_older, has_newer = (bool(kept), more) if forward else (more, before is not None and bool(kept))
        return ChangePage(
            changes=kept,
            older=kept[-1].id if has_older else None,
            newer=kept[0].id if has_newer else None,
        )

    def stream(self, wanted: ChangeFilter) -> AsyncGenerator[Change, None]:
        """All that match, the newest first. Raises Invalid at once, not at the first row."""
        _condition(wanted)
        return self._batches(wanted)

    async def _batches(self, wanted: ChangeFilter) -> AsyncGenerator[Change, None]:
        edge: int | None = None
        while True:
            found = await self.list_changes(wanted, before=edge, limit=BATCH)
            for change in found:
                yield change
            if len(found) < BATCH:
                return
            edge = found[-1].id

    async def count(self, wanted: ChangeFilter) -> Counts:
        """Of those who match all but the kind."""
        condition, values = _condition(msgspec.structs.replace(wanted, kind=""))
        statement = _COUNT.format(condition)
        async with self._database.reading() as statements:
            by_kind = await statements.pairs(statement, {**values, "counted": COUNTED})
        return Counts(by_kind=by_kind, total=by_kind.pop("", 0))

    async def list_days(self, wanted: ChangeFilter, *, days: int) -> list[Day]:
        """The last `days` days, the oldest first, each with what happened."""
        condition, values = _condition(wanted)
        return await self._database.rows(Day, _DAYS.format(condition), {**values, "days": days - 1})

    async def began_at(self) -> datetime | None:
        """Since when it is known how people stood."""
        began: datetime | None = await self._database.value("SELECT min(first_seen_at) FROM people")
        return began


_SELECT = sql.SQL(
    "SELECT id, google_id, at, kinds, source, sync_id, by_email, name, email, fields FROM people_changes "
    "WHERE {condition} ORDER BY id {order} LIMIT %(limit)s"
)

_COUNT = sql.SQL(
    """
    WITH newest AS MATERIALIZED (
        SELECT kinds FROM people_changes WHERE {} ORDER BY id DESC LIMIT %(counted)s
    )
    SELECT kind, count(*) FROM newest, unnest(kinds) AS kind GROUP BY kind
    UNION ALL SELECT '', count(*) FROM newest
    """
)

_DAYS = sql.SQL(
    """
    WITH days AS (
        SELECT generate_series(today - %(days)s::integer, today, interval '1 day')::date AS day
        FROM (SELECT (now() AT TIME ZONE 'UTC')::date AS today) AS now
    ), happened AS (
        SELECT (at AT TIME ZONE 'UTC')::date AS day, kinds && '{{joined,returned}}' AS has_come,
            kinds && '{{left,purged}}' AS has_gone
        FROM people_changes
        WHERE {} AND at >= (SELECT min(day) FROM days)::timestamp AT TIME ZONE 'UTC'
    )
    SELECT day, count(happened) FILTER (WHERE has_come) AS came,
        count(happened) FILTER (WHERE has_gone AND NOT has_come) AS went,
        count(happened) FILTER (WHERE NOT has_gone AND NOT has_come) AS other
    FROM days LEFT JOIN happened USING (day) GROUP BY day ORDER BY day
    """
)


def _condition(wanted: ChangeFilter) -> tuple[sql.Composable, dict[str, Any]]:
    parts: list[sql.Composable] = [sql.SQL("(kinds <> '{{changed}}' OR fields ?| %(sees)s)").format()]
    values: dict[str, Any] = {"sees": list(wanted.sees)}
    if wanted.kind:
        if wanted.kind not in KINDS:
            raise Invalid(f"There is no kind of change {wanted.kind!r}; expected one of {', '.join(KINDS)}.")
        parts.append(sql.SQL("kinds @> ARRAY[%(kind)s]"))
        values["kind"] = wanted.kind
    if wanted.google_id:
        parts.append(sql.SQL("google_id = %(google_id)s"))
        values["google_id"] = wanted.google_id
    if wanted.q:
        parts.append(
            sql.SQL(
                "(strpos(lower(name), lower(%(q)s)) > 0 OR strpos(email, lower(%(q)s)) > 0 "
                "OR google_id IN (SELECT google_id FROM people WHERE {}))"
            ).format(containing(wanted.q))
        )
        values["q"] = wanted.q
    for name, sign in (("since", ">="), ("until", "<")):
        if moment := getattr(wanted, name):
            parts.append(sql.SQL("at {} {}").format(sql.SQL(sign), sql.Placeholder(name)))
            values[name] = moment
    return sql.SQL(" AND ").join(parts), values

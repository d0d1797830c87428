"""What happened to people: who joined, left, moved, and how somebody stood on any day."""

from datetime import datetime
from typing import Any

import msgspec
from psycopg import sql

from muster.errors import Invalid
from muster.platform.database import Database

PAGE = 50
BATCH = 1000

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

AS_OF = sql.SQL(
    """
    (SELECT (jsonb_populate_record(people, COALESCE(undone.fields, '{{}}'))).*
     FROM people LEFT JOIN (
         SELECT google_id, jsonb_object_agg(key, before) AS fields FROM (
             SELECT DISTINCT ON (people_changes.google_id, field.key)
                 people_changes.google_id, field.key, field.value->0 AS before
             FROM people_changes, jsonb_each(people_changes.fields) AS field
             WHERE people_changes.at > {moment}
             ORDER BY people_changes.google_id, field.key, people_changes.id
         ) AS earliest GROUP BY google_id
     ) AS undone USING (google_id)
     WHERE people.first_seen_at <= {moment})
    """
)
"""SQL in the place of the table: everybody as they were known at `moment`, later changes undone."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one person. `fields` are column → [before, after]; `kinds` are of KINDS.

    `source` says how it was learned: from a listing, from Google's push, confirmed by id, or released by
    an administrator (`by_email`).
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
    """`kind` is of KINDS, or empty for all; `q` is part of a name or an address."""

    kind: str = ""
    q: str = ""
    google_id: str = ""
    since: datetime | None = None
    until: datetime | None = None


_SELECT = sql.SQL(
    "SELECT id, google_id, at, kinds, source, sync_id, by_email, name, email, fields FROM people_changes "
    "WHERE {} ORDER BY id DESC LIMIT %(limit)s"
)


class History:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_changes(
        self, wanted: ChangeFilter, *, before: int | None = None, limit: int = PAGE
    ) -> list[Change]:
        """The newest first; `before` is the id of the last one seen. Raises Invalid for an unknown kind."""
        condition, values = _condition(wanted)
        if before is not None:
            condition += sql.SQL(" AND id < %(before)s")
            values["before"] = before
        return await self._database.rows(Change, _SELECT.format(condition), {**values, "limit": limit})

    async def count_by_kind(self, wanted: ChangeFilter) -> dict[str, int]:
        """Kind → changes, of those who match all else."""
        condition, values = _condition(msgspec.structs.replace(wanted, kind=""))
        async with self._database.reading() as statements:
            return await statements.pairs(
                sql.SQL(
                    "SELECT kind, count(*) FROM people_changes, unnest(kinds) AS kind WHERE {} GROUP BY kind"
                ).format(condition),
                values,
            )

    async def began_at(self) -> datetime | None:
        """Since when it is known how people stood."""
        began: datetime | None = await self._database.value("SELECT min(first_seen_at) FROM people")
        return began


def _condition(wanted: ChangeFilter) -> tuple[sql.Composed, dict[str, Any]]:
    parts: list[sql.Composable] = [sql.SQL("true")]
    values: dict[str, Any] = {}
    if wanted.kind:
        if wanted.kind not in KINDS:
            raise Invalid(f"There is no kind of change {wanted.kind!r}; expected one of {', '.join(KINDS)}.")
        parts.append(sql.SQL("kinds @> ARRAY[%(kind)s]"))
        values["kind"] = wanted.kind
    if wanted.google_id:
        parts.append(sql.SQL("google_id = %(google_id)s"))
        values["google_id"] = wanted.google_id
    if wanted.q:
        parts.append(sql.SQL("(strpos(lower(name), lower(%(q)s)) > 0 OR strpos(email, lower(%(q)s)) > 0)"))
        values["q"] = wanted.q
    for name, sign in (("since", ">="), ("until", "<")):
        if moment := getattr(wanted, name):
            parts.append(sql.SQL("at {} %({})s").format(sql.SQL(sign), sql.SQL(name)))
            values[name] = moment
    return sql.SQL(" AND ").join(parts), values

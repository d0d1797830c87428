"""What the role of DATABASE_URL may do: one table, which `muster migrate` grants and the checklist proves."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Self

import msgspec
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import Error as PostgresError

from muster.errors import Unavailable
from muster.platform.database import Database, Statements, Transaction, first_line

ORDINARY = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""What the portal does to its tables; it never truncates one."""

PRIVILEGES = (*ORDINARY, "TRUNCATE", "REFERENCES", "TRIGGER")
"""All that there are on a table, but for MAINTAIN of PostgreSQL 17, which changes nothing in it."""

GRANTS = {
    "alembic_version": ("SELECT",),
    "audit_log": ("SELECT", "INSERT"),
    "audit_seals": ("SELECT",),
    "audit_verifications": ("SELECT", "INSERT"),
}
"""The tables that are not ordinary. A new one that is needs no line here."""

MIGRATING = 7001
"""The lock that migrations hold: nobody grants what another is still making."""

WAITS = timedelta(minutes=10)
NAMED = 4
"""Tables or objects that are named before the rest are only counted."""


def granted(table: str) -> tuple[str, ...]:
    return GRANTS.get(table, ORDINARY)


async def settle(owner_url: str, app_url: str) -> list[str]:
    """Let the role of `app_url` use the owner's tables as declared, and no more; make it if it is missing.

    Gives what the role may do beyond that and its owner could not take from it, in words. Does nothing
    where both are one role. Raises Unavailable with the statement that only somebody else can run.
    """
    app, owner = conninfo_to_dict(app_url), conninfo_to_dict(owner_url)
    if app.get("user") == owner.get("user"):
        return []
    role = str(app.get("user") or "")
    if not role:
        raise Unavailable("DATABASE_URL names no role, so nothing can be granted to it")
    database = Database(owner_url, application="muster-migrate", min_size=1, max_size=1)
    await database.open()
    try:
        await _make(database, role, app.get("password"))
        async with _alone(database) as tx:
            await _grant(tx, role)
            await _see_the_door_open(tx, role)
            return (await Standing.of(tx, role)).beyond
    finally:
        await database.close()


@asynccontextmanager
async def _alone(database: Database) -> AsyncIterator[Transaction]:
    """A transaction beside which nobody migrates or grants."""
    async with database.transaction(deadline=WAITS) as tx:
        await tx.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATING])
        yield tx


async def _make(database: Database, role: str, password: object) -> None:
    """In a transaction of its own: some providers look at a role only as it is committed, and refuse then."""
    try:
        async with _alone(database) as tx:
            if not await tx.value("SELECT true FROM pg_roles WHERE rolname = %s", [role]):
                await _create(tx, role, password)
    except PostgresError as error:
        raise Unavailable(f"the role {role} cannot be made: {first_line(error)}; {_by_hand(role)}") from error


async def _create(tx: Transaction, role: str, password: object) -> None:
    if not await tx.value("SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"):
        owner = await tx.value("SELECT current_user")
        raise Unavailable(
            f"the role {role} of DATABASE_URL is missing, and {owner} may not make it; {_by_hand(role)}"
        )
    statement = sql.SQL("CREATE ROLE {} LOGIN NOINHERIT").format(sql.Identifier(role))
    if password:
        verifier = tx.verifier(str(password), role=role)
        statement = sql.SQL("{} PASSWORD {}").format(statement, sql.Literal(verifier))
    await tx.execute(statement)


def _by_hand(role: str) -> str:
    name = sql.Identifier(role).as_string()
    return f"CREATE ROLE {name} LOGIN NOINHERIT PASSWORD '…' makes it, then run `muster migrate` again"


class _Place(msgspec.Struct, frozen=True):
    database: str
    schema: str
    has_database: bool
    """Whether who migrates owns it, and so may grant and revoke on it."""
    has_schema: bool


_PLACE = """
SELECT current_database() AS database, nspname AS schema,
    pg_has_role(current_user, datdba, 'USAGE') AS has_database,
    pg_has_role(current_user, nspowner, 'USAGE') AS has_schema
FROM pg_database, pg_namespace WHERE datname = current_database() AND nspname = current_schema()
"""

_ON_DATABASE = (
    sql.SQL("REVOKE ALL ON DATABASE {place} FROM {role} CASCADE"),
    sql.SQL("REVOKE CREATE, TEMPORARY ON DATABASE {place} FROM PUBLIC CASCADE"),
    # Temporary tables, since a sync copies what has changed into one: they show nothing that its
    # connection does not know, and end with it.
    sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {place} TO {role}"),
)
_ON_SCHEMA = (
    sql.SQL("REVOKE ALL ON SCHEMA {place} FROM {role} CASCADE"),
    sql.SQL("REVOKE CREATE ON SCHEMA {place} FROM PUBLIC CASCADE"),
    sql.SQL("GRANT USAGE ON SCHEMA {place} TO {role}"),
)

_OURS = """
SELECT relname FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
  AND relkind = ANY(%s) AND pg_has_role(current_user, relowner, 'USAGE')
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid
                  AND deptype = 'e')
ORDER BY relname
"""
"""Tables or sequences of who migrates; those of an extension are the extension's."""


async def _grant(tx: Transaction, role: str) -> None:
    place = await tx.row(_Place, _PLACE)
    if place is None:
        raise Unavailable("there is no schema to keep tables in; expected one named public")
    name = sql.Identifier(role)
    if place.has_database:
        for statement in _ON_DATABASE:
            await tx.execute(statement.format(place=sql.Identifier(place.database), role=name))
    if place.has_schema:
        for statement in _ON_SCHEMA:
            await tx.execute(statement.format(place=sql.Identifier(place.schema), role=name))
    by_privileges: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for table in await tx.column(_OURS, [["r", "p"]]):
        by_privileges[granted(table)].append(table)
    for privileges, tables in by_privileges.items():
        await _only(
            tx, privileges, sql.SQL("TABLE"), [sql.Identifier(place.schema, one) for one in tables], name
        )
    sequences = [sql.Identifier(place.schema, one) for one in await tx.column(_OURS, [["S"]])]
    if sequences:
        await _only(tx, ["USAGE"], sql.SQL("SEQUENCE"), sequences, name)


async def _only(
    tx: Transaction,
    privileges: Sequence[str],
    kind: sql.SQL,
    objects: Sequence[sql.Identifier],
    role: sql.Identifier,
) -> None:
    """These privileges and no others, those on single columns included."""
    listed = sql.SQL(", ").join(objects)
    await tx.execute(sql.SQL("REVOKE ALL ON {} {} FROM PUBLIC, {} CASCADE").format(kind, listed, role))
    words = sql.SQL(", ").join(map(sql.SQL, privileges))
    await tx.execute(sql.SQL("GRANT {} ON {} {} TO {}").format(words, kind, listed, role))


async def _see_the_door_open(tx: Transaction, role: str) -> None:
    """What only the owner of database or schema can grant, where that is somebody else."""
    closed = await tx.column(
        """
        SELECT format(statement, current_database(), current_schema(), quote_ident(rolname))
        FROM pg_roles, LATERAL (VALUES
            (rolcanlogin, 'ALTER ROLE %%3$s LOGIN'),
            (has_database_privilege(oid, current_database(), 'CONNECT'),
             'GRANT CONNECT ON DATABASE %%1$I TO %%3$s'),
            (has_database_privilege(oid, current_database(), 'TEMPORARY'),
             'GRANT TEMPORARY ON DATABASE %%1$I TO %%3$s'),
            (has_schema_privilege(oid, current_schema(), 'USAGE'), 'GRANT USAGE ON SCHEMA %%2$I TO %%3$s')
        ) AS wanted (is_so, statement)
        WHERE rolname = %s AND NOT is_so
        """,
        [role],
    )
    if closed:
        raise Unavailable(f"the role {role} cannot get in; somebody who may has to run {'; '.join(closed)}")


class _Right(msgspec.Struct, frozen=True):
    role: str
    right: str
    """A privilege, `owns`, or the whole of it in words."""
    subject: str
    """The table or object; "" where the right is of none."""


_RIGHTS = """
WITH me AS (SELECT * FROM pg_roles WHERE rolname = %(role)s),
reached AS (  -- itself and what it may become, save that a superuser may become anyone, which says nothing
    SELECT r.* FROM pg_roles r, me
    WHERE r.oid = me.oid OR (NOT me.rolsuper AND pg_has_role(me.oid, r.oid, 'MEMBER'))
),
mortal AS (SELECT * FROM reached WHERE NOT rolsuper),
schemas AS (SELECT * FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
found (oid, right_, subject) AS (
    SELECT oid, 'is a superuser', '' FROM reached WHERE rolsuper
    UNION ALL SELECT oid, 'bypasses row security', '' FROM mortal WHERE rolbypassrls
    UNION ALL SELECT oid, 'may replicate', '' FROM mortal WHERE rolreplication
    UNION ALL SELECT oid, 'may create databases', '' FROM mortal WHERE rolcreatedb
    UNION ALL SELECT oid, 'may create roles', '' FROM mortal WHERE rolcreaterole
    UNION ALL SELECT oid, 'reaches files or programs of the server', '' FROM mortal
    WHERE rolname IN ('pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files')
    UNION ALL SELECT oid, 'may switch triggers off', '' FROM mortal
    WHERE has_parameter_privilege(oid, 'session_replication_role', 'SET')
    UNION ALL SELECT oid, 'may create schemas', '' FROM mortal
    WHERE has_database_privilege(oid, current_database(), 'CREATE')
    UNION ALL SELECT mortal.oid, 'may create in the schema ' || nspname, '' FROM mortal, schemas
    WHERE has_schema_privilege(mortal.oid, schemas.oid, 'CREATE')

    UNION ALL SELECT datdba, 'owns', 'the database' FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT nspowner, 'owns', 'the schema ' || nspname FROM schemas
    UNION ALL SELECT relowner, 'owns', relname FROM pg_class
    WHERE relkind NOT IN ('i', 'I', 't', 'S') AND relnamespace IN (SELECT oid FROM schemas)
    UNION ALL SELECT proowner, 'owns', proname || '()' FROM pg_proc
    WHERE pronamespace IN (SELECT oid FROM schemas)
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = pg_proc.oid
                      AND d.deptype = 'e')

    -- Granted on the table, on a column of it, to everybody, or by a role that comes with PostgreSQL.
    UNION ALL SELECT mortal.oid, privilege, relname
    FROM mortal, pg_class, unnest(%(privileges)s::text[]) AS privilege
    WHERE relkind IN ('r', 'p') AND relnamespace IN (SELECT oid FROM schemas WHERE nspname = current_schema())
      AND relowner <> mortal.oid
      AND CASE WHEN privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
          THEN has_any_column_privilege(mortal.oid, pg_class.oid, privilege)
          ELSE has_table_privilege(mortal.oid, pg_class.oid, privilege) END
)
SELECT rolname AS role, right_ AS right, subject FROM found JOIN reached USING (oid)
ORDER BY rolname <> %(role)s, rolname, subject <> '', right_, subject
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a role stands to what was declared for it."""

    role: str
    beyond: list[str]
    """What it may do and should not, in words."""
    tables: dict[str, set[str]]
    """Table → what the role may do there."""

    @classmethod
    async def of(cls, statements: Statements, role: str) -> Self:
        asked = {"role": role, "privileges": list(PRIVILEGES)}
        found = await statements.rows(_Right, _RIGHTS, asked)
        tables: dict[str, set[str]] = defaultdict(set)
        for one in found:
            if one.role == role and one.right in PRIVILEGES:
                tables[one.subject].add(one.right)
        return cls(role=role, beyond=list(_beyond(found, role)), tables=tables)

    def in_words(self) -> str:
        changed = [table for table, held in self.tables.items() if held & {"UPDATE", "DELETE"}]
        added = [table for table, held in self.tables.items() if table not in changed and "INSERT" in held]
        read = [table for table in self.tables if table not in {*changed, *added}]
        return (
            f"{self.role} owns nothing and may create nothing that lasts; of {len(self.tables)} tables "
            f"it may change {len(changed)}, only add to {_counted(added)}, only read {_counted(read)}"
        )


def _beyond(found: Sequence[_Right], role: str) -> Iterator[str]:
    """A sentence for each role that `role` is or may become."""
    by_role: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        if one.right not in PRIVILEGES or one.right not in granted(one.subject):
            by_role[one.role][one.right].append(one.subject)
    for name, rights in by_role.items():
        words = ", ".join(_said(right, subjects) for right, subjects in rights.items())
        yield f"{role} {words}" if name == role else f"{role} may become {name}, which {words}"


def _said(right: str, subjects: list[str]) -> str:
    if subjects == [""]:
        return right
    more = f" and {len(subjects) - NAMED} more" if len(subjects) > NAMED else ""
    return f"{'may ' if right in PRIVILEGES else ''}{right} {', '.join(subjects[:NAMED])}{more}"


def _counted(tables: list[str]) -> str:
    return f"{len(tables)} ({', '.join(tables)})" if tables else "none"

"""The portal's database role: what it may do is what is declared, and PostgreSQL itself refuses the rest."""

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.errors import InsufficientPrivilege
from tests.town import Town, owner_url

from muster.errors import Unavailable
from muster.platform import migrations
from muster.platform.database import Database
from muster.platform.database_role import GRANTS, PRIVILEGES, Standing, granted
from muster.settings import Settings

PASSWORD = "app-password-that-is-in-no-log"


@dataclass(kw_only=True)
class Ground:
    """A database of its own on the shared server, and addresses of roles that only a test knows."""

    root_url: str
    name: str

    def url(self, role: str | None = None, password: str = PASSWORD) -> str:
        """In this database; of the superuser where no role is named."""
        parts = urlsplit(self.root_url)
        where = (
            parts.netloc if role is None else f"{role}:{quote(password)}@{parts.netloc.rpartition('@')[2]}"
        )
        return parts._replace(netloc=where, path=f"/{self.name}").geturl()

    def role(self, kind: str) -> str:
        return f"{self.name}_{kind}"

    def run(self, *statements: str, url: str = "") -> None:
        """As the superuser, or whoever `url` is of."""
        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def value(self, question: str, *, url: str = "") -> object:
        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            row = connection.execute(question.encode()).fetchone()
        assert row
        return row[0]

    def beyond(self, role: str) -> list[str]:
        async def asked() -> list[str]:
            database = Database(self.url(), application="muster-test", min_size=1, max_size=1)
            await database.open()
            async with database.reading() as statements:
                standing = await Standing.of(statements, role)
            await database.close()
            return standing.beyond

        return asyncio.run(asked())


@pytest.fixture
def ground(settings: Settings) -> Iterator[Ground]:
    root, name = owner_url(settings), f"ground_{secrets.token_hex(4)}"
    made = Ground(root_url=root, name=name)
    with psycopg.connect(root, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield made
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        for (role,) in connection.execute(
            "SELECT rolname FROM pg_roles WHERE starts_with(rolname, %s) ORDER BY oid DESC", [name]
        ).fetchall():
            connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(role)))
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def app(ground: Ground) -> str:
    """The address of a role that `migrate` has made and let in."""
    url = ground.url(ground.role("app"))
    assert migrations.upgrade(ground.url(), url) == []
    return url


def grants(ground: Ground) -> object:
    """Every right on every object there, as PostgreSQL keeps it."""
    return ground.value(
        "SELECT string_agg(name || ' ' || acl::text, E'\\n' ORDER BY name) FROM ("
        "SELECT relname, relacl FROM pg_class WHERE relnamespace = 'public'::regnamespace UNION ALL "
        "SELECT attrelid::regclass || '.' || attname, attacl FROM pg_attribute WHERE attacl IS NOT NULL "
        "AND attrelid > 16384 UNION ALL "
        "SELECT nspname, nspacl FROM pg_namespace WHERE nspname = 'public' UNION ALL "
        "SELECT datname, datacl FROM pg_database WHERE datname = current_database()) AS rights (name, acl)"
    )


# What it may do

_TRIED = {
    "SELECT": "SELECT FROM {table} WHERE false",
    "INSERT": "INSERT INTO {table} ({column}) SELECT {column} FROM {table} WHERE false",
    "UPDATE": "UPDATE {table} SET {column} = NULL WHERE false",
    "DELETE": "DELETE FROM {table} WHERE false",
    "TRUNCATE": "TRUNCATE {table} CASCADE",
}
"""What touches no row, save the last, whose transaction is taken back."""


async def test_every_privilege_on_every_table_is_as_declared(settings: Settings):
    async with await psycopg.AsyncConnection.connect(settings.database_url.reveal()) as connection:
        tables = await (
            await connection.execute(
                "SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid "
                "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 "
                "AND attidentity = '' AND NOT attisdropped ORDER BY relname, attnum DESC"
            )
        ).fetchall()
        columns = {str(table): str(column) for table, column in tables}
        for table, column in columns.items():
            tried = [name for name in _TRIED if await _is_let(connection, name, table, column)]
            asked = [name for name in PRIVILEGES if await _is_said(connection, name, table)]

            assert tuple(asked) == granted(table), table
            # TRUNCATE … CASCADE is refused, too, where a table that refers to this one is not to be emptied.
            assert tuple(tried) == granted(table), table

    assert {"accounts", "people", "audit_log", "alembic_version"} <= columns.keys()


async def _is_let(connection: psycopg.AsyncConnection, privilege: str, table: str, column: str) -> bool:
    statement = sql.SQL(_TRIED[privilege]).format(table=sql.Identifier(table), column=sql.Identifier(column))
    try:
        async with connection.transaction(force_rollback=True):
            await connection.execute(statement)
    except InsufficientPrivilege:
        return False
    return True


async def _is_said(connection: psycopg.AsyncConnection, privilege: str, table: str) -> bool:
    row = await (
        await connection.execute("SELECT has_table_privilege(%s::regclass, %s)", [table, privilege])
    ).fetchone()
    return bool(row and row[0])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_log SET email = 'nobody@acme.test'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "SELECT FROM audit_log FOR UPDATE",
        "ALTER TABLE audit_log RENAME TO forgotten",
        "ALTER TABLE audit_log DISABLE TRIGGER ALL",
        "DROP TABLE audit_log",
        "CREATE INDEX ON audit_log (email)",
        "CREATE RULE unseen AS ON INSERT TO audit_log DO INSTEAD NOTHING",
        "MERGE INTO audit_log USING accounts ON false WHEN MATCHED THEN DELETE",
        "SET session_replication_role = replica",
        "SET ROLE muster",
    ],
)
async def test_postgresql_itself_keeps_the_portal_from_changing_the_audit_log(
    town: Town, settings: Settings, statement: str
):
    async with town.signed_in("ada@acme.test"):
        before = await town.audited()

    with pytest.raises(InsufficientPrivilege):
        async with await psycopg.AsyncConnection.connect(settings.database_url.reveal()) as connection:
            await connection.execute(statement.encode())

    assert await town.audited() == before != []


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE loot (id integer)",
        "CREATE SCHEMA loot",
        "CREATE FUNCTION loot() RETURNS integer LANGUAGE sql RETURN 1",
        "CREATE EXTENSION citext",
        "CREATE ROLE accomplice",
        "CREATE DATABASE loot",
        "COPY people TO PROGRAM 'cat'",
        "UPDATE alembic_version SET version_num = '0000'",
    ],
)
async def test_it_creates_nothing_and_leaves_the_server_alone(settings: Settings, statement: str):
    url = settings.database_url.reveal()

    with pytest.raises(InsufficientPrivilege):
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            await connection.execute(statement.encode())


async def test_what_it_lacks_is_said_with_what_would_give_it(town: Town):
    with pytest.raises(Unavailable, match="permission denied for table audit_log; `muster migrate` grants"):
        await town.execute("DELETE FROM audit_log")


def test_the_tables_that_are_not_ordinary_are_only_read_or_added_to():
    assert {name for privileges in GRANTS.values() for name in privileges} == {"SELECT", "INSERT"}


# Migrating


def test_the_missing_role_is_made_with_its_password(ground: Ground, app: str):
    with psycopg.connect(app) as connection:
        connection.execute("INSERT INTO accounts (email) VALUES ('ada@acme.test')")

    assert ground.value("SELECT session_user", url=app) == ground.role("app")
    assert ground.beyond(ground.role("app")) == []


def test_its_password_is_never_in_the_servers_log(ground: Ground, settings: Settings):
    log = settings.home / "postgres" / "log"
    before = log.stat().st_size

    migrations.upgrade(f"{ground.url()}?options=-c%20log_statement%3Dall", ground.url(ground.role("app")))

    said = log.read_text()[before:]
    assert f'CREATE ROLE "{ground.role("app")}" LOGIN NOINHERIT PASSWORD \'SCRAM-SHA-256$' in said
    assert PASSWORD not in said


def test_migrating_twice_grants_the_same(ground: Ground, app: str):
    once = grants(ground)

    assert migrations.upgrade(ground.url(), app) == []

    assert grants(ground) == once


def test_what_was_granted_by_hand_is_put_right(ground: Ground, app: str):
    once, role = grants(ground), ground.role("app")
    ground.run(
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role} WITH GRANT OPTION",
        f"GRANT UPDATE (email) ON audit_log TO {role}",
        "GRANT DELETE ON audit_log TO PUBLIC",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
        f"GRANT CREATE ON SCHEMA public TO {role}",
        "GRANT CREATE ON SCHEMA public TO PUBLIC",
        f"GRANT ALL ON DATABASE {ground.name} TO {role}",
        f"REVOKE SELECT ON people FROM {role}",  # noqa: S608  no query, and ours
    )
    ground.run("GRANT TRUNCATE ON people TO PUBLIC", url=app)  # which it may pass on meanwhile
    assert ground.beyond(role)

    assert migrations.upgrade(ground.url(), app) == []

    assert grants(ground) == once


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("ALTER ROLE {role} CREATEDB", "{role} may create databases"),
        ("ALTER TABLE people OWNER TO {role}", "{role} owns people"),
        ("GRANT pg_write_all_data TO {role}", "{role} may become pg_write_all_data, which may "),
    ],
)
def test_what_migrating_cannot_take_away_it_says(ground: Ground, app: str, statement: str, said: str):
    role = ground.role("app")
    ground.run(statement.format(role=role))

    (excess,) = migrations.upgrade(ground.url(), app)

    assert excess.startswith(said.format(role=role))


def test_an_owner_like_those_of_hosted_servers_is_enough(ground: Ground):
    """No superuser: it owns the database, and may create roles."""
    owner = an_owner(ground, "CREATEROLE")
    app = ground.url(ground.role("app"))

    assert migrations.upgrade(owner, app) == []
    assert migrations.upgrade(owner, app) == []

    assert ground.value("SELECT count(*) FROM people", url=app) == 0
    with pytest.raises(InsufficientPrivilege):
        ground.run("DELETE FROM audit_log", url=app)


def test_an_owner_that_may_not_make_roles_says_what_makes_it(ground: Ground):
    owner, app = an_owner(ground, "NOCREATEROLE"), ground.url(ground.role("app"))

    with pytest.raises(Unavailable) as refused:
        migrations.upgrade(owner, app)

    assert str(refused.value) == (
        f"the role {ground.role('app')} of DATABASE_URL is missing, and {ground.role('owner')} may not make "
        f"it; CREATE ROLE \"{ground.role('app')}\" LOGIN NOINHERIT PASSWORD '…' makes it, then run "
        "`muster migrate` again"
    )
    ground.run(f"CREATE ROLE \"{ground.role('app')}\" LOGIN NOINHERIT PASSWORD '{PASSWORD}'")
    assert migrations.upgrade(owner, app) == []


def test_who_owns_neither_database_nor_schema_says_who_else_has_to_grant(ground: Ground):
    owner, app = an_owner(ground, "CREATEROLE"), ground.url(ground.role("app"))
    ground.run(
        f"ALTER DATABASE {ground.name} OWNER TO muster",
        f"GRANT CREATE, CONNECT ON DATABASE {ground.name} TO {ground.role('owner')}",
        f"GRANT CREATE ON SCHEMA public TO {ground.role('owner')}",
        f"REVOKE CONNECT ON DATABASE {ground.name} FROM PUBLIC",
    )

    with pytest.raises(Unavailable) as refused:
        migrations.upgrade(owner, app)

    statement = f"GRANT CONNECT ON DATABASE {ground.name} TO {ground.role('app')}"
    assert str(refused.value).endswith(f"somebody who may has to run {statement}")
    ground.run(statement)
    assert migrations.upgrade(owner, app) == []


def test_with_one_role_nothing_is_granted_and_the_row_would_say_so(ground: Ground):
    owner = an_owner(ground, "NOCREATEROLE")

    assert migrations.upgrade(owner, owner) == []

    assert "owns account_roles, accounts, " in " ".join(ground.beyond(ground.role("owner")))


def test_without_the_owners_address_the_new_tables_cannot_be_made_and_it_says_whose_is_missing(
    ground: Ground, app: str
):
    ground.run("UPDATE alembic_version SET version_num = '0001'")

    with pytest.raises(Unavailable, match=r"permission denied .*; DATABASE_OWNER_URL names their owner"):
        migrations.upgrade(app, app)


def an_owner(ground: Ground, attribute: str) -> str:
    role = ground.role("owner")
    ground.run(
        f"CREATE ROLE {role} LOGIN {attribute} PASSWORD '{PASSWORD}'",
        f"ALTER DATABASE {ground.name} OWNER TO {role}",
    )
    return ground.url(role)

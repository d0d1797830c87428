"""What one database was made to write, by the counts PostgreSQL itself keeps."""

import time
from typing import Self

import msgspec
import psycopg

from bench.rig.failed import MeasurementFailed

_QUIET_SECONDS = 30.0


class Written(msgspec.Struct, kw_only=True):
    """Rows inserted, updated and deleted, and bytes of write-ahead log."""

    rows_in_people: int
    rows: int
    rows_by_table: dict[str, int]
    wal_bytes: int


class Ledger:
    """Its own connection writes nothing but what `settle` does, between the runs."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @property
    def server_version(self) -> str:
        return str(self._value("SHOW server_version")).split()[0]

    def create_database(self, name: psycopg.sql.Identifier) -> None:
        self._connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(name))

    def count_people(self) -> int:
        return int(str(self._value("SELECT count(*) FROM people")))

    def count_here(self) -> int:
        """In Muster's table, which also holds the deleted whom Google would restore."""
        return int(str(self._value("SELECT count(*) FROM people WHERE removed_at IS NULL")))

    def some_addresses(self, limit: int) -> list[str]:
        """Of people all over the listing: ids are in no order."""
        found = self._connection.execute(
            "SELECT email FROM people WHERE removed_at IS NULL ORDER BY google_id LIMIT %s", [limit]
        )
        return [row[0] for row in found]

    def settle(self) -> None:
        """As autovacuum and the checkpointer leave a database between two syncs, so that each run finds
        the same state and pays for nothing the one before has left.
        """
        self._connection.execute("VACUUM (ANALYZE)")
        self._connection.execute("CHECKPOINT")
        self._before = self._read()

    def written(self) -> Written:
        """Since `settle`."""
        (wal_before, tables_before), (wal, tables) = self._before, self._read()
        changed = {
            name: rows - tables_before.get(name, 0)
            for name, rows in tables.items()
            if rows != tables_before.get(name, 0)
        }
        return Written(
            rows_in_people=changed.get("people", 0),
            rows=sum(changed.values()),
            rows_by_table=changed,
            wal_bytes=wal - wal_before,
        )

    def _read(self) -> tuple[int, dict[str, int]]:
        self._await_quiet()
        self._connection.execute("SELECT pg_stat_force_next_flush()")
        tables = self._connection.execute(
            "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables"
        ).fetchall()
        return int(str(self._value("SELECT pg_current_wal_lsn() - '0/0'"))), dict(tables)

    def _await_quiet(self) -> None:
        """A backend hands in its counts at the latest when it ends."""
        deadline = time.monotonic() + _QUIET_SECONDS
        while self._value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ):
            if time.monotonic() > deadline:
                raise MeasurementFailed("a connection of an ended peer is still open")
            time.sleep(0.05)

    def _value(self, statement: psycopg.abc.Query) -> object:
        found = self._connection.execute(statement).fetchone()
        return found[0] if found else None

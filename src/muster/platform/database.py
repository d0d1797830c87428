"""PostgreSQL: one healing pool, reads into typed rows, and the only place that commits."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, LiteralString, Self, TypeVar

import msgspec
import psycopg
from psycopg import AsyncConnection, AsyncCopy, AsyncCursor, sql
from psycopg.errors import (
    DeadlockDetected,
    InsufficientPrivilege,
    ReadOnlySqlTransaction,
    UndefinedColumn,
    UndefinedTable,
)
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests
from typing_extensions import override

from muster.errors import Unavailable
from muster.platform import effort

Row = TypeVar("Row")
Statement = LiteralString | sql.SQL | sql.Composed
Parameters = Sequence[Any] | dict[str, Any] | None
Connection = AsyncConnection[tuple[Any, ...]]

STATEMENT_DEADLINE = timedelta(seconds=10)
"""A frozen server would hang its callers, so nothing waits longer unless it says so."""

CHECK_DEADLINE = timedelta(seconds=1)
_ANSWERS, _MIGRATED = "postgresql.answers", "postgresql.migrated"


class Deadlocked(Unavailable):
    """PostgreSQL chose this transaction to make room for another: the same again would do."""


class Statements:
    """Statements on one connection; rows come back as the struct that is asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, statement: Statement, parameters: Parameters = None) -> int:
        """The number of rows touched."""
        return (await self._connection.execute(statement, parameters)).rowcount

    async def rows(self, shape: type[Row], statement: Statement, parameters: Parameters = None) -> list[Row]:
        """Each row as a `shape`, whose fields are named as the columns are."""
        async with self._connection.cursor(row_factory=shaped(shape)) as cursor:
            return await (await cursor.execute(statement, parameters)).fetchall()

    async def row(self, shape: type[Row], statement: Statement, parameters: Parameters = None) -> Row | None:
        async with self._connection.cursor(row_factory=shaped(shape)) as cursor:
            return await (await cursor.execute(statement, parameters)).fetchone()

    async def value(self, statement: Statement, parameters: Parameters = None) -> Any:
        """The first column of the first row, or None."""
        async with self._connection.cursor(row_factory=tuple_row) as cursor:
            found = await (await cursor.execute(statement, parameters)).fetchone()
        return found[0] if found else None

    async def column(self, statement: Statement, parameters: Parameters = None) -> list[Any]:
        """The first column of every row."""
        async with self._connection.cursor(row_factory=tuple_row) as cursor:
            return [row[0] for row in await (await cursor.execute(statement, parameters)).fetchall()]

    async def pairs(self, statement: Statement, parameters: Parameters = None) -> dict[Any, Any]:
        """Two columns as a mapping of the first to the second."""
        async with self._connection.cursor(row_factory=tuple_row) as cursor:
            found = await (await cursor.execute(statement, parameters)).fetchall()
        return {row[0]: row[1] for row in found}

    def verifier(self, password: str, *, role: str) -> str:
        """What PostgreSQL keeps in place of a password, made here: the password itself is not sent."""
        made = self._connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
        return made.decode()


def shaped(shape: type[Row]) -> Callable[[AsyncCursor[Any]], Callable[[Sequence[Any]], Row]]:
    """A row factory that makes and checks `shape`: words become enums, JSON becomes structs."""

    def of_cursor(cursor: AsyncCursor[Any]) -> Callable[[Sequence[Any]], Row]:
        names = [column.name for column in cursor.description or ()]

        def of_values(values: Sequence[Any]) -> Row:
            return msgspec.convert(dict(zip(names, values, strict=True)), shape)

        return of_values

    return of_cursor


class Transaction(Statements):
    """Statements that happen together or not at all."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._after: list[Callable[[], Awaitable[None]]] = []

    async def copy_in(
        self, statement: Statement, rows: Iterable[Sequence[Any]], types: Sequence[str]
    ) -> None:
        """COPY … FROM STDIN in binary, which is checked against `types`, the columns' type names."""
        async with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(types)
            for row in rows:
                await copy.write_row(row)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What fails in the block is undone by itself; the rest of the transaction stands."""
        async with self._connection.transaction():
            yield

    def after_commit(self, action: Callable[[], Awaitable[None]]) -> None:
        """Run `action` once the commit is certain; a rollback forgets it."""
        self._after.append(action)

    async def _committed(self) -> None:
        for action in self._after:
            await action()


class _CountedCursor(AsyncCursor[Any]):
    """Counts what is asked, for the one line about a request or job."""

    @override
    async def execute(self, query: Any, *args: Any, **options: Any) -> Self:
        if not query:  # the pool's own question whether anybody is there
            return await super().execute(query, *args, **options)
        started = time.perf_counter()
        try:
            return await super().execute(query, *args, **options)
        finally:
            effort.queried(started)

    @override
    async def executemany(self, *args: Any, **options: Any) -> None:
        started = time.perf_counter()
        try:
            await super().executemany(*args, **options)
        finally:
            effort.queried(started)

    @asynccontextmanager
    @override
    async def copy(self, *args: Any, **options: Any) -> AsyncIterator[AsyncCopy]:
        started = time.perf_counter()
        try:
            async with super().copy(*args, **options) as copy:
                yield copy
        finally:
            effort.queried(started)


class Database:
    """A pool that heals: when one dead connection is found, all idle ones are thrown out at once.

    psycopg_pool by itself hands a failed request to one caller per dead idle connection, or
    makes one caller wait through all of them; draining costs the first caller about 10 ms.
    """

    def __init__(self, url: str, *, application: str, min_size: int = 4, max_size: int = 10) -> None:
        self._drained_at = 0.0
        self._pool = AsyncConnectionPool(
            url,
            connection_class=AsyncConnection[tuple[Any, ...]],
            open=False,
            min_size=min_size,
            max_size=max_size,
            timeout=3,
            reconnect_timeout=2,
            check=self._check,
            kwargs={
                "autocommit": True,
                "connect_timeout": 3,
                "tcp_user_timeout": 15_000,
                "application_name": application,
                "cursor_factory": _CountedCursor,
            },
        )

    async def open(self) -> None:
        """Begin connecting; a server that is away is not an error until something is asked of it."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        await self._pool.close()

    def figures(self) -> dict[str, int]:
        """psycopg_pool's own counters, e.g. pool_size, pool_available, requests_waiting."""
        return self._pool.get_stats()

    @asynccontextmanager
    async def transaction(self, *, deadline: timedelta = STATEMENT_DEADLINE) -> AsyncIterator[Transaction]:
        """All of the block or none of it; what was put off with `after_commit` runs after."""
        async with self._connected(deadline) as connection:
            transaction = Transaction(connection)
            async with connection.transaction():
                yield transaction
        await transaction._committed()  # noqa: SLF001  the pair is one thought

    @asynccontextmanager
    async def reading(self, *, deadline: timedelta = STATEMENT_DEADLINE) -> AsyncIterator[Statements]:
        """Several statements on one connection; each sees what is committed when it begins."""
        async with self._connected(deadline) as connection:
            yield Statements(connection)

    async def execute(self, statement: Statement, parameters: Parameters = None) -> int:
        """One statement, committed; the number of rows touched."""
        async with self.reading() as statements:
            return await statements.execute(statement, parameters)

    async def rows(self, shape: type[Row], statement: Statement, parameters: Parameters = None) -> list[Row]:
        async with self.reading() as statements:
            return await statements.rows(shape, statement, parameters)

    async def row(self, shape: type[Row], statement: Statement, parameters: Parameters = None) -> Row | None:
        async with self.reading() as statements:
            return await statements.row(shape, statement, parameters)

    async def value(self, statement: Statement, parameters: Parameters = None) -> Any:
        async with self.reading() as statements:
            return await statements.value(statement, parameters)

    @asynccontextmanager
    async def _connected(self, deadline: timedelta) -> AsyncIterator[Connection]:
        watch: _Deadline | None = None
        try:
            async with self._pool.connection() as connection:
                with _Deadline(connection, deadline) as watch:
                    yield connection
        except (PoolTimeout, TooManyRequests) as error:
            raise Unavailable("PostgreSQL does not answer", row=_ANSWERS) from error
        except DeadlockDetected as error:
            raise Deadlocked(f"PostgreSQL failed: {first_line(error)}", row=_ANSWERS) from error
        except (psycopg.OperationalError, ReadOnlySqlTransaction) as error:
            if watch and watch.has_passed:
                raise Unavailable(
                    f"PostgreSQL took longer than {deadline.total_seconds():g} s", row=_ANSWERS
                ) from error
            raise Unavailable(f"PostgreSQL failed: {first_line(error)}", row=_ANSWERS) from error
        except (UndefinedTable, UndefinedColumn) as error:
            raise Unavailable(
                f"PostgreSQL: {first_line(error)}; `muster migrate` makes it", row=_MIGRATED
            ) from error
        except InsufficientPrivilege as error:
            raise Unavailable(
                f"PostgreSQL: {first_line(error)}; `muster migrate` grants what is needed", row=_MIGRATED
            ) from error

    async def _check(self, connection: Connection) -> None:
        try:
            with _Deadline(connection, CHECK_DEADLINE):
                await AsyncConnectionPool.check_connection(connection)
        except Exception:
            # At most twice a second: every waiting caller finds a dead one at the same moment.
            if time.monotonic() - self._drained_at > 0.5:
                self._drained_at = time.monotonic()
                await self._pool.drain()
            raise


class _Deadline:
    """Ends what a connection does once its time is over: first the server is asked to, then the line is cut.

    Cancelling our own task would not do: psycopg then waits for the server's leave, which a frozen
    one never gives.
    """

    def __init__(self, connection: Connection, after: timedelta) -> None:
        self._connection = connection
        self._after = after
        self._ending: asyncio.Task[None] | None = None

    @property
    def has_passed(self) -> bool:
        return self._ending is not None

    def __enter__(self) -> Self:
        self._timer = asyncio.get_running_loop().call_later(self._after.total_seconds(), self._end)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        if self._ending:
            self._ending.cancel()

    def _end(self) -> None:
        self._ending = asyncio.create_task(self._cancel_or_cut())

    async def _cancel_or_cut(self) -> None:
        with contextlib.suppress(psycopg.Error):
            await self._connection.cancel_safe(timeout=1)
            await asyncio.sleep(0.5)
        with contextlib.suppress(psycopg.Error, OSError):  # closed meanwhile
            line = socket.socket(fileno=os.dup(self._connection.fileno()))
            with line:
                line.shutdown(socket.SHUT_RDWR)


def first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

"""PostgreSQL: one healing pool, reads into typed rows, and the only place that commits."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, LiteralString, TypeVar

import msgspec
import psycopg
from psycopg import AsyncConnection, AsyncCursor, sql
from psycopg.errors import ReadOnlySqlTransaction, UndefinedTable
from psycopg.rows import tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from muster.errors import Unavailable

Row = TypeVar("Row")
Statement = LiteralString | sql.SQL | sql.Composed
Parameters = Sequence[Any] | dict[str, Any] | None
Connection = AsyncConnection[tuple[Any, ...]]

STATEMENT_DEADLINE = timedelta(seconds=10)
"""A frozen server would hang its callers, so nothing waits longer unless it says so."""


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

    async def pairs(self, statement: Statement, parameters: Parameters = None) -> dict[Any, Any]:
        """Two columns as a mapping of the first to the second."""
        async with self._connection.cursor(row_factory=tuple_row) as cursor:
            found = await (await cursor.execute(statement, parameters)).fetchall()
        return {row[0]: row[1] for row in found}


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

    def after_commit(self, action: Callable[[], Awaitable[None]]) -> None:
        """Run `action` once the commit is certain; a rollback forgets it."""
        self._after.append(action)

    async def _committed(self) -> None:
        for action in self._after:
            await action()


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

    async def stream(
        self, shape: type[Row], statement: Statement, parameters: Parameters = None, *, at_a_time: int = 500
    ) -> AsyncGenerator[Row, None]:
        """Rows without holding them all. Close it (`aclosing`): until then it keeps its connection."""
        async with (
            self._connected(timedelta(minutes=10)) as connection,
            connection.transaction(),
            connection.cursor("stream", row_factory=shaped(shape)) as cursor,
        ):
            cursor.itersize = at_a_time
            await cursor.execute(statement, parameters)
            async for row in cursor:
                yield row

    @asynccontextmanager
    async def _connected(self, deadline: timedelta) -> AsyncIterator[Connection]:
        try:
            async with asyncio.timeout(deadline.total_seconds()), self._pool.connection() as connection:
                yield connection
        except (PoolTimeout, TooManyRequests) as error:
            raise Unavailable("PostgreSQL does not answer") from error
        except TimeoutError as error:
            raise Unavailable(f"PostgreSQL took longer than {deadline.total_seconds():.0f} s") from error
        except (psycopg.OperationalError, ReadOnlySqlTransaction) as error:
            raise Unavailable(f"PostgreSQL failed: {first_line(error)}") from error
        except UndefinedTable as error:
            raise Unavailable(f"PostgreSQL: {first_line(error)}; `muster migrate` makes it") from error

    async def _check(self, connection: Connection) -> None:
        try:
            await AsyncConnectionPool.check_connection(connection)
        except Exception:
            # At most twice a second: every waiting caller finds a dead one at the same moment.
            if time.monotonic() - self._drained_at > 0.5:
                self._drained_at = time.monotonic()
                await self._pool.drain()
            raise


def first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)

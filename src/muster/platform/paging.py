"""Lists one page at a time, whatever their length: keyset cursors that stand in the address."""

import base64
import binascii
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, LiteralString, Protocol, TypeVar
from urllib.parse import urlencode

import msgspec
from psycopg import sql
from psycopg.errors import DataError

from muster.errors import Invalid
from muster.platform.database import Database
from muster.platform.folding import folded

PAGE = 50
BATCH = 1000
LONGEST_SEARCH = 100

NOT_OURS = "This page address is not one of ours. Start again from the first page."


class Keyed(Protocol):
    """A row that a cursor can be made of: the text of its key in the order asked for, and its id."""

    @property
    def id(self) -> str | int: ...
    @property
    def sort_key(self) -> str: ...


Row = TypeVar("Row", bound=Keyed)


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What every list takes from its address; `after` and `before` are cursors that an earlier page gave."""

    after: str = ""
    before: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = PAGE


@dataclass(frozen=True, slots=True)
class Order:
    """One order of a list; `key` and `type` are SQL, and no row's key is NULL. `up` and `down` are labels."""

    up: str
    down: str
    key: sql.Composable
    type: LiteralString = "text"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows that are looked for, as SQL with its parameters, and the key of their order."""

    condition: sql.Composable
    values: Mapping[str, Any]
    sort: str


@dataclass(frozen=True, slots=True)
class Cut(Generic[Row]):
    """A page of rows; `after` and `before` are the cursors of its neighbours, where there are any."""

    rows: list[Row]
    after: str | None
    before: str | None


@dataclass(frozen=True, slots=True)
class Keyset(Generic[Row]):
    """A list as PostgreSQL keeps it: what stands behind SELECT and FROM, and the orders it can be had in.

    `id` is unique and settles ties. `opening` is the WITH before the statement, if it needs one.
    """

    shape: type[Row]
    columns: sql.Composable
    tables: sql.Composable
    id: sql.SQL
    orders: Mapping[str, Order]
    id_type: LiteralString = "text"
    opening: sql.Composable | None = None

    @property
    def labels(self) -> dict[str, str]:
        """Order, as it stands in the address → its label."""
        return {
            key: label
            for name, order in self.orders.items()
            for key, label in ((name, order.up), (f"-{name}", order.down))
        }

    async def find(
        self, database: Database, wanted: Wanted, *, after: str = "", before: str = "", limit: int = PAGE
    ) -> Cut[Row]:
        """Raises Invalid for an unknown order, and for a cursor of another order."""
        self.check(wanted.sort)
        edge = Cursor.read(after or before, wanted.sort) if after or before else None
        rows = await self._beyond(database, edge, wanted, limit=limit + 1, towards_start=bool(before))
        more, rows = len(rows) > limit, rows[:limit]
        if before:
            rows.reverse()
        has_after, has_before = (bool(rows), more) if before else (more, bool(after and rows))
        return Cut(
            rows=rows,
            after=Cursor.of(rows[-1], wanted.sort).written() if has_after else None,
            before=Cursor.of(rows[0], wanted.sort).written() if has_before else None,
        )

    async def count(self, database: Database, wanted: Wanted) -> int:
        statement = sql.SQL("{opening} SELECT count(*) FROM {tables} WHERE {condition}").format(
            opening=self.opening or sql.SQL(""), tables=self.tables, condition=wanted.condition
        )
        return int(await database.value(statement, dict(wanted.values)))

    async def stream(
        self, database: Database, wanted: Wanted, *, batch: int = BATCH
    ) -> AsyncGenerator[Row, None]:
        """Every row, in order, however many; no connection is held between batches.

        What a generator raises comes with its first row, too late for a download: `check` the order before.
        """
        edge: Cursor | None = None
        while True:
            rows = await self._beyond(database, edge, wanted, limit=batch)
            for row in rows:
                yield row
            if len(rows) < batch:
                return
            edge = Cursor.of(rows[-1], wanted.sort)

    def check(self, sort: str) -> None:
        """Raises Invalid for an unknown order."""
        if sort.removeprefix("-") not in self.orders or sort.startswith("--"):
            raise Invalid(f"There is no order {sort!r}; expected one of {', '.join(self.labels)}.")

    async def _beyond(
        self,
        database: Database,
        edge: "Cursor | None",
        wanted: Wanted,
        *,
        limit: int,
        towards_start: bool = False,
    ) -> list[Row]:
        """The next `limit` rows of the order after `edge`, or before it, nearest first."""
        order = self.orders[wanted.sort.removeprefix("-")]
        backwards = wanted.sort.startswith("-") ^ towards_start
        statement = sql.SQL(
            "{opening} SELECT {columns}, ({key})::text AS sort_key FROM {tables} WHERE {condition} {edge} "
            "ORDER BY {key} {direction}, {id} {direction} LIMIT %(limit)s"
        ).format(
            opening=self.opening or sql.SQL(""),
            columns=self.columns,
            key=order.key,
            tables=self.tables,
            condition=wanted.condition,
            edge=self._past_edge(order, backwards=backwards) if edge else sql.SQL(""),
            id=self.id,
            direction=sql.SQL("DESC" if backwards else "ASC"),
        )
        values = {**wanted.values, "limit": limit}
        if edge:
            values |= {"edge_key": edge.key, "edge_id": edge.id}
        try:
            return await database.rows(self.shape, statement, values)
        except DataError as error:  # a forged cursor's key may not be of the column's type
            raise Invalid(NOT_OURS) from error

    def _past_edge(self, order: Order, *, backwards: bool) -> sql.Composed:
        return sql.SQL("AND ({key}, {id}) {side} (%(edge_key)s::{type}, %(edge_id)s::{id_type})").format(
            key=order.key,
            id=self.id,
            side=sql.SQL("<" if backwards else ">"),
            type=sql.SQL(order.type),
            id_type=sql.SQL(self.id_type),
        )


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """The edge of a page: the order it was made in, the key and the id of its last row."""

    sort: str
    key: str
    id: str

    @classmethod
    def of(cls, row: Keyed, sort: str) -> "Cursor":
        return cls(sort, row.sort_key, str(row.id))

    def written(self) -> str:
        """As it stands in an address."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).rstrip(b"=").decode()

    @classmethod
    def read(cls, text: str, sort: str) -> "Cursor":
        try:
            cursor = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=cls)
        except (msgspec.DecodeError, binascii.Error, ValueError, RecursionError) as error:
            raise Invalid(NOT_OURS) from error
        if cursor.sort != sort or "\0" in cursor.key + cursor.id:
            raise Invalid("This page address belongs to another order. Start again from the first page.")
        return cursor


def all_of(parts: Sequence[sql.Composable]) -> sql.Composed:
    """Conditions that all must hold; without any, everything is wanted."""
    return sql.SQL(" AND ").join(parts or [sql.SQL("true")])


def words(column: sql.Composable, q: str) -> tuple[list[sql.Composable], dict[str, Any]]:
    """That every word of `q` is somewhere in a folded `column`, as conditions with their parameters."""
    found = folded(q[:LONGEST_SEARCH]).split()
    parts: list[sql.Composable] = [
        sql.SQL("{} LIKE {}").format(column, sql.Placeholder(f"word{number}")) for number in range(len(found))
    ]
    return parts, {f"word{number}": f"%{_literally(word)}%" for number, word in enumerate(found)}


def href(path: str, asked: ListQuery, **over: str | int | bool | tuple[str, ...]) -> str:
    """The address of a list, from its start unless `over` says where: only what is not as usual is in it."""
    usual = {field.name: field.default for field in msgspec.structs.fields(type(asked))}
    query = {**msgspec.structs.asdict(asked), "after": "", "before": "", **over}
    kept = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in query.items()
        if value is not None and value != usual.get(name)
    }
    return f"{path}?{urlencode(kept, doseq=True)}" if kept else path


def links(
    path: str, csv_path: str, asked: ListQuery, cut: Cut[Row], labels: Mapping[str, str]
) -> dict[str, Any]:
    """What a list's template is told beside its rows: the addresses that lead on from this page."""
    return {
        "filters": asked,
        "path": path,
        "sorts": [{"key": key, "label": label} for key, label in labels.items()],
        "sort_href": {key: href(path, asked, sort=key) for key in labels},
        "next_href": href(path, asked, after=cut.after) if cut.after else None,
        "previous_href": href(path, asked, before=cut.before) if cut.before else None,
        "csv_href": href(csv_path, asked, limit=PAGE),
    }


def _literally(word: str) -> str:
    """`word` with LIKE's own signs taken as letters."""
    for sign in ("\\", "%", "_"):
        word = word.replace(sign, f"\\{sign}")
    return word

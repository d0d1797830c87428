"""Saved views: a list with its filters under a name, for oneself or for everybody."""

from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from muster.access.roles import Permission
from muster.crm.fields import Kind
from muster.crm.lists import ListRecords, checked, filter_of, list_query
from muster.errors import Conflict, Invalid, NotAllowed, NotFound
from muster.platform import audit
from muster.platform.actor import Actor, Origin
from muster.platform.database import Database, Transaction
from muster.platform.paging import href
from muster.platform.routes import decoded, plural

MOST_VIEWS = 50
LONGEST_NAME = 60
LONGEST_QUERY = 2_000


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A list by name; `query` stands in its address. `by` is whose it is."""

    id: int
    kind: Kind
    name: str
    query: str
    is_shared: bool
    by: str
    is_mine: bool
    made_at: datetime


class Views:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_for(self, kind: Kind, account_id: int) -> list[View]:
        """One's own and those that others share, by name."""
        return await self._database.rows(View, _LIST, {"kind": kind, "account": account_id})

    async def save(
        self, kind: Kind, name: str, query: str, *, is_shared: bool, by: Actor, origin: Origin
    ) -> int:
        """Raises Invalid, Conflict where one of one's own is called the same, and NotAllowed."""
        name, query = _named(name), normal(kind, query)
        _check_sharing(by, is_shared=is_shared)
        async with self._database.transaction() as tx:
            await _hold(tx, by.account_id)
            held = await tx.value("SELECT count(*) FROM crm_views WHERE account_id = %s", [by.account_id])
            if held >= MOST_VIEWS:
                raise Conflict(f"You have {MOST_VIEWS} views already; delete one that you no longer use.")
            await _check_free(tx, kind, name, by.account_id)
            view_id = int(await tx.value(_SAVE, [by.account_id, kind, name, query, is_shared]))
            after = {"kind": kind.value, "name": name, "query": query, "is_shared": is_shared}
            await audit.record(
                tx, "crm.view_saved", by=by, subject=f"view:{view_id}", after=after, origin=origin
            )
        return view_id

    async def change(self, view_id: int, name: str, *, is_shared: bool, by: Actor, origin: Origin) -> View:
        """Rename it, share it or keep it to oneself. Raises NotFound for what is not one's own."""
        name = _named(name)
        async with self._database.transaction() as tx:
            await _hold(tx, by.account_id)
            view = await _own(tx, view_id, by.account_id)
            _check_sharing(by, is_shared=is_shared and not view.is_shared)
            if name != view.name:
                await _check_free(tx, view.kind, name, by.account_id)
            await tx.execute(
                "UPDATE crm_views SET name = %s, is_shared = %s WHERE id = %s", [name, is_shared, view_id]
            )
            await audit.record(
                tx,
                "crm.view_changed",
                by=by,
                subject=f"view:{view_id}",
                before={"name": view.name, "is_shared": view.is_shared},
                after={"name": name, "is_shared": is_shared},
                origin=origin,
            )
        return msgspec.structs.replace(view, name=name, is_shared=is_shared)

    async def delete(self, view_id: int, *, by: Actor, origin: Origin) -> View:
        """Raises NotFound for what is not one's own."""
        async with self._database.transaction() as tx:
            view = await _own(tx, view_id, by.account_id)
            await tx.execute("DELETE FROM crm_views WHERE id = %s", [view_id])
            before = {"kind": view.kind.value, "name": view.name, "query": view.query}
            await audit.record(
                tx, "crm.view_deleted", by=by, subject=f"view:{view_id}", before=before, origin=origin
            )
        return view


def read(kind: Kind, query: str) -> ListRecords:
    """What a list was asked, from the query of its address. Raises Invalid."""
    if len(query) > LONGEST_QUERY:
        raise Invalid(f"The filters are too long; expected no more than {LONGEST_QUERY} characters.")
    shape = list_query(kind)
    try:
        pairs = parse_qsl(urlsplit(f"?{query.removeprefix('?')}").query, max_num_fields=200)
    except ValueError as error:
        raise Invalid("The filters cannot be read; expected them as in the address of a list.") from error
    given: dict[str, Any] = {}
    for name, value in pairs:
        if name in plural(shape):
            given[name] = (*given.get(name, ()), value)
        elif name in given:
            raise Invalid(f"{name} is given twice.")
        else:
            given[name] = value
    asked = decoded(given, shape)
    checked(kind, filter_of(asked))
    return asked


def normal(kind: Kind, query: str) -> str:
    """The filters and the order that `query` asks for, without the page. Raises Invalid."""
    asked = read(kind, query)
    return href("", asked, limit=type(asked)().limit).removeprefix("?")


def _named(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME:
        raise Invalid(f"name: expected 1 to {LONGEST_NAME} characters.")
    return name


def _check_sharing(by: Actor, *, is_shared: bool) -> None:
    if is_shared and not by.may(Permission.EDIT_CUSTOMERS):
        raise NotAllowed("Your role does not let you share views; save it for yourself.")


async def _hold(tx: Transaction, account_id: int) -> None:
    """Two saves of one person at once would both find room, or the name free."""
    await tx.execute("SELECT FROM accounts WHERE id = %s FOR NO KEY UPDATE", [account_id])


async def _check_free(tx: Transaction, kind: Kind, name: str, account_id: int) -> None:
    if await tx.value(
        "SELECT true FROM crm_views WHERE account_id = %s AND kind = %s AND name = %s",
        [account_id, kind, name],
    ):
        raise Conflict(f"You have a view called {name!r} already; choose another name.")


async def _own(tx: Transaction, view_id: int, account_id: int) -> View:
    view = await tx.row(View, _OWN, {"id": view_id, "account": account_id})
    if view is None:
        raise NotFound("There is no such view of yours.")
    return view


_LIST = """
SELECT crm_views.id, kind, crm_views.name, query, is_shared, accounts.name AS by,
       account_id = %(account)s AS is_mine, crm_views.made_at
FROM crm_views JOIN accounts ON accounts.id = account_id
WHERE kind = %(kind)s AND (account_id = %(account)s OR is_shared)
ORDER BY lower(crm_views.name), crm_views.id
"""
_OWN = """
SELECT crm_views.id, kind, crm_views.name, query, is_shared, accounts.name AS by, true AS is_mine,
       crm_views.made_at
FROM crm_views JOIN accounts ON accounts.id = account_id
WHERE crm_views.id = %(id)s AND account_id = %(account)s FOR UPDATE OF crm_views
"""
_SAVE = """
INSERT INTO crm_views (account_id, kind, name, query, is_shared) VALUES (%s, %s, %s, %s, %s) RETURNING id
"""

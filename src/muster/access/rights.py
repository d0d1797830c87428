"""What an account may do at this moment: its own roles and those of its groups, cached and never late."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

import msgspec

from muster.access.roles import Permission, Role, granted
from muster.errors import Unavailable
from muster.platform.busts import Busts
from muster.platform.database import Database, Statements, Transaction
from muster.platform.rights_cache import RightsCache
from muster.platform.telemetry import logger

GroupsOf = Callable[[Statements, str], Awaitable[Sequence[str]]]
"""Gives the ids of the groups that a person, by Google's id, is in by whichever way."""


_TOLD_AGAIN_AFTER = 0.2

TAG = "roles"
"""Of what is cached of anybody's roles, beside what they may, which has a cache of its own."""


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """An account that may come in, and its roles, `member` among them."""

    account_id: int
    email: str
    name: str
    roles: tuple[Role, ...]

    @property
    def permissions(self) -> frozenset[Permission]:
        return granted(self.roles)

    @property
    def stamp(self) -> str:
        """The same for the same roles."""
        return hashlib.sha256(" ".join(sorted(self.roles)).encode()).hexdigest()[:16]


class _Holder(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    google_id: str | None
    email: str
    name: str


class RightsBook:
    def __init__(self, database: Database, cache: RightsCache, busts: Busts, *, groups_of: GroupsOf) -> None:
        self._database = database
        self._cache = cache
        self._busts = busts
        self._groups_of = groups_of
        self._telling: asyncio.Task[None] | None = None

    @property
    def has_to_tell(self) -> bool:
        """Whether a change waits for Redis to be back; if this process ends before, the worker tells it."""
        return self._telling is not None and not self._telling.done()

    async def close(self) -> None:
        if self._telling:
            self._telling.cancel()
            await asyncio.wait({self._telling})

    async def of(self, account_id: int, *, kept: bytes | None = None) -> Rights | None:
        """None for an account that is suspended or gone; `kept` is what the cache gave with the session."""
        # An entry that names another account is nobody's: it would make one person somebody else.
        if kept and (rights := _decoded(kept)) and rights.account_id == account_id:
            return rights
        lease = await self._cache.lease(account_id)
        async with self._database.reading() as statements:
            rights = await self.read(statements, account_id)
        if rights:
            await self._cache.keep(lease, msgspec.json.encode(rights))
        return rights

    async def read(self, statements: Statements, account_id: int) -> Rights | None:
        """As the database has it, whatever is cached."""
        holder = await statements.row(
            _Holder,
            "SELECT id, google_id, email, name FROM accounts WHERE id = %s AND suspended_at IS NULL",
            [account_id],
        )
        if holder is None:
            return None
        own = await statements.column("SELECT role FROM account_roles WHERE account_id = %s", [account_id])
        by_group = await self._by_group(statements, holder.google_id) if holder.google_id else []
        return Rights(
            account_id=holder.id, email=holder.email, name=holder.name, roles=known([*own, *by_group])
        )

    async def changed(self, tx: Transaction, account_ids: Sequence[int]) -> None:
        """Have the change of these accounts count from their next request on."""
        await tx.execute(
            "INSERT INTO rights_changes (account_id) SELECT unnest(%s::bigint[])", [list(account_ids)]
        )
        tx.after_commit(partial(self._tell, self._cache.forget, account_ids))
        await self._busts.announce(tx, TAG)

    async def changed_for_anybody(self, tx: Transaction) -> None:
        await tx.execute("INSERT INTO rights_changes (account_id) VALUES (NULL)")
        tx.after_commit(partial(self._tell, self._cache.forget_all))
        await self._busts.announce(tx, TAG)

    async def members_changed(self, tx: Transaction) -> None:
        """Somebody came into a group or left one. Told though no group may have a role: one may be given
        it at this very moment.
        """
        await self.changed_for_anybody(tx)

    async def tell_again(self) -> int:
        """Tell the cache of every change it may not have been told of; how many there were.

        What a process wrote down and died before telling is told here.
        """
        async with self._database.transaction() as tx:
            changed = await tx.column("DELETE FROM rights_changes RETURNING account_id")
            if None in changed:
                await self._cache.forget_all()
            else:
                await self._cache.forget(set(changed))
        return len(changed)

    async def list_kept(self, account_ids: Collection[int] | None = None) -> dict[int, bytes]:
        """What is cached of these accounts, or of some drawn at random."""
        return await self._cache.list_kept(account_ids)

    async def find_stale(self, account_ids: Collection[int] | None = None) -> dict[int, str]:
        """Account → address, of those whose cached rights are not those of the database."""
        stale = {}
        kept = await self.list_kept(account_ids)
        async with self._database.reading() as statements:
            for account_id, body in kept.items():
                rights, true = _decoded(body), await self.read(statements, account_id)
                if rights is None or rights.account_id != account_id:
                    continue  # never believed
                if true is None or true.roles != rights.roles:
                    stale[account_id] = true.email if true else rights.email
        return stale

    async def _by_group(self, statements: Statements, google_id: str) -> list[str]:
        grants = await statements.pairs("SELECT group_id, array_agg(role) FROM group_roles GROUP BY group_id")
        if not grants:
            return []
        groups = await self._groups_of(statements, google_id)
        return [role for group_id in groups for role in grants.get(group_id, [])]

    async def _tell(self, tell: Callable[..., Awaitable[None]], *told: object) -> None:
        try:
            await tell(*told)
        except Unavailable as error:
            # Nobody is let in while Redis is away; but it may be back, with what it kept, at any moment.
            logger.warning("rights_not_told", error=str(error))
            if not self.has_to_tell:
                self._telling = asyncio.create_task(self._tell_until_told())

    async def _tell_until_told(self) -> None:
        """The worker does the same, less often, for whoever dies meanwhile."""
        while True:
            try:
                await self.tell_again()
            except Unavailable:
                await asyncio.sleep(_TOLD_AGAIN_AFTER)
            else:
                return


def known(roles: Sequence[str]) -> tuple[Role, ...]:
    """The roles that this release has, `member` always, in the order of the table."""
    return tuple(role for role in Role if role is Role.MEMBER or role.value in roles)


def _decoded(body: bytes) -> Rights | None:
    """None for what another release kept, whose roles may have other names."""
    try:
        return msgspec.json.decode(body, type=Rights)
    except msgspec.DecodeError:
        return None

"""Whether what is cached ends with every change it is made of: of people, of customers and of roles."""

from collections.abc import Awaitable, Callable
from functools import partial

from muster.access.probe_account import CHANGING, ProbeAccount
from muster.access.rights import TAG as ROLES
from muster.crm.fields import Kind
from muster.crm.mirror import Mirror, kind_tag
from muster.people.directory_copy import DirectoryCopy
from muster.people.tags import PEOPLE
from muster.platform.cache import Cache
from muster.platform.cache_probes import Canary, until_seen
from muster.platform.database import Database, Transaction
from muster.platform.probe import Failed, Probe

_NOBODYS = "canary"  # no record of HubSpot is called so: its ids are numbers


class HookProbes:
    def __init__(
        self,
        other: Cache,
        database: Database,
        copy: DirectoryCopy,
        mirror: Mirror,
        probe_account: ProbeAccount,
    ) -> None:
        """`other` reads as another process would."""
        self._other = other
        self._database = database
        self._copy = copy
        self._mirror = mirror
        self._probe_account = probe_account

    def probes(self) -> list[Probe]:
        return [Probe(row="cache.hooks", ask=self.hooks)]

    async def hooks(self) -> str:
        """By the very functions that every change of a person, a deal or a role goes through."""
        deal = partial(self._mirror.bust, kind=Kind.DEALS, ids=[_NOBODYS])
        took = {
            "a person": await self._seen("a person", PEOPLE, self._copy.bust),
            "a deal": await self._seen("a deal", kind_tag(Kind.DEALS), deal),
            "a role": await self._role_seen(),
        }
        seen = ", ".join(f"of {what} after {seconds * 1000:.0f} ms" for what, seconds in took.items())
        return f"another reader saw a change {seen}; each was written down for the worker"

    async def _seen(self, what: str, tag: str, bust: Callable[[Transaction], Awaitable[None]]) -> float:
        canary = Canary()

        async def change() -> None:
            async with self._database.transaction() as tx:
                await bust(tx)
                is_written_down = await tx.value(_WRITTEN_DOWN, [tag])
            if not is_written_down:
                raise Failed(f"a change of {what} was not written down: a crash would lose its bust")

        return await self._changed(canary, what, tag, change)

    async def _role_seen(self) -> float:
        account = (await self._probe_account.get(CHANGING)).account_id
        slowest = 0.0
        async with self._probe_account.alone():
            for is_given in (True, False):
                change = partial(self._probe_account.change_role, account, is_given=is_given)
                slowest = max(slowest, await self._changed(Canary(), "a role", ROLES, change))
                if await self._probe_account.sees_role(account) is not is_given:
                    raise Failed(f"a role {'given' if is_given else 'taken'} was not seen by its account")
        return slowest

    async def _changed(
        self, canary: Canary, what: str, tag: str, change: Callable[[], Awaitable[None]]
    ) -> float:
        """Seconds until a reader of what has `tag` sees the change."""
        reads = partial(self._other.get, canary.key, int, canary.sing, tags=[tag])
        await reads()
        canary.value += 1
        await change()
        try:
            return await until_seen(canary, reads)
        except Failed as error:
            raise Failed(f"{error}: of {what}") from error


_WRITTEN_DOWN = """
SELECT EXISTS (SELECT FROM cache_busts WHERE %s = ANY(tags) AND xmin = pg_current_xact_id()::xid)
"""

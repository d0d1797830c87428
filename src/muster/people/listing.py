"""Listing everybody at Google: over as many chains of pages as pay off, resumed where one broke off.

A page's token comes with the page before it, so one chain is as slow as Google's answers are late. A
small company is one chain, and whoever is not in it is not there. A large one is fetched over many chains
side by side, by the first letter of people's addresses. Such partitions overlap, and nobody promises that
they hold everybody. What proves it is a *census*, one chain over everybody by id alone; being one chain,
it takes its time, so it is not held with every listing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from string import ascii_lowercase, digits
from typing import Any, Protocol

import msgspec

from muster.errors import VendorDown, VendorRefused
from muster.people.directory_copy import DirectoryCopy, News, Reading
from muster.people.google_api import VENDOR
from muster.people.google_directory import GoogleDirectory, Page, PageTokenRefused
from muster.people.rereads import ask_about
from muster.platform.database import Database, Transaction
from muster.platform.telemetry import logger

EVERYBODY, IN_FULL, BY_ID = "everybody", "in full", "by id"
"""Chains beside those of PREFIXES: the census, a second walk in one go, and single people."""

PREFIXES = (*ascii_lowercase, *digits, "_", "-")
"""With what an address may begin (https://support.google.com/a/answer/9193374), but for the apostrophe,
which a query cannot hold. Who is in none of these, a census shows.
"""

CHAINS_AT_ONCE = 16
PAGES_AHEAD = 8
PAGES_A_COMMIT = 4
MOST_RESTARTS = 3
COMMIT_DEADLINE = timedelta(seconds=40)
"""Shorter than the silence after which a run counts as lost."""

MISSED_SHARE = 200
"""When more than one in so many were in no partition, the partitions are not to be trusted at all."""


class Sharing(msgspec.Struct, frozen=True, kw_only=True):
    """When a listing is shared out: not before so many pages, since 5,000 people are not worth it, and not
    while Google answers so quickly that one chain brings people faster than they can be written.
    """

    whole_pages: int = 10
    slow_page: timedelta = timedelta(milliseconds=100)


@dataclass(slots=True)
class Chain:
    """One walk over pages; `token` is of the page to be read next."""

    name: str
    token: str = ""
    is_done: bool = False
    is_census: bool = False
    pages: int = 0
    restarts: int = 0
    tokens_seen: set[str] = field(default_factory=set)


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a chain; `asked` is the number that was taken before it was asked for."""

    chain: str
    number: int
    asked: int
    page: Page
    is_census: bool


class Taker(Protocol):
    """What becomes of the pages: compared while those before are still being written, then written."""

    async def compare(self, pages: Sequence[Listed]) -> list[News]: ...
    async def write(self, tx: Transaction, pages: Sequence[Listed], news: list[News]) -> None: ...


class _StoredChain(msgspec.Struct, frozen=True):
    name: str
    next_token: str
    is_done: bool
    is_census: bool
    pages: int


class _Compared(msgspec.Struct, frozen=True):
    pages: list[Listed]
    news: list[News]


class Listing:
    """One listing, whose progress is kept under the run's id in the transaction that takes each page."""

    def __init__(
        self,
        database: Database,
        directory: GoogleDirectory,
        copy: DirectoryCopy,
        sync_id: int,
        *,
        sharing: Sharing,
        with_census: bool,
    ) -> None:
        self._database = database
        self._directory = directory
        self._copy = copy
        self._sync_id = sync_id
        self._sharing = sharing
        self._with_census = with_census
        self._waited, self._timed = 0.0, 0
        self._chains: dict[str, Chain] = {}
        self._pages: asyncio.Queue[Listed | None] = asyncio.Queue(PAGES_AHEAD)
        self._compared: asyncio.Queue[_Compared | None] = asyncio.Queue(1)
        self._slots = asyncio.Semaphore(CHAINS_AT_ONCE)

    async def read(self, taker: Taker) -> None:
        """Hand every page to `taker`, a few in a transaction. Raises VendorError, and whatever it does."""
        stored = await self._database.rows(
            _StoredChain,
            "SELECT name, next_token, is_done, is_census, pages FROM people_chains WHERE sync_id = %s",
            [self._sync_id],
        )
        self._chains = {
            one.name: Chain(one.name, one.next_token, one.is_done, one.is_census, one.pages) for one in stored
        }
        await self._take(taker, self._follow_all())
        if self._is_shared_out and self._with_census:
            await self._fetch_missed(taker)

    @property
    def chains(self) -> int:
        return len(self._chains)

    @property
    def is_proven(self) -> bool:
        """Whether the listing itself shows that nobody is missing from it."""
        return self._with_census or not self._is_shared_out

    @property
    def _is_shared_out(self) -> bool:
        return len(self._chains) > 1

    async def _follow_all(self) -> None:
        everybody = self._chains.setdefault(EVERYBODY, Chain(EVERYBODY))
        while not (everybody.is_done or self._is_shared_out or self._is_worth_sharing(everybody)):
            await self._step(everybody)
        if everybody.is_done and not self._is_shared_out:
            return
        everybody.is_census = self._with_census
        names = (EVERYBODY, *PREFIXES) if self._with_census else PREFIXES
        # All of them are known before the first of their pages: a crash must not take one for done.
        await self._database.execute(
            "INSERT INTO people_chains (sync_id, name) SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING",
            [self._sync_id, list(PREFIXES)],
        )
        async with _together() as tasks:
            for name in names:
                tasks.create_task(self._follow(self._chains.setdefault(name, Chain(name))))

    def _is_worth_sharing(self, everybody: Chain) -> bool:
        """Whether much is left, and Google is slow to bring it."""
        is_slow = self._waited > self._timed * self._sharing.slow_page.total_seconds()
        return everybody.pages >= self._sharing.whole_pages and is_slow

    async def _follow(self, chain: Chain) -> None:
        async with self._slots if chain.name != EVERYBODY else nullcontext():
            while not chain.is_done:
                await self._step(chain)

    async def _step(self, chain: Chain) -> None:
        """Read one page of a chain, or begin the chain anew when Google does not go on with it."""
        asked = await self._copy.number()
        started = time.perf_counter()
        try:
            if chain.is_census:
                page = await self._directory.census_page(chain.token)
            else:
                prefix = "" if chain.name in {EVERYBODY, IN_FULL} else chain.name
                page = await self._directory.users_page(chain.token, prefix=prefix)
        except PageTokenRefused as error:
            _restart(chain, str(error))
            return
        except VendorRefused as error:
            if chain.name not in PREFIXES or error.reason != "invalid":
                raise
            logger.warning("partition_refused", prefix=chain.name, error=str(error))
            chain.is_done = True  # a census shows whom it would have held
            return
        self._waited += time.perf_counter() - started
        self._timed += 1
        number, chain.pages = chain.pages, chain.pages + 1
        chain.token, chain.is_done = page.next_token, not page.next_token
        if page.next_token in chain.tokens_seen:
            _restart(chain, "Google led back to a page that was read before")
        elif page.next_token:
            chain.tokens_seen.add(page.next_token)
        await self._pages.put(
            Listed(
                chain=chain.name,
                number=number,
                asked=asked,
                page=page,
                is_census=chain.is_census,
            )
        )

    async def _take(self, taker: Taker, reading: Coroutine[Any, Any, None]) -> None:
        """Have `reading` bring pages, and each compared and written in the order in which it came."""
        async with _together() as tasks:
            tasks.create_task(self._compare_pages(taker))
            tasks.create_task(self._write_pages(taker))
            await reading
            await self._pages.put(None)

    async def _compare_pages(self, taker: Taker) -> None:
        ended = False
        while not ended:
            first = await self._pages.get()
            pages = [first] if first else []
            ended = first is None
            while len(pages) < PAGES_A_COMMIT and not (self._pages.empty() or ended):
                more = self._pages.get_nowait()
                ended = more is None
                pages += [more] if more else []
            if pages:
                await self._compared.put(_Compared(pages, await taker.compare(pages)))
        await self._compared.put(None)

    async def _write_pages(self, taker: Taker) -> None:
        while compared := await self._compared.get():
            async with self._database.transaction(deadline=COMMIT_DEADLINE) as tx:
                await taker.write(tx, compared.pages, compared.news)
                await self._note(tx, compared.pages)

    async def _note(self, tx: Transaction, batch: Sequence[Listed]) -> None:
        """Keep how far the chains have come, with the pages themselves: after a crash one goes on there."""
        for one in batch:
            await tx.execute(
                """
                INSERT INTO people_pages (sync_id, chain, number, is_census, asked, google_ids)
                VALUES (%s, %s, %s, %s, %s, %s)
                """,
                [
                    self._sync_id,
                    one.chain,
                    one.number,
                    one.is_census,
                    one.asked,
                    [record.google_id for record in one.page.records],
                ],
            )
            await tx.execute(
                """
                INSERT INTO people_chains (sync_id, name, next_token, is_done, is_census, pages)
                VALUES (%s, %s, %s, %s, %s, %s)
                ON CONFLICT (sync_id, name) DO UPDATE SET next_token = EXCLUDED.next_token,
                    is_done = EXCLUDED.is_done, is_census = EXCLUDED.is_census, pages = EXCLUDED.pages
                """,
                [
                    self._sync_id,
                    one.chain,
                    one.page.next_token,
                    not one.page.next_token,
                    one.is_census,
                    one.number + 1,
                ],
            )

    async def _fetch_missed(self, taker: Taker) -> None:
        """Read whom the census has and no partition had: some by id, many by a walk over everybody."""
        async with self._database.reading(deadline=COMMIT_DEADLINE) as statements:
            missed = await statements.column(_MISSED, {"sync_id": self._sync_id})
            counted: int = await statements.value(_COUNTED, [self._sync_id])
        if len(missed) * MISSED_SHARE > counted:
            logger.warning("partitions_not_whole", missed=len(missed), listed=counted)
            await self._take(taker, self._follow(self._chains.setdefault(IN_FULL, Chain(IN_FULL))))
            return
        answers = await ask_about(self._directory, self._copy, missed)
        if answers.down:
            raise next(iter(answers.down.values()))
        await self._take(taker, self._hand_on(answers.readings))

    async def _hand_on(self, readings: Sequence[Reading]) -> None:
        chain = self._chains.setdefault(BY_ID, Chain(BY_ID))
        for reading in readings:
            await self._pages.put(
                Listed(
                    chain=BY_ID,
                    number=chain.pages,
                    asked=reading.asked,
                    page=Page(records=list(reading.records), next_token=""),
                    is_census=False,
                )
            )
            chain.pages += 1


_MISSED = """
SELECT unnest(google_ids) FROM people_pages
WHERE sync_id = %(sync_id)s AND is_census
EXCEPT
SELECT unnest(google_ids) FROM people_pages
WHERE sync_id = %(sync_id)s AND NOT is_census
"""

_COUNTED = """
SELECT COALESCE(sum(cardinality(google_ids)), 0) FROM people_pages WHERE sync_id = %s AND is_census
"""


def _restart(chain: Chain, why: str) -> None:
    """Begin a chain anew; what its pages have shown stays. Raises VendorDown when that has been in vain."""
    logger.warning("chain_restarted", chain=chain.name, page=chain.pages, why=why)
    chain.token, chain.is_done, chain.restarts = "", False, chain.restarts + 1
    chain.tokens_seen.clear()
    if chain.restarts > MOST_RESTARTS:
        raise VendorDown(VENDOR, f"a listing cannot be read to its end: {why}", reason="pageToken")


@asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """Tasks of which one failure ends all; it is raised by itself, as if there had been one task."""
    try:
        async with asyncio.TaskGroup() as tasks:
            yield tasks
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

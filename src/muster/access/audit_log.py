"""The audit log as it is read: searched, and proved to be whole."""

import time
from collections.abc import AsyncGenerator, Collection
from datetime import datetime, timedelta
from typing import Any, LiteralString

import msgspec
from psycopg import sql

from muster.errors import Invalid
from muster.platform.database import Database
from muster.platform.paging import PAGE, Cut, Keyset, Order, Wanted, all_of
from muster.platform.probe import Failed
from muster.platform.telemetry import logger

GUARDS = 4
"""Triggers: three that refuse changes, one that seals."""

SMALL = 50_000
"""A log of so many entries is proved from its start every time; it takes well under a second."""

CHUNK = 50_000
RECENT = 5_000
KEPT_EVERY = timedelta(hours=1)
FULL_EVERY = timedelta(hours=26)
"""How old the last proof of the whole log may be."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Who did what to what. `number` is its place in the chain, and `email` theirs at that time."""

    id: int
    number: int
    at: datetime
    account_id: int | None
    email: str
    action: str
    subject: str
    before: Any
    after: Any
    request_id: str
    address: str
    via: str
    sort_key: str = ""


class AuditFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`who` is part of an address, or an account's id; `until` is the first moment that is out."""

    who: str = ""
    action: str = ""
    subject: str = ""
    q: str = ""
    request: str = ""
    address: str = ""
    since: datetime | None = None
    until: datetime | None = None
    sort: str = "-at"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the chain: whoever has kept an earlier one can tell whether it is still part of it."""

    number: int
    hash: bytes

    @property
    def told(self) -> str:
        return f"number {self.number:,}, {self.hash.hex()[:16]}"


class _Known(Head, frozen=True, kw_only=True):
    at: datetime
    is_full: bool


class _Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """The first number at which each kind of damage is seen, if any."""

    seals: int
    gap: int | None
    missing: int | None
    changed: int | None


_NOTHING = Head(number=0, hash=b"")


class AuditLog:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(
        self, wanted: AuditFilter, *, after: str = "", before: str = "", limit: int = PAGE
    ) -> Cut[Entry]:
        """Raises Invalid for an unknown order, and for a cursor of another order."""
        return await ENTRIES.find(self._database, _wanted(wanted), after=after, before=before, limit=limit)

    def stream(self, wanted: AuditFilter) -> AsyncGenerator[Entry, None]:
        ENTRIES.check(wanted.sort)
        return ENTRIES.stream(self._database, _wanted(wanted))

    async def list_actions(self) -> list[str]:
        """The actions there are, found by skipping through the index rather than by reading the log."""
        async with self._database.reading() as statements:
            return await statements.column(_ACTIONS)

    async def names_of(self, subjects: Collection[str]) -> dict[str, str]:
        """What the accounts and groups among these subjects are called now; others are left out."""
        async with self._database.reading() as statements:
            return await statements.pairs(_NAMES, [list(subjects)])

    async def head(self) -> Head:
        """Number 0 while nothing has been written down."""
        return await self._database.row(Head, f"{_SEALS} ORDER BY number DESC LIMIT 1") or _NOTHING

    async def verify(self, *, is_full: bool = False) -> str:
        """Prove the chain from its start, or from the last proof on if the log is long; in a line, what was.

        Raises Failed, saying what was done to the log and where.
        """
        started = time.perf_counter()
        if await self._database.value(_GUARDS) != GUARDS:
            raise Failed("the triggers that keep the log from being changed are not all there and on")
        head = await self.head()
        known = await self._last_verified(is_full=False)
        whole = await self._last_verified(is_full=True)
        is_asked, is_full = is_full, is_full or head.number <= SMALL
        if not is_full and (whole is None or _age(whole) > FULL_EVERY):
            raise Failed("the whole log has not been proved for a day; the job access.verify_audit does it")
        await self._check_not_cut(known, head)
        await self._check_not_cut(whole, head)
        start = 0 if is_full or known is None else max(0, known.number - RECENT)
        await self._check_chain(start, head.number)
        await self._check_all_sealed(start)
        took_ms = round((time.perf_counter() - started) * 1000)
        if is_asked or known is None or known.number != head.number or _age(known) > KEPT_EVERY:
            await self._keep(head, is_full=is_full, took_ms=took_ms)
        return (
            f"{head.number:,} entries, each chained to the one before; {head.number - start:,} of them "
            f"proved now; head {head.told}"
        )

    async def _check_not_cut(self, known: _Known | None, head: Head) -> None:
        """That the head which was proved before is part of the chain still."""
        if known is None or not known.number:
            return
        there = await self._database.value("SELECT hash FROM audit_seals WHERE number = %s", [known.number])
        if there is None:
            raise Failed(
                f"the log ends at {head.number:,}, yet on {known.at:%Y-%m-%d %H:%M} it reached "
                f"{known.number:,}: its end was cut off"
            )
        if bytes(there) != known.hash:
            raise Failed(f"entry {known.number:,} is another than on {known.at:%Y-%m-%d %H:%M}")

    async def _check_chain(self, start: int, end: int) -> None:
        for low in range(start, end, CHUNK):
            high = min(low + CHUNK, end)
            chunk = await self._database.row(_Chunk, _CHECK, {"low": low, "high": high})
            if chunk is None:
                raise LookupError("a statement that gives one row gave none")
            if chunk.gap is not None or chunk.seals != high - max(low, 1) + 1:
                raise Failed(f"seals are missing before {chunk.gap or high:,}")
            if chunk.missing is not None:
                raise Failed(f"entry {chunk.missing:,} was removed")
            if chunk.changed is not None:
                raise Failed(f"entry {chunk.changed:,} is not as it was written")

    async def _check_all_sealed(self, start: int) -> None:
        unsealed = await self._database.value(_UNSEALED, {"start": start})
        if unsealed is not None:
            raise Failed(f"entry id {unsealed} was slipped in without a seal")

    async def _last_verified(self, *, is_full: bool) -> _Known | None:
        return await self._database.row(
            _Known,
            """
            SELECT number, hash, at, is_full FROM audit_verifications
            WHERE (is_full OR NOT %s) AND at <= clock_timestamp() ORDER BY at DESC, id DESC LIMIT 1
            """,
            [is_full],
        )

    async def _keep(self, head: Head, *, is_full: bool, took_ms: int) -> None:
        """Also in the process's own log, which leaves the machine: an anchor that is not in this database."""
        await self._database.execute(
            "INSERT INTO audit_verifications (number, hash, is_full, took_ms) VALUES (%s, %s, %s, %s)",
            [head.number, head.hash, is_full, took_ms],
        )
        logger.info("audit_verified", number=head.number, hash=head.hash.hex(), is_full=is_full, ms=took_ms)


def _age(known: _Known) -> timedelta:
    return datetime.now(known.at.tzinfo) - known.at


def _wanted(wanted: AuditFilter) -> Wanted:
    parts: list[sql.Composable] = []
    values: dict[str, Any] = {}

    def want(condition: LiteralString, value: object) -> None:
        name = f"value{len(values)}"
        parts.append(sql.SQL(condition).format(sql.Placeholder(name)))
        values[name] = value

    if who := wanted.who.strip():
        if who.isdecimal():
            want("account_id = {}::bigint", _bigint(who))
        else:
            want("lower(audit_log.email) LIKE {}", f"%{_literally(who.casefold())}%")
    for condition, value in (
        ("action = {}", wanted.action),
        ("subject = {}", wanted.subject.strip()),
        ("request_id = {}", wanted.request.strip()),
        ("address = {}", wanted.address.strip()),
        ("at >= {}", wanted.since),
        ("at < {}", wanted.until),
    ):
        if value:
            want(condition, value)
    for word in wanted.q[:100].split():
        want(_ANYWHERE, word)
    return Wanted(all_of(parts), values, wanted.sort)


def _bigint(digits: str) -> int:
    number = int(digits[:20])
    if number >= 2**63:
        raise Invalid("No account has such a number.")
    return number


def _literally(text: str) -> str:
    for sign in ("\\", "%", "_"):
        text = text.replace(sign, f"\\{sign}")
    return text


ENTRIES = Keyset(
    Entry,
    columns=sql.SQL(
        "id, number, at, account_id, email, action, subject, before, after, request_id, address, via"
    ),
    tables=sql.SQL("audit_log JOIN audit_seals ON audit_id = id"),
    id=sql.SQL("id"),
    id_type="bigint",
    # As they were committed: whoever collects them would miss an entry that was begun earlier than the
    # last one seen, and committed later.
    orders={"at": Order("Oldest first", "Newest first", sql.SQL("number"), "bigint")},
)

_ANYWHERE = """
strpos(lower(concat_ws(' ',
    audit_log.email, action, subject, before::text, after::text, address, via, request_id
)), lower({})) > 0
"""

_SEALS = "SELECT number, hash FROM audit_seals"

_NAMES = """
WITH asked AS (SELECT unnest(%s::text[]) AS subject)
SELECT subject, COALESCE(NULLIF(name, ''), email) FROM asked
JOIN accounts ON subject ~ '^account:[0-9]{1,18}$' AND id = substr(subject, 9)::bigint
UNION ALL
SELECT subject, COALESCE(NULLIF(name, ''), email) FROM asked
JOIN groups ON starts_with(subject, 'group:') AND google_id = substr(subject, 7)
"""

_ACTIONS = """
WITH RECURSIVE found AS (
    (SELECT action FROM audit_log ORDER BY action LIMIT 1)
    UNION ALL
    SELECT (SELECT action FROM audit_log WHERE action > found.action ORDER BY action LIMIT 1)
    FROM found WHERE found.action IS NOT NULL
)
SELECT action FROM found WHERE action IS NOT NULL
"""

_CHECK = """
WITH sealed AS (
    SELECT number, audit_id, hash, lag(hash) OVER (ORDER BY number) AS previous,
        lag(number) OVER (ORDER BY number) AS place_before
    FROM audit_seals WHERE number BETWEEN %(low)s AND %(high)s
)
SELECT count(*) AS seals,
    min(number) FILTER (
        WHERE number > greatest(%(low)s, 1) AND place_before IS DISTINCT FROM number - 1
    ) AS gap,
    min(number) FILTER (WHERE entry.id IS NULL) AS missing,
    min(number) FILTER (
        WHERE number > %(low)s AND entry.id IS NOT NULL
            AND hash <> audit_hash(coalesce(previous, ''), number, entry)
    ) AS changed
FROM sealed LEFT JOIN audit_log AS entry ON entry.id = audit_id
"""

_UNSEALED = """
SELECT min(id) FROM audit_log
WHERE (%(start)s = 0 OR id >= (SELECT min(audit_id) FROM audit_seals WHERE number > %(start)s))
    AND NOT EXISTS (SELECT FROM audit_seals WHERE audit_id = id)
"""

_GUARDS = """
SELECT count(*) FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema())
    AND tgenabled IN ('O', 'A') AND (tgname = 'seal_audit_entry' OR tgname IN (
        'audit_log_append_only', 'audit_seals_append_only', 'audit_verifications_append_only'
    ))
"""

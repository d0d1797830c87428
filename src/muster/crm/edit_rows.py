"""Edits as they are kept until HubSpot has taken them: who holds one, in which order, what became of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from psycopg import sql

from muster.crm.fields import Kind
from muster.errors import NotFound
from muster.platform.actor import Origin, Who
from muster.platform.busts import LATE_EFFECT, OUTSIDE_DEADLINE
from muster.platform.database import Database, Transaction

HELD_FOR = OUTSIDE_DEADLINE + LATE_EFFECT
"""Whoever writes an edit has it so long; then they are taken for dead, and nothing they sent is under way."""


class Status(StrEnum):
    """What became of an edit; the first three are open, and block later ones of the same record."""

    WAITING = "waiting"
    SENDING = "sending"
    UNKNOWN = "unknown"  # sent, and nobody knows whether HubSpot took it
    DONE = "done"
    CONFLICT = "conflict"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"

    @property
    def is_open(self) -> bool:
        return self in {Status.WAITING, Status.SENDING, Status.UNKNOWN}


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be written. `before` is what whoever asked had in front of them, `theirs` what HubSpot had
    instead, `written` property → [before, after] as it was done.
    """

    id: int
    kind: Kind
    record_id: str | None
    bulk_id: int | None
    fields: dict[str, str]
    before: dict[str, str]
    ties: list[tuple[Kind, str]]
    status: Status
    attempts: int
    next_at: datetime
    sent_at: datetime | None
    written: dict[str, tuple[str, str]]
    problem: str
    problem_fields: dict[str, str]
    theirs: dict[str, str]
    correlation_id: str
    creation_key: str | None
    asked_at: datetime
    ended_at: datetime | None
    account_id: int | None
    by_email: str
    address: str
    request_id: str

    @property
    def email(self) -> str:
        """Of who did it, as the audit record wants it."""
        return self.by_email

    @property
    def is_creation(self) -> bool:
        return self.creation_key is not None

    @property
    def origin(self) -> Origin:
        return Origin(request_id=self.request_id, address=self.address)


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """An edit that is not kept yet."""

    kind: Kind
    record_id: str | None
    fields: dict[str, str]
    before: dict[str, str] = {}
    ties: Sequence[tuple[Kind, str]] = ()
    creation_key: str | None = None


class Kept(msgspec.Struct, frozen=True):
    """`is_new` unless an edit with this `creation_key` was kept before."""

    id: int
    is_new: bool


class EditRows:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, edit_id: int) -> Edit:
        found = await self._database.row(Edit, _select("WHERE id = %s"), [edit_id])
        if found is None:
            raise NotFound(f"There is no edit {edit_id}.")
        return found

    async def open_of(self, kind: Kind, record_ids: Sequence[str]) -> list[Edit]:
        """What is asked for and not done, or was stopped and not put aside, the oldest first."""
        return await self._database.rows(
            Edit,
            _select(
                "WHERE kind = %s AND record_id = ANY(%s) "
                "AND status IN ('waiting', 'sending', 'unknown', 'conflict', 'refused') ORDER BY id"
            ),
            [kind, list(record_ids)],
        )

    async def keep(self, tx: Transaction, wish: Wish, *, by: Who, origin: Origin) -> Kept:
        kept = await tx.row(
            Kept,
            """
            INSERT INTO crm_edits (kind, record_id, fields, before, ties, creation_key,
                account_id, by_email, address, request_id)
            VALUES (%s, %s, %s::jsonb, %s::jsonb, %s::jsonb, %s, %s, %s, %s, %s)
            ON CONFLICT (creation_key) DO UPDATE SET creation_key = excluded.creation_key
            RETURNING id, xmax = 0 AS is_new
            """,
            [
                wish.kind,
                wish.record_id,
                _json(wish.fields),
                _json(wish.before),
                msgspec.json.encode(list(wish.ties)).decode(),
                wish.creation_key,
                by.account_id,
                by.email,
                origin.address,
                origin.request_id,
            ],
        )
        return kept or Kept(0, is_new=False)

    async def kept_before(self, tx: Transaction, edit_id: int) -> Edit:
        """As `get`, of a row that `keep` has locked."""
        found = await tx.row(Edit, _select("WHERE id = %s"), [edit_id])
        if found is None:
            raise NotFound(f"There is no edit {edit_id}.")
        return found

    async def free_key(self, tx: Transaction, edit: Edit) -> bool:
        """Put a refused creation aside, so that its key stands for what is sent in its place."""
        return bool(
            await tx.execute(
                "UPDATE crm_edits SET creation_key = creation_key || '#' || id, status = 'withdrawn', "
                "ended_at = now() WHERE id = %s AND status = 'refused'",
                [edit.id],
            )
        )

    async def claim(self, edit_id: int) -> Edit | None:
        """Hold an edit to write it; None where it is not its turn, or somebody else has it.

        One of a record is written at a time: behind those asked for earlier, and behind one whose outcome
        is unknown. Those of a bulk that have not begun stand in nobody's way.
        """
        async with self._database.transaction() as tx:
            named = await tx.row(_Named, "SELECT kind, record_id FROM crm_edits WHERE id = %s", [edit_id])
            if named is None:
                return None
            # In a statement of its own: what follows must see what whoever had the lock has committed.
            await tx.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended(%s, 7))",
                [f"{named.kind}:{named.record_id or f'new:{edit_id}'}"],
            )
            return await tx.row(Edit, _CLAIM, {"id": edit_id, "held_for": HELD_FOR})

    async def begin_write(self, edit: Edit) -> bool:
        """Note that HubSpot is about to be told; not so if the edit has been taken from whoever held it."""
        return bool(
            await self._database.execute(
                "UPDATE crm_edits SET sent_at = clock_timestamp() "
                "WHERE id = %s AND attempts = %s AND status = 'sending'",
                [edit.id, edit.attempts],
            )
        )

    async def put_off(
        self, edit: Edit, *, until: timedelta, problem: str, correlation_id: str, is_sent: bool
    ) -> None:
        """Have it tried later; with `is_sent` nobody knows whether HubSpot has it already."""
        await self._database.execute(
            """
            UPDATE crm_edits SET status = %(status)s, next_at = now() + %(until)s, problem = %(problem)s,
                correlation_id = %(correlation_id)s, held_until = NULL,
                sent_at = CASE WHEN %(is_sent)s THEN sent_at END
            WHERE id = %(id)s AND attempts = %(attempts)s AND status = 'sending'
            """,
            {
                "id": edit.id,
                "attempts": edit.attempts,
                "status": Status.UNKNOWN if is_sent else Status.WAITING,
                "until": until,
                "problem": problem[:500],
                "correlation_id": correlation_id,
                "is_sent": is_sent,
            },
        )

    async def finish(
        self,
        tx: Transaction,
        edit: Edit,
        status: Status,
        *,
        record_id: str | None = None,
        written: Mapping[str, Sequence[str]] | None = None,
        theirs: Mapping[str, str] | None = None,
        problem: str = "",
        problem_fields: Mapping[str, str] | None = None,
        correlation_id: str = "",
    ) -> bool:
        """Write down how it ended; not so if somebody else has taken it over and ends it."""
        return bool(
            await tx.execute(
                _FINISH,
                {
                    "id": edit.id,
                    "attempts": edit.attempts,
                    "status": status,
                    "record_id": record_id or edit.record_id,
                    "written": _json(written or {}),
                    "theirs": _json(theirs or {}),
                    "problem": problem[:500],
                    "problem_fields": _json(problem_fields or {}),
                    "correlation_id": correlation_id,
                },
            )
        )

    async def of_records(self, edit_ids: Sequence[int]) -> "list[OfRecord]":
        """Which records these edits are of; those of new ones are left out."""
        return await self._database.rows(
            OfRecord,
            "SELECT id, kind, record_id FROM crm_edits WHERE id = ANY(%s) AND record_id IS NOT NULL",
            [list(edit_ids)],
        )

    async def due(self, *, limit: int) -> list[int]:
        """The ids of those whose turn it may be, the oldest first; those of bulks have a job of their own."""
        async with self._database.reading() as statements:
            return await statements.column(_DUE, [limit])

    async def find_stuck(self, patience: timedelta) -> "Stuck":
        """What HubSpot has not taken within `patience`; of a bulk, if none of it was for so long."""
        found = await self._database.row(Stuck, _STUCK, {"patience": patience})
        return found or Stuck(0, 0, None, "")


class Stuck(msgspec.Struct, frozen=True):
    """Of `waiting` edits so many are `stuck`, the oldest since `oldest_at` and for the reason `problem`."""

    waiting: int
    stuck: int
    oldest_at: datetime | None
    problem: str


class OfRecord(msgspec.Struct, frozen=True):
    id: int
    kind: Kind
    record_id: str


class _Named(msgspec.Struct, frozen=True):
    kind: Kind
    record_id: str | None


_COLUMNS = sql.SQL(", ").join(sql.Identifier(name) for name in Edit.__struct_fields__)


def _select(rest: str) -> sql.Composed:
    return sql.SQL("SELECT {} FROM crm_edits {}").format(_COLUMNS, sql.SQL(rest))


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


_CLAIM = sql.SQL("""
UPDATE crm_edits AS mine SET status = 'sending', attempts = attempts + 1,
    held_until = clock_timestamp() + %(held_for)s
WHERE id = %(id)s
    AND (status IN ('waiting', 'unknown') OR (status = 'sending' AND held_until <= clock_timestamp()))
    AND NOT EXISTS (
        SELECT FROM crm_edits AS other
        WHERE other.kind = mine.kind AND other.record_id = mine.record_id AND other.id <> mine.id
            AND (
                other.status IN ('sending', 'unknown')
                OR (other.status = 'waiting' AND other.id < mine.id AND other.bulk_id IS NULL)
            )
    )
RETURNING {}
""").format(_COLUMNS)

_FINISH = """
UPDATE crm_edits SET status = %(status)s, ended_at = now(), held_until = NULL, sent_at = NULL,
    record_id = %(record_id)s, written = %(written)s::jsonb, theirs = %(theirs)s::jsonb,
    problem = %(problem)s, problem_fields = %(problem_fields)s::jsonb, correlation_id = %(correlation_id)s
WHERE id = %(id)s AND attempts = %(attempts)s AND status = 'sending'
"""

_DUE = """
SELECT id FROM crm_edits AS mine
WHERE status IN ('waiting', 'sending', 'unknown') AND bulk_id IS NULL
    AND CASE status WHEN 'sending' THEN held_until ELSE next_at END <= clock_timestamp()
    AND NOT EXISTS (
        SELECT FROM crm_edits AS other
        WHERE other.kind = mine.kind AND other.record_id = mine.record_id AND other.id < mine.id
            AND other.status IN ('waiting', 'sending', 'unknown') AND other.bulk_id IS NULL
    )
ORDER BY id LIMIT %s
"""

_STUCK = """
WITH open AS (
    SELECT bulk_id, asked_at, problem FROM crm_edits WHERE status IN ('waiting', 'sending', 'unknown')
), moved AS (
    SELECT bulk_id, max(ended_at) AS at FROM crm_edits
    WHERE bulk_id IN (SELECT bulk_id FROM open) GROUP BY bulk_id
), waiting AS (
    SELECT problem, GREATEST(asked_at, moved.at) AS since FROM open LEFT JOIN moved USING (bulk_id)
)
SELECT count(*) AS waiting, count(*) FILTER (WHERE is_stuck) AS stuck,
    min(since) FILTER (WHERE is_stuck) AS oldest_at,
    COALESCE((array_agg(problem ORDER BY since) FILTER (WHERE is_stuck AND problem <> ''))[1], '') AS problem
FROM waiting, LATERAL (SELECT since < now() - %(patience)s AS is_stuck) AS judged
"""

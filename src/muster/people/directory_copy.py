"""Our copy of the directory's people: what Google says of somebody is written where it is news.

Every question to Google takes a number of `directory_reads` before it is asked, and every row carries
the number that was due when its answer had arrived. An answer that was asked for before that may be
older than what is known, so it is not written; if it differs, Google is asked again. That way push
messages, pages and retries may come in any order. What a page shows twice within one listing, as it was and
as it is, may stay as it was until the next.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from muster.access.account import Accounts
from muster.people.google_directory import Gone
from muster.people.google_user import Record
from muster.people.history import KINDS_OF_CHANGE
from muster.people.person import GONE, HERE, Person, Status
from muster.people.tags import PEOPLE
from muster.platform.busts import Busts
from muster.platform.database import Database, Statements, Transaction

Source = Literal["listing", "push", "confirmed", "released"]
"""How it was learned; the history also knows "groups"."""

_COLUMNS: dict[str, str] = {
    "google_id": "text",
    "email": "text",
    "name": "text",
    "given_name": "text",
    "family_name": "text",
    "sort_name": "text",
    "search_text": "text",
    "status": "text",
    "title": "text",
    "department": "text",
    "cost_center": "text",
    "org_unit": "text",
    "employee_id": "text",
    "manager_email": "text",
    "aliases": "text[]",
    "fixed_aliases": "jsonb",
    "emails": "jsonb",
    "phones": "jsonb",
    "locations": "jsonb",
    "custom_schemas": "jsonb",
    "is_admin": "bool",
    "is_delegated_admin": "bool",
    "is_guest": "bool",
    "enrolled_2sv": "bool",
    "enforced_2sv": "bool",
    "photo_etag": "text",
    "suspended_reason": "text",
    "suspended_at": "timestamptz",
    "archived_at": "timestamptz",
    "deleted_at": "timestamptz",
    "removed_at": "timestamptz",
    "joined_at": "timestamptz",
    "last_login_at": "timestamptz",
    "fingerprint": "bytea",
    "digest": "bytea",
    "read_at": "int8",
}
"""What COPY carries, in order, with the type names psycopg needs to write them in binary."""

_UNTOLD = ["google_id", "fingerprint", "digest", "read_at", "last_login_at", "photo_etag"]
"""What changes without being an event in anybody's life."""

_NAMES = sql.SQL(", ").join(map(sql.Identifier, _COLUMNS))
_COPY_PEOPLE = sql.SQL("COPY people ({}) FROM STDIN (FORMAT binary)").format(_NAMES)
_COPY_INCOMING = sql.SQL("COPY incoming FROM STDIN (FORMAT binary)")
_STAGE = sql.SQL(
    "CREATE TEMPORARY TABLE IF NOT EXISTS incoming ON COMMIT DELETE ROWS "
    "AS SELECT {} FROM people WITH NO DATA"
).format(_NAMES)
_UPDATE = sql.SQL(
    "UPDATE people SET {}, changed_at = now() FROM incoming WHERE people.google_id = incoming.google_id"
).format(
    sql.SQL(", ").join(
        sql.SQL("{0} = incoming.{0}").format(sql.Identifier(name)) for name in _COLUMNS if name != "google_id"
    )
)

_DIFFERING = """
SELECT sent.google_id
FROM unnest(%(ids)s::text[], %(digests)s::bytea[]) AS sent (google_id, digest)
LEFT JOIN people USING (google_id)
WHERE people.google_id IS NULL OR people.digest <> sent.digest
"""

_KNOWN = """
SELECT google_id, fingerprint, read_at, removed_at IS NULL AS is_here FROM people WHERE google_id = ANY(%s)
"""

_TELL_OF_UPDATES = sql.SQL(
    """
    INSERT INTO people_changes (google_id, kinds, source, sync_id, name, email, fields)
    SELECT incoming.google_id, {kinds}, %(source)s, %(sync_id)s, incoming.name, incoming.email, fields
    FROM incoming JOIN people USING (google_id) CROSS JOIN LATERAL (
        SELECT jsonb_object_agg(key, jsonb_build_array(old.value, new.value)) AS fields
        FROM jsonb_each(to_jsonb(people)) AS old JOIN jsonb_each(to_jsonb(incoming)) AS new USING (key)
        WHERE old.value <> new.value AND key <> ALL(%(untold)s)
    ) AS difference
    -- Somebody gone who stays gone: only the date has become exact.
    WHERE fields IS NOT NULL AND (people.removed_at IS NULL OR incoming.removed_at IS NULL)
    """
).format(kinds=KINDS_OF_CHANGE)

_TELL_OF_JOINERS = """
INSERT INTO people_changes (google_id, kinds, source, sync_id, name, email)
SELECT google_id, '{joined}', %(source)s, %(sync_id)s, name, email
FROM people WHERE google_id = ANY(%(ids)s) AND removed_at IS NULL
"""

_GONE = sql.SQL(
    """
    SELECT sent.google_id, sent.status, COALESCE(sent.deleted_at, now()) AS at
    FROM unnest(%(ids)s::text[], %(statuses)s::text[], %(times)s::timestamptz[], %(asked)s::bigint[])
        AS sent (google_id, status, deleted_at, asked)
    JOIN people ON people.google_id = sent.google_id
    WHERE people.read_at < sent.asked AND people.status NOT IN (sent.status, 'purged')
    """
)

_TELL_OF_LEAVERS = sql.SQL(
    """
    INSERT INTO people_changes (google_id, kinds, source, sync_id, by_email, name, email, fields)
    SELECT google_id, {kinds}, %(source)s, %(sync_id)s, %(by)s, name, email, fields
    FROM ({gone}) AS gone JOIN people USING (google_id) CROSS JOIN LATERAL (
        SELECT jsonb_build_object(
            'status', jsonb_build_array(people.status, gone.status),
            'removed_at', jsonb_build_array(people.removed_at, COALESCE(people.removed_at, gone.at)),
            'deleted_at', jsonb_build_array(people.deleted_at, COALESCE(people.deleted_at, gone.at))
        ) AS fields
    ) AS difference
    """
).format(kinds=KINDS_OF_CHANGE, gone=_GONE)

_MARK_GONE = sql.SQL(
    """
    UPDATE people SET status = gone.status, removed_at = COALESCE(removed_at, gone.at),
        deleted_at = COALESCE(deleted_at, gone.at), changed_at = now(), read_at = nextval('directory_reads'),
        fingerprint = '', digest = ''
    FROM ({gone}) AS gone WHERE people.google_id = gone.google_id RETURNING people.google_id
    """
).format(gone=_GONE)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What Google answered, and the number that was taken before it was asked."""

    asked: int
    records: Sequence[Record]


class Novelty(msgspec.Struct, frozen=True):
    """Somebody who is new or has changed, with the digest of what Google sent."""

    digest: bytes
    person: Person


class News(msgspec.Struct, frozen=True, kw_only=True):
    """What of a reading may be news: people whose record is not to the letter what is known."""

    asked: int
    people: list[Novelty]
    google_ids: list[str]


class Absent(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whom Google, asked by id or for its deleted users, does not have any more."""

    asked: int
    gone: Gone

    @property
    def status(self) -> Status:
        return Status.DELETED if self.gone.is_restorable else Status.PURGED


class Occasion(msgspec.Struct, frozen=True, kw_only=True):
    """On what occasion something is written: `by` is the address of whoever had it done, if anybody.

    A first load tells no history, since that people were already there is no event; a dry run only counts.
    """

    source: Source
    sync_id: int | None = None
    is_first_load: bool = False
    dry_run: bool = False
    by: str = ""


class Settled(msgspec.Struct, kw_only=True):
    """How readings compared with what was known. `late` people may have been read more freshly meanwhile,
    and are asked for again.
    """

    created: int = 0
    updated: int = 0
    late: int = 0


class _Known(msgspec.Struct, frozen=True):
    google_id: str
    fingerprint: bytes
    read_at: int
    is_here: bool


class DirectoryCopy:
    def __init__(self, database: Database, accounts: Accounts, busts: Busts) -> None:
        self._database = database
        self._accounts = accounts
        self._busts = busts

    async def number(self) -> int:
        """A number of `directory_reads`, to be taken before Google is asked."""
        return int(await self._database.value("SELECT nextval('directory_reads')"))

    async def alone(self, tx: Transaction) -> None:
        """Be the only one who decides about people until the commit; taken before any row is locked, so
        that two who decide never wait for each other.
        """
        await tx.execute("SELECT pg_advisory_xact_lock(7002)")

    async def compare(self, readings: Iterable[Reading]) -> list[News]:
        """Look what may be news. Nothing is locked and nothing written: most people have not changed, and
        those who have are taken apart while another transaction is written.
        """
        async with self._database.reading() as statements:
            return [await _compare(statements, reading) for reading in readings]

    async def settle(self, tx: Transaction, news: Sequence[News], occasion: Occasion) -> Settled:
        """Write what is news indeed, with its history; whoever may not stay loses their sessions."""
        settled = Settled()
        if occasion.source == "push" or any(one.people for one in news):
            await self.alone(tx)
            for one in news:
                await self._settle(tx, one, occasion, settled)
        if (settled.created or settled.updated) and not occasion.dry_run:
            await self.bust(tx)
        return settled

    async def bust(self, tx: Transaction) -> None:
        """Have whatever shows people read anew once `tx` is committed."""
        await self._busts.announce(tx, PEOPLE)

    async def remove(self, tx: Transaction, absent: Sequence[Absent], occasion: Occasion) -> list[str]:
        """Mark as gone whoever has not been read again since Google was asked; their ids."""
        if not absent:
            return []
        await self.alone(tx)
        parameters = {
            "ids": [one.gone.google_id for one in absent],
            "statuses": [one.status.value for one in absent],
            "times": [one.gone.deleted_at for one in absent],
            "asked": [one.asked for one in absent],
            "source": occasion.source,
            "sync_id": occasion.sync_id,
            "by": occasion.by,
        }
        await tx.execute(_TELL_OF_LEAVERS, parameters)
        removed = await tx.column(_MARK_GONE, parameters)
        await self._accounts.suspend(tx, removed, because="is not in the company's directory any more")
        if removed:
            await self.bust(tx)
        return removed

    async def _settle(self, tx: Transaction, news: News, occasion: Occasion, settled: Settled) -> None:
        created, updated, late = await _sort(tx, news)
        settled.created += len(created)
        settled.updated += len(updated)
        settled.late += len(late)
        if occasion.dry_run:
            return
        if late:
            await want_rereads(tx, late, because="read twice at once")
        told = {"source": occasion.source, "sync_id": occasion.sync_id}
        number: int = await tx.value("SELECT nextval('directory_reads')") if created or updated else 0
        if created:
            await tx.copy_in(_COPY_PEOPLE, (_row(one, number) for one in created), list(_COLUMNS.values()))
            if not occasion.is_first_load:
                ids = [one.person.google_id for one in created]
                await tx.execute(_TELL_OF_JOINERS, {**told, "ids": ids})
        if updated:
            await tx.execute(_STAGE)
            await tx.copy_in(_COPY_INCOMING, (_row(one, number) for one in updated), list(_COLUMNS.values()))
            await tx.execute(_TELL_OF_UPDATES, {**told, "untold": _UNTOLD})
            await tx.execute(_UPDATE)
        if occasion.source == "push":
            await _stamp(tx, news)
            await self._reconsider(tx, news.google_ids)
        await self._let_in_or_out(tx, [one.person for one in created], [one.person for one in updated])

    async def _reconsider(self, tx: Transaction, google_ids: Sequence[str]) -> None:
        """Open or close accounts by how people stand, whether that is news or not."""
        standing = await tx.pairs(
            "SELECT google_id, status FROM people WHERE google_id = ANY(%s)", [list(google_ids)]
        )
        here = [google_id for google_id, status in standing.items() if status in HERE]
        await self._accounts.restore(tx, here)
        await self._accounts.suspend(
            tx, [*(standing.keys() - here)], because="is suspended or archived in Google Workspace"
        )

    async def _let_in_or_out(
        self, tx: Transaction, created: Sequence[Person], updated: Sequence[Person]
    ) -> None:
        out = [person.google_id for person in (*created, *updated) if not person.status.is_here]
        back = [person.google_id for person in updated if person.status.is_here]
        if out:
            await self._accounts.suspend(tx, out, because="is suspended or archived in Google Workspace")
        if back:
            await self._accounts.restore(tx, back)


async def want_rereads(tx: Transaction, google_ids: Sequence[str], *, because: str) -> None:
    """Have Google asked about each of them soon, once however often they are wanted."""
    await tx.execute(
        """
        INSERT INTO people_rereads (google_id, wish, because)
        SELECT DISTINCT wanted, nextval('directory_reads'), %s FROM unnest(%s::text[]) AS wanted
        ON CONFLICT (google_id) DO UPDATE SET wish = EXCLUDED.wish, because = EXCLUDED.because
        """,
        [because, list(google_ids)],
    )


async def _compare(statements: Statements, reading: Reading) -> News:
    records = {record.google_id: record for record in reading.records}
    digests = {google_id: record.digest() for google_id, record in records.items()}
    sent = {"ids": list(digests), "digests": list(digests.values())}
    differing = await statements.column(_DIFFERING, sent)
    people = [
        Novelty(digests[google_id], person)
        for google_id in differing
        if (person := records[google_id].person())
    ]
    return News(asked=reading.asked, people=people, google_ids=list(records))


async def _sort(tx: Transaction, news: News) -> tuple[list[Novelty], list[Novelty], list[str]]:
    """Who is new, who has changed, and who may have been read more freshly meanwhile."""
    created: list[Novelty] = []
    updated: list[Novelty] = []
    late: list[str] = []
    if not news.people:
        return created, updated, late
    ids = [one.person.google_id for one in news.people]
    known = {row.google_id: row for row in await tx.rows(_Known, _KNOWN, [ids])}
    for one in news.people:
        before = known.get(one.person.google_id)
        if before is None:
            created.append(one)
        elif before.fingerprint == one.person.fingerprint():
            continue
        elif news.asked > before.read_at and not (before.is_here and one.person.status.is_gone):
            updated.append(one)
        else:
            # Whoever a page calls deleted is asked about like anybody who is missing: many may have to wait.
            late.append(before.google_id)
    return created, updated, late


async def _stamp(tx: Transaction, news: News) -> None:
    """Note that they were read just now, even where nothing had changed: a page under way is older."""
    await tx.execute(
        "UPDATE people SET read_at = nextval('directory_reads') WHERE google_id = ANY(%s) AND read_at < %s",
        [news.google_ids, news.asked],
    )


def _row(news: Novelty, number: int) -> list[Any]:
    """The values of `_COLUMNS` for one person."""
    person = news.person
    return [
        person.google_id,
        person.email,
        person.name,
        person.given_name,
        person.family_name,
        person.sort_name,
        person.search_text,
        person.status.value,
        person.title,
        person.department,
        person.cost_center,
        person.org_unit,
        person.employee_id,
        person.manager_email,
        person.aliases,
        Jsonb(person.fixed_aliases, msgspec.json.encode),
        Jsonb(person.emails, msgspec.json.encode),
        Jsonb(person.phones, msgspec.json.encode),
        Jsonb(person.locations, msgspec.json.encode),
        Jsonb(person.custom_schemas, bytes),
        person.is_admin,
        person.is_delegated_admin,
        person.is_guest,
        person.enrolled_2sv,
        person.enforced_2sv,
        person.photo_etag,
        person.suspended_reason,
        person.suspended_at,
        person.archived_at,
        person.deleted_at,
        _removed_at(person),
        person.joined_at,
        person.last_login_at,
        person.fingerprint(),
        news.digest,
        number,
    ]


def _removed_at(person: Person) -> datetime | None:
    return person.deleted_at if person.status in GONE else None

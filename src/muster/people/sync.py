"""Bringing our copy of the directory in step with Google's, without ever losing somebody.

A run lists everybody page by page. Each page is compared with what is stored by fingerprint, and
only people who differ are written. Who was not in a complete listing is asked for by id before
they count as gone: listings that were empty or cut short have emptied other companies' directories.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from muster.errors import Conflict, MusterError, Unavailable
from muster.people.google_directory import Absence, GoogleDirectory, Page
from muster.people.person import Person
from muster.platform import audit
from muster.platform.actor import Origin, System, Who
from muster.platform.database import Database, Transaction
from muster.platform.telemetry import logger

SCHEDULE = System("schedule")
BEAT_EVERY = timedelta(seconds=10)
LOST_AFTER = timedelta(seconds=45)
"""A run whose worker has said nothing for so long has lost its worker."""

ASKED_AT_ONCE = 8

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
    "org_unit": "text",
    "employee_id": "text",
    "manager_email": "text",
    "aliases": "text[]",
    "phones": "jsonb",
    "locations": "text[]",
    "is_admin": "bool",
    "is_guest": "bool",
    "enrolled_2sv": "bool",
    "suspended_reason": "text",
    "suspended_at": "timestamptz",
    "joined_at": "timestamptz",
    "last_login_at": "timestamptz",
    "fingerprint": "bytea",
}
"""What COPY carries, in order, with the type names psycopg needs to write them in binary."""

_STAGE = """
CREATE TEMPORARY TABLE incoming ON COMMIT DROP AS
SELECT google_id, email, name, given_name, family_name, sort_name, search_text, status, title, department,
       org_unit, employee_id, manager_email, aliases, phones, locations, is_admin, is_guest,
       enrolled_2sv, suspended_reason, suspended_at, joined_at, last_login_at, fingerprint
FROM people WITH NO DATA
"""

_MERGE = """
MERGE INTO people USING incoming ON people.google_id = incoming.google_id
WHEN MATCHED THEN UPDATE SET
    email = incoming.email, name = incoming.name, given_name = incoming.given_name,
    family_name = incoming.family_name, sort_name = incoming.sort_name, search_text = incoming.search_text,
    status = incoming.status, title = incoming.title, department = incoming.department,
    org_unit = incoming.org_unit, employee_id = incoming.employee_id,
    manager_email = incoming.manager_email, aliases = incoming.aliases, phones = incoming.phones,
    locations = incoming.locations, is_admin = incoming.is_admin,
    is_guest = incoming.is_guest, enrolled_2sv = incoming.enrolled_2sv,
    suspended_reason = incoming.suspended_reason, suspended_at = incoming.suspended_at,
    joined_at = incoming.joined_at, last_login_at = incoming.last_login_at,
    fingerprint = incoming.fingerprint, changed_at = now(), removed_at = NULL
WHEN NOT MATCHED THEN INSERT
    (google_id, email, name, given_name, family_name, sort_name, search_text, status, title, department,
     org_unit, employee_id, manager_email, aliases, phones, locations, is_admin, is_guest,
     enrolled_2sv, suspended_reason, suspended_at, joined_at, last_login_at, fingerprint)
VALUES
    (incoming.google_id, incoming.email, incoming.name, incoming.given_name, incoming.family_name,
     incoming.sort_name, incoming.search_text, incoming.status, incoming.title, incoming.department,
     incoming.org_unit, incoming.employee_id, incoming.manager_email, incoming.aliases, incoming.phones,
     incoming.locations, incoming.is_admin, incoming.is_guest, incoming.enrolled_2sv,
     incoming.suspended_reason, incoming.suspended_at, incoming.joined_at, incoming.last_login_at,
     incoming.fingerprint)
"""

_UNSEEN = """
SELECT google_id FROM people
WHERE removed_at IS NULL
  AND NOT EXISTS (
      SELECT FROM people_listing WHERE sync_id = %s AND people_listing.google_id = people.google_id
  )
ORDER BY google_id
"""

_RUN = """
SELECT id, status, reason, asked_by, dry_run, asked_at, started_at, finished_at, expected, pages, seen,
       created, updated, unchanged, removed, retried
FROM people_syncs
"""


class SyncRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run with its counts; `status` is waiting, running, finished, failed or refused.

    Refused means that Google's listing could not be believed: nobody was removed.
    """

    id: int
    status: str
    reason: str | None
    asked_by: str
    dry_run: bool
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expected: int | None
    pages: int
    seen: int
    created: int
    updated: int
    unchanged: int
    removed: int
    retried: int

    @property
    def seconds(self) -> float:
        if self.started_at is None:
            return 0.0
        return ((self.finished_at or datetime.now(self.started_at.tzinfo)) - self.started_at).total_seconds()


class ListingNotBelieved(MusterError):
    """Google's listing is empty or was cut short, so absence from it means nothing."""

    code = "listing_not_believed"


class RunLost(MusterError):
    """The run was taken for dead, and another may be under way: nothing more may be written in its name."""

    code = "sync_run_lost"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How a page differs from what is stored."""

    created: list[Person]
    updated: list[Person]
    unchanged: int


class PeopleSync:
    def __init__(self, database: Database, directory: GoogleDirectory) -> None:
        self._database = database
        self._directory = directory

    async def ask(self, *, by: Who, origin: Origin | None = None, dry_run: bool = False) -> int:
        """Put a run down as wanted and give its id; while one is wanted already, that one's."""
        async with self._database.transaction() as tx:
            asked: int | None = await tx.value(
                """
                INSERT INTO people_syncs (status, asked_by, dry_run) VALUES ('waiting', %s, %s)
                ON CONFLICT DO NOTHING RETURNING id
                """,
                [by.email, dry_run],
            )
            if asked is None:
                return await self._already_wanted(tx, dry_run=dry_run)
            if by is not SCHEDULE:
                await audit.record(tx, "people.sync_asked", by=by, subject=f"sync:{asked}", origin=origin)
        return asked

    async def _already_wanted(self, tx: Transaction, *, dry_run: bool) -> int:
        wanted: int | None = await tx.value(
            "SELECT id FROM people_syncs WHERE status = 'waiting' AND dry_run = %s", [dry_run]
        )
        if wanted is None:  # a worker took it up between the two statements
            raise Conflict("A sync has begun at this very moment. Reload the page to see it.")
        return wanted

    async def run(self) -> SyncRun | None:
        """Do the run that is wanted, or a scheduled one; None while another worker is at it.

        Raises VendorError when Google cannot be read; the run is kept with its reason either way.
        """
        sync_id = await self._claim()
        if sync_id is None:
            return None
        reason: str | None = None
        status = "failed"
        beating = asyncio.create_task(self._keep_beating(sync_id))
        try:
            await self._list_everybody(sync_id)
            await self._remove_the_gone(sync_id)
            status = "finished"
        except ListingNotBelieved as error:
            status, reason = "refused", str(error)
        except MusterError as error:
            reason = str(error)
            raise
        except asyncio.CancelledError:
            reason = "its worker was stopped"
            raise
        except Exception:
            reason = "an error of Muster's own; see the log"
            raise
        finally:
            beating.cancel()
            # Shielded: a run that is cancelled must not be left looking alive.
            await asyncio.shield(self._close(sync_id, status, reason))
        return await self.get(sync_id)

    async def get(self, sync_id: int) -> SyncRun | None:
        return await self._database.row(SyncRun, _RUN + " WHERE id = %s", [sync_id])

    async def list_recent(self, *, before: int | None = None, limit: int = 50) -> list[SyncRun]:
        """Newest first; `before` is the id that the last page ended with."""
        return await self._database.rows(
            SyncRun,
            _RUN + " WHERE %(before)s::bigint IS NULL OR id < %(before)s ORDER BY id DESC LIMIT %(limit)s",
            {"before": before, "limit": limit},
        )

    async def find_last(self) -> SyncRun | None:
        """The newest run that ended, well or badly."""
        return await self._database.row(
            SyncRun, _RUN + " WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT 1"
        )

    async def find_whole(self) -> SyncRun | None:
        """The newest run that read the directory to its end and applied it."""
        return await self._database.row(
            SyncRun, _RUN + " WHERE status = 'finished' AND NOT dry_run ORDER BY finished_at DESC LIMIT 1"
        )

    async def synced_at(self) -> datetime | None:
        """When the directory was last read to its end and applied."""
        whole = await self.find_whole()
        return whole.finished_at if whole else None

    async def _claim(self) -> int | None:
        """The run to do now, marked as ours. The database lets one run at a time."""
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                UPDATE people_syncs
                SET status = 'failed', reason = 'its worker was lost', finished_at = now()
                WHERE status = 'running' AND beat_at < now() - %s
                """,
                [LOST_AFTER],
            )
        try:
            async with self._database.transaction() as tx:
                await tx.execute(
                    """
                    INSERT INTO people_syncs (status, asked_by)
                    SELECT 'waiting', %s WHERE NOT EXISTS (SELECT FROM people_syncs WHERE status = 'waiting')
                    ON CONFLICT DO NOTHING
                    """,
                    [SCHEDULE.email],
                )
                claimed: int | None = await tx.value(
                    """
                    UPDATE people_syncs
                    SET status = 'running', started_at = now(), beat_at = now(),
                        expected = (SELECT NULLIF(count(*), 0) FROM people WHERE removed_at IS NULL)
                    WHERE id = (SELECT min(id) FROM people_syncs WHERE status = 'waiting') RETURNING id
                    """
                )
                await tx.execute("DELETE FROM people_listing WHERE sync_id <> %s", [claimed or 0])
        except UniqueViolation:
            return None
        return claimed

    async def is_wanted(self) -> bool:
        """Whether somebody waits for a run."""
        return bool(
            await self._database.value("SELECT EXISTS (SELECT FROM people_syncs WHERE status = 'waiting')")
        )

    async def _list_everybody(self, sync_id: int) -> None:
        anybody = False
        async for page in self._directory.pages():
            await self._apply(sync_id, page)
            anybody = anybody or bool(page.people)
        if not anybody:
            raise ListingNotBelieved("Google's listing held nobody at all; nobody was removed")

    async def _keep_beating(self, sync_id: int) -> None:
        while True:
            await asyncio.sleep(BEAT_EVERY.total_seconds())
            try:
                await self._database.execute(
                    "UPDATE people_syncs SET beat_at = now() WHERE id = %s AND status = 'running'", [sync_id]
                )
            except Unavailable as error:
                logger.warning("sync_beat_missed", sync=sync_id, error=str(error))

    async def _apply(self, sync_id: int, page: Page) -> None:
        async with self._database.transaction(deadline=timedelta(seconds=60)) as tx:
            dry_run = await self._hold(tx, sync_id)
            people = await self._not_listed_before(tx, sync_id, page)
            difference = await self._compare(tx, people)
            if not dry_run:
                await self._write(tx, [*difference.created, *difference.updated])
            await tx.execute(
                """
                UPDATE people_syncs
                SET pages = pages + 1, seen = seen + %s, created = created + %s, updated = updated + %s,
                    unchanged = unchanged + %s, retried = retried + %s, beat_at = now()
                WHERE id = %s
                """,
                [
                    len(people),
                    len(difference.created),
                    len(difference.updated),
                    difference.unchanged,
                    page.retried,
                    sync_id,
                ],
            )

    async def _hold(self, tx: Transaction, sync_id: int) -> bool:
        """Keep the run ours until the commit; whether it is a dry one. Raises RunLost."""
        dry_run: bool | None = await tx.value(
            "SELECT dry_run FROM people_syncs WHERE id = %s AND status = 'running' FOR UPDATE", [sync_id]
        )
        if dry_run is None:
            raise RunLost("this run was silent for so long that it was taken for dead")
        return dry_run

    async def _not_listed_before(self, tx: Transaction, sync_id: int, page: Page) -> list[Person]:
        """Whom no earlier page has shown: who moves while a listing is read can be on two pages of it."""
        listed = [*(person.google_id for person in page.people), *page.unreadable]
        new = await tx.pairs(
            """
            INSERT INTO people_listing SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING
            RETURNING google_id, true
            """,
            [sync_id, listed],
        )
        return [person for person in page.people if person.google_id in new]

    async def _compare(self, tx: Transaction, people: Sequence[Person]) -> Difference:
        stored = await tx.pairs(
            """
            SELECT google_id, CASE WHEN removed_at IS NULL THEN fingerprint END
            FROM people WHERE google_id = ANY(%s)
            """,
            [[person.google_id for person in people]],
        )
        created = [person for person in people if person.google_id not in stored]
        updated = [
            person
            for person in people
            if person.google_id in stored and stored[person.google_id] != person.fingerprint()
        ]
        return Difference(
            created=created, updated=updated, unchanged=len(people) - len(created) - len(updated)
        )

    async def _write(self, tx: Transaction, people: Sequence[Person]) -> None:
        if not people:
            return
        await tx.execute(_STAGE)
        await tx.copy_in(
            "COPY incoming FROM STDIN (FORMAT binary)",
            (_row(person) for person in people),
            list(_COLUMNS.values()),
        )
        await tx.execute(_MERGE)

    async def _remove_the_gone(self, sync_id: int) -> None:
        """Mark as gone whom the complete listing did not show and Google, asked by id, does not have."""
        unseen = [row.google_id for row in await self._database.rows(_Unseen, _UNSEEN, [sync_id])]
        for start in range(0, len(unseen), ASKED_AT_ONCE):
            some = unseen[start : start + ASKED_AT_ONCE]
            if Absence.PRESENT in await self._ask_about(some):
                raise ListingNotBelieved(
                    "Google's listing was cut short: it lacked somebody who is still there; "
                    "nobody was removed"
                )
        await self._mark_removed(sync_id, unseen)

    async def _ask_about(self, google_ids: Sequence[str]) -> list[Absence]:
        return await asyncio.gather(*(self._directory.absence(google_id) for google_id in google_ids))

    async def _mark_removed(self, sync_id: int, google_ids: list[str]) -> None:
        async with self._database.transaction(deadline=timedelta(seconds=60)) as tx:
            dry_run = await self._hold(tx, sync_id)
            if not dry_run and google_ids:
                await tx.execute(
                    """
                    UPDATE people SET status = 'deleted', removed_at = now(), changed_at = now()
                    WHERE google_id = ANY(%s)
                    """,
                    [google_ids],
                )
                await audit.record(
                    tx,
                    "people.removed",
                    by=SCHEDULE,
                    subject=f"sync:{sync_id}",
                    after={"google_ids": google_ids},
                )
            await tx.execute("UPDATE people_syncs SET removed = %s WHERE id = %s", [len(google_ids), sync_id])

    async def _close(self, sync_id: int, status: str, reason: str | None) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                UPDATE people_syncs SET status = %s, reason = %s, finished_at = now()
                WHERE id = %s AND status = 'running'
                """,
                [status, reason, sync_id],
            )
            await tx.execute("DELETE FROM people_listing WHERE sync_id = %s", [sync_id])
        run = await self.get(sync_id)
        if run:
            logger.info(
                "directory_synced",
                sync=sync_id,
                status=status,
                reason=reason,
                seen=run.seen,
                created=run.created,
                updated=run.updated,
                unchanged=run.unchanged,
                removed=run.removed,
            )


class _Unseen(msgspec.Struct):
    google_id: str


def _row(person: Person) -> list[Any]:
    """The values of `_COLUMNS` for one person."""
    special = {
        "status": person.status.value,
        "phones": Jsonb(
            [{"label": _storable(one.label), "value": _storable(one.value)} for one in person.phones]
        ),
        "fingerprint": person.fingerprint(),
    }
    return [
        special[column] if column in special else _storable(getattr(person, column)) for column in _COLUMNS
    ]


def _storable(value: Any) -> Any:
    """`value` without NUL, which JSON can hold and PostgreSQL's text cannot."""
    if isinstance(value, str):
        return value.replace("\0", "")
    return [_storable(one) for one in value] if isinstance(value, list) else value

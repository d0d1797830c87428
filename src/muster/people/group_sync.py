"""Bringing groups and who is in them in step with Google's.

Members are what eats the quota, a call for each group: they are read when the group's own record shows
that they moved, and otherwise in turn, so many in each run.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import msgspec
from psycopg import sql
from typing_extensions import override

from muster.errors import VendorRefused
from muster.people.directory_copy import DirectoryCopy
from muster.people.google_directory import GoogleDirectory, GoogleGroup, GoogleMember, PageTokenRefused
from muster.people.runs import Claim, ListingNotBelieved, Runs, note_costs
from muster.people.tags import GROUPS
from muster.platform.busts import Busts
from muster.platform.database import Database, Transaction
from muster.platform.folding import folded
from muster.platform.queue import Tell
from muster.platform.tally import Tally

AT_ONCE = 8
READ_AGAIN_AFTER = timedelta(hours=6)
IN_TURN = 600
"""Groups whose members are read though nothing says that they moved, in one run."""

DEADLINE = timedelta(seconds=40)
MOST_RESTARTS = 3
_KINDS = {"USER": "user", "GROUP": "group", "CUSTOMER": "customer"}


class _Due(msgspec.Struct, frozen=True):
    google_id: str
    email: str
    direct_members: int
    members_short: int | None

    def is_believable(self, members: Sequence[GoogleMember]) -> bool:
        """Whether as many were shown as Google counts, or as few as the time before."""
        return len(members) >= self.direct_members or len(members) == self.members_short


class _Written(msgspec.Struct, frozen=True):
    created: int
    updated: int


class GroupSync(Runs):
    kind = "groups"
    asked_action = "groups.sync_asked"

    def __init__(
        self,
        database: Database,
        directory: GoogleDirectory,
        copy: DirectoryCopy,
        busts: Busts,
        *,
        members_changed: Callable[[Transaction], Awaitable[None]],
    ) -> None:
        """`members_changed` is told, in the transaction, when somebody came into a group or left one."""
        super().__init__(database)
        self._directory = directory
        self._copy = copy
        self._busts = busts
        self._members_changed = members_changed

    @override
    async def _do(self, run: Claim, tally: Tally, tell: Tell) -> str | None:
        directory = self._directory.counted(tally)
        listed = await self._read_groups(run, directory, tally, tell)
        await self._remove_gone(run, directory, listed)
        return None if run.dry_run else await self._read_members(run, directory, tally, tell)

    async def _read_groups(
        self, run: Claim, directory: GoogleDirectory, tally: Tally, tell: Tell
    ) -> set[str]:
        """The ids of all groups, each written where it differs."""
        listed: set[str] = set()
        token, restarts, tokens_seen = "", 0, set[str]()
        while True:
            try:
                groups, token = await directory.groups_page(token)
            except PageTokenRefused:
                token, restarts = "", restarts + 1
                tokens_seen.clear()
                if restarts > MOST_RESTARTS:
                    raise
                continue
            new = [group for group in groups if group.id not in listed]
            listed |= {group.id for group in new}
            async with self._database.transaction() as tx:
                await self.hold(tx, run)
                written = await _write_groups(tx, new, dry_run=run.dry_run)
                if (written.created or written.updated) and not run.dry_run:
                    await self._busts.announce(tx, GROUPS)
                await tx.execute(
                    """
                    UPDATE people_syncs SET pages = pages + 1, seen = seen + %s, created = created + %s,
                        updated = updated + %s, unchanged = unchanged + %s, chains = 1
                    WHERE id = %s
                    """,
                    [
                        len(new),
                        written.created,
                        written.updated,
                        len(new) - written.created - written.updated,
                        run.id,
                    ],
                )
                await note_costs(tx, run.id, tally)
            tell(len(listed), None, "groups read")
            if not token or token in tokens_seen:
                return listed
            tokens_seen.add(token)

    async def _remove_gone(self, run: Claim, directory: GoogleDirectory, listed: set[str]) -> None:
        """Mark as gone which groups were not listed and Google, asked by id, does not have."""
        async with self._database.reading() as statements:
            unseen = await statements.column(
                "SELECT google_id FROM groups WHERE removed_at IS NULL AND google_id <> ALL(%s)",
                [list(listed)],
            )
        if unseen and not listed:
            raise ListingNotBelieved("Google's listing held no group at all; none was removed")
        for some in _batches(unseen):
            if any(await asyncio.gather(*(directory.has_group(google_id) for google_id in some))):
                raise ListingNotBelieved(
                    "Google's listing of groups was cut short: it lacked one that is there; none was removed"
                )
        async with self._database.transaction() as tx:
            await self.hold(tx, run)
            if not run.dry_run:
                await tx.execute("UPDATE groups SET removed_at = now() WHERE google_id = ANY(%s)", [unseen])
                await tx.execute(_EMPTY, {"ids": unseen, "sync_id": run.id})
                if unseen:
                    await self._members_changed(tx)
                    await self._busts.announce(tx, GROUPS)
            await tx.execute("UPDATE people_syncs SET removed = %s WHERE id = %s", [len(unseen), run.id])

    async def _read_members(
        self, run: Claim, directory: GoogleDirectory, tally: Tally, tell: Tell
    ) -> str | None:
        """Read into the groups that are due. One that cannot be read keeps none of the others from it."""
        short, refused = 0, list[VendorRefused]()
        due = await self._database.rows(
            _Due, _DUE, {"is_full": run.is_full, "again_after": READ_AGAIN_AFTER, "in_turn": IN_TURN}
        )
        for start in range(0, len(due), AT_ONCE):
            some = due[start : start + AT_ONCE]
            read = await asyncio.gather(
                *(directory.members(group.google_id) for group in some), return_exceptions=True
            )
            refused += [answer for answer in read if isinstance(answer, VendorRefused)]
            if len(refused) == start + len(some):  # not one yet: it is the set-up
                raise refused[0]
            for group, members in zip(some, read, strict=True):
                if isinstance(members, VendorRefused) or members is None:
                    continue  # None is gone meanwhile: the next run confirms it
                if isinstance(members, BaseException):
                    raise members
                async with self._database.transaction(deadline=DEADLINE) as tx:
                    await self.hold(tx, run)
                    if group.is_believable(members):
                        written = await _write_members(tx, run, group, members)
                        if written.added or written.removed:
                            await self._members_changed(tx)
                        if written.rows:
                            await self._busts.announce(tx, GROUPS)
                    else:
                        short += 1
                        await tx.execute(
                            "UPDATE groups SET members_short = %s WHERE google_id = %s",
                            [len(members), group.google_id],
                        )
                    await note_costs(tx, run.id, tally)
            tell(start + len(some), len(due), "groups whose members were read")
        return _said(short, refused)


def _said(short: int, refused: Sequence[VendorRefused]) -> str | None:
    said = []
    if short:
        said.append(f"{short} groups were shown with fewer members than they have; theirs were kept.")
    if refused:
        said.append(f"The members of {len(refused)} groups may not be read: {refused[0]}.")
    return " ".join(said) or None


def _batches(google_ids: Sequence[str]) -> list[Sequence[str]]:
    return [google_ids[start : start + AT_ONCE] for start in range(0, len(google_ids), AT_ONCE)]


async def _write_groups(tx: Transaction, groups: Sequence[GoogleGroup], *, dry_run: bool) -> _Written:
    sent = {
        "ids": [group.id for group in groups],
        "emails": [group.email.casefold() for group in groups],
        "names": [group.name for group in groups],
        "descriptions": [group.description for group in groups],
        "aliases": [" ".join(sorted(alias.casefold() for alias in group.aliases)) for group in groups],
        "members": [int(group.direct_members_count or 0) for group in groups],
        "etags": [group.etag for group in groups],
        "sort_names": [folded(group.name or group.email) for group in groups],
        "searches": [
            folded(" ".join([group.name, group.email, *group.aliases, group.description])) for group in groups
        ],
    }
    known = await tx.value(_COUNT_KNOWN, sent)
    differing = await tx.value(_COUNT_DIFFERING, sent)
    if not dry_run:
        await tx.execute(_WRITE_GROUPS, sent)
    return _Written(created=len(groups) - known, updated=differing)


async def _write_members(
    tx: Transaction, run: Claim, group: _Due, members: Sequence[GoogleMember]
) -> "_Members":
    """Write the difference, also into the history of whoever came or went, unless this is the first look."""
    known = {member.id or member.email: member for member in members}
    counts = await tx.row(
        _Members,
        _WRITE_MEMBERS,
        {
            "group_id": group.google_id,
            "group_email": group.email,
            "sync_id": run.id,
            "ids": list(known),
            "kinds": [_KINDS.get(member.type, "other") for member in known.values()],
            "emails": [member.email.casefold() for member in known.values()],
            "roles": [member.role for member in known.values()],
        },
    )
    if counts is None or not (counts.added or counts.removed):
        return counts or _Members(0, 0, 0)
    await tx.execute(
        """
        UPDATE people_syncs SET members_added = members_added + %s, members_removed = members_removed + %s
        WHERE id = %s
        """,
        [counts.added, counts.removed, run.id],
    )
    return counts


class _Members(msgspec.Struct, frozen=True):
    """`rows` are all that were written: somebody's role may have changed, too."""

    added: int
    removed: int
    rows: int


_SENT = sql.SQL(
    """
    unnest(%(ids)s::text[], %(emails)s::text[], %(names)s::text[], %(descriptions)s::text[],
           %(aliases)s::text[], %(members)s::integer[], %(etags)s::text[], %(sort_names)s::text[],
           %(searches)s::text[])
        AS sent (google_id, email, name, description, aliases, direct_members, etag, sort_name, search_text)
    """
)

_DIFFERS = sql.SQL(
    """
    (groups.email, groups.name, groups.description, array_to_string(groups.aliases, ' '),
     groups.direct_members)
        IS DISTINCT FROM (sent.email, sent.name, sent.description, sent.aliases, sent.direct_members)
    """
)

_COUNT_KNOWN = "SELECT count(*) FROM groups WHERE google_id = ANY(%(ids)s) AND removed_at IS NULL"
_COUNT_DIFFERING = sql.SQL(
    "SELECT count(*) FROM {} JOIN groups USING (google_id) WHERE groups.removed_at IS NULL AND {}"
).format(_SENT, _DIFFERS)

_WRITE_GROUPS = sql.SQL(
    """
    INSERT INTO groups
        (google_id, email, name, description, aliases, direct_members, etag, sort_name, search_text)
    SELECT google_id, email, name, description, string_to_array(aliases, ' '), direct_members, etag,
           sort_name, search_text
    FROM {}
    WHERE NOT EXISTS (
        SELECT FROM groups WHERE groups.google_id = sent.google_id AND removed_at IS NULL
            AND groups.etag = sent.etag AND NOT {}
    )
    ON CONFLICT (google_id) DO UPDATE SET email = EXCLUDED.email, name = EXCLUDED.name,
        description = EXCLUDED.description, aliases = EXCLUDED.aliases,
        direct_members = EXCLUDED.direct_members, etag = EXCLUDED.etag, sort_name = EXCLUDED.sort_name,
        search_text = EXCLUDED.search_text, removed_at = NULL, members_due = true,
        changed_at = CASE
            WHEN groups.removed_at IS NULL
                AND (groups.email, groups.name, groups.description, groups.aliases, groups.direct_members)
                    = (EXCLUDED.email, EXCLUDED.name, EXCLUDED.description, EXCLUDED.aliases,
                       EXCLUDED.direct_members)
            THEN groups.changed_at ELSE now()
        END
    """
).format(_SENT, _DIFFERS)

_DUE = """
SELECT google_id, email, direct_members, members_short FROM (
    SELECT *, row_number() OVER (PARTITION BY members_due ORDER BY members_read_at) AS turn
    FROM groups WHERE removed_at IS NULL
) AS groups
WHERE %(is_full)s OR members_due OR (members_read_at < now() - %(again_after)s AND turn <= %(in_turn)s)
ORDER BY members_due DESC, members_read_at NULLS FIRST
"""

_EMPTY = """
WITH emptied AS (
    DELETE FROM group_members WHERE group_id = ANY(%(ids)s) RETURNING group_id, member_id
)
INSERT INTO people_changes (google_id, kinds, source, sync_id, name, email, fields)
SELECT people.google_id, '{left_group}', 'groups', %(sync_id)s, people.name, people.email,
       jsonb_build_object('group', jsonb_build_array(groups.email, NULL))
FROM emptied JOIN groups ON groups.google_id = group_id JOIN people ON people.google_id = member_id
"""

_WRITE_MEMBERS = """
WITH sent AS (
    SELECT * FROM unnest(%(ids)s::text[], %(kinds)s::text[], %(emails)s::text[], %(roles)s::text[])
        AS sent (member_id, kind, email, role)
), read AS (
    SELECT members_read_at IS NOT NULL AS before FROM groups WHERE google_id = %(group_id)s
), removed AS (
    DELETE FROM group_members WHERE group_id = %(group_id)s AND member_id <> ALL(%(ids)s)
    RETURNING member_id
), added AS (
    INSERT INTO group_members (group_id, member_id, kind, email, role)
    SELECT %(group_id)s, member_id, kind, email, role FROM sent
    WHERE NOT EXISTS (
        SELECT FROM group_members AS known
        WHERE known.group_id = %(group_id)s AND known.member_id = sent.member_id
            AND (known.kind, known.email, known.role) = (sent.kind, sent.email, sent.role)
    )
    ON CONFLICT (group_id, member_id) DO UPDATE
        SET kind = EXCLUDED.kind, email = EXCLUDED.email, role = EXCLUDED.role
    RETURNING member_id, xmax = 0 AS is_new
), told AS (
    INSERT INTO people_changes (google_id, kinds, source, sync_id, name, email, fields)
    SELECT google_id, ARRAY[kind], 'groups', %(sync_id)s, people.name, people.email,
           jsonb_build_object('group', CASE kind WHEN 'left_group'
               THEN jsonb_build_array(%(group_email)s::text, NULL)
               ELSE jsonb_build_array(NULL, %(group_email)s::text) END)
    FROM (
        SELECT member_id, 'left_group' AS kind FROM removed
        UNION ALL SELECT member_id, 'joined_group' FROM added WHERE is_new
    ) AS moved JOIN people ON people.google_id = member_id
    WHERE (SELECT before FROM read)
), noted AS (
    UPDATE groups SET members_read_at = now(), members_due = false, members_short = NULL
    WHERE google_id = %(group_id)s
)
SELECT (SELECT count(*) FROM added WHERE is_new) AS added, (SELECT count(*) FROM removed) AS removed,
    (SELECT count(*) FROM added) + (SELECT count(*) FROM removed) AS rows
"""

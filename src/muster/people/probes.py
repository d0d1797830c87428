"""Whether the directory can be read, was, and is in step with what Google tells."""

from datetime import UTC, datetime, timedelta

from muster.access.account import Accounts
from muster.people.google_directory import GoogleDirectory
from muster.people.group_sync import GroupSync
from muster.people.push import EVENTS, PushChannels
from muster.people.removals import Removals
from muster.people.rereads import Rereads
from muster.people.runs import Runs, SyncRun
from muster.people.sync import PeopleSync
from muster.platform.database import Database
from muster.platform.pages import age
from muster.platform.probe import Failed, NotApplicable, Probe

TURNS_MISSED = 3
REREAD_WITHIN = timedelta(minutes=5)
PROVEN_WITHIN = timedelta(days=2)
DECIDED_WITHIN = timedelta(days=1)
WAITED_SHARE = 0.5
"""A run that waits for Google's quota for more of its time than this will soon not end in its turn."""

_THROTTLED = ("userRateLimitExceeded", "rateLimitExceeded", "quotaExceeded")


class PeopleProbes:
    def __init__(
        self,
        database: Database,
        directory: GoogleDirectory,
        sync: PeopleSync,
        groups: GroupSync,
        rereads: Rereads,
        removals: Removals,
        push: PushChannels,
        accounts: Accounts,
        *,
        every: timedelta,
    ) -> None:
        self._database = database
        self._directory = directory
        self._sync = sync
        self._groups = groups
        self._rereads = rereads
        self._removals = removals
        self._push = push
        self._accounts = accounts
        self._every = every

    def probes(self) -> list[Probe]:
        return [
            Probe(row="directory.reachable", ask=self.reachable),
            Probe(row="directory.fresh", ask=self.fresh),
            Probe(row="directory.groups", ask=self.groups_fresh),
            Probe(row="directory.push", ask=self.pushed),
            Probe(row="directory.quota", ask=self.quota),
            Probe(row="directory.removals", ask=self.decided),
            Probe(row="access.offboarded", ask=self.offboarded),
        ]

    async def reachable(self) -> str:
        directory = self._directory.impatient()
        directory.forget_tokens()
        people = await directory.first_few()
        if not people:
            raise Failed("Google answers, but lists nobody")
        group = await directory.first_group()
        members = await directory.members(group.id) if group else []
        units = await directory.org_units()
        groups = f"group {group.email} with {len(members or [])} members" if group else "no group there is"
        return f"the first {people} people, {groups} and {len(units)} org units read, a scope each"

    async def fresh(self) -> str:
        evidence = await self._read_lately(
            self._sync, "the directory has never been read to its end", "people seen"
        )
        proven = await self._sync.proven_at()
        if proven is None or datetime.now(UTC) - proven > PROVEN_WITHIN:
            raise Failed(f"no listing has shown itself to be whole since {age(proven)}; {evidence}")
        return f"{evidence}; shown to be whole {age(proven)}"

    async def groups_fresh(self) -> str:
        evidence = await self._read_lately(
            self._groups, "groups have never been read to their end", "groups seen"
        )
        unread = await self._database.value(
            "SELECT count(*) FROM groups WHERE removed_at IS NULL AND members_read_at IS NULL"
        )
        if unread:
            raise Failed(f"the members of {unread} groups have never been read; {evidence}")
        return evidence

    async def pushed(self) -> str:
        if not self._push.is_possible:
            raise NotApplicable(
                "Google pushes over https only, and PUBLIC_URL is not; the listing tells of all"
            )
        since = await self._push.live_since()
        channels = await self._push.list_open()
        if since is None:
            live = {channel.event for channel in channels if channel.is_live(datetime.now(UTC))}
            raise Failed(f"no live channel for {', '.join(event for event in EVENTS if event not in live)}")
        await self._check_wishes()
        if (last := await self._sync.find_whole()) and last.drift:
            raise Failed(f"sync {last.id} found {last.drift} changes that push should have told before")
        messages = sum(channel.messages for channel in channels)
        return f"{len(EVENTS)} events told since {age(since)}, {messages} messages; nothing was kept back"

    async def quota(self) -> str:
        runs = [run for runs in (self._sync, self._groups) if (run := await runs.find_last())]
        if not runs:
            raise Failed("no sync has ended yet")
        for run in runs:
            if run.waited_seconds > run.seconds * WAITED_SHARE and run.waited_seconds > 1:
                raise Failed(
                    f"sync {run.id} ({run.kind}) waited {run.waited_seconds:.0f} of its {run.seconds:.0f} s "
                    f"for Google's quota; {_throttled(run)} of its {run.calls} calls were refused"
                )
        return "; ".join(
            f"{run.kind}: {run.calls} calls, {_throttled(run)} refused, {run.waited_seconds:.0f} s waited"
            for run in runs
        )

    async def decided(self) -> str:
        waiting = await self._removals.find_waiting()
        if waiting is None:
            return "nobody's removal waits for a decision"
        if datetime.now(UTC) - waiting.staged_at > DECIDED_WITHIN:
            raise Failed(
                f"the removal of {waiting.total} people waits for a decision since {age(waiting.staged_at)}"
            )
        return f"the removal of {waiting.total} people waits for a decision, staged {age(waiting.staged_at)}"

    async def offboarded(self) -> str:
        async with self._database.reading() as statements:
            let_in = await statements.column(_LET_IN)
            kept_out: int = await statements.value(
                "SELECT count(*) FROM accounts WHERE suspended_at IS NOT NULL"
            )
        if let_in:
            raise Failed(f"gone or suspended, yet their account is open: {', '.join(let_in)}")
        if still_in := await self._accounts.list_not_kept_out():
            named = list(dict.fromkeys(still_in))[:5]  # once, whoever has more than one of them
            raise Failed(f"kept out, yet with a role, a token or a session: {', '.join(named)}")
        return f"{kept_out} accounts of people gone or suspended are closed; none has a role or a session"

    async def _check_wishes(self) -> None:
        oldest = await self._database.value("SELECT min(asked_at) FROM people_rereads")
        if oldest and datetime.now(UTC) - oldest > REREAD_WITHIN:
            waiting = await self._rereads.count()
            raise Failed(f"{waiting} people were pushed and not asked about, the first {age(oldest)}")

    async def _read_lately(self, runs: Runs, never: str, what: str) -> str:
        whole, last = await runs.find_whole(), await runs.find_last()
        because = f"; the last run: {last.status}, {last.reason}" if last and last.reason else ""
        if whole is None or whole.finished_at is None:
            raise Failed(f"{never}{because}")
        if datetime.now(UTC) - whole.finished_at > self._every * TURNS_MISSED:
            raise Failed(f"last read to its end {age(whole.finished_at)}{because}")
        return f"last read to its end {age(whole.finished_at)}, {whole.seen} {what}{because}"


def _throttled(run: SyncRun) -> int:
    return sum(run.faults.get(reason, 0) for reason in _THROTTLED)


_LET_IN = """
SELECT accounts.email FROM people JOIN accounts USING (google_id)
WHERE people.status NOT IN ('active', 'guest') AND accounts.suspended_at IS NULL LIMIT 5
"""

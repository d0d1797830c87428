"""Whether the directory can be read, and was."""

from datetime import UTC, datetime, timedelta

from muster.people.google_directory import GoogleDirectory
from muster.people.sync import PeopleSync
from muster.platform.pages import age
from muster.platform.probe import Failed, Probe

TURNS_MISSED = 3


class PeopleProbes:
    def __init__(self, directory: GoogleDirectory, sync: PeopleSync, *, every: timedelta) -> None:
        self._directory = directory
        self._sync = sync
        self._every = every

    def probes(self) -> list[Probe]:
        return [
            Probe(row="directory.reachable", ask=self.reachable),
            Probe(row="directory.fresh", ask=self.fresh),
        ]

    async def reachable(self) -> str:
        people = await self._directory.first_few()
        if not people:
            raise Failed("Google answers, but lists nobody")
        return f"token minted, the first {people} people read"

    async def fresh(self) -> str:
        whole, last = await self._sync.find_whole(), await self._sync.find_last()
        because = f"; the last run: {last.status}, {last.reason}" if last and last.reason else ""
        if whole is None or whole.finished_at is None:
            raise Failed(f"the directory has never been read to its end{because}")
        if datetime.now(UTC) - whole.finished_at > self._every * TURNS_MISSED:
            raise Failed(f"last read to its end {age(whole.finished_at)}{because}")
        return f"last read to its end {age(whole.finished_at)}, {whole.seen} people seen{because}"

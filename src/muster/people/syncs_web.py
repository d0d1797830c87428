"""Syncs of people and of groups: their runs, how one goes, starting one, and how push stands."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.roles import Permission
from muster.people.group_sync import GroupSync
from muster.people.jobs import PeopleJobs
from muster.people.push import PushChannels
from muster.people.removals import Removals
from muster.people.rereads import Rereads
from muster.people.runs import Kind, SyncRun
from muster.people.sync import PeopleSync
from muster.people.sync_log import KINDS, RUNS, STATUSES, TRIALS, RunFilter, RunRow, SyncLog
from muster.people.sync_words import advice_on, faults_of, seconds_left
from muster.platform import run_chart
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages, in_words
from muster.platform.paging import ListQuery, href, links
from muster.platform.routes import Nav, Request, Route

_PICTURED = 30
_LIVE = ("waiting", "running")


class ListSyncs(ListQuery, frozen=True, kw_only=True):
    kind: str = ""
    status: str = ""
    dry: str = ""
    q: str = ""
    sort: str = "-started"

    def filter(self) -> RunFilter:
        return RunFilter(kind=self.kind, status=self.status, dry=self.dry, q=self.q, sort=self.sort)


class StartSync(msgspec.Struct, frozen=True, kw_only=True):
    """`full` begins anew where a run would go on with a listing that broke off, and reads all members."""

    kind: Kind = "people"
    dry_run: bool = False
    full: bool = False


class SyncsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs; `after` is the cursor of the next page, absent on the last."""

    syncs: list[SyncRun]
    total: int
    after: str | None


class PushStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How Google's push stands: `live_since` when all events have come without a gap since."""

    is_possible: bool
    live_since: datetime | None
    channels: list[dict[str, Any]]
    wishes: int


class SyncPages:
    def __init__(
        self,
        log: SyncLog,
        people: PeopleSync,
        groups: GroupSync,
        jobs: PeopleJobs,
        push: PushChannels,
        rereads: Rereads,
        removals: Removals,
        pages: Pages,
        *,
        sync_every: timedelta,
    ) -> None:
        self._log = log
        self._people = people
        self._groups = groups
        self._jobs = jobs
        self._push = push
        self._rereads = rereads
        self._removals = removals
        self._pages = pages
        self._schedule = f"every {sync_every.total_seconds() / 60:.0f} minutes"

    def routes(self) -> list[Route]:
        see, sync = Permission.SEE_PEOPLE, Permission.SYNC_PEOPLE
        nav = Nav(label="Syncs", icon="syncs", order=6, under="/people", is_top=False)
        one = "/people/syncs/{sync_id:int}"
        return [
            Route(path="/people/syncs", handler=self.list_syncs, may=see, reads=ListSyncs, nav=nav),
            Route(path="/people/syncs.csv", handler=self.download_syncs, may=see, reads=ListSyncs),
            Route(path="/people/syncs", method="POST", handler=self.start_sync, may=sync, reads=StartSync),
            Route(path=one, handler=self.show_sync, may=see),
            Route(
                path="/api/v1/people/syncs",
                handler=self.answer_syncs,
                may=see,
                reads=ListSyncs,
                returns=SyncsAnswer,
            ),
            Route(path=f"/api/v1{one}", handler=self.answer_sync, may=see, returns=SyncRun),
        ]

    async def list_syncs(self, request: Request, asked: ListSyncs) -> Response:
        wanted = asked.filter()
        found = await self._log.find(wanted, after=asked.after, before=asked.before, limit=asked.limit)
        counts = await self._log.count_by_kind(wanted)
        last = await self._log.list_last(wanted.kind, count=_PICTURED)
        may_sync = request.actor.may(Permission.SYNC_PEOPLE)
        decides = request.actor.may(Permission.DECIDE_REMOVALS)
        return self._pages.render(
            request,
            "syncs.html",
            title="Directory syncs",
            runs=found.rows,
            live=[_shown(run) for run in await self._log.list_live()],
            tabs=[
                {
                    "key": key,
                    "label": label,
                    "count": counts.get(key, 0),
                    "href": href("/people/syncs", asked, kind=key),
                }
                for key, label in KINDS.items()
            ],
            statuses=STATUSES,
            trials=TRIALS,
            picture=run_chart.columns(last, places=_PICTURED, called=_called) if len(last) > 1 else None,
            pictured=len(last),
            last=last[-1] if last else None,
            may_sync=may_sync,
            push=await self._push_status() if may_sync else None,
            removal_waiting=await self._removals.find_waiting() if decides else None,
            schedule=self._schedule,
            synced_at={"people": await self._people.synced_at(), "groups": await self._groups.synced_at()},
            **links("/people/syncs", "/people/syncs.csv", asked, found, RUNS.labels),
        )

    async def download_syncs(self, request: Request, asked: ListSyncs) -> Response:
        rows = self._log.stream(asked.filter())
        return CsvResponse(
            "syncs.csv", list(_COLUMNS), rows, lambda row: [of(row) for of in _COLUMNS.values()]
        )

    async def start_sync(self, request: Request, asked: StartSync) -> Response:
        runs, job = (
            (self._people, self._jobs.sync) if asked.kind == "people" else (self._groups, self._jobs.groups)
        )
        sync_id = await runs.ask(
            by=request.actor, origin=request.origin, dry_run=asked.dry_run, is_full=asked.full
        )
        await self._jobs.nudge(job, request_id=request.origin.request_id)
        return RedirectResponse(f"/people/syncs/{sync_id}", status_code=303)

    async def show_sync(self, request: Request) -> Response:
        run = await self._log.get(request.path_params["sync_id"])
        return self._pages.render(
            request,
            "sync.html",
            title=f"Sync {run.id}",
            decides=request.actor.may(Permission.DECIDE_REMOVALS),
            around=await self._log.get_surroundings(run),
            faults=faults_of(run),
            **_shown(run),
        )

    async def answer_syncs(self, request: Request, asked: ListSyncs) -> SyncsAnswer:
        """List the runs that read people or groups from Google, with what each changed."""
        wanted = asked.filter()
        found = await self._log.find(wanted, after=asked.after, before=asked.before, limit=asked.limit)
        counts = await self._log.count_by_kind(wanted)
        return SyncsAnswer(
            syncs=[_plain(run) for run in found.rows], total=counts.get(wanted.kind, 0), after=found.after
        )

    async def answer_sync(self, request: Request) -> SyncRun:
        """Show one run: how it stands or ended, what it read and changed, and why it failed."""
        return _plain(await self._log.get(request.path_params["sync_id"]))

    async def _push_status(self) -> PushStatus:
        now = datetime.now(UTC)
        open_ones = await self._push.list_open()
        return PushStatus(
            is_possible=self._push.is_possible,
            live_since=await self._push.live_since(),
            channels=[
                {"channel": channel, "state": _state_of(channel.is_live(now), channel.is_trusted)}
                for channel in sorted(open_ones, key=lambda one: one.event)
            ],
            wishes=await self._rereads.count(),
        )


def _state_of(is_live: bool, is_trusted: bool) -> Literal["live", "distrusted", "unconfirmed"]:  # noqa: FBT001
    if is_live:
        return "live"
    return "unconfirmed" if is_trusted else "distrusted"


def _shown(run: RunRow) -> Mapping[str, Any]:
    """What the progress of a run is drawn from."""
    left = seconds_left(run)
    return {
        "run": run,
        "advice": advice_on(run),
        "took": in_words(run.seconds),
        "waited": in_words(run.waited_seconds),
        "left": in_words(left) if left is not None else "",
        "is_live": run.status in _LIVE,
    }


def _called(run: RunRow) -> str:
    return f"Sync {run.id}, {run.kind}"


def _plain(run: RunRow) -> SyncRun:
    return SyncRun(**{name: getattr(run, name) for name in SyncRun.__struct_fields__})


_COLUMNS: dict[str, Callable[[RunRow], object]] = {
    "Sync": lambda run: run.id,
    "Kind": lambda run: run.kind,
    "Status": lambda run: run.status,
    "Reason": lambda run: run.reason,
    "Dry run": lambda run: "yes" if run.dry_run else "",
    "Full": lambda run: "yes" if run.is_full else "",
    "Asked for by": lambda run: run.asked_by,
    "Asked": lambda run: run.asked_at,
    "Started": lambda run: run.started_at,
    "Finished": lambda run: run.finished_at,
    "Seconds": lambda run: round(run.seconds, 2),
    "Resumed from": lambda run: run.resumed,
    "Read": lambda run: run.seen,
    "Created": lambda run: run.created,
    "Updated": lambda run: run.updated,
    "Unchanged": lambda run: run.unchanged,
    "Removed": lambda run: run.removed,
    "Held": lambda run: run.held,
    "Missed": lambda run: run.missed,
    "Drift": lambda run: run.drift,
    "Members added": lambda run: run.members_added,
    "Members removed": lambda run: run.members_removed,
    "Chains": lambda run: run.chains,
    "Pages": lambda run: run.pages,
    "Calls": lambda run: run.calls,
    "Failed calls": lambda run: run.retried,
    "Failures": lambda run: " ".join(f"{reason}={count}" for reason, count in sorted(run.faults.items())),
    "Seconds waited": lambda run: round(run.waited_seconds, 2),
}

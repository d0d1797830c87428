"""Syncs of customers: their runs, how one goes, starting one, and what HubSpot's allowance was spent on."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import msgspec
from starlette.responses import RedirectResponse, Response

from muster.access.roles import Permission
from muster.crm.jobs import CrmJobs
from muster.crm.meter import Allowance, FeatureCalls, Meter
from muster.crm.rereads import Rereads
from muster.crm.runs import FULL_AT_HOUR, CrmRun
from muster.crm.sync import CrmSync
from muster.crm.sync_log import NEWS, RUNS, STATUSES, WAYS, RunFilter, RunRow, SyncLog
from muster.crm.sync_words import advice_on, faults_of, seconds_left
from muster.errors import Conflict
from muster.platform import run_chart
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages, in_words
from muster.platform.paging import ListQuery, href, links
from muster.platform.routes import Nav, Request, Route

_PATH = "/crm/syncs"
_PICTURED = 30
_LIVE = ("waiting", "running")


class ListCrmSyncs(ListQuery, frozen=True, kw_only=True):
    way: str = ""
    status: str = ""
    news: str = ""
    q: str = ""
    sort: str = "-started"

    def filter(self) -> RunFilter:
        return RunFilter(way=self.way, status=self.status, news=self.news, q=self.q, sort=self.sort)


class StartSync(msgspec.Struct, frozen=True, kw_only=True):
    """`full` lists everything, where a run reads only what changed since the last."""

    dry_run: bool = False
    full: bool = False


class CrmSyncsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs; `after` is the cursor of the next page, absent on the last."""

    syncs: list[CrmRun]
    total: int
    after: str | None


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of the day's calls, as HubSpot last said, and what Muster's own were for."""

    allowance: Allowance | None
    features: list[FeatureCalls]

    @property
    def calls(self) -> int:
        return sum(one.calls for one in self.features)

    @property
    def used(self) -> int:
        """By every app of the account."""
        return self.allowance.daily_limit - self.allowance.daily_left if self.allowance else 0


class CrmSyncPages:
    def __init__(
        self,
        log: SyncLog,
        sync: CrmSync,
        rereads: Rereads,
        jobs: CrmJobs,
        meter: Meter,
        pages: Pages,
        *,
        sync_every: timedelta,
        has_hubspot: bool,
        has_webhooks: bool,
    ) -> None:
        self._log = log
        self._sync = sync
        self._rereads = rereads
        self._jobs = jobs
        self._meter = meter
        self._pages = pages
        self._has_hubspot = has_hubspot
        self._has_webhooks = has_webhooks
        self._schedule = (
            f"What changed is read every {sync_every.total_seconds() / 60:.0f} minutes, "
            f"everything each night from {FULL_AT_HOUR}:00 UTC"
        )

    def routes(self) -> list[Route]:
        see, sync = Permission.SEE_CUSTOMERS, Permission.SYNC_CUSTOMERS
        nav = Nav(label="HubSpot syncs", icon="syncs", order=70, under="/crm/deals", is_top=False)
        one = f"{_PATH}/{{sync_id:int}}"
        return [
            Route(path=_PATH, handler=self.list_syncs, may=see, reads=ListCrmSyncs, nav=nav),
            Route(path=f"{_PATH}.csv", handler=self.download_syncs, may=see, reads=ListCrmSyncs),
            Route(path=_PATH, method="POST", handler=self.start_sync, may=sync, reads=StartSync),
            Route(path=one, handler=self.show_sync, may=see),
            Route(
                path=f"/api/v1{_PATH}",
                handler=self.answer_crm_syncs,
                may=see,
                reads=ListCrmSyncs,
                returns=CrmSyncsAnswer,
            ),
            Route(path=f"/api/v1{one}", handler=self.answer_crm_sync, may=see, returns=CrmRun),
        ]

    async def list_syncs(self, request: Request, asked: ListCrmSyncs) -> Response:
        wanted = asked.filter()
        found = await self._log.find(wanted, after=asked.after, before=asked.before, limit=asked.limit)
        counts = await self._log.count_by_way(wanted)
        last = await self._log.list_last(count=_PICTURED)
        return self._pages.render(
            request,
            "crm_syncs.html",
            title="HubSpot syncs",
            runs=found.rows,
            live=[_shown(run) for run in await self._log.list_live()],
            tabs=[
                {
                    "key": key,
                    "label": label,
                    "count": counts.get(key, 0),
                    "href": href(_PATH, asked, way=key),
                }
                for key, label in WAYS.items()
            ],
            statuses=STATUSES,
            choices_of_news=NEWS,
            picture=run_chart.columns(last, places=_PICTURED, called=_called) if len(last) > 1 else None,
            pictured=len(last),
            last=last[-1] if last else None,
            may_sync=self._has_hubspot and request.actor.may(Permission.SYNC_CUSTOMERS),
            has_hubspot=self._has_hubspot,
            has_webhooks=self._has_webhooks,
            waiting=await self._rereads.waiting(),
            spent=await self._spent(),
            schedule=self._schedule,
            synced_at=await self._sync.synced_at(),
            **links(_PATH, f"{_PATH}.csv", asked, found, RUNS.labels),
        )

    async def download_syncs(self, request: Request, asked: ListCrmSyncs) -> Response:
        rows = self._log.stream(asked.filter())
        return CsvResponse(
            "hubspot-syncs.csv", list(_COLUMNS), rows, lambda row: [of(row) for of in _COLUMNS.values()]
        )

    async def start_sync(self, request: Request, asked: StartSync) -> Response:
        if not self._has_hubspot:
            raise Conflict("HubSpot is not set up: HUBSPOT_TOKEN is not set.")
        sync_id = await self._sync.ask(
            by=request.actor, origin=request.origin, dry_run=asked.dry_run, is_full=asked.full
        )
        await self._jobs.nudge(self._jobs.sync, request_id=request.origin.request_id)
        return RedirectResponse(f"{_PATH}/{sync_id}", status_code=303)

    async def show_sync(self, request: Request) -> Response:
        run = await self._log.get(request.path_params["sync_id"])
        return self._pages.render(
            request,
            "crm_sync.html",
            title=f"HubSpot sync {run.id}",
            changes=await self._log.count_changes(run),
            faults=faults_of(run),
            **_shown(run),
        )

    async def answer_crm_syncs(self, request: Request, asked: ListCrmSyncs) -> CrmSyncsAnswer:
        """List the runs that read customers from HubSpot, with what each changed."""
        wanted = asked.filter()
        found = await self._log.find(wanted, after=asked.after, before=asked.before, limit=asked.limit)
        counts = await self._log.count_by_way(wanted)
        return CrmSyncsAnswer(
            syncs=[_plain(run) for run in found.rows], total=counts.get(wanted.way, 0), after=found.after
        )

    async def answer_crm_sync(self, request: Request) -> CrmRun:
        """Show one run that read customers: how it stands or ended, what it changed, and why it failed."""
        return _plain(await self._log.get(request.path_params["sync_id"]))

    async def _spent(self) -> Spent:
        return Spent(allowance=await self._meter.allowance(), features=await self._meter.today())


def _called(run: RunRow) -> str:
    return f"Sync {run.id}, {'everything' if run.is_full else 'what changed'}"


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


def _plain(run: RunRow) -> CrmRun:
    return CrmRun(**{name: getattr(run, name) for name in CrmRun.__struct_fields__})


_COLUMNS: dict[str, Callable[[RunRow], object]] = {
    "Sync": lambda run: run.id,
    "Status": lambda run: run.status,
    "Reason": lambda run: run.reason,
    "Everything": lambda run: "yes" if run.is_full else "",
    "Dry run": lambda run: "yes" if run.dry_run else "",
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
    "Archived": lambda run: run.archived,
    "Restored": lambda run: run.restored,
    "Merged": lambda run: run.merged,
    "Associations": lambda run: run.associations,
    "Missed": lambda run: run.missed,
    "Drift": lambda run: run.drift,
    "Pages": lambda run: run.pages,
    "Calls": lambda run: run.calls,
    "Failed calls": lambda run: run.retried,
    "Failures": lambda run: " ".join(f"{reason}={count}" for reason, count in sorted(run.faults.items())),
    "Seconds waited": lambda run: round(run.waited_seconds, 2),
}

"""Jobs for programs, under `/api/v1`: reading them, and what operations do by hand."""

from typing import Annotated

import msgspec

from muster.access.roles import Permission
from muster.jobs.acts import JobActs
from muster.jobs.addresses import job_path, read
from muster.jobs.lists import ListJobs, found, href, next_page
from muster.jobs.overview import Overview, Overviews, QueueCard
from muster.jobs.shown import job_of, lines_of, request_of, stack_of, value_of
from muster.platform.queue_desk import QueueDesk, Retried
from muster.platform.queue_view import Brief
from muster.platform.routes import API, Request, Route


class RetryFailed(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is a part of the name of those to retry; all that failed, if it is empty."""

    name: Annotated[str, msgspec.Meta(max_length=200)] = ""


class QueueJobsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of jobs. `matching` are those whose name fits among the first `looked_through` of `total`;
    `next` is the address of the next page, absent on the last.
    """

    jobs: list[Brief]
    matching: int
    total: int
    looked_through: int
    next: str | None


class StoredJobAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A job with what it holds, secrets masked by name and by form; `data`, `options` and `returned` are
    null where they are longer than 64 KB or no JSON. `lines` are the last of its log.
    """

    job: Brief
    address: str
    data: msgspec.Raw
    options: msgspec.Raw
    returned: msgspec.Raw
    stack: str
    lines: list[str]
    line_count: int
    request_id: str
    schedule: str
    waited_seconds: float | None
    took_seconds: float | None


class JobAddress(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    address: str


class JobsApi:
    def __init__(self, desk: QueueDesk, acts: JobActs, overviews: Overviews) -> None:
        self._desk = desk
        self._acts = acts
        self._overviews = overviews

    def routes(self) -> list[Route]:
        see, run = Permission.SEE_JOBS, Permission.RUN_JOBS
        queue = f"{API}/jobs/{{queue}}"
        one, pause = f"{queue}/{{job_id}}", f"{queue}/pause"
        return [
            Route(path=f"{API}/jobs", handler=self.show_jobs, may=see, returns=Overview),
            Route(path=queue, handler=self.list_jobs, may=see, reads=ListJobs, returns=QueueJobsAnswer),
            Route(path=pause, method="POST", handler=self.pause_queue, may=run, returns=QueueCard),
            Route(path=pause, method="DELETE", handler=self.resume_queue, may=run, returns=QueueCard),
            Route(
                path=f"{queue}/failed/retries",
                method="POST",
                handler=self.retry_failed_jobs,
                may=run,
                reads=RetryFailed,
                returns=Retried,
            ),
            Route(
                path=f"{queue}/schedules/{{key}}/runs",
                method="POST",
                handler=self.run_schedule,
                may=run,
                returns=JobAddress,
            ),
            Route(path=one, handler=self.show_job, may=see, returns=StoredJobAnswer),
            Route(path=one, method="DELETE", handler=self.discard_job, may=run, returns=Brief),
            Route(path=f"{one}/retries", method="POST", handler=self.retry_job, may=run, returns=JobAddress),
        ]

    async def show_jobs(self, request: Request) -> Overview:
        """Show the queues with their counts and throughput, the schedules, and the workers alive."""
        return await self._overviews.look()

    async def list_jobs(self, request: Request, asked: ListJobs) -> QueueJobsAnswer:
        """List the jobs of a queue that are in one state."""
        queue = self._desk.check(request.path_params["queue"])
        cut = await found(self._desk.view, queue, asked)
        after = next_page(asked, cut)
        return QueueJobsAnswer(
            **msgspec.structs.asdict(cut),
            next=href(f"{API}/jobs/{queue}", asked, page=after) if after else None,
        )

    async def show_job(self, request: Request) -> StoredJobAnswer:
        """Show one job: its data, progress, log, failure and times."""
        queue, job_id = _named(request)
        whole = await self._desk.get(queue, job_id)
        return StoredJobAnswer(
            job=job_of(whole.brief),
            address=job_path(queue, job_id),
            data=value_of(whole.data),
            options=value_of(whole.options),
            returned=value_of(whole.said),
            stack=stack_of(whole.stack),
            lines=lines_of(whole),
            line_count=whole.line_count,
            request_id=request_of(whole),
            schedule=whole.schedule,
            waited_seconds=whole.brief.waited,
            took_seconds=whole.brief.took,
        )

    async def retry_job(self, request: Request) -> JobAddress:
        """Have a job that has failed, or is done, run again."""
        queue, job_id = _named(request)
        await self._acts.retry(queue, job_id, by=request.actor, origin=request.origin)
        return JobAddress(id=job_id, address=job_path(queue, job_id))

    async def retry_failed_jobs(self, request: Request, asked: RetryFailed) -> Retried:
        """Have the failed jobs of a queue run again, a thousand at most; `left` says if there are more."""
        return await self._acts.retry_failed(
            request.path_params["queue"], asked.name, by=request.actor, origin=request.origin
        )

    async def discard_job(self, request: Request) -> Brief:
        """Remove a job that is not running, for good."""
        queue, job_id = _named(request)
        return job_of(await self._acts.discard(queue, job_id, by=request.actor, origin=request.origin))

    async def pause_queue(self, request: Request) -> QueueCard:
        """Have no worker take jobs of a queue; those running go on to their end."""
        queue = request.path_params["queue"]
        await self._acts.pause(queue, by=request.actor, origin=request.origin)
        return await self._overviews.queue(queue)

    async def resume_queue(self, request: Request) -> QueueCard:
        """Have workers take jobs of a queue again."""
        queue = request.path_params["queue"]
        await self._acts.resume(queue, by=request.actor, origin=request.origin)
        return await self._overviews.queue(queue)

    async def run_schedule(self, request: Request) -> JobAddress:
        """Have a schedule's job run now; while one waits already, it is that one."""
        queue = request.path_params["queue"]
        job_id = await self._acts.run_schedule(
            queue, read(request.path_params["key"]), by=request.actor, origin=request.origin
        )
        return JobAddress(id=job_id, address=job_path(queue, job_id))


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["queue"], read(request.path_params["job_id"])

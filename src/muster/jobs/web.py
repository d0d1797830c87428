"""Jobs as pages: all queues, one queue's jobs, one job; and what may be done to them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.responses import RedirectResponse, Response

from muster.access.roles import Permission
from muster.jobs.acts import JobActs
from muster.jobs.addresses import job_path, read, written
from muster.jobs.api import RetryFailed
from muster.jobs.lists import LABELS, RARE, ListJobs, found, href, next_page, stream
from muster.jobs.overview import Overviews, QueueCard
from muster.jobs.shown import (
    Field,
    job_of,
    json_of,
    lines_of,
    often,
    request_of,
    stack_of,
    text_of,
    took,
    until,
)
from muster.jobs.throughput_chart import picture
from muster.platform.csv import CsvResponse
from muster.platform.pages import Pages, in_words
from muster.platform.queue_desk import QueueDesk
from muster.platform.queue_view import Brief, Schedule, Whole
from muster.platform.routes import Nav, Request, Route

MARKS = {
    "failed": "failed",
    "active": "running",
    "waiting": "waiting",
    "prioritized": "waiting",
    "delayed": "queue",
    "waiting-children": "waiting",
    "completed": "finished",
}
"""State of a job → how the style sheet marks it."""

_UNDER_WAY = frozenset({"waiting", "active", "prioritized", "delayed"})
_RUNS_SHOWN = 10


class JobPages:
    def __init__(self, desk: QueueDesk, acts: JobActs, overviews: Overviews, pages: Pages) -> None:
        self._desk = desk
        self._acts = acts
        self._overviews = overviews
        self._pages = pages

    def routes(self) -> list[Route]:
        see, run = Permission.SEE_JOBS, Permission.RUN_JOBS
        nav = Nav(label="Jobs", icon="jobs", order=7)
        queue, one = "/jobs/{queue}", "/jobs/{queue}/{job_id}"
        return [
            Route(path="/jobs", handler=self.show, may=see, nav=nav),
            Route(path="/jobs/{queue}.csv", handler=self.download_jobs, may=see, reads=ListJobs),
            Route(path=queue, handler=self.list_jobs, may=see, reads=ListJobs),
            Route(path=f"{queue}/pause", method="POST", handler=self.pause, may=run),
            Route(path=f"{queue}/resumption", method="POST", handler=self.resume, may=run),
            Route(
                path=f"{queue}/failed/retries",
                method="POST",
                handler=self.retry_failed,
                may=run,
                reads=RetryFailed,
            ),
            Route(path=f"{queue}/schedules/{{key}}/runs", method="POST", handler=self.run_schedule, may=run),
            # Behind those whose addresses it would take.
            Route(path=one, handler=self.show_job, may=see),
            Route(path=f"{one}/retries", method="POST", handler=self.retry, may=run),
            Route(path=f"{one}/discard", method="POST", handler=self.discard, may=run),
        ]

    async def show(self, request: Request) -> Response:
        seen = await self._overviews.look()
        return self._pages.render(
            request,
            "jobs.html",
            title="Jobs",
            queues=[_card(one, seen.seen_at) for one in seen.queues],
            schedules=[_schedule(one) for one in seen.schedules],
            workers=seen.workers,
            seen_at=seen.seen_at,
            marks=MARKS,
            may_run=request.actor.may(Permission.RUN_JOBS),
        )

    async def list_jobs(self, request: Request, asked: ListJobs) -> Response:
        queue = self._desk.check(request.path_params["queue"])
        card, cut = await self._overviews.queue(queue), await found(self._desk.view, queue, asked)
        path, after = f"/jobs/{queue}", next_page(asked, cut)
        return self._pages.render(
            request,
            "jobs_queue.html",
            title=f"Queue {queue}",
            queue=card,
            asked=asked,
            cut=cut,
            jobs=[_row(job) for job in cut.jobs],
            tabs=[
                {
                    "key": state,
                    "label": label,
                    "count": card.counts[state],
                    "href": href(path, asked, state=state),
                }
                for state, label in LABELS.items()
                if state not in RARE or card.counts[state] or asked.state == state
            ],
            marks=MARKS,
            label=LABELS[asked.state],
            path=path,
            csv_href=href(f"{path}.csv", asked),
            next_href=href(path, asked, page=after) if after else None,
            previous_href=href(path, asked, page=asked.page - 1) if asked.page > 1 else None,
            is_live=asked.state in _UNDER_WAY,
            may_run=request.actor.may(Permission.RUN_JOBS),
            seen_at=datetime.now(UTC),
        )

    async def download_jobs(self, request: Request, asked: ListJobs) -> Response:
        queue = self._desk.check(request.path_params["queue"])
        return CsvResponse(
            f"jobs-{queue}-{asked.state}.csv",
            list(_COLUMNS),
            stream(self._desk.view, queue, asked),
            lambda job: [of(job) for of in _COLUMNS.values()],
        )

    async def show_job(self, request: Request) -> Response:
        queue, job_id = _named(request)
        whole = await self._desk.get(queue, job_id)
        job = job_of(whole.brief)
        runs = await self._desk.view.recent(queue, whole.brief.name, limit=_RUNS_SHOWN + 1)
        return self._pages.render(
            request,
            "job.html",
            title=job.name or f"Job {text_of(job.id)}",
            job=job,
            path=job_path(queue, job_id),
            id=text_of(job.id),
            runs=[_row(job_of(one)) for one in runs if one.id != job_id][:_RUNS_SHOWN],
            marks=MARKS,
            label=LABELS[job.state],
            is_live=job.state in _UNDER_WAY,
            may_run=request.actor.may(Permission.RUN_JOBS),
            may_audit=request.actor.may(Permission.SEE_AUDIT),
            seen_at=datetime.now(UTC),
            **_held(whole),
        )

    async def retry(self, request: Request) -> Response:
        queue, job_id = _named(request)
        await self._acts.retry(queue, job_id, by=request.actor, origin=request.origin)
        return RedirectResponse(job_path(queue, job_id), status_code=303)

    async def retry_failed(self, request: Request, asked: RetryFailed) -> Response:
        queue = request.path_params["queue"]
        await self._acts.retry_failed(queue, asked.name, by=request.actor, origin=request.origin)
        return RedirectResponse(href(f"/jobs/{queue}", ListJobs(name=asked.name)), status_code=303)

    async def discard(self, request: Request) -> Response:
        queue, job_id = _named(request)
        job = await self._acts.discard(queue, job_id, by=request.actor, origin=request.origin)
        return RedirectResponse(f"/jobs/{queue}?state={job.state}", status_code=303)

    async def pause(self, request: Request) -> Response:
        queue = request.path_params["queue"]
        await self._acts.pause(queue, by=request.actor, origin=request.origin)
        return RedirectResponse(f"/jobs/{queue}?state=waiting", status_code=303)

    async def resume(self, request: Request) -> Response:
        queue = request.path_params["queue"]
        await self._acts.resume(queue, by=request.actor, origin=request.origin)
        return RedirectResponse(f"/jobs/{queue}?state=waiting", status_code=303)

    async def run_schedule(self, request: Request) -> Response:
        queue, key = request.path_params["queue"], read(request.path_params["key"])
        job_id = await self._acts.run_schedule(queue, key, by=request.actor, origin=request.origin)
        return RedirectResponse(job_path(queue, job_id), status_code=303)


def _named(request: Request) -> tuple[str, str]:
    return request.path_params["queue"], read(request.path_params["job_id"])


def _card(queue: QueueCard, now: datetime) -> Mapping[str, Any]:
    return {
        "queue": queue,
        "picture": picture(queue.name, queue.completed, queue.failed, now),
        "done": sum(queue.completed),
        "broken": sum(queue.failed),
        "oldest": in_words(_since(queue.oldest_waiting_at, now)) if queue.oldest_waiting_at else "",
    }


def _since(moment: datetime, now: datetime) -> float:
    return max(0.0, (now - moment).total_seconds())


def _schedule(one: Schedule) -> Mapping[str, Any]:
    last = one.last
    ran_for = (last.finished_at - last.started_at) if last and last.finished_at and last.started_at else None
    return {
        "schedule": one,
        "key": text_of(one.key),
        "run_path": f"/jobs/{one.queue}/schedules/{written(one.key)}/runs",
        "often": f"every {often(one.every)}" if one.every else one.pattern,
        "until": until(one.next_at),
        "last_path": job_path(one.queue, last.id) if last else "",
        "took": took(ran_for.total_seconds()) if ran_for is not None else "",
    }


def _row(job: Brief) -> Mapping[str, Any]:
    return {
        "job": job,
        "id": text_of(job.id),
        "path": job_path(job.queue, job.id) if job.is_addressable else "",
        **_times(job),
    }


def _times(job: Brief) -> Mapping[str, str]:
    return {
        "waited": took(job.waited) if job.waited is not None else "",
        "took": took(job.took) if job.took is not None else "",
        "until": until(job.due_at) if job.state == "delayed" else "",
        "running": in_words(_since(job.started_at, datetime.now(UTC)))
        if job.state == "active" and job.started_at
        else "",
    }


def _held(whole: Whole) -> Mapping[str, Any]:
    fields: dict[str, Field] = {
        "Data": json_of(whole.data),
        "Result": json_of(whole.said),
        "Options": json_of(whole.options),
    }
    return {
        "fields": fields,
        "stack": stack_of(whole.stack),
        "lines": lines_of(whole),
        "line_count": whole.line_count,
        "caused_by": request_of(whole),
        "schedule": text_of(whole.schedule),
        "parent": text_of(whole.parent),
        "times": _times(whole.brief),
    }


_COLUMNS: dict[str, Callable[[Brief], object]] = {
    "Job": lambda job: job.id,
    "Name": lambda job: job.name,
    "Queue": lambda job: job.queue,
    "State": lambda job: job.state,
    "Added": lambda job: job.added_at,
    "Due": lambda job: job.due_at,
    "Started": lambda job: job.started_at,
    "Finished": lambda job: job.finished_at,
    "Seconds waited": lambda job: _rounded(job.waited),
    "Seconds taken": lambda job: _rounded(job.took),
    "Attempts made": lambda job: job.attempts_made,
    "Attempts allowed": lambda job: job.attempts,
    "Reason": lambda job: job.reason,
}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)

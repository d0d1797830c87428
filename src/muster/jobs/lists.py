"""The jobs of one state, a page at a time, as pages and programs ask for them."""

from collections.abc import AsyncGenerator
from typing import Annotated, Literal
from urllib.parse import urlencode

import msgspec

from muster.jobs.shown import job_of
from muster.platform.queue_view import Brief, Cut, QueueView

State = Literal["waiting", "active", "delayed", "failed", "completed", "prioritized", "waiting-children"]
LABELS: dict[str, str] = {
    "failed": "Failed",
    "active": "Active",
    "waiting": "Waiting",
    "prioritized": "Prioritized",
    "delayed": "Delayed",
    "waiting-children": "Waiting for children",
    "completed": "Completed",
}
"""BullMQ's own words, which its other tools show as well."""

RARE = frozenset({"prioritized", "waiting-children"})
"""Shown where there are any; Muster's own jobs are in none of these."""

_LAST_PAGE = 100_000
_BATCH = 200
_DOWNLOADED = 10_000


class ListJobs(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is a part of a job's name, looked for among the first 2,000 of the state. Jobs come and go
    meanwhile, so a page shows what stands there when it is asked for.
    """

    state: State = "failed"
    name: Annotated[str, msgspec.Meta(max_length=200)] = ""
    page: Annotated[int, msgspec.Meta(ge=1, le=_LAST_PAGE)] = 1
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50


async def found(view: QueueView, queue: str, asked: ListJobs) -> Cut:
    skip = (asked.page - 1) * asked.limit
    cut = await view.find(queue, asked.state, name=asked.name.strip(), skip=skip, limit=asked.limit)
    return msgspec.structs.replace(cut, jobs=[job_of(job) for job in cut.jobs])


async def stream(view: QueueView, queue: str, asked: ListJobs) -> AsyncGenerator[Brief, None]:
    """What is filtered, as far as `_DOWNLOADED` goes."""
    for start in range(0, _DOWNLOADED, _BATCH):
        cut = await view.find(queue, asked.state, name=asked.name.strip(), skip=start, limit=_BATCH)
        for job in cut.jobs:
            yield job_of(job)
        if len(cut.jobs) < _BATCH:
            return


def href(path: str, asked: ListJobs, *, page: int = 1, state: str = "") -> str:
    query = {
        "state": state or asked.state,
        **({"name": asked.name} if asked.name else {}),
        **({"page": page} if page > 1 else {}),
        **({"limit": asked.limit} if asked.limit != 50 else {}),
    }
    return f"{path}?{urlencode(query)}"


def next_page(asked: ListJobs, cut: Cut) -> int | None:
    return asked.page + 1 if asked.page * asked.limit < cut.matching else None

"""The slice put together: its pages and its API act through the same hands."""

from muster.jobs.acts import JobActs
from muster.jobs.api import JobsApi
from muster.jobs.overview import Overviews
from muster.jobs.web import JobPages
from muster.platform.database import Database
from muster.platform.heartbeat import Heartbeats
from muster.platform.pages import Pages
from muster.platform.queue_desk import QueueDesk
from muster.platform.routes import Route


def routes(database: Database, desk: QueueDesk, heartbeats: Heartbeats, pages: Pages) -> list[Route]:
    acts = JobActs(database, desk)
    overviews = Overviews(desk.view, acts, heartbeats)
    return [
        *JobPages(desk, acts, overviews, pages).routes(),
        *JobsApi(desk, acts, overviews).routes(),
    ]

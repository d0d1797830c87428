"""The first page with all it is made of."""

from collections.abc import Awaitable, Callable, Mapping

from muster.crm.catalogue import Catalogues
from muster.crm.owners import Owners
from muster.dashboard.customer_metrics import CustomerMetrics
from muster.dashboard.metrics import Metrics
from muster.dashboard.people_metrics import PeopleMetrics, SeatPrice
from muster.dashboard.snapshots import Snapshots
from muster.dashboard.sources import Sources
from muster.dashboard.web import DashboardPages
from muster.people.removals import Removals
from muster.platform.busts import Busts
from muster.platform.cache import Cache
from muster.platform.database import Database
from muster.platform.pages import Pages
from muster.platform.queue import Job
from muster.platform.routes import Route


class Dashboard:
    def __init__(
        self,
        database: Database,
        cache: Cache,
        busts: Busts,
        owners: Owners,
        catalogues: Catalogues,
        *,
        seat_price: str,
    ) -> None:
        self._sources = Sources(database)
        self.metrics = Metrics(
            cache,
            [
                *PeopleMetrics(database, seat_price=SeatPrice.of(seat_price)).metrics(),
                *CustomerMetrics(database, owners, catalogues).metrics(),
            ],
        )
        self.snapshots = Snapshots(database, self.metrics, busts)

    def routes(
        self, removals: Removals, pages: Pages, *, checklist: Callable[[], Awaitable[Mapping[str, int]]]
    ) -> list[Route]:
        shown = DashboardPages(
            self.metrics, self.snapshots, self._sources, removals, pages, checklist=checklist
        )
        return shown.routes()

    def jobs(self) -> list[Job]:
        return self.snapshots.jobs()

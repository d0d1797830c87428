"""All that changes customers, put together: edits, what waits of them, and acts on many records at once."""

from collections.abc import Awaitable, Callable

from muster.crm.bulk_web import BulkPages
from muster.crm.bulks import Bulks
from muster.crm.catalogue import Catalogues
from muster.crm.edit_web import EditPages
from muster.crm.edits import Edits
from muster.crm.fields import Kind
from muster.crm.hubspot import HubSpot
from muster.crm.leavers import Leavers
from muster.crm.leavers_web import LeaverPages
from muster.crm.lists import Lists
from muster.crm.mirror import Mirror
from muster.crm.outbox import Outbox
from muster.crm.owners import Owners
from muster.crm.record_api import RecordApi
from muster.crm.record_page import Records
from muster.platform.busts import Busts
from muster.platform.cache import Cache
from muster.platform.database import Database
from muster.platform.pages import Pages
from muster.platform.queue import Job, Queues
from muster.platform.routes import Route


class Editing:
    def __init__(
        self,
        database: Database,
        cache: Cache,
        busts: Busts,
        mirror: Mirror,
        hubspot: HubSpot,
        catalogues: Catalogues,
        owners: Owners,
        lists: Lists,
        queues: Queues,
    ) -> None:
        self.edits = edits = Edits(database, busts, mirror, hubspot, catalogues, owners)
        self.outbox = Outbox(edits, queues)
        self.bulks = Bulks(database, edits, queues)
        self.leavers = Leavers(database, cache, owners, self.bulks)
        self._lists = lists
        self._records = Records(database, edits.rows, catalogues, owners)

    def jobs(self) -> list[Job]:
        return [self.outbox.job, self.bulks.job]

    def routes(
        self, pages: Pages, *, refresh: Callable[[Kind, str], Awaitable[object]], has_hubspot: bool
    ) -> list[Route]:
        return [
            *EditPages(
                self._records, self.edits, self.outbox, pages, refresh=refresh, has_hubspot=has_hubspot
            ).routes(),
            *BulkPages(self.bulks, self._lists, self._records, pages).routes(),
            *LeaverPages(self.leavers, self._lists, self._records, pages).routes(),
            *RecordApi(self._records, self.edits, self.outbox).routes(),
        ]

"""HubSpot's half of the sandbox put together."""

from collections import deque

from starlette.routing import Route
from starlette.types import ASGIApp

from acme.clock import Clock
from acme.hubspot.account_api import AccountApi
from acme.hubspot.association_api import AssociationApi
from acme.hubspot.batch_api import BatchApi
from acme.hubspot.days import HubSpotDays
from acme.hubspot.faults import HubSpotFault, HubSpotFaults
from acme.hubspot.gate import Gate
from acme.hubspot.limits import Limits
from acme.hubspot.object_api import ObjectApi
from acme.hubspot.owners import Owners
from acme.hubspot.pages import Pages
from acme.hubspot.portal import Portal
from acme.hubspot.scripting import HubSpotScripting
from acme.hubspot.search_index import SearchIndex
from acme.hubspot.webhooks import Webhooks
from acme.hubspot.world import World
from acme.request_log import Call
from acme.safe import Secrets
from acme.tenant import Change, Tenant

_MOST_UNLESS_ASKED = 20_000
MOST_DEALS = 200_000


class HubSpot:
    """Belongs to the tenant: its people own the deals, its days pass here too, and it goes back with it."""

    def __init__(
        self,
        address: str,
        tenant: Tenant,
        clock: Clock,
        secrets: Secrets,
        seed: int,
        calls: deque[Call],
        *,
        deals: int | None,
        with_limits: bool,
        webhooks_to: str | None,
    ) -> None:
        count = min(tenant.size * 6 // 5, _MOST_UNLESS_ASKED) if deals is None else deals
        owners = Owners(tenant)
        world = World(seed, secrets.today * 1_000, count, owners.ids)
        self._portal = Portal(world, owners)
        self._limits = Limits(clock, is_off=not with_limits)
        self._gate = Gate(secrets.hubspot_token, self._limits)
        self._pages = Pages()
        self._faults: list[HubSpotFault] = []
        self._days = HubSpotDays(self._portal, seed)
        index = SearchIndex(world, self._portal.records)
        webhooks = Webhooks(self._portal, secrets.hubspot_webhook_secret, webhooks_to)
        self._portal.listeners += [index, webhooks]
        scripting = HubSpotScripting(
            self._portal, index, self._limits, self._gate, webhooks, self._faults, self._days, calls
        )
        self._parts = (
            ObjectApi(self._portal, index, self._gate, self._pages, address),
            BatchApi(self._portal, self._gate),
            AssociationApi(self._portal, self._gate),
            AccountApi(self._portal, self._gate, self._limits, address),
            scripting,
        )

    def routes(self) -> list[Route]:
        return [route for part in self._parts for route in part.routes()]

    def behind_faults(self, app: ASGIApp) -> ASGIApp:
        return HubSpotFaults(app, self._faults)

    def changed(self, change: Change) -> None:
        if change.event.kind == "day_ended":
            self._days.pass_one()

    def rewound(self) -> None:
        """HubSpot has no steps of its own: it goes back to the start."""
        self._faults.clear()
        self._portal.rewound()
        self._limits.rewound()
        self._gate.rewound()
        self._pages.rewound()
        self._days.rewound()

"""A town under siege: everything in order, and a proxy wherever a saboteur may want to stand."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from tests.readiness.between import free_address, standing_between
from tests.readiness.sabotage import Siege
from tests.readiness.sabotage.jobs import keep_a_drill
from tests.readiness.sabotage.siege import HOURLY
from tests.town import opened

from muster.settings import Secret, Settings
from muster.wiring import portal


@pytest.fixture(scope="module")
async def siege(new_settings: Callable[[], Settings], sentry_dsn: Secret) -> AsyncIterator[Siege]:
    """A town that reaches itself and Google through proxies, its directory read, its worker at work.

    One for all saboteurs: whatever one of them leaves broken, the next will see.
    """
    settings = new_settings()
    # Known to everybody, the portal itself included, by the address of the proxy: webhooks are signed for it.
    upstream, settings = settings.public_url, replace(settings, public_url=free_address())
    async with (
        opened(settings) as town,
        standing_between(upstream, settings.public_url) as front,
        standing_between(settings.google_issuer, free_address()) as google,
        portal(
            replace(settings, google_issuer=google.address, sentry_dsn=sentry_dsn),
            application="muster-siege",
        ) as made,
    ):
        siege = Siege(
            town=replace(town, portal=made), front=front, google=google, archive=town.portal.database
        )
        await made.sync.run()
        await made.groups.run()
        await made.crm_sync.run()
        await siege.open_channels()
        await made.queues.schedule([HOURLY])
        await siege.start_worker()
        await keep_a_drill(siege, held=True, evidence="0 of 300 jobs lost (≤ 0.99 %)")
        async with siege.town.signed_in("ada@acme.test"):
            pass
        await siege.town.watched()
        yield siege
        await siege.stop_worker()

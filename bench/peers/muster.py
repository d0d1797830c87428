"""Muster's own sync, wired and run as its worker does."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from bench.rig.failed import MeasurementFailed
from bench.rig.peer import Order, Stopwatch, read_order
from muster.platform import telemetry
from muster.settings import Secret, Settings
from muster.wiring import portal


def main() -> None:
    telemetry.configure("error", name="muster-bench", colours=False, stream=sys.stderr)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_sync(_settings(read_order())))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  not made for every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _sync(settings: Settings) -> None:
    stopwatch = Stopwatch()
    async with portal(settings, application="muster-bench") as made:
        await made.database.value("SELECT 1")  # connected, as a worker is long before a run
        with stopwatch:
            run = await made.sync.run()
    if run is None or run.status != "finished":
        raise MeasurementFailed(
            f"Muster's sync {run.status if run else 'did not begin'}: {run and run.reason}"
        )
    stopwatch.tell(
        pages=run.pages,
        seen=run.seen,
        created=run.created,
        updated=run.updated,
        unchanged=run.unchanged,
        removed=run.removed,
    )


def _settings(order: Order) -> Settings:
    acme = order.acme
    return Settings(
        home=Path(order.home),
        secret_key=Secret("measured " * 4),
        database_url=Secret(order.database_url),
        redis_url=Secret(order.redis_url),
        allowed_domains=(acme.domain,),
        google_client_id=acme.client_id,
        google_client_secret=Secret(acme.client_secret),
        google_issuer=acme.issuer,
        google_service_account=Secret(Path(acme.service_account).read_text()),
        google_admin_email=acme.admin_email,
        google_directory_url=acme.directory_url,
    )


if __name__ == "__main__":
    main()

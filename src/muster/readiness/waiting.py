"""What a process does that was started before its servers."""

import asyncio
import time

from muster.platform.telemetry import logger
from muster.readiness.health import Health

LOOKED_EVERY = 1.0


async def until_ready(health: Health) -> None:
    """Wait until all that is needed is there; says what for, once, and again when that changes."""
    started, said = time.monotonic(), ""
    while missing := (await health.report()).missing:
        named = ", ".join(f"{one.name} ({one.problem})" for one in missing)
        if named != said:
            logger.warning("waiting_for_servers", servers=named)
            said = named
        await asyncio.sleep(LOOKED_EVERY)
    if said:
        logger.info("servers_are_there", after_seconds=round(time.monotonic() - started, 1))

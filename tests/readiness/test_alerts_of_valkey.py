"""Valkey stops and starts again: what arrives by mail and at two webhooks, told once each."""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.readiness.watched import Watched, watched
from tests.town import eventually

from muster.embedded.valkey import Valkey
from muster.errors import Unavailable
from muster.readiness.alerts import CLOSES_AFTER, OPENS_AFTER, REMINDED_EVERY
from muster.settings import Secret, Settings


async def test_valkey_that_stops_and_starts_again_is_told_three_times_on_every_channel(
    new_settings: Callable[[], Settings], servers_home: Path
):
    home = servers_home / "valkey-of-alerts"
    home.mkdir(mode=0o755)
    valkey = Valkey(home)
    valkey.start()
    try:
        async with watched(replace(new_settings(), redis_url=Secret(valkey.url))) as scene:
            valkey.stop()
            await scene.look(OPENS_AFTER)
            await scene.look(1, each=REMINDED_EVERY)
            valkey.start()
            await eventually(lambda: is_back(scene))
            await scene.look(CLOSES_AFTER)

            assert await scene.told() == [
                "critical redis.persistence",
                "critical redis.persistence",
                "recovered redis.persistence",
            ]
            assert await scene.open_subjects() == []
            assert (await scene.town.sandbox.ask("alerts"))["repeated"] == 0
    finally:
        valkey.stop()


async def is_back(scene: Watched) -> bool:
    """The worker has found Valkey again, and runs jobs."""
    made = scene.town.portal
    canary = next(job for job in made.jobs if job.name == "upkeep.canary")
    with contextlib.suppress(Unavailable):
        await made.queues.add_once(canary, "is-back")
        return await made.queues.state(canary, "is-back") == "completed"
    return False

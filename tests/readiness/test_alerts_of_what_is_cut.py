"""Each server that is cut off has the one alert that names it, and no other row has any."""

from collections.abc import AsyncIterator, Callable

import pytest
from tests.readiness.watched import Watched, watched

from muster.readiness.alerts import CLOSES_AFTER, OPENS_AFTER
from muster.settings import Settings


@pytest.fixture(scope="module")
async def scene(new_settings: Callable[[], Settings]) -> AsyncIterator[Watched]:
    """One for all that is cut; each is in order again before the next."""
    async with watched(new_settings()) as made:
        yield made


@pytest.fixture(autouse=True)
async def _forgotten(scene: Watched) -> None:
    await scene.town.sandbox.tell("alerts", {})
    scene.mail.kept.clear()
    await scene.town.execute("DELETE FROM alert_standings")


@pytest.mark.parametrize(
    ("wire", "subject"), [("directory", "directory.reachable"), ("hubspot", "hubspot.reachable")]
)
async def test_what_is_cut_off_has_the_one_alert_that_names_it(scene: Watched, wire: str, subject: str):
    with scene.wires[wire].being_cut():
        await scene.look(OPENS_AFTER)
        assert await scene.open_subjects() == [subject]
    await scene.look(CLOSES_AFTER)

    assert [one.partition(" ")[2] for one in await scene.told()] == [subject] * 2


async def test_postgresql_away_is_told_from_memory_and_written_down_when_it_is_back(scene: Watched):
    with scene.wires["postgresql"].being_cut():
        await scene.look(OPENS_AFTER, delivers=False)
        assert await scene.titles("on-call") == ["[critical] Failing: Pool and health (postgresql.answers)"]
    await scene.look(CLOSES_AFTER + 1)

    assert await scene.told() == ["critical postgresql.answers", "recovered postgresql.answers"]
    assert await scene.open_subjects() == []
    assert (await scene.town.portal.alerting.book.list_past())[0].subject == "postgresql.answers"

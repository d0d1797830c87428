"""`muster drill`: faults caused on purpose, counted, kept as evidence, and nothing left of them."""

import json
import signal
from datetime import timedelta

import psutil
import pytest
from tests.entries.command_line import CommandLine
from tests.town import Town, eventually

from muster.platform.probe import NotApplicable
from muster.readiness.drills import DRILLS
from muster.readiness.job_drill import Plan, drill, upper_bound

SHORT = Plan(jobs=240, kills=10, redis_restarts=1, lost_after=timedelta(seconds=1.5))
FEW = ("--jobs", "20", "--kills", "0", "--redis-restarts", "0")


def unheard(_: str) -> None:
    """What it tells on its way is for people."""


async def test_no_job_is_lost_and_no_effect_is_there_twice_over_ten_kills_and_a_restart_of_redis():
    outcome = await drill(SHORT, unheard)

    assert (outcome.added, outcome.lost, outcome.duplicated, outcome.given_up) == (240, 0, 0, 0)
    assert (outcome.kills, outcome.redis_restarts) == (10, 1)
    assert outcome.kills_in_mid_job > 0
    assert outcome.recovered > 0
    assert outcome.held


async def test_a_redis_that_keeps_nothing_is_seen_to_lose_jobs():
    """A drill that cannot fail shows nothing."""
    forgetful = {"appendonly": "no", "save": '""'}
    plan = Plan(jobs=60, kills=0, redis_restarts=1, redis_settings=forgetful, patience=timedelta(seconds=4))

    outcome = await drill(plan, unheard)

    assert outcome.lost > 0
    assert not outcome.held
    assert outcome.lost_at_most > outcome.lost / outcome.added


@pytest.mark.parametrize(
    ("lost", "of", "share"), [(0, 10_000, 0.000300), (0, 100, 0.0295), (3, 10_000, 0.000775), (5, 5, 1.0)]
)
def test_what_may_be_lost_all_the_same_is_said_with_95_percent_confidence(lost: int, of: int, share: float):
    """As in the tables of Clopper and Pearson."""
    assert upper_bound(lost, of) == pytest.approx(share, rel=0.01)


async def test_what_a_drill_showed_is_kept_as_the_evidence_of_its_row(town: Town, muster: CommandLine):
    ran = muster("drill", "jobs", *FEW, "--json")

    assert ran.returncode == 0, ran.stderr
    (told,) = json.loads(ran.stdout)["drills"]
    assert (told["name"], told["held"], told["added"], told["lost"]) == ("jobs", True, 20, 0)
    kept = await town.portal.drills.last(DRILLS[0])
    assert kept
    assert kept.held
    assert kept.evidence.startswith("0 of 20 jobs lost (≤ 14 %), 0 effects twice")
    assert await town.audited() == ["drill.ran"]


async def test_the_row_does_not_apply_until_a_drill_was_run(town: Town):
    with pytest.raises(NotApplicable, match="`muster drill jobs` runs one"):
        await town.portal.drills.survive()


async def test_ctrl_c_leaves_nothing_behind(bare: CommandLine):
    process = bare.start("drill", "jobs", TMPDIR=str(bare.folder))
    bare.folder.chmod(0o755)

    async def is_under_way() -> bool:
        return "jobs done" in bare.output

    await eventually(is_under_way, within=60)
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) > 2

    process.send_signal(signal.SIGINT)

    async def is_over() -> bool:
        return process.poll() is not None

    await eventually(is_over, within=60)
    assert process.returncode == 130, bare.output
    assert not [one for one in started if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    assert list(bare.folder.glob("muster-drill-*")) == []


def test_without_a_name_the_drills_are_listed(bare: CommandLine):
    listed = bare("drill")

    assert listed.returncode == 0
    for one in DRILLS:
        assert f"{one.name}  proves {one.row}" in listed.stdout
    assert "touches: Nothing of this system" in listed.stdout
    assert {one["name"] for one in json.loads(bare("drill", "--json").stdout)["drills"]} == {"jobs"}


def test_a_drill_that_there_is_not_is_refused(bare: CommandLine):
    refused = bare("drill", "jbos")

    assert refused.returncode == 2
    assert refused.stderr.strip() == "muster: there is no drill 'jbos'; expected of jobs"

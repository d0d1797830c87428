"""Every row of the checklist can fail: a saboteur turns it red, and the undo turns it green again."""

import pytest
from tests.readiness.sabotage import SABOTAGES, Sabotage, Siege

from muster.readiness.checklist import ROWS
from muster.readiness.proofs import Status


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda sabotage: sabotage.name)
async def test_a_saboteur_turns_it_red_and_the_undo_green(siege: Siege, sabotage: Sabotage):
    await siege.turn_the_clock()
    before = await siege.judged(sabotage.row)
    assert before.status is Status.PROVED, before.proof

    async with sabotage.act(siege):
        broken = await siege.judged(sabotage.row)

    assert broken.status is Status.FAILED, broken.proof
    assert broken.proof
    assert sabotage.sees in broken.proof.evidence
    mended = await siege.judged(sabotage.row)
    assert mended.status is Status.PROVED, mended.proof


def test_every_row_has_its_saboteur():
    assert {sabotage.row for sabotage in SABOTAGES} == {row.id for row in ROWS}

"""The policy of alerts, tried in every order: when one opens, what is said of it, and when it is over."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from muster.readiness.alert_rules import RULES
from muster.readiness.alerts import (
    CLOSES_AFTER,
    CRITICAL,
    FLAPS_AT,
    FOLLOWS,
    OPENS_AFTER,
    REMINDED_EVERY,
    STEADY_AFTER,
    Notice,
    Standing,
    Step,
    blamed,
    look,
    root_of,
)
from muster.readiness.checklist import ROWS

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

LOOKS = st.lists(st.sampled_from([True, False, None]), max_size=120)
MUTES = st.lists(st.booleans(), min_size=120, max_size=120)


def walked(
    looks: Sequence[bool | None], mutes: Sequence[bool] | None = None, *, each: timedelta = MINUTE
) -> list[Step]:
    """A look a minute."""
    steps, standing = [], Standing()
    for number, held in enumerate(looks):
        step = look(standing, NOON + number * each, held=held, is_muted=bool(mutes and mutes[number]))
        steps.append(step)
        standing = step.standing
    return steps


def notices(steps: list[Step]) -> list[Notice]:
    return [step.notice for step in steps if step.notice]


# In plain order


def test_it_opens_at_the_third_failure_in_a_row_and_says_so_once():
    steps = walked([False] * 10)

    assert [step.has_opened for step in steps] == [False, False, True] + [False] * 7
    assert notices(steps) == [Notice.OPENED]


def test_a_success_between_begins_the_count_anew():
    assert notices(walked([False, False, True] * 20)) == []


def test_it_closes_at_the_second_success_in_a_row():
    steps = walked([False] * 3 + [True, False, True, True])

    assert [step.has_closed for step in steps] == [False] * 6 + [True]
    assert notices(steps) == [Notice.OPENED, Notice.RECOVERED]


def test_what_could_not_be_tried_changes_nothing():
    assert notices(walked([False, None, False, None, None, False])) == [Notice.OPENED]
    assert walked([False] * 3 + [None] * 50)[-1].standing.is_open


def test_since_when_it_fails_is_the_first_failure_and_not_the_opening():
    assert walked([True, False, False, False])[-1].standing.failing_since == NOON + MINUTE


def test_it_is_said_again_every_four_hours():
    steps = walked([False] * (2 + 3 * 240 + 1))

    told = [number for number, step in enumerate(steps) if step.notice]
    assert [steps[number].notice for number in told] == [Notice.OPENED] + [Notice.REMINDER] * 3
    assert {later - earlier for earlier, later in pairwise(told)} == {REMINDED_EVERY // MINUTE}


def test_whoever_took_it_on_is_not_reminded_and_hears_when_it_is_over():
    opened = walked([False] * 3)[-1].standing
    taken = Standing(
        **{name: getattr(opened, name) for name in opened.__struct_fields__} | {"is_acknowledged": True}
    )

    assert look(taken, NOON + timedelta(days=2), held=False).notice is None
    once = look(taken, NOON + timedelta(days=2), held=True).standing
    assert look(once, NOON + timedelta(days=2), held=True).notice is Notice.RECOVERED


def test_one_that_comes_and_goes_is_held_open_from_the_third_time_on():
    once = [False] * OPENS_AFTER + [True] * CLOSES_AFTER
    steps = walked(once * 8)

    assert sum(step.has_opened for step in steps) == FLAPS_AT
    assert steps[-1].standing.is_flapping
    quiet = walked(once * 8 + [True] * STEADY_AFTER)
    assert notices(quiet)[-1] is Notice.RECOVERED
    assert len(notices(quiet)) == 2 * FLAPS_AT


def test_one_that_opens_again_the_next_day_does_not_flap():
    once = [False] * OPENS_AFTER + [True] * CLOSES_AFTER

    assert sum(step.has_closed for step in walked(once * 8, each=timedelta(hours=1))) == 8


def test_nobody_is_told_while_it_is_muted_and_everybody_after_if_it_still_fails():
    steps = walked([False] * 20, [True] * 10 + [False] * 10)

    assert [number for number, step in enumerate(steps) if step.notice] == [10]
    assert steps[10].notice is Notice.OPENED


def test_what_was_muted_from_its_opening_to_its_end_is_never_told():
    assert notices(walked([False] * 5 + [True] * 5, [True] * 7 + [False] * 3)) == []


# In every order


@given(LOOKS, MUTES)
def test_no_alert_opens_without_three_failures_nor_closes_without_two_successes(
    looks: list[bool | None], mutes: list[bool]
):
    for number, step in enumerate(walked(looks, mutes)):
        seen = [held for held in looks[: number + 1] if held is not None]
        assert not step.has_opened or seen[-OPENS_AFTER:] == [False] * OPENS_AFTER
        assert not step.has_closed or seen[-CLOSES_AFTER:] == [True] * CLOSES_AFTER


@given(LOOKS, MUTES)
def test_openings_and_closings_take_turns(looks: list[bool | None], mutes: list[bool]):
    turns = [step.has_opened for step in walked(looks, mutes) if step.has_opened or step.has_closed]

    assert turns == [number % 2 == 0 for number in range(len(turns))]


@given(LOOKS, MUTES)
def test_a_recovery_is_told_only_of_what_was_told(looks: list[bool | None], mutes: list[bool]):
    told = False
    for step in walked(looks, mutes):
        if step.notice is Notice.OPENED:
            assert not told
            told = True
        elif step.notice:
            assert told
        if step.has_closed:
            told = False


@given(LOOKS)
def test_unmuted_every_alert_is_told_once_and_its_end_once(looks: list[bool | None]):
    for step in walked(looks):
        assert step.has_opened == (step.notice is Notice.OPENED)
        assert step.has_closed == (step.notice is Notice.RECOVERED)


@given(LOOKS, MUTES)
def test_nothing_is_said_while_it_is_muted(looks: list[bool | None], mutes: list[bool]):
    for step, is_muted in zip(walked(looks, mutes), mutes, strict=False):
        assert not (is_muted and step.notice)


@given(LOOKS, st.integers(0, 120))
def test_a_restart_in_between_says_nothing_new(looks: list[bool | None], cut: int):
    """The standing is all there is to it: kept and read again, it goes on where it was."""
    whole = walked(looks)
    kept = whole[cut - 1].standing if 0 < cut <= len(whole) else Standing()
    standing = kept
    for number in range(cut, len(looks)) if 0 < cut <= len(whole) else range(len(looks)):
        step = look(standing, NOON + number * MINUTE, held=looks[number])
        assert step == whole[number]
        standing = step.standing


# One parent for each broken dependency

NAMES = st.sampled_from(list("abcdefg"))
BLAMES = st.dictionaries(NAMES, st.one_of(st.none(), NAMES))


def test_what_could_not_be_tried_is_blamed_on_what_failed_before_it():
    failing = {"redis": None, "jobs": "redis", "page": "jobs"}

    assert [root_of(one, failing) for one in failing] == ["redis"] * 3


def test_what_comes_first_and_holds_is_no_excuse():
    assert root_of("jobs", {"jobs": "redis"}) == "jobs"


def test_what_needs_a_worker_follows_the_missing_worker_and_stands_for_itself_beside_one():
    without = blamed({"workers.alive": None, "jobs.canary": None, "cache.busts": "redis.persistence"})

    assert root_of("jobs.canary", without) == "workers.alive"
    assert root_of("cache.busts", without) == "cache.busts"
    assert root_of("jobs.canary", blamed({"jobs.canary": None})) == "jobs.canary"


@given(BLAMES)
def test_every_failure_has_one_root_that_failed_and_stands_for_itself(failing: dict[str, str | None]):
    for one in failing:
        root = root_of(one, failing)
        assert root in failing
        assert root_of(root, failing) == root


def test_what_is_critical_and_what_follows_is_something_that_there_is():
    named = {*FOLLOWS, *(first for firsts in FOLLOWS.values() for first in firsts)}
    assert {row.id for row in (*ROWS, *RULES)} >= CRITICAL | named

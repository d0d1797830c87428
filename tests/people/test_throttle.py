"""The pace at which Google is asked."""

from muster.people.throttle import PER_MINUTE, Throttle


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def waits(throttle: Throttle, calls: int) -> list[float]:
    return [await throttle.turn() for _ in range(calls)]


async def test_a_burst_that_the_quota_has_room_for_waits_for_nothing():
    throttle = Throttle(2400, clock=Clock())

    assert sum(await waits(throttle, 600)) == 0


async def test_beyond_the_burst_calls_come_evenly():
    clock = Clock()
    throttle = Throttle(60_000, clock=clock)
    await waits(throttle, 15_000)

    waited = await waits(throttle, 2)

    assert 0 < max(waited) < 0.003


async def test_a_refusal_halves_the_pace_and_ends_the_burst():
    clock = Clock()
    throttle = Throttle(60_000, clock=clock)

    throttle.refused()
    assert throttle.rate == 375
    throttle.refused()
    assert throttle.rate == 375, "they come in flocks"
    clock.now += 1
    throttle.refused()
    assert 187 <= throttle.rate < 200
    first, second = await waits(throttle, 2)

    assert first == 0
    assert 0 < second < 0.007


async def test_refusals_never_stop_the_calls_altogether():
    clock = Clock()
    throttle = Throttle(60, clock=clock)

    for _ in range(50):
        clock.now += 1.1
        throttle.refused()

    assert throttle.rate == 0.5


async def test_a_minute_without_a_refusal_brings_the_pace_back():
    clock = Clock()
    throttle = Throttle(60_000, clock=clock)
    throttle.refused()

    clock.now += 15
    await throttle.turn()
    assert throttle.rate == 562.5
    clock.now += 60
    await throttle.turn()

    assert throttle.rate == 750
    assert sum(await waits(throttle, 1000)) == 0


async def test_no_minute_holds_more_calls_than_the_quota():
    clock = Clock()
    throttle = Throttle(clock=clock, sleep=_no_sleep)
    turns: list[float] = []
    for _ in range(4000):
        clock.now += await throttle.turn()
        turns.append(clock.now)

    assert max(sum(start <= turn < start + 60 for turn in turns) for start in turns[::100]) <= PER_MINUTE


async def _no_sleep(_: float) -> None:
    """Time passes by itself here."""

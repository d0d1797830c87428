"""The pace at which Google is asked."""

from muster.people.throttle import Throttle


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

    assert sum(await waits(throttle, 1000)) == 0


async def test_beyond_the_burst_calls_come_evenly():
    clock = Clock()
    throttle = Throttle(60_000, clock=clock)
    await waits(throttle, 30_000)

    wait = await throttle.turn()

    assert 0 <= wait < 0.002


async def test_a_refusal_halves_the_pace_and_ends_the_burst():
    clock = Clock()
    throttle = Throttle(60_000, clock=clock)

    throttle.refused()
    assert throttle.rate == 500
    throttle.refused()
    assert throttle.rate == 250
    first, second = await waits(throttle, 2)

    assert first == 0
    assert 0 < second < 0.005


async def test_refusals_never_stop_the_calls_altogether():
    throttle = Throttle(60, clock=Clock())

    for _ in range(50):
        throttle.refused()

    assert throttle.rate == 0.5


async def test_a_minute_without_a_refusal_brings_the_pace_back():
    clock = Clock()
    throttle = Throttle(60_000, clock=clock)
    throttle.refused()

    clock.now += 15
    await throttle.turn()
    assert throttle.rate == 750
    clock.now += 60
    await throttle.turn()

    assert throttle.rate == 1000
    assert sum(await waits(throttle, 1000)) == 0

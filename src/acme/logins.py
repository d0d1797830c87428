"""Who signed in on the days a script let pass: computed from person and day, since most people do, often."""

from bisect import bisect_left

from acme.people import Person

_SHARE_PERCENT = 30
_HOURS_SECONDS = 8 * 3_600
_32_BITS = 0xFFFF_FFFF


class Logins:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.days: list[int] = []
        """The moment (seconds) each of them ended, oldest first."""

    def last(self, person: Person) -> tuple[int, int] | None:
        """The latest day the person signed in on, as its place in `days`, and when; None for none of them."""
        gone_at = min(
            (at for at in (person.suspended_at, person.archived_at, person.deleted_at) if at is not None),
            default=None,
        )
        end = len(self.days) if gone_at is None else bisect_left(self.days, gone_at)
        for day in range(end - 1, -1, -1):
            draw = _draw(person.number, day, self._seed)
            at = self.days[day] - (draw >> 8) % _HOURS_SECONDS
            if at <= person.created_at:
                return None
            if draw % 100 < _SHARE_PERCENT:
                return day, at
        return None


def _draw(number: int, day: int, seed: int) -> int:
    """32 bits that look like chance; a tenth of a keyed hash's time."""
    mixed = (number * 0x9E3779B1 + day * 0x85EBCA77 + seed * 0xC2B2AE3D) & _32_BITS
    mixed = (mixed ^ mixed >> 15) * 0x2C1B3C6D & _32_BITS
    mixed = (mixed ^ mixed >> 12) * 0x297A2D39 & _32_BITS
    return mixed ^ mixed >> 15

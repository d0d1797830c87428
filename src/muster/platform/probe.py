"""What a slice offers the checklist: a question put to the running system that can be answered no."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from muster.errors import MusterError


class Failed(MusterError):
    """The promise does not hold; the message says what was seen instead, with figures."""

    code = "probe_failed"


class NotTried(Failed):
    """Nothing could be tried, since what the checklist promises at `row` does not hold; that comes first."""

    code = "probe_not_tried"

    def __init__(self, why: str, *, row: str) -> None:
        super().__init__(f"nothing could be tried: {why}; see {row}")
        self.row = row


class NotApplicable(MusterError):
    """The promise has no meaning for this system; the message says why. Neither kept nor broken."""

    code = "probe_not_applicable"


class Seen(str):
    """Evidence of an earlier day, as of a drill: it goes stale as if it had been looked at then."""

    __slots__ = ("at", "version")

    at: datetime
    version: str

    def __new__(cls, evidence: str, *, at: datetime, version: str) -> Self:
        made = super().__new__(cls, evidence)
        made.at, made.version = at, version
        return made


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """`ask` returns the evidence in a line, or raises Failed (or any other error) with what is wrong,
    or NotApplicable.
    """

    row: str
    ask: Callable[[], Awaitable[str]]

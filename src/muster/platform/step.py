"""What a slice offers `muster doctor`: the steps of a set-up, walked in order, each saying how it stands."""

from enum import StrEnum

import msgspec


class Standing(StrEnum):
    OK = "ok"
    FAILED = "failed"
    NOT_REACHED = "not_reached"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """`detail` is what was seen; `remedy` what to do about it, a line for each thing to do."""

    id: str
    title: str
    status: Standing
    detail: str
    remedy: str = ""

"""Names of the companies Acme sells to, each with a domain that says which company it is."""

from functools import lru_cache
from typing import NamedTuple

_FIRST_WORDS = """
Aster Birch Cobalt Delta Ember Fjord Granite Harbour Indigo Juniper Kestrel Lumen Meridian Northlight Orchard
Pinnacle Quarry Rowan Sable Tidewater Umbra Verdant Willow Xenon Yarrow Zephyr Anchor Bramble Cedar Drift
"""
_SECOND_WORDS = """
Works Logistics Foods Systems Textiles Motors Energy Studios Robotics Ceramics Pharma Marine Print Optics
Timber Labs Retail Telecom Mills Supply Dairy Glass Freight Instruments Gardens
"""
_FIRST, _SECOND = _FIRST_WORDS.split(), _SECOND_WORDS.split()
_PAIRS = len(_FIRST) * len(_SECOND)
_STRIDE = 463  # shares no divisor with the pairs
_STRIDE_BACK = pow(_STRIDE, -1, _PAIRS)
_AT = {
    (first + second).lower(): place * len(_SECOND) + other
    for place, first in enumerate(_FIRST)
    for other, second in enumerate(_SECOND)
}
_TOP_LEVEL = ".example"


class Business(NamedTuple):
    name: str
    domain: str


@lru_cache(4_096)
def business(number: int) -> Business:
    lap, step = divmod(number, _PAIRS)
    first, second = divmod(step * _STRIDE % _PAIRS, len(_SECOND))
    suffix = str(lap + 1) if lap else ""
    plain = f"{_FIRST[first]}{_SECOND[second]}".lower()
    name = f"{_FIRST[first]} {_SECOND[second]} {suffix}".rstrip()
    return Business(name, f"{plain}{suffix}{_TOP_LEVEL}")


def number_of_domain(domain: str) -> int | None:
    name = domain.lower().removesuffix(_TOP_LEVEL)
    letters = name.rstrip("0123456789")
    lap = name[len(letters) :]
    if letters not in _AT or (lap and int(lap) < 2):
        return None
    step = _AT[letters] * _STRIDE_BACK % _PAIRS
    return (int(lap) - 1 if lap else 0) * _PAIRS + step

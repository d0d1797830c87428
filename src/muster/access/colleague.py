"""Somebody of the company, as slices that do not know the directory are told of them."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec


class Colleague(msgspec.Struct, frozen=True, kw_only=True):
    """`id` is Google's; `status` is the directory's word, and `is_here` whether they may still sign in."""

    id: str
    name: str
    email: str
    status: str
    is_here: bool


WhoIs = Callable[[Sequence[str]], Awaitable[dict[str, Colleague]]]
"""Addresses, case-folded, in whichever way they are somebody's → who that is; unknown ones are left out."""

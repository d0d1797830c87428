"""Who is asking: the signed-in person a request acts for, or the part of Muster that acts by itself."""

from typing import Protocol

import msgspec


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where an act came from, as the audit record keeps it; `via` is by what: browser, token:NAME,
    command line, or empty for a part of Muster itself.
    """

    request_id: str = ""
    address: str = ""
    via: str = ""


class Who(Protocol):
    """Enough of somebody to write down that they did something."""

    @property
    def account_id(self) -> int | None: ...
    @property
    def email(self) -> str: ...


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """A person with what they may do: all that their roles grant, or what the token they came with is for.

    `title` is what their weightiest role is called.
    """

    account_id: int
    email: str
    name: str
    title: str
    roles: tuple[str, ...]
    permissions: frozenset[str]

    def may(self, permission: str) -> bool:
        return permission in self.permissions


class System(msgspec.Struct, frozen=True):
    """A part of Muster acting by itself: a schedule, a command, the sandbox's set-up."""

    email: str
    account_id: None = None

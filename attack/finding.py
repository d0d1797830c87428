"""What an attack found, and what it tried."""

import msgspec


class AttackFailed(Exception):
    """The attack could not be made at all."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`tried` requests or examples by one attack; `findings` is empty if it got nowhere."""

    attack: str
    tried: int
    detail: str
    findings: list[str]

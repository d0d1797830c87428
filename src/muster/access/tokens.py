"""Tokens by which a program acts for its owner: scoped, expiring, shown once, kept only as a hash."""

import hashlib
import re
import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from muster.access.rights import RightsBook
from muster.access.roles import label
from muster.errors import Conflict, Invalid, NotAllowed, NotFound
from muster.platform import audit
from muster.platform.actor import Actor, Origin
from muster.platform.database import Database
from muster.platform.routes import API, Route

PREFIX = "muster_"
"""So that scanners of leaked secrets, and people, know what they see."""

LONGEST_LIFE = timedelta(days=365)
MOST = 20
MOST_LATELY = 100
_FORM = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")
_NOTED_EVERY = timedelta(minutes=1)


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token as lists show it; what it was is not kept."""

    id: int
    account_id: int
    owner: str
    name: str
    last_four: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    last_used_by: str
    revoked_at: datetime | None
    standing: Literal["active", "expired", "revoked"]


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a token stands for, with what its scopes leave of their rights."""

    actor: Actor
    scopes: frozenset[str]
    token_id: int
    token_name: str


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    id: int
    account_id: int
    name: str
    scopes: list[str]
    is_noted: bool


class Tokens:
    def __init__(self, database: Database, rights: RightsBook) -> None:
        self._database = database
        self._rights = rights
        self.scopes: frozenset[str] = frozenset()

    def open(self, routes: Iterable[Route]) -> None:
        """Take what there is to open from the table of all routes, whole only once every slice is."""
        api = [route for route in routes if route.takes_tokens]
        asked = {one for route in api for one in (route.may, *route.shows)}
        self.scopes = frozenset(one.value for one in asked)

    async def create(
        self, *, name: str, scopes: Sequence[str], life: timedelta, by: Actor, origin: Origin
    ) -> str:
        """A new token of `by`, told here and never again.

        Raises Invalid for a name, scope or life that cannot be, NotAllowed for a scope its owner does
        not have, Conflict beyond MOST tokens.
        """
        name = " ".join(name.split())
        _check(name, scopes, life, by, opening=self.scopes)
        told = PREFIX + secrets.token_urlsafe(32)
        async with self._database.transaction() as tx:
            # Held, so that two made at once are counted one after the other.
            may_have = await tx.value(
                "SELECT suspended_at IS NULL FROM accounts WHERE id = %s FOR UPDATE", [by.account_id]
            )
            if not may_have:
                raise Conflict("Your account has just been suspended.")
            counts = await tx.row(_Counts, _COUNTS, [by.account_id])
            if counts and counts.active >= MOST:
                raise Conflict(f"You have {MOST} tokens, the most there may be. Revoke one first.")
            if counts and counts.lately >= MOST_LATELY:
                raise Conflict(f"You have made {MOST_LATELY} tokens within thirty days. Please wait.")
            token_id = await tx.value(
                """
                INSERT INTO api_tokens (account_id, name, digest, last_four, scopes, expires_at)
                VALUES (%s, %s, %s, %s, %s, now() + %s) RETURNING id
                """,
                [by.account_id, name, _digest(told), told[-4:], sorted(scopes), life],
            )
            await audit.record(
                tx,
                "tokens.created",
                by=by,
                subject=f"token:{token_id}",
                after={"name": name, "scopes": sorted(scopes), "days": life.days},
                origin=origin,
            )
        return told

    def is_one(self, told: str) -> bool:
        """Whether it has the form of a token, without asking the database."""
        return bool(_FORM.fullmatch(told))

    async def holder_of(self, told: str, origin: Origin) -> Holder | None:
        """Whom the token stands for; None if it is unknown, expired or revoked, or its owner may not come in.

        Read from the database each time: a token that was revoked is refused at once.
        """
        async with self._database.reading() as statements:
            known = await statements.row(_Known, _KNOWN, [_NOTED_EVERY, _digest(told)])
            rights = await self._rights.read(statements, known.account_id) if known else None
            if known is None or rights is None:
                return None
            if not known.is_noted:
                await statements.execute(
                    "UPDATE api_tokens SET last_used_at = now(), last_used_by = %s WHERE id = %s",
                    [origin.address, known.id],
                )
        return Holder(
            actor=Actor(
                account_id=rights.account_id,
                email=rights.email,
                name=rights.name,
                title=label(rights.roles),
                roles=tuple(role.value for role in rights.roles),
                permissions=frozenset(known.scopes) & {one.value for one in rights.permissions},
            ),
            scopes=frozenset(known.scopes),
            token_id=known.id,
            token_name=known.name,
        )

    async def list_of(self, account_id: int) -> list[Token]:
        """The account's tokens, the newest first, those that no longer hold for thirty days more."""
        return await self._database.rows(Token, _LIST, {"account_id": account_id})

    async def revoke(self, token_id: int, *, owner: int, by: Actor, origin: Origin) -> None:
        """Raises NotFound for one that is not this owner's."""
        async with self._database.transaction() as tx:
            token = await tx.row(_Revoked, _REVOKE, [token_id, owner])
            if token is None:
                raise NotFound("There is no such token.")
            if token.was_active:
                await audit.record(
                    tx,
                    "tokens.revoked",
                    by=by,
                    subject=f"token:{token_id}",
                    before={"name": token.name, "account_id": owner},
                    origin=origin,
                )


class _Counts(msgspec.Struct, frozen=True):
    active: int
    lately: int


class _Revoked(msgspec.Struct, frozen=True):
    name: str
    was_active: bool


def _check(name: str, scopes: Sequence[str], life: timedelta, by: Actor, *, opening: frozenset[str]) -> None:
    if not 1 <= len(name) <= 60:
        raise Invalid("A token needs a name of 1 to 60 characters, such as the script it is for.")
    if not scopes:
        raise Invalid("Choose what the token may do: tick at least one box.")
    if not timedelta(days=1) <= life <= LONGEST_LIFE:
        raise Invalid(f"A token lives from 1 to {LONGEST_LIFE.days} days.")
    if beyond := sorted(set(scopes) - by.permissions):
        raise NotAllowed(f"You cannot give a token what you may not do yourself: {beyond[0]}.")
    if useless := sorted(set(scopes) - opening):
        raise Invalid(f"Nothing under {API} asks for this: {useless[0]}.")


def _digest(told: str) -> bytes:
    return hashlib.sha256(told.encode()).digest()


_COUNTS = """
SELECT count(*) FILTER (WHERE revoked_at IS NULL AND expires_at > now()) AS active, count(*) AS lately
FROM api_tokens WHERE account_id = %s AND (
    created_at > now() - interval '30 days' OR (revoked_at IS NULL AND expires_at > now())
)
"""

_KNOWN = """
SELECT id, account_id, name, scopes, COALESCE(last_used_at > now() - %s, false) AS is_noted
FROM api_tokens WHERE digest = %s AND revoked_at IS NULL AND expires_at > now()
"""

_LIST = """
SELECT api_tokens.id, account_id, email AS owner, api_tokens.name, last_four, scopes, api_tokens.created_at,
    expires_at, last_used_at, last_used_by, revoked_at,
    CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN expires_at <= now() THEN 'expired' ELSE 'active' END
        AS standing
FROM api_tokens JOIN accounts ON accounts.id = account_id
WHERE account_id = %(account_id)s AND least(revoked_at, expires_at) > now() - interval '30 days'
ORDER BY api_tokens.id DESC LIMIT 200
"""

_REVOKE = """
UPDATE api_tokens SET revoked_at = COALESCE(api_tokens.revoked_at, now())
FROM (
    SELECT id, revoked_at IS NULL AS was_active FROM api_tokens WHERE id = %s AND account_id = %s FOR UPDATE
) AS before
WHERE api_tokens.id = before.id
RETURNING name, was_active
"""

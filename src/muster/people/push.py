"""Google's push: channels kept open without a gap, messages believed only with their token.

A message says who, never what: Google is asked about that person. A lost one costs minutes, since the
next listing shows what it should have told, counts it as drift and has the channel replaced.
https://developers.google.com/workspace/admin/directory/v1/guides/push
"""

import hashlib
import hmac
import secrets
import uuid
from datetime import UTC, datetime, timedelta

import msgspec

from muster.errors import NotAllowed, NotFound, VendorError
from muster.people.directory_copy import want_rereads
from muster.people.google_directory import GoogleDirectory
from muster.platform.database import Database, Transaction
from muster.platform.prometheus import PUSH_MESSAGES
from muster.platform.telemetry import logger

EVENTS = ("add", "delete", "makeAdmin", "undelete", "update")
ASKED_FOR = timedelta(days=2)
"""Google's longest; documents disagree on what it grants, so only what it returned counts."""

GRANTED_AT_LEAST = timedelta(hours=1)
"""Taken for granted where Google returned no expiration at all."""

CONFIRMED_WITHIN = timedelta(minutes=2)
"""A channel whose first message has not come by then does not reach us."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What a push message says in its headers, and of whom (`google_id`) in its body."""

    channel_id: str
    token: str
    resource_id: str
    state: str
    google_id: str = ""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    event: str
    resource_id: str
    opened_at: datetime
    live_since: datetime
    expires_at: datetime | None
    confirmed_at: datetime | None
    last_message_at: datetime | None
    messages: int
    is_trusted: bool

    def is_live(self, now: datetime) -> bool:
        return (
            self.is_trusted
            and self.confirmed_at is not None
            and self.expires_at is not None
            and self.expires_at > now
        )

    def is_good_for_now(self, now: datetime) -> bool:
        """Whether it need not be replaced yet: a quarter of its life before it expires, it has to be."""
        if not self.is_trusted or self.expires_at is None:
            return False
        if self.confirmed_at is None and now - self.opened_at > CONFIRMED_WITHIN:
            return False
        return self.expires_at - now > (self.expires_at - self.opened_at) / 4


_OPEN = """
SELECT id, event, resource_id, opened_at, live_since, expires_at, confirmed_at, last_message_at, messages,
       is_trusted
FROM push_channels WHERE stopped_at IS NULL ORDER BY opened_at DESC
"""


class PushChannels:
    def __init__(self, database: Database, directory: GoogleDirectory, *, address: str | None) -> None:
        """`address` is where Google reaches us; None where it cannot."""
        self._database = database
        self._directory = directory
        self._address = address

    @property
    def is_possible(self) -> bool:
        return self._address is not None

    async def list_open(self) -> list[Channel]:
        """The newest first; one that is being replaced stands beside its replacement for a moment."""
        return await self._database.rows(Channel, _OPEN)

    async def keep_open(self) -> int:
        """Have a good channel for every event, each opened before the one it replaces is stopped.

        How many were opened. Raises VendorError when Google refuses one; the others are seen to all the same.
        """
        if self._address is None:
            return 0
        now = datetime.now(UTC)
        channels = await self.list_open()
        opened = 0
        problem: VendorError | None = None
        for event in EVENTS:
            of_event = [channel for channel in channels if channel.event == event]
            good = [channel for channel in of_event if channel.is_good_for_now(now)]
            kept = next((channel for channel in good if channel.confirmed_at), next(iter(good), None))
            if kept is None:
                live = [channel.live_since for channel in of_event if channel.is_live(now)]
                try:
                    await self._open(event, self._address, live_since=min(live, default=now))
                except VendorError as error:
                    problem = error
                    continue
                opened += 1
            await self._stop([channel for channel in of_event if channel is not kept])
        if problem:
            raise problem
        return opened

    async def live_since(self) -> datetime | None:
        """Since when every event has been told without a gap; None while one is not."""
        now = datetime.now(UTC)
        live: dict[str, datetime] = {}
        for channel in await self.list_open():
            if channel.is_live(now):
                live[channel.event] = min(channel.live_since, live.get(channel.event, now))
        return max(live.values()) if live.keys() >= set(EVENTS) else None

    async def distrust(self, tx: Transaction) -> None:
        """They have kept something from us: have them replaced."""
        await tx.execute("UPDATE push_channels SET is_trusted = false WHERE stopped_at IS NULL")

    async def receive(self, message: Message) -> bool:
        """Take a message down; whether Google has to be asked about somebody.

        Raises NotFound for a channel that is not ours, NotAllowed without its token.
        """
        async with self._database.transaction() as tx:
            channel = await tx.row(
                _Secret,
                "SELECT token_hash, resource_id FROM push_channels WHERE id = %s",
                [message.channel_id],
            )
            if channel is None:
                PUSH_MESSAGES.labels("unknown channel").inc()
                raise NotFound("There is no such channel.")
            if not channel.is_known_to(message):
                PUSH_MESSAGES.labels("forged").inc()
                raise NotAllowed("The message does not carry what this channel's messages carry.")
            PUSH_MESSAGES.labels(message.state if message.state in {*EVENTS, "sync"} else "other").inc()
            await tx.execute(
                """
                UPDATE push_channels SET confirmed_at = COALESCE(confirmed_at, now()),
                    last_message_at = now(), messages = messages + 1
                WHERE id = %s
                """,
                [message.channel_id],
            )
            if message.state == "sync" or not message.google_id:
                return False
            await want_rereads(tx, [message.google_id], because=f"push: {message.state}")
        return True

    async def _open(self, event: str, address: str, *, live_since: datetime) -> None:
        channel_id, token = str(uuid.uuid4()), secrets.token_urlsafe(32)
        # Before Google is asked: its first message may be here sooner than its answer.
        await self._database.execute(
            "INSERT INTO push_channels (id, event, token_hash, live_since) VALUES (%s, %s, %s, %s)",
            [channel_id, event, _digest(token), live_since],
        )
        try:
            channel = await self._directory.watch(
                event,
                channel_id=channel_id,
                address=address,
                token=token,
                seconds=int(ASKED_FOR.total_seconds()),
            )
        except VendorError:
            await self._database.execute("DELETE FROM push_channels WHERE id = %s", [channel_id])
            raise
        expires_at = channel.expires_at or datetime.now(UTC) + GRANTED_AT_LEAST
        await self._database.execute(
            "UPDATE push_channels SET resource_id = %s, expires_at = %s WHERE id = %s",
            [channel.resource_id, expires_at, channel_id],
        )
        logger.info("push_channel_opened", pushed=event, expires_at=expires_at.isoformat())

    async def _stop(self, channels: list[Channel]) -> None:
        for channel in channels:
            if channel.resource_id:
                try:
                    await self._directory.stop(channel.id, channel.resource_id)
                except VendorError as error:
                    # It ends by itself, and until then its messages are believed like any other's.
                    logger.warning("push_channel_not_stopped", pushed=channel.event, error=str(error))
            await self._database.execute(
                "UPDATE push_channels SET stopped_at = now() WHERE id = %s", [channel.id]
            )
        await self._database.execute("DELETE FROM push_channels WHERE stopped_at < now() - interval '3 days'")


class _Secret(msgspec.Struct, frozen=True):
    token_hash: bytes
    resource_id: str

    def is_known_to(self, message: Message) -> bool:
        return hmac.compare_digest(self.token_hash, _digest(message.token)) and self.resource_id in {
            "",
            message.resource_id,
        }


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()

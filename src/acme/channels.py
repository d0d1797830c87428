"""Push channels: who is told of which changes to Acme's people, and until when."""

import re
from collections.abc import Iterator
from email.utils import formatdate
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

from acme.clock import Clock
from acme.company import CUSTOMER
from acme.deliveries import Deliveries, Message
from acme.google_error import GoogleError, invalid, not_found
from acme.people import Person
from acme.reply import etag_of
from acme.tenant import Change

EVENTS = ("add", "delete", "makeAdmin", "undelete", "update")
LONGEST_UNLESS_TOLD = 6 * 3_600
_TTL_UNLESS_ASKED = 2 * 3_600
_LONGEST_AT_GOOGLE = 48 * 3_600
_ID = re.compile(r"[A-Za-z0-9_+/=-]{1,64}")
_MOST_TOKEN_LETTERS = 256


class ChannelRequest(msgspec.Struct, frozen=True, rename="camel"):
    """What watching and stopping are asked with; anything else Google's Channel has is not looked at."""

    id: str = ""
    resource_id: str = ""
    type: str = ""
    address: str = ""
    token: str | None = None
    params: dict[str, str] = {}


class Channel(msgspec.Struct):
    id: str
    resource_id: str
    resource_uri: str
    event: str | None
    """None for every kind."""
    address: str
    token: str | None
    expires_at: int
    is_dead: bool = False
    """By script: it still looks open, and nothing comes."""
    messages: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """Those of every message."""
        token = {} if self.token is None else {"X-Goog-Channel-Token": self.token}
        return token | {
            "X-Goog-Channel-ID": self.id,
            "X-Goog-Channel-Expiration": formatdate(self.expires_at, usegmt=True),
            "X-Goog-Resource-ID": self.resource_id,
            "X-Goog-Resource-URI": self.resource_uri,
        }


class Channels:
    def __init__(self, directory_url: str, clock: Clock, deliveries: Deliveries) -> None:
        self._directory_url = directory_url
        self._clock = clock
        self._deliveries = deliveries
        self.rewound()

    def rewound(self) -> None:
        """As if none had ever been opened."""
        self.longest_seconds = LONGEST_UNLESS_TOLD
        self._open: dict[str, Channel] = {}
        self._deliveries.forget()

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._open.values())

    def open(self, wanted: ChannelRequest, event: str | None) -> Channel:
        """Raises GoogleError 400 or 401."""
        self._check(wanted)
        channel = Channel(
            id=wanted.id,
            resource_id=etag_of(CUSTOMER.encode(), str(event).encode())[1:28],
            resource_uri=f"{self._directory_url}/users?customer={CUSTOMER}"
            + (f"&event={event}" if event else "")
            + "&alt=json",
            event=event,
            address=wanted.address,
            token=wanted.token,
            expires_at=self._clock.now() + min(_ttl(wanted), self.longest_seconds),
        )
        self._open[channel.id] = channel
        self._send(channel, "sync", b"")
        return channel

    def stop(self, channel_id: str, resource_id: str) -> None:
        """Raises GoogleError 404."""
        channel = self._open.get(channel_id)
        if channel is None or channel.resource_id != resource_id or self.is_expired(channel):
            raise not_found("channel")
        del self._open[channel_id]
        self._deliveries.drop(channel_id)

    def kill(self) -> None:
        """They die silently: nothing is delivered any more, though none has expired."""
        for channel in self:
            channel.is_dead = True
            self._deliveries.close(channel.id)

    def is_expired(self, channel: Channel) -> bool:
        return channel.expires_at <= self._clock.now()

    def changed(self, change: Change) -> None:
        """Tells whoever watches."""
        if change.after is None:
            return
        body = _body(change.after)
        for state in _states(change):
            for channel in self:
                if channel.event in {None, state}:
                    self._send(channel, state, body)

    def _send(self, channel: Channel, state: str, body: bytes) -> None:
        if channel.is_dead or self.is_expired(channel):
            return
        channel.messages += 1
        headers = channel.headers | {
            "X-Goog-Resource-State": state,
            "X-Goog-Message-Number": str(channel.messages),
        }
        message = Message(channel.address, headers, body, lambda: not self.is_expired(channel))
        self._deliveries.send(channel.id, message)

    def _check(self, wanted: ChannelRequest) -> None:
        if not _ID.fullmatch(wanted.id):
            raise invalid("id")
        if wanted.type != "web_hook":
            raise invalid("type")
        if wanted.token is not None and not _is_token(wanted.token):
            raise invalid("token")
        _check_address(wanted.address)
        known = self._open.get(wanted.id)
        if known is not None and not self.is_expired(known):
            raise GoogleError(400, "channelIdNotUnique", f"Channel id {wanted.id} not unique")


def _ttl(wanted: ChannelRequest) -> int:
    text = wanted.params.get("ttl", str(_TTL_UNLESS_ASKED))
    if not re.fullmatch(r"[0-9]{1,12}", text) or int(text) < 1:
        raise invalid("params.ttl")
    return min(int(text), _LONGEST_AT_GOOGLE)


def _is_token(text: str) -> bool:
    """It travels in a header."""
    return len(text) <= _MOST_TOKEN_LETTERS and text.isascii() and text.isprintable()


def _check_address(address: str) -> None:
    """On loopback only: the sandbox sends nothing to anybody else's machine."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise invalid("address") from None
    if (
        parts.scheme not in {"http", "https"}
        or not host
        or not address.isascii()
        or not address.isprintable()
    ):
        raise GoogleError(400, "push.webhookUrlNotHttps", f"WebHook callback must be HTTPS: {address}")
    if not _is_loopback(host):
        message = f"Unauthorized WebHook callback channel: {address}"
        raise GoogleError(401, "push.webhookUrlUnauthorized", message)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _states(change: Change) -> tuple[str, ...]:
    """What Google calls the change."""
    before, after = change.before, change.after
    if before is None or after is None:
        return ("add",)
    if (before.deleted_at is None) != (after.deleted_at is None):
        return ("undelete",) if after.deleted_at is None else ("delete",)
    return ("makeAdmin", "update") if before.is_admin != after.is_admin else ("update",)


def _body(person: Person) -> bytes:
    """It says only who: the rest must be read."""
    return msgspec.json.encode(
        {
            "kind": "admin#directory#user",
            "id": person.id,
            "etag": f'"{person.etag}"',
            "primaryEmail": person.email,
        }
    )

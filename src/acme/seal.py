"""Tokens that carry their own content: nobody else can read meaning into them or make one."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)
_MARK_BYTES = 16


class Seal:
    """Tokens outlive a restart, since the secret does."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def close(self, content: msgspec.Struct) -> str:
        body = msgspec.msgpack.encode(content)
        return urlsafe_b64encode(self._mark(type(content), body) + body).decode().rstrip("=")

    def open(self, kind: type[T], token: str) -> T | None:
        """None for a token that was altered, or made for something else."""
        try:
            sealed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            return None
        mark, body = sealed[:_MARK_BYTES], sealed[_MARK_BYTES:]
        if not hmac.compare_digest(mark, self._mark(kind, body)):
            return None
        try:
            return msgspec.msgpack.decode(body, type=kind)
        except msgspec.DecodeError:  # ours, but of another version of this program
            return None

    def _mark(self, kind: type[msgspec.Struct], body: bytes) -> bytes:
        return hmac.digest(self._secret, kind.__name__.encode() + b"\0" + body, "sha256")[:_MARK_BYTES]

"""Secrets that have to be kept and read again: sealed with AES-256-GCM, each to the place it is kept at.

A sealed value is `version · key id · nonce · ciphertext`. The place ("table.column:row") is sealed with
it, so that a value moved to another row does not open; the key id says at once which key opens it.
"""

import hashlib
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from muster.errors import MusterError

_VERSION = b"\x01"
_KEY_ID_SIZE = 4
_NONCE_SIZE = 12
"""Drawn at random: safe for 2^32 values of one key (NIST SP 800-38D, section 8.3)."""

_HEAD = len(_VERSION) + _KEY_ID_SIZE


class SealBroken(MusterError):
    """What was sealed cannot be opened: it was changed, moved, or sealed with a key that is gone."""

    code = "seal_broken"


class Vault:
    """Seals with `key`; opens also what one of `fallbacks` sealed, so that the key can be changed."""

    def __init__(self, key: str, fallbacks: Sequence[str] = ()) -> None:
        derived = [_derived(one) for one in (key, *fallbacks)]
        self._ciphers = {_key_id(one): AESGCM(one) for one in reversed(derived)}
        self._present = _key_id(derived[0])

    def seal(self, plain: bytes, place: str) -> bytes:
        nonce = secrets.token_bytes(_NONCE_SIZE)
        head = _VERSION + self._present
        return head + nonce + self._ciphers[self._present].encrypt(nonce, plain, head + place.encode())

    def open(self, sealed: bytes, place: str) -> bytes:
        """Raises SealBroken."""
        head, nonce = sealed[:_HEAD], sealed[_HEAD : _HEAD + _NONCE_SIZE]
        cipher = self._ciphers.get(head[len(_VERSION) :])
        if head[: len(_VERSION)] != _VERSION or cipher is None or len(nonce) < _NONCE_SIZE:
            raise SealBroken("a sealed value is not of a form or a key that is known here")
        try:
            return cipher.decrypt(nonce, sealed[_HEAD + _NONCE_SIZE :], head + place.encode())
        except InvalidTag as error:
            raise SealBroken("a sealed value was changed, or belongs to another place") from error

    def is_old(self, sealed: bytes) -> bool:
        """Whether a key other than the present one sealed it."""
        return sealed[len(_VERSION) : _HEAD] != self._present


def _derived(key: str) -> bytes:
    """Of SECRET_KEY, which has other uses besides."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"muster vault").derive(key.encode())


def _key_id(derived: bytes) -> bytes:
    return hashlib.sha256(b"key id" + derived).digest()[:_KEY_ID_SIZE]

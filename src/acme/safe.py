"""What the sandbox keeps between two starts, so that a restart changes nothing: keys, secrets and its day."""

import secrets
import time
from pathlib import Path
from uuid import uuid4

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from acme.people import DAY

_FILE = "secrets.json"
_RECENT_ENOUGH = 7 * DAY


class Key(msgspec.Struct, frozen=True):
    kid: str
    pem: str

    @property
    def private(self) -> RSAPrivateKey:
        key = load_pem_private_key(self.pem.encode(), password=None)
        if not isinstance(key, RSAPrivateKey):
            raise TypeError(f"{self.kid} is not an RSA key")
        return key


def new_key() -> Key:
    private = generate_private_key(public_exponent=65_537, key_size=2048)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return Key(secrets.token_hex(20), pem)


class Secrets(msgspec.Struct):
    client_secret: str
    seal: bytes
    service_account: Key
    signing: list[Key]
    """Newest first; the others are still published."""
    today: int
    """The midnight (seconds) that joiners and leavers are counted back from."""
    hubspot_token: str = msgspec.field(default_factory=lambda: f"pat-eu1-{uuid4()}")
    hubspot_webhook_secret: str = msgspec.field(default_factory=lambda: str(uuid4()))


class Safe:
    def __init__(self, home: Path) -> None:
        self._file = home / _FILE
        self.secrets = self._read() if self._file.exists() else _new_secrets()
        midnight = int(time.time()) // DAY * DAY
        if midnight - self.secrets.today > _RECENT_ENOUGH:
            self.secrets.today = midnight  # joiners must look recent
        self._write()

    def rotate(self) -> Key:
        """A new signing key; the one before stays published, older ones go."""
        self.secrets.signing = [new_key(), *self.secrets.signing[:1]]
        self._write()
        return self.secrets.signing[0]

    def _read(self) -> Secrets:
        return msgspec.json.decode(self._file.read_bytes(), type=Secrets)

    def _write(self) -> None:
        write_private(self._file, msgspec.json.encode(self.secrets))


def write_private(file: Path, content: bytes) -> None:
    """Whole or not at all, and for the owner only."""
    draft = file.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_bytes(content)
    draft.replace(file)


def _new_secrets() -> Secrets:
    return Secrets(
        client_secret=f"GOCSPX-{secrets.token_urlsafe(21)}",
        seal=secrets.token_bytes(32),
        service_account=new_key(),
        signing=[new_key()],
        today=int(time.time()) // DAY * DAY,
    )

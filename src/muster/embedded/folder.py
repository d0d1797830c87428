"""A server's folder: where it is, whose it is, and the lock, password, port and log kept in it."""

import fcntl
import hashlib
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path
from typing import IO

from muster.embedded.account import Account
from muster.embedded.failures import AlreadyRunningError, EmbeddedServerError, PortTakenError

STATE = Path("/var/lib/muster")
LOOPBACK = "127.0.0.1"
# Below the range from which Linux and macOS take the ports of outgoing connections: a client that keeps
# trying to reach a stopped server could otherwise be given, and hold, that server's own port.
_PORTS = range(15_000, 30_000)
_LOG_BYTES_KEPT = 10 * 1024 * 1024


class ServerFolder:
    """`home/name`, or a link there to a folder below /var/lib/muster.

    The link is made when we are root and `home` is closed to the account that runs the server, as it
    is in root's own home. Nothing is opened up for it.
    """

    def __init__(self, home: Path, name: str) -> None:
        self._link = home.absolute() / name
        self._lock: IO[str] | None = None

    @property
    def path(self) -> Path:
        return self._link.resolve()

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "log"

    def take(self, account: Account) -> None:
        """Make the folder if it is new, and keep every other Muster out of it until `release`."""
        if self._lock is None:
            self._settle(account)
            self._lock = self._locked()
            account.own(self.path / "lock")

    @property
    def is_taken(self) -> bool:
        """Whether the folder is this object's, and with it every server that works in it."""
        return self._lock is not None

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def password(self, name: str = "password") -> str:
        return self._read(name)

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def set_password(self, account: Account) -> bool:
        """Make up a password unless there is one; whether it is new."""
        if self.has("password"):
            return False
        self.write("password", new_password(), account)
        return True

    def port(self) -> int:
        return int(self._read("port"))

    def choose_port(self, account: Account) -> int:
        """The port of the last run where nobody has taken it since, else a free one, remembered."""
        if self.has("port") and _is_free(self.port()):
            return self.port()
        port = _free_port()
        self.write("port", str(port), account)
        return port

    def write(self, name: str, text: str, account: Account) -> Path:
        """Write a small file that only `account` can read; never half of it."""
        path = self.path / name
        handle, draft = tempfile.mkstemp(dir=self.path, prefix=f"{name}-")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
            account.own(Path(draft))
            Path(draft).replace(path)
        except OSError:
            Path(draft).unlink()
            raise
        return path

    def open_log(self, account: Account) -> IO[bytes]:
        """The log, to be appended to; one that has grown large is set aside first."""
        if self.log.exists() and self.log.stat().st_size > _LOG_BYTES_KEPT:
            self.log.replace(self.log.with_suffix(".previous"))
        handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        account.own(self.log)
        return os.fdopen(handle, "ab")

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text().strip()
        except FileNotFoundError:
            raise EmbeddedServerError(
                f"{self._link} holds no {name}: no server was set up there, or the file was removed"
            ) from None

    def _settle(self, account: Account) -> None:
        self._link.parent.mkdir(parents=True, exist_ok=True)
        if self._link.is_symlink() and not self._link.exists():
            raise EmbeddedServerError(f"{self.path} is gone: remove {self._link} to start without its data")
        if not self._link.exists():
            if account.may_enter(self._link.parent):
                make_enterable(self._link)
            else:
                self._settle_elsewhere()
        if not account.may_enter(self.path):
            raise EmbeddedServerError(
                f"the user {account.name} runs the server but cannot enter {self._link}"
            )

    def _settle_elsewhere(self) -> None:
        make_enterable(STATE)
        with (STATE / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fingerprint = hashlib.sha256(os.fsencode(self._link)).hexdigest()[:16]
            place = STATE / f"{self._link.name}-{fingerprint}"
            if place.exists():
                # Its home was deleted to begin anew. The last such data is kept, in case it was not meant.
                previous = place.with_suffix(".previous")
                shutil.rmtree(previous, ignore_errors=True)
                place.rename(previous)
            make_enterable(place)
            (place / "belongs-to").write_text(f"{self._link}\n")
            self._link.symlink_to(place)

    def _locked(self) -> IO[str]:
        lock = (self.path / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise AlreadyRunningError(f"another Muster is running on {self._link}") from None
        return lock


def new_password() -> str:
    """Of letters that need no quoting anywhere."""
    return secrets.token_urlsafe(24)


def make_enterable(folder: Path) -> None:
    """Make a folder that others may pass through but not list, whatever the umask."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)


def _free_port() -> int:
    for _ in range(100):
        port = secrets.choice(_PORTS)
        if _is_free(port):
            return port
    raise PortTakenError(f"no free port on {LOOPBACK} between {_PORTS.start} and {_PORTS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the servers do: connections of an earlier run that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True

"""What can go wrong with a server of our own, each said in one line a person can act on.

EmbeddedServerError
├── AlreadyRunningError   another Muster holds the folder
├── DiskFullError         no room for its files
├── PortTakenError        another program listens on the server's port
└── RefusedToStartError   anything else the server itself complained of
"""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from muster.errors import MusterError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = ("No space left on device", "Disk quota exceeded")
_COMPLAINT = re.compile(r"\b(?:FATAL|PANIC|ERROR|error):\s+(.+)")


class EmbeddedServerError(MusterError):
    """A server that `muster up` runs cannot start, or was never set up."""

    code = "embedded_server"


class AlreadyRunningError(EmbeddedServerError):
    code = "embedded_server_already_running"


class DiskFullError(EmbeddedServerError):
    code = "disk_full"


class PortTakenError(EmbeddedServerError):
    code = "port_taken"


class RefusedToStartError(EmbeddedServerError):
    code = "embedded_server_refused"


def refusal(server: str, said: str, *, folder: Path, port: int | None = None) -> EmbeddedServerError:
    """The error behind `said`, all that a server or its set-up program wrote before it gave up."""
    if any(words in said for words in _FULL_WORDS):
        return DiskFullError(f"{server} cannot start: the disk that holds {folder} is full")
    if "Address already in use" in said:
        return PortTakenError(f"{server} cannot start: port {port} is taken by another program")
    complaints: list[str] = _COMPLAINT.findall(said)
    lines = complaints or [line.strip() for line in said.splitlines() if line.strip()]
    return RefusedToStartError(f"{server} refused to start: {lines[-1] if lines else 'it did not say why'}")


@contextmanager
def plain_words(server: str) -> Iterator[None]:
    """Turn the operating system's refusals into ours."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        if error.errno in _FULL:
            raise DiskFullError(f"{server} cannot start: the disk is full{where}") from error
        raise EmbeddedServerError(f"{server} cannot start: {error.strerror}{where}") from error

"""What a peer and its measurement say to each other: an order on stdin, one line of figures on stdout."""

import resource
import sys
import time
from pathlib import Path
from typing import Self

import msgspec


class Acme(msgspec.Struct, kw_only=True):
    """The sandbox company, as its `acme.json` describes it."""

    issuer: str
    client_id: str
    client_secret: str
    directory_url: str
    service_account: str
    """The path of its key file."""
    admin_email: str
    domain: str


class Order(msgspec.Struct, kw_only=True):
    """What a peer is to work with. `fields` and `page_size` are how the directory is to be listed."""

    acme: Acme
    home: str
    database_url: str
    redis_url: str
    fields: str
    page_size: int


class Figures(msgspec.Struct, kw_only=True):
    """What a peer says of its work alone: without the start of Python, imports and connecting."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    counts: dict[str, int]


def read_order() -> Order:
    return msgspec.json.decode(sys.stdin.buffer.read(), type=Order)


class Stopwatch:
    """Wall clock and processor time, all threads of this process together."""

    def __enter__(self) -> Self:
        self._began, self._worked = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self._seconds = time.perf_counter() - self._began
        self._cpu_seconds = time.process_time() - self._worked

    def tell(self, **counts: int) -> None:
        figures = Figures(
            seconds=self._seconds, cpu_seconds=self._cpu_seconds, peak_bytes=peak_bytes(), counts=counts
        )
        print(msgspec.json.encode(figures).decode(), flush=True)


def peak_bytes() -> int:
    """The most memory this program ever held.

    Linux counts into ru_maxrss what the parent held when it started us; VmHWM is the program's own.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024

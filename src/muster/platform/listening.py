"""A port of ours, and who answers at it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from muster.errors import MusterError
from muster.platform.http_limits import LimitedHttp

_SMALL_DRAIN_SECONDS = 2


def listen(host: str, port: int, *, setting: str = "PORT") -> socket.socket:
    """Raises MusterError when the port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP: asyncio switches off the delay of small answers only where it is.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(socket.SOMAXCONN)
    except OSError as error:
        listening.close()
        why = f"port {port} of {host} cannot be had ({error.strerror})"
        raise MusterError(f"{why}: set {setting} to another or stop what has it") from error
    return listening


class Beside(uvicorn.Server):
    """uvicorn beside other work of a process, which is told to stop by whoever runs that."""

    @contextlib.contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def answering_at(listening: socket.socket, app: ASGIApp) -> AsyncIterator[None]:
    """Answer with `app` for as long as the block runs."""
    server = Beside(
        uvicorn.Config(
            app,
            http=LimitedHttp,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_SMALL_DRAIN_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving

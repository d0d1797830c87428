"""A line to a server that a test may cut in each of the ways in which lines break."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from enum import StrEnum
from urllib.parse import urlsplit

SLOWLY = 0.6
"""Seconds by which a slow line delays whatever passes, each way."""

_AT_ONCE = struct.pack("ii", 1, 0)


class Cut(StrEnum):
    OPEN = "open"
    REFUSE = "refuse"
    RESET = "reset"
    BLACK_HOLE = "black hole"
    SLOW = "slow"


class Line:
    """Leads to `upstream`; `cut` changes how, for connections that are there and for new ones."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 0)
        self._how = Cut.OPEN
        self._ends: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.place = ""

    def url(self, upstream: str) -> str:
        """The address `upstream`, by way of this line."""
        parts = urlsplit(upstream)
        login = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{login}@{self.place}" if login else self.place).geturl()

    async def open(self) -> None:
        port = int(self.place.rpartition(":")[2] or 0)
        self._server = await asyncio.start_server(self._take, "127.0.0.1", port)
        self.place = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def cut(self, how: Cut) -> None:
        self._how = how
        if how is Cut.REFUSE and self._server:
            self._server.close()
        if how in {Cut.REFUSE, Cut.RESET}:
            self._break_all()
        if how is Cut.OPEN and not (self._server and self._server.is_serving()):
            await self.open()
        if how is Cut.OPEN:
            self._break_all()  # what was lost in a hole comes no more

    async def close(self) -> None:
        self._break_all()
        if self._server:
            self._server.close()
        await asyncio.sleep(0)

    def _break_all(self) -> None:
        for end in list(self._ends):
            _reset(end)
        self._ends.clear()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        if self._how is Cut.RESET:
            _reset(writer)
            return
        with contextlib.suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._upstream)
            self._ends.add(far_writer)
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while part := await reader.read(65536):
                if self._how is Cut.SLOW:
                    await asyncio.sleep(SLOWLY)
                if self._how is not Cut.BLACK_HOLE:
                    writer.write(part)
                    await writer.drain()
        if self._how is not Cut.BLACK_HOLE:
            writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side is told of a reset."""
    end: socket.socket | None = writer.get_extra_info("socket")
    if end and end.fileno() >= 0:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()


@contextlib.asynccontextmanager
async def line_to(upstream: str) -> AsyncIterator[Line]:
    line = Line(upstream)
    await line.open()
    try:
        yield line
    finally:
        await line.close()

"""A wire between a client and its server that a test may cut, or have go silent, for this client alone."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit, urlunsplit


class Wire:
    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._ends: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._is_cut = False
        self.url = ""

    def cut(self) -> None:
        self._is_cut = True
        for end in self._ends:
            end.transport.abort()

    def fall_silent(self) -> None:
        """What is said goes nowhere until it is mended; then it arrives."""
        self._flowing.clear()

    def mend(self) -> None:
        self._is_cut = False
        self._flowing.set()

    @contextlib.contextmanager
    def being_cut(self) -> Iterator[None]:
        self.cut()
        yield
        self.mend()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        beyond = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._ends |= {writer, beyond[1]}
        try:
            await asyncio.gather(self._pass(reader, beyond[1]), self._pass(beyond[0], writer))
        finally:
            for end in (writer, beyond[1]):
                self._ends.discard(end)
                end.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(65536):
                await self._flowing.wait()
                sink.write(chunk)
        sink.transport.abort()

    def along(self, port: int) -> str:
        """The server's address, by way of this wire."""
        user, at, _ = self._parts.netloc.rpartition("@")
        return urlunsplit(self._parts._replace(netloc=f"{user}{at}127.0.0.1:{port}"))


@contextlib.asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    wire = Wire(url)
    server = await asyncio.start_server(wire.join, "127.0.0.1", 0)
    wire.url = wire.along(server.sockets[0].getsockname()[1])
    try:
        yield wire
    finally:
        wire.cut()
        server.close()

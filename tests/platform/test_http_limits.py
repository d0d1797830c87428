"""Heads of requests without end, in size or in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.responses import PlainTextResponse
from tests.town import Town, eventually

from muster.platform.http_limits import LimitedHttp
from muster.web import listen


class Hasty(LimitedHttp):
    most_seconds = 0.2


async def test_a_head_without_end_is_cut_off(town: Town):
    reader, writer = await _connected(town.portal.settings.port)
    writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n")

    async def send_for_ever() -> None:
        while True:
            writer.write(b"x-more: " + b"x" * 8000 + b"\r\n")
            await writer.drain()

    sending = asyncio.create_task(send_for_ever())
    answer = await asyncio.wait_for(_read(reader), 10)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.close()

    assert b"431" in answer or answer == b""  # it may be cut before the answer is read


async def test_a_head_that_is_never_finished_is_not_waited_for():
    async with _serving(Hasty) as port:
        reader, writer = await _connected(port)
        writer.write(b"GET / HTTP/1.1\r\nhost:")

        assert await asyncio.wait_for(_read(reader), 10) == b""
        writer.close()


async def test_a_connection_may_carry_many_requests_one_after_the_other():
    async with _serving(Hasty) as port:
        reader, writer = await _connected(port)
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert (await reader.readuntil(b"well")).startswith(b"HTTP/1.1 200")
            await asyncio.sleep(0.15)
        writer.close()


async def _connected(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


@asynccontextmanager
async def _serving(protocol: type[LimitedHttp]) -> AsyncIterator[int]:
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        PlainTextResponse("well"), http=protocol, ws="none", lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listening]))

    async def started() -> bool:
        return server.started

    await eventually(started)
    yield listening.getsockname()[1]
    server.should_exit = server.force_exit = True
    await serving

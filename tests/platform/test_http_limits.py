"""Requests without end, in size or in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from tests.town import Town, eventually

from muster.platform.http_limits import LimitedHttp
from muster.platform.listening import listen


class Hasty(LimitedHttp):
    most_seconds = 0.2
    slowest = 100


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


@pytest.mark.parametrize("begun", [b"content-length: 9\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n9\r\n"])
@pytest.mark.parametrize("drop", [b"", b"x"])
async def test_a_body_that_is_never_finished_is_not_waited_for(begun: bytes, drop: bytes):
    async with _serving(Hasty, _echo) as port:
        reader, writer = await _connected(port)
        writer.write(b"POST / HTTP/1.1\r\nhost: localhost\r\n" + begun + drop)

        assert await asyncio.wait_for(_read(reader), 10) == b""
        writer.close()


async def test_a_body_that_drips_is_not_waited_for_either():
    async with _serving(Hasty, _echo) as port:
        reader, writer = await _connected(port)
        writer.write(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n")

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await asyncio.wait_for(_read(reader), 10) == b""
        dripping.cancel()
        writer.close()


async def test_a_body_may_take_its_time_as_long_as_it_comes():
    async with _serving(Hasty, _echo) as port:
        reader, writer = await _connected(port)
        writer.write(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000\r\n\r\n")
        for _ in range(10):
            writer.write(b"x" * 500)
            await asyncio.sleep(0.1)

        assert (await reader.readuntil(b"5000 bytes")).startswith(b"HTTP/1.1 200")
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


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    size = 0
    async for piece in Request(scope, receive).stream():
        size += len(piece)
    await PlainTextResponse(f"{size} bytes")(scope, receive, send)


@asynccontextmanager
async def _serving(protocol: type[LimitedHttp], app: ASGIApp | None = None) -> AsyncIterator[int]:
    listening = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app or PlainTextResponse("well"),
        http=protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listening]))

    async def started() -> bool:
        return server.started

    await eventually(started)
    yield listening.getsockname()[1]
    server.should_exit = server.force_exit = True
    await serving

"""How long and how large the head of a request may be, and how slow its body: httptools by itself sets no
limit to any of it.
"""

import asyncio
from typing import Any, ClassVar

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class LimitedHttp(HttpToolsProtocol):
    """uvicorn's protocol, which hangs up on whoever sends a head without end, or never finishes a head or a
    body.
    """

    most_bytes: ClassVar[int] = 64 * 1024
    """Beyond what arrives in one piece, which the operating system bounds."""
    most_seconds: ClassVar[float] = 15.0
    slowest: ClassVar[int] = 1024
    """Bytes a second that a body must come by on average, once its first `most_seconds` are over."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._in_head = True
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_bytes = 0
        self._body_timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    @override
    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._await_head()
        if self._in_head and self._head_bytes - len(data) > self.most_bytes:
            self.transport.write(_TOO_LARGE)
            self.transport.close()
            return
        super().data_received(data)
        if not self._in_head:
            self._body_bytes += len(data)
            if self._body_timer is None:
                self._await_body(self.loop.time() + self.most_seconds)

    @override
    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    @override
    def on_message_complete(self) -> None:
        self._in_head, self._head_bytes, self._body_bytes = True, 0, 0
        self._stop_waiting()
        super().on_message_complete()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.most_seconds, self._hang_up)

    def _await_body(self, due: float) -> None:
        self._body_timer = self.loop.call_at(due, self._judge_body, due)

    def _judge_body(self, due: float) -> None:
        """Hang up unless enough has come to wait on; time in which we ourselves read nothing is forgiven."""
        if self.flow.read_paused:
            self._await_body(due + self.most_seconds)
        elif (seconds := self._body_bytes / self.slowest) >= 1:
            self._body_bytes = 0
            self._await_body(due + min(seconds, self.most_seconds))
        else:
            self._hang_up()

    def _stop_waiting(self) -> None:
        for timer in (self._head_timer, self._body_timer):
            if timer:
                timer.cancel()
        self._head_timer = self._body_timer = None

    def _hang_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

"""Messages on their way to channels: in order for each channel, and tried again while that may help.

A message that meets no connection, no answer within five seconds, a 5xx or a 429 is sent again after each of
`_PAUSES`, four times in all, and then given up; the channel's later messages wait meanwhile. Any other answer
but a 2xx gives it up at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

import httpx2
import msgspec

_PAUSES = (0.2, 0.5, 1.0, 2.0)
_PATIENCE_SECONDS = 5.0
_TOO_MANY = 429

FaultKind = Literal["lost", "doubled", "reordered", "late", "forged-token"]


class WebhookFault(msgspec.Struct, forbid_unknown_fields=True):
    """The next `times` messages about changes fare so; the first one of a channel, `sync`, never does.

    `seconds` is how late a late one is, and how long a reordered one waits for another to go first.
    """

    kind: FaultKind
    times: int = 1
    seconds: float = 1.0


class Message(msgspec.Struct, frozen=True):
    address: str
    headers: dict[str, str]
    body: bytes
    is_wanted: Callable[[], bool]
    """Asked again before each try."""


class Tally(msgspec.Struct):
    sent: int = 0
    failed: int = 0
    pending: int = 0


class Deliveries:
    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}
        self._client: httpx2.AsyncClient | None = None
        self.faults: list[WebhookFault] = []

    def forget(self) -> None:
        for channel_id in list(self._lines):
            self.drop(channel_id)
        self.faults.clear()

    def send(self, channel_id: str, message: Message) -> None:
        """Returns at once."""
        line = self._lines.get(channel_id)
        is_first = message.headers["X-Goog-Message-Number"] == "1"
        if line is None or is_first:
            self.drop(channel_id)
            line = self._lines[channel_id] = _Line(self._post)
        line.put(message, None if is_first else self._fault())

    def close(self, channel_id: str) -> None:
        """Nothing more is delivered, not even what is on its way; the tally stays."""
        if (line := self._lines.get(channel_id)) is not None:
            line.close()

    def drop(self, channel_id: str) -> None:
        self.close(channel_id)
        self._lines.pop(channel_id, None)

    def tally(self, channel_id: str) -> Tally:
        line = self._lines.get(channel_id)
        return Tally() if line is None else line.tally

    @property
    def pending(self) -> int:
        return sum(line.tally.pending for line in self._lines.values())

    def _fault(self) -> WebhookFault | None:
        if not self.faults:
            return None
        fault = self.faults[0]
        fault.times -= 1
        if not fault.times:
            self.faults.pop(0)
        return fault

    async def _post(self, message: Message) -> int | None:
        """The answer's status; None without one."""
        if self._client is None:
            self._client = httpx2.AsyncClient(trust_env=False, timeout=_PATIENCE_SECONDS)
        headers = message.headers | {"Content-Type": "application/json; charset=UTF-8"}
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                answer = await self._client.post(message.address, content=message.body, headers=headers)
        except (httpx2.TransportError, TimeoutError):
            return None
        return answer.status_code


class _Line:
    """One channel's messages, sent one after another by a task of its own."""

    def __init__(self, post: Callable[[Message], Awaitable[int | None]]) -> None:
        self._post = post
        self.tally = Tally()
        self._waiting: asyncio.Queue[tuple[Message, WebhookFault | None]] = asyncio.Queue()
        self._tasks = {asyncio.create_task(self._run())}

    def put(self, message: Message, fault: WebhookFault | None) -> None:
        self.tally.pending += 1
        self._waiting.put_nowait((message, fault))

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.tally.pending = 0

    async def _run(self) -> None:
        held: Message | None = None
        patience: float | None = None
        while True:
            try:
                async with asyncio.timeout(patience):
                    message, fault = await self._waiting.get()
            except TimeoutError:
                pass
            else:
                if held is None and fault is not None and fault.kind == "reordered":
                    held, patience = message, fault.seconds
                    continue
                await self._handle(message, fault)
            if held is not None:
                await self._deliver(held)
                held = patience = None

    async def _handle(self, message: Message, fault: WebhookFault | None) -> None:
        match fault:
            case WebhookFault(kind="lost"):
                self.tally.pending -= 1
            case WebhookFault(kind="doubled"):
                self.tally.pending += 1
                await self._deliver(message)
                await self._deliver(message)
            case WebhookFault(kind="late", seconds=seconds):
                task = asyncio.create_task(self._deliver_late(message, seconds))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case WebhookFault(kind="forged-token"):
                forged = message.headers | {"X-Goog-Channel-Token": "forged"}
                await self._deliver(msgspec.structs.replace(message, headers=forged))
            case _:
                await self._deliver(message)

    async def _deliver_late(self, message: Message, seconds: float) -> None:
        """Later ones are not held up."""
        await asyncio.sleep(seconds)
        await self._deliver(message)

    async def _deliver(self, message: Message) -> None:
        for pause in (*_PAUSES, None):
            if not message.is_wanted():
                break
            status = await self._post(message)
            if status is not None and 200 <= status < 300:
                self.tally.sent += 1
                break
            may_pass = status is None or status >= 500 or status == _TOO_MANY
            if pause is None or not may_pass:
                self.tally.failed += 1
                break
            await asyncio.sleep(pause)
        self.tally.pending -= 1

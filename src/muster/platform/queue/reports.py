"""What a running job says of itself, told to Redis now and then."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from muster.errors import Unavailable
from muster.platform import redis

TOLD_EVERY = 0.5
MOST_LINES = 200
PATIENCE = 2.0
"""Seconds that the end of a job waits for its last words to be written."""

Tell = Callable[[int, int | None, str], None]
"""How far something is: how much is done, of how much where that is known, and in words."""


def tell_nobody(done: int, of: int | None, words: str) -> None:
    """For what runs where nobody looks."""


class Reports:
    """Said as often as one likes, and written twice a second at most, the latest alone.

    What cannot be written is let go: the next is as good, and the job itself is what counts.
    """

    def __init__(self, bull_job: Any) -> None:
        self._bull_job = bull_job
        self._progress: dict[str, Any] | None = None
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._telling: asyncio.Task[None] | None = None

    def progress(self, done: int, of: int | None, words: str) -> None:
        self._progress = {"done": done, "of": of, "words": words}
        self._begin_telling()

    def log(self, line: str) -> None:
        self._lines.append(line)
        self._begin_telling()

    async def close(self) -> None:
        """Write what is still unsaid."""
        if self._telling:
            self._telling.cancel()
            await asyncio.wait({self._telling})
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._write()

    def _begin_telling(self) -> None:
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while self._progress or self._lines:
            await self._write()
            await asyncio.sleep(TOLD_EVERY)

    async def _write(self) -> None:
        # TypeError is BullMQ's word for a job that is no more.
        with suppress(Unavailable, TypeError), redis.answering():
            if progress := self._progress:
                await self._bull_job.updateProgress(progress)
                if self._progress is progress:
                    self._progress = None
            while self._lines:
                await self._bull_job.log(self._lines[0])
                self._lines.popleft()

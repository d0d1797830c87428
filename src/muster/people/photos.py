"""Photos of people, asked for at Google once an hour at most, and shown from here."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from muster.errors import MusterError, Unavailable
from muster.people.google_directory import GoogleDirectory, Photo
from muster.platform.redis import CACHE, Redis, answering
from muster.platform.telemetry import logger

KEPT_FOR = timedelta(minutes=60)
ABSENT_FOR = timedelta(minutes=5)
DEADLINE = timedelta(seconds=3)
LARGEST_BYTES = 256 * 1024

_NONE = b""


class Photos:
    def __init__(self, directory: GoogleDirectory, redis: Redis) -> None:
        self._directory = directory
        self._redis = redis
        self._asking: dict[tuple[str, str], asyncio.Task[Photo | None]] = {}

    async def find(self, google_id: str, etag: str) -> Photo | None:
        """The photo that `etag` stands for; None where there is none, Google is away, or it is no picture
        that a browser should be shown.
        """
        kept = await self._kept(google_id, etag)
        if kept is not None:
            return _picture(kept)
        # Whoever leaves does not take the answer away from those who wait for it, too.
        return await asyncio.shield(self._asked(google_id, etag))

    def _asked(self, google_id: str, etag: str) -> asyncio.Task[Photo | None]:
        """The one question that is under way for this photo."""
        one = (google_id, etag)
        asking = self._asking.get(one)
        if asking is None:
            asking = self._asking[one] = asyncio.create_task(self._ask(google_id, etag))
            asking.add_done_callback(lambda _: self._asking.pop(one))
        return asking

    async def _ask(self, google_id: str, etag: str) -> Photo | None:
        content = _NONE
        try:
            async with asyncio.timeout(DEADLINE.total_seconds()):
                sent = await self._directory.photo(google_id)
            if sent and len(sent.content) <= LARGEST_BYTES and _picture(sent.content):
                content = sent.content
        except (MusterError, TimeoutError) as error:
            logger.info("photo_not_read", google_id=google_id, error=str(error) or type(error).__name__)
        with suppress(Unavailable), answering():
            await self._redis.set(
                _photo_key(google_id, etag), content, ex=KEPT_FOR if content else ABSENT_FOR
            )
        return _picture(content)

    async def _kept(self, google_id: str, etag: str) -> bytes | None:
        with suppress(Unavailable), answering():
            kept = await self._redis.get(_photo_key(google_id, etag))
            return kept if isinstance(kept, bytes) else None
        return None


def _photo_key(google_id: str, etag: str) -> str:
    return f"{CACHE}photo:{google_id}:{etag}"


def _picture(content: bytes) -> Photo | None:
    """By its first bytes, whatever it was called: anything that could hold a script is no photo."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return Photo(content, "image/png")
    if content.startswith(b"\xff\xd8\xff"):
        return Photo(content, "image/jpeg")
    if content.startswith((b"GIF87a", b"GIF89a")):
        return Photo(content, "image/gif")
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return Photo(content, "image/webp")
    return None

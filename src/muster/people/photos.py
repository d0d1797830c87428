"""Photos of people, asked for at Google once an hour at most, and shown from here."""

import asyncio
from datetime import timedelta
from functools import partial

from muster.errors import MusterError
from muster.people.google_directory import GoogleDirectory, Photo
from muster.platform.cache import Cache
from muster.platform.telemetry import logger

KEPT_FOR = timedelta(minutes=60)
ABSENT_FOR = timedelta(minutes=5)
DEADLINE = timedelta(seconds=3)
LARGEST_BYTES = 256 * 1024

_NONE = b""


class Photos:
    def __init__(self, directory: GoogleDirectory, cache: Cache) -> None:
        self._directory = directory
        self._cache = cache

    async def find(self, google_id: str, etag: str) -> Photo | None:
        """The photo that `etag` stands for; None where there is none, Google is away, or it is no picture
        that a browser should be shown.
        """
        # Without a tag: another photo has another etag.
        kept = await self._cache.get(
            f"photo:{google_id}:{etag}",
            bytes,
            partial(self._ask, google_id),
            ttl=lambda content: KEPT_FOR if content else ABSENT_FOR,
        )
        return _picture(kept.value)

    async def _ask(self, google_id: str) -> bytes:
        try:
            async with asyncio.timeout(DEADLINE.total_seconds()):
                sent = await self._directory.photo(google_id)
        except (MusterError, TimeoutError) as error:
            logger.info("photo_not_read", google_id=google_id, error=str(error) or type(error).__name__)
            return _NONE
        is_fit = sent and len(sent.content) <= LARGEST_BYTES and _picture(sent.content)
        return sent.content if sent and is_fit else _NONE


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

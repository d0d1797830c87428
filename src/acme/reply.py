"""Replies of the Directory API: etag, 304 and gzip."""

import zlib
from hashlib import blake2b
from struct import pack
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

Resource = dict[str, Any]
"""A group, a member, a unit, as Google words them."""

_SMALLEST_ZIPPED_BYTES = 512
_LEVEL = 2  # as fast as 1 on such texts, and a twentieth smaller
_GZIP_START = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def etag_of(*parts: bytes) -> str:
    mark = blake2b(digest_size=16)
    for part in parts:
        mark.update(part)
    return f'"{mark.hexdigest()}"'


class Zipped(NamedTuple):
    """A long text that is zipped once and sent often, each time with a short end of its own.

    Deflated data may be put together from blocks; the short start and end are blocks that are only stored.
    """

    start: bytes
    deflated: bytes
    crc: int
    """Of the start and the text, where the end's is taken up."""
    size: int

    def unzipped(self) -> bytes:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(self.deflated)

    def gzip(self, end: bytes) -> bytes:
        crc, size = zlib.crc32(end, self.crc), self.size + len(end)
        blocks = (_stored(self.start), self.deflated, _stored(end, is_last=True))
        return b"".join((_GZIP_START, *blocks, pack("<II", crc, size & 0xFFFF_FFFF)))


def deflate(text: bytes) -> bytes:
    """Blocks that others may follow."""
    zipper = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
    return zipper.compress(text) + zipper.flush(zlib.Z_FULL_FLUSH)


def zipped(start: bytes, text: bytes, deflated: bytes) -> Zipped:
    return Zipped(start, deflated, zlib.crc32(text, zlib.crc32(start)), len(start) + len(text))


def _stored(text: bytes, *, is_last: bool = False) -> bytes:
    return pack("<BHH", is_last, len(text), len(text) ^ 0xFFFF) + text


def reply(request: Request, body: bytes, etag: str) -> Response:
    headers = _headers(etag)
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if len(body) >= _SMALLEST_ZIPPED_BYTES and _takes_gzip(request):
        zipper = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS + 16)
        body = zipper.compress(body) + zipper.flush()
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type=_JSON)


def reply_zipped(request: Request, content: Zipped, end: bytes, etag: str) -> Response:
    headers = _headers(etag)
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if not _takes_gzip(request):
        return Response(content.start + content.unzipped() + end, headers=headers, media_type=_JSON)
    headers["Content-Encoding"] = "gzip"
    return Response(content.gzip(end), headers=headers, media_type=_JSON)


_JSON = "application/json; charset=UTF-8"


def _headers(etag: str) -> dict[str, str]:
    return {"ETag": etag, "Vary": "Accept-Encoding", "Cache-Control": "private"}


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")

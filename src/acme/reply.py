"""Replies of the Directory API: etag, 304 and gzip."""

import zlib
from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response

_SMALLEST_ZIPPED_BYTES = 512


def etag_of(*parts: bytes) -> str:
    mark = blake2b(digest_size=16)
    for part in parts:
        mark.update(part)
    return f'"{mark.hexdigest()}"'


def reply(request: Request, body: bytes, etag: str) -> Response:
    headers = {"ETag": etag, "Vary": "Accept-Encoding", "Cache-Control": "private"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    if len(body) >= _SMALLEST_ZIPPED_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        zipper = zlib.compressobj(1, wbits=31)
        body = zipper.compress(body) + zipper.flush()
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type="application/json; charset=UTF-8")

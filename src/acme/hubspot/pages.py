"""Pages of lists, ready to be sent again: what costs HubSpot's machines should not cost ours."""

import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

_MOST_BYTES = 64_000_000  # 200,000 deals with a dozen properties take 20
_LEVEL = 1
_SMALLEST_ZIPPED_BYTES = 512
_JSON = "application/json;charset=utf-8"


class Page(msgspec.Struct, frozen=True):
    zipped: bytes
    span: range
    """The numbers it was made from; whatever happens to one of them ends the page."""
    revision: int


class Pages:
    """Bounded; the page that was not used for longest goes first."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self.rewound()

    def rewound(self) -> None:
        self._bytes = 0
        self._pages: OrderedDict[Hashable, Page] = OrderedDict()

    def find(self, key: Hashable, is_untouched: Callable[[range, int], bool]) -> bytes | None:
        page = self._pages.get(key)
        if page is None:
            return None
        if not is_untouched(page.span, page.revision):
            self._drop(key)
            return None
        self._pages.move_to_end(key)
        return page.zipped

    def keep(self, key: Hashable, page: Page) -> None:
        self._drop(key)
        self._pages[key] = page
        self._bytes += len(page.zipped)
        while self._bytes > self._most_bytes:
            self._drop(next(iter(self._pages)))

    def _drop(self, key: Hashable) -> None:
        page = self._pages.pop(key, None)
        self._bytes -= 0 if page is None else len(page.zipped)


def zip_up(body: bytes) -> bytes:
    zipper = zlib.compressobj(_LEVEL, wbits=zlib.MAX_WBITS + 16)
    return zipper.compress(body) + zipper.flush()


def send_zipped(request: Request, zipped: bytes) -> Response:
    if takes_gzip(request):
        headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return Response(zipped, headers=headers, media_type=_JSON)
    return Response(zlib.decompress(zipped, wbits=zlib.MAX_WBITS + 16), media_type=_JSON)


def send(request: Request, content: object, status: int = 200) -> Response:
    body = msgspec.json.encode(content)
    if len(body) < _SMALLEST_ZIPPED_BYTES or not takes_gzip(request):
        return Response(body, status, media_type=_JSON)
    headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
    return Response(zip_up(body), status, headers, _JSON)


def takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")

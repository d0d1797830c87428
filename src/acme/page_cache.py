"""Pages of users.list, ready to be sent again: what costs Google's machines should not cost ours."""

from collections import OrderedDict
from collections.abc import Hashable

import msgspec

from acme.reply import Zipped
from acme.tenant import Change

MOST_BYTES = 160_000_000  # the whole listing of a million people takes 142 MB; with less, each page would be
# pushed out shortly before it is asked for again
_OVERHEAD_BYTES = 1_000


class KeptPage(msgspec.Struct, frozen=True):
    people: Zipped
    span: range
    """Anybody among these who changes may change the page."""
    following: int | None
    etag: str
    has_people: bool
    """Whether there are any, and they were asked for."""
    has_token: bool
    """Whether the next page's token was asked for."""


class PageCache:
    """Bounded; the page that was not used for longest goes first."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._pages: OrderedDict[Hashable, KeptPage] = OrderedDict()

    def find(self, key: Hashable) -> KeptPage | None:
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
        return page

    def keep(self, key: Hashable, page: KeptPage) -> None:
        self._drop(key)
        self._pages[key] = page
        self._bytes += _size(page)
        while self._bytes > self._most_bytes:
            self._drop(next(iter(self._pages)))

    def changed(self, change: Change) -> None:
        if change.after is not None:
            number = change.after.number
            for key in [key for key, page in self._pages.items() if number in page.span]:
                self._drop(key)
        elif change.event.kind == "day_ended":
            self.rewound()

    def rewound(self) -> None:
        self._pages.clear()
        self._bytes = 0

    def _drop(self, key: Hashable) -> None:
        page = self._pages.pop(key, None)
        self._bytes -= 0 if page is None else _size(page)


def _size(page: KeptPage) -> int:
    return len(page.people.deflated) + _OVERHEAD_BYTES

"""CSV that a spreadsheet opens as text: nothing in it runs as a formula."""

import csv
import io
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

Row = TypeVar("Row")

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class CsvResponse(StreamingResponse):
    """A download named `name`, written as `rows` come: UTF-8, with the mark that Excel looks for."""

    def __init__(
        self,
        name: str,
        header: Sequence[str],
        rows: AsyncGenerator[Row, None],
        cells: Callable[[Row], Sequence[object]],
    ) -> None:
        self._lines = _lines(header, rows, cells)
        super().__init__(
            self._lines,
            media_type="text/csv; charset=utf-8",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Whoever leaves in mid download would leave the rows' connection in its transaction.
        async with aclosing(self._lines):
            await super().__call__(scope, receive, send)


async def _lines(
    header: Sequence[str], rows: AsyncGenerator[Row, None], cells: Callable[[Row], Sequence[object]]
) -> AsyncGenerator[bytes, None]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(header)
    yield b"\xef\xbb\xbf"
    async with aclosing(rows):
        async for row in rows:
            writer.writerow([_cell(value) for value in cells(row)])
            if buffer.tell() > 32_768:
                yield _taken(buffer)
    yield _taken(buffer)


def _taken(buffer: io.StringIO) -> bytes:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text.encode()


def _cell(value: object) -> str:
    """OWASP's remedy: a cell that would begin a formula begins with an apostrophe instead."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text

"""Downloads that are broken off."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from muster.platform.csv import CsvResponse

SCOPE = {"type": "http", "asgi": {"spec_version": "2.4"}}


class Rows:
    """Rows without end that tell whether they were closed."""

    def __init__(self) -> None:
        self.closed = False

    async def read(self) -> AsyncGenerator[int, None]:
        try:
            number = 0
            while True:
                number += 1
                yield number
        finally:
            self.closed = True


def _cells(row: int) -> Sequence[object]:
    return [row, "x" * 100]


def _broken(row: int) -> Sequence[object]:
    raise ValueError(f"row {row} cannot be shown")


async def test_whoever_leaves_in_mid_download_closes_the_rows():
    rows, received = Rows(), list[Any]()

    async def send(message: Any) -> None:
        received.append(message)
        if len(received) > 3:
            raise OSError("the browser is gone")

    with pytest.raises(ClientDisconnect) as caught:
        await CsvResponse("n.csv", ["n", "x"], rows.read(), _cells)(SCOPE, _never, send)

    assert caught.traceback  # held on purpose: it keeps every frame, and so every generator, alive
    assert rows.closed


async def test_a_row_that_cannot_be_written_closes_the_rows():
    rows = Rows()

    async def send(_: Any) -> None:
        return

    with pytest.raises(ValueError, match="row 1") as caught:
        await CsvResponse("n.csv", ["n", "x"], rows.read(), _broken)(SCOPE, _never, send)

    assert caught.traceback
    assert rows.closed


async def _never() -> Any:
    return {"type": "http.request"}

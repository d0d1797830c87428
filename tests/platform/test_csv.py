"""Downloads that are broken off."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from starlette.requests import ClientDisconnect
from tests.town import Town, eventually

from muster.platform.csv import CsvResponse


class _Number(msgspec.Struct):
    n: int


def _cells(row: _Number) -> Sequence[object]:
    return [row.n, "x" * 100]


def _broken(row: _Number) -> Sequence[object]:
    raise ValueError(f"row {row.n} cannot be shown")


def _download(town: Town, cells: Any) -> CsvResponse:
    statement = "SELECT n FROM generate_series(1, 5000000) AS n"
    return CsvResponse("numbers.csv", ["n", "x"], town.portal.database.stream(_Number, statement), cells)


async def _everything_idle(town: Town) -> bool:
    return int(await town.value("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%%'")) == 0


async def test_whoever_leaves_in_mid_download_leaves_no_transaction_open(town: Town):
    received: list[Any] = []

    async def send(message: Any) -> None:
        received.append(message)
        if len(received) > 3:
            raise OSError("the browser is gone")

    with pytest.raises(ClientDisconnect) as caught:
        await _download(town, _cells)({"type": "http", "asgi": {"spec_version": "2.4"}}, _never, send)

    assert caught.traceback  # held on purpose: a traceback keeps every frame, and so every generator, alive
    assert await eventually(lambda: _everything_idle(town))


async def test_a_row_that_cannot_be_written_leaves_no_transaction_open(town: Town):
    async def send(_: Any) -> None:
        return

    with pytest.raises(ValueError, match="row 1") as caught:
        await _download(town, _broken)({"type": "http", "asgi": {"spec_version": "2.4"}}, _never, send)

    assert caught.traceback
    assert await eventually(lambda: _everything_idle(town))


async def _never() -> Any:
    return {"type": "http.request"}

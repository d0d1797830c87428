"""The proxy of the runbooks spoils what it says."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from tests.readiness.between import free_address
from tests.town import Town, eventually

from muster.readiness.checklist import ROWS
from muster.readiness.proofs import Judged, Proofs, Status
from muster.wiring import portal

PROXY = Path(__file__).parents[2] / "docs" / "runbooks" / "proxy.py"


@asynccontextmanager
async def proxy(town: Town, *options: str) -> AsyncIterator[str]:
    """The address of one that stands before the portal."""
    address = free_address()
    where = ("--port", address.rpartition(":")[2], "--to", town.portal.settings.public_url)
    process = await asyncio.create_subprocess_exec(sys.executable, str(PROXY), *where, *options)

    async def passes() -> bool:
        with suppress(httpx2.TransportError):
            return bool((await town.raw.get(f"{address}/livez")).status_code)
        return False

    try:
        await eventually(passes)
        yield address
    finally:
        process.terminate()
        await process.wait()


async def judged_at(address: str, town: Town, row_id: str) -> Judged:
    row = next(row for row in ROWS if row.id == row_id)
    settings = replace(town.portal.settings, public_url=address)
    async with portal(settings, application="muster-check") as made:
        return (await Proofs(town.portal.database, [made.proofs._probes[row_id]], [row]).prove()).rows[0]


@pytest.mark.parametrize("row_id", ["web.headers", "web.csrf", "web.limits", "signin.refuses"])
async def test_what_passes_unspoilt_is_proved(town: Town, row_id: str):
    async with proxy(town) as address:
        judged = await judged_at(address, town, row_id)

    assert judged.status is Status.PROVED, judged.proof


@pytest.mark.parametrize(
    ("options", "row_id", "sees"),
    [
        (["--strip", "x-frame-options"], "web.headers", "missing or changed: x-frame-options"),
        (["--again"], "web.headers", "two pages carried the same script nonce"),
        (["--status", "502"], "web.headers", "/sign-in answered 502"),
        (["--drop", "origin", "sec-fetch-site"], "web.csrf", "a request from another site was answered 303"),
        (["--status", "200"], "web.csrf", "a request without a token was answered 200"),
        (["--drop", "cookie"], "web.csrf", "a signed-in page answered 303"),
        (["--drop", "x-csrf-token"], "web.csrf", "a true form was answered 403"),
        (["--again"], "web.csrf", "a session that was ended still opens a page"),
        (["--strip", "ratelimit"], "web.limits", "without a RateLimit header"),
        (["--again"], "web.limits", "8 requests were not counted"),
        (["--let-in"], "signin.refuses", "that nobody began was answered 303 and not refused"),
        (["--no-challenge"], "signin.refuses", "a sign-in began without a code_challenge"),
    ],
)
async def test_each_way_of_spoiling_turns_its_row_red(town: Town, options: list[str], row_id: str, sees: str):
    async with proxy(town, *options) as address:
        judged = await judged_at(address, town, row_id)

    assert judged.status is Status.FAILED
    assert judged.proof
    assert sees in judged.proof.evidence

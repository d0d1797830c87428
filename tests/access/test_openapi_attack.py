"""The served API against its own OpenAPI document, by a tool that did not read our code."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from attack.openapi import Verdict, attack
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from tests.town import SESSION_COOKIE, Town, serving


@contextlib.asynccontextmanager
async def unlimited(town: Town) -> AsyncIterator[None]:
    """As if the tool came from many addresses: what a caller used up is forgotten again and again."""

    async def forget() -> None:
        while True:
            for key in [key for key in await town.keys() if key.startswith("cache:rate:")]:
                await town.portal.redis.delete(key)
            await asyncio.sleep(0.1)

    forgetting = asyncio.create_task(forget())
    try:
        yield
    finally:
        forgetting.cancel()


async def attacked(
    folder: Path, base_url: str, document: str, session_id: str = "", *, examples: int
) -> Verdict:
    return await attack(
        folder,
        base_url=base_url,
        document=document,
        cookie=SESSION_COOKIE,
        session_id=session_id,
        examples=examples,
        seed=1,
    )


async def test_the_api_does_what_its_document_says_whatever_it_is_asked(town: Town, tmp_path: Path):
    await town.portal.sync.run()
    await town.portal.groups.run()
    document = (await town.raw.get(f"{town.base_url}/openapi.json")).text

    async with town.signed_in("ada@acme.test") as ada, unlimited(town):
        verdict = await attacked(tmp_path, town.base_url, document, ada.session_id or "", examples=8)

    assert verdict.passed, verdict.report
    assert verdict.operations == len(re.findall(r'"operationId"', document))
    assert verdict.cases >= 25 * verdict.operations


async def test_the_tool_notices_an_api_that_breaks(tmp_path: Path):
    async def divide(request: Request) -> JSONResponse:
        return JSONResponse(100 // int(request.query_params["by"]))

    document = {
        "openapi": "3.1.0",
        "info": {"title": "broken", "version": "1"},
        "paths": {
            "/divide": {
                "get": {
                    "operationId": "divide",
                    "parameters": [
                        {"name": "by", "in": "query", "required": True, "schema": {"type": "integer"}}
                    ],
                    "responses": {"200": {"description": "As asked."}},
                }
            }
        },
    }
    async with serving(Starlette(routes=[Route("/divide", divide)]), 0) as address:
        verdict = await attacked(tmp_path, address, msgspec.json.encode(document).decode(), examples=8)

    assert not verdict.passed
    assert "Server error" in verdict.report

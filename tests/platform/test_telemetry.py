"""Log lines as Pino's tools read them, written by real processes."""

import json
import subprocess
import sys

SCRIPT = """
import logging
from muster.platform import telemetry
telemetry.configure({level!r}, name="muster-test", colours=False)
telemetry.bind(reqId="r1")
telemetry.logger.info("directory_synced", joined=3, note="two\\nlines\\x1b[31m")
logging.getLogger("a.library").warning("%s is odd", "this")
telemetry.logger.debug("quiet")
try:
    1 / 0
except ZeroDivisionError:
    telemetry.logger.exception("request_failed")
"""


def _lines(level: str = "info") -> list[dict[str, object]]:
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(level=level)], check=True, capture_output=True, text=True
    ).stdout
    return [json.loads(line) for line in said.splitlines()]


def test_every_line_is_json_with_pinos_fields():
    lines = _lines()

    assert [line["msg"] for line in lines] == ["directory_synced", "this is odd", "request_failed"]
    assert [line["level"] for line in lines] == [30, 40, 50]
    for line in lines:
        assert isinstance(line["time"], int)
        assert line["time"] > 1_600_000_000_000
        assert {"pid", "hostname", "name", "reqId"} <= line.keys()


def test_an_error_is_an_object_with_type_message_and_stack():
    error = _lines()[-1]["err"]

    assert isinstance(error, dict)
    assert error["type"] == "ZeroDivisionError"
    assert error["message"] == "division by zero"
    assert "Traceback" in error["stack"]


def test_control_characters_cannot_break_out_of_their_line():
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(level="info")], check=True, capture_output=True
    ).stdout

    assert b"\x1b" not in said
    assert len(said.splitlines()) == 3


def test_a_lower_level_shows_more():
    assert "quiet" in [line["msg"] for line in _lines("debug")]

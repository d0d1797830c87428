"""schemathesis over the OpenAPI document: whether answers are what it says, for what it says and for worse."""

import asyncio
import re
import sys
from pathlib import Path

import msgspec

DECLARED_COOKIE = "__Host-session"
"""What the document calls the session's cookie: its name over HTTPS."""

CONFIG = """\
[auth.openapi.session]
api_key = "{session_id}"

[checks.positive_data_acceptance]
# A cursor or a date is a string to the document, and may still be none that can be read.
expected-statuses = ["2xx", "401", "403", "404", "422", "429"]
"""

_TESTED = re.compile(r"Tested: (\d+)")
_CASES = re.compile(r"(\d+) generated")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`passed` is schemathesis's own word; `report` is what it printed."""

    passed: bool
    operations: int
    cases: int
    report: str


async def attack(
    folder: Path, *, base_url: str, document: str, cookie: str, session_id: str, examples: int, seed: int
) -> Verdict:
    """Every check there is, on every operation of `document`, signed in by `session_id`."""
    described, config = folder / "openapi.json", folder / "schemathesis.toml"
    described.write_text(document.replace(DECLARED_COOKIE, cookie), "utf-8")
    config.write_text(CONFIG.format(session_id=session_id), "utf-8")
    config.chmod(0o600)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", str(described), "--url", base_url, "--checks", "all", "--no-color"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(examples)),
        *("--seed", str(seed), "--continue-on-failure", "--generation-database", "none"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    report = printed.decode("utf-8", "replace")
    return Verdict(
        passed=process.returncode == 0,
        operations=_number(_TESTED, report),
        cases=_number(_CASES, report),
        report=report,
    )


def _number(pattern: re.Pattern[str], report: str) -> int:
    found = pattern.search(report)
    return int(found.group(1)) if found else 0

"""schemathesis over the OpenAPI document: whether answers are what it says, for good and for bad."""

import asyncio
import re
import sys

from attack.finding import AttackFailed, Outcome
from attack.ground import Ground

CONFIG = """\
[checks.positive_data_acceptance]
# A cursor or a date is a string to the document, and may still be none that can be read.
expected-statuses = ["2xx", "401", "403", "404", "422", "429"]
"""

_CASES = re.compile(r"(\d+) generated")
_FAILURE = re.compile(r"^- (.+)$", re.MULTILINE)


async def attack(ground: Ground, *, examples: int, seed: int) -> Outcome:
    """Every check there is, on every operation, signed in as ada."""
    folder = ground.folder / "schemathesis"
    folder.mkdir(exist_ok=True)
    described, config = folder / "openapi.json", folder / "schemathesis.toml"
    described.write_text(
        (await ground.page("/openapi.json")).text.replace("__Host-session", "muster_session")
    )
    config.write_text(CONFIG)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", str(described), "--url", ground.base_url, "--checks", "all", "--no-color"),
        *("--header", f"Cookie: muster_session={ground.sessions['ada']}"),
        *("--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(examples)),
        *("--seed", str(seed), "--continue-on-failure", "--generation-database", "none"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    report = printed.decode("utf-8", "replace")
    cases = _CASES.search(report)
    if cases is None:
        raise AttackFailed(f"schemathesis did not run: {report[-500:]}")
    findings = sorted(set(_FAILURE.findall(report)))
    if process.returncode and not findings:
        findings = [report[-500:]]
    return Outcome(
        attack="the API against its document",
        tried=int(cases.group(1)),
        detail=f"seed {seed}, {examples} examples for each operation",
        findings=findings if process.returncode else [],
    )

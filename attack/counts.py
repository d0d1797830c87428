"""The tests that try to get in, run and counted."""

import asyncio
import re
import sys

from attack.finding import Outcome

FILES = {
    "hostile sign-ins": "tests/access/test_hostile_sign_ins.py",
    "every route against everybody who may not": "tests/access/test_every_route.py",
}
_PASSED = re.compile(r"(\d+) passed")
_FAILED = re.compile(r"^FAILED (.*)$", re.MULTILINE)


async def attack(what: str) -> Outcome:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", FILES[what], "-q", "-p", "no:cacheprovider"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    text = printed.decode(errors="replace")
    passed = _PASSED.search(text)
    findings = _FAILED.findall(text)
    if process.returncode and not findings:
        findings = [text[-300:]]
    return Outcome(
        attack=what, tried=int(passed.group(1)) if passed else 0, detail=FILES[what], findings=findings
    )

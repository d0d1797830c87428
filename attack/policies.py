"""Google's csp_evaluator on the policies that answers carry."""

import asyncio
from pathlib import Path

import msgspec

from attack.finding import AttackFailed, Outcome
from attack.ground import Ground

PAGES = ("/", "/account", "/admin/audit", "/no/such/page", "/people.csv", "/static/app.css")
WEAK = "script-src 'unsafe-inline' https:; object-src *"
"""What it must object to, or it looks at nothing."""

HIGH = 10
"""Severity of csp_evaluator: https://github.com/google/csp-evaluator/blob/master/finding.ts."""

_SCRIPT = """
const { CspEvaluator } = require('csp_evaluator/dist/evaluator.js');
const { CspParser } = require('csp_evaluator/dist/parser.js');
const found = JSON.parse(process.argv[1]).map(
  (policy) => new CspEvaluator(new CspParser(policy).csp).evaluate()
    .map((one) => ({ severity: one.severity, directive: one.directive, description: one.description })));
console.log(JSON.stringify(found));
"""


class _Found(msgspec.Struct):
    severity: int
    directive: str
    description: str


async def attack(ground: Ground, *, node: Path) -> Outcome:
    answers = [await ground.page(path) for path in PAGES]
    policies = [answer.headers["content-security-policy"] for answer in answers]
    *found, of_weak = await _evaluated([*policies, WEAK], node)
    if not any(one.severity <= HIGH for one in of_weak):
        raise AttackFailed("csp_evaluator found nothing wrong with a policy that allows everything")
    return Outcome(
        attack="content security policies",
        tried=len(policies),
        detail=f"{len(of_weak)} objections to a weak policy, so it looks",
        findings=[
            f"{path}: {one.directive}: {one.description}"
            for path, of_page in zip(PAGES, found, strict=True)
            for one in of_page
            if one.severity <= HIGH
        ],
    )


async def _evaluated(policies: list[str], node: Path) -> list[list[_Found]]:
    process = await asyncio.create_subprocess_exec(
        *("node", "-e", _SCRIPT, msgspec.json.encode(policies).decode()),
        cwd=node,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaint = await process.communicate()
    if process.returncode:
        raise AttackFailed(f"csp_evaluator did not run: {complaint.decode(errors='replace')[:300]}")
    return msgspec.json.decode(printed, type=list[list[_Found]])

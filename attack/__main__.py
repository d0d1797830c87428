"""`./dev attack`: the longer attacks, on a portal of its own; prints what was tried and what was found."""

import argparse
import asyncio
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

from attack import counts, crawl, malformed, openapi, policies
from attack.finding import AttackFailed, Outcome
from attack.ground import Ground, attacked, prepared
from muster.settings import Settings

TOOLS = Path(".venv-attack").absolute()
WAPITI = TOOLS / "wapiti" / "bin" / "wapiti"
NODE = TOOLS / "node"

NAMES = ("malformed", "api", "policies", "crawl", "sign-ins", "routes")


def main() -> int:
    asked = argparse.ArgumentParser(prog="./dev attack", description=__doc__)
    asked.add_argument("--times", type=int, default=20_000, help="malformed requests (default %(default)s)")
    asked.add_argument("--examples", type=int, default=100, help="of schemathesis, for each operation")
    asked.add_argument("--seed", type=int, default=secrets.randbelow(2**32), help="to repeat a run")
    asked.add_argument(
        "--only", action="append", default=[], choices=NAMES, help="one attack; again for more"
    )
    options = asked.parse_args()
    try:
        with prepared() as (settings, values, folder):
            outcomes = asyncio.run(_attack(options, settings, values, folder))
    except AttackFailed as error:
        print(f"attack: {error}", file=sys.stderr)
        return 2
    found = sum(len(one.findings) for one in outcomes)
    print(f"\n{sum(one.tried for one in outcomes):,} tried, {found} found")
    return 1 if found else 0


async def _attack(
    options: argparse.Namespace, settings: Settings, values: Mapping[str, str], folder: Path
) -> list[Outcome]:
    outcomes = []
    async with attacked(settings, values, folder) as ground:
        for name in options.only or NAMES:
            for outcome in await _one(name, ground, options):
                _say(outcome)
                outcomes.append(outcome)
    return outcomes


async def _one(name: str, ground: Ground, options: argparse.Namespace) -> list[Outcome]:
    match name:
        case "malformed":
            return [await malformed.attack(ground, times=options.times, seed=options.seed)]
        case "api":
            return [await openapi.attack(ground, examples=options.examples, seed=options.seed)]
        case "policies":
            return [await policies.attack(ground, node=NODE)]
        case "crawl":
            print(f"wapiti: {await crawl.rehearse(WAPITI)}")
            return [await crawl.attack(ground, wapiti=WAPITI, who=who) for who in ("cy", "ada")]
        case "sign-ins":
            return [await counts.attack("hostile sign-ins")]
        case _:
            return [await counts.attack("every route against everybody who may not")]


def _say(outcome: Outcome) -> None:
    verdict = f"{len(outcome.findings)} FOUND" if outcome.findings else "nothing found"
    print(f"{outcome.attack}: {outcome.tried:,} tried, {verdict} ({outcome.detail})", flush=True)
    for finding in outcome.findings:
        print(f"  ! {finding}")


if __name__ == "__main__":
    sys.exit(main())

"""wapiti, which follows every link as somebody signed in and tries its tricks on every field."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send
from tests.readiness.between import free_address
from tests.town import serving

from attack.finding import AttackFailed, Outcome
from attack.ground import Ground

MODULES = "cookieflags,crlf,csrf,exec,file,http_headers,permanentxss,redirect,sql,xss"
NOT_OURS = frozenset({"Secure Flag cookie", "HTTP Strict Transport Security (HSTS)", "Unencrypted Channels"})
"""What only https has; this portal is on loopback."""

SCAN_SECONDS, ATTACK_SECONDS = 30, 12
"""Of the crawl, and of each module."""


async def attack(ground: Ground, *, wapiti: Path, who: str) -> Outcome:
    # Without /sign-out, which would end the session that crawls.
    found, crawled = await _scanned(
        wapiti,
        f"{ground.base_url}/",
        "--header",
        f"Cookie: muster_session={ground.sessions[who]}",
        "--exclude",
        f"{ground.base_url}/sign-out",
        "--exclude",
        f"{ground.base_url}/account/sessions/ended",
    )
    return Outcome(
        attack=f"wapiti as {who}", tried=crawled, detail=f"{crawled} requests crawled", findings=found
    )


async def rehearse(wapiti: Path) -> str:
    """Have wapiti find what was planted for it. Raises AttackFailed if it does not."""
    address = free_address()
    async with serving(_vulnerable, int(address.rpartition(":")[2])):
        found, _ = await _scanned(wapiti, f"{address}/", modules="xss")
    if not any("Cross Site Scripting" in one for one in found):
        raise AttackFailed(f"wapiti did not find the hole that was planted for it: {found}")
    return "a planted hole was found"


async def _vulnerable(scope: Scope, receive: Receive, send: Send) -> None:
    said = Request(scope).query_params.get("q", "")
    page = f'<form action="/"><input name="q"><button>Go</button></form><p>{said}</p>'
    answer: Response = HTMLResponse(page)
    await answer(scope, receive, send)


async def _scanned(wapiti: Path, url: str, *options: str, modules: str = MODULES) -> tuple[list[str], int]:
    """What was found, and how many requests the crawl saw."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        process = await asyncio.create_subprocess_exec(
            *(str(wapiti), "--url", url, "--scope", "domain", "--module", modules, "--flush-session"),
            *("--format", "json", "--output", str(report), "--level", "1", "--store-session", folder),
            *("--max-scan-time", str(SCAN_SECONDS), "--max-attack-time", str(ATTACK_SECONDS)),
            *("--no-bugreport", "--verbose", "0", "--timeout", "10", *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            stdin=asyncio.subprocess.DEVNULL,
        )
        printed, _ = await process.communicate()
        if not report.exists():
            raise AttackFailed(f"wapiti left no report: {printed.decode(errors='replace')[-500:]}")
        told: dict[str, Any] = msgspec.json.decode(report.read_bytes())
    listed = {**told["vulnerabilities"], **told["anomalies"]}
    found = [
        f"{kind}: {one['method']} {one['path']} {one['info']}"[:300]
        for kind, several in listed.items()
        if kind not in NOT_OURS
        for one in several
    ]
    return found, int(told["infos"].get("crawled_pages_nbr", 0))

"""Customers of a large account: a sync killed in mid listing, and more of one moment than search shows."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from tests.entries.command_line import CommandLine
from tests.town import Town, eventually

DEALS = 24_000
"""From so many on 12,000 were last changed in one moment, nine days ago."""

CUSTOMERS = DEALS * 3
OF_ONE_MOMENT = 12_000


@pytest.fixture
def large_account(own_folder: Path) -> Iterator[dict[str, str]]:
    """Where a sandbox company with many deals is, as the settings name it."""
    home = own_folder / "acme"
    command = [sys.executable, "-m", "acme", "--port", "0", "--home", str(home), "--deals", str(DEALS)]
    sandbox = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert sandbox.stdout is not None
    try:
        assert sandbox.stdout.readline().startswith("Acme is open")
        acme = json.loads((home / "acme.json").read_text())
        limits = {"burst": 100_000, "search": None, "daily": 650_000}
        httpx2.post(f"{acme['issuer']}/sandbox/hubspot/limits", json=limits).raise_for_status()
        yield {"HUBSPOT_URL": acme["hubspot_url"], "HUBSPOT_TOKEN": acme["hubspot_token"]}
    finally:
        sandbox.terminate()
        sandbox.wait(10)
        sandbox.stdout.close()


@pytest.mark.timeout(300)
async def test_a_sync_killed_in_mid_listing_is_followed_by_one_that_ends_it(
    town: Town, muster: CommandLine, large_account: dict[str, str]
) -> None:
    command = replace(muster, settings={**muster.settings, **large_account})
    doomed = command.start("sync", "crm")
    try:
        await eventually(lambda: town.value("SELECT seen > 20000 FROM crm_syncs"), within=90)
    finally:
        doomed.send_signal(signal.SIGKILL)
        doomed.wait()
    first = await town.value("SELECT to_jsonb(crm_syncs) FROM crm_syncs")
    assert first["status"] == "running"
    # What the 45 seconds of silence would bring about.
    await town.execute("UPDATE crm_syncs SET beat_at = now() - interval '1 minute'")

    follower = command.start("sync", "crm")
    most_bytes = 0

    async def is_over() -> bool:
        nonlocal most_bytes
        most_bytes = max(most_bytes, resident_bytes(follower.pid))
        return follower.poll() is not None

    await eventually(is_over, within=150)

    assert follower.returncode == 0, command.output
    resumed = await town.value("SELECT to_jsonb(crm_syncs) FROM crm_syncs WHERE resumed = %s", first["id"])
    assert (resumed["status"], resumed["seen"]) == ("finished", CUSTOMERS)
    assert (resumed["missed"], resumed["archived"]) == (0, 0)
    assert await town.value("SELECT count(*) FROM crm_records WHERE archived_at IS NULL") == CUSTOMERS
    assert "went on with run" in command.output
    assert most_bytes < 200e6

    await search_from(town, datetime.now(UTC).replace(hour=0, minute=0, second=0) - timedelta(days=9))
    await town.execute(
        "DELETE FROM crm_records WHERE kind = 'deals' AND modified_at < now() - interval '8 days'"
    )
    again = command("sync", "crm")

    assert again.returncode == 0, again.stderr
    assert "what changed since the last run was read" in again.stdout
    run = await town.value("SELECT to_jsonb(crm_syncs) FROM crm_syncs ORDER BY id DESC LIMIT 1")
    assert run["created"] >= OF_ONE_MOMENT
    assert run["drift"] == 0


async def search_from(town: Town, moment: datetime) -> None:
    """As if no run had ended since then."""
    await town.execute("UPDATE crm_cursors SET known_until = %s WHERE kind = 'deals'", moment)


def resident_bytes(pid: int) -> int:
    """0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line.split() for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0][1]) * 1024 if found else 0

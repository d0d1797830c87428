"""A sync of 100,000 people whose worker is killed in the middle: another goes on, and nobody is missing."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.entries.command_line import CommandLine
from tests.town import Town, eventually

PEOPLE = 100_000


@pytest.fixture
def large_company(own_folder: Path) -> Iterator[dict[str, str]]:
    """Where a sandbox company of 100,000 is, as the settings name it."""
    home = own_folder / "acme"
    sandbox = subprocess.Popen(
        [sys.executable, "-m", "acme", "--port", "0", "--people", str(PEOPLE), "--home", str(home)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sandbox.stdout is not None
    try:
        assert sandbox.stdout.readline().startswith("Acme is open")
        acme = json.loads((home / "acme.json").read_text())
        yield {
            "GOOGLE_ISSUER": acme["issuer"],
            "GOOGLE_DIRECTORY_URL": acme["directory_url"],
            "GOOGLE_CLIENT_ID": acme["client_id"],
            "GOOGLE_CLIENT_SECRET": acme["client_secret"],
            "GOOGLE_SERVICE_ACCOUNT": acme["service_account"],
            "GOOGLE_ADMIN_EMAIL": acme["admin_email"],
        }
    finally:
        sandbox.terminate()
        sandbox.wait(10)
        sandbox.stdout.close()


@pytest.mark.timeout(240)
async def test_a_worker_killed_in_mid_listing_is_followed_by_one_that_ends_it(
    town: Town, muster: CommandLine, large_company: dict[str, str]
) -> None:
    command = replace(muster, settings={**muster.settings, **large_company})
    doomed = command.start("worker", "--queues", "people")
    try:
        await eventually(
            lambda: town.value("SELECT seen > 50000 FROM people_syncs WHERE kind = 'people'"), within=60
        )
    finally:
        doomed.send_signal(signal.SIGKILL)
        doomed.wait()
    assert await town.value("SELECT status FROM people_syncs WHERE kind = 'people'") == "running"
    written = await town.value("SELECT count(*) FROM people")
    assert 0 < written < PEOPLE
    # What the 45 seconds of silence would bring about.
    await town.execute("UPDATE people_syncs SET beat_at = now() - interval '1 minute'")

    follower = command.start("worker", "--queues", "people")
    try:
        await eventually(
            lambda: town.value(
                "SELECT true FROM people_syncs WHERE resumed IS NOT NULL AND status = 'finished'"
            ),
            within=120,
        )
    finally:
        follower.send_signal(signal.SIGKILL)
        follower.wait()

    resumed, first = await town.value(
        """
        SELECT jsonb_build_array(to_jsonb(second), to_jsonb(first)) FROM people_syncs AS second
        JOIN people_syncs AS first ON first.id = second.resumed
        """
    )
    assert first["reason"] == "its worker was lost"
    assert (resumed["seen"], resumed["missed"], resumed["removed"]) == (PEOPLE, 0, 0)
    # Half of the pages, and perhaps a census of all of them; both from the start would be twice as many.
    assert resumed["calls"] < 1.25 * PEOPLE / 500, "it went on, and did not begin anew"
    assert await town.value("SELECT count(*) FROM people WHERE removed_at IS NULL") == PEOPLE

"""The sandbox as a process: starting, stopping, starting again."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx2
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.acme.conftest import Sandbox

    Start = Callable[..., AbstractContextManager[Sandbox]]


def test_it_says_that_it_is_ready(acme: Sandbox) -> None:
    assert acme.http.get("/sandbox/ready").json()["people"] == 500


def test_what_it_writes_is_for_its_owner_only(acme: Sandbox) -> None:
    modes = {file.name: file.stat().st_mode & 0o777 for file in (acme.home, *acme.home.iterdir())}

    assert modes == {"home": 0o700, "acme.json": 0o600, "secrets.json": 0o600, "service-account.json": 0o600}


def test_the_settings_are_complete(acme: Sandbox) -> None:
    issuer = acme.settings["issuer"]

    assert set(acme.settings) == {
        *("issuer", "client_id", "client_secret", "directory_url"),
        *("service_account", "admin_email", "customer", "domain"),
        *("hubspot_url", "hubspot_token", "hubspot_webhook_secret"),
        *("alerts_url", "heartbeat_url", "sentry_dsn"),
    }
    assert acme.settings["directory_url"] == issuer
    assert acme.service_account["token_uri"] == f"{issuer}/token"
    assert acme.service_account["type"] == "service_account"


def test_sigterm_ends_it_within_a_second(start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "--people", "20") as acme:
        acme.http.get("/sandbox/ready")  # leaves a connection open
        began = time.monotonic()
        acme.process.terminate()

        assert acme.process.wait(5) == 0
        assert time.monotonic() - began < 1


def test_a_restart_changes_nothing(start: Start, tmp_path: Path) -> None:
    with start(tmp_path) as acme:
        people, keys = acme.every("users", "/users", projection="full"), acme.keys().keys()
        secrets = (acme.settings["client_secret"], acme.service_account["private_key"])
        page = acme.get("/users").json()

    with start(tmp_path) as again:
        photos_moved = [
            person | {"thumbnailPhotoUrl": ""} for person in again.every("users", "/users", projection="full")
        ]
        assert photos_moved == [person | {"thumbnailPhotoUrl": ""} for person in people]
        assert again.keys().keys() == keys
        assert (again.settings["client_secret"], again.service_account["private_key"]) == secrets
        assert (
            again.get("/users", pageToken=page["nextPageToken"]).json()["users"][0]["id"] == people[100]["id"]
        )


def test_a_taken_port_is_one_clear_line(acme: Sandbox, tmp_path: Path) -> None:
    port = acme.settings["issuer"].rpartition(":")[2]
    command = [sys.executable, "-m", "acme", "--port", port, "--home", str(tmp_path)]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)

    assert ended.returncode == 1
    assert ended.stderr == f"acme: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize("people", ["2", "1000001", "many"])
def test_a_size_out_of_bounds_is_refused(people: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "acme", "--people", people, "--home", str(tmp_path)]

    assert subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 2


def test_the_directory_can_be_as_far_away_as_googles(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def took(acme: Sandbox, path: str) -> float:
        began = time.monotonic()
        acme.http.get(path)
        return time.monotonic() - began

    with start(tmp_path / "option", "--latency", "300") as acme:
        assert took(acme, "/admin/directory/v1/users") >= 0.3
        assert took(acme, "/sandbox/ready") < 0.3
    monkeypatch.setenv("ACME_LATENCY_MS", "400")
    with start(tmp_path / "environment") as acme:
        assert took(acme, "/admin/directory/v1/users") >= 0.4


@pytest.mark.parametrize("latency", ["-1", "soon"])
def test_a_latency_that_makes_no_sense_is_refused(latency: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "acme", "--latency", latency, "--home", str(tmp_path)]

    assert subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 2


def test_a_million_people_need_no_longer_to_start_and_are_found_at_once(start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "--people", "1000000") as acme:
        began = time.monotonic()
        first = acme.get("/users", maxResults=500).json()
        someone = first["users"][-1]

        assert acme.get(f"/users/{someone['primaryEmail']}").json()["id"] == someone["id"]
        assert time.monotonic() - began < 2


def test_the_first_listing_by_prefix_holds_nobody_up(start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "--people", "1000000") as acme:
        acme.token()
        began = time.monotonic()
        page = acme.get("/users", query="email:m*", maxResults=1).json()

        assert page["users"][0]["primaryEmail"].startswith("m")
        assert time.monotonic() - began < 2


def test_a_walk_through_everybody_holds_up_nobody_else(start: Start, tmp_path: Path) -> None:
    with start(tmp_path, "--people", "200000") as acme, ThreadPoolExecutor() as threads:
        token = acme.token()
        walk = threads.submit(acme.get, "/users", token=token, query="isSuspended=true", maxResults=1)
        waits = []
        with httpx2.Client(base_url=acme.settings["issuer"]) as other:
            while not walk.done():
                began = time.monotonic()
                other.get("/sandbox/ready")
                waits.append(time.monotonic() - began)

        assert walk.result().status_code == 200
        assert len(waits) > 5
        assert max(waits) < 0.5

"""The set-up examined: every cause told apart, with what to do, and never a key or a token."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from tests.town import Town, eventually

from muster.errors import VendorRefused
from muster.people.google_api import GROUPS, MEMBERS, ORG_UNITS, SCOPES, USERS
from muster.people.remedies import Named, ailment
from muster.platform.step import Standing, Step
from muster.settings import Secret, Settings
from muster.wiring import portal

OK, FAILED, NOT_REACHED = Standing.OK, Standing.FAILED, Standing.NOT_REACHED
SOON = timedelta(seconds=1.5)
PEM = "-----BEGIN PRIVATE KEY-----"
USERS_PATH, GROUPS_PATH = "/admin/directory/v1/users", "/admin/directory/v1/groups"
SCOPE_STEPS = ("google.scope.users", "google.scope.groups", "google.scope.members", "google.scope.org_units")


@pytest.fixture(autouse=True)
def _fresh(town: Town) -> None:
    """Of every test, the sandbox as on its first day: no fault of another test's is left."""


async def examined(
    settings: Settings, problems: Mapping[str, str] | None = None, **how: Any
) -> dict[str, Step]:
    """Step id → the step, of an examination of `settings`; what it says holds no secret."""
    async with portal(settings, application="muster-test") as made:
        steps = [step async for step in made.google_doctor.examine(problems, **how)]
    for step in steps:
        assert step.detail
        assert bool(step.remedy) >= (step.status is FAILED), f"{step.id} says nothing of what to do"
        assert not any(secret in step.detail + step.remedy for secret in (PEM, "ya29.", "eyJ")), step
    return {step.id: step for step in steps}


def key_of(settings: Settings, **changed: str) -> Secret:
    assert settings.google_service_account
    return Secret(json.dumps({**json.loads(settings.google_service_account.reveal()), **changed}))


def failed(steps: dict[str, Step]) -> list[str]:
    return [step.id for step in steps.values() if step.status is FAILED]


async def test_all_is_well_with_the_sandbox(town: Town):
    steps = await examined(town.portal.settings)

    assert failed(steps) == []
    assert {step.id for step in steps.values() if step.status is NOT_REACHED} == {"google.push_channels"}
    assert "start `muster worker`" in steps["google.push_channels"].remedy.casefold()
    assert "500 read" in steps["google.users"].detail
    assert steps["signin.redirect"].detail.startswith(
        f"{town.portal.settings.public_url}/sign-in/google/callback"
    )


async def test_live_channels_are_seen(town: Town):
    await town.portal.push.keep_open()
    await eventually(town.portal.push.live_since)

    steps = await examined(town.portal.settings)

    assert {step.status for step in steps.values()} == {OK}


async def test_channels_that_google_cannot_reach_are_told(town: Town):
    await town.portal.push.keep_open()
    await town.execute("UPDATE push_channels SET confirmed_at = NULL, opened_at = now() - interval '1 hour'")

    steps = await examined(town.portal.settings)

    assert failed(steps) == ["google.push_channels"]
    assert "/hooks/google" in steps["google.push_channels"].remedy


# The key


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        ("not json", "it is no JSON"),
        ("[1]", "it is not shaped as a key is"),
        ('{"web": {"client_id": "1"}}', "the file of an OAuth client"),
        ('{"installed": {"client_id": "1"}}', "the file of an OAuth client"),
        ('{"type": "authorized_user", "client_id": "1"}', "it is a file of type 'authorized_user'"),
        ('{"type": "service_account", "client_email": "a@b.c"}', "it lacks private_key, token_uri"),
    ],
)
async def test_what_is_no_key_is_told_apart(settings: Settings, text: str, told: str):
    steps = await examined(replace(settings, google_service_account=Secret(text)))

    assert "google.key" in failed(steps)
    assert told in steps["google.key"].detail
    assert "Create new key → JSON" in steps["google.key"].remedy
    assert steps["google.token_endpoint"].status is NOT_REACHED
    assert steps["signin.client"].status is OK


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda pem: pem.replace("\n", "\\n"), "line breaks stand as \\n"),
        (lambda pem: pem[: len(pem) // 2], "it was cut or changed"),
    ],
)
async def test_a_broken_private_key_is_told(settings: Settings, spoil: Callable[[str], str], told: str):
    assert settings.google_service_account
    pem = spoil(json.loads(settings.google_service_account.reveal())["private_key"])

    steps = await examined(replace(settings, google_service_account=key_of(settings, private_key=pem)))

    assert told in steps["google.key"].detail


async def test_a_key_with_a_strange_token_endpoint_is_told(settings: Settings):
    strange = key_of(settings, token_uri="https://evil.test/token")

    steps = await examined(replace(settings, google_service_account=strange))

    assert "token_uri is not one of Google's" in steps["google.token_endpoint"].detail


async def test_missing_settings_are_all_named(settings: Settings):
    bare = replace(settings, google_service_account=None, google_admin_email="")

    steps = await examined(bare, {"ALLOWED_DOMAINS": "ALLOWED_DOMAINS is not set; expected domains"})

    assert steps["settings"].detail == (
        "missing or wrong: ALLOWED_DOMAINS, GOOGLE_SERVICE_ACCOUNT, GOOGLE_ADMIN_EMAIL"
    )
    assert steps["google.key"].detail == "first GOOGLE_SERVICE_ACCOUNT must be set right"
    assert steps["signin.client"].status is OK


# The way there


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """One that answers as it likes; its address."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader, writer)
        writer.close()

    running = await asyncio.start_server(answered, "127.0.0.1", 0, ssl=tls)
    try:
        scheme = "https" if tls else "http"
        yield f"{scheme}://127.0.0.1:{running.sockets[0].getsockname()[1]}"
    finally:
        running.close()


async def _html(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    body = b"<html>Sign in to the guest network</html>"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % len(body)
    writer.write(head + body)
    await writer.drain()


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


def at(settings: Settings, address: str) -> Settings:
    """With Google's token endpoint and its Directory API at `address`."""
    return replace(
        settings,
        google_directory_url=address,
        google_service_account=key_of(settings, token_uri=f"{address}/token"),
    )


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://nowhere.invalid", "the name nowhere.invalid cannot be looked up"),
        ("http://127.0.0.1:1", "127.0.0.1 refuses the connection"),
    ],
)
async def test_no_way_to_google_is_told_apart(settings: Settings, address: str, told: str):
    steps = await examined(at(settings, address))

    assert failed(steps) == ["google.token_endpoint", "google.api"]
    assert told in steps["google.token_endpoint"].detail
    assert told in steps["google.api"].detail
    assert steps["google.users"].status is NOT_REACHED


async def test_what_does_not_speak_tls_is_told(settings: Settings):
    plain = settings.google_directory_url.replace("http:", "https:")

    steps = await examined(at(settings, plain))

    assert "does not speak TLS" in steps["google.token_endpoint"].detail


async def test_a_certificate_that_is_not_trusted_is_told(settings: Settings, tmp_path: Path):
    async with server(_html, _self_signed(tmp_path)) as address:
        steps = await examined(at(settings, address))

    assert "a certificate that is not trusted" in steps["google.token_endpoint"].detail
    assert "its own certificate" in steps["google.token_endpoint"].remedy


async def test_a_proxy_that_answers_in_googles_place_is_told(settings: Settings):
    async with server(_html) as address:
        steps = await examined(at(settings, address))

    assert "not worded as Google words its answers (200 from" in steps["google.token_endpoint"].detail
    assert "A proxy or a firewall" in steps["google.token_endpoint"].remedy


async def test_a_frozen_google_holds_up_nobody(settings: Settings):
    began = time.monotonic()
    async with server(_silent) as address:
        frozen = replace(at(settings, address), google_issuer=address)
        steps = await examined(frozen, step_deadline=timedelta(seconds=0.3))

    assert time.monotonic() - began < 10
    assert failed(steps) == ["google.token_endpoint", "google.api", "signin.discovery"]
    assert all("does not answer in time" in steps[name].detail for name in failed(steps))


async def test_a_google_that_is_too_slow_for_the_whole_is_no_good_news(settings: Settings):
    steps = await examined(settings, deadline=timedelta(0))

    assert "google.api" in failed(steps)
    assert "the time for all steps together is up" in steps["google.api"].detail


@pytest.mark.parametrize(("minutes", "told"), [(-7, "s slow"), (9, "s fast")])
async def test_a_clock_that_is_wrong_is_told(town: Town, minutes: int, told: str):
    steps = await examined(town.portal.settings, now=lambda: datetime.now(UTC) + timedelta(minutes=minutes))

    assert failed(steps) == ["google.clock"]
    assert told in steps["google.clock"].detail


# Tokens


async def test_scopes_that_are_not_delegated_are_told_all_at_once(town: Town):
    # The first call is the question whether the endpoint is there at all.
    await town.sandbox.fault("unauthorized_client", path="/token", page=3, times=2)

    steps = await examined(town.portal.settings)

    assert failed(steps) == ["google.scope.groups", "google.scope.members"]
    assert steps["google.scope.groups"].remedy == steps["google.scope.members"].remedy
    lines = steps["google.scope.groups"].remedy.splitlines()
    assert f"{GROUPS},{MEMBERS}" in lines
    assert "112358132134558914423" in lines
    assert "admin.google.com" in lines[0]
    assert (steps["google.users"].status, steps["google.org_units"].status) == (OK, OK)
    assert steps["google.members"].status is NOT_REACHED


async def test_without_any_delegation_all_scopes_stand_ready_to_paste(town: Town):
    nobody = replace(town.portal.settings, google_admin_email="ben@acme.test")

    steps = await examined(nobody)

    assert failed(steps) == [*SCOPE_STEPS]
    assert ",".join(SCOPES) in steps["google.scope.users"].remedy.splitlines()
    assert "Add new. Client ID:" in steps["google.scope.users"].remedy


async def test_a_deleted_key_is_told(settings: Settings):
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = other.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()

    steps = await examined(
        replace(settings, google_service_account=key_of(settings, private_key=pem, private_key_id="abc123"))
    )

    assert failed(steps) == [*SCOPE_STEPS]
    assert "the key: it was deleted or disabled" in steps["google.scope.users"].detail
    assert "abc123" in steps["google.scope.users"].remedy


async def test_a_service_account_that_is_gone_is_told(settings: Settings):
    gone = key_of(settings, client_email="gone@acme-portal.iam.gserviceaccount.com")

    steps = await examined(replace(settings, google_service_account=gone))

    assert "knows no service account gone@acme-portal" in steps["google.scope.users"].detail


async def test_an_administrator_nobody_knows_is_told(settings: Settings):
    steps = await examined(replace(settings, google_admin_email="nobody@acme.test"))

    assert failed(steps) == [*SCOPE_STEPS]
    assert "GOOGLE_ADMIN_EMAIL (nobody@acme.test)" in steps["google.scope.users"].detail


async def test_a_suspended_administrator_is_told(town: Town):
    await town.sandbox.change("ada@acme.test", suspended=True)

    steps = await examined(town.portal.settings)

    assert "GOOGLE_ADMIN_EMAIL (ada@acme.test) is nobody who may sign in" in (
        steps["google.scope.users"].detail
    )


async def test_a_passing_failure_of_the_token_endpoint_is_asked_again(town: Town):
    await town.sandbox.fault("503", path="/token", page=2, times=1)

    assert failed(await examined(town.portal.settings)) == []


# The directory


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("domainCannotUseApis", "API controls"),
        (
            "accessNotConfigured",
            "https://console.cloud.google.com/apis/library/admin.googleapis.com?project=104729",
        ),
        ("forbidden", "Account → Admin roles"),
        ("insufficientPermissions", USERS),
        ("notFound", "run `muster doctor` again"),
    ],
)
async def test_what_google_refuses_is_told_with_the_way_to_mend_it(town: Town, kind: str, remedy: str):
    await town.sandbox.fault(kind, times=50)

    steps = await examined(town.portal.settings)

    assert failed(steps) == ["google.users"]
    assert steps["google.person"].status is NOT_REACHED
    assert remedy in steps["google.users"].remedy


def test_the_link_that_google_gives_is_passed_on():
    link = "https://console.developers.google.com/apis/api/admin.googleapis.com/overview?project=104729"
    said = f"403 accessNotConfigured: It is disabled. Enable it by visiting {link}, then retry."

    found = ailment(VendorRefused("Google", said, reason="accessNotConfigured"), Named(), scope=USERS)

    assert f"Open {link} and press Enable." in found.remedy


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("html", "not worded as Google words its answers"),
        ("text", "not worded as Google words its answers"),
        ("quotaExceeded", "asked too often"),
        ("backendError", "Google answers backendError"),
        ("slow", "does not answer in time"),
    ],
)
async def test_what_does_not_pass_is_told_when_the_time_is_up(town: Town, kind: str, told: str):
    await town.sandbox.fault(kind, times=50, seconds=SOON.total_seconds() * 2)

    steps = await examined(town.portal.settings, step_deadline=SOON)

    assert failed(steps) == ["google.users"]
    assert told in steps["google.users"].detail


async def test_the_wrong_customer_is_told(town: Town):
    steps = await examined(replace(town.portal.settings, google_customer="C0other"))

    assert failed(steps) == ["google.users", "google.groups", "google.org_units"]
    assert "Google knows no customer C0other" in steps["google.users"].detail
    assert "Account settings → Profile → Customer ID" in steps["google.users"].remedy


@pytest.mark.parametrize("kind", ["missing-users-key", "empty-users"])
async def test_a_listing_of_nobody_is_told(town: Town, kind: str):
    await town.sandbox.fault(kind)

    steps = await examined(town.portal.settings)

    assert failed(steps) == ["google.users"]
    assert "lists nobody" in steps["google.users"].detail


@pytest.mark.parametrize(
    ("path", "step"),
    [
        (f"{USERS_PATH}/*", "google.person"),
        (GROUPS_PATH, "google.groups"),
        (f"{GROUPS_PATH}/*/members", "google.members"),
        ("/admin/directory/v1/customer/*/orgunits", "google.org_units"),
    ],
)
async def test_a_part_that_may_not_be_read_is_told_alone(town: Town, path: str, step: str):
    await town.sandbox.fault("forbidden", path=path, times=50)

    steps = await examined(town.portal.settings)

    assert failed(steps) == [step]
    assert "ada@acme.test) may not read this" in steps[step].detail


async def test_a_scope_that_a_token_lacks_after_all_is_the_one_to_paste(town: Town):
    await town.sandbox.fault(
        "insufficientPermissions", path="/admin/directory/v1/customer/*/orgunits", times=50
    )

    steps = await examined(town.portal.settings)

    assert ORG_UNITS in steps["google.org_units"].remedy.splitlines()


# Signing in, and the servers of our own


@pytest.mark.parametrize("wrong", ["google_client_id", "google_client_secret"])
async def test_a_client_that_google_does_not_know_is_told(settings: Settings, wrong: str):
    value: Any = Secret("wrong") if wrong.endswith("secret") else "wrong"

    steps = await examined(replace(settings, **{wrong: value}))

    assert failed(steps) == ["signin.client"]
    assert "APIs & Services → Credentials" in steps["signin.client"].remedy
    assert ("A client id ends with" in steps["signin.client"].remedy) == (wrong == "google_client_id")


async def test_an_address_that_google_takes_no_sign_in_to_is_told(settings: Settings):
    steps = await examined(replace(settings, public_url="http://portal.acme.test"))

    assert failed(steps) == ["signin.redirect"]


async def test_discovery_that_is_not_googles_is_told(town: Town):
    await town.sandbox.fault("html", path="/.well-known/openid-configuration")

    steps = await examined(town.portal.settings)

    assert failed(steps) == ["signin.discovery"]
    assert steps["signin.keys"].status is NOT_REACHED


async def test_without_postgresql_and_redis_everything_of_googles_is_examined(settings: Settings):
    away = replace(
        settings,
        database_url=Secret("postgresql://127.0.0.1:1/none"),
        redis_url=Secret("redis://127.0.0.1:1"),
    )

    steps = await examined(away)

    assert failed(steps) == []
    assert {step.id for step in steps.values() if step.status is NOT_REACHED} == {"google.push_channels"}


async def test_an_address_that_google_cannot_reach_is_no_failure(settings: Settings):
    """Of the real Google; nothing of it is reached from here."""
    local = replace(
        settings,
        google_issuer="https://nowhere.invalid",
        public_url="http://localhost:8000",
    )

    steps = await examined(local)

    assert steps["google.push_address"].status is NOT_REACHED
    assert "public https addresses only" in steps["google.push_address"].detail


def _self_signed(folder: Path) -> ssl.SSLContext:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    both = folder / "both.pem"
    both.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context

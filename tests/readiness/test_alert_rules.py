"""Rules on figures: each holds when all is well, and fails on what it is there for."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.readiness.away import nobody
from tests.town import Town

from muster.platform import outbound
from muster.platform.probe import Failed, NotApplicable, NotTried
from muster.readiness.alert_rules import FEWEST_FAULTS, REFUSED_SIGN_INS, RULES, TRIED_BY_PROBE, Rules
from muster.settings import Settings
from muster.wiring import portal


@pytest.fixture
def rules(town: Town) -> Rules:
    made, settings = town.portal, town.portal.settings
    return Rules(made.database, made.queues, made.http, home=settings.home, public_url=settings.public_url)


async def answered(town: Town, *, requests: int, faults: int = 0, refused: int = 0) -> None:
    await town.execute(
        "INSERT INTO web_minutes VALUES (date_trunc('minute', now()), %s, %s, %s, %s)",
        f"web-{requests}-{faults}-{refused}",
        requests,
        faults,
        refused,
    )


async def test_every_rule_has_its_question_and_holds_in_a_town_in_order(rules: Rules):
    questions = {one.row: one for one in rules.probes()}
    assert questions.keys() == {rule.id for rule in RULES}

    for name, question in questions.items():
        if name == "rule.certificate":
            with pytest.raises(NotApplicable):
                await question.ask()
        else:
            assert await question.ask()


async def test_a_few_faults_are_no_alert_and_one_in_twenty_is(town: Town, rules: Rules):
    await answered(town, requests=20, faults=FEWEST_FAULTS - 1)
    assert await rules.errors()
    await answered(town, requests=20, faults=1)

    with pytest.raises(Failed, match="10 of 40 requests failed"):
        await rules.errors()


async def test_a_job_that_nobody_takes_is_a_backlog(town: Town, rules: Rules):
    made = town.portal
    job = next(one for one in made.jobs if one.queue == "upkeep")
    await made.queues.add_once(job, "late")
    await made.redis.hset("queue:upkeep:late", "timestamp", 1_000_000_000_000)

    with pytest.raises(Failed, match="the oldest job waits in upkeep for"):
        await rules.backlog()


async def test_a_worker_that_ends_without_a_word_is_missed_until_another_comes(town: Town, rules: Rules):
    beat = town.portal.heartbeats.beat
    await beat("gone", concurrency={"upkeep": 4}, running=[])
    await town.execute("UPDATE workers SET seen_at = now() - interval '2 minutes', started_at = 'yesterday'")
    with pytest.raises(Failed, match="1 ended without a word"):
        await rules.worker_gone()

    await beat("new", concurrency={"upkeep": 4}, running=[])

    assert await rules.worker_gone() == "nobody is missing"


async def test_what_muster_tries_itself_is_no_abuse_and_what_others_try_is(town: Town, rules: Rules):
    await answered(town, requests=100, refused=REFUSED_SIGN_INS + TRIED_BY_PROBE)
    with pytest.raises(Failed, match="30 sign-ins were refused"):
        await rules.login_abuse()

    await town.execute(
        "INSERT INTO proofs (row, held, evidence, took_ms, version) "
        "VALUES ('signin.refuses', true, '', 1, '0')"
    )

    assert await rules.login_abuse()


async def test_the_web_writes_down_what_it_answered_and_nothing_twice(town: Town):
    async with town.visitor() as stranger:
        await town.portal.watch._web_minutes.write("web-test")
        before = await town.value("SELECT sum(requests) FROM web_minutes")
        for _ in range(3):
            await stranger.get("/sign-in/google/callback?state=x&code=y")
        await town.portal.watch._web_minutes.write("web-test")
        await town.portal.watch._web_minutes.write("web-test")

    assert await town.value("SELECT sum(requests) FROM web_minutes") == before + 3
    assert await town.value("SELECT sum(refused_sign_ins) FROM web_minutes") >= 3


# Certificates


def signed(folder: Path, *, days: int) -> Path:
    """A key with its certificate for this machine, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    both = folder / "both.pem"
    both.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return both


@contextlib.asynccontextmanager
async def front(certificate: Path) -> AsyncIterator[str]:
    """Something that speaks TLS at PUBLIC_URL."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def looked_at(settings: Settings, address: str) -> str:
    """What the rule says of a portal that is found there, to a process that has just read who is trusted."""
    outbound._trusted.cache_clear()
    async with portal(replace(settings, public_url=address), application="muster-test") as made:
        outbound._trusted.cache_clear()
        rules = Rules(made.database, made.queues, made.http, home=settings.home, public_url=address)
        return await rules.certificate()


async def test_a_certificate_is_told_by_the_days_that_it_has_left(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(signed(tmp_path, days=90)))
    async with front(tmp_path / "both.pem") as address:
        assert await looked_at(settings, address) == f"the certificate at {address} ends in 90 days"

    signed(tmp_path, days=13)
    async with front(tmp_path / "both.pem") as address:
        with pytest.raises(Failed, match="ends in 13 days"):
            await looked_at(settings, address)


async def test_a_certificate_that_nobody_vouches_for_is_not_believed(settings: Settings, tmp_path: Path):
    async with front(signed(tmp_path, days=90)) as address:
        with pytest.raises(Failed, match="is not believed"):
            await looked_at(settings, address)


async def test_nobody_at_the_portals_address_is_the_webs_alert(settings: Settings):
    with nobody() as somewhere, pytest.raises(NotTried, match="see web"):
        await looked_at(settings, f"https://{somewhere}")

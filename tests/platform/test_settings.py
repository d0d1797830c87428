"""Settings: read once, checked, and said in one line when wrong."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from muster.errors import SettingsError
from muster.settings import OWNER, child_environment, load, survey

GOOD = {
    "SECRET_KEY": "s" * 40,
    "DATABASE_URL": "postgresql://muster:hunter2@db.internal/muster?sslmode=require",
    "REDIS_URL": "redis://:hunter3@cache.internal:6379/0",
    "ALLOWED_DOMAINS": "acme.com, acme.de",
    "GOOGLE_CLIENT_ID": "client",
    "GOOGLE_CLIENT_SECRET": "hunter4",
}
PRODUCTION = {**GOOD, "MUSTER_ENVIRONMENT": "production", "PUBLIC_URL": "https://portal.acme.com"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder whose .env is all there is."""
    for name in (
        *GOOD,
        OWNER,
        "PORT",
        "PUBLIC_URL",
        "MUSTER_ENVIRONMENT",
        "MUSTER_HOME",
        "LOG_LEVEL",
        "HUBSPOT_TOKEN",
        "HUBSPOT_WEBHOOK_SECRET",
        "HUBSPOT_URL",
        "TRUSTED_PROXIES",
        "ALERT_URLS",
        "HEARTBEAT_URL",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.setenv("MUSTER_HOME", str(tmp_path / "home"))
    return tmp_path


def _write(folder: Path, settings: dict[str, str], *, to: str = ".env") -> None:
    path = folder / to
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f'{name}="{value}"\n' for name, value in settings.items()))


def test_a_env_file_is_enough(folder: Path):
    _write(folder, GOOD)

    settings = load(working_folder=folder)

    assert settings.allowed_domains == ("acme.com", "acme.de")
    assert settings.database_url.reveal() == GOOD["DATABASE_URL"]
    assert settings.public_url == "http://localhost:8000"
    assert not settings.is_sandbox


def test_hubspot_may_be_left_out_also_in_production(folder: Path):
    _write(folder, PRODUCTION)

    settings = load(working_folder=folder)

    assert not settings.has_hubspot
    assert settings.hubspot_url == "https://api.hubapi.com"


def test_hubspots_secrets_may_be_files_and_are_not_shown(folder: Path):
    (folder / "token").write_text("pat-eu1-hunter6\n")
    (folder / "secret").write_text("hunter7")
    files = {
        "HUBSPOT_TOKEN_FILE": str(folder / "token"),
        "HUBSPOT_WEBHOOK_SECRET_FILE": str(folder / "secret"),
    }
    _write(folder, {**PRODUCTION, **files})

    settings = load(working_folder=folder)

    assert settings.hubspot_token
    assert settings.hubspot_token.reveal() == "pat-eu1-hunter6"
    assert settings.shown()["HUBSPOT_WEBHOOK_SECRET"] == "(hidden)"
    assert "hunter" not in repr(settings) + str(settings.shown())


def test_the_environment_wins_over_the_file_and_the_file_over_the_instance(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    _write(folder, {**GOOD, "PORT": "8001"}, to="home/instance.env")
    _write(folder, {"PORT": "8002"})
    assert load(working_folder=folder).port == 8002

    monkeypatch.setenv("PORT", "8003")
    assert load(working_folder=folder).port == 8003


def test_a_secret_may_stand_in_a_file_of_its_own(folder: Path):
    (folder / "key").write_text("f" * 40 + "\n")
    _write(
        folder,
        {**{k: v for k, v in GOOD.items() if k != "SECRET_KEY"}, "SECRET_KEY_FILE": str(folder / "key")},
    )

    assert load(working_folder=folder).secret_key.reveal() == "f" * 40


@pytest.mark.parametrize("missing", GOOD)
def test_what_is_missing_is_named(folder: Path, missing: str):
    _write(folder, {name: value for name, value in PRODUCTION.items() if name != missing})

    with pytest.raises(SettingsError, match=rf"^{missing} is not set; expected "):
        load(working_folder=folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("PORT", "0"),
        ("MUSTER_ENVIRONMENT", "staging"),
        ("SECRET_KEY", "short"),
        ("DATABASE_URL", "mysql://db/muster"),
        ("DATABASE_URL", "db.internal"),
        ("DATABASE_URL", "postgresql://[::1/muster"),
        ("DATABASE_URL", "postgresql://muster:hunter2@db.internal/muster"),
        ("REDIS_URL", "http://cache.internal"),
        ("PUBLIC_URL", "http://portal.acme.com"),
        ("PUBLIC_URL", "portal.acme.com"),
        ("ALLOWED_DOMAINS", "acme"),
        ("ALLOWED_DOMAINS", "*.acme.com"),
        ("ADMIN_EMAILS", "ada"),
        ("GOOGLE_SERVICE_ACCOUNT", "/no/such/key.json"),
        ("GOOGLE_ISSUER", "http://127.0.0.1:9000"),
        ("HUBSPOT_TOKEN", "pat eu1"),
        ("HUBSPOT_TOKEN", "pät-eu1"),
        ("HUBSPOT_WEBHOOK_SECRET", "a b"),
        ("HUBSPOT_URL", "http://127.0.0.1:9000"),
        ("ALERT_URLS", "hunter6"),
        ("ALERT_URLS", "mailtos://u:hunter6@smtp.acme.com, hunter7"),
        ("ALERT_URLS", "slack://"),
        ("HEARTBEAT_URL", "http://hc.acme.com/hunter8"),
        ("HEARTBEAT_URL", "hunter8"),
        ("LOG_LEVEL", "loud"),
        ("PEOPLE_SYNC_MINUTES", "0"),
        ("TRUSTED_PROXIES", "everyone"),
        ("SECRET_KEY_FILE", "/no/such/file"),
    ],
)
def test_what_is_wrong_is_named_with_what_is_expected_in_one_line(folder: Path, name: str, value: str):
    _write(folder, {**PRODUCTION, name: value})

    with pytest.raises(SettingsError) as refused:
        load(working_folder=folder)

    said = str(refused.value)
    assert name in said
    assert "\n" not in said
    assert "hunter" not in said


def test_a_comma_within_an_alerts_address_does_not_end_it(folder: Path):
    _write(folder, {**GOOD, "ALERT_URLS": "mailto://smtp.acme.com?to=a@acme.com,b@acme.com, slack://A/B/C,"})

    settings = load(working_folder=folder)

    assert [one.reveal() for one in settings.alert_urls] == [
        "mailto://smtp.acme.com?to=a@acme.com,b@acme.com",
        "slack://A/B/C",
    ]
    assert settings.shown()["ALERT_URLS"] == "(hidden), (hidden)"


def test_nothing_secret_is_ever_shown(folder: Path):
    _write(folder, {**GOOD, "GOOGLE_SERVICE_ACCOUNT": '{\\"private_key\\": \\"hunter5\\"}'})
    settings = load(working_folder=folder)

    shown = repr(settings) + str(settings.shown())

    assert "hunter" not in shown
    assert "s" * 40 not in shown
    assert "db.internal" in settings.shown()["DATABASE_URL"]


# The owner's address

OWNED = {**GOOD, OWNER: "postgresql://owner:hunter6@db.internal/muster?sslmode=require"}


def test_the_owners_address_is_for_whoever_asks_for_it(folder: Path):
    _write(folder, OWNED)
    assert load(working_folder=folder).database_owner_url is None

    owner = load(working_folder=folder, with_owner=True).database_owner_url

    assert owner
    assert owner.reveal() == OWNED[OWNER]


@pytest.mark.parametrize("read", [load, survey])
def test_it_does_not_stay_in_the_environment_of_who_reads_the_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[..., object]
):
    _write(folder, GOOD)
    monkeypatch.setenv(OWNER, OWNED[OWNER])

    read(working_folder=folder)

    inherited = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
    assert "hunter6" not in inherited


def test_nor_is_it_handed_to_a_child(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(OWNER, OWNED[OWNER])
    monkeypatch.setenv(f"{OWNER}_FILE", "/run/secrets/owner")

    assert not [name for name in child_environment(PORT="1") if name.startswith(OWNER)]


def test_it_may_stand_in_a_file(folder: Path):
    (folder / "owner").write_text(OWNED[OWNER] + "\n")
    _write(folder, {**GOOD, f"{OWNER}_FILE": str(folder / "owner")})

    owner = load(working_folder=folder, with_owner=True).database_owner_url

    assert owner
    assert owner.reveal() == OWNED[OWNER]


def test_it_is_shown_without_its_password(folder: Path):
    _write(folder, OWNED)

    shown = load(working_folder=folder, with_owner=True).shown()

    assert shown[OWNER] == "postgresql://owner:***@db.internal/muster"


# TLS to PostgreSQL


@pytest.mark.parametrize(
    "address",
    [
        "db.internal/muster?sslmode=require",
        "db.internal/muster?sslmode=verify-ca&sslrootcert=/etc/ca.pem",
        "db.internal/muster?sslmode=verify-full&sslrootcert=system&channel_binding=require",
        "db.internal/muster?sslrootcert=system",
        "10.0.0.5:5432/muster?sslmode=require",
        "localhost/muster",
        "127.0.0.1:5433/muster?sslmode=disable",
        "[::1]/muster",
        "/muster?host=/var/run/postgresql",
        "%2Fvar%2Frun%2Fpostgresql/muster",
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", OWNER])
def test_a_server_elsewhere_is_spoken_to_in_production_where_tls_is_demanded(
    folder: Path, name: str, address: str
):
    _write(folder, {**PRODUCTION, name: f"postgresql://muster:hunter2@{address}"})

    load(working_folder=folder, with_owner=True)


@pytest.mark.parametrize(
    "address",
    [
        "db.internal/muster",
        "db.internal/muster?sslmode=disable",
        "db.internal/muster?sslmode=allow",
        "db.internal/muster?sslmode=prefer",
        "db.internal/muster?sslmode=require&sslmode=prefer",
        "10.0.0.5:5432/muster",
        "localhost/muster?host=db.internal",
        "localhost/muster?hostaddr=10.0.0.5",
        "localhost,db.internal/muster",
        "db.internal/muster?application_name=sslmode%3Drequire",
    ],
)
@pytest.mark.parametrize("name", ["DATABASE_URL", OWNER])
def test_elsewhere_and_in_the_clear_is_refused_in_production(folder: Path, name: str, address: str):
    _write(folder, {**PRODUCTION, name: f"postgresql://muster:hunter2@{address}"})

    with pytest.raises(
        SettingsError, match=rf"^{name} leads to [\w.]+ and does not demand TLS; expected "
    ) as no:
        load(working_folder=folder, with_owner=True)

    assert "hunter" not in str(no.value)


def test_in_development_nobody_asks_for_tls(folder: Path):
    _write(folder, {**GOOD, "DATABASE_URL": "postgresql://muster:hunter2@db.internal/muster"})

    load(working_folder=folder)

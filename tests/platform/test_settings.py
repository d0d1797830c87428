"""Settings: read once, checked, and said in one line when wrong."""

from pathlib import Path

import pytest

from muster.errors import SettingsError
from muster.settings import load

GOOD = {
    "SECRET_KEY": "s" * 40,
    "DATABASE_URL": "postgresql://muster:hunter2@db.internal/muster",
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
        "PORT",
        "PUBLIC_URL",
        "MUSTER_ENVIRONMENT",
        "MUSTER_HOME",
        "LOG_LEVEL",
        "TRUSTED_PROXIES",
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
        ("REDIS_URL", "http://cache.internal"),
        ("PUBLIC_URL", "http://portal.acme.com"),
        ("PUBLIC_URL", "portal.acme.com"),
        ("ALLOWED_DOMAINS", "acme"),
        ("ALLOWED_DOMAINS", "*.acme.com"),
        ("ADMIN_EMAILS", "ada"),
        ("GOOGLE_SERVICE_ACCOUNT", "/no/such/key.json"),
        ("GOOGLE_ISSUER", "http://127.0.0.1:9000"),
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


def test_nothing_secret_is_ever_shown(folder: Path):
    _write(folder, {**GOOD, "GOOGLE_SERVICE_ACCOUNT": '{\\"private_key\\": \\"hunter5\\"}'})
    settings = load(working_folder=folder)

    shown = repr(settings) + str(settings.shown())

    assert "hunter" not in shown
    assert "s" * 40 not in shown
    assert "db.internal" in settings.shown()["DATABASE_URL"]

"""Secrets of every form are found wherever they stand, and nothing else is taken for one."""

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.platform.redaction import HIDDEN, Redaction, printable
from muster.platform.telemetry_probes import Planted
from muster.settings import Settings

SECRETS = {
    "a session": (secret := secrets.token_urlsafe(32), secret),
    "an API token": (token := f"muster_{secrets.token_urlsafe(32)}", token),
    "a token of Google's": ("ya29.a0AfB_byC-de", "a0AfB_byC-de"),
    "a refresh token of Google's": ("1//0gabcdefghijklmnop-qr", "0gabcdefghijklmnop"),
    "a token of HubSpot's": ("pat-na1-12345678-90ab-cdef", "12345678-90ab"),
    "a client's secret": ("GOCSPX-abcdefgh-ijkl", "abcdefgh-ijkl"),
    "a JWT": ("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjMifQ.c2lnbmF0dXJl", "c2lnbmF0dXJl"),
    "a header": ("Authorization: Bearer abc.def.ghi", "abc.def.ghi"),
    "basic authentication": ("authorization: basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    "a cookie": ("Cookie: muster_session=abc123; theme=dark", "abc123"),
    "a cookie that is set": ("set-cookie: __Host-session=abc123; Path=/", "abc123"),
    "headers as ASGI has them": ("[(b'cookie', b'muster_session=abc123')]", "abc123"),
    "a database's address": ("postgresql://muster:hunter2@db:5432/muster", "hunter2"),
    "a database's settings": ("host=db user=muster password=hunter2 dbname=x", "hunter2"),
    "the address of Redis": ("rediss://:hunter2@redis:6379/0", "hunter2"),
    "a DSN": ("https://0123456789abcdef@o1.ingest.sentry.io/1", "0123456789abcdef"),
    "a sign-in's way back": ("/sign-in/google/callback?code=4/0AeanS&state=xyzzy12", "0AeanS"),
    "a field of JSON": ('{"client_secret": "tiger-lily", "x": 1}', "tiger-lily"),
    "a field of Python": ("{'refresh_token': 'tiger-lily'}", "tiger-lily"),
    "a chat's webhook": ("https://hooks.slack.com/services/T0/B0/tigerlily", "tigerlily"),
    "a key": ("-----BEGIN PRIVATE KEY-----\nTIGER\n-----END PRIVATE KEY-----", "TIGER"),
    "half of a key": ("-----BEGIN RSA PRIVATE KEY-----\nTIGER", "TIGER"),
}


@pytest.mark.parametrize(("text", "secret"), SECRETS.values(), ids=SECRETS)
def test_a_secret_is_found_by_its_form(text: str, secret: str):
    redaction = Redaction()

    for dressed in (text, f"before {text} after", repr(f"line\n{text}\nline"), f'"{text}"'):
        assert secret not in redaction.text(dressed), dressed


@given(st.text(), st.text())
def test_what_is_planted_is_found_between_any_words(before: str, after: str):
    planted = Planted()

    assert planted.found_in(Redaction().text(f"{before} {planted.text} {after}")) == []


@pytest.mark.parametrize(
    "text",
    [
        "HUBSPOT_TOKEN is not set; customers are read from HubSpot with it",
        "it does not know our client id and secret: invalid_client",
        "a session that was ended still opens the door",
        "/people/12/photo?size=64",
        "Google Directory: 403 forbidden: Not Authorized to access this resource/api",
        "1f0c2b9a7d4e4c5f8a6b3d2e1f0c9b8a",
        "ada@acme.test",
        "tests/platform/test_redaction.py::test_what_is_no_secret_stays",
    ],
)
def test_what_is_no_secret_stays(text: str):
    assert Redaction().text(text) == text


def test_a_field_is_hidden_by_its_name_however_deep_it_lies():
    told = {
        "token": "a",
        "nested": [{"client_secret": "b", "sessionId": "c"}],
        "tokens": 3,
        "token_name": "ci",
    }

    assert Redaction().value(told) == {
        "token": HIDDEN,
        "nested": [{"client_secret": HIDDEN, "sessionId": HIDDEN}],
        "tokens": 3,
        "token_name": "ci",
    }


def test_the_settings_own_secrets_are_known_by_heart(settings: Settings):
    redaction = Redaction(settings.secrets())
    key = settings.secret_key.reveal()

    assert key not in redaction.text(f"the key is {key}")
    assert "opensesame" not in Redaction(["postgresql://muster:opensesame@db/muster"]).text(
        "is opensesame it?"
    )
    assert "p@ss/word" not in Redaction(["redis://:p%40ss%2Fword@redis"]).text("is p@ss/word it?")


def test_addresses_of_people_go_where_they_must_not_leave_the_house():
    assert Redaction(emails=True).text("no such person: ada@acme.test") == "no such person: [e-mail]"


def test_what_a_terminal_acts_on_is_spelled_out():
    assert printable("two\nlines \x1b[31m\x9b and \u202eback") == r"two\x0alines \x1b[31m\x9b and \u202eback"
    assert printable("a stack\n\tof lines\x07", lines=True) == "a stack\n\tof lines" + r"\x07"


def test_a_text_without_end_is_cut():
    cut = Redaction().value("x" * 100_000)

    assert len(cut) < 20_000
    assert cut.endswith("letters more")

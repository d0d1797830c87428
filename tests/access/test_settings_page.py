"""Settings are shown to those who may see them, and no secret among them to anybody."""

import re
from dataclasses import fields, replace

import pytest
from tests.town import Town, opened

from muster.access.roles import Role
from muster.platform.actor import System
from muster.settings import MEANINGS, Secret, Settings


def planted(settings: Settings) -> tuple[Settings, list[str]]:
    """The settings with words that are easily found again in each secret that may be any word."""
    secret = {
        "secret_key": Secret("planted-secret-key-of-forty-characters-1"),
        "secret_key_fallbacks": (Secret("planted-secret-key-of-forty-characters-2"),),
    }
    kept = [
        value.reveal() for one in fields(settings) if isinstance(value := getattr(settings, one.name), Secret)
    ]
    return replace(settings, **secret), [  # type: ignore[arg-type]
        "planted-secret-key-of-forty-characters-1",
        "planted-secret-key-of-forty-characters-2",
        *(value for value in kept if not value.startswith("k")),
    ]


async def test_no_secret_is_on_any_page_in_any_answer_or_in_the_log(
    settings: Settings, caplog: pytest.LogCaptureFixture
):
    altered, secrets = planted(settings)
    assert len(secrets) >= 5
    async with opened(altered) as town, town.signed_in("ada@acme.test") as ada:
        with caplog.at_level("DEBUG"):
            pages = [
                (await ada.get(path)).text
                for path in ("/admin/settings", "/", "/account", "/checklist", "/no/such", "/metrics")
            ]
            await town.raw_execute("ALTER TABLE account_roles RENAME TO elsewhere")
            try:
                broken = await ada.get("/admin/roles")
            finally:
                await town.raw_execute("ALTER TABLE elsewhere RENAME TO account_roles")

        assert broken.status_code >= 500
        for secret in secrets:
            assert not any(secret in page for page in [*pages, broken.text])
            assert secret not in caplog.text


async def test_every_setting_is_shown_with_what_it_is(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        page = (await ada.get("/admin/settings")).text

        for of_group in MEANINGS.values():
            assert all(name in page for name in of_group)
        assert "(hidden)" in page


def test_every_setting_has_a_meaning(settings: Settings):
    explained = {name for of_group in MEANINGS.values() for name in of_group}

    assert explained == settings.shown().keys()


@pytest.mark.parametrize("role", [Role.MEMBER, Role.SALES, Role.PEOPLE_TEAM])
async def test_they_are_not_for_everybody(town: Town, role: Role):
    if role is not Role.MEMBER:
        await town.portal.grants.grant("cy@acme.test", role, by=System("tester"))
    async with town.signed_in("cy@acme.test") as cy:
        assert (await cy.get("/admin/settings")).status_code == 403


async def test_a_test_error_is_sent_and_shown_by_its_id(settings: Settings, sentry_dsn: Secret):
    async with (
        opened(replace(settings, sentry_dsn=sentry_dsn)) as town,
        town.signed_in("ada@acme.test") as ada,
    ):
        assert "Send a test error" in (await ada.get("/admin/settings")).text

        page = await ada.post("/admin/settings/canaries")

        found = re.search(r"as <code>([0-9a-f]{32})</code>", page.text)
        assert found, page.text
        event = await town.sandbox.ask(f"sentry/{found[1]}")
        assert "planted-to-be-hidden" not in str(event)
        assert event["extra"]["note"] == "password=[hidden]"
        assert (await town.audited())[-1] == "errors.canary_sent"


async def test_whoever_only_looks_sends_no_test_error(settings: Settings, sentry_dsn: Secret):
    async with opened(replace(settings, sentry_dsn=sentry_dsn)) as town:
        await town.portal.grants.grant("cy@acme.test", Role.AUDITOR, by=System("tester"))
        async with town.signed_in("cy@acme.test") as cy:
            assert "Send a test error" not in (await cy.get("/admin/settings")).text
            assert (await cy.post("/admin/settings/canaries")).status_code == 403


async def test_without_a_dsn_there_is_nothing_to_try(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        page = (await ada.get("/admin/settings")).text

        assert "Errors are in the log alone" in page
        assert (await ada.post("/admin/settings/canaries")).status_code == 404


async def test_a_sentry_that_refuses_is_told_of_on_the_page(settings: Settings, sentry_dsn: Secret):
    async with (
        opened(replace(settings, sentry_dsn=sentry_dsn)) as town,
        town.signed_in("ada@acme.test") as ada,
    ):
        await town.sandbox.tell("sentry/mood", {"status": 403})
        answer = await ada.post("/admin/settings/canaries")
        await town.sandbox.tell("sentry/mood")

        assert answer.status_code == 502
        assert "Sentry: 127.0.0.1: 403" in answer.text
        assert "errors.canary_sent" not in await town.audited()

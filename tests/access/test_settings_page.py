"""Settings are shown to those who may see them, and no secret among them to anybody."""

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

"""A real browser: Chromium of the system, driven without a window."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    async_playwright,
    expect,
)
from tests.town import Town

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ON_MACOS = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
expect.set_options(timeout=15_000)  # a busy machine takes its time
QUIET = [
    "--short-reporting-delay",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str:
    """Fails the test, with what to do about it, where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None and ON_MACOS.exists():
        found = str(ON_MACOS)
    if found is None:
        pytest.fail("no Chromium found; install it with: sudo apt-get install -y chromium", pytrace=False)
    return found


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        # The sandbox of Chromium needs rights that root in a container has not.
        started = await playwright.chromium.launch(
            executable_path=find_chromium(), args=["--no-sandbox", *QUIET]
        )
        yield started
        await started.close()


@pytest.fixture
async def context(browser: Browser, town: Town) -> AsyncIterator[BrowserContext]:
    made = await browser.new_context(base_url=town.base_url, viewport={"width": 1280, "height": 800})
    made.set_default_timeout(15_000)
    yield made
    await made.close()


@pytest.fixture
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """A tab in which every error and every breach of the content security policy fails the test."""
    tab = await context.new_page()
    complaints = listen_for_complaints(tab)
    yield tab
    assert complaints == []


def listen_for_complaints(tab: Page) -> list[str]:
    """A list that fills with what goes wrong in the tab; an answer of 4xx is no fault of the page."""
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith("Failed to load resource"):
            complaints.append(message.text)

    tab.on("console", heard)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints

"""A job in a real browser: its progress moves by itself, and what went wrong is put right by hand."""

import re
from typing import Any

from bullmq import Queue
from playwright.async_api import Page, expect
from tests.town import Town

from muster.platform import redis


async def test_progress_and_log_move_without_a_reload(town: Town, page: Page):
    client = redis.connect_patiently(town.portal.settings.redis_url.reveal())
    queue: Any = Queue("crm", {"connection": client, "prefix": "queue"})
    job = await queue.add("letters", {})
    await queue.client.lmove("queue:crm:wait", "queue:crm:active", "RIGHT", "LEFT")
    await job.updateProgress({"done": 1, "of": 4, "words": "letters sent"})
    await page.goto(f"/sign-in/google?login_hint=ada@acme.test&next=/jobs/crm/{job.id}")
    await expect(page.get_by_text("1 of 4, letters sent")).to_be_visible()
    await page.evaluate("globalThis.isTheSamePage = true")

    await job.updateProgress({"done": 3, "of": 4, "words": "letters sent"})
    await job.log("the third is on its way")

    await expect(page.get_by_text("3 of 4, letters sent")).to_be_visible()
    await expect(page.get_by_text("the third is on its way")).to_be_visible()
    await expect(page.get_by_role("progressbar")).to_have_js_property("value", 3)
    assert await page.evaluate("globalThis.isTheSamePage")

    await queue.client.lrem("queue:crm:active", 1, job.id)
    await queue.client.zadd("queue:crm:failed", {job.id: 1})
    await page.get_by_role("button", name="Retry").click()
    await expect(page.get_by_text("Waiting")).to_be_visible()
    await page.get_by_text("Discard…").click()
    await page.get_by_role("button", name="Discard this job").click()
    await expect(page).to_have_url(re.compile(r"/jobs/crm\?state=waiting"))
    assert await queue.getJobState(job.id) == "unknown"
    await client.aclose()


async def test_a_queue_is_paused_and_resumed_by_buttons(page: Page):
    await page.goto("/sign-in/google?login_hint=ada@acme.test&next=/jobs")
    await page.get_by_role("button", name="Pause people").click()
    await expect(page.get_by_role("alert")).to_contain_text("The queue people is paused by ada@acme.test")

    await page.get_by_role("button", name="Resume people").click()
    await expect(page.get_by_role("alert")).to_have_count(0)

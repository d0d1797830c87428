"""Reports of browsers: taken from anybody, kept in few rows, shown to those who mend pages."""

import json
from typing import Any

import pytest
from tests.town import Town

from muster.access.roles import Role
from muster.platform.actor import System

OLD: dict[str, Any] = {
    "csp-report": {
        "document-uri": "https://portal.example/people?q=secret#x",
        "effective-directive": "script-src-elem",
        "blocked-uri": "https://user:password@evil.test/steal.js?token=secret",
        "source-file": "https://portal.example/static/app.js?v=1",
        "line-number": 7,
    }
}
NEW: list[dict[str, Any]] = [
    {
        "type": "csp-violation",
        "url": "https://portal.example/groups?q=secret",
        "body": {
            "documentURL": "https://portal.example/groups?q=secret",
            "effectiveDirective": "img-src",
            "blockedURL": "https://evil.test/pixel.gif?secret",
            "lineNumber": 3,
        },
    }
]


async def send(town: Town, report: object, kind: str = "application/csp-report", **headers: str) -> int:
    content = report if isinstance(report, bytes) else json.dumps(report).encode()
    answer = await town.raw.post(
        f"{town.base_url}/browser-reports", content=content, headers={"content-type": kind, **headers}
    )
    return answer.status_code


async def test_both_forms_are_kept_without_what_may_be_secret(town: Town):
    assert await send(town, OLD) == 204
    assert await send(town, NEW, "application/reports+json") == 204

    kept = await town.value(
        "SELECT jsonb_agg(jsonb_build_array(directive, blocked, page, source) ORDER BY id) "
        "FROM browser_reports"
    )
    assert kept == [
        ["script-src-elem", "https://evil.test", "/people", "/static/app.js:7"],
        ["img-src", "https://evil.test", "/groups", ""],
    ]


async def test_one_that_comes_again_and_again_is_counted(town: Town):
    for _ in range(5):
        await send(town, OLD)

    assert await town.value("SELECT jsonb_agg(times) FROM browser_reports") == [5]


async def test_there_are_never_more_kinds_than_five_hundred(town: Town):
    await town.execute(
        "INSERT INTO browser_reports (directive, blocked, page, source, browser, last_seen) "
        "SELECT 'x', n::text, '', '', '', now() - interval '1 day' FROM generate_series(1, 600) AS n"
    )
    await send(town, OLD)

    assert await town.value("SELECT count(*) FROM browser_reports") == 500
    assert await town.value("SELECT count(*) FROM browser_reports WHERE directive = 'script-src-elem'") == 1


async def test_extensions_of_a_browser_are_not_our_affair(town: Town):
    report = {"csp-report": {**OLD["csp-report"], "blocked-uri": "chrome-extension://abc/x.js"}}

    assert await send(town, report) == 204
    assert await town.value("SELECT count(*) FROM browser_reports") == 0


@pytest.mark.parametrize(
    "report",
    [
        *(b"", b"{", b"\xff", [], {}, [1, "x", None], {"csp-report": 1}),
        {"csp-report": {"blocked-uri": "http://[x"}},
        {"csp-report": {"document-uri": 5, "blocked-uri": "\0\r\n" * 90}},
        {"body": {"x": ["y"] * 999}},
    ],
)
async def test_what_is_no_report_does_no_harm(town: Town, report: object):
    assert await send(town, report) in {204, 422}


async def test_reports_are_few_a_minute_small_and_of_our_own_pages(town: Town):
    assert await send(town, b"x" * 40_000) == 413
    assert await send(town, OLD, origin="https://evil.test") == 403
    statuses = [await send(town, OLD) for _ in range(35)]
    assert statuses[-1] == 429


async def test_whoever_sees_settings_sees_reports_and_clears_them(town: Town):
    report = {"csp-report": {**OLD["csp-report"], "effective-directive": "<script>alert(1)</script>"}}
    await send(town, report)
    async with town.signed_in("ada@acme.test") as ada, town.signed_in("cy@acme.test") as cy:
        page = (await ada.get("/admin/reports")).text
        assert "https://evil.test" in page
        assert "<script>alert" not in page
        assert (await cy.get("/admin/reports")).status_code == 403

        assert (await ada.post("/admin/reports/cleared")).status_code == 303
        assert "No browser has refused anything" in (await ada.get("/admin/reports")).text
    assert "reports.cleared" in await town.audited()


async def test_an_auditor_sees_reports_and_clears_none(town: Town):
    await send(town, OLD)
    async with town.signed_in("cy@acme.test") as cy:
        await town.portal.grants.grant("cy@acme.test", Role.AUDITOR, by=System("tester"))

        assert "/admin/reports/cleared" not in (await cy.get("/admin/reports")).text
        assert (await cy.post("/admin/reports/cleared")).status_code == 403
    assert await town.value("SELECT count(*) FROM browser_reports") == 1

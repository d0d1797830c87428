"""What people see of alerts and do about them, on the pages and by programs."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.town import Town, problem

from muster.access.roles import Role
from muster.platform.actor import System
from muster.platform.probe import Failed, Probe
from muster.readiness.checklist import ROWS
from muster.readiness.proofs import Proofs


async def open_alert(town: Town, row: str = "workers.alive") -> int:
    """Have `row` fail three times, watched, and told."""

    def asking(name: str) -> Probe:
        async def ask() -> str:
            if name == row:
                raise Failed("no worker has said that it lives")
            return "seen to hold"

        return Probe(row=name, ask=ask)

    at = datetime.now(UTC)
    proofs = Proofs(town.portal.database, [asking(one.id) for one in ROWS])
    watch = town.portal.alerting.watch(proofs, clock=lambda: at, trusts_for=timedelta(0))
    for _ in range(3):
        at += timedelta(minutes=1)
        await watch.look("test")
        await watch.deliver()
    await watch.ring()
    return int(await town.value("SELECT id FROM alerts WHERE closed_at IS NULL"))


@pytest.fixture
async def operations(town: Town) -> Town:
    """A town where Cy is of operations and Ben audits."""
    await town.portal.grants.grant("cy@acme.test", Role.OPERATIONS, by=System("tester"))
    await town.portal.grants.grant("ben@acme.test", Role.AUDITOR, by=System("tester"))
    return town


async def test_an_alert_shows_what_is_wrong_what_to_do_and_who_was_told(operations: Town):
    number = await open_alert(operations)

    async with operations.signed_in("cy@acme.test") as cy:
        listed = (await cy.get("/alerts")).text
        page = (await cy.get(f"/alerts/{number}")).text
        checklist = (await cy.get("/checklist")).text

    assert f'href="/alerts/{number}"' in listed
    for said in ("no worker has said that it lives", "muster worker", "Accepted", "json://127.0.0.1"):
        assert said in page
    assert f'href="/alerts/{number}"' in checklist
    assert "/checklist#workers.alive" in page


async def test_every_page_rings_while_something_critical_is_open_for_those_who_may_see_it(operations: Town):
    number = await open_alert(operations)

    async with operations.signed_in("cy@acme.test") as cy, operations.signed_in("ada@acme.test") as ada:
        for one in (cy, ada):
            assert f'<a href="/alerts/{number}">What to do' in (await one.get("/")).text
    await operations.portal.grants.revoke("cy@acme.test", Role.OPERATIONS, by=System("tester"))
    async with operations.signed_in("cy@acme.test") as cy:
        assert "What to do" not in (await cy.get("/")).text
        assert (await cy.get("/alerts")).status_code == 403


async def test_taking_an_alert_on_is_written_down(operations: Town):
    number = await open_alert(operations)

    async with operations.signed_in("cy@acme.test") as cy:
        answer = await cy.post(f"/alerts/{number}/acknowledgement", {"note": "starting one"})
        page = (await cy.get(f"/alerts/{number}")).text

    assert answer.headers["location"] == f"/alerts/{number}"
    assert "cy@acme.test took it on" in page
    assert "starting one" in page
    assert "alerts.acknowledged" in await operations.audited()


async def test_an_auditor_sees_alerts_and_handles_none(operations: Town):
    number = await open_alert(operations)

    async with operations.signed_in("ben@acme.test") as ben:
        assert "Take it on" not in (await ben.get(f"/alerts/{number}")).text
        assert (
            await ben.post(f"/alerts/{number}/silence", {"reason": "no", "hours": "1"})
        ).status_code == 403


REFUSED: list[tuple[dict[str, str], str]] = [
    ({"about": "Redis", "reason": "", "hours": "1"}, "reason"),
    ({"about": "Redis", "reason": "moving", "hours": "169"}, "hours"),
    ({"about": "nonsense", "reason": "moving", "hours": "1"}, "nonsense"),
    ({"about": "Redis", "reason": "moving", "hours": "1", "starts_at": "soon"}, "starts_at"),
    ({"about": "Redis", "reason": "moving", "hours": "1", "starts_at": "2020-01-01T10:00"}, "ahead"),
    ({"about": "Redis", "reason": "moving", "hours": "1", "starts_at": "9999-12-31T23:59"}, "starts_at"),
    ({"reason": "moving", "hours": "1"}, "about"),
]


async def test_maintenance_without_a_reason_an_end_or_a_name_is_refused(operations: Town):
    async with operations.signed_in("cy@acme.test") as cy:
        for form, says in REFUSED:
            answer = await cy.post("/alerts/quiets", form)
            assert (answer.status_code, says in answer.text) == (422, True), form

    assert await operations.value("SELECT count(*) FROM alert_quiets") == 0


async def test_maintenance_is_planned_shown_and_ended(operations: Town):
    async with operations.signed_in("cy@acme.test") as cy:
        await cy.post("/alerts/quiets", {"about": "Redis", "reason": "new server", "hours": "2"})
        assert "new server" in (await cy.get("/alerts")).text
        number = await operations.value("SELECT id FROM alert_quiets")
        await cy.post(f"/alerts/quiets/{number}/end")
        again = await cy.post(f"/alerts/quiets/{number}/end")

    assert again.status_code == 409
    assert await operations.value("SELECT ended_by FROM alert_quiets") == "cy@acme.test"
    assert [one for one in await operations.audited() if one.startswith("alerts.")] == [
        "alerts.maintenance_planned",
        "alerts.quiet_ended",
    ]


async def test_programs_read_and_handle_alerts(operations: Town):
    number = await open_alert(operations)

    async with operations.signed_in("cy@acme.test") as cy:
        headers = {"x-csrf-token": await cy.csrf(), "origin": cy.base_url, "accept": "application/json"}

        async def send(path: str, content: object) -> int:
            answer = await cy.request("POST", f"/api/v1/alerts{path}", json=content, headers=headers)
            return answer.status_code

        listed = msgspec.json.decode((await cy.get("/api/v1/alerts", headers=headers)).content)
        assert [one["subject"] for one in listed["open"]] == ["workers.alive"]
        assert await send(f"/{number}/acknowledgement", {"note": "on it"}) == 200
        assert await send(f"/{number}/silence", {"reason": "known", "hours": 2}) == 200
        assert await send("/tests", {}) == 200
        one = msgspec.json.decode((await cy.get(f"/api/v1/alerts/{number}", headers=headers)).content)
        missing = await cy.get("/api/v1/alerts/999", headers=headers)

    assert one["alert"]["acknowledged_by"] == "cy@acme.test"
    assert [each["state"] for each in one["deliveries"]] == ["accepted"]
    assert {each["what"] for each in one["events"]} == {"opened", "acknowledged", "silenced"}
    assert problem(missing)["code"] == "not_found"


async def test_an_empty_page_says_what_would_stand_there(operations: Town):
    async with operations.signed_in("cy@acme.test") as cy:
        page = (await cy.get("/alerts")).text

    assert "Nothing is wrong that Muster knows of" in page
    assert "not heard yet" in page.casefold()

"""The checklist as people see it, and who may."""

import re

from tests.town import Town, path_of

from muster.readiness.checklist import ROWS


def states(page: str) -> dict[str, str]:
    """Row → the state its line shows."""
    return dict(re.findall(r'<tr role="row" id="([\w.]+)" data-status="([\w ]+)"', page))


async def test_an_administrator_sees_every_row_and_that_nobody_has_looked_yet(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        page = (await ada.get("/checklist")).text

    assert states(page) == {row.id: "unproved" for row in ROWS}
    assert all(row.title in page for row in ROWS)
    assert "nobody has looked yet" in page


async def test_others_do_not_see_it(town: Town):
    for email in ("cy@acme.test", "ben@acme.test"):
        async with town.signed_in(email) as colleague:
            assert (await colleague.get("/checklist")).status_code == 403
            assert 'href="/checklist"' not in (await colleague.get("/people")).text


async def test_a_stranger_is_asked_to_sign_in(town: Town):
    async with town.visitor() as stranger:
        response = await stranger.get("/checklist")

    assert (response.status_code, path_of(response.headers["location"])) == (303, "/sign-in")


async def test_proving_all_shows_what_was_seen_and_is_on_record(town: Town):
    await town.all_in_step()
    await town.watched()
    async with town.working(), town.signed_in("ada@acme.test") as ada:
        await town.schedule()
        response = await ada.post("/checklist/proofs")
        page = (await ada.get("/checklist")).text

    assert (response.status_code, response.headers["location"]) == (303, "/checklist")
    unset = dict.fromkeys(("jobs.survive", "sentry.arrives"), "not applicable")
    assert states(page) == {row.id: "proved" for row in ROWS} | unset
    assert "Passes muster" in page
    assert (await town.audited())[-1] == "checklist.proved"


async def test_a_row_that_fails_shows_its_evidence_and_the_way_out(town: Town):
    await town.portal.redis.set("<script>alert(1)</script>", "x")
    async with town.working(), town.signed_in("ada@acme.test") as ada:
        await ada.post("/checklist/proofs")
        page = (await ada.get("/checklist")).text

    assert states(page)["redis.prefixes"] == "failed"
    assert "keys of no namespace: &lt;script&gt;" in page
    assert "<script>alert" not in page
    assert "Find who writes the named keys" in page


async def test_others_cannot_have_it_proved(town: Town):
    async with town.signed_in("cy@acme.test") as cy:
        response = await cy.post("/checklist/proofs")

    assert response.status_code == 403
    assert await town.value("SELECT count(*) FROM proofs") == 0

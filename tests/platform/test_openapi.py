"""The OpenAPI document says what the routes do."""

import re

from tests.town import SESSION_COOKIE, Town

from muster.platform.openapi import document


async def test_the_document_lists_every_route_of_the_api_and_no_page(town: Town):
    async with town.visitor() as anyone:
        found = (await anyone.get("/openapi.json", headers={"accept": "application/json"})).json()

    expected = {
        route.path.replace(":int}", "}") for route in town.portal.routes if route.path.startswith("/api/v1/")
    }
    assert expected
    assert set(found["paths"]) == expected
    assert found["openapi"].startswith("3.1")
    assert found["components"]["securitySchemes"]["session"]["name"] == SESSION_COOKIE
    summaries = [operation["summary"] for path in found["paths"].values() for operation in path.values()]
    assert all(re.match("(List|Show|Create|Edit) ", summary) for summary in summaries), summaries
    assert len(set(summaries)) == len(summaries)


async def test_every_reference_of_the_document_leads_somewhere(town: Town):
    found = document(town.portal.routes, session_cookie=SESSION_COOKIE)
    schemas = found["components"]["schemas"]

    def references(node: object) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [one for value in node.values() for one in references(value)]
        return [one for value in node for one in references(value)] if isinstance(node, list) else []

    assert references(found)
    for reference in references(found):
        assert reference.removeprefix("#/components/schemas/") in schemas


async def test_an_answer_is_as_the_document_says(town: Town):
    await town.portal.sync.run()
    schemas = document(town.portal.routes, session_cookie=SESSION_COOKIE)["components"]["schemas"]

    async with town.signed_in("cy@acme.test") as cy:
        answer = (await cy.get("/api/v1/people?limit=3")).json()
        refused = await cy.get("/api/v1/people?limit=0")

    assert set(answer) == set(schemas["PeopleAnswer"]["properties"])
    assert set(answer["people"][0]) == set(schemas["PersonListed"]["required"])
    assert set(refused.json()) == set(schemas["Problem"]["properties"])

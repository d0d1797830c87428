"""A client of the sandbox's HubSpot that trusts no answer: each is held against its shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.acme.hubspot_shapes import check

if TYPE_CHECKING:
    import httpx2
    from tests.acme.conftest import Sandbox

OBJECTS = "/crm/objects/2026-09"
DEALS, CONTACTS, COMPANIES = (f"{OBJECTS}/{kind}" for kind in ("deals", "contacts", "companies"))
ASSOCIATIONS = "/crm/associations/2026-09"
OWNERS = "/crm/owners/2026-09"


class HubSpotClient:
    def __init__(self, acme: Sandbox) -> None:
        self.acme = acme
        self.token = acme.settings["hubspot_token"]

    def ask(self, method: str, path: str, body: object = None, **params: Any) -> httpx2.Response:
        reply = self.acme.http.request(
            method,
            path,
            params=params,
            json=body,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        check(method, path, reply.status_code, reply.content)
        return reply

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        return self._answer(self.ask("GET", path, **params))

    def post(self, path: str, body: object, **params: Any) -> dict[str, Any]:
        return self._answer(self.ask("POST", path, body, **params))

    def patch(self, path: str, **properties: Any) -> dict[str, Any]:
        return self._answer(self.ask("PATCH", path, {"properties": properties}))

    def delete(self, path: str) -> None:
        self._answer(self.ask("DELETE", path))

    def refusal(self, method: str, path: str, body: object = None, **params: Any) -> dict[str, Any]:
        reply = self.ask(method, path, body, **params)
        assert reply.status_code >= 400, reply.text
        answer: dict[str, Any] = reply.json()
        return answer | {"http": reply.status_code}

    def every(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """All pages of a listing."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.get(path, **({"limit": 100} | params))
            found += page["results"]
            if "paging" not in page:
                return found
            params["after"] = page["paging"]["next"]["after"]

    def search(self, kind: str, **body: Any) -> dict[str, Any]:
        return self.post(f"{OBJECTS}/{kind}/search", body)

    def where(self, kind: str, name: str, operator: str, **rest: Any) -> list[str]:
        """The ids of those one filter lets through, two hundred at most."""
        filters = [{"propertyName": name, "operator": operator} | rest]
        page = self.search(kind, filterGroups=[{"filters": filters}], limit=200)
        return [record["id"] for record in page["results"]]

    def a_deal(self, **properties: Any) -> dict[str, Any]:
        """A new one, made through the API."""
        return self.post(DEALS, {"properties": {"dealname": "A deal"} | properties})

    def order(self, what: str, **fields: Any) -> dict[str, Any]:
        return self.acme.order(f"hubspot/{what}".rstrip("/"), **fields)

    def truth(self, kind: str, record_id: str) -> dict[str, Any]:
        return self.acme.ask(f"hubspot/{kind}/{record_id}")

    def state(self) -> dict[str, Any]:
        return self.acme.ask("hubspot")

    def _answer(self, reply: httpx2.Response) -> dict[str, Any]:
        assert reply.status_code < 300, reply.text
        answer: dict[str, Any] = reply.json() if reply.content else {}
        return answer

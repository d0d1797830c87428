"""Faults and changes by script."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx2
import pytest

if TYPE_CHECKING:
    from tests.acme.conftest import Sandbox

USERS = "/admin/directory/v1/users"


REASONS = [
    ("userRateLimitExceeded", 403, "userRateLimitExceeded"),
    ("rateLimitExceeded", 403, "rateLimitExceeded"),
    ("quotaExceeded", 403, "quotaExceeded"),
    ("429", 429, "rateLimitExceeded"),
    ("500", 500, "internalError"),
    ("502", 502, "badGateway"),
    ("503", 503, "backendError"),
    ("backendError", 503, "backendError"),
    ("504", 504, "gatewayTimeout"),
    ("failedPrecondition", 400, "failedPrecondition"),
    ("unknownError", 500, "unknownError"),
    ("domainCannotUseApis", 403, "domainCannotUseApis"),
    ("forbidden", 403, "forbidden"),
    ("accessNotConfigured", 403, "accessNotConfigured"),
    ("insufficientPermissions", 403, "insufficientPermissions"),
    ("authError", 401, "authError"),
    ("notFound", 404, "notFound"),
    ("conditionNotMet", 412, "conditionNotMet"),
]
ENDPOINTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "users": ("GET", USERS, {"customer": "my_customer"}),
    "deleted users": ("GET", USERS, {"customer": "my_customer", "showDeleted": "true"}),
    "a user": ("GET", f"{USERS}/ada@acme.test", {}),
    "a photo": ("GET", f"{USERS}/ada@acme.test/photos/thumbnail", {}),
    "groups": ("GET", "/admin/directory/v1/groups", {"customer": "my_customer"}),
    "a group": ("GET", "/admin/directory/v1/groups/alumni@acme.test", {}),
    "members": ("GET", "/admin/directory/v1/groups/everyone@acme.test/members", {}),
    "units": ("GET", "/admin/directory/v1/customer/my_customer/orgunits", {"type": "all"}),
    "watch": ("POST", f"{USERS}/watch", {"customer": "my_customer"}),
    "stop": ("POST", "/admin/directory_v1/channels/stop", {}),
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_every_reason_can_be_had_of_every_endpoint(acme: Sandbox, endpoint: str) -> None:
    method, path, params = ENDPOINTS[endpoint]
    headers = {"Authorization": f"Bearer {acme.token()}"}
    for page, (kind, _, _) in enumerate(REASONS, 1):
        acme.order("faults", path=path, kind=kind, page=page, query=params)

    def call() -> httpx2.Response:
        return acme.http.request(method, path, params=params, headers=headers)

    replies = [call() for _ in REASONS]
    had = [(reply.status_code, reply.json()["error"]["errors"][0]["reason"]) for reply in replies]

    assert had == [(status, reason) for _, status, reason in REASONS]
    assert call().status_code in {200, 400}  # without a body, watching and stopping are refused as they are


@pytest.mark.parametrize(("kind", "status", "reason"), REASONS)
def test_every_reason_can_be_had_of_the_token_too(acme: Sandbox, kind: str, status: int, reason: str) -> None:
    acme.order("faults", path="/token", kind=kind)

    reply = acme.trade(acme.assertion())

    assert (reply.status_code, reply.json()["error"]["errors"][0]["reason"]) == (status, reason)
    assert acme.trade(acme.assertion()).status_code == 200


def test_a_fault_strikes_the_call_it_was_meant_for_as_often_as_asked(acme: Sandbox) -> None:
    acme.order("faults", path=USERS, kind="503", page=3, times=2)

    assert [acme.get("/users").status_code for _ in range(6)] == [200, 200, 503, 503, 200, 200]


def test_two_faults_for_one_path_count_apart(acme: Sandbox) -> None:
    acme.order("faults", path=USERS, kind="503", page=1)
    acme.order("faults", path=USERS, kind="429", page=3)

    assert [acme.get("/users").status_code for _ in range(4)] == [503, 200, 429, 200]


def test_a_fault_may_name_many_paths_or_one_kind_of_call(acme: Sandbox) -> None:
    acme.order("faults", path="/admin/directory/v1/groups/*/members", kind="500")
    acme.order("faults", path=USERS, kind="500", query={"showDeleted": "true"})

    assert acme.get("/groups/everyone@acme.test/members").status_code == 500
    assert acme.get("/users").status_code == 200
    assert acme.get("/users", showDeleted="true").status_code == 500


def test_errors_that_are_no_json(acme: Sandbox) -> None:
    acme.order("faults", path=USERS, kind="html")
    acme.order("faults", path=USERS, kind="text", page=2)
    html, text = acme.get("/users"), acme.get("/users")

    assert (html.status_code, html.headers["content-type"]) == (502, "text/html; charset=utf-8")
    assert (text.status_code, text.headers["content-type"]) == (503, "text/plain; charset=utf-8")


def test_a_page_without_its_people(acme: Sandbox) -> None:
    acme.order("faults", path=USERS, kind="missing-users-key")
    acme.order("faults", path=USERS, kind="empty-users", page=2)

    assert acme.get("/users").json().keys() == {"kind", "etag"}
    assert acme.get("/users").json()["users"] == []


def test_a_listing_cut_short(acme: Sandbox) -> None:
    acme.order("faults", path=USERS, kind="truncated", page=2)

    assert len(acme.every("users", "/users")) == 200


def test_a_next_page_token_that_leads_nowhere(acme: Sandbox) -> None:
    acme.order("faults", path=USERS, kind="bad-token")
    token = acme.get("/users").json()["nextPageToken"]

    assert acme.get("/users", pageToken=token).json()["error"]["errors"][0]["reason"] == "invalid"


def test_a_next_page_token_that_has_expired_meanwhile(acme: Sandbox) -> None:
    acme.order("faults", path=USERS, kind="expired-token", page=2)
    first = acme.get("/users").json()["nextPageToken"]
    second = acme.get("/users", pageToken=first).json()

    assert len(second["users"]) == 100
    refused = acme.get("/users", pageToken=second["nextPageToken"])
    assert (refused.status_code, refused.json()["error"]["errors"][0]["reason"]) == (400, "invalid")
    assert acme.get("/users", pageToken=first).json()["nextPageToken"] != second["nextPageToken"]


def test_a_listing_that_is_led_back(acme: Sandbox) -> None:
    acme.order("faults", path=USERS, kind="loop", page=2)
    first = acme.get("/users").json()["nextPageToken"]

    assert acme.get("/users", pageToken=first).json()["nextPageToken"] == first


def test_a_listing_that_is_led_back_to_its_start(acme: Sandbox) -> None:
    acme.order("faults", path=USERS, kind="loop")
    first = acme.get("/users").json()

    assert acme.get("/users", pageToken=first["nextPageToken"]).json()["users"] == first["users"]


@pytest.mark.parametrize("kind", ["bad-token", "expired-token", "loop", "truncated", "missing-users-key"])
def test_one_part_of_a_listing_in_parts_can_be_hit_alone(acme: Sandbox, kind: str) -> None:
    acme.order("faults", path=USERS, kind=kind, query={"query": "email:a*"})
    whole = {letter: acme.get("/users", query=f"email:{letter}*", maxResults=3).json() for letter in "ba"}
    again = {letter: acme.get("/users", query=f"email:{letter}*", maxResults=3).json() for letter in "ba"}

    assert whole["b"]["users"] == again["b"]["users"]
    spoilt = whole["a"].get("nextPageToken")
    followed = spoilt and acme.get("/users", query="email:a*", maxResults=3, pageToken=spoilt)
    match kind:
        case "bad-token" | "expired-token":
            assert followed.status_code == 400
        case "loop":
            assert followed.json()["users"] == whole["a"]["users"]
        case _:
            assert spoilt is None


def test_a_quota_holds_for_any_minute(acme: Sandbox) -> None:
    acme.order("quota", per_minute=3)
    replies = [acme.get("/users", maxResults=1), acme.get("/groups"), *(acme.get("/users") for _ in range(3))]

    assert [reply.status_code for reply in replies] == [200, 200, 200, 403, 403]
    error = replies[-1].json()["error"]["errors"][0]
    assert (error["reason"], error["domain"]) == ("rateLimitExceeded", "usageLimits")
    assert acme.trade(acme.assertion()).status_code == 200
    acme.order("quota", per_minute=None)
    assert acme.get("/users").status_code == 200


def test_a_reset_lifts_the_quota(acme: Sandbox) -> None:
    acme.order("quota", per_minute=0)
    assert acme.get("/users").status_code == 403

    acme.order("reset")

    assert acme.get("/users").status_code == 200


def test_a_slow_page(acme: Sandbox) -> None:
    acme.order("faults", path=USERS, kind="slow", seconds=0.3)
    began = time.monotonic()

    assert acme.get("/users").status_code == 200
    assert time.monotonic() - began >= 0.3


def test_a_reply_cut_off(acme: Sandbox) -> None:
    acme.order("faults", path=USERS, kind="drop")

    with pytest.raises(httpx2.RemoteProtocolError):
        acme.get("/users")
    assert acme.get("/users").status_code == 200


@pytest.mark.parametrize("kind", ["invalid_grant", "unauthorized_client"])
def test_tokens_can_be_refused(acme: Sandbox, kind: str) -> None:
    acme.order("faults", path="/token", kind=kind)

    assert acme.trade(acme.assertion()).json()["error"] == kind
    assert acme.trade(acme.assertion()).status_code == 200


@pytest.mark.parametrize(
    "script", [{"kind": "meteor"}, {"kind": "503", "times": 0}, {"kind": "503", "page": 0}, {}]
)
def test_a_script_that_makes_no_sense_is_refused(acme: Sandbox, script: dict[str, object]) -> None:
    assert acme.http.post("/sandbox/faults", json={"path": USERS, **script}).status_code == 422


def test_orders_are_not_taken_from_web_pages(acme: Sandbox) -> None:
    reply = acme.http.post("/sandbox/reset", headers={"Origin": "http://evil.test"})

    assert reply.status_code == 403


# The company changes


def test_someone_is_suspended_and_comes_back(acme: Sandbox) -> None:
    suspended = acme.order("people/ben@acme.test", suspended=True)["user"]
    back = acme.order("people/ben@acme.test", suspended=False)["user"]

    assert suspended["suspended"] is True
    assert suspended["suspensionReason"] == "ADMIN"
    assert "suspensionTime" in suspended
    assert back["suspended"] is False
    assert "suspensionTime" not in back


def test_someone_is_hired(acme: Sandbox) -> None:
    hired = acme.order(
        "people",
        primaryEmail="dee@acme.test",
        name={"givenName": "Dee", "familyName": "Duval"},
        orgUnitPath="/Sales/EMEA/Nordics",
    )["user"]
    everyone = acme.every("users", "/users", maxResults=500)
    units = acme.get("/customer/my_customer/orgunits", type="all").json()["organizationUnits"]

    assert len(everyone) == 501
    assert everyone[-1]["id"] == hired["id"]
    assert acme.get("/users/dee@acme.test").json()["name"]["fullName"] == "Dee Duval"
    assert acme.verified(acme.id_token("dee@acme.test"))["sub"] == hired["id"]
    assert "/Sales/EMEA/Nordics" in {unit["orgUnitPath"] for unit in units}


def test_a_renamed_person_keeps_id_and_old_address(acme: Sandbox) -> None:
    before = acme.get("/users/ben@acme.test").json()
    acme.order("people/ben@acme.test", primaryEmail="benjamin@acme.test")
    after = acme.get("/users/benjamin@acme.test").json()

    assert after["id"] == before["id"] == acme.get("/users/ben@acme.test").json()["id"]
    assert after["aliases"] == ["ben@acme.test"]
    assert acme.every("users", "/users", query="email:benj*") == [after]


def test_a_freed_address_is_given_to_somebody_else(acme: Sandbox) -> None:
    ben = acme.order("people/ben@acme.test", primaryEmail="benjamin@acme.test", aliases=[])["user"]
    other = acme.order("people", primaryEmail="ben@acme.test")["user"]

    assert acme.get("/users/ben@acme.test").json()["id"] == other["id"] != ben["id"]


def test_an_address_belongs_to_one_person(acme: Sandbox) -> None:
    assert acme.http.post("/sandbox/people", json={"primaryEmail": "ben@acme.test"}).status_code == 409
    assert (
        acme.http.post("/sandbox/people/cy@acme.test", json={"aliases": ["ben@acme.test"]}).status_code == 409
    )
    assert acme.http.post("/sandbox/people/nobody@acme.test", json={}).status_code == 404
    assert acme.http.post("/sandbox/people/cy@acme.test", json={"shoeSize": 44}).status_code == 422


def test_someone_is_deleted_and_restored(acme: Sandbox) -> None:
    acme.order("people/ben@acme.test", deleted=True)
    assert len(acme.every("users", "/users", maxResults=500)) == 499
    assert "ben@acme.test" in {
        person["primaryEmail"] for person in acme.every("users", "/users", showDeleted="true")
    }

    acme.order("people/ben@acme.test", deleted=False)

    assert len(acme.every("users", "/users", maxResults=500)) == 500
    assert acme.get("/users/ben@acme.test").status_code == 200


def test_the_company_goes_back_to_any_step(acme: Sandbox) -> None:
    acme.order("people/ben@acme.test", title="Poet")
    acme.order("people/ben@acme.test", title="Painter")
    acme.order("people", primaryEmail="dee@acme.test")
    assert acme.http.get("/sandbox/events").json()["step"] == 3

    acme.order("reset", to_step=1)

    assert acme.get("/users/ben@acme.test").json()["organizations"][0]["title"] == "Poet"
    assert acme.get("/users/dee@acme.test").status_code == 404
    assert [event["kind"] for event in acme.http.get("/sandbox/events").json()["events"]] == ["changed"]


def test_reset_brings_everything_back(acme: Sandbox) -> None:
    before = acme.every("users", "/users", maxResults=500)
    acme.order("people/ben@acme.test", deleted=True)
    acme.order("groups/alumni@acme.test", add=["cy@acme.test"])
    acme.order("faults", path=USERS, kind="503", times=9)
    acme.order("clock", days=9)

    acme.order("reset")

    assert acme.every("users", "/users", maxResults=500) == before
    assert "members" not in acme.get("/groups/alumni@acme.test/members").json()


def test_calls_are_remembered(acme: Sandbox) -> None:
    acme.get("/users", maxResults=3)
    acme.get("/users/nobody@acme.test")

    calls = acme.http.get("/sandbox/requests").json()["requests"][-2:]

    assert [(call["path"], call["status"]) for call in calls] == [
        (USERS, 200),
        (f"{USERS}/nobody@acme.test", 404),
    ]
    assert "maxResults=3" in calls[0]["query"]
    assert acme.http.get("/sandbox/requests", params={"path": USERS}).json()["count"] == 1

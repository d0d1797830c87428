"""Every field the sandbox sends exists at Google.

The names are those of the Admin SDK's documented resources (directory_v1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acme.conftest import Sandbox

USER = {
    *("addresses", "agreedToTerms", "aliases", "archivalTime", "archived", "changePasswordAtNextLogin"),
    *("creationTime", "customSchemas", "customerId", "deletionTime", "emails", "etag", "externalIds"),
    *("gender", "guestAccountInfo", "hashFunction", "id", "ims", "includeInGlobalAddressList"),
    *("ipWhitelisted", "isAdmin", "isDelegatedAdmin", "isEnforcedIn2Sv", "isEnrolledIn2Sv", "isGuestUser"),
    *("isMailboxSetup", "keywords", "kind", "languages", "lastLoginTime", "locations", "name"),
    *("nonEditableAliases", "notes", "orgUnitPath", "organizations", "password", "phones", "posixAccounts"),
    *("primaryEmail", "recoveryEmail", "recoveryPhone", "relations", "sshPublicKeys", "suspended"),
    *("suspensionReason", "suspensionTime", "thumbnailPhotoEtag", "thumbnailPhotoUrl", "websites"),
}
KEPT_BY_A_PORTAL = {
    *("id", "primaryEmail", "name", "aliases", "nonEditableAliases", "emails", "suspended"),
    *("suspensionReason", "suspensionTime", "archived", "archivalTime", "isGuestUser", "orgUnitPath"),
    *("isAdmin", "isDelegatedAdmin", "creationTime", "lastLoginTime", "organizations", "relations"),
    *("externalIds", "phones", "locations", "customSchemas", "thumbnailPhotoUrl", "thumbnailPhotoEtag"),
    *("isEnrolledIn2Sv", "isEnforcedIn2Sv"),
}
PARTS_OF_A_USER = {
    "name": {"givenName", "familyName", "fullName", "displayName"},
    "emails": {"address", "customType", "primary", "type"},
    "externalIds": {"customType", "type", "value"},
    "relations": {"customType", "type", "value"},
    "organizations": {
        *("costCenter", "customType", "department", "description", "domain", "fullTimeEquivalent"),
        *("location", "name", "primary", "symbol", "title", "type"),
    },
    "phones": {"customType", "primary", "type", "value"},
    "languages": {"customLanguage", "languageCode", "preference"},
    "locations": {"area", "buildingId", "customType", "deskCode", "floorName", "floorSection", "type"},
}
GROUP = {
    *("adminCreated", "aliases", "description", "directMembersCount", "email", "etag", "id", "kind", "name"),
    "nonEditableAliases",
}
MEMBER = {"delivery_settings", "email", "etag", "id", "kind", "role", "status", "type"}
ORG_UNIT = {
    *("blockInheritance", "description", "etag", "kind", "name", "orgUnitId", "orgUnitPath"),
    *("parentOrgUnitId", "parentOrgUnitPath"),
}
CHANNEL = {
    *(
        "address",
        "expiration",
        "id",
        "kind",
        "params",
        "payload",
        "resourceId",
        "resourceUri",
        "token",
        "type",
    ),
}
USER_PHOTO = {"etag", "height", "id", "kind", "mimeType", "photoData", "primaryEmail", "width"}


def test_users(acme: Sandbox) -> None:
    people = acme.every("users", "/users", maxResults=500, projection="full")
    deleted = acme.every("users", "/users", showDeleted="true")
    sent = {field for person in people for field in person}

    assert sent <= USER
    assert sent >= KEPT_BY_A_PORTAL
    assert {field for person in deleted for field in person} - sent == {"deletionTime"}
    assert {person["kind"] for person in people} == {"admin#directory#user"}


def test_the_parts_of_a_user(acme: Sandbox) -> None:
    for person in acme.every("users", "/users", maxResults=500):
        for part, known in PARTS_OF_A_USER.items():
            values = person.get(part, [])
            for value in values if isinstance(values, list) else [values]:
                assert value.keys() <= known


def test_groups(acme: Sandbox) -> None:
    page = acme.get("/groups").json()

    assert page["kind"] == "admin#directory#groups"
    assert {field for group in page["groups"] for field in group} == GROUP
    assert {group["kind"] for group in page["groups"]} == {"admin#directory#group"}


def test_members(acme: Sandbox) -> None:
    page = acme.get("/groups/everyone@acme.test/members").json()

    assert page["kind"] == "admin#directory#members"
    assert {field for member in page["members"] for field in member} <= MEMBER
    assert {member["kind"] for member in page["members"]} == {"admin#directory#member"}


def test_org_units(acme: Sandbox) -> None:
    page = acme.get("/customer/my_customer/orgunits", type="all").json()

    assert page["kind"] == "admin#directory#orgUnits"
    assert {field for unit in page["organizationUnits"] for field in unit} <= ORG_UNIT
    assert {unit["kind"] for unit in page["organizationUnits"]} == {"admin#directory#orgUnit"}


def test_no_empty_collection_is_sent(acme: Sandbox) -> None:
    for person in acme.every("users", "/users", maxResults=500, projection="full"):
        assert [] not in person.values()
        assert {} not in person.values()


def test_channels(acme: Sandbox) -> None:
    request = {
        "id": "c",
        "type": "web_hook",
        "address": "http://127.0.0.1:9/hook",
        "token": "t",
        "payload": True,
    }
    channel = acme.post("/admin/directory/v1/users/watch", request, customer="my_customer").json()

    assert channel.keys() <= CHANNEL
    assert channel["kind"] == "api#channel"
    assert channel["expiration"].isdecimal()  # an int64, which travels as a string


def test_photos(acme: Sandbox) -> None:
    photo = acme.get("/users/ada@acme.test/photos/thumbnail").json()

    assert photo.keys() == USER_PHOTO
    assert photo["kind"] == "admin#directory#user#photo"
    assert isinstance(photo["height"], int)
    assert isinstance(photo["width"], int)

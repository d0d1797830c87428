"""Downloading and decoding the directory, and nothing else: what no sync can be quicker than by much.

httpx2 and msgspec, one chain of page tokens, each page decoded before the next is asked for.
"""

import time
from pathlib import Path

import httpx2
import jwt
import msgspec

from bench.rig.peer import Order, Stopwatch, read_order
from muster.people.google_api import SCOPES


class Key(msgspec.Struct):
    client_email: str
    private_key: str
    token_uri: str


class Token(msgspec.Struct):
    access_token: str


class Name(msgspec.Struct, rename="camel"):
    full_name: str = ""
    given_name: str = ""
    family_name: str = ""


class Organization(msgspec.Struct, rename="camel"):
    title: str = ""
    department: str = ""
    cost_center: str = ""
    primary: bool = False


class Typed(msgspec.Struct, rename="camel"):
    value: str = ""
    type: str = ""
    custom_type: str = ""


class Address(msgspec.Struct, rename="camel"):
    address: str = ""
    type: str = ""
    custom_type: str = ""


class Location(msgspec.Struct, rename="camel"):
    area: str = ""
    building_id: str = ""
    floor_name: str = ""
    desk_code: str = ""


class User(msgspec.Struct, rename="camel"):
    """All that Muster keeps of a user; times stay as they are written."""

    id: str
    primary_email: str
    name: Name
    aliases: list[str] = []
    non_editable_aliases: list[str] = []
    emails: list[Address] = []
    suspended: bool = False
    suspension_reason: str = ""
    suspension_time: str = ""
    archived: bool = False
    archival_time: str = ""
    is_guest_user: bool = False
    org_unit_path: str = ""
    is_admin: bool = False
    is_delegated_admin: bool = False
    creation_time: str = ""
    last_login_time: str = ""
    deletion_time: str = ""
    organizations: list[Organization] = []
    relations: list[Typed] = []
    external_ids: list[Typed] = []
    phones: list[Typed] = []
    locations: list[Location] = []
    custom_schemas: msgspec.Raw = msgspec.Raw(b"{}")
    thumbnail_photo_etag: str = ""
    is_enrolled_in_2_sv: bool = msgspec.field(default=False, name="isEnrolledIn2Sv")
    is_enforced_in_2_sv: bool = msgspec.field(default=False, name="isEnforcedIn2Sv")


class Listing(msgspec.Struct, rename="camel"):
    users: list[User] = []
    next_page_token: str = ""


def main() -> None:
    order = read_order()
    with httpx2.Client(trust_env=False, timeout=60, headers={"accept-encoding": "gzip"}) as http:
        stopwatch = Stopwatch()
        with stopwatch:
            people, pages = _download(http, order)
        stopwatch.tell(people=people, pages=pages)


def _download(http: httpx2.Client, order: Order) -> tuple[int, int]:
    headers = {"authorization": f"Bearer {_access_token(http, order)}"}
    query = {
        "customer": "my_customer",
        "maxResults": str(order.page_size),
        "projection": "full",
        "prettyPrint": "false",
    }
    if order.fields:
        query["fields"] = order.fields
    people = pages = 0
    while True:
        response = http.get(
            f"{order.acme.directory_url}/admin/directory/v1/users", params=query, headers=headers
        )
        listing = msgspec.json.decode(response.raise_for_status().content, type=Listing)
        people, pages = people + len(listing.users), pages + 1
        if not listing.next_page_token:
            return people, pages
        query["pageToken"] = listing.next_page_token


def _access_token(http: httpx2.Client, order: Order) -> str:
    key = msgspec.json.decode(Path(order.acme.service_account).read_bytes(), type=Key)
    now = int(time.time())
    claims = {
        "iss": key.client_email,
        "sub": order.acme.admin_email,
        "scope": " ".join(SCOPES),
        "aud": key.token_uri,
        "iat": now,
        "exp": now + 3600,
    }
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": jwt.encode(claims, key.private_key, "RS256"),
    }
    response = http.post(key.token_uri, data=form).raise_for_status()
    return msgspec.json.decode(response.content, type=Token).access_token


if __name__ == "__main__":
    main()

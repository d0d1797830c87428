"""What the peers that everybody writes have in common: Google's own client, and the columns they keep."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from google.oauth2 import service_account
from googleapiclient.discovery import build

from bench.rig.peer import Order

TABLE = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;
CREATE TABLE IF NOT EXISTS people (
    google_id text PRIMARY KEY, email text NOT NULL, name text NOT NULL, given_name text NOT NULL,
    family_name text NOT NULL, sort_name text NOT NULL, search_text text NOT NULL, status text NOT NULL,
    title text NOT NULL, department text NOT NULL, org_unit text NOT NULL, employee_id text NOT NULL,
    manager_email text NOT NULL, aliases text[] NOT NULL, phones jsonb NOT NULL, locations text[] NOT NULL,
    is_admin boolean NOT NULL, is_guest boolean NOT NULL, enrolled_2sv boolean NOT NULL,
    suspended_reason text NOT NULL, suspended_at timestamptz, joined_at timestamptz,
    last_login_at timestamptz, updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS people_search ON people USING gin (search_text gin_trgm_ops);
CREATE INDEX IF NOT EXISTS people_name ON people (sort_name, google_id);
CREATE INDEX IF NOT EXISTS people_email ON people (email, google_id);
CREATE INDEX IF NOT EXISTS people_department ON people (department, google_id);
CREATE INDEX IF NOT EXISTS people_joined ON people (joined_at, google_id);
CREATE INDEX IF NOT EXISTS people_last_login ON people (last_login_at, google_id);
CREATE INDEX IF NOT EXISTS people_manager ON people (manager_email) WHERE manager_email <> '';
"""
"""Muster's table without what only its own way of syncing needs: it could serve the same pages."""

SCOPES = ["https://www.googleapis.com/auth/admin.directory.user.readonly"]


def directory_pages(order: Order) -> Iterator[list[dict[str, Any]]]:
    """Google's guide, word for word, but for the addresses."""
    # It calls its own company's address the audience of every token; the sandbox wants the one it asks.
    service_account._GOOGLE_OAUTH2_TOKEN_ENDPOINT = f"{order.acme.issuer}/token"  # noqa: SLF001
    credentials = service_account.Credentials.from_service_account_file(
        order.acme.service_account, scopes=SCOPES, subject=order.acme.admin_email
    )
    directory = build(
        "admin",
        "directory_v1",
        credentials=credentials,
        static_discovery=True,
        client_options={"api_endpoint": order.acme.directory_url},
    )
    users = directory.users()
    request = users.list(customer="my_customer", maxResults=order.page_size, projection="full")
    while request is not None:
        page = request.execute(num_retries=3)
        yield page.get("users", [])
        request = users.list_next(request, page)


def kept(user: dict[str, Any]) -> dict[str, Any]:
    """The row of `TABLE` for one of Google's users."""
    organization = (user.get("organizations") or [{}])[0]
    name, email = user["name"], user["primaryEmail"]
    full, given, family = name.get("fullName", ""), name.get("givenName", ""), name.get("familyName", "")
    title, department = organization.get("title", ""), organization.get("department", "")
    aliases = user.get("aliases", [])
    return {
        "google_id": user["id"],
        "email": email,
        "name": full,
        "given_name": given,
        "family_name": family,
        "sort_name": f"{family} {given}".lower(),
        "search_text": " ".join([full, email, *aliases, department, title]).lower(),
        "status": _status(user),
        "title": title,
        "department": department,
        "org_unit": user.get("orgUnitPath", ""),
        "employee_id": _value(user.get("externalIds", []), "organization"),
        "manager_email": _value(user.get("relations", []), "manager"),
        "aliases": aliases,
        "phones": [{"label": one.get("type", ""), "value": one["value"]} for one in user.get("phones", [])],
        "locations": [
            f"{one.get('buildingId', '')}, floor {one.get('floorName', '')}, desk {one.get('deskCode', '')}"
            for one in user.get("locations", [])
        ],
        "is_admin": user.get("isAdmin", False),
        "is_guest": user.get("isGuestUser", False),
        "enrolled_2sv": user.get("isEnrolledIn2Sv", False),
        "suspended_reason": user.get("suspensionReason", ""),
        "suspended_at": _moment(user.get("suspensionTime")),
        "joined_at": _moment(user.get("creationTime")),
        "last_login_at": _moment(user.get("lastLoginTime")),
    }


def _status(user: dict[str, Any]) -> str:
    if user.get("archived"):
        return "archived"
    return "suspended" if user.get("suspended") else "active"


def _value(entries: list[dict[str, Any]], kind: str) -> str:
    return next((str(one["value"]) for one in entries if one.get("type") == kind), "")


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None

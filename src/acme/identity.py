"""What the sandbox calls itself and its two clients: the web client and the service account."""

from pathlib import Path
from typing import NamedTuple

import msgspec

from acme.company import CUSTOMER, DOMAIN
from acme.safe import Safe, write_private

CLIENT_ID = "104729-acmeportal.apps.googleusercontent.com"
PROJECT = "acme-portal"
SERVICE_ACCOUNT_EMAIL = f"directory-reader@{PROJECT}.iam.gserviceaccount.com"
SERVICE_ACCOUNT_ID = "112358132134558914423"
ADMIN_EMAIL = f"ada@{DOMAIN}"


class Identity(NamedTuple):
    issuer: str
    """Also the address of everything else here; without a slash at the end."""

    @property
    def token_uri(self) -> str:
        return f"{self.issuer}/token"


def write_files(home: Path, identity: Identity, safe: Safe, *, sentry_dsn: str) -> None:
    """`service-account.json` as Google's console gives it, and `acme.json` with all a client needs."""
    service_account = home / "service-account.json"
    key = safe.secrets.service_account
    write_private(
        service_account,
        _json(
            {
                "type": "service_account",
                "project_id": PROJECT,
                "private_key_id": key.kid,
                "private_key": key.pem,
                "client_email": SERVICE_ACCOUNT_EMAIL,
                "client_id": SERVICE_ACCOUNT_ID,
                "auth_uri": f"{identity.issuer}/o/oauth2/v2/auth",
                "token_uri": identity.token_uri,
                "universe_domain": "googleapis.com",
            }
        ),
    )
    write_private(
        home / "acme.json",
        _json(
            {
                "issuer": identity.issuer,
                "client_id": CLIENT_ID,
                "client_secret": safe.secrets.client_secret,
                "directory_url": identity.issuer,
                "service_account": str(service_account.resolve()),
                "admin_email": ADMIN_EMAIL,
                "customer": CUSTOMER,
                "domain": DOMAIN,
                "hubspot_url": identity.issuer,
                "hubspot_token": safe.secrets.hubspot_token,
                "hubspot_webhook_secret": safe.secrets.hubspot_webhook_secret,
                "sentry_dsn": sentry_dsn,
            }
        ),
    )


def _json(content: dict[str, str]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"

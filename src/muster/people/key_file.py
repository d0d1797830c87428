"""A service account's key file, and what is taken for one."""

from typing import Any

import jwt
import msgspec

from muster.people.remedies import AGAIN, Ailment

_NEEDED = ("client_email", "private_key", "token_uri")


class KeyFile(msgspec.Struct):
    """Taken apart as far as it is a key: `web` and `installed` are what an OAuth client's file holds."""

    type: str = ""
    client_email: str = ""
    client_id: str = ""
    private_key: str = ""
    private_key_id: str = ""
    project_id: str = ""
    token_uri: str = ""
    web: Any = None
    installed: Any = None


def taken_apart(text: str) -> KeyFile:
    """Raises Ailment, which tells what it is instead of a key."""
    if not text.strip():
        raise _no_key_file("the file is empty")
    try:
        key = msgspec.json.decode(text, type=KeyFile)
    except msgspec.ValidationError as error:
        raise _no_key_file(f"it is not shaped as a key is: {error}") from error
    except msgspec.DecodeError as error:
        raise _no_key_file(f"it is no JSON: {error}") from error
    if key.web is not None or key.installed is not None:
        raise _no_key_file("it is the file of an OAuth client, with which people sign in")
    if key.type not in {"", "service_account"}:
        raise _no_key_file(f"it is a file of type {key.type!r}")
    if lacking := [name for name in _NEEDED if not getattr(key, name)]:
        raise _no_key_file(f"it lacks {', '.join(lacking)}")
    _check_pem(key.private_key)
    return key


def _no_key_file(seen: str) -> Ailment:
    return Ailment(
        f"GOOGLE_SERVICE_ACCOUNT is not a service account's key: {seen}",
        "In console.cloud.google.com: IAM & Admin → Service accounts "
        "(https://console.cloud.google.com/iam-admin/serviceaccounts) → the account → Keys → Add key → "
        "Create new key → JSON. A file is downloaded: set GOOGLE_SERVICE_ACCOUNT to its path.",
        AGAIN,
    )


def _check_pem(pem: str) -> None:
    try:
        jwt.encode({}, pem, "RS256")
    except (ValueError, TypeError, jwt.PyJWTError) as error:
        why = (
            "its line breaks stand as \\n in the text, which copying by hand leads to"
            if "\\n" in pem
            else "it was cut or changed"
        )
        raise Ailment(
            f"the private key in GOOGLE_SERVICE_ACCOUNT cannot be read: {why}",
            "Use the file as it was downloaded, by its path. If it is lost: Service accounts → the account → "
            "Keys → Add key → Create new key → JSON.",
            AGAIN,
        ) from error

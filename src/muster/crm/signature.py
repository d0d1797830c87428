"""How HubSpot signs what it sends, in its third version.

https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation
"""

import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from datetime import UTC, datetime, timedelta

from muster.errors import NotAllowed

OLDEST = timedelta(minutes=5)
FURTHEST_AHEAD = timedelta(minutes=1)

SIGNATURE = "x-hubspot-signature-v3"
TIMESTAMP = "x-hubspot-request-timestamp"

_LONGEST = 8000
_MOMENT = re.compile(r"[0-9]{1,15}")
_DECODED = {
    "%3A": ":",
    "%2F": "/",
    "%3F": "?",
    "%40": "@",
    "%21": "!",
    "%24": "$",
    "%27": "'",
    "%28": "(",
    "%29": ")",
    "%2A": "*",
    "%2C": ",",
    "%3B": ";",
}
"""What HubSpot signs in its plain form, of an address in which it may be written otherwise."""
_ENCODED = re.compile("|".join(_DECODED), re.IGNORECASE)


def signature(secret: str, method: str, uri: str, body: bytes, timestamp: str) -> str:
    plain = _ENCODED.sub(lambda found: _DECODED[found.group().upper()], uri)
    signed = method.encode() + plain.encode() + body + timestamp.encode()
    return b64encode(hmac.digest(secret.encode(), signed, "sha256")).decode()


def verified(
    secret: str, method: str, uri: str, body: bytes, *, given: str, timestamp: str, now: datetime
) -> tuple[bytes, datetime]:
    """The signature's bytes and when it was made. Raises NotAllowed for any other than HubSpot's own."""
    if not _MOMENT.fullmatch(timestamp) or len(given) > _LONGEST:
        raise NotAllowed("This message is not signed.")
    wanted = signature(secret, method, uri, body, timestamp)
    if not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace")):
        raise NotAllowed("This message is not signed with this app's secret, or was changed on its way.")
    try:
        sent_at = datetime.fromtimestamp(int(timestamp) / 1000, UTC)
        digest = b64decode(given, validate=True)
    except (ValueError, OverflowError, OSError, NotBase64) as error:
        raise NotAllowed("This message was signed at no time there is.") from error
    if now - sent_at > OLDEST:
        raise NotAllowed("This message was signed too long ago.")
    if sent_at - now > FURTHEST_AHEAD:
        raise NotAllowed("This message was signed in the future.")
    return digest, sent_at

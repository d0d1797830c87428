"""Two locks on every unsafe request: where the browser says it comes from, and a token of the form.

The token is an HMAC of the session id, so nothing is stored and it dies with the session.
"""

import hashlib
import hmac
from collections.abc import Sequence
from urllib.parse import urlsplit

from muster.errors import NotAllowed

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FIELD = "csrf"
HEADER = "x-csrf-token"


class Csrf:
    def __init__(self, key: str, fallbacks: Sequence[str] = ()) -> None:
        self._keys = (key, *fallbacks)

    def token(self, session_id: str) -> str:
        return _mac(self._keys[0], session_id)

    def check_token(self, session_id: str, token: str) -> None:
        """Raises NotAllowed unless `token` was made for this session by the present or an earlier key."""
        if not any(hmac.compare_digest(_mac(key, session_id), token) for key in self._keys):
            raise NotAllowed("This form was not made for your session. Reload the page and send it again.")


def check_site(*, site: str | None, origin: str | None, hosts: frozenset[str]) -> None:
    """Refuse what another site sent.

    `site` is Sec-Fetch-Site, which browsers leave out over plain HTTP; `origin` is Origin. Raises
    NotAllowed when either speaks of another site; programs send neither and are left to the token.
    """
    if site is not None and site not in {"same-origin", "none"}:
        raise NotAllowed("This request came from another site.")
    if origin is not None and urlsplit(origin).netloc.casefold() not in hosts:
        raise NotAllowed("This request came from another site.")


def _mac(key: str, session_id: str) -> str:
    return hmac.new(key.encode(), b"csrf:" + session_id.encode(), hashlib.sha256).hexdigest()

"""Two locks on every unsafe request: where the browser says it comes from, and a token of the form.

The token is an HMAC of the sign-in, so nothing is stored and it dies with the session, though not when
the session gets another id. Each page carries it under a mask of its own: pages are compressed, and what
repeats can be guessed by length (https://www.breachattack.com).
"""

import hmac
import secrets
from collections.abc import Sequence

from muster.errors import NotAllowed

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FIELD = "csrf"
HEADER = "x-csrf-token"
_SIZE = 32


class Csrf:
    def __init__(self, key: str, fallbacks: Sequence[str] = ()) -> None:
        self._keys = (key, *fallbacks)

    def token(self, sign_in: str) -> str:
        mask = secrets.token_bytes(_SIZE)
        return (mask + _xor(mask, _mac(self._keys[0], sign_in))).hex()

    def check_token(self, sign_in: str, token: str) -> None:
        """Raises NotAllowed unless `token` was made for this session by the present or an earlier key."""
        given = _unmasked(token)
        if not any(hmac.compare_digest(_mac(key, sign_in), given) for key in self._keys):
            raise NotAllowed("This form was not made for your session. Reload the page and send it again.")


def check_site(*, site: str | None, origin: str | None, origins: frozenset[str]) -> None:
    """Refuse what another site sent.

    `site` is Sec-Fetch-Site, which browsers leave out over plain HTTP; `origin` is Origin. Raises
    NotAllowed when either speaks of another site; programs send neither and are left to the token.
    """
    if site is not None and site not in {"same-origin", "none"}:
        raise NotAllowed("This request came from another site.")
    if origin is not None and origin.casefold() not in origins:
        raise NotAllowed("This request came from another site.")


def _mac(key: str, sign_in: str) -> bytes:
    return hmac.digest(key.encode(), b"csrf:" + sign_in.encode(), "sha256")


def _unmasked(token: str) -> bytes:
    """What is not of the form of a token unmasks to nothing, which matches no session."""
    try:
        raw = bytes.fromhex(token)
    except ValueError:
        return b""
    return _xor(raw[:_SIZE], raw[_SIZE:]) if len(raw) == 2 * _SIZE else b""


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))

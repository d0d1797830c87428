"""The one client for requests to the outside: named hosts only, no redirects, never without a time-out."""

from collections.abc import Iterable
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import httpx2

from muster.errors import MusterError

TIMEOUT = httpx2.Timeout(20, connect=5, pool=10)
LIMITS = httpx2.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=30)


class HostRefused(MusterError):
    """Something asked for a host that no setting names."""

    code = "host_refused"


def client(addresses: Iterable[str]) -> httpx2.AsyncClient:
    """A client that reaches the hosts of `addresses` (URLs) and raises HostRefused for any other."""
    allowed = frozenset(urlsplit(address).netloc.casefold() for address in addresses)

    async def refuse_strangers(request: httpx2.Request) -> None:
        if request.url.netloc.decode().casefold() not in allowed:
            raise HostRefused(f"{request.url.host} is not among the hosts Muster may ask")

    return httpx2.AsyncClient(
        timeout=TIMEOUT,
        limits=LIMITS,
        follow_redirects=False,
        trust_env=False,
        # Nobody's cookies are kept for the next request, which may be on behalf of somebody else.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"user-agent": "Muster", "accept-encoding": "gzip"},
        event_hooks={"request": [refuse_strangers]},
    )

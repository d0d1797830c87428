"""The one client for requests to the outside: named places only, at addresses that were looked at.

A name is resolved here and the connection goes to the very address that was checked, so a name that
changes its mind between the two (DNS rebinding) changes nothing. There are no redirects, no proxies of
the environment, no cookies, and never a request without a time-out.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.parse import urlsplit

import httpcore2
import httpx2
from typing_extensions import override

from muster.errors import MusterError
from muster.platform.addresses import is_loopback
from muster.platform.telemetry import logger, trail

TIMEOUT = httpx2.Timeout(20, connect=5, pool=10)
LIMITS = httpx2.Limits(max_connections=20, max_keepalive_connections=10, keepalive_expiry=30)
LARGEST = 64 * 2**20
"""Bytes of an answer as it travels; the largest there is, a page of people, has some hundred thousand."""

REQUEST_ID = "x-request-id"
"""Unknown headers are ignored (https://www.rfc-editor.org/rfc/rfc9110#section-5.1); who asks Google's or
HubSpot's support about a call has an id to name, and a proxy of the company's can join its log to ours.
"""

ATTEMPT = "attempt"
"""The extension of a request that says which try it is, from 1."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class HostRefused(MusterError):
    """Something asked for a place that no setting names, or that lies where no other service can be."""

    code = "host_refused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A place that may be asked: scheme, host and port of `url`, whatever its path.

    One that `may_be_private` may lie in the company's own network, or on this machine.
    """

    url: str
    may_be_private: bool = False

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


def client(destinations: Iterable[Destination], *, resolve: Resolve | None = None) -> httpx2.AsyncClient:
    """A client that reaches `destinations` and raises HostRefused for any other place."""
    known = tuple(destinations)
    allowed = frozenset(_place(httpx2.URL(one.url)) for one in known)
    private = frozenset(one.host.casefold() for one in known if one.may_be_private)

    async def refuse_strangers(request: httpx2.Request) -> None:
        if _place(request.url) not in allowed or request.url.userinfo:
            raise HostRefused(f"{request.url.host} is not among the hosts Muster may ask")

    async def carry_the_trail(request: httpx2.Request) -> None:
        if (found := trail()) and REQUEST_ID not in request.headers:
            request.headers[REQUEST_ID] = found

    return httpx2.AsyncClient(
        transport=_Transport(_CheckedNetwork(private, resolve or _resolved)),
        timeout=TIMEOUT,
        follow_redirects=False,
        trust_env=False,
        # Nobody's cookies are kept for the next request, which may be on behalf of somebody else.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        headers={"user-agent": "Muster", "accept-encoding": "gzip"},
        event_hooks={"request": [refuse_strangers, carry_the_trail]},
    )


def is_public(address: str) -> bool:
    """Whether somebody else's service may be at this address: not this machine's, not a network's own."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return all(
        one.is_global and not (one.is_multicast or one.is_reserved or one.is_unspecified)
        for one in _wrapped(parsed) or [parsed]
    )


def _wrapped(address: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 address leads to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inner = [address.ipv4_mapped, address.sixtofour]
    if address in _NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [one for one in inner if one]


def _place(url: httpx2.URL) -> tuple[str, str, int]:
    port = url.port or {"https": 443, "http": 80}.get(url.scheme, 0)
    return url.scheme, url.host.casefold(), port


async def _resolved(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class _CheckedNetwork(httpcore2.AsyncNetworkBackend):
    """Opens connections to addresses rather than to names, each of them looked at first."""

    def __init__(self, private: frozenset[str], resolve: Resolve) -> None:
        self._private = private
        self._resolve = resolve
        self._network = httpcore2.AnyIOBackend()

    @override
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        failure: httpcore2.ConnectError | httpcore2.ConnectTimeout | None = None
        for address in await self._addresses(host, port, timeout):
            try:
                return await self._network.connect_tcp(
                    address,
                    port,
                    timeout=timeout,
                    local_address=local_address,
                    socket_options=socket_options,
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore2.ConnectError(f"{host} has no address")

    async def _addresses(self, host: str, port: int, within: float | None) -> list[str]:
        """Raises HostRefused when all that the name leads to lies inside."""
        try:
            async with asyncio.timeout(within):
                found = await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"the name {host} was not resolved in time") from error
        except OSError as error:
            raise httpcore2.ConnectError(f"the name {host} is not known") from error
        if host.casefold() in self._private:
            return list(dict.fromkeys(found))
        outside = [address for address in dict.fromkeys(found) if is_public(address)]
        if found and not outside:
            raise HostRefused(f"{host} leads to {found[0]}, which is inside; Muster does not ask there")
        return outside


class _Transport(httpx2.AsyncHTTPTransport):
    """httpx2's own, over a network that looks where it goes, and which ends an answer that has no end."""

    def __init__(self, network: httpcore2.AsyncNetworkBackend) -> None:
        super().__init__(trust_env=False)
        # The transport takes no network of ours, but all it does is ask its pool.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=LIMITS.max_connections,
            max_keepalive_connections=LIMITS.max_keepalive_connections,
            keepalive_expiry=LIMITS.keepalive_expiry,
            network_backend=network,
        )

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call = _Call(request)
        try:
            response = await super().handle_async_request(request)
        except httpx2.HTTPError as error:
            call.log(error=type(error).__name__)
            raise
        call.log(status=response.status_code)
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError("an asynchronous transport answered with a stream that is none")
        response.stream = _Bounded(response.stream)
        return response


class _Call:
    """One call, for its line in the log. Its query is left out, which may hold whom it is about."""

    def __init__(self, request: httpx2.Request) -> None:
        self._request = request
        self._started = time.perf_counter()

    def log(self, **how_it_ended: int | str) -> None:
        logger.debug(
            "vendor_called",
            method=self._request.method,
            host=self._request.url.host,
            path=self._request.url.path,
            attempt=self._request.extensions.get(ATTEMPT, 1),
            ms=round((time.perf_counter() - self._started) * 1000, 1),
            **how_it_ended,
        )


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        arrived = 0
        async for part in self._stream:
            arrived += len(part)
            if arrived > LARGEST:
                raise httpx2.ReadError(f"the answer is larger than {LARGEST // 2**20} MB")
            yield part

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()


def named(url: str, *, is_development: bool) -> Destination:
    """Somebody else's service as a setting names it: on this machine only where that is the sandbox's."""
    host = urlsplit(url).hostname or ""
    return Destination(url=url, may_be_private=is_development and is_loopback(host))

"""A proxy such as companies put in front of everything, which can be told to spoil what passes."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx2
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from tests.town import serving

_PASSED_ON = (
    *("accept", "authorization", "content-type", "cookie"),
    *("host", "origin", "sec-fetch-site", "x-csrf-token"),
)
_ITS_OWN = ("connection", "content-encoding", "content-length", "date", "server", "transfer-encoding")


@dataclass
class Passing:
    """An answer on its way."""

    status: int
    headers: MutableHeaders
    body: bytes


class Between:
    """Passes requests on to `upstream`, which its visitors know by the proxy's own address."""

    def __init__(self, upstream: str, address: str, client: httpx2.AsyncClient) -> None:
        self.address = address
        self._upstream = upstream
        self._client = client
        self._spoil: Callable[[Passing], Passing | None] | None = None
        self.dropped: frozenset[str] = frozenset()
        """Headers of requests that do not get through."""

    @contextlib.contextmanager
    def spoiling(self, spoil: Callable[[Passing], Passing | None]) -> Iterator[None]:
        """Change what passes; what `spoil` gives instead of None passes in its place."""
        self._spoil = spoil
        try:
            yield
        finally:
            self._spoil = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = await self._client.request(
            request.method,
            f"{self._upstream}{request.url.path}",
            params=request.query_params,
            content=await request.body(),
            headers={
                name: value
                for name, value in request.headers.items()
                if (name in _PASSED_ON or name.startswith(("x-goog-", "x-hubspot-")))
                and name not in self.dropped
            },
        )
        headers = MutableHeaders(raw=[(name.lower(), value) for name, value in answer.headers.raw])
        for name in _ITS_OWN:
            del headers[name]
        body = answer.content.replace(self._upstream.encode(), self.address.encode())
        passing = Passing(answer.status_code, headers, body)
        if self._spoil:
            passing = self._spoil(passing) or passing
        await Response(passing.body, passing.status, dict(passing.headers))(scope, receive, send)


def free_address() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@contextlib.asynccontextmanager
async def standing_between(upstream: str, address: str) -> AsyncIterator[Between]:
    async with httpx2.AsyncClient(cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[]))) as client:
        proxy = Between(upstream, address, client)
        async with serving(proxy, int(address.rpartition(":")[2])):
            yield proxy

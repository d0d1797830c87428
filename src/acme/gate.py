"""What stands before every call of the Directory API: a good token with the scope it needs."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from acme.access_tokens import AccessTokens

Handler = Callable[[Request], Awaitable[Response]]


class Gate:
    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens

    def before(self, handler: Handler, scope: str) -> Handler:
        async def checked(request: Request) -> Response:
            self._tokens.check(request, scope)
            return await handler(request)

        return checked

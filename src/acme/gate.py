"""What stands before every call of the Directory API: a good token, its scope, and the quota."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from acme.access_tokens import AccessTokens
from acme.quota import Quota

Handler = Callable[[Request], Awaitable[Response]]


class Gate:
    def __init__(self, tokens: AccessTokens, quota: Quota) -> None:
        self._tokens = tokens
        self._quota = quota

    def before(self, handler: Handler, scope: str) -> Handler:
        async def checked(request: Request) -> Response:
            self._quota.take(self._tokens.check(request, scope).subject)
            return await handler(request)

        return checked

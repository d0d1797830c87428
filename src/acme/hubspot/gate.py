"""Who may call: the one token, its scopes, and the limits of the account."""

import hmac
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from acme.hubspot.errors import HubSpotError, missing_scopes, unauthorized
from acme.hubspot.limits import Limits

Handler = Callable[[Request], Awaitable[Response]]
SCOPES = frozenset(
    {
        *("crm.objects.deals.read", "crm.objects.contacts.read", "crm.objects.companies.read"),
        *("crm.objects.deals.write", "crm.objects.contacts.write", "crm.objects.companies.write"),
        *("crm.schemas.deals.read", "crm.schemas.contacts.read", "crm.schemas.companies.read"),
        *("crm.objects.owners.read", "oauth"),
    }
)


class Gate:
    def __init__(self, token: str, limits: Limits) -> None:
        self._token = token
        self._limits = limits
        self.rewound()

    def rewound(self) -> None:
        self.granted = set(SCOPES)
        self.is_revoked = False

    def before(self, handler: Handler, *, is_search: bool = False) -> Handler:
        """The handler asks for its scopes itself, since they hang on what the path says."""

        async def checked(request: Request) -> Response:
            if not self._knows(request):
                return unauthorized().answer()
            refusal = self._limits.take(is_search=is_search)
            try:
                response = refusal or await handler(request)
            except HubSpotError as error:
                response = error.answer()
            if not is_search:
                self._limits.add_headers(response)
            return response

        return checked

    def grant_all_but(self, missing: list[str]) -> None:
        self.granted = set(SCOPES).difference(missing)

    def require(self, *scopes: str) -> None:
        """Raises HubSpotError 403."""
        missing = [scope for scope in scopes if scope not in self.granted]
        if missing:
            raise missing_scopes(missing)

    def _knows(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        fits = hmac.compare_digest(token.strip().encode(), self._token.encode())
        return fits and scheme.lower() == "bearer" and not self.is_revoked

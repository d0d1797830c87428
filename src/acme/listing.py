"""users.list: which people, in which order, from where to where."""

from itertools import islice

import msgspec

from acme.clock import Clock
from acme.company import CUSTOMER, DOMAIN
from acme.google_error import GoogleError, invalid, not_found
from acme.people import DAY
from acme.query import email_prefix, parse, test_of
from acme.reply import etag_of
from acme.seal import Seal
from acme.tenant import Tenant

PAGE_TOKEN_LIFE = 3 * DAY
_NOT_PART_OF_A_LISTING = {
    "pageToken",
    "maxResults",
    "fields",
    "prettyPrint",
    "alt",
    "key",
    "quotaUser",
    "$.xgafv",
}
_SORT_KEYS = ("email", "givenName", "familyName")


class PageToken(msgspec.Struct, frozen=True):
    listing: str
    position: int
    made_at: int


class PageTokens:
    """Opaque, bound to the listing they came from, good for three days of the tenant's clock."""

    def __init__(self, seal: Seal, clock: Clock) -> None:
        self._seal = seal
        self._clock = clock

    def make(self, path: str, params: dict[str, str], position: int, *, is_expired: bool = False) -> str:
        made_at = 0 if is_expired else self._clock.now()
        return self._seal.close(PageToken(_listing(path, params), position, made_at))

    def position(self, path: str, params: dict[str, str]) -> int:
        """Where to go on; 0 without a token. Raises GoogleError 400 `invalid`."""
        if not params.get("pageToken"):
            return 0
        token = self._seal.open(PageToken, params["pageToken"])
        if token is None or token.listing != _listing(path, params):
            raise invalid("pageToken")
        if token.made_at + PAGE_TOKEN_LIFE < self._clock.now():
            raise invalid("pageToken")
        return token.position


def _listing(path: str, params: dict[str, str]) -> str:
    telling = sorted((name, value) for name, value in params.items() if name not in _NOT_PART_OF_A_LISTING)
    return etag_of(path.encode(), msgspec.json.encode(telling))


def page_size(params: dict[str, str], default: int, most: int) -> int:
    """More than the most is answered with the most, as at Google."""
    text = params.get("maxResults", str(default))
    if not text.isdecimal() or int(text) < 1:
        raise invalid("maxResults")
    return min(int(text), most)


def flag(params: dict[str, str], name: str) -> bool:
    text = params.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise invalid(name)
    return text == "true"


def check_whose(params: dict[str, str]) -> None:
    """A listing must say whose people or groups it means."""
    customer, domain = params.get("customer"), params.get("domain")
    if customer is None and domain is None:
        raise GoogleError(400, "badRequest", "Bad Request")
    if customer is not None and customer not in {"my_customer", CUSTOMER}:
        raise not_found("customer")
    if domain is not None and domain.lower() != DOMAIN:
        raise GoogleError(404, "notFound", "Domain not found.")


def users_page(tenant: Tenant, params: dict[str, str], position: int) -> tuple[list[int], int | None]:
    """Numbers of the page's people, and where the next page starts if there is one.

    A plain listing's positions are people's own numbers, so hires and leavers between two pages make it
    neither skip nor repeat anybody; a filtered or sorted one counts places.
    """
    size = page_size(params, 100, 500)
    is_deleted = flag(params, "showDeleted")
    order = params.get("orderBy")
    if order is not None and order not in _SORT_KEYS:
        raise invalid("orderBy")
    if params.get("query") or order:
        numbers = _chosen(tenant, params, order, is_deleted=is_deleted)
        end = position + size
        return numbers[position:end], end if end < len(numbers) else None
    walk = tenant.deleted_from(position) if is_deleted else tenant.listed_from(position)
    page = list(islice(walk, size + 1))
    return page[:size], page[size] if len(page) > size else None


def _chosen(tenant: Tenant, params: dict[str, str], order: str | None, *, is_deleted: bool) -> list[int]:
    query, sort_order = params.get("query", ""), params.get("sortOrder", "ASCENDING").upper()
    clauses = parse(query)

    def find() -> list[int]:
        numbers = tenant.deleted_from(0) if is_deleted else tenant.listed_from(0)
        if (prefix := email_prefix(clauses)) is not None:
            found = [number for number in numbers if _has_prefix(tenant, number, prefix)]
        else:
            tests = [test_of(clause) for clause in clauses]
            found = [
                number
                for number in numbers
                if not tests or all(test(tenant.person(number)) for test in tests)
            ]
        return (
            found
            if order is None
            else _sorted(tenant, found, order, is_descending=sort_order == "DESCENDING")
        )

    return tenant.remembered((query, order, sort_order, is_deleted), find)


def _has_prefix(tenant: Tenant, number: int, prefix: str) -> bool:
    return tenant.address_of(number).startswith(prefix) or any(
        alias.startswith(prefix) for alias in tenant.aliases_of(number)
    )


def _sorted(tenant: Tenant, numbers: list[int], order: str, *, is_descending: bool) -> list[int]:
    if order == "email":
        return sorted(numbers, key=tenant.address_of, reverse=is_descending)
    part = "given" if order == "givenName" else "family"
    return sorted(
        numbers, key=lambda number: str(getattr(tenant.person(number), part)).lower(), reverse=is_descending
    )

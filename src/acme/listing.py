"""users.list: which people, in which order, from where to where."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple, Self

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


class Listing(NamedTuple):
    """Which people users.list is asked for, and how many at a time."""

    size: int
    is_deleted: bool
    query: str
    order: str | None
    is_descending: bool

    @classmethod
    def of(cls, params: dict[str, str]) -> Self:
        """Raises GoogleError 400."""
        order = params.get("orderBy") or None
        if order is not None and order not in _SORT_KEYS:
            raise invalid("orderBy")
        return cls(
            size=page_size(params, 100, 500),
            is_deleted=flag(params, "showDeleted"),
            query=params.get("query", ""),
            order=order,
            is_descending=params.get("sortOrder", "ASCENDING").upper() == "DESCENDING",
        )

    @property
    def depends_on_people_only(self) -> bool:
        """And not on the day, as who may still be restored does, nor on everybody, as an order does."""
        return not self.is_deleted and self.order is None


async def find_people(tenant: Tenant, listing: Listing, position: int) -> tuple[list[int], int | None]:
    """Numbers of the page's people, and where the next page starts if there is one.

    A listing's positions are people's own numbers, so hires and leavers between two pages make it neither
    skip nor repeat anybody; a sorted one counts places.
    """
    if listing.order is not None:
        numbers = await _chosen(tenant, listing)
        end = position + listing.size
        return list(numbers[position:end]), end if end < len(numbers) else None
    page = list(islice(await _walk(tenant, listing, position), listing.size + 1))
    return page[: listing.size], page[listing.size] if len(page) > listing.size else None


async def _walk(tenant: Tenant, listing: Listing, position: int) -> Iterator[int]:
    if not listing.query:
        return tenant.deleted_from(position) if listing.is_deleted else tenant.listed_from(position)
    prefix = email_prefix(parse(listing.query))
    if prefix is not None and not listing.is_deleted:
        return await tenant.starting_with(prefix, position)
    numbers = await _chosen(tenant, listing)
    return iter(numbers[bisect_left(numbers, position) :])


async def _chosen(tenant: Tenant, listing: Listing) -> Sequence[int]:
    tests = [test_of(clause) for clause in parse(listing.query)]

    def find() -> list[int]:
        numbers = tenant.deleted_from(0) if listing.is_deleted else tenant.listed_from(0)
        found = [
            number for number in numbers if not tests or all(test(tenant.person(number)) for test in tests)
        ]
        return found if listing.order is None else _sorted(tenant, found, listing)

    return await tenant.remembered(listing._replace(size=0), find)


def _sorted(tenant: Tenant, numbers: list[int], listing: Listing) -> list[int]:
    if listing.order == "email":
        return sorted(numbers, key=tenant.address_of, reverse=listing.is_descending)
    part = "given" if listing.order == "givenName" else "family"
    return sorted(
        numbers,
        key=lambda number: str(getattr(tenant.person(number), part)).lower(),
        reverse=listing.is_descending,
    )

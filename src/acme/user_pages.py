"""Pages of users.list, made or taken from those that were made before."""

from collections.abc import Hashable

from acme.field_mask import EVERYTHING, Mask, below, parse, refuse_unknown
from acme.google_error import invalid
from acme.listing import Listing, find_people
from acme.page_cache import KeptPage, PageCache
from acme.records import Columns, UserRecords, glance, record
from acme.reply import deflate, etag_of, zipped
from acme.tenant import Tenant

_SHAPING = ("fields", "projection", "customFieldMask")


class UserPages:
    def __init__(self, tenant: Tenant, records: UserRecords, cache: PageCache) -> None:
        self._tenant = tenant
        self._records = records
        self._cache = cache

    async def get(self, params: dict[str, str], position: int) -> KeptPage:
        """Raises GoogleError 400."""
        listing = Listing.of(params)
        key = (listing, position, *map(params.get, _SHAPING))
        return self._cache.find(key) or await self._make(key, listing, params, position)

    def columns(self, mask: Mask, params: dict[str, str]) -> Columns:
        refuse_unknown(mask, self._records.known)
        return self._records.columns(mask, _wanted_schemas(params))

    async def _make(self, key: Hashable, listing: Listing, params: dict[str, str], position: int) -> KeptPage:
        mask = parse(params.get("fields", "*"))
        refuse_unknown(mask, frozenset({"kind", "etag", "users", "nextPageToken"}))
        columns = self.columns(below(mask, "users") or EVERYTHING, params)
        revision = self._tenant.revision
        numbers, following = await find_people(self._tenant, listing, position)
        last = self._tenant.end if following is None else following
        page = _page(mask, self._written(numbers, columns), following, range(position, last + 1))
        if listing.depends_on_people_only and revision == self._tenant.revision:
            self._cache.keep(key, page)
        return page

    def _written(self, numbers: list[int], columns: Columns) -> bytes:
        """One by one: five hundred people at a time would leave the processor's cache."""
        tenant = self._tenant
        if columns.made:
            return b",".join([record(tenant.person(number), columns) for number in numbers])
        return b",".join([glance(tenant.glance(number), columns) for number in numbers])


def _page(mask: Mask, people: bytes, following: int | None, span: range) -> KeptPage:
    deflated = deflate(people)
    etag = etag_of(deflated, str(following).encode())
    fields = {"kind": '"admin#directory#users"', "etag": f'"\\"{etag[1:-1]}\\""', "users": "["}
    head = ",".join(f'"{name}":{text}' for name, text in fields.items() if below(mask, name) is not None)
    return KeptPage(
        people=zipped(f"{{{head}".encode(), people, deflated),
        span=span,
        following=following,
        etag=etag,
        has_people=bool(people) and below(mask, "users") is not None,
        has_token=below(mask, "nextPageToken") is not None,
    )


def _wanted_schemas(params: dict[str, str]) -> Mask | None:
    """What `projection` and `customFieldMask` ask of the custom schemas; None for nothing."""
    wanted = params.get("customFieldMask", "")
    match params.get("projection", "basic").lower():
        case "basic":
            return None
        case "full":
            return EVERYTHING
        case "custom" if wanted:
            return dict.fromkeys(wanted.split(","), EVERYTHING)
        case "custom":
            raise invalid("customFieldMask")
    raise invalid("projection")

"""What search may be asked, and within what bounds."""

import msgspec

from acme.hubspot.errors import HubSpotError, invalid, unparsable
from acme.hubspot.kinds import Kind
from acme.hubspot.moments import parsed
from acme.hubspot.properties import PROPERTIES

MOST_RESULTS = 10_000
MOST_PER_PAGE = 200
_MOST_LETTERS = 3_000
_MOST_GROUPS, _MOST_FILTERS_OF_A_GROUP, _MOST_FILTERS = 5, 6, 18
_MOST_VALUES = 100
OPERATORS = {
    *("EQ", "NEQ", "LT", "LTE", "GT", "GTE", "BETWEEN", "IN", "NOT_IN"),
    *("HAS_PROPERTY", "NOT_HAS_PROPERTY", "CONTAINS_TOKEN", "NOT_CONTAINS_TOKEN"),
}
_WITHOUT_VALUE = {"HAS_PROPERTY", "NOT_HAS_PROPERTY"}
_WITH_VALUES = {"IN", "NOT_IN"}


class Filter(msgspec.Struct, frozen=True, rename="camel"):
    property_name: str
    operator: str
    value: str | int | float | bool | None = None
    high_value: str | int | float | None = None
    values: tuple[str | int | float, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        if self.operator in _WITH_VALUES:
            return tuple(str(value) for value in self.values)
        given = (self.value, self.high_value if self.operator == "BETWEEN" else None)
        return tuple(_text(value) for value in given if value is not None)


class FilterGroup(msgspec.Struct, frozen=True):
    filters: tuple[Filter, ...] = ()


class Sort(msgspec.Struct, frozen=True, rename="camel"):
    property_name: str
    direction: str = "ASCENDING"


class SearchRequest(msgspec.Struct, frozen=True, rename="camel"):
    """`sorts` are texts in the published specification and objects in the guides; both are taken."""

    filter_groups: tuple[FilterGroup, ...] = ()
    sorts: tuple[str | Sort, ...] = ()
    query: str = ""
    properties: tuple[str, ...] = ()
    limit: int = 10
    after: str | int = ""

    @property
    def sort(self) -> Sort | None:
        if not self.sorts:
            return None
        first = self.sorts[0]
        if isinstance(first, Sort):
            return first
        name = first.removeprefix("-")
        return Sort(name, "DESCENDING" if first.startswith("-") else "ASCENDING")

    def names(self, kind: Kind) -> set[str]:
        """The properties it looks at."""
        names = {each.property_name for group in self.filter_groups for each in group.filters}
        names |= set() if self.sort is None else {self.sort.property_name}
        return names | (set(kind.searched) if self.query else set())

    @property
    def offset(self) -> int:
        return int(self.after or 0)


def parse(kind: Kind, body: bytes) -> SearchRequest:
    """Raises HubSpotError 400."""
    try:
        request = msgspec.json.decode(body or b"{}", type=SearchRequest)
    except msgspec.DecodeError as error:
        raise unparsable(str(error)) from None
    if len(body.decode("utf-8", "replace")) > _MOST_LETTERS:
        raise invalid(f"The request body must not be longer than {_MOST_LETTERS} characters")
    _check_page(request)
    _check_filters(kind, request)
    if len(request.sorts) > 1:
        raise invalid("Only one sort is supported")
    if (sort := request.sort) is not None:
        _check_name(kind, sort.property_name)
        if sort.direction not in {"ASCENDING", "DESCENDING"}:
            raise invalid(f"{sort.direction} is no direction to sort in")
    return request


def _check_page(request: SearchRequest) -> None:
    if not 1 <= request.limit <= MOST_PER_PAGE:
        raise invalid(f"The limit must be between 1 and {MOST_PER_PAGE}, not {request.limit}")
    if not str(request.after or 0).isdecimal():
        raise invalid(f"{request.after} is no cursor of this search")
    if request.offset + request.limit > MOST_RESULTS:
        raise invalid(
            f"Search cannot page beyond {MOST_RESULTS:,} results; asked for {request.limit} "
            f"after {request.offset}"
        )


def _check_filters(kind: Kind, request: SearchRequest) -> None:
    groups = request.filter_groups
    if len(groups) > _MOST_GROUPS:
        raise invalid(f"There may be {_MOST_GROUPS} filter groups at most, not {len(groups)}")
    if any(len(group.filters) > _MOST_FILTERS_OF_A_GROUP for group in groups):
        raise invalid(f"A filter group may have {_MOST_FILTERS_OF_A_GROUP} filters at most")
    filters = [each for group in groups for each in group.filters]
    if len(filters) > _MOST_FILTERS:
        raise invalid(f"There may be {_MOST_FILTERS} filters at most, not {len(filters)}")
    for each in filters:
        _check_filter(kind, each)


def _check_filter(kind: Kind, each: Filter) -> None:
    if each.operator not in OPERATORS:
        raise invalid(f"{each.operator} is no operator")
    _check_name(kind, each.property_name)
    wanted = 0 if each.operator in _WITHOUT_VALUE else 2 if each.operator == "BETWEEN" else 1
    if each.operator in _WITH_VALUES and len(each.values) > _MOST_VALUES:
        raise invalid(f"{each.operator} takes {_MOST_VALUES} values at most")
    if len(each.texts) < wanted:
        raise invalid(f"operator {each.operator} requires {'values' if wanted == 2 else 'a value'}")
    definition = PROPERTIES[kind.name][each.property_name]
    for text in each.texts:
        if definition.type == "datetime" and parsed(text) is None:
            raise invalid(f"{text} is no moment {each.property_name} could be compared with")
        if definition.type == "number" and not _is_number(text):
            raise invalid(f"{text} is no number {each.property_name} could be compared with")


def _check_name(kind: Kind, name: str) -> None:
    if name not in PROPERTIES[kind.name]:
        raise HubSpotError(
            400,
            "VALIDATION_ERROR",
            f"There was a problem with the request. Property {name} does not exist",
            context={"propertyName": [name]},
        )


def _text(value: str | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

"""Search: filters, one sort, a query, and pages by offset, over what the index knows."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase

from acme.hubspot.kinds import Kind
from acme.hubspot.records import Record
from acme.hubspot.search_index import SearchIndex, Value, typed
from acme.hubspot.search_request import Filter, SearchRequest

Test = Callable[[Value], bool]
_WORD = re.compile(r"[\W_]+")
_KEPT_ANSWERS = 6


class Search:
    def __init__(self, index: SearchIndex) -> None:
        self._index = index
        self._answers: OrderedDict[object, list[int]] = OrderedDict()

    async def numbers(self, kind: Kind, request: SearchRequest) -> list[int]:
        """All that fit, sorted. An answer is kept while nothing changes: the next pages need it again."""
        await self._index.prepare(kind, request.names(kind))
        self._index.settle()
        key = kind, request.filter_groups, request.sort, request.query, self._index.revision
        if key not in self._answers:
            self._answers[key] = self._sorted(kind, request, self._found(kind, request))
            while len(self._answers) > _KEPT_ANSWERS:
                self._answers.popitem(last=False)
        self._answers.move_to_end(key)
        return self._answers[key]

    def _found(self, kind: Kind, request: SearchRequest) -> list[int]:
        groups = [group.filters for group in request.filter_groups if group.filters] or [()]
        found: set[int] = set()
        for filters in groups:
            found.update(self._fitting(kind, filters))
        if request.query:
            return self._with_words(kind, found, request.query.lower())
        return sorted(found)

    def _fitting(self, kind: Kind, filters: Iterable[Filter]) -> list[int]:
        tests = [(each.property_name, _test(kind, each)) for each in filters]
        numbers = list(self._index.unchanged(kind))
        for name, test in tests:
            column = self._index.column(kind, name)
            numbers = [number for number in numbers if test(column[number])]
        changed = self._index.changed(kind).values()
        return numbers + [
            record.number for record in changed if record.is_live and _fits(kind, record, tests)
        ]

    def _with_words(self, kind: Kind, numbers: Iterable[int], query: str) -> list[int]:
        changed = self._index.changed(kind)
        columns = [self._index.column(kind, name) for name in kind.searched]

        def texts(number: int) -> Iterable[Value]:
            if number in changed:
                return (changed[number].values.get(name, "").lower() for name in kind.searched)
            return (column[number] for column in columns)

        return sorted(
            number
            for number in numbers
            if any(isinstance(text, str) and query in text for text in texts(number))
        )

    def _sorted(self, kind: Kind, request: SearchRequest, numbers: list[int]) -> list[int]:
        """By number, which is by creation, unless asked; those without a value come last."""
        sort = request.sort
        if sort is None:
            return numbers
        name = sort.property_name
        changed = self._index.changed(kind)
        column = self._index.column(kind, name)

        def value(number: int) -> Value:
            record = changed.get(number)
            return column[number] if record is None else typed(kind, name, record.values.get(name))

        values = {number: value(number) for number in numbers}
        with_value = [number for number in numbers if values[number] is not None]
        with_value.sort(key=lambda number: values[number], reverse=sort.direction == "DESCENDING")  # type: ignore[arg-type, return-value]
        return with_value + [number for number in numbers if values[number] is None]


def _fits(kind: Kind, record: Record, tests: list[tuple[str, Test]]) -> bool:
    return all(test(typed(kind, name, record.values.get(name))) for name, test in tests)


def _test(kind: Kind, wanted: Filter) -> Test:
    """As HubSpot has it, what is not set is unequal to everything, and neither greater nor less."""
    given = [typed(kind, wanted.property_name, text) for text in wanted.texts]
    match wanted.operator:
        case "HAS_PROPERTY":
            return lambda value: value is not None
        case "NOT_HAS_PROPERTY":
            return lambda value: value is None
        case "CONTAINS_TOKEN" | "NOT_CONTAINS_TOKEN":
            return _tokens_test(str(given[0]), is_wanted=wanted.operator == "CONTAINS_TOKEN")
        case "EQ" | "IN":
            among = frozenset(given)
            return lambda value: value in among
        case "NEQ" | "NOT_IN":
            among = frozenset(given)
            return lambda value: value not in among
        case _:
            return _order_test(wanted.operator, given)


def _order_test(operator: str, given: list[Value]) -> Test:
    low = given[0]
    if isinstance(low, str):
        return lambda value: (
            isinstance(value, str) and _compares(operator, value, [str(each) for each in given])
        )
    numbers = [float(each) for each in given if each is not None]
    first, last = numbers[0], numbers[-1]
    tests: dict[str, Test] = {
        "LT": lambda value: value is not None and value < first,  # type: ignore[operator]
        "LTE": lambda value: value is not None and value <= first,  # type: ignore[operator]
        "GT": lambda value: value is not None and value > first,  # type: ignore[operator]
        "GTE": lambda value: value is not None and value >= first,  # type: ignore[operator]
        "BETWEEN": lambda value: value is not None and first <= value <= last,  # type: ignore[operator]
    }
    return tests[operator]


def _compares(operator: str, value: str, given: list[str]) -> bool:
    match operator:
        case "LT":
            return value < given[0]
        case "LTE":
            return value <= given[0]
        case "GT":
            return value > given[0]
        case "GTE":
            return value >= given[0]
        case _:
            return given[0] <= value <= given[-1]


def _tokens_test(text: str, *, is_wanted: bool) -> Test:
    """Every word asked for is among the words; `*` stands for any letters."""
    patterns = [word for word in re.split(r"[^\w*]+", text) if word]

    def test(value: Value) -> bool:
        words = _WORD.split(str(value)) if value is not None else []
        return is_wanted == all(any(fnmatchcase(word, each) for word in words) for each in patterns)

    return test

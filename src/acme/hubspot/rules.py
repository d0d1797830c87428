"""The account's own rules, which since 2026-09 bind writes through the API as well."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from acme.hubspot.errors import Detail, invalid
from acme.hubspot.kinds import Kind

_MESSAGE = "The property values provided are invalid"


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """While `when` is `equals`, the property must have a value (`positive`: one above zero).

    Without `when`, creating a record asks for it.
    """

    name: str
    type: str
    property: str
    when: str | None = None
    equals: str | None = None
    kind: Literal["required", "positive"] = "required"

    def concerns(self, kind: Kind, written: set[str], *, is_new: bool) -> bool:
        """A rule does not look at writes that leave its properties alone."""
        if self.type not in {kind.name, kind.singular, kind.type_id}:
            return False
        return is_new if self.when is None else is_new or bool({self.when, self.property} & written)

    def broken_by(self, values: dict[str, str]) -> Detail | None:
        if self.when is not None and values.get(self.when) != self.equals:
            return None
        value = values.get(self.property)
        if value is None:
            return self._missing()
        if self.kind == "positive" and float(value) <= 0:
            return Detail(
                f"{self.property} must be greater than 0 because of a property validation rule",
                "INVALID_NUMBER_RANGE",
                context={"propertyName": [self.property]},
            )
        return None

    def _missing(self) -> Detail:
        context = {"propertyName": [self.property]}
        if self.when is None:
            message = f"A value for {self.property} must be provided"
            return Detail(message, "MISSING_REQUIRED_PROPERTY", context=context)
        message = f"{self.property} is required because of a conditional property rule based on [{self.when}]"
        return Detail(message, "MISSING_CONDITIONAL_REQUIRED_PROPERTY", context=context)


AT_FIRST = (
    Rule("deal-name", "deals", "dealname"),
    Rule("close-date-at-closed-won", "deals", "closedate", "dealstage", "closedwon"),
    Rule("amount-at-contract-sent", "deals", "amount", "dealstage", "contractsent", "positive"),
)


class Rules:
    def __init__(self) -> None:
        self.rewound()

    def rewound(self) -> None:
        self._by_name = {rule.name: rule for rule in AT_FIRST}

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._by_name.values())

    def add(self, rule: Rule) -> None:
        self._by_name[rule.name] = rule

    def drop(self, name: str) -> bool:
        return self._by_name.pop(name, None) is not None

    def check(self, kind: Kind, values: dict[str, str], written: set[str], *, is_new: bool) -> None:
        """Raises HubSpotError 400 with every rule that is broken."""
        concerned = (rule for rule in self if rule.concerns(kind, written, is_new=is_new))
        broken = [detail for rule in concerned if (detail := rule.broken_by(values)) is not None]
        if broken:
            raise invalid(_MESSAGE, *broken)

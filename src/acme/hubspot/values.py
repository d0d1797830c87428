"""What may be written into a property: HubSpot's types, and how it words a refusal."""

import re
from collections.abc import Mapping

import msgspec

from acme.hubspot.errors import Detail, HubSpotError, invalid, unparsable
from acme.hubspot.kinds import Kind
from acme.hubspot.moments import iso, parsed
from acme.hubspot.owners import Owners
from acme.hubspot.pipelines import PIPELINE_BY_ID, PIPELINE_OF_STAGE
from acme.hubspot.properties import PROPERTIES, Property

_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,6})?")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
_MOST_LETTERS = 65_536


class Problem(msgspec.Struct, frozen=True):
    """One of those in the message, which carries them as JSON."""

    name: str
    error: str
    message: str

    def in_message(self) -> dict[str, object]:
        return {
            "isValid": False,
            "message": self.message,
            "error": self.error,
            "name": self.name,
            "localizedErrorMessage": self.message,
        }

    def detail(self) -> Detail:
        return Detail(self.message, self.error, context={"propertyName": [self.name]})


def refusal(problems: list[Problem]) -> HubSpotError:
    listed = msgspec.json.encode([problem.in_message() for problem in problems]).decode()
    details = (problem.detail() for problem in problems)
    return invalid(f"Property values were not valid: {listed}", *details)


def checked(kind: Kind, raw: Mapping[str, object], owners: Owners) -> dict[str, str]:
    """As they will be kept; an empty text clears. Raises HubSpotError 400."""
    texts = {name: _text(name, value) for name, value in raw.items()}
    problems: list[Problem] = []
    kept: dict[str, str] = {}
    for name, text in texts.items():
        definition = PROPERTIES[kind.name].get(name)
        found = _kept(definition, text, owners) if definition else _unknown(name)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            kept[name] = found
    if problems:
        raise refusal(problems)
    return kept


def check_stage(values: dict[str, str]) -> None:
    """A deal stands in a stage of its own pipeline. Raises HubSpotError 400."""
    stage, pipeline_id = values.get("dealstage"), values.get("pipeline", "default")
    if stage is None or PIPELINE_OF_STAGE[stage].id == pipeline_id:
        return
    stages = [each.id for each in PIPELINE_BY_ID[pipeline_id].stages]
    raise refusal([_not_an_option("dealstage", stage, stages)])


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        raise unparsable(f"Cannot deserialize value of type `java.lang.String` from null (properties.{name})")
    raise unparsable(f"Cannot deserialize value of type `java.lang.String` (properties.{name})")


def _unknown(name: str) -> Problem:
    return Problem(name, "PROPERTY_DOESNT_EXIST", f'Property "{name}" does not exist')


def _kept(definition: Property, text: str, owners: Owners) -> str | Problem:
    if not text and not definition.is_read_only:
        return ""
    if definition.is_read_only:
        message = f'"{definition.name}" is a read only property; its value cannot be set'
        return Problem(definition.name, "READ_ONLY_VALUE", message)
    if definition.is_owner:
        return _owner(definition, text, owners)
    return _KEPT_BY_TYPE.get(definition.type, _words)(definition, text)


def _option(definition: Property, text: str) -> str | Problem:
    options = [value for value, _ in definition.options]
    return text if text in options else _not_an_option(definition.name, text, options)


def _number(definition: Property, text: str) -> str | Problem:
    if _NUMBER.fullmatch(text):
        return text
    return Problem(definition.name, "INVALID_LONG", f"{text} was not a valid number.")


def _moment(definition: Property, text: str) -> str | Problem:
    moment = parsed(text)
    return (
        Problem(definition.name, "INVALID_DATE", f"{text} was not a valid date.")
        if moment is None
        else iso(moment)
    )


def _words(definition: Property, text: str) -> str | Problem:
    if len(text) > _MOST_LETTERS:
        message = f"{definition.name} is longer than {_MOST_LETTERS} characters"
        return Problem(definition.name, "PROPERTY_VALUE_TOO_LONG", message)
    if definition.is_unique and not _EMAIL.fullmatch(text):
        return Problem(definition.name, "INVALID_EMAIL", f"Email address {text} is invalid")
    return text


def _owner(definition: Property, text: str, owners: Owners) -> str | Problem:
    owner = owners.find(text)
    if owner is not None and not owner.is_archived:
        return text
    return Problem(
        definition.name, "INVALID_OWNER_ID", f"Owner with ID {text} does not exist or is deactivated"
    )


def _not_an_option(name: str, text: str, options: list[str]) -> Problem:
    return Problem(
        name, "INVALID_OPTION", f"{text} was not one of the allowed options: [{', '.join(options)}]"
    )


_KEPT_BY_TYPE = {"number": _number, "datetime": _moment, "enumeration": _option}

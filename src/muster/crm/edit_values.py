"""What people type into fields: read as HubSpot wants it, or refused beside the field it was typed into."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation

from muster.crm.catalogue import Catalogue
from muster.crm.fields import Field, Kind, Type, field_of
from muster.crm.mirror import day_of, moment_of
from muster.crm.owners import OwnerCard
from muster.errors import Invalid

LONGEST = 65_536
"""HubSpot's own limit of a text."""

_NO_TEXT = "holds a character that no text has"
_LONGEST_LINE = 1_000
_LARGEST = Decimal(10) ** 15
_EMAIL = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+")
_NUMBER_AS_TYPED = re.compile(r"[-+]?[\d.,'\u2019]+")
_SPACES = re.compile(r"[\s\u00a0\u202f]+")
_CURRENCY = re.compile(r"^(?:[A-Z]{3}|[$€£¥])\s*|\s*(?:[A-Z]{3}|[$€£¥])$")
_MILLISECONDS = 12
"""So many digits are a moment, since 1973; fewer are a year, a day, or a slip."""

_EARLIEST, _LATEST = date(1970, 1, 1), date(2200, 1, 1)


class InvalidFields(Invalid):
    """`fields` are properties by name, each with what is wrong with it."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {words}" for name, words in fields.items()))
        self.fields = dict(fields)


class _Wrong(Exception):
    """Words that stand beside the field."""


class EditValues:
    """Reads what was typed into fields of a kind, knowing the account's choices and who may own."""

    def __init__(self, kind: Kind, catalogue: Catalogue, owners: Mapping[str, OwnerCard]) -> None:
        self._kind = kind
        self._catalogue = catalogue
        self._owners = owners
        self._reading: dict[Type, Callable[[Field, str], str]] = {
            Type.MONEY: _number,
            Type.NUMBER: _number,
            Type.DATE: _day,
            Type.EMAIL: _address,
            Type.OWNER: self._owner,
            Type.PIPELINE: self._pipeline,
            Type.STAGE: self._stage,
            Type.CHOICE: self._choice,
        }

    def read(self, typed: Mapping[str, str], held: Mapping[str, str]) -> dict[str, str]:
        """As HubSpot is to be sent it, without what is as it was in `held`; "" clears. Raises InvalidFields.

        Where a deal's stage belongs to another pipeline, the pipeline follows it.
        """
        values: dict[str, str] = {}
        wrong: dict[str, str] = {}
        for name, text in typed.items():
            field = field_of(self._kind, name)
            if field is None or not field.is_edited:
                wrong[name.encode(errors="replace").decode()] = "is not a field that can be changed here"
            elif not is_same(field, text, held.get(name, "")):
                try:
                    values[name] = self._value(field, text)
                except _Wrong as problem:
                    wrong[name] = str(problem)
        if not wrong and self._kind is Kind.DEALS:
            wrong = self._check_stage(values, held)
        if wrong:
            raise InvalidFields(wrong)
        return {
            name: value for name, value in values.items() if not self.is_same(name, value, held.get(name, ""))
        }

    def takes_owner(self, owner_id: str) -> bool:
        """Whether HubSpot would: whoever has left the company may still be an owner there."""
        owner = self._owners.get(owner_id)
        return not owner_id or (owner is not None and not owner.is_deactivated)

    def is_same(self, name: str, one: str, other: str) -> bool:
        field = field_of(self._kind, name)
        return one == other if field is None else is_same(field, one, other)

    def _value(self, field: Field, text: str) -> str:
        is_long = field.type is Type.LONG_TEXT
        text = _lines(text).strip() if is_long else _SPACES.sub(" ", text).strip()
        longest = LONGEST if is_long else _LONGEST_LINE
        if not _is_text(text):
            raise _Wrong(_NO_TEXT)
        if len(text) > longest:
            raise _Wrong(f"is longer than {longest:,} characters")
        if not text:
            return self._cleared(field)
        return self._reading.get(field.type, _as_it_is)(field, text)

    def _cleared(self, field: Field) -> str:
        if field.type in {Type.STAGE, Type.PIPELINE}:
            raise _Wrong("cannot be empty: a deal is always in a stage")
        return ""

    def _stage(self, _: Field, text: str) -> str:
        if not self._catalogue.stage(text):
            raise _Wrong("is none of the stages HubSpot has")
        return text

    def _pipeline(self, _: Field, text: str) -> str:
        if text not in self._catalogue.pipelines:
            raise _Wrong("is none of the pipelines HubSpot has")
        return text

    def _owner(self, _: Field, owner_id: str) -> str:
        owner = self._owners.get(owner_id)
        if owner is None:
            raise _Wrong("is nobody who owns records in HubSpot")
        if not owner.may_own:
            raise _Wrong(f"{owner.name} cannot be given records: {owner.standing}")
        return owner_id

    def _choice(self, field: Field, text: str) -> str:
        choices = self._catalogue.choices.get(self._kind, {}).get(field.name, [])
        # Without any known, HubSpot itself is the judge.
        if choices and text not in {choice.value for choice in choices}:
            raise _Wrong("is none of the choices HubSpot has")
        return text

    def _check_stage(self, values: dict[str, str], held: Mapping[str, str]) -> dict[str, str]:
        pipeline_id = values.get("pipeline", held.get("pipeline", ""))
        stage_id = values.get("dealstage", held.get("dealstage", ""))
        if stage_id in {stage.id for stage in self._catalogue.stages_of(pipeline_id)}:
            return {}
        stage = self._catalogue.stage(stage_id)
        if "dealstage" in values and "pipeline" not in values and stage:
            values["pipeline"] = stage.pipeline_id
        elif "pipeline" in values:
            return {"dealstage": f"is no stage of {self._catalogue.pipelines.get(pipeline_id, pipeline_id)}"}
        return {}


def is_same(field: Field, one: str, other: str) -> bool:
    """Whether two values say the same: HubSpot writes 12500.0 as 12500, and a day as a moment of it."""
    one, other = _lines(one).strip(), _lines(other).strip()
    if one == other:
        return True
    if not one or not other:
        return False
    if field.type in {Type.MONEY, Type.NUMBER}:
        return _decimal(one) is not None and _decimal(one) == _decimal(other)
    if field.type is Type.DATE:
        return day_of(one) is not None and day_of(one) == day_of(other)
    if field.type is Type.EMAIL:
        return one.casefold() == other.casefold()
    return False


def _as_it_is(_: Field, text: str) -> str:
    return text


def _address(_: Field, text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise _Wrong("is not an e-mail address")
    return text


def _number(_: Field, text: str) -> str:
    """With thousands and decimals as people write them."""
    bare = _SPACES.sub("", _CURRENCY.sub("", text))
    if not _NUMBER_AS_TYPED.fullmatch(bare) or not any(sign.isdecimal() for sign in bare):
        raise _Wrong("is not a number")
    plain = _plain(bare.replace("'", "").replace("\u2019", ""))
    number = _decimal(plain)
    if number is None:
        raise _Wrong("is not a number")
    if abs(number) >= _LARGEST:
        raise _Wrong("is too large")
    return f"{number:f}"


def _plain(text: str) -> str:
    """Without marks between thousands, and with a point before decimals."""
    marks = [sign for sign in text if sign in ".,"]
    if not marks:
        return text
    last = marks[-1]
    if len(set(marks)) == 2:
        if marks.count(last) > 1:
            raise _Wrong("is not a number")
        thousands = "." if last == "," else ","
        whole, _, rest = text.rpartition(last)
        return f"{_joined(whole, thousands)}.{rest}"
    if len(marks) > 1:
        return _joined(text, last)
    whole, _, rest = text.partition(last)
    if len(rest) == 3 and whole.lstrip("+-") not in {"", "0"}:
        if last == ",":
            return whole + rest
        raise _Wrong(
            f"could be {whole}{rest} or {whole}.{rest.rstrip('0') or '0'}: write it without the point"
        )
    return f"{whole}.{rest}"


def _joined(text: str, mark: str) -> str:
    first, *groups = text.lstrip("+-").split(mark)
    if groups and (not 1 <= len(first) <= 3 or any(len(group) != 3 for group in groups)):
        raise _Wrong("is not a number")
    return ("-" if text.startswith("-") else "") + first + "".join(groups)


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _day(_: Field, text: str) -> str:
    """At noon, so that it is the same day on HubSpot's pages from Honolulu to Auckland."""
    return f"{_date(text).isoformat()}T12:00:00Z"


def _date(text: str) -> date:
    found = _date_as_typed(text)
    if found is None:
        raise _Wrong("is not a date; expected one such as 2026-11-30")
    if not _EARLIEST <= found <= _LATEST:
        raise _Wrong(f"is a date before {_EARLIEST.year} or after {_LATEST.year}")
    return found


def _date_as_typed(text: str) -> date | None:
    digits = text.removeprefix("-")
    is_short = digits.isdecimal() and len(digits) < _MILLISECONDS
    if is_short and len(digits) != 8:
        return None
    for form in ("%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%d %b %Y", "%d %B %Y"):
        with suppress(ValueError):
            return datetime.strptime(text, form).replace(tzinfo=UTC).date()
    moment = None if is_short else moment_of(text)
    return moment.date() if moment else None


def check_text(values: Mapping[str, str]) -> None:
    """Raises InvalidFields for what no database can keep."""
    if wrong := [name for name, value in values.items() if not (_is_text(name) and _is_text(value))]:
        raise InvalidFields({name.encode(errors="replace").decode(): _NO_TEXT for name in wrong})


def _is_text(text: str) -> bool:
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lines(text: str) -> str:
    """Browsers send line ends of their own."""
    return text.replace("\r\n", "\n").replace("\r", "\n")

"""The `query` parameter of users.list: clauses that must all hold, as a test of a person."""

import re
from collections.abc import Callable
from typing import NamedTuple

from acme.google_error import invalid
from acme.people import Person

Test = Callable[[Person], bool]

_CLAUSE = re.compile(r"\s*([A-Za-z0-9]+)(=|:)(?:'((?:[^'\\]|\\.)*)'|\{?([^\s'}]*)\}?)(\*?)")

_TEXTS: dict[str, Callable[[Person], tuple[str, ...]]] = {
    "email": lambda person: (person.email, *person.aliases),
    "name": lambda person: (person.full_name, person.given, person.family),
    "givenName": lambda person: (person.given,),
    "familyName": lambda person: (person.family,),
    "orgDepartment": lambda person: (person.department,),
    "orgTitle": lambda person: (person.title,),
    "externalId": lambda person: (person.employee_number,),
    "manager": lambda person: (person.manager or "",),
}
_FLAGS: dict[str, Test] = {
    "isSuspended": lambda person: person.suspended_at is not None,
    "isArchived": lambda person: person.archived_at is not None,
    "isAdmin": lambda person: person.is_admin,
    "isDelegatedAdmin": lambda person: person.is_delegated_admin,
    "isEnrolledIn2Sv": lambda person: person.is_enrolled_in_2sv,
    "isEnforcedIn2Sv": lambda person: person.is_enforced_in_2sv,
}


class Clause(NamedTuple):
    field: str
    operator: str
    wanted: str
    is_prefix: bool


def parse(text: str) -> list[Clause]:
    """Raises GoogleError 400 `invalid` for anything this tenant does not understand."""
    clauses = []
    position = 0
    while text[position:].strip():
        match = _CLAUSE.match(text, position)
        if match is None:
            raise invalid("query")
        field, operator, quoted, bare, star = match.groups()
        wanted = (re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else bare) + star
        is_prefix = operator == ":" and wanted.endswith("*")
        clauses.append(Clause(field, operator, wanted.removesuffix("*") if is_prefix else wanted, is_prefix))
        position = match.end()
    for clause in clauses:
        test_of(clause)
    return clauses


def email_prefix(clauses: list[Clause]) -> str | None:
    """The prefix, where an address prefix is all that is asked: such listings need no whole people."""
    match clauses:
        case [Clause("email", ":", prefix, True)]:
            return prefix.lower()
    return None


def test_of(clause: Clause) -> Test:
    wanted = clause.wanted.lower()
    if clause.field in _TEXTS:
        return _text_test(_TEXTS[clause.field], clause, wanted)
    if clause.field == "orgUnitPath" and clause.operator == "=" and wanted.startswith("/"):
        subtree = wanted.rstrip("/") + "/"
        return lambda person: f"{person.unit.lower()}/".startswith(subtree)
    if clause.field in _FLAGS and wanted in {"true", "false"}:
        holds, expected = _FLAGS[clause.field], wanted == "true"
        return lambda person: holds(person) is expected
    raise invalid("query")


def _text_test(texts: Callable[[Person], tuple[str, ...]], clause: Clause, wanted: str) -> Test:
    if clause.is_prefix:
        return lambda person: any(text.lower().startswith(wanted) for text in texts(person))
    if clause.operator == "=":
        return lambda person: any(text.lower() == wanted for text in texts(person))
    return lambda person: any(_has_words(text.lower(), wanted) for text in texts(person))


def _has_words(text: str, wanted: str) -> bool:
    return text == wanted or set(re.split(r"[\s@.]+", wanted)) <= set(re.split(r"[\s@.]+", text))

"""What is fixed about Acme: its names, its teams and its offices."""

from typing import NamedTuple

DOMAIN = "acme.test"
CUSTOMER = "C0acme042"
SCOPES = tuple(
    f"https://www.googleapis.com/auth/admin.directory.{what}.readonly"
    for what in ("user", "group", "group.member", "orgunit")
)
USER_SCOPE, GROUP_SCOPE, MEMBER_SCOPE, ORG_UNIT_SCOPE = SCOPES


class Team(NamedTuple):
    department: str
    name: str
    unit: str
    group: str
    titles: tuple[str, ...]


class Office(NamedTuple):
    building: str
    city: str
    phone: str
    """A format for four digits; the numbers come from ranges kept for fiction where a country has one."""


_SALES = ("Account executive", "Sales engineer", "Sales representative", "Key account manager")
_BUILD = ("Engineer", "Senior engineer", "Staff engineer", "Engineer in test", "Designer")

# A small company fills the first of them first, so departments of every kind stand early.
TEAMS = (
    Team("Sales", "Sales EMEA", "/Sales/EMEA", "sales-emea", _SALES),
    Team("Engineering", "Platform", "/Engineering/Platform", "platform", _BUILD),
    Team("Support", "Support", "/Customer Support", "support", ("Support specialist", "Support engineer")),
    Team("Engineering", "Product", "/Engineering/Product", "product", _BUILD),
    Team("Marketing", "Marketing", "/Marketing", "marketing", ("Editor", "Campaign manager", "Designer")),
    Team("Operations", "Operations", "/Operations", "operations", ("Planner", "Buyer", "Office manager")),
    Team("Sales", "Sales Americas", "/Sales/Americas", "sales-americas", _SALES),
    Team("Engineering", "Data", "/Engineering/Data", "data", ("Data engineer", "Analyst", "Data scientist")),
    Team("Finance", "Finance", "/Finance", "finance", ("Accountant", "Controller", "Payroll specialist")),
    Team("People", "People", "/People", "people", ("Recruiter", "People partner", "Trainer")),
    Team("Sales", "Sales APAC", "/Sales/APAC", "sales-apac", _SALES),
    Team("Legal", "Legal", "/Legal", "legal", ("Counsel", "Paralegal", "Privacy officer")),
)
CONTRACTORS_UNIT = "/Contractors"

_EMEA = (
    Office("LON-1", "London", "+44 20 7946 {:04d}"),
    Office("BER-1", "Berlin", "+49 30 2312 {:04d}"),
    Office("KRK-2", "Kraków", "+48 12 555 {:04d}"),
    Office("LIS-1", "Lisboa", "+351 21 555 {:04d}"),
)
_AMERICAS = (
    Office("NYC-3", "New York", "+1 212 555 {:04d}"),
    Office("SAO-1", "São Paulo", "+55 11 5550 {:04d}"),
    Office("YUL-1", "Montréal", "+1 514 555 {:04d}"),
)
_APAC = (
    Office("SIN-1", "Singapore", "+65 6555 {:04d}"),
    Office("SYD-1", "Sydney", "+61 2 5550 {:04d}"),
    Office("TYO-2", "Tokyo", "+81 3 5555 {:04d}"),
)
OFFICES = _EMEA + _AMERICAS + _APAC
_OFFICES_OF_UNIT = {"/Sales/EMEA": _EMEA, "/Sales/Americas": _AMERICAS, "/Sales/APAC": _APAC}


def offices_of(team: Team) -> tuple[Office, ...]:
    """Regional teams sit in their region, the others anywhere."""
    return _OFFICES_OF_UNIT.get(team.unit, OFFICES)

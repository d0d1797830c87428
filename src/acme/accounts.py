"""Who can try to sign in: Acme's people, and two who do not belong to it."""

from itertools import islice

import msgspec

from acme.company import DOMAIN
from acme.people import Person
from acme.records import UserRecords
from acme.tenant import Tenant


class Account(msgspec.Struct, frozen=True):
    id: str
    email: str
    given: str
    family: str
    hosted_domain: str | None = None
    """None for a consumer account."""
    picture: str | None = None
    blocked: str | None = None
    """Why Google does not let this account in."""

    @property
    def full_name(self) -> str:
        return f"{self.given} {self.family}"

    def profile(self) -> dict[str, object]:
        """The claims of an ID token and of userinfo that describe the person."""
        claims: dict[str, object | None] = {
            "sub": self.id,
            "email": self.email,
            "email_verified": True,
            "name": self.full_name,
            "given_name": self.given,
            "family_name": self.family,
            "picture": self.picture,
            "hd": self.hosted_domain,
        }
        return {name: value for name, value in claims.items() if value is not None}


OUTSIDERS = (
    Account("166600000000000000001", "mallory@evil.test", "Mallory", "Vex", hosted_domain="evil.test"),
    Account("166600000000000000002", "kim@gmail.test", "Kim", "Halloran"),
)
_FEW = 6
_OFFERED = (f"ada@{DOMAIN}", f"ben@{DOMAIN}", f"cy@{DOMAIN}")


class Accounts:
    def __init__(self, tenant: Tenant, records: UserRecords) -> None:
        self._tenant = tenant
        self._records = records

    def find(self, key: str) -> Account | None:
        """By address, alias or id."""
        key = key.strip().lower()
        for outsider in OUTSIDERS:
            if key in {outsider.email, outsider.id}:
                return outsider
        person = self._tenant.find(key)
        return None if person is None else self._account(person)

    def offered(self) -> list[Account]:
        """Those the chooser shows; the company's ones as they are by now."""
        return [account for email in _OFFERED if (account := self.find(email))] + list(OUTSIDERS)

    def starting_with(self, prefix: str) -> list[Account]:
        """The first few of Acme's people whose address begins so."""
        prefix = prefix.strip().lower()
        numbers = (
            number
            for number in self._tenant.listed_from(0)
            if self._tenant.address_of(number).startswith(prefix)
        )
        return [self._account(self._tenant.person(number)) for number in islice(numbers, _FEW)]

    def _account(self, person: Person) -> Account:
        return Account(
            id=person.id,
            email=person.email,
            given=person.given,
            family=person.family,
            hosted_domain=DOMAIN,
            picture=self._records.photo_address(person) if person.has_photo else None,
            blocked=_why_blocked(person),
        )


def _why_blocked(person: Person) -> str | None:
    if person.deleted_at is not None:
        return "This account was deleted."
    if person.suspended_at is not None:
        return "This account is suspended."
    return "This account is archived." if person.archived_at is not None else None

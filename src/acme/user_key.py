"""Whom a `userKey` names, as users.get and what lies below it answer."""

from acme.google_error import GoogleError, not_found
from acme.people import Person
from acme.tenant import Tenant


def listed(tenant: Tenant, user_key: str) -> Person:
    """Raises GoogleError 404, or 412 for somebody who could still be restored."""
    person = tenant.find(user_key)
    if person is None:
        raise not_found("userKey")
    if person.deleted_at is not None:
        raise GoogleError(412, "conditionNotMet", "User is deleted.")
    return person

"""Events as HubSpot's webhooks carry them, in the general form or in the one named after each kind."""

from typing import Literal

from acme.hubspot.kinds import KINDS
from acme.hubspot.links import HUBSPOT_DEFINED, End, labels
from acme.hubspot.portal import APP_ID, PORTAL_ID, Happening
from acme.hubspot.properties import PROPERTIES

Form = Literal["object", "legacy"]
Event = dict[str, object]
_WHATS = ("creation", "deletion", "merge", "restore", "associationChange", "privacyDeletion")
_FIRST_SUBSCRIPTION = 2_780_100
_SUBSCRIPTIONS = {
    key: _FIRST_SUBSCRIPTION + place
    for place, key in enumerate(
        (kind.name, what)
        for kind in KINDS
        for what in (*_WHATS, *(f"propertyChange/{name}" for name in PROPERTIES[kind.name]))
    )
}


def event_of(happening: Happening, event_id: int, form: Form) -> Event:
    kind, what = happening.kind, happening.what
    # The general form does not know this one.
    is_legacy = form == "legacy" or what == "privacyDeletion"
    name = happening.more.get("propertyName")
    subscription = f"{what}/{name}" if name else what
    event: Event = {
        "eventId": event_id,
        "subscriptionId": _SUBSCRIPTIONS[kind.name, subscription],
        "portalId": PORTAL_ID,
        "appId": APP_ID,
        "occurredAt": happening.at,
        "subscriptionType": f"{kind.singular if is_legacy else 'object'}.{what}",
        "attemptNumber": 0,
        "changeSource": happening.source.name,
        "sourceId": happening.source.id,
    }
    if isinstance(far := happening.more.get("far"), End):
        return event | _association(happening, far, is_legacy=is_legacy)
    event["objectId"] = int(kind.id_of(happening.number))
    if not is_legacy:
        event["objectTypeId"] = kind.type_id
    return event | dict(happening.more)


def _association(happening: Happening, far: End, *, is_legacy: bool) -> Event:
    kind, other = happening.kind, far.kind
    is_primary = bool(happening.more["isPrimaryAssociation"])
    told: Event = {
        "fromObjectId": int(kind.id_of(happening.number)),
        "toObjectId": int(other.id_of(far.number)),
        "associationRemoved": happening.more["associationRemoved"],
        "isPrimaryAssociation": is_primary,
    }
    if is_legacy:
        return told | {"associationType": f"{kind.singular}_TO_{other.singular}".upper()}
    return told | {
        "fromObjectTypeId": kind.type_id,
        "toObjectTypeId": other.type_id,
        "associationCategory": HUBSPOT_DEFINED,
        "associationTypeId": labels(kind, other, is_primary=is_primary)[0].type_id,
    }

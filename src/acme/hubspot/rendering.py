"""Records as HubSpot's interface shows them."""

from collections.abc import Iterable

import msgspec

from acme.hubspot.kinds import DEALS, KINDS, Kind
from acme.hubspot.links import End, labels
from acme.hubspot.moments import iso
from acme.hubspot.pipelines import followers
from acme.hubspot.portal import PORTAL_ID, Portal
from acme.hubspot.properties import PROPERTIES
from acme.hubspot.records import Record, Version

Shown = dict[str, object]


class Wanted(msgspec.Struct, frozen=True):
    """What a caller wants to see of records."""

    properties: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    associations: tuple[Kind, ...] = ()

    def names(self, kind: Kind) -> tuple[str, ...]:
        """Some are always there; unknown ones are ignored."""
        if not self.properties:
            return kind.shown
        known = PROPERTIES[kind.name]
        asked = (name for name in self.properties if name in known)
        return tuple(dict.fromkeys((*kind.always_shown, *asked)))


class Rendering:
    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def shown(self, kind: Kind, record: Record, wanted: Wanted) -> Shown:
        shown = plain(kind, record, wanted.names(kind))
        if wanted.history:
            shown["propertiesWithHistory"] = self._history(kind, record, wanted.history)
        if wanted.associations and (found := self._associations(kind, record, wanted.associations)):
            shown["associations"] = found
        return shown

    def written(self, kind: Kind, record: Record, names: Iterable[str]) -> Shown:
        """After a change, what was written and what follows from it: not the whole record."""
        follow = followers(record.values.get("dealstage", "")) if kind is DEALS else {}
        return plain(kind, record, tuple(dict.fromkeys((*kind.always_shown, *names, *follow))))

    def whole(self, kind: Kind, record: Record) -> Shown:
        """After it was made."""
        return plain(kind, record, tuple(record.values))

    def _history(self, kind: Kind, record: Record, names: tuple[str, ...]) -> Shown:
        records, known = self._portal.records[kind], PROPERTIES[kind.name]
        return {
            name: [_version(version) for version in records.versions(record, name)]
            for name in names
            if name in known
        }

    def _associations(self, kind: Kind, record: Record, kinds: tuple[Kind, ...]) -> Shown:
        found: Shown = {}
        for other in kinds:
            links = self._portal.linked(End(kind, record.number), other)
            results = [
                {"id": other.id_of(link.to), "type": _type(kind, other, label.label)}
                for link in links
                for label in labels(kind, other, is_primary=link.is_primary)
            ]
            if results:
                found[other.name] = {"results": results}
        return found


def plain(kind: Kind, record: Record, names: tuple[str, ...]) -> Shown:
    record_id = kind.id_of(record.number)
    values = record.values
    shown: Shown = {
        "id": record_id,
        "properties": {name: values.get(name) for name in names},
        "createdAt": values["createdate"],
        "updatedAt": values[kind.modified],
        "archived": record.archived_at is not None,
        "url": f"https://app.hubspot.com/contacts/{PORTAL_ID}/record/{kind.type_id}/{record_id}",
    }
    if record.archived_at is not None:
        shown["archivedAt"] = iso(record.archived_at)
    return shown


def _type(kind: Kind, other: Kind, label: str | None) -> str:
    name = f"{kind.singular}_to_{other.singular}"
    return f"{name}_unlabeled" if label is None and _has_primary(kind, other) else name


def _has_primary(kind: Kind, other: Kind) -> bool:
    return len(labels(kind, other, is_primary=True)) > 1


def _version(version: Version) -> Shown:
    known = {
        "value": version.value,
        "timestamp": iso(version.at),
        "sourceType": version.source,
        "sourceId": version.source_id,
        "updatedByUserId": version.user_id,
    }
    return {name: value for name, value in known.items() if value is not None}


def kinds_of(words: Iterable[str]) -> tuple[Kind, ...]:
    """Those HubSpot knows; others are ignored."""
    asked = {word.lower() for word in words}
    return tuple(kind for kind in KINDS if asked & {kind.name, kind.singular, kind.type_id})

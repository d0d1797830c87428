"""The portal: Acme's HubSpot account, and everything that can be done to a record, whoever does it."""

import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from acme.hubspot.errors import HubSpotError, invalid, not_found
from acme.hubspot.kinds import COMPANIES, CONTACTS, DEALS, KINDS, Kind
from acme.hubspot.links import End, Link, Links
from acme.hubspot.moments import iso
from acme.hubspot.owners import Owners
from acme.hubspot.pipelines import followers
from acme.hubspot.records import Record, Records, Version
from acme.hubspot.rules import Rules
from acme.hubspot.values import check_stage, checked
from acme.hubspot.world import World

PORTAL_ID = 26_104_729
APP_ID = 1_904_773


class Source(NamedTuple):
    """Who does it, as history and webhooks call them."""

    name: str
    id: str
    user_id: int | None = None


API = Source("INTEGRATION", str(APP_ID))


def colleague(user_id: int) -> Source:
    return Source("CRM_UI", f"userId:{user_id}", user_id)


class Happening(NamedTuple):
    """What webhooks tell; `more` is what its kind of event has beside the usual."""

    what: str
    kind: Kind
    number: int
    at: int
    source: Source
    more: Mapping[str, object]


class Listener(Protocol):
    def record_changed(self, kind: Kind, record: Record) -> None:
        """As it happens."""

    def happened(self, happening: Happening) -> None:
        """As it happens."""

    def rewound(self) -> None:
        """Everything is as it was at the start."""


class Tie(NamedTuple):
    """A wish to associate the record that is being made."""

    to: End
    is_primary: bool


class Portal:
    def __init__(self, world: World, owners: Owners) -> None:
        self.owners = owners
        self.rules = Rules()
        self.records = {kind: Records(world, kind) for kind in KINDS}
        self.links = Links(world)
        self.tied = 0
        """Another number after whatever can change what any record is tied to."""
        self.listeners: list[Listener] = []

    def rewound(self) -> None:
        self.tied += 1
        self.owners.rewound()
        self.rules.rewound()
        self.links.rewound()
        for records in self.records.values():
            records.rewound()
        for listener in self.listeners:
            listener.rewound()

    def now(self) -> int:
        """The real time, however many days have passed by script: who mirrors HubSpot by what changed since
        compares its moments with a clock of their own.
        """
        return time.time_ns() // 1_000_000

    # Looking up

    def get(self, kind: Kind, key: str, id_property: str | None = None, *, archived: bool = False) -> Record:
        """A merged record's old ids find what it has become. Raises HubSpotError 400 or 404."""
        record = self.find(kind, key, id_property)
        if record is None or (record.archived_at is not None) != archived:
            raise not_found(kind.name, key)
        return record

    def find(self, kind: Kind, key: str, id_property: str | None = None) -> Record | None:
        """Archived or not."""
        if id_property in {None, "", "hs_object_id"}:
            number = kind.number_of(key)
            return None if number is None else self.records[kind].resolve(number)
        if id_property not in kind.unique:
            raise invalid(f"{id_property} is not a unique property of {kind.name}")
        return self.records[kind].find_unique(key)

    def linked(self, end: End, kind: Kind) -> list[Link]:
        """Archived ones do not show."""
        records = self.records[kind]
        return [
            link
            for link in self.links.of(end, kind)
            if records.is_computed_live(link.to)
            or ((record := records.changed.get(link.to)) is not None and record.is_live)
        ]

    # Changing

    def create(
        self, kind: Kind, raw: Mapping[str, object], source: Source, ties: Iterable[Tie] = ()
    ) -> Record:
        """Raises HubSpotError 400 or 409."""
        _, values = self.judge(kind, raw, None)
        records, at = self.records[kind], self.now()
        number = records.end
        written: dict[str, tuple[Version, ...]] = {
            name: (Version(text, at, *source),) for name, text in values.items()
        }
        values |= {"hs_object_id": kind.id_of(number), "createdate": iso(at), kind.modified: iso(at)}
        record = Record(number, _followed(kind, values), at, at, versions=written)
        self._keep(kind, record)
        self._tell("creation", kind, number, source, {"changeFlag": "CREATED"}, at)
        for tie in ties:
            self.tie(End(kind, number), tie.to, source, is_primary=tie.is_primary)
        return record

    def change(
        self,
        kind: Kind,
        record: Record,
        raw: Mapping[str, object],
        source: Source,
        *,
        at: int | None = None,
        with_rules: bool = True,
    ) -> Record:
        """What stays the same is no change. Raises HubSpotError 400 or 409."""
        wanted, values = self.judge(kind, raw, record, with_rules=with_rules)
        changes = {name: text for name, text in wanted.items() if record.values.get(name, "") != text}
        if not changes:
            return record
        at = self.now() if at is None else at
        versions = dict(record.versions)
        for name, text in changes.items():
            versions[name] = (Version(text, at, *source), *versions.get(name, ()))
        values[kind.modified] = iso(at)
        changed = msgspec.structs.replace(
            record, values=_followed(kind, values), updated_at=at, versions=versions
        )
        self._keep(kind, changed)
        for name, text in changes.items():
            more = {"propertyName": name, "propertyValue": text, "isSensitive": False}
            self._tell("propertyChange", kind, record.number, source, more, at)
        return changed

    def archive(self, kind: Kind, record: Record, source: Source) -> None:
        """When it was last modified stays as it was. Raises nothing: archiving twice is once."""
        if record.archived_at is None:
            self._keep(kind, msgspec.structs.replace(record, archived_at=self.now()))
            self._tell("deletion", kind, record.number, source, {"changeFlag": "DELETED"})

    def restore(self, kind: Kind, record: Record, source: Source) -> Record:
        if record.archived_at is None:
            return record
        restored = msgspec.structs.replace(record, archived_at=None)
        self._keep(kind, restored)
        self._tell("restore", kind, record.number, source, {"changeFlag": "RESTORED"})
        return restored

    def purge(self, record: Record, source: Source) -> None:
        """A contact who asks to be forgotten."""
        purged = msgspec.structs.replace(record, values={}, versions={}, is_purged=True)
        self._keep(CONTACTS, purged)
        self._tell("privacyDeletion", CONTACTS, record.number, source, {"changeFlag": "PRIVACY_DELETED"})

    def merge(self, kind: Kind, primary: Record, other: Record, source: Source) -> Record:
        """A third record, under which both old ids find each other. Raises HubSpotError 400."""
        if primary.number == other.number:
            raise invalid("Cannot merge a record with itself")
        records, at = self.records[kind], self.now()
        number = records.end
        moved = other.values.keys() - primary.values.keys()
        ids = [kind.id_of(primary.number), kind.id_of(other.number)]
        former = [*primary.values.get("hs_merged_object_ids", "").split(";"), *ids]
        values = other.values | primary.values
        values |= {
            "hs_object_id": kind.id_of(number),
            "hs_merged_object_ids": ";".join(each for each in former if each),
            "createdate": iso(min(primary.created_at, other.created_at)),
            kind.modified: iso(at),
        }
        versions = {
            name: tuple(sorted((*found, *records.versions(other, name)), key=_newest_first))
            for name in values
            if (found := records.versions(primary, name)) or name in moved
        }
        merged = Record(number, values, min(primary.created_at, other.created_at), at, versions=versions)
        for old in (primary, other):
            self._keep(kind, msgspec.structs.replace(old, merged_into=number))
        self._keep(kind, merged)
        self._move_links(kind, (primary.number, other.number), number)
        more = {
            "primaryObjectId": int(ids[0]),
            "mergedObjectIds": [int(ids[1])],
            "newObjectId": int(kind.id_of(number)),
            "numberOfPropertiesMoved": len(moved),
            "changeFlag": "MERGED",
        }
        self._tell("merge", kind, number, source, more, at)
        return merged

    def tie(self, one: End, other: End, source: Source, *, is_primary: bool = False) -> None:
        if self.links.tie(one, other, is_primary=is_primary):
            self._tell_association(one, other, source, is_primary=is_primary, is_removed=False)

    def untie(self, one: End, other: End, source: Source) -> None:
        if self.links.untie(one, other):
            self._tell_association(one, other, source, is_primary=False, is_removed=True)

    def _move_links(self, kind: Kind, numbers: tuple[int, int], new: int) -> None:
        self.tied += 1
        for old in numbers:
            for other in KINDS:
                for link in self.links.of(End(kind, old), other):
                    self.links.untie(End(kind, old), End(other, link.to))
                    is_first = not any(each.is_primary for each in self.links.of(End(kind, new), other))
                    is_primary = link.is_primary and (is_first or other is not COMPANIES)
                    self.links.tie(End(kind, new), End(other, link.to), is_primary=is_primary)

    def judge(
        self, kind: Kind, raw: Mapping[str, object], before: Record | None, *, with_rules: bool = True
    ) -> tuple[dict[str, str], dict[str, str]]:
        """What is written, and all the values that makes. Raises HubSpotError 400 or 409."""
        wanted = checked(kind, raw, self.owners)
        former = before.values if before is not None else {}
        values = {name: text for name, text in (former | wanted).items() if text}
        if kind is DEALS and wanted.keys() & {"dealstage", "pipeline"}:
            values.setdefault("pipeline", "default")
            check_stage(values)
        if with_rules:
            self.rules.check(kind, values, set(wanted), is_new=before is None)
        self._check_unique(kind, values, before)
        return wanted, values

    def _check_unique(self, kind: Kind, values: dict[str, str], before: Record | None) -> None:
        email = values.get("email") if kind is CONTACTS else None
        holder = self.records[kind].find_unique(email) if email else None
        if holder is not None and (before is None or holder.number != before.number):
            message = f"Contact already exists. Existing ID: {kind.id_of(holder.number)}"
            raise HubSpotError(409, "CONFLICT", message)

    def _keep(self, kind: Kind, record: Record) -> None:
        before = self.records[kind].changed.get(record.number)
        self.tied += record.is_live != (before is None or before.is_live)
        self.records[kind].put(record)
        for listener in self.listeners:
            listener.record_changed(kind, record)

    def _tell(
        self,
        what: str,
        kind: Kind,
        number: int,
        source: Source,
        more: Mapping[str, object],
        at: int | None = None,
    ) -> None:
        happening = Happening(what, kind, number, self.now() if at is None else at, source, more)
        for listener in self.listeners:
            listener.happened(happening)

    def _tell_association(
        self, one: End, other: End, source: Source, *, is_primary: bool, is_removed: bool
    ) -> None:
        """Both ends are told."""
        self.tied += 1
        for end, far in ((one, other), (other, one)):
            more = {"far": far, "associationRemoved": is_removed, "isPrimaryAssociation": is_primary}
            self._tell("associationChange", end.kind, end.number, source, more)


def _followed(kind: Kind, values: dict[str, str]) -> dict[str, str]:
    """With what HubSpot computes from the rest."""
    return values | followers(values.get("dealstage", "")) if kind is DEALS else values


def _newest_first(version: Version) -> int:
    return -version.at

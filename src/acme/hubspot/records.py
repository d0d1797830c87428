"""Records of one kind as they are by now: computed ones, and those that something has changed."""

from collections.abc import Iterator

import msgspec

from acme.hubspot.kinds import DEALS, Kind
from acme.hubspot.moments import HOUR
from acme.hubspot.world import World

BLOCK = 128
_MOST_VERSIONS = 20


class Version(msgspec.Struct, frozen=True):
    """What a property was set to, when, and from where."""

    value: str
    at: int
    source: str
    source_id: str | None = None
    user_id: int | None = None


class Record(msgspec.Struct, frozen=True):
    """Never altered: a change makes another one."""

    number: int
    values: dict[str, str]
    """Without those that are empty."""
    created_at: int
    updated_at: int
    archived_at: int | None = None
    merged_into: int | None = None
    is_purged: bool = False
    """Forgotten for good, by a contact's own wish."""
    versions: dict[str, tuple[Version, ...]] = {}
    """Of what was changed since the start, newest first."""

    @property
    def is_live(self) -> bool:
        return self.archived_at is None and self.is_there

    @property
    def is_there(self) -> bool:
        """To be seen at all, archived or not."""
        return self.merged_into is None and not self.is_purged


class Records:
    def __init__(self, world: World, kind: Kind) -> None:
        self.kind = kind
        self._world = world
        self._size = world.sizes[kind]
        self.rewound()

    def rewound(self) -> None:
        self.end = self._size.end
        """The next new record's number."""
        self.revision = 0
        """Another one after every change."""
        self.changed: dict[int, Record] = {}
        self._touched: dict[int, int] = {}
        self._unique: dict[str, int] = {}

    def find(self, number: int) -> Record | None:
        """Any that ever was, whatever became of it."""
        record = self.changed.get(number)
        if record is None and number < self._size.end:
            return self.computed(number)
        return record

    def glimpse(self, number: int, names: tuple[str, ...]) -> Record:
        """A listed one that nothing has changed, with no more than the named properties: cheaper."""
        return Record(number, self._world.values(self.kind, number, names), 0, 0)

    def computed(self, number: int) -> Record:
        draws = self._world.draws(self.kind, number)
        return Record(
            number,
            self._world.values(self.kind, number),
            self._world.created(self.kind, number, draws),
            self._world.modified(self.kind, number, draws),
            self._world.archived(self.kind, number, draws),
        )

    def resolve(self, number: int) -> Record | None:
        """The record there is now under that number: after a merge, the one both have become."""
        record = self.find(number)
        while record is not None and record.merged_into is not None:
            record = self.find(record.merged_into)
        return None if record is None or record.is_purged else record

    def find_unique(self, value: str) -> Record | None:
        """The live contact with that address."""
        number = self._unique.get(value.lower())
        if number is None:
            number = self._world.contact_with(value)
        record = None if number is None else self.find(number)
        if record is None or not record.is_live or record.values.get("email", "").lower() != value.lower():
            return None
        return record

    def put(self, record: Record) -> None:
        self.revision += 1
        self.changed[record.number] = record
        self.end = max(self.end, record.number + 1)
        self._touched[record.number // BLOCK] = self.revision
        if email := record.values.get("email"):
            self._unique[email.lower()] = record.number

    def is_untouched(self, numbers: range, revision: int) -> bool:
        """Whether none of them has changed, or has been made, since."""
        if not self._touched:
            return True
        blocks = range(numbers.start // BLOCK, numbers.stop // BLOCK + 1)
        return all(self._touched.get(block, 0) <= revision for block in blocks)

    def live_from(self, number: int) -> Iterator[Record | int]:
        """Those that are listed; a number where nothing has changed, since its values may not be wanted."""
        for at in range(number, self.end):
            record = self.changed.get(at)
            if record is None:
                if at < self._size.listed:
                    yield at
            elif record.is_live:
                yield record

    def archived_from(self, number: int) -> Iterator[Record]:
        first = range(self._size.listed, self._size.end)
        for at in sorted({*first, *self.changed}):
            record = self.find(at) if at >= number else None
            if record is not None and record.is_there and record.archived_at is not None:
                yield record

    def is_computed_live(self, number: int) -> bool:
        return number < self._size.listed and number not in self.changed

    @property
    def listed_at_first(self) -> int:
        return self._size.listed

    def versions(self, record: Record, name: str) -> list[Version]:
        """Newest first; what came before the start is made up to fit."""
        newer = list(record.versions.get(name, ()))
        if record.number < self._size.end:
            newer += self._computed_versions(record.number, name)
        return newer[:_MOST_VERSIONS]

    def _computed_versions(self, number: int, name: str) -> list[Version]:
        first = self.computed(number)
        value = first.values.get(name)
        if value is None:
            return []
        if self.kind is DEALS and name == "dealstage":
            return self._walk(first)
        versions = [Version(value, first.created_at, "CRM_UI", "userId:9400113", 9_400_113)]
        if name == "amount" and number % 4 == 0 and first.updated_at - first.created_at > HOUR:
            raised = msgspec.structs.replace(versions[0], at=first.updated_at)
            before = f"{float(value) * 0.8:.0f}"
            return [raised, msgspec.structs.replace(versions[0], value=before)]
        return versions

    def _walk(self, record: Record) -> list[Version]:
        """From stage to stage, evenly through the deal's life."""
        stages = list(self._world.stages_of(record.number))
        step = (record.updated_at - record.created_at) // max(1, len(stages) - 1)
        return [
            Version(stage.id, record.created_at + place * step, "CRM_UI", "userId:9400113", 9_400_113)
            for place, stage in reversed(list(enumerate(stages)))
        ]

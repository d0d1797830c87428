"""What search knows: the records as they were a moment ago, in columns of what was ever asked about."""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count

from acme.hubspot.kinds import KINDS, Kind
from acme.hubspot.moments import parsed
from acme.hubspot.portal import Happening
from acme.hubspot.properties import PROPERTIES
from acme.hubspot.records import Record, Records
from acme.hubspot.world import World

Value = float | str | None
"""Numbers and moments as numbers, all else as text in small letters."""
Column = list[Value]
_MOST_COLUMNS = 32  # more than one search can name
LAG_UNLESS_TOLD = 1.0


def typed(kind: Kind, name: str, text: str | None) -> Value:
    if not text:
        return None
    definition = PROPERTIES[kind.name][name]
    if definition.type == "datetime":
        return parsed(text)
    return float(text) if definition.type == "number" else text.lower()


class SearchIndex:
    """Writes reach it `lag` seconds late, in their order."""

    def __init__(self, world: World, records: dict[Kind, Records]) -> None:
        self._world = world
        self._records = records
        self._columns: OrderedDict[tuple[Kind, str], Column] = OrderedDict()
        self._preparing = asyncio.Lock()
        self._revisions = count()
        self.rewound()

    def rewound(self) -> None:
        self.lag = LAG_UNLESS_TOLD
        self.revision = next(self._revisions)
        """Never the same again, not even after going back."""
        self._coming: deque[tuple[float, Kind, Record]] = deque()
        self._seen: dict[Kind, dict[int, Record]] = {kind: {} for kind in KINDS}

    def record_changed(self, kind: Kind, record: Record) -> None:
        self._coming.append((time.monotonic() + self.lag, kind, record))

    def happened(self, happening: Happening) -> None:
        """Only records are searched."""

    def settle(self, *, at_once: bool = False) -> None:
        """Takes in what is due."""
        now = time.monotonic()
        while self._coming and (at_once or self._coming[0][0] <= now):
            _, kind, record = self._coming.popleft()
            self._seen[kind][record.number] = record
            self.revision = next(self._revisions)

    @property
    def pending(self) -> int:
        return len(self._coming)

    def record(self, kind: Kind, number: int) -> Record:
        """As search knows it."""
        return self._seen[kind].get(number) or self._records[kind].computed(number)

    def changed(self, kind: Kind) -> dict[int, Record]:
        """Those that search knows to be otherwise than at the start."""
        return self._seen[kind]

    def unchanged(self, kind: Kind) -> Iterator[int]:
        seen = self._seen[kind]
        listed = range(self._world.sizes[kind].listed)
        return iter(listed) if not seen else (number for number in listed if number not in seen)

    async def prepare(self, kind: Kind, names: Iterable[str]) -> None:
        """A column costs a walk through everybody, in a thread that holds up nobody for long."""
        async with self._preparing:
            for name in names:
                if (kind, name) not in self._columns:
                    self._columns[kind, name] = await asyncio.to_thread(self._computed, kind, name)
                self._columns.move_to_end((kind, name))
            while len(self._columns) > _MOST_COLUMNS:
                self._columns.popitem(last=False)

    def column(self, kind: Kind, name: str) -> Column:
        """A property of everybody as at the start; it was prepared."""
        return self._columns[kind, name]

    def _computed(self, kind: Kind, name: str) -> Column:
        make = self._world.makers[kind].get(name)
        numbers = range(self._world.sizes[kind].listed)
        if make is None:
            return [None] * len(numbers)
        words: dict[str, str] = {}
        draws: Callable[[Kind, int], tuple[int, ...]] = self._world.draws
        column = (typed(kind, name, make(number, draws(kind, number))) for number in numbers)
        # Many share a stage, an owner, a city: one text for all of them.
        return [words.setdefault(value, value) if isinstance(value, str) else value for value in column]

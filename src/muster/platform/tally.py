"""What calls of a vendor cost."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """What some piece of work cost: calls, failures by the vendor's reason, and the seconds in which at least
    one call waited for its turn.
    """

    calls: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    waited_seconds: float = 0.0
    _waiting: int = 0
    _since: float = 0.0

    @property
    def retried(self) -> int:
        return self.faults.total()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Several that wait at once wait once."""
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self.waited_seconds += time.monotonic() - self._since

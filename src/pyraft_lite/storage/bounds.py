"""Where a log begins and ends, and how appending, truncating and compacting move that."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyraft_lite.core.entry import Entry
from pyraft_lite.core.errors import StorageError


@dataclass(frozen=True, slots=True)
class Bounds:
    """First and last index of a log; both 0 if it is empty."""

    first: int = 0
    last: int = 0

    def __contains__(self, index: int) -> bool:
        return 0 < self.first <= index <= self.last

    def check(self, low: int, high: int) -> None:
        """Raises StorageError unless the log has the entries ``low..high``, at least one."""
        if low > high:
            raise StorageError(f"there are no entries {low}..{high}")
        if low not in self or high not in self:
            missing = self.last + 1 if low in self else low
            raise StorageError(f"entry {missing} is missing in the log, which holds {self.first}..{self.last}")

    def appended(self, entries: Sequence[Entry]) -> "Bounds":
        """The bounds after ``entries``, at least one.

        Raises:
            ValueError: the entries leave a gap or overlap what is there.
        """
        first = self.first or entries[0].index
        expected = self.last + 1 if self.last else first
        for offset, entry in enumerate(entries):
            if entry.index != expected + offset:
                raise ValueError(f"entry {entry.index} does not continue the log: {expected + offset} should be next")
        return Bounds(first, entries[-1].index)

    def truncated(self, from_index: int) -> "Bounds":
        """The bounds without the entries ``from_index`` and later."""
        last = min(self.last, from_index - 1)
        return Bounds(self.first, last) if last in self else Bounds()

    def compacted(self, to_index: int, limit: int) -> "Bounds":
        """The bounds without the entries up to ``to_index``, but at most ``limit`` entries less."""
        first = max(self.first, min(to_index + 1, self.first + limit))
        return Bounds(first, self.last) if first in self else Bounds()

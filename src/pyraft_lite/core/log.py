"""The log as the core sees it: a durable store, and in memory the tail that is not durable yet and the recent entries.

Only the writer knows when the store changes; so this class never asks the store about what it has itself truncated,
dropped or not yet seen written: ``first_index`` and ``last_index`` are kept here, and every entry that is not durable
is in memory.
"""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from pyraft_lite.core.entry import Entry
from pyraft_lite.core.errors import StorageError

RECENT_ENTRIES = 4096
RECENT_BYTES = 16 * 1024 * 1024
"""How much of the durable log is kept in memory, so that replication rarely reads the disk."""

SURPLUS_ENTRIES = 256
"""How many entries more there may be before memory lets go of all that are too many, so that not every write does."""


class LogReader(Protocol):
    """How the core reads entries that are durable. An empty log has ``first_index`` and ``last_index`` 0."""

    def first_index(self) -> int: ...

    def last_index(self) -> int: ...

    def term(self, index: int) -> int | None:
        """The term of the entry at ``index``, or None if the store has no such entry."""
        ...

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        """The entries ``low..high`` (inclusive), as many from the front as fit ``max_bytes`` of :attr:`Entry.size`, but
        at least one.

        Raises:
            StorageError: an entry in that range is missing or unreadable.
        """
        ...

    def configurations(self) -> Sequence[int]:
        """The indexes of all configuration entries, in order; found without reading the log.

        Raises:
            StorageError: they can't be read.
        """
        ...


class Log:
    """The entries after the snapshot, and some of those before its last index.

    Attributes:
        first_index: The first entry that can be read; ``last_index + 1`` if there is none.
        last_index: The last entry, durable or not; the snapshot's index if the log is empty.
        durable_index: Entries up to here survive a crash.
        snapshot_index, snapshot_term: Where the state before the log ends; 0 without a snapshot.
    """

    def __init__(self, store: LogReader, snapshot_index: int = 0, snapshot_term: int = 0) -> None:
        self._store = store
        self._recent: list[Entry] = []  # those from _recent_from up to last_index, without a gap
        self._recent_bytes = 0
        self._writing: deque[list[int]] = deque()  # [seq of a write under way, last index it makes durable]
        self.snapshot_index = snapshot_index
        self.snapshot_term = snapshot_term
        self.first_index = store.first_index() or snapshot_index + 1
        self.last_index = store.last_index() or snapshot_index
        self.durable_index = self.last_index
        self._recent_from = self.last_index + 1

    @property
    def last_term(self) -> int:
        term = self.term(self.last_index)
        assert term is not None, "the last entry is neither compacted nor beyond the end"
        return term

    def term(self, index: int) -> int | None:
        """The term of the entry at ``index`` (0 for index 0), or None if it is compacted or beyond the end.

        Raises:
            StorageError: the log should hold the entry and the store has lost it.
        """
        if index == self.snapshot_index:
            return self.snapshot_term
        if self._recent_from <= index <= self.last_index:
            return self._recent[index - self._recent_from].term
        return self._stored_term(index) if self.first_index <= index <= self.last_index else None

    def _stored_term(self, index: int) -> int:
        term = self._store.term(index)
        if term is None:
            held = f"{self.first_index}..{self.last_index}"
            raise StorageError(f"entry {index} is missing in the log, which holds {held}")
        return term

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        """The entries from ``low`` up to at most ``high``, at least one; where memory and store meet, the first part
        only.

        Raises:
            StorageError: an entry can't be read.
        """
        if not self.first_index <= low <= high <= self.last_index:
            raise StorageError(
                f"entries {low}..{high} are not in the log, which holds {self.first_index}..{self.last_index}"
            )
        recent_from = self._recent_from
        if low < recent_from:
            return self._store.entries(low, min(high, recent_from - 1), max_bytes)
        chosen = self._recent[low - recent_from : high + 1 - recent_from]
        if self._recent_bytes > max_bytes:
            for count, entry in enumerate(chosen):
                max_bytes -= entry.size
                if max_bytes < 0:
                    return chosen[: max(count, 1)]
        return chosen

    def is_up_to_date(self, last_index: int, last_term: int) -> bool:
        """True if a log that ends so is at least as up to date as this one (dissertation 3.6.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def append(self, entries: Sequence[Entry], seq: int) -> None:
        """Adds entries that write ``seq`` will make durable."""
        self._recent += entries
        for entry in entries:
            self._recent_bytes += entry.size
        self.last_index = entries[-1].index
        self._writing.append([seq, self.last_index])

    def truncate(self, from_index: int) -> None:
        """Forgets the entries from ``from_index`` on. What earlier writes make durable of them no longer counts."""
        keep = max(from_index - self._recent_from, 0)
        self._recent_bytes -= _size(self._recent[keep:])
        del self._recent[keep:]
        self._recent_from = min(self._recent_from, from_index)
        self.last_index = from_index - 1
        self.durable_index = min(self.durable_index, self.last_index)
        for write in self._writing:
            write[1] = min(write[1], self.last_index)

    def compact(self, to_index: int) -> None:
        """Forgets the entries up to and including ``to_index``."""
        self._evict(to_index + 1 - self._recent_from)
        self.first_index = to_index + 1

    def set_snapshot(self, index: int, term: int) -> None:
        """Says where the latest snapshot ends."""
        self.snapshot_index, self.snapshot_term = index, term

    def drop(self, snapshot_index: int, snapshot_term: int) -> None:
        """Forgets all entries: the log now begins after this snapshot."""
        self._recent.clear()
        self._recent_bytes = 0
        self._writing.clear()
        self.set_snapshot(snapshot_index, snapshot_term)
        self.first_index = self._recent_from = snapshot_index + 1
        self.last_index = self.durable_index = snapshot_index

    def written(self, seq: int) -> None:
        """Write ``seq`` and all before it are durable."""
        while self._writing and self._writing[0][0] <= seq:
            self.durable_index = max(self.durable_index, self._writing.popleft()[1])
        surplus = len(self._recent) - RECENT_ENTRIES
        if surplus > SURPLUS_ENTRIES:
            self._evict(min(surplus, self.durable_index + 1 - self._recent_from))
        if self._recent_bytes > RECENT_BYTES:
            self._evict(min(self._surplus(), self.durable_index + 1 - self._recent_from))

    def _surplus(self) -> int:
        """How many of the oldest entries in memory are beyond RECENT_BYTES."""
        excess = self._recent_bytes - RECENT_BYTES
        for count, entry in enumerate(self._recent):
            if excess <= 0:
                return count
            excess -= entry.size
        return len(self._recent)

    def _evict(self, count: int) -> None:
        """Lets go of the ``count`` oldest entries in memory; of none, if it is not positive."""
        if count > 0:
            self._recent_bytes -= _size(self._recent[:count])
            del self._recent[:count]
            self._recent_from += count


def _size(entries: Sequence[Entry]) -> int:
    return sum([entry.size for entry in entries])

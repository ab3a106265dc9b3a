"""The log as the core sees it."""

from collections.abc import Sequence
from typing import Protocol

from pyraft_lite.core.entry import Entry


class LogReader(Protocol):
    """How the core reads entries that are durable. An empty log has ``first_index`` and ``last_index`` 0."""

    def first_index(self) -> int: ...

    def last_index(self) -> int: ...

    def term(self, index: int) -> int | None:
        """The term of the entry at ``index``, or None if the store has no such entry."""
        ...

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        """The entries ``low..high`` (inclusive), as many from the front as fit ``max_bytes`` of :attr:`Entry.size`, but at
        least one.

        Raises:
            StorageError: an entry in that range is missing or unreadable.
        """
        ...

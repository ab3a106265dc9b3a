"""The configurations of the log: which one is the latest, which is committed, what to fall back to (R7, R10)."""

from pyraft_lite.core.configuration import Configuration


class Configurations:
    """The configuration at the snapshot (or the empty one) and those of all entries after it, in order of index.

    A configuration takes effect when its entry is appended (dissertation 4.1), so a truncation may take it back.

    Attributes:
        latest, latest_index: The one in force at the end of the log, and the index of its entry.
    """

    def __init__(self, base: Configuration, base_index: int) -> None:
        self._history = [(base_index, base)]
        self.latest_index, self.latest = base_index, base

    def at(self, index: int) -> tuple[int, Configuration]:
        """The configuration in force at ``index``, with the index of its own entry."""
        return next(item for item in reversed(self._history) if item[0] <= index)

    def append(self, index: int, configuration: Configuration) -> None:
        self._history.append((index, configuration))
        self.latest_index, self.latest = index, configuration

    def truncate(self, from_index: int) -> bool:
        """Takes back the configurations of entries from ``from_index`` on; returns whether there were any."""
        before = len(self._history)
        while len(self._history) > 1 and self._history[-1][0] >= from_index:
            self._history.pop()
        self.latest_index, self.latest = self._history[-1]
        return len(self._history) != before

    def compact(self, index: int) -> None:
        """Forgets what lies before the configuration in force at ``index``."""
        current, _ = self.at(index)
        self._history = [item for item in self._history if item[0] >= current]

    def reset(self, base: Configuration, base_index: int) -> None:
        """Forgets all but this one."""
        self._history = [(base_index, base)]
        self.latest_index, self.latest = base_index, base

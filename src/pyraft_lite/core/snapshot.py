"""What is known of a snapshot besides its bytes."""

from dataclasses import dataclass

from pyraft_lite.core.configuration import Configuration


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """Describes one stored snapshot.

    Attributes:
        id: The store's name for it.
        index, term: Of the last entry the state includes.
        configuration: The configuration in force at ``index``, with the index of its entry.
        size: Of the state, in bytes.
    """

    id: str
    index: int
    term: int
    configuration: Configuration
    configuration_index: int
    size: int

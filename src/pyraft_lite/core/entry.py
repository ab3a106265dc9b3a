"""Log entries: what a Raft log is made of.

The numbers of :class:`EntryType` are those of hashicorp/raft and go over the wire and onto disk.
"""

from enum import IntEnum
from typing import NamedTuple

from pyraft_lite.core.errors import CommandTooLargeError
from pyraft_lite.core.settings import MAX_MESSAGE_BYTES

NANOSECONDS = 1_000_000_000

ZERO_TIME = -62_135_596_800 * NANOSECONDS
"""Go's zero ``time.Time`` (year 1) in nanoseconds since the Unix epoch; a bootstrap entry carries it."""

ENTRY_OVERHEAD = 64
"""What an entry may cost on the wire beyond its data and extensions, in bytes (an upper bound)."""


class EntryType(IntEnum):
    """What an entry means to Raft; only ``COMMAND`` reaches the user's state machine."""

    COMMAND = 0
    NOOP = 1
    ADD_PEER_DEPRECATED = 2
    REMOVE_PEER_DEPRECATED = 3
    BARRIER = 4
    CONFIGURATION = 5


class Entry(NamedTuple):
    """One entry of the replicated log. There are many of them, so it is what Python makes fastest.

    Attributes:
        index: Position in the log; the first entry has index 1.
        term: The term of the leader that created the entry.
        type: What the entry means.
        data: The command, or the encoded configuration.
        extensions: Opaque bytes carried beside the command (hashicorp's ``Log.Extensions``).
        appended_at: When the leader appended it, in nanoseconds since the Unix epoch; informative only.
    """

    index: int  # type: ignore[assignment]  # hides the search of tuples, of which an entry is one by the way
    term: int
    type: EntryType
    data: bytes = b""
    extensions: bytes = b""
    appended_at: int = 0

    @property
    def size(self) -> int:
        """An upper bound of the entry's encoded size in bytes, for batching."""
        return len(self.data) + len(self.extensions) + ENTRY_OVERHEAD


def check_size(size: int) -> None:
    """Passes if an entry of ``size`` bytes, as :attr:`Entry.size` counts them, fits into a message to a peer (R17).

    Raises:
        CommandTooLargeError: it does not.
    """
    if size > MAX_MESSAGE_BYTES:
        text = f"a command of {size} bytes does not fit into a message: the limit is {MAX_MESSAGE_BYTES}"
        raise CommandTooLargeError(text)

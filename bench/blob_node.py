"""raft-example with another state machine: one whose snapshot is as large as a word says that it is.

The word ``blob:N`` makes it N bytes; all other words change nothing. The bytes are made when a snapshot is written and
compared when it is read, so that memory shows what Raft takes, not the state.
"""

import random
from typing import BinaryIO

from pyraft_lite.core.entry import Entry
from pyraft_lite.runtime.fsm import Sink
from raftexample import node
from raftexample.cmd import raft_example

PREFIX = b"blob:"
BLOCK = random.Random(1).randbytes(1024 * 1024)


class Blob:
    """The state machine."""

    def __init__(self) -> None:
        self._size = 0

    @property
    def words(self) -> list[str]:
        """For GetWords: the size."""
        return [str(self._size)]

    def apply(self, entry: Entry) -> None:
        if entry.data.startswith(PREFIX):
            self._size = int(entry.data.removeprefix(PREFIX))

    def snapshot(self) -> "BlobSnapshot":
        return BlobSnapshot(self._size)

    def restore(self, source: BinaryIO) -> None:
        size = 0
        while block := source.read(len(BLOCK)):
            if block != BLOCK[: len(block)]:
                raise ValueError(f"not what was written, somewhere behind byte {size}")
            size += len(block)
        self._size = size


class BlobSnapshot:
    """So many bytes."""

    def __init__(self, size: int) -> None:
        self._size = size

    def persist(self, sink: Sink) -> None:
        for _ in range(self._size // len(BLOCK)):
            sink.write(BLOCK)
        sink.write(BLOCK[: self._size % len(BLOCK)])


if __name__ == "__main__":
    setattr(node, "WordTracker", Blob)  # noqa: B010 - to a type checker a class is not to be replaced
    raft_example.main()

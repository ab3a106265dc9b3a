"""raft-example with another state machine: one that keeps every word, as the Go peer does with ``--fsm log``.

With it a test can tell what was lost, repeated or put in another order, and the state can be large.
"""

from __future__ import annotations

import hashlib
import struct
from typing import BinaryIO

from pyraft_lite.core.entry import Entry
from pyraft_lite.runtime.fsm import Sink
from raftexample import node
from raftexample.cmd import raft_example

SHOWN = 200
"""The length up to which a word is shown as it is; of a longer one the digest is."""

LENGTH = struct.Struct(">I")


class EveryWord:
    """Keeps all words in the order in which they were committed.

    Its snapshot is the words one after the other, each after its length.
    """

    def __init__(self) -> None:
        self._words: list[bytes] = []

    @property
    def words(self) -> list[str]:
        return [show(word) for word in self._words]

    def apply(self, entry: Entry) -> None:
        self._words.append(entry.data)

    def snapshot(self) -> EveryWordSnapshot:
        return EveryWordSnapshot(tuple(self._words))

    def restore(self, source: BinaryIO) -> None:
        words = []
        while length := source.read(LENGTH.size):
            words.append(source.read(LENGTH.unpack(length)[0]))
        self._words = words


class EveryWordSnapshot:
    """The words at one moment."""

    def __init__(self, words: tuple[bytes, ...]) -> None:
        self._words = words

    def persist(self, sink: Sink) -> None:
        for word in self._words:
            sink.write(LENGTH.pack(len(word)))
            sink.write(word)


def show(word: bytes) -> str:
    """A word as GetWords gives it."""
    return word.decode() if len(word) <= SHOWN else f"sha256:{hashlib.sha256(word).hexdigest()}"


if __name__ == "__main__":
    setattr(node, "WordTracker", EveryWord)  # noqa: B010 - to a type checker a class is not to be replaced
    raft_example.main()

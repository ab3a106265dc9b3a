"""Bytes that wait, in the pieces they came in."""

from typing import TypeAlias

Chunk: TypeAlias = bytes | bytearray | memoryview

_MERGED_BYTES = 4096
"""How large a chunk that is made of small ones may become."""


class Chunks:
    """A queue of bytes: nothing is copied to get in, but what comes in many small pieces. Its length is theirs."""

    __slots__ = ("_at", "_chunks", "_size")

    def __init__(self) -> None:
        self._chunks: list[Chunk] = []
        self._at = 0  # Bytes of the first chunk that have been taken.
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def put(self, chunk: Chunk) -> None:
        """Adds the next bytes, which must not change any more."""
        add_chunk(self._chunks, chunk)
        self._size += len(chunk)

    def take(self, size: int) -> list[memoryview]:
        """The next ``size`` bytes, which are there, in pieces; they are to be let go of before more is added."""
        self._size -= size
        parts = []
        while size:
            chunk, at = self._chunks[0], self._at
            part = memoryview(chunk)[at : at + size]
            parts.append(part)
            size -= len(part)
            self._at += len(part)
            if self._at == len(chunk):
                del self._chunks[0]
                self._at = 0
        return parts


def add_chunk(chunks: list[Chunk], chunk: Chunk) -> None:
    """Adds the next bytes to those that wait: as they came, or with those before them if both are few, so that many
    small ones, too, take hardly more memory than what they hold."""
    if not chunk:
        return
    if not chunks or len(chunks[-1]) + len(chunk) > _MERGED_BYTES:
        chunks.append(chunk)
        return
    last = chunks[-1]
    if not isinstance(last, bytearray):
        chunks[-1] = last = bytearray(last)
    last += chunk

"""A journal: a small file that makes what is appended to it durable with a single write to the disk.

The file is as long as it will ever be from the beginning, so that a write changes nothing but its own bytes. It is
filled from the start again and again; each time is a generation, whose number is in every record. Records begin at
multiples of BLOCK:

    checksum of the rest u32 | size of the content u32 | generation u64 | where the record begins u64 | content | zeros

A generation ends with the first thing that is no record of it. That may be what a power failure left of a write that
nobody was told of. But where a record of the generation follows, what is before it was damaged later.
"""

import os
import struct
import zlib
from pathlib import Path

from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage.direct_file import BLOCK, DirectFile, padded
from pyraft_lite.storage.files import sync_directory

JOURNAL_BYTES = 1024 * 1024
"""How long the file is."""

GENERATION_BYTES = 128 * 1024
"""How much content a generation takes; it is kept in memory, and written once more when the next begins."""

_CHECKSUM = struct.Struct(">I")
_HEAD = struct.Struct(">IQQ")
_CONTENT_AT = _CHECKSUM.size + _HEAD.size


class Journal:
    """The journal in ``file``, which is made if it is missing. One thread at a time may use it.

    Args:
        file: Where it is.
        generation: The one that :meth:`read` gives, and that :meth:`append` goes on with.

    Raises:
        StorageError: it can't be opened or made.
    """

    def __init__(self, file: Path, generation: int) -> None:
        self._file = file
        self._generation = generation
        self._at = 0
        self._taken = 0
        self._begun = b""
        try:
            if not file.exists():
                _create(file)
            self._writes = DirectFile(file, JOURNAL_BYTES)
        except OSError as error:
            raise StorageError(f"cannot open the journal {file}: {error.strerror}") from error

    def read(self) -> list[bytes]:
        """The contents of all records of the generation, in order.

        Raises:
            StorageError: one of them is damaged, or the file can't be read.
        """
        try:
            data = self._file.read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read the journal {self._file}: {error.strerror}") from error
        if len(data) != JOURNAL_BYTES:
            raise StorageError(f"the journal {self._file} is damaged: it has {len(data)} bytes, not {JOURNAL_BYTES}")
        found = []
        self._at = self._taken = 0
        while (content := self._content(data, self._at)) is not None:
            found.append(content)
            self._added(content)
        for at in range(self._at, JOURNAL_BYTES, BLOCK):
            if self._content(data, at) is not None:
                raise StorageError(f"the journal {self._file} is damaged at byte {self._at}: records follow")
        return found

    def has_room(self, size: int) -> bool:
        """True if a record with so many bytes of content fits into the generation."""
        return self._at + _CONTENT_AT + size <= JOURNAL_BYTES and self._taken + size <= GENERATION_BYTES

    def append(self, content: bytes) -> None:
        """Writes a record, for which there has to be room; it is durable when this returns.

        Raises:
            StorageError: it could not be written; whether it is there nobody knows.
        """
        try:
            self._writes.write(self._record(content), self._at)
        except OSError as error:
            raise self._failed(error) from error
        self._added(content)

    def fileno(self) -> int | None:
        """What becomes readable when a record that was begun can be finished; None if none can be begun."""
        return self._writes.fileno()

    def begin(self, content: bytes) -> bool:
        """Begins to write a record, for which there has to be room, without waiting for the disk.

        Returns:
            False if it would have to wait; then nothing was begun.
        """
        self._begun = content
        return self._writes.begin(self._record(content), self._at)

    def finish(self) -> bool:
        """Ends what was begun: the record is durable.

        Returns:
            False if it turned out that it had to wait; then there is no record.

        Raises:
            StorageError: it could not be written; whether it is there nobody knows.
        """
        try:
            finished = self._writes.finish()
        except OSError as error:
            raise self._failed(error) from error
        if finished:
            self._added(self._begun)
        return finished

    def start_over(self, generation: int) -> None:
        """No record of an earlier generation is read any more."""
        self._generation = generation
        self._at = self._taken = 0

    def close(self) -> None:
        """Frees the file."""
        self._writes.close()

    def _record(self, content: bytes) -> bytes:
        record = _HEAD.pack(len(content), self._generation, self._at) + content
        return _CHECKSUM.pack(zlib.crc32(record)) + record

    def _added(self, content: bytes) -> None:
        size = len(content)
        self._at += padded(_CONTENT_AT + size)
        self._taken += size

    def _failed(self, error: OSError) -> StorageError:
        return StorageError(f"cannot write to the journal {self._file}: {error.strerror}")

    def _content(self, data: bytes, at: int) -> bytes | None:
        """Of the record that begins there; None if none of this generation does."""
        if not 0 <= at <= len(data) - _CONTENT_AT:
            return None
        size, generation, begin = _HEAD.unpack_from(data, at + _CHECKSUM.size)
        end = at + _CONTENT_AT + size
        if generation != self._generation or begin != at or end > len(data):
            return None
        if zlib.crc32(data[at + _CHECKSUM.size : end]) != _CHECKSUM.unpack_from(data, at)[0]:
            return None
        return data[at + _CONTENT_AT : end]


def _create(file: Path) -> None:
    """Makes a journal without records; it gets its name when it is whole."""
    unfinished = file.with_suffix(".tmp")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as opened:
        opened.write(bytes(JOURNAL_BYTES))
        opened.flush()
        os.fsync(descriptor)
    unfinished.rename(file)
    sync_directory(file.parent)

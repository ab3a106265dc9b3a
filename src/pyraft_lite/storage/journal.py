"""A journal: a small file that makes what is appended to it durable with a single write to the disk.

The file is as long as it will ever be from the beginning, so that a write changes nothing but its own bytes. It is
filled from the start again and again; each time is a generation, whose number is in every record:

    checksum of the rest u32 | size of the content u32 | generation u64 | where the record begins u64 | content

A generation ends with the first thing that is no record of it. That may be what a power failure left of a write that
nobody was told of. But where a record of the generation follows, what is before it was damaged later.
"""

import os
import struct
import zlib
from pathlib import Path

from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage.files import sync_directory

JOURNAL_BYTES = 128 * 1024
"""How long the file is."""

_CHECKSUM = struct.Struct(">I")
_HEAD = struct.Struct(">IQQ")
_GENERATION = struct.Struct(">Q")
_GENERATION_AT = _CHECKSUM.size + 4
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
        try:
            if not file.exists():
                _create(file)
            # A write returns when it is durable.
            self._descriptor = os.open(file, os.O_RDWR | os.O_DSYNC)
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
        self._at = 0
        while (content := self._content(data, self._at)) is not None:
            found.append(content)
            self._at += _CONTENT_AT + len(content)
        sought = _GENERATION.pack(self._generation)
        at = data.find(sought, self._at)
        while at >= 0:
            if self._content(data, at - _GENERATION_AT) is not None:
                raise StorageError(f"the journal {self._file} is damaged at byte {self._at}: records follow")
            at = data.find(sought, at + 1)
        return found

    def has_room(self, size: int) -> bool:
        """True if a record with so many bytes of content fits."""
        return self._at + _CONTENT_AT + size <= JOURNAL_BYTES

    def append(self, content: bytes) -> None:
        """Writes a record, for which there has to be room; it is durable when this returns.

        Raises:
            StorageError: it could not be written; whether it is there nobody knows.
        """
        head = _HEAD.pack(len(content), self._generation, self._at)
        record = _CHECKSUM.pack(zlib.crc32(content, zlib.crc32(head))) + head + content
        try:
            written = os.pwrite(self._descriptor, record, self._at)
        except OSError as error:
            raise StorageError(f"cannot write to the journal {self._file}: {error.strerror}") from error
        if written != len(record):
            raise StorageError(f"cannot write to the journal {self._file}: {written} of {len(record)} bytes were taken")
        self._at += len(record)

    def begin(self, generation: int) -> None:
        """Starts over: no record of an earlier generation is read any more."""
        self._generation = generation
        self._at = 0

    def close(self) -> None:
        """Frees the file."""
        os.close(self._descriptor)

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

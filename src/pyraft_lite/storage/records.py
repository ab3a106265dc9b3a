"""What is written under a key: a checksum of key and value, then the value. An entry's value is a fixed head, its
extensions and its data; its index is the key. All numbers are big-endian.

    entry    crc32 u32 | term u64 | type u8 | seconds i64 | nanoseconds u32 | size of extensions u32 | extensions | data

Seconds and nanoseconds are kept apart because Go's zero time, in nanoseconds, does not fit 64 bits.
"""

import struct
import zlib

from pyraft_lite.core.entry import NANOSECONDS, Entry, EntryType

_CHECKSUM = struct.Struct(">I")
_HEAD = struct.Struct(">QBqII")
_KEY = struct.Struct(">Q")


def seal(key: bytes, value: bytes) -> bytes:
    """The record of ``value`` under ``key``. The key is part of the checksum, so that no record passes for another."""
    return _CHECKSUM.pack(zlib.crc32(value, zlib.crc32(key))) + value


def unseal(key: bytes, record: bytes | memoryview) -> memoryview:
    """The value that was sealed, as a view of ``record``.

    Raises:
        ValueError: the record is not what was written.
    """
    view = memoryview(record)
    if len(view) < _CHECKSUM.size:
        raise ValueError(f"it has only {len(view)} bytes")
    value = view[_CHECKSUM.size :]
    if _CHECKSUM.unpack_from(view)[0] != zlib.crc32(value, zlib.crc32(key)):
        raise ValueError("its checksum is wrong")
    return value


def encode_index(index: int) -> bytes:
    """The key of an entry; keys sort as their indexes do."""
    return _KEY.pack(index)


def decode_index(key: bytes | memoryview) -> int:
    """The index :func:`encode_index` made the key of.

    Raises:
        ValueError: it is no such key.
    """
    if len(key) != _KEY.size:
        raise ValueError(f"it has a key that is no index: {bytes(key)!r}")
    index: int = _KEY.unpack(key)[0]
    return index


def encode_entry(entry: Entry) -> bytes:
    """The record of an entry."""
    seconds, nanoseconds = divmod(entry.appended_at, NANOSECONDS)
    head = _HEAD.pack(entry.term, entry.type, seconds, nanoseconds, len(entry.extensions))
    return seal(encode_index(entry.index), head + entry.extensions + entry.data)


def decode_entry(index: int, record: bytes | memoryview) -> Entry:
    """The entry that was written at ``index``.

    Raises:
        ValueError: the record is not what was written, or has a type this program does not know.
    """
    value = unseal(encode_index(index), record)
    term, type, seconds, nanoseconds, extensions_size = _unpack_head(value)
    data_at = _HEAD.size + extensions_size
    if data_at > len(value):
        raise ValueError("its extensions are cut off")
    return Entry(
        index,
        term,
        EntryType(type),
        bytes(value[data_at:]),
        bytes(value[_HEAD.size : data_at]),
        seconds * NANOSECONDS + nanoseconds,
    )


def decode_term(index: int, record: bytes | memoryview) -> int:
    """The term of the entry that was written at ``index``; cheaper than :func:`decode_entry`.

    Raises:
        ValueError: the record is not what was written.
    """
    return _unpack_head(unseal(encode_index(index), record))[0]


def _unpack_head(value: memoryview) -> tuple[int, int, int, int, int]:
    if len(value) < _HEAD.size:
        raise ValueError("its head is cut off")
    return _HEAD.unpack_from(value)

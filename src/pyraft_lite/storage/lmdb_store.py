"""The log and the stable values in one LMDB environment.

A transaction's operations are collected first and carried out at its end, in one LMDB transaction: so a map that turns
out too small is grown and the whole is done again, with nothing lost. Only the writer thread writes; readers of other
threads each use a read transaction of their own, and ``set_mapsize``, which must not happen beside one, waits for them.
"""

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import lmdb

from pyraft_lite.core.entry import NANOSECONDS, Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage.directory_lock import DirectoryLock

MAP_SIZE = 64 * 1024 * 1024
"""The size a new map begins with; it doubles whenever it is full."""

FORMAT = b"1"
_FORMAT_KEY = b"pyraft_lite.format"
_HEAD = struct.Struct(">IQBqII")  # crc32 of the rest, term, type, seconds, nanoseconds, length of extensions
_CRC = struct.Struct(">I")
_KEY = struct.Struct(">Q")

_Operation = Callable[[lmdb.Transaction], None]


class LmdbStore:
    """A LogStore and StableStore in ``directory``, which is created (mode 0700) if missing.

    Raises:
        StorageError: the directory can't be used, is in use by another process, or holds a database that can't be read.
    """

    def __init__(self, directory: Path, *, map_size: int = MAP_SIZE) -> None:
        self._directory = directory
        self._lock = DirectoryLock(directory)
        self._readers = threading.Lock()
        self._operations: list[_Operation] | None = None
        try:
            data = directory / "data.mdb"
            existing = data.stat().st_size if data.exists() else 0
            self._env = lmdb.open(str(directory), map_size=max(map_size, existing), max_dbs=2, mode=0o600)
            self._logs = self._env.open_db(b"logs")
            self._conf = self._env.open_db(b"conf")
            self._check_size()
            self._check_format()
            self._first, self._last = self._bounds()
        except (lmdb.Error, OSError) as error:
            self._lock.release()
            raise StorageError(f"cannot open the database in {directory}: {error}") from error
        except StorageError:
            self._lock.release()
            raise
        self._pending_first, self._pending_last = self._first, self._last

    # -- reading --------------------------------------------------------------------------------------------------

    def first_index(self) -> int:
        return self._first

    def last_index(self) -> int:
        return self._last

    def term(self, index: int) -> int | None:
        if not self._first <= index <= self._last:
            return None
        with self._reading() as txn:
            record = txn.get(_KEY.pack(index), db=self._logs)
        return None if record is None else self._head(index, record)[1]

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        found: list[Entry] = []
        with self._reading() as txn, txn.cursor(self._logs) as cursor:
            cursor.set_range(_KEY.pack(low))
            for index, (key, record) in zip(range(low, high + 1), cursor.iternext(), strict=False):
                if key != _KEY.pack(index):
                    break
                entry = self._decode(index, record)
                max_bytes -= entry.size
                if max_bytes < 0 and found:
                    return found
                found.append(entry)
        if len(found) != high - low + 1:
            raise StorageError(f"entry {low + len(found)} is missing in the log in {self._directory}")
        return found

    def get(self, key: bytes) -> bytes | None:
        with self._reading() as txn:
            value = txn.get(key, db=self._conf)
        return None if value is None else bytes(value)

    # -- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See :meth:`LogStore.transaction`; a transaction inside another is part of it."""
        if self._operations is not None:
            yield
            return
        self._operations = []
        try:
            yield
            self._commit(self._operations)
            self._first, self._last = self._pending_first, self._pending_last
        finally:
            self._operations = None
            self._pending_first, self._pending_last = self._first, self._last

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        expected = self._pending_last + 1 if self._pending_last else entries[0].index
        for offset, entry in enumerate(entries):
            if entry.index != expected + offset:
                raise ValueError(f"entry {entry.index} does not continue the log: {expected + offset} should be next")
        records = [(_KEY.pack(entry.index), _encode(entry)) for entry in entries]

        def put(txn: lmdb.Transaction) -> None:
            with txn.cursor(self._logs) as cursor:
                cursor.putmulti(records, append=True)

        with self.transaction():
            self._add(put)
            self._pending_first = self._pending_first or entries[0].index
            self._pending_last = entries[-1].index

    def truncate(self, from_index: int) -> None:
        if not self._pending_last or from_index > self._pending_last:
            return
        everything = from_index <= self._pending_first

        def cut(txn: lmdb.Transaction) -> None:
            if everything:
                txn.drop(self._logs, delete=False)
                return
            with txn.cursor(self._logs) as cursor:
                found = cursor.set_range(_KEY.pack(from_index))
                while found:
                    found = cursor.delete()

        with self.transaction():
            self._add(cut)
            if everything:
                self._pending_first = self._pending_last = 0
            else:
                self._pending_last = from_index - 1

    def compact(self, to_index: int, limit: int) -> bool:
        first, last = self._pending_first, self._pending_last
        end = min(to_index, last)
        if not first or end < first:
            return False
        step_end = min(end, first + limit - 1)

        def delete(txn: lmdb.Transaction) -> None:
            for index in range(first, step_end + 1):
                txn.delete(_KEY.pack(index), db=self._logs)

        with self.transaction():
            self._add(delete)
            if step_end == last:
                self._pending_first = self._pending_last = 0
            else:
                self._pending_first = step_end + 1
        return step_end < end

    def set(self, values: Mapping[bytes, bytes]) -> None:
        wanted = dict(values)

        def put(txn: lmdb.Transaction) -> None:
            for key, value in wanted.items():
                txn.put(key, value, db=self._conf)

        with self.transaction():
            self._add(put)

    def close(self) -> None:
        self._env.close()
        self._lock.release()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _add(self, operation: _Operation) -> None:
        assert self._operations is not None, "operations are added inside a transaction"
        self._operations.append(operation)

    def _commit(self, operations: Sequence[_Operation]) -> None:
        while operations:
            try:
                with self._env.begin(write=True) as txn:
                    for operation in operations:
                        operation(txn)
                return
            except lmdb.MapFullError:
                self._grow()
            except (lmdb.Error, OSError) as error:
                raise StorageError(f"cannot write to the database in {self._directory}: {error}") from error

    def _grow(self) -> None:
        size = self._env.info()["map_size"] * 2
        try:
            with self._readers:
                self._env.set_mapsize(size)
        except (lmdb.Error, OSError) as error:
            raise StorageError(f"cannot grow the database in {self._directory} to {size} bytes: {error}") from error

    @contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction]:
        try:
            with self._readers, self._env.begin() as txn:
                yield txn
        except lmdb.Error as error:
            raise StorageError(f"cannot read the database in {self._directory}: {error}") from error

    def _check_size(self) -> None:
        """A file shorter than its pages would kill the process at the first touch of what is missing."""
        needed = (self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"]
        size = os.stat(self._directory / "data.mdb").st_size
        if size < needed:
            raise StorageError(f"{self._directory}/data.mdb is cut off: it has {size} bytes, {needed} are in use")

    def _check_format(self) -> None:
        found = self.get(_FORMAT_KEY)
        if found is None:
            with self._env.begin(write=True) as txn:
                txn.put(_FORMAT_KEY, FORMAT, db=self._conf)
        elif found != FORMAT:
            raise StorageError(f"the database in {self._directory} has format {found!r}, this program reads {FORMAT!r}")

    def _bounds(self) -> tuple[int, int]:
        """First and last index; the number of records must fit them, else some are missing."""
        with self._reading() as txn, txn.cursor(self._logs) as cursor:
            if not cursor.first():
                return 0, 0
            first = self._index(cursor.key())
            cursor.last()
            last = self._index(cursor.key())
            count = txn.stat(self._logs)["entries"]
        if count != last - first + 1:
            raise StorageError(f"the log in {self._directory} has {count} entries between {first} and {last}")
        return first, last

    def _index(self, key: bytes | memoryview) -> int:
        if len(key) != _KEY.size:
            raise StorageError(f"the log in {self._directory} has a key that is no index: {key!r}")
        index: int = _KEY.unpack(key)[0]
        return index

    def _head(self, index: int, record: bytes | memoryview) -> tuple[int, int, int, int, int, int]:
        if len(record) < _HEAD.size:
            raise StorageError(f"entry {index} in {self._directory} is damaged: it has only {len(record)} bytes")
        return _HEAD.unpack_from(record)

    def _decode(self, index: int, record: bytes | memoryview) -> Entry:
        crc, term, type, seconds, nanoseconds, extensions_size = self._head(index, record)
        if crc != zlib.crc32(memoryview(record)[_CRC.size :]):
            raise StorageError(f"entry {index} in {self._directory} is damaged: its checksum is wrong")
        data_at = _HEAD.size + extensions_size
        return Entry(
            index,
            term,
            EntryType(type),
            bytes(record[data_at:]),
            bytes(record[_HEAD.size : data_at]),
            seconds * NANOSECONDS + nanoseconds,
        )


def _encode(entry: Entry) -> bytes:
    seconds, nanoseconds = divmod(entry.appended_at, NANOSECONDS)
    head = _HEAD.pack(0, entry.term, entry.type, seconds, nanoseconds, len(entry.extensions))
    body = head[_CRC.size :] + entry.extensions + entry.data
    return _CRC.pack(zlib.crc32(body)) + body

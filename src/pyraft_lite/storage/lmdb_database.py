"""The log and the stable values in one LMDB environment; ``lmdb_store`` puts a journal before it.

A transaction's operations are collected first and carried out at its end, in one LMDB transaction: so a map that turns
out too small is grown and the whole is done again, with nothing lost. One thread at a time writes; readers of other
threads each use a read transaction of their own, and ``set_mapsize``, which must not happen beside one, waits for them.
"""

import errno
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lmdb

from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage.bounds import Bounds
from pyraft_lite.storage.directory_lock import DirectoryLock
from pyraft_lite.storage.lmdb_file import CONF, CONFIGURATIONS, FORMAT_KEY, LOGS, open_environment
from pyraft_lite.storage.records import (
    decode_entry,
    decode_index,
    decode_term,
    encode_index,
    seal,
    unseal,
)

MAP_SIZE = 64 * 1024 * 1024
"""The size a new map begins with, in bytes; it doubles whenever it is full."""

CHECKED_ENTRIES = 64
"""How many of the last entries are read when the log is opened."""

TOUCHED_BYTES = 32 * 1024 * 1024
"""How much of the map is looked at until it is mapped anew, in bytes."""

COMMIT_BYTES = 32 * 1024
"""How much of the map a commit looks at, about."""

WINDOW_BYTES = 64 * 1024
"""How much the kernel maps where one page is looked at, at most."""

_Operation = Callable[[lmdb.Transaction], None]


@dataclass(slots=True)
class _Pending:
    """Writes that wait for their commit, and the bounds the log will have after it."""

    bounds: Bounds
    operations: list[_Operation] = field(default_factory=list)


class LmdbDatabase:
    """A log and stable values in ``directory``, which is created (mode 0700) if missing; as LogStore and StableStore
    say, but that :meth:`append` gets the records of its entries as well.

    Opening it takes little time however long the log is: its ends and its size show that it has no gaps, and of its
    entries only the last few are read. Damage to the others shows when they are read, compacted or cut off. Within a
    transaction all reads, :meth:`get` included, show what was before it.

    Args:
        directory: The node's directory; no other process may have it open.
        map_size: Bytes the map begins with.

    Raises:
        StorageError: the directory can't be used, is in use by another process, or holds a database that is damaged or
            not of this format.
    """

    def __init__(self, directory: Path, *, map_size: int = MAP_SIZE) -> None:
        self._directory = directory
        self._readers = threading.Lock()
        self._writing = threading.Lock()
        self._touched = 0
        self._transactions: list[_Pending] = []
        with ExitStack() as opened:
            opened.callback(DirectoryLock(directory).release)
            try:
                self._env, self._leaves = open_environment(directory, map_size)
                opened.callback(self._leaves.close)
                opened.callback(self._env.close)
                self._logs = self._env.open_db(LOGS, create=False)
                self._conf = self._env.open_db(CONF, create=False)
                self._configurations = self._env.open_db(CONFIGURATIONS, create=False)
            except (lmdb.Error, OSError) as error:
                raise StorageError(f"cannot open the database in {directory}: {error}") from error
            self._check_conf()
            self._bounds = self._read_bounds()
            if self._bounds.last:
                self.entries(
                    max(self._bounds.first, self._bounds.last - CHECKED_ENTRIES + 1), self._bounds.last, 1 << 62
                )
            self._opened = opened.pop_all()

    # -- reading --------------------------------------------------------------------------------------------------

    @property
    def bounds(self) -> Bounds:
        """Where the log begins and ends."""
        return self._bounds

    def term(self, index: int) -> int | None:
        if index not in self._bounds:
            return None
        with self._reading(f"entry {index}") as txn:
            self._leaves.check_at(index)
            record = txn.get(encode_index(index), db=self._logs)
            return None if record is None else decode_term(index, record)

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        self._bounds.check(low, high)
        self._let_go_of_pages()
        found: list[Entry] = []
        with self._reading(f"entries {low}..{high}") as txn, txn.cursor(self._logs) as cursor:
            at = low
            while at <= high:  # from leaf to leaf, as long as some have not been looked at
                run = range(at, min(high, self._leaves.check_at(at)) + 1)
                cursor.set_range(encode_index(at))
                for index, (key, record) in zip(run, cursor, strict=False):
                    if decode_index(key) != index:
                        break
                    entry = self._decoded(index, record)
                    max_bytes -= entry.size
                    if max_bytes < 0 and found:
                        return found
                    found.append(entry)
                at = run.stop
        if len(found) != high - low + 1:
            raise StorageError(f"entry {low + len(found)} is missing in the log in {self._directory}")
        return found

    def configurations(self) -> Sequence[int]:
        with self._reading("the list of configurations") as txn:
            found: list[int] = []
            for key, record in txn.cursor(self._configurations):
                unseal(bytes(key), record)
                found.append(decode_index(key))
            return found

    def get(self, key: bytes) -> bytes | None:
        with self._reading(f"the value of {key!r}") as txn:
            record = txn.get(key, db=self._conf)
            return None if record is None else bytes(unseal(key, record))

    # -- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See :meth:`LogStore.transaction`; one inside another is part of it, and undone alone if it alone raises."""
        outer = self._transactions[-1] if self._transactions else None
        own = _Pending(outer.bounds if outer else self._bounds)
        self._transactions.append(own)
        try:
            yield
        finally:
            self._transactions.pop()
        if outer:
            outer.bounds = own.bounds
            outer.operations += own.operations
        elif own.operations:
            self._commit(own.operations)
            self._bounds = own.bounds

    def append(self, entries: Sequence[Entry], records: Sequence[bytes]) -> None:
        """See :meth:`LogStore.append`; ``records`` are what ``encode_entry`` makes of the entries, at least one."""
        items = [(encode_index(entry.index), record) for entry, record in zip(entries, records, strict=True)]
        configurations = [encode_index(entry.index) for entry in entries if entry.type is EntryType.CONFIGURATION]

        def put(txn: lmdb.Transaction) -> None:
            with txn.cursor(self._logs) as cursor:
                _, added = cursor.putmulti(items, append=True)
            if added != len(items):
                raise StorageError(f"the log in {self._directory} has entries where it should end")
            for key in configurations:
                txn.put(key, seal(key, b""), db=self._configurations)

        with self.transaction():
            self._write(self._transactions[-1].bounds.appended(entries), put)

    def truncate(self, from_index: int) -> None:
        with self.transaction():
            before = self._transactions[-1].bounds
            after = before.truncated(from_index)
            if after == before:
                return
            if after.last:
                self._write(after, self._deletion(after.last + 1, before.last))
            else:
                self._write(after, self._drop())

    def compact(self, to_index: int, limit: int) -> bool:
        with self.transaction():
            before = self._transactions[-1].bounds
            after = before.compacted(to_index, limit)
            if after != before:
                self._write(after, self._deletion(before.first, after.first - 1 if after.first else before.last))
        return 0 < after.first <= to_index

    def set(self, values: Mapping[bytes, bytes]) -> None:
        records = [(key, seal(key, value)) for key, value in values.items()]

        def put(txn: lmdb.Transaction) -> None:
            for key, record in records:
                txn.put(key, record, db=self._conf)

        with self.transaction():
            self._write(self._transactions[-1].bounds, put)

    def close(self) -> None:
        with self._readers:
            self._opened.close()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _write(self, bounds: Bounds, operation: _Operation) -> None:
        pending = self._transactions[-1]
        pending.operations.append(operation)
        pending.bounds = bounds

    def _deletion(self, first: int, last: int) -> _Operation:
        self._check_leaves(first, last)
        low, high = encode_index(first), encode_index(last)
        with self._reading("the log") as txn:
            log = txn.stat(self._logs)
        pages = log["leaf_pages"] + log["overflow_pages"]
        entry_bytes = min(pages * log["psize"] // (log["entries"] or 1), WINDOW_BYTES)

        def delete(txn: lmdb.Transaction) -> None:
            for database in (self._logs, self._configurations):
                with txn.cursor(database) as cursor:
                    cursor.set_range(low)
                    while low <= bytes(cursor.key()) <= high:
                        cursor.delete()
            self._touched += (last - first + 1) * entry_bytes

        return delete

    def _drop(self) -> _Operation:
        with self._reading("the log") as txn:
            looks_into_leaves = txn.stat(self._logs)["overflow_pages"] > 0
        if looks_into_leaves:
            self._check_leaves(0, sys.maxsize)

        def drop(txn: lmdb.Transaction) -> None:
            txn.drop(self._logs, delete=False)
            txn.drop(self._configurations, delete=False)
            self._leaves.forget()

        return drop

    def _check_leaves(self, low: int, high: int) -> None:
        try:
            self._leaves.check(low, high)
        except (OSError, ValueError) as error:
            raise StorageError(f"entries {low}..{high} in {self._directory} are damaged: {error}") from error

    def _commit(self, operations: Sequence[_Operation]) -> None:
        with self._writing:
            while True:
                try:
                    with self._env.begin(write=True) as txn:
                        for operation in operations:
                            operation(txn)
                    break
                except lmdb.MapFullError:
                    self._map_anew(self._env.info()["map_size"] * 2)
                except lmdb.Error as error:
                    # LMDB calls it an I/O error when only a part of a page could be written.
                    reason = f"{error}, or the disk is full" if error.code == errno.EIO else str(error)
                    raise StorageError(f"cannot write to the database in {self._directory}: {reason}") from error
        self._touched += COMMIT_BYTES
        self._let_go_of_pages()

    def _let_go_of_pages(self) -> None:
        """Maps the file anew now and then, since every page of the map that was looked at counts as memory of this
        process until then. While the writer is at work it does nothing: a commit ends with this."""
        if self._touched < TOUCHED_BYTES or not self._writing.acquire(blocking=False):
            return
        try:
            self._map_anew(self._env.info()["map_size"])
        finally:
            self._writing.release()

    def _map_anew(self, size: int) -> None:
        try:
            with self._readers:
                self._env.set_mapsize(size)
        except lmdb.Error as error:
            raise StorageError(f"cannot map {size} bytes of the database in {self._directory}: {error}") from error
        self._touched = 0

    @contextmanager
    def _reading(self, what: str) -> Iterator[lmdb.Transaction]:
        """A read transaction. What it gives are views of the map that end with it; ``what`` is read, for errors."""
        try:
            with self._readers, self._env.begin(buffers=True) as txn:
                yield txn
        except (lmdb.Error, OSError) as error:
            raise StorageError(f"cannot read {what} in {self._directory}: {error}") from error
        except ValueError as error:
            raise StorageError(f"{what} in {self._directory} is damaged: {error}") from error

    def _check_conf(self) -> None:
        with self._reading("a stable value") as txn:
            for key, record in txn.cursor(self._conf):
                if key != FORMAT_KEY:
                    unseal(bytes(key), record)

    def _read_bounds(self) -> Bounds:
        with self._reading("the log") as txn, txn.cursor(self._logs) as cursor:
            self._leaves.check_at(0)
            self._leaves.check_at(sys.maxsize)
            if not cursor.first():
                return Bounds()
            first = decode_index(cursor.key())
            cursor.last()
            last = decode_index(cursor.key())
            count = txn.stat(self._logs)["entries"]
            if count != last - first + 1:
                raise ValueError(f"it has {count} entries from {first} to {last}")
            return Bounds(first, last)

    def _decoded(self, index: int, record: bytes | memoryview) -> Entry:
        self._touched += len(record)
        try:
            return decode_entry(index, record)
        except ValueError as error:
            raise ValueError(f"entry {index}: {error}") from error

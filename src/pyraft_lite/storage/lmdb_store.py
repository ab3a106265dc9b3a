"""The log and the stable values of a node: an LMDB database, and a journal for what is not in it yet.

A commit of LMDB writes to the disk twice, one after the other. The small writes of a node, which are most, go into the
journal instead, with a single write, and into the database some hundred at a time. Until then they are kept in memory.
Whatever is not small, or takes away from the log, is committed to the database at once, with all that the journal
holds. So the journal is a few records of the newest entries and values, and a start takes them over before anything
else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgpack

from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.storage.bounds import Bounds
from pyraft_lite.storage.journal import Journal
from pyraft_lite.storage.lmdb_database import MAP_SIZE, LmdbDatabase
from pyraft_lite.storage.records import decode_entry, encode_entry

MAX_JOURNALED_BYTES = 32 * 1024
"""What is larger goes into the database at once: it would fill the journal, and be written twice."""

JOURNAL = "journal"

GENERATION = b"pyraft_lite.journal"
"""The key of the generation of the journal whose records are not in the database."""

_Operation = Callable[[LmdbDatabase], object]


class _View(NamedTuple):
    """The log as readers see it.

    Attributes:
        bounds: Of all of it.
        entries: The last of it, which are not in the database; there may be more by now, beyond the bounds.
        records: Their records.
        values: The stable values that are not in the database.
    """

    bounds: Bounds
    entries: list[Entry]
    records: list[bytes]
    values: dict[bytes, bytes]

    @property
    def journaled(self) -> int:
        """The index of the first entry that is not in the database."""
        return self.entries[0].index if self.entries else self.bounds.last + 1


class _Addition(NamedTuple):
    """What a record of the journal adds.

    Attributes:
        bounds: Those the log has after it.
        entries, records: The entries, as they are and as they are stored.
        values: Stable values.
    """

    bounds: Bounds
    entries: Sequence[Entry]
    records: Sequence[bytes]
    values: Mapping[bytes, bytes]

    def encode(self, packer: msgpack.Packer) -> bytes:
        """The content of its record."""
        first = self.entries[0].index if self.entries else 0
        return packer.pack((first, self.records, list(self.values.items())))

    @classmethod
    def decode(cls, content: bytes, bounds: Bounds) -> "_Addition":
        """Raises ValueError if it does not go with a log of these bounds."""
        first, records, values = msgpack.unpackb(content)
        entries = [decode_entry(index, record) for index, record in enumerate(records, first)]
        return cls(bounds.appended(entries) if entries else bounds, entries, records, dict(values))


@dataclass(slots=True)
class _Pending:
    """Writes that wait for their commit.

    Attributes:
        bounds: Those the log will have after it.
        operations: All of them, as the database carries them out.
        entries, records, values: What they add, if that is all they do.
        adds_only: It is.
    """

    bounds: Bounds
    operations: list[_Operation] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    values: dict[bytes, bytes] = field(default_factory=dict)
    adds_only: bool = True


class LmdbStore:
    """A LogStore and StableStore, and a NonblockingStore, in ``directory``, which is created (mode 0700) if missing.

    Opening it takes little time however long the log is: its ends and its size show that it has no gaps, and of its
    entries only the last few are read. Damage to the others shows when they are read, compacted or cut off. Within a
    transaction all reads, :meth:`get` included, show what was before it.

    Args:
        directory: The node's directory; no other process may have it open.
        map_size: Bytes the database's map begins with.

    Raises:
        StorageError: the directory can't be used, is in use by another process, or holds a database or journal that is
            damaged or not of this format.
    """

    def __init__(self, directory: Path, *, map_size: int = MAP_SIZE) -> None:
        self._transactions: list[_Pending] = []
        self._begun: _Addition | None = None
        self._packer = msgpack.Packer()  # Kept, since to make one takes longer than what it is for.
        with ExitStack() as opened:
            self._database = LmdbDatabase(directory, map_size=map_size)
            opened.callback(self._database.close)
            self._view = _View(self._database.bounds, [], [], {})
            self._open_journal(directory / JOURNAL)
            opened.callback(self._journal.close)
            try:
                for content in self._journal.read():
                    self._add(_Addition.decode(content, self._view.bounds))
            except ValueError as error:
                raise StorageError(f"the journal in {directory} does not go with the database: {error}") from error
            self._opened = opened.pop_all()

    # -- reading --------------------------------------------------------------------------------------------------

    def first_index(self) -> int:
        return self._view.bounds.first

    def last_index(self) -> int:
        return self._view.bounds.last

    def term(self, index: int) -> int | None:
        view = self._view
        if index not in view.bounds:
            return None
        if index >= view.journaled:
            return view.entries[index - view.journaled].term
        return self._database.term(index)

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        view = self._view
        view.bounds.check(low, high)
        found: list[Entry] = []
        if low < view.journaled:
            stored = min(high, view.journaled - 1)
            found += self._database.entries(low, stored, max_bytes)
            if found[-1].index != stored:
                return found
            max_bytes -= sum(entry.size for entry in found)
            low = stored + 1
        for entry in view.entries[low - view.journaled : high + 1 - view.journaled]:
            max_bytes -= entry.size
            if max_bytes < 0 and found:
                break
            found.append(entry)
        return found

    def configurations(self) -> Sequence[int]:
        view = self._view
        journaled = view.entries[: view.bounds.last + 1 - view.journaled]
        return [
            *self._database.configurations(),
            *(entry.index for entry in journaled if entry.type is EntryType.CONFIGURATION),
        ]

    def get(self, key: bytes) -> bytes | None:
        value = self._view.values.get(key)
        return self._database.get(key) if value is None else value

    # -- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See :meth:`LogStore.transaction`; one inside another is part of it, and undone alone if it alone raises."""
        outer = self._transactions[-1] if self._transactions else None
        own = _Pending(outer.bounds if outer else self._view.bounds)
        self._transactions.append(own)
        try:
            yield
        finally:
            self._transactions.pop()
        if outer:
            outer.bounds = own.bounds
            outer.operations += own.operations
            outer.entries += own.entries
            outer.records += own.records
            outer.values |= own.values
            outer.adds_only &= own.adds_only
        elif own.operations:
            self._commit(own)

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        with self.transaction():
            pending = self._transactions[-1]
            pending.bounds = pending.bounds.appended(entries)
            records = [encode_entry(entry) for entry in entries]
            pending.operations.append(lambda database: database.append(entries, records))
            pending.entries += entries
            pending.records += records

    def set(self, values: Mapping[bytes, bytes]) -> None:
        with self.transaction():
            pending = self._transactions[-1]
            pending.operations.append(lambda database: database.set(values))
            pending.values |= values

    def truncate(self, from_index: int) -> None:
        with self.transaction():
            pending = self._transactions[-1]
            after = pending.bounds.truncated(from_index)
            if after != pending.bounds:
                self._take_away(after, lambda database: database.truncate(from_index))

    def compact(self, to_index: int, limit: int) -> bool:
        with self.transaction():
            pending = self._transactions[-1]
            after = pending.bounds.compacted(to_index, limit)
            if after != pending.bounds:
                self._take_away(after, lambda database: database.compact(to_index, limit))
        return 0 < after.first <= to_index

    def fileno(self) -> int | None:
        return self._journal.fileno()

    def begin(self, entries: Sequence[Entry], values: Mapping[bytes, bytes]) -> bool:
        bounds = self._view.bounds.appended(entries) if entries else self._view.bounds
        if sum([entry.size for entry in entries]) > MAX_JOURNALED_BYTES:
            return False
        addition = _Addition(bounds, entries, [encode_entry(entry) for entry in entries], values)
        content = addition.encode(self._packer)
        if not self._journal.has_room(len(content)) or not self._journal.begin(content):
            return False
        self._begun = addition
        return True

    def finish(self) -> bool:
        addition, self._begun = self._begun, None
        assert addition is not None
        finished = self._journal.finish()
        if finished:
            self._add(addition)
        return finished

    def close(self) -> None:
        self._opened.close()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _open_journal(self, file: Path) -> None:
        generation = self._database.get(GENERATION)
        if generation is not None:
            if not file.exists():
                raise StorageError(f"{file} is missing: it holds what is not in the database yet")
            self._generation = int(generation)
            self._journal = Journal(file, self._generation)
            return
        # A new database, or one of a format without a journal. What was made of one before a crash holds nothing.
        self._generation = 0
        self._journal = Journal(file, 0)
        self._merge([])

    def _take_away(self, bounds: Bounds, operation: _Operation) -> None:
        pending = self._transactions[-1]
        pending.bounds = bounds
        pending.operations.append(operation)
        pending.adds_only = False

    def _commit(self, pending: _Pending) -> None:
        if pending.adds_only and sum(map(len, pending.records)) <= MAX_JOURNALED_BYTES:
            addition = _Addition(pending.bounds, pending.entries, pending.records, pending.values)
            content = addition.encode(self._packer)
            if self._journal.has_room(len(content)):
                self._journal.append(content)
                self._add(addition)
                return
        self._merge(pending.operations)

    def _add(self, addition: _Addition) -> None:
        """Lets readers see what is in the journal now."""
        view = self._view
        view.entries.extend(addition.entries)
        view.records.extend(addition.records)
        view.values.update(addition.values)
        self._view = _View(addition.bounds, view.entries, view.records, view.values)

    def _merge(self, operations: Sequence[_Operation]) -> None:
        """Carries out ``operations`` on the database, after all that is in the journal, which is empty then."""
        view = self._view
        generation = self._generation + 1
        with self._database.transaction():
            if view.entries:
                self._database.append(view.entries, view.records)
            self._database.set({**view.values, GENERATION: b"%d" % generation})
            for operation in operations:
                operation(self._database)
        self._generation = generation
        self._journal.start_over(generation)
        self._view = _View(self._database.bounds, [], [], {})

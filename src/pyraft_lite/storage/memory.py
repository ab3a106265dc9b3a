"""Twins of the durable stores that forget everything with the process: for tests, simulations and throw-away nodes."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from pyraft_lite.core.configuration import Configuration
from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import StorageError
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.storage.bounds import Bounds
from pyraft_lite.storage.interfaces import SnapshotSink, SnapshotSource
from pyraft_lite.storage.snapshots import RETAIN


@dataclass(frozen=True, slots=True)
class _State:
    bounds: Bounds = field(default_factory=Bounds)
    entries: tuple[Entry, ...] = ()
    values: Mapping[bytes, bytes] = field(default_factory=dict)


class MemoryStore:
    """A LogStore and StableStore: readers see the last commit's state, the writer builds the next one beside it."""

    def __init__(self) -> None:
        self._committed = _State()
        self._draft = self._committed
        self._depth = 0

    # -- reading --------------------------------------------------------------------------------------------------

    def first_index(self) -> int:
        return self._committed.bounds.first

    def last_index(self) -> int:
        return self._committed.bounds.last

    def term(self, index: int) -> int | None:
        state = self._committed
        return state.entries[index - state.bounds.first].term if index in state.bounds else None

    def entries(self, low: int, high: int, max_bytes: int) -> Sequence[Entry]:
        state = self._committed
        state.bounds.check(low, high)
        found: list[Entry] = []
        for entry in state.entries[low - state.bounds.first : high - state.bounds.first + 1]:
            max_bytes -= entry.size
            if max_bytes < 0 and found:
                break
            found.append(entry)
        return found

    def configurations(self) -> Sequence[int]:
        return [entry.index for entry in self._committed.entries if entry.type is EntryType.CONFIGURATION]

    def get(self, key: bytes) -> bytes | None:
        return self._committed.values.get(key)

    # -- writing --------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See :meth:`LogStore.transaction`; one inside another is part of it, and undone alone if it alone raises."""
        before = self._draft
        self._depth += 1
        try:
            yield
        except BaseException:
            self._draft = before
            raise
        finally:
            self._depth -= 1
        if self._depth == 0:
            self._committed = self._draft

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        with self.transaction():
            bounds = self._draft.bounds.appended(entries)
            self._draft = replace(self._draft, bounds=bounds, entries=(*self._draft.entries, *entries))

    def truncate(self, from_index: int) -> None:
        with self.transaction():
            self._keep(self._draft.bounds.truncated(from_index))

    def compact(self, to_index: int, limit: int) -> bool:
        with self.transaction():
            bounds = self._draft.bounds.compacted(to_index, limit)
            self._keep(bounds)
        return 0 < bounds.first <= to_index

    def set(self, values: Mapping[bytes, bytes]) -> None:
        with self.transaction():
            self._draft = replace(self._draft, values={**self._draft.values, **values})

    def close(self) -> None:
        """Nothing to free."""

    def _keep(self, bounds: Bounds) -> None:
        entries = tuple(entry for entry in self._draft.entries if entry.index in bounds)
        self._draft = replace(self._draft, bounds=bounds, entries=entries)


class MemorySnapshotStore:
    """A SnapshotStore that keeps the ``retain`` newest snapshots, at least 2 (as FileSnapshotStore)."""

    def __init__(self, retain: int = RETAIN) -> None:
        if retain < 2:
            raise ValueError(f"retain is {retain}, must be at least 2")
        self._retain = retain
        self._begun = 0
        self._kept: tuple[tuple[int, SnapshotMeta, bytes], ...] = ()

    def create(self, *, index: int, term: int, configuration: Configuration, configuration_index: int) -> SnapshotSink:
        self._begun += 1
        meta = SnapshotMeta(f"{term}-{index}-{self._begun}", index, term, configuration, configuration_index, 0)
        return MemorySnapshotSink(self, meta, self._begun)

    def list(self) -> Sequence[SnapshotMeta]:
        return [meta for _, meta, _ in self._kept]

    def open(self, snapshot_id: str) -> tuple[SnapshotMeta, BinaryIO]:
        for _, meta, state in self._kept:
            if meta.id == snapshot_id:
                return meta, io.BytesIO(state)
        raise StorageError(f"there is no snapshot {snapshot_id}")

    def stream(self, snapshot_id: str) -> SnapshotSource:
        _, source = self.open(snapshot_id)
        return source

    def delete(self, snapshot_id: str) -> None:
        left = tuple(item for item in self._kept if item[1].id != snapshot_id)
        if len(left) == len(self._kept):
            raise StorageError(f"cannot remove snapshot {snapshot_id}: there is none of this name")
        self._kept = left

    def keep(self, number: int, meta: SnapshotMeta, state: bytes) -> None:
        """Takes in a finished snapshot, the ``number``-th that was begun, and drops the oldest beyond those to
        retain."""
        kept = [*self._kept, (number, meta, state)]
        kept.sort(key=lambda item: (item[1].term, item[1].index, item[0]), reverse=True)
        self._kept = tuple(kept[: self._retain])


class MemorySnapshotSink:
    """A snapshot being written (SnapshotSink)."""

    def __init__(self, store: MemorySnapshotStore, meta: SnapshotMeta, number: int) -> None:
        self._store = store
        self._meta = meta
        self._number = number
        self._state = bytearray()
        self._ended = False

    @property
    def id(self) -> str:
        return self._meta.id

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        self._check_open()
        before = len(self._state)
        self._state += data
        return len(self._state) - before

    def close(self) -> SnapshotMeta:
        self._check_open()
        self._ended = True
        meta = replace(self._meta, size=len(self._state))
        self._store.keep(self._number, meta, bytes(self._state))
        return meta

    def cancel(self) -> None:
        self._ended = True

    def _check_open(self) -> None:
        if self._ended:
            raise StorageError(f"snapshot {self.id} is closed or cancelled")

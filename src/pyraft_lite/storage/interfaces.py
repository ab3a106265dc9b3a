"""What a Raft node needs of its storage. An implementer must promise what is written here; the contract tests in
``tests/storage`` check it on any implementation.

All methods are synchronous. Calls that change a log or stable store come one after the other, though not all from one
thread; reads may come from another thread at the same time and see the state before or after any one transaction, never
in between.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, runtime_checkable

from pyraft_lite.core.configuration import Configuration
from pyraft_lite.core.entry import Entry
from pyraft_lite.core.log import LogReader
from pyraft_lite.core.snapshot import SnapshotMeta


class LogStore(LogReader, Protocol):
    """A durable, gapless run of log entries ``first_index..last_index`` (both 0 if empty)."""

    def transaction(self) -> AbstractContextManager[None]:
        """Joins all writes made inside into one atomic, durable commit, made when the block ends.

        A write outside of any transaction is one of its own. If the block raises, nothing of it is kept. A store that
        is at once log and stable store (LmdbStore) joins the writes of both roles.

        Raises:
            StorageError: the commit failed; nothing of it is kept.
        """
        ...

    def append(self, entries: Sequence[Entry]) -> None:
        """Appends entries that continue the log without a gap (to an empty log, any first index is right).

        Raises:
            ValueError: the entries leave a gap or overlap what is there.
            StorageError: they could not be written.
        """
        ...

    def truncate(self, from_index: int) -> None:
        """Deletes every entry whose index is ``from_index`` or greater. Deleting what is not there is no error."""
        ...

    def compact(self, to_index: int, limit: int) -> bool:
        """Deletes the oldest entries up to and including ``to_index``, at most ``limit`` of them.

        Returns:
            True if entries up to ``to_index`` remain, so that the caller comes back; the steps between let other
            writes through.
        """
        ...

    def close(self) -> None:
        """Frees what the store holds; no call follows."""
        ...


class StableStore(Protocol):
    """A few small values that must survive a crash, such as the current term and vote."""

    def get(self, key: bytes) -> bytes | None:
        """The value last set, or None."""
        ...

    def set(self, values: Mapping[bytes, bytes]) -> None:
        """Sets all of ``values`` in one atomic, durable step.

        Raises:
            StorageError: they could not be written; none of them is set.
        """
        ...


@runtime_checkable
class NonblockingStore(LogStore, StableStore, Protocol):
    """A log and stable store that can write while its caller goes on."""

    def fileno(self) -> int | None:
        """What becomes readable when that which was begun can be finished; None if nothing can be begun at all."""
        ...

    def begin(self, entries: Sequence[Entry], values: Mapping[bytes, bytes]) -> bool:
        """Begins to append ``entries`` and to set ``values``, in one atomic, durable commit, without waiting for it.

        No other write may come before :meth:`finish`; until then readers see what was before.

        Returns:
            False if that can't be done without waiting; then nothing was begun, and a transaction has to do it.

        Raises:
            ValueError: the entries leave a gap or overlap what is there.
        """
        ...

    def finish(self) -> bool:
        """Ends what was begun, which is durable now.

        Returns:
            False if it turned out that it had to wait; then nothing of it is kept, and a transaction has to do it.

        Raises:
            StorageError: it could not be written; nobody knows what of it is there.
        """
        ...


class SnapshotSink(Protocol):
    """A snapshot being written. Nothing of it is to be seen in the store until :meth:`close` returns."""

    @property
    def id(self) -> str: ...

    def write(self, data: bytes | bytearray | memoryview, /) -> int:
        """Adds bytes of state; returns how many (all)."""
        ...

    def close(self) -> SnapshotMeta:
        """Makes the snapshot durable and visible, then drops the oldest beyond what the store retains.

        Raises:
            StorageError: it could not be written; nothing of it remains.
        """
        ...

    def cancel(self) -> None:
        """Removes what was written so far. After :meth:`close` or a first cancel it does nothing."""
        ...


class SnapshotSource(Protocol):
    """A snapshot being read, to be passed on."""

    def read(self, size: int, /) -> bytes:
        """The next bytes of state, ``size`` at most; none after the last.

        Raises:
            StorageError: they can't be read; or, in place of the last of them, the whole is not what was written.
        """
        ...

    def close(self) -> None:
        """Frees the file; nothing may be reading from it."""
        ...


class SnapshotStore(Protocol):
    """Holds a few snapshots of the state machine."""

    def create(self, *, index: int, term: int, configuration: Configuration, configuration_index: int) -> SnapshotSink:
        """Begins a new snapshot.

        Raises:
            StorageError: it could not be begun.
        """
        ...

    def list(self) -> Sequence[SnapshotMeta]:
        """The complete snapshots, newest first (by term, then index, then time). Unreadable ones are left out."""
        ...

    def open(self, snapshot_id: str) -> tuple[SnapshotMeta, BinaryIO]:
        """Opens a snapshot's state after its size and checksum were verified; the caller closes it.

        Raises:
            StorageError: there is no such snapshot, or its bytes are not what was written.
        """
        ...

    def stream(self, snapshot_id: str) -> SnapshotSource:
        """Opens a snapshot's state, whose checksum is verified on the way: its first bytes need not wait until all have
        been read, and nobody gets the whole of a damaged one.

        Raises:
            StorageError: there is no such snapshot, or it has not the size it had when it was written.
        """
        ...

    def delete(self, snapshot_id: str) -> None:
        """Removes a snapshot durably.

        Raises:
            StorageError: there is no such snapshot, or it can't be removed.
        """
        ...

"""Feeds committed entries to the user's state machine, on a thread of its own or, if it is quick, on the event loop."""

import asyncio
from bisect import insort
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import AbortedByRestoreError, RaftError
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.runtime.api import Applied
from pyraft_lite.runtime.batch import Batch
from pyraft_lite.runtime.fsm import FSM, FSMSnapshot
from pyraft_lite.runtime.operation import Operation
from pyraft_lite.runtime.settle import settle
from pyraft_lite.storage.interfaces import SnapshotStore

BATCH_BYTES = 1024 * 1024
"""How much is applied at a time; bounds what a slow FSM keeps in memory."""

BATCH_ENTRIES = 1024
"""How many entries are applied at a time; bounds how long a quick FSM keeps the event loop."""


class FsmRunner:
    """Applies entries, restores and freezes snapshots, in order, one at a time. All methods belong to the event loop.

    Attributes:
        applied_index: The state machine has seen everything up to here.
    """

    def __init__(
        self,
        fsm: FSM,
        snapshots: SnapshotStore,
        read_entries: Callable[[int, int, int], Sequence[Entry]],
        on_failed: Callable[[str], None],
        *,
        on_loop: bool = False,
    ) -> None:
        """``read_entries(low, high, max_bytes)`` reads the log; ``on_failed`` gets why the state machine failed, which
        is fatal: replicas would differ. ``on_loop`` has entries applied on the event loop."""
        self._fsm = fsm
        self._snapshots = snapshots
        self._read_entries = read_entries
        self._on_failed = on_failed
        self._on_loop = on_loop
        self._executor = ThreadPoolExecutor(1, "raft-fsm")
        self._work: asyncio.Task[None] | None = None
        self._failed = False
        self._commit_index = 0
        self._restore: SnapshotMeta | None = None
        self._restored = asyncio.Event()
        self._restored.set()
        self._freezes: list[asyncio.Future[tuple[int, FSMSnapshot]]] = []
        self._proposed: dict[int, Operation | Batch] = {}
        self._readers: list[tuple[int, int, Operation]] = []
        self._readers_seen = 0
        self.applied_index = 0

    @property
    def pending(self) -> int:
        """How many committed entries are not applied yet."""
        return self._commit_index - self.applied_index

    async def load(self, meta: SnapshotMeta) -> None:
        """Restores the state a node starts with.

        Raises:
            StorageError: the snapshot can't be read.
        """
        await asyncio.get_running_loop().run_in_executor(self._executor, self._restore_from, meta)
        self.applied_index = self._commit_index = meta.index

    def commit(self, index: int, proposed: Sequence[tuple[int, Any]], *, may_wait: bool = False) -> None:
        """Everything up to ``index`` is committed.

        Args:
            index: That of an entry.
            proposed: Which :class:`Operation` or :class:`Batch` each of the entries is of that somebody waits for.
            may_wait: Nothing is to be applied on the event loop before :meth:`go_on`, unless somebody waits for it.
        """
        self._commit_index = index
        self._proposed.update(proposed)
        if proposed or not may_wait or not self._on_loop:
            self._wake()

    def go_on(self) -> None:
        """Applies what could wait."""
        if self.applied_index < self._commit_index:
            self._wake()

    def restore(self, meta: SnapshotMeta) -> None:
        """Replaces the state by this snapshot; what it includes is not applied one by one any more."""
        self._restore = meta
        self._restored.clear()
        self._commit_index = max(self._commit_index, meta.index)
        self._wake()

    async def until_restored(self) -> None:
        """Returns when no snapshot waits to be restored.

        Raises:
            RaftError: the state machine has failed, and restores nothing any more.
        """
        await self._restored.wait()
        if self._failed:
            raise RaftError("the state machine has failed")

    async def freeze(self) -> tuple[int, FSMSnapshot]:
        """The state machine's frozen state, and the index it has applied."""
        future: asyncio.Future[tuple[int, FSMSnapshot]] = asyncio.get_running_loop().create_future()
        self._freezes.append(future)
        self._wake()
        return await future

    def when_applied(self, index: int, reader: Operation) -> None:
        """Gives ``reader`` the applied index once it has reached ``index``."""
        self.go_on()
        if self.applied_index >= index:
            reader.resolve(self.applied_index)
        else:
            self._readers_seen += 1
            insort(self._readers, (index, self._readers_seen, reader))

    def fail_readers(self, error: RaftError) -> None:
        """Whoever waits for an index to be applied waits in vain: it may never be committed."""
        for _, _, reader in self._readers:
            reader.reject(error)
        self._readers.clear()

    async def close(self, error: RaftError) -> None:
        """Ends the thread after what it is at; everybody who still waits gets ``error``."""
        self._failed = True
        if self._work is not None:
            await self._work
        await asyncio.to_thread(self._executor.shutdown)
        for operation in self._proposed.values():
            operation.reject(error)
        for future in self._freezes:
            settle(future, error)
        self._proposed.clear()
        self._freezes.clear()
        self.fail_readers(error)

    # -- the work ---------------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if self._work is not None or self._failed:
            return
        if self._on_loop and self._restore is None and not self._freezes:
            self._apply_now()
        if self._work is None and not self._failed and self._has_work():
            self._work = asyncio.get_running_loop().create_task(self._run())

    def _has_work(self) -> bool:
        return self._restore is not None or bool(self._freezes) or self.applied_index < self._commit_index

    def _apply_now(self) -> None:
        """Applies what there is, up to a batch: what a few entries need is less than any task's turn."""
        try:
            entries = self._next_entries()
            self._applied(entries, self._apply(entries))
        except Exception as error:
            self._fail(error)

    async def _run(self) -> None:
        try:
            while not self._failed:
                if self._restore is not None:
                    await self._run_restore(self._restore)
                elif self._freezes:
                    await self._run_freeze(self._freezes.pop())
                elif self.applied_index < self._commit_index:
                    await self._run_apply()
                else:
                    break
        except Exception as error:
            self._fail(error)
        finally:
            self._work = None

    def _fail(self, error: Exception) -> None:
        """Whatever a user's state machine raises: going on would make this replica differ from the others."""
        self._failed = True
        self._restored.set()
        self._on_failed(f"state machine failed after index {self.applied_index}: {type(error).__name__}: {error}")

    async def _run_restore(self, meta: SnapshotMeta) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._restore_from, meta)
        if self._restore is meta:
            self._restore = None
            self._restored.set()
        for index in [index for index in self._proposed if index <= meta.index]:
            self._proposed.pop(index).reject(AbortedByRestoreError())
        self._set_applied(max(self.applied_index, meta.index))

    def _restore_from(self, meta: SnapshotMeta) -> None:
        source: BinaryIO
        _, source = self._snapshots.open(meta.id)
        with source:
            self._fsm.restore(source)

    async def _run_freeze(self, future: asyncio.Future[tuple[int, FSMSnapshot]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            frozen = await loop.run_in_executor(self._executor, self._fsm.snapshot)
        except Exception as error:
            # A state that can't be frozen now is still the right state.
            settle(future, RaftError(f"state machine failed to snapshot: {type(error).__name__}: {error}"))
        else:
            settle(future, (self.applied_index, frozen))

    async def _run_apply(self) -> None:
        entries = self._next_entries()
        if self._on_loop:
            await asyncio.sleep(0)
            responses = self._apply(entries)
        else:
            responses = await asyncio.get_running_loop().run_in_executor(self._executor, self._apply, entries)
        self._applied(entries, responses)

    def _next_entries(self) -> Sequence[Entry]:
        first = self.applied_index + 1
        return self._read_entries(first, min(self._commit_index, first + BATCH_ENTRIES - 1), BATCH_BYTES)

    def _applied(self, entries: Sequence[Entry], responses: Sequence[object]) -> None:
        self._set_applied(entries[-1].index)  # First: who hears of an outcome may look at it.
        if self._proposed:
            for entry, response in zip(entries, responses, strict=True):
                operation = self._proposed.pop(entry.index, None)
                if operation is not None:
                    operation.resolve(Applied(entry.index, response))

    def _apply(self, entries: Sequence[Entry]) -> list[object]:
        return [self._fsm.apply(entry) if entry.type is EntryType.COMMAND else None for entry in entries]

    def _set_applied(self, index: int) -> None:
        self.applied_index = index
        if not self._readers:
            return
        ready = 0
        while ready < len(self._readers) and self._readers[ready][0] <= index:
            self._readers[ready][2].resolve(index)
            ready += 1
        del self._readers[:ready]

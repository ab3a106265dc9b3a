"""The writer: the one place that changes the log and the stable store."""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from pyraft_lite.core.effects import Write
from pyraft_lite.core.entry import Entry
from pyraft_lite.core.errors import StorageError
from pyraft_lite.runtime.hard_state import hard_state_values
from pyraft_lite.storage.interfaces import LogStore, NonblockingStore, StableStore

COMPACTION_STEP = 512
"""How many entries compaction deletes in one commit, so that no write waits long behind it."""

SLOW = 0.05
"""Seconds that a write takes on a disk that is not to be trusted to be quick: even to begin a write may wait there."""

T = TypeVar("T")


class Writer:
    """Makes writes durable in order. What is submitted while a commit is under way goes into the next one together
    (group commit), so that the batches grow with the load and nobody waits for a timer.

    A store that can do so writes while the event loop goes on, and tells it when it is done. Whatever may have to wait
    is done on a thread: compaction, what such a store does not take, and all else after a write that was slow.

    Attributes:
        is_in_kernel: A write is under way that no thread waits for.
    """

    def __init__(
        self,
        log: LogStore,
        stable: StableStore,
        on_written: Callable[[int], None],
        on_failed: Callable[[str], None],
    ) -> None:
        """``on_written`` gets the seq up to which all is durable, ``on_failed`` why a write failed; after that the
        writer writes no more. Both are called on the event loop, and not by :meth:`submit`."""
        self._log = log
        self._stable = stable
        self._nonblocking = log if isinstance(log, NonblockingStore) and stable is log else None
        self._on_written = on_written
        self._on_failed = on_failed
        self._waiting: list[Write] = []
        self._compact_to = 0
        self._compacts_next = False
        self._batch: list[Write] = []
        """What is being written."""
        self._began_at = 0.0
        self._slow = False
        self._watched: int | None = None
        self._failed = False
        self._busy = False
        self.is_in_kernel = False
        self._rested: asyncio.Future[None] | None = None
        self._thread = ThreadPoolExecutor(1, "raft-writer")

    def submit(self, write: Write) -> None:
        self._waiting.append(write)
        self._wake()

    def compact(self, to_index: int) -> None:
        """Deletes old entries in small steps, between writes."""
        self._compact_to = max(self._compact_to, to_index)
        self._wake()

    async def close(self) -> None:
        """Returns when everything submitted is durable (or the writer has failed) and the thread has ended."""
        if self._busy:
            self._rested = asyncio.get_running_loop().create_future()
            await self._rested
        if self._watched is not None:
            asyncio.get_running_loop().remove_reader(self._watched)
        self._thread.shutdown()

    # -- what is under way ------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._busy and not self._failed:
            self._busy = True
            self._go_on()

    def _rest(self) -> None:
        """Nothing is under way, or will be without something new."""
        self._busy = False
        if self._rested is not None and not self._rested.done():
            self._rested.set_result(None)

    def _go_on(self) -> None:
        """Begins what comes next, which calls this again at its end. Nothing may be under way."""
        if self._compact_to and (self._compacts_next or not self._waiting):
            self._compacts_next = False
            to_index = self._compact_to
            self._in_thread(partial(self._log.compact, to_index, COMPACTION_STEP), partial(self._compacted, to_index))
        elif self._waiting:
            self._compacts_next = True
            self._batch, self._waiting = self._waiting, []
            self._began_at = time.monotonic()
            try:
                begun = self._begin()
            except Exception as error:
                asyncio.get_running_loop().call_soon(self._fail, error)
            else:
                if not begun:
                    self._write_in_thread()
        else:
            self._rest()

    def _begin(self) -> bool:
        """Has the store write the batch while the loop goes on; False if it has to be done on the thread."""
        if self._nonblocking is None or self._slow:
            return False
        if self._watched is None:
            self._watched = self._nonblocking.fileno()
            if self._watched is None:
                self._nonblocking = None
                return False
            asyncio.get_running_loop().add_reader(self._watched, self._finish)
        entries: Sequence[Entry] = ()
        values: dict[bytes, bytes] = {}
        for write in self._batch:
            if write.truncate_from is not None:
                return False
            if write.hard_state is not None:
                values |= hard_state_values(write.hard_state)
            if write.entries:
                entries = (*entries, *write.entries) if entries else write.entries
        self.is_in_kernel = self._nonblocking.begin(entries, values)
        return self.is_in_kernel

    def _finish(self) -> None:
        assert self._nonblocking is not None
        self.is_in_kernel = False
        try:
            finished = self._nonblocking.finish()
        except Exception as error:
            self._fail(error)
            return
        if finished:
            self._written()
        else:
            self._write_in_thread()

    def _write_in_thread(self) -> None:
        self._in_thread(partial(self._write, self._batch), lambda _: self._written())

    def _written(self) -> None:
        self._slow = time.monotonic() - self._began_at > SLOW
        seq = self._batch[-1].seq
        self._go_on()
        self._on_written(seq)

    def _compacted(self, to_index: int, more: bool) -> None:
        if not more and self._compact_to == to_index:
            self._compact_to = 0
        self._go_on()

    def _in_thread(self, work: Callable[[], T], on_done: Callable[[T], None]) -> None:
        def done(future: asyncio.Future[T]) -> None:
            if (error := future.exception()) is not None:
                self._fail(error)
            else:
                on_done(future.result())

        asyncio.get_running_loop().run_in_executor(self._thread, work).add_done_callback(done)

    def _fail(self, error: BaseException) -> None:
        # Nothing more may be written after a write whose fate is unknown, whatever went wrong (R18).
        self._failed = True
        self._rest()
        self._on_failed(str(error) if isinstance(error, StorageError) else f"{type(error).__name__}: {error}")

    # -- on the thread ----------------------------------------------------------------------------------------------

    def _write(self, batch: Sequence[Write]) -> None:
        with self._log.transaction():
            for write in batch:
                if write.hard_state is not None:
                    self._stable.set(hard_state_values(write.hard_state))
                if write.truncate_from is not None:
                    self._log.truncate(write.truncate_from)
                if write.entries:
                    self._log.append(write.entries)

"""The writer thread: the one place that changes the log and the stable store."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from pyraft_lite.core.effects import Write
from pyraft_lite.core.errors import StorageError
from pyraft_lite.runtime.hard_state import save_hard_state
from pyraft_lite.storage.interfaces import LogStore, StableStore

COMPACTION_STEP = 512
"""How many entries compaction deletes in one commit, so that no write waits long behind it."""


@dataclass(frozen=True, slots=True)
class _Compact:
    """Delete entries up to this one."""

    to_index: int


_Work = Write | _Compact | None
"""What the thread is given; None: nothing more will come."""


class Writer:
    """Makes writes durable in order. What is submitted while a commit is under way goes into the next one together
    (group commit), so that the batches grow with the load and nobody waits for a timer.

    The thread takes its work from a queue and begins the next commit as soon as one is done, without waiting for the
    event loop to hear of it.
    """

    def __init__(
        self,
        log: LogStore,
        stable: StableStore,
        on_written: Callable[[int], None],
        on_failed: Callable[[str], None],
    ) -> None:
        """``on_written`` gets the seq up to which all is durable, ``on_failed`` why a write failed; after that the
        writer writes no more. Both are called on the event loop."""
        self._log = log
        self._stable = stable
        self._on_written = on_written
        self._on_failed = on_failed
        self._queue: SimpleQueue[_Work] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, write: Write) -> None:
        self._give(write)

    def compact(self, to_index: int) -> None:
        """Deletes old entries in small steps, between writes."""
        self._give(_Compact(to_index))

    async def close(self) -> None:
        """Returns when everything submitted is durable (or the writer has failed) and the thread has ended."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)

    def _give(self, work: _Work) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, args=(asyncio.get_running_loop(),), name="raft-writer", daemon=True
            )
            self._thread.start()
        self._queue.put(work)

    # -- the thread -------------------------------------------------------------------------------------------------

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        compact_to = 0
        closing = False
        try:
            while compact_to or not closing:
                writes: list[Write] = []
                for work in self._take(wait=not compact_to):
                    match work:
                        case Write():
                            writes.append(work)
                        case _Compact():
                            compact_to = max(compact_to, work.to_index)
                        case None:
                            closing = True
                if writes:
                    self._write(writes)
                    loop.call_soon_threadsafe(self._on_written, writes[-1].seq)
                if compact_to and not self._log.compact(compact_to, COMPACTION_STEP):
                    compact_to = 0
        except Exception as error:
            # Nothing more may be written after a write whose fate is unknown, whatever went wrong (R18).
            reason = str(error) if isinstance(error, StorageError) else f"{type(error).__name__}: {error}"
            loop.call_soon_threadsafe(self._on_failed, reason)

    def _take(self, wait: bool) -> list[_Work]:
        """All there is to do; with ``wait``, at least one thing."""
        taken: list[_Work] = [self._queue.get()] if wait else []
        try:
            while True:
                taken.append(self._queue.get_nowait())
        except Empty:
            return taken

    def _write(self, batch: Sequence[Write]) -> None:
        with self._log.transaction():
            for write in batch:
                if write.hard_state is not None:
                    save_hard_state(self._stable, write.hard_state)
                if write.truncate_from is not None:
                    self._log.truncate(write.truncate_from)
                if write.entries:
                    self._log.append(write.entries)

"""The writer thread: the one place that changes the log and the stable store."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from pyraft_lite.core.effects import Write
from pyraft_lite.core.errors import StorageError
from pyraft_lite.runtime.hard_state import save_hard_state
from pyraft_lite.storage.interfaces import LogStore, StableStore

COMPACTION_STEP = 512
"""How many entries compaction deletes in one commit, so that no write waits long behind it."""


class Writer:
    """Makes writes durable in order. What is submitted while a commit is under way goes into the next one together
    (group commit), so that the batches grow with the load and nobody waits for a timer."""

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
        self._executor = ThreadPoolExecutor(1, "raft-writer")
        self._queued: list[Write] = []
        self._compact_to = 0
        self._work: asyncio.Task[None] | None = None
        self._failed = False

    def submit(self, write: Write) -> None:
        self._queued.append(write)
        self._wake()

    def compact(self, to_index: int) -> None:
        """Deletes old entries in small steps, between writes."""
        self._compact_to = max(self._compact_to, to_index)
        self._wake()

    async def close(self) -> None:
        """Returns when everything submitted is durable (or the writer has failed) and the thread has ended."""
        if self._work is not None:
            await self._work
        await asyncio.to_thread(self._executor.shutdown)

    def _wake(self) -> None:
        if self._work is None and not self._failed:
            self._work = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queued or self._compact_to:
                if self._queued:
                    batch, self._queued = self._queued, []
                    await loop.run_in_executor(self._executor, self._write, batch)
                    self._on_written(batch[-1].seq)
                if self._compact_to:
                    to_index = self._compact_to
                    more = await loop.run_in_executor(self._executor, self._log.compact, to_index, COMPACTION_STEP)
                    if not more and self._compact_to == to_index:
                        self._compact_to = 0
        except Exception as error:
            # Nothing more may be written after a write whose fate is unknown, whatever went wrong (R18).
            self._failed = True
            self._on_failed(str(error) if isinstance(error, StorageError) else f"{type(error).__name__}: {error}")
        finally:
            self._work = None

    def _write(self, batch: Sequence[Write]) -> None:
        with self._log.transaction():
            for write in batch:
                if write.hard_state is not None:
                    save_hard_state(self._stable, write.hard_state)
                if write.truncate_from is not None:
                    self._log.truncate(write.truncate_from)
                if write.entries:
                    self._log.append(write.entries)

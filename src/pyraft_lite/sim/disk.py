"""What of a node survives a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyraft_lite.core import HardState
from pyraft_lite.core.effects import Write
from pyraft_lite.sim.violation import Violation
from pyraft_lite.storage import MemorySnapshotStore, MemoryStore

if TYPE_CHECKING:
    from pyraft_lite.sim.world import World

COMMIT_TIME = 0.002
"""Mean time of one commit."""

RETAIN = 2
"""How many snapshots a node keeps: few, so that one being sent may go."""


class Disk:
    """Commits writes in order, some at a time. A write is atomic; of those under way when the node crashes, any number
    from the front may have reached the disk.

    Attributes:
        log, hard_state, snapshots: What is durable.
        slowness: How many times slower than usual a commit is.
        fails: Whether the next commit fails, so that nothing of it is kept.
    """

    usual_slowness = 1.0

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._dice = world.dice(f"disk of {name}")
        self.log = MemoryStore()
        self.hard_state = HardState()
        self.snapshots = MemorySnapshotStore(RETAIN)
        self.slowness = 1.0
        self.fails = False
        self._queued: list[Write] = []
        self._on_written: Callable[[int], None] = lambda _: None
        self._on_failed: Callable[[], None] = lambda: None
        self._busy = False
        self._epoch = 0

    def start(self, on_written: Callable[[int], None], on_failed: Callable[[], None]) -> None:
        """The node starts, and is to be told up to which seq all is durable, or that a write failed."""
        self._on_written, self._on_failed = on_written, on_failed

    def crash(self) -> None:
        """Forgets what is not durable."""
        for write in self._queued[: self._dice.randint(0, len(self._queued))]:
            self._commit(write)
        self._queued.clear()
        self._busy = False
        self._epoch += 1

    def write(self, write: Write) -> None:
        """Has a write committed after those before it."""
        self._queued.append(write)
        self._go_on()

    def _go_on(self) -> None:
        if self._busy or not self._queued:
            return
        self._busy = True
        count = self._dice.randint(1, len(self._queued))
        time = self._dice.expovariate(1 / (COMMIT_TIME * self.slowness))
        self._world.after(time, self._finish, self._epoch, count)

    def _finish(self, epoch: int, count: int) -> None:
        if epoch != self._epoch:
            return
        if self.fails:
            self.fails = False
            self._queued.clear()
            self._on_failed()
            return
        written, self._queued = self._queued[:count], self._queued[count:]
        for write in written:
            self._commit(write)
        self._busy = False
        self._on_written(written[-1].seq)
        self._go_on()

    def _commit(self, write: Write) -> None:
        if write.hard_state is not None:
            self.hard_state = write.hard_state
        if write.truncate_from is not None:
            self.log.truncate(write.truncate_from)
        if write.entries:
            try:
                self.log.append(write.entries)
            except ValueError as error:
                raise Violation("gapless log", str(error)) from error

"""What of a node survives a crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyraft_lite.core import HardState
from pyraft_lite.core.effects import Write
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.sim.violation import Violation
from pyraft_lite.storage import MemoryStore

if TYPE_CHECKING:
    from pyraft_lite.sim.world import World

COMMIT_TIME = 0.002
"""Mean time of one commit."""

State = tuple[bytes, ...]
"""The state of a simulated node: all commands it has applied."""


class Disk:
    """Commits writes in order, some at a time. A write is atomic; of those under way when the node crashes, any number
    from the front may have reached the disk.

    Attributes:
        log, hard_state, snapshots: What is durable.
        slowness: How many times slower than usual a commit is.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.log = MemoryStore()
        self.hard_state = HardState()
        self.snapshots: dict[str, tuple[SnapshotMeta, State]] = {}
        self.slowness = 1.0
        self._queued: list[Write] = []
        self._on_written: Callable[[int], None] = lambda _: None
        self._busy = False
        self._epoch = 0

    def start(self, on_written: Callable[[int], None]) -> None:
        """The node starts, and is to be told up to which seq all is durable."""
        self._on_written = on_written

    def crash(self) -> None:
        """Forgets what is not durable."""
        for write in self._queued[: self._world.random.randint(0, len(self._queued))]:
            self._commit(write)
        self._queued.clear()
        self._busy = False
        self._epoch += 1

    def write(self, write: Write) -> None:
        self._queued.append(write)
        self._go_on()

    def store_snapshot(self, meta: SnapshotMeta, state: State) -> None:
        self.snapshots[meta.id] = (meta, state)

    def latest_snapshot(self) -> SnapshotMeta | None:
        """The snapshot a node starts with: the newest, as the snapshot store lists them."""
        metas = (meta for meta, _ in self.snapshots.values())
        return max(metas, key=lambda meta: (meta.term, meta.index), default=None)

    def _go_on(self) -> None:
        if self._busy or not self._queued:
            return
        self._busy = True
        count = self._world.random.randint(1, len(self._queued))
        self._world.soon(COMMIT_TIME * self.slowness, self._finish, self._epoch, count)

    def _finish(self, epoch: int, count: int) -> None:
        if epoch != self._epoch:
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

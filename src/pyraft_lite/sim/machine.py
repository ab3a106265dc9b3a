"""The user's state machine on a simulated node: fed in order, in its own time, as the runtime's FSM thread does it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from pyraft_lite.core.entry import Entry, EntryType
from pyraft_lite.core.errors import AbortedByRestoreError
from pyraft_lite.core.events import Token
from pyraft_lite.core.snapshot import SnapshotMeta
from pyraft_lite.runtime.fsm import FSM

if TYPE_CHECKING:
    from pyraft_lite.sim.node import SimulatedNode

BATCH_BYTES = 4096
"""How much is applied at a time."""

APPLY_TIME = 0.0005
"""Mean time of one batch."""


def frozen(fsm: FSM) -> bytes:
    """The state, as a snapshot holds it."""
    sink = io.BytesIO()
    fsm.snapshot().persist(sink)
    return sink.getvalue()


class Machine:
    """Applies what is committed, or restores a snapshot instead.

    Attributes:
        fsm: The user's state machine, of this start of the node.
        applied: It has seen everything up to here.
        slowness: How many times slower than usual it is.
    """

    usual_slowness = 1.0

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node
        self._dice = node.simulation.world.dice(f"machine of {node.name}")
        self.slowness = 1.0
        self.start(None)

    def start(self, snapshot: SnapshotMeta | None) -> None:
        """The node starts, from this snapshot if there is one."""
        self.fsm = self._node.simulation.workload.fsm()
        self.applied = self._committed = 0
        self._restoring: SnapshotMeta | None = None
        self._waiting: dict[int, Token] = {}
        self._readers: list[tuple[int, int, Callable[[FSM], None]]] = []
        self._busy = False
        if snapshot is not None:
            self._load(snapshot)

    @property
    def is_restoring(self) -> bool:
        """True while a stored snapshot waits to be restored."""
        return self._restoring is not None

    def commit(self, index: int, waiting: Iterable[tuple[int, Token]]) -> None:
        """Everything up to ``index`` is committed; some operations wait for what comes of their entry."""
        self._committed = index
        self._waiting.update(waiting)
        self._go_on()

    def restore(self, meta: SnapshotMeta) -> None:
        """Replaces the state; what the snapshot includes is not applied one by one any more."""
        self._restoring = meta
        self._committed = max(self._committed, meta.index)
        self._go_on()

    def when_applied(self, index: int, reader: Callable[[FSM], None]) -> None:
        """Lets ``reader`` look at the state once ``index`` is applied."""
        if self.applied >= index:
            reader(self.fsm)
        else:
            heappush(self._readers, (index, self._node.simulation.world.unique(), reader))

    def _go_on(self) -> None:
        if not self._busy and (self._restoring is not None or self.applied < self._committed):
            self._busy = True
            time = self._dice.expovariate(1 / (APPLY_TIME * self.slowness))
            self._node.simulation.world.after(time, self._work, self._node.epoch)

    def _work(self, epoch: int) -> None:
        if epoch != self._node.epoch:
            return
        self._busy = False
        if self._restoring is not None:
            self._load(self._restoring)
            self._restoring = None
        else:
            for entry in self._node.core.log.entries(self.applied + 1, self._committed, BATCH_BYTES):
                self._apply(entry)
        while self._readers and self._readers[0][0] <= self.applied:
            heappop(self._readers)[2](self.fsm)
        self._go_on()

    def _apply(self, entry: Entry) -> None:
        simulation = self._node.simulation
        is_first = entry.index not in simulation.committed
        simulation.applied(self._node, entry)
        output = self.fsm.apply(entry) if entry.type is EntryType.COMMAND else None
        self.applied = entry.index
        if is_first:
            simulation.oracle.first_applied(entry, output)
        if entry.index in self._waiting:
            simulation.oracle.applied(self._waiting.pop(entry.index), entry.index, output)

    def _load(self, meta: SnapshotMeta) -> None:
        _, source = self._node.disk.snapshots.open(meta.id)
        self.fsm.restore(source)
        for index in [index for index in self._waiting if index <= meta.index]:
            self._node.simulation.oracle.failed(self._waiting.pop(index), AbortedByRestoreError())
        self.applied = max(self.applied, meta.index)
        self._committed = max(self._committed, self.applied)

"""A leader never cuts or overwrites its log (dissertation 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core import State
from pyraft_lite.core.effects import Effect, Write
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class LeaderAppendOnly(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._leading: dict[str, tuple[int, int]] = {}  # name -> epoch, term; while a node leads

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        if node.core.state is not State.LEADER:
            self._leading.pop(node.name, None)
            return
        life = (node.epoch, node.core.term)
        write = outcome[0] if outcome else None
        if self._leading.get(node.name) == life and isinstance(write, Write) and write.truncate_from is not None:
            raise Violation("leader append-only", f"{node.name}, leader, cuts its log from {write.truncate_from}")
        self._leading[node.name] = life

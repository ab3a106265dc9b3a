"""Terms never go back, not even over a restart; nor does the commit index of a running node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.effects import Effect
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class Monotonicity(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._last: dict[str, tuple[int, int, int]] = {}  # epoch, term, commit index

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        core = node.core
        epoch, term, commit_index = self._last.get(node.name, (0, 0, 0))
        if epoch == node.epoch and (core.term < term or core.commit_index < commit_index):
            now = f"term {core.term}, commit index {core.commit_index}"
            raise Violation("monotonicity", f"{node.name} goes from term {term}, commit index {commit_index} to {now}")
        self._last[node.name] = (node.epoch, core.term, core.commit_index)

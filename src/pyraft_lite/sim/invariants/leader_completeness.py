"""A leader has every entry that was committed before its term (dissertation 3.6.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.sim.node import SimulatedNode


class LeaderCompleteness(Invariant):
    def elected(self, node: SimulatedNode, term: int) -> None:
        log = node.core.log
        for index in range(max(log.first_index, 1), len(self.simulation.committed) + 1):
            entry = self.simulation.committed[index]
            ours = log.term(index) if index <= log.last_index else None
            if ours != entry.term:
                what = "lacks" if ours is None else f"has an entry of term {ours} in the place of"
                raise Violation("leader completeness", f"{node.name}, leader of term {term}, {what} {entry}")

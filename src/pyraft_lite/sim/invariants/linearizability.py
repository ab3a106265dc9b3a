"""What clients saw is what one machine could have answered, all requests one at a time (R16)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.linearizability import check
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.sim.node import SimulatedNode


class Linearizability(Invariant):
    def settled(self, leader: SimulatedNode) -> None:
        model = self.simulation.workload.model
        found = model and check(model, self.simulation.oracle.whole_history())
        if found:
            raise Violation("linearizability", str(found))

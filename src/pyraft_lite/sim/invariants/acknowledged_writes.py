"""No acknowledged write is ever lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.sim.node import SimulatedNode


class AcknowledgedWrites(Invariant):
    def settled(self, leader: SimulatedNode) -> None:
        lost = self.simulation.oracle.acknowledged - set(leader.state)
        if lost:
            raise Violation("acknowledged writes", f"{len(lost)} are lost, such as {min(lost)!r}")

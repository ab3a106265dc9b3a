"""No acknowledged write is ever lost: at the end its entry is committed where it was acknowledged, and the state is
what all committed entries together make of it, snapshots or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.entry import EntryType
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.machine import frozen
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.sim.node import SimulatedNode


class AcknowledgedWrites(Invariant):
    def settled(self, leader: SimulatedNode) -> None:
        committed = self.simulation.committed
        for number, index in self.simulation.oracle.acknowledged.items():
            if index > leader.machine.applied or committed[index].extensions != b"%d" % number:
                raise Violation("acknowledged writes", f"write {number}, acknowledged at {index}, is lost")
        fresh = self.simulation.workload.fsm()
        for index in range(1, leader.machine.applied + 1):
            if committed[index].type is EntryType.COMMAND:
                fresh.apply(committed[index])
        if frozen(fresh) != frozen(leader.machine.fsm):
            raise Violation("acknowledged writes", f"the state of {leader.name} is not what the committed writes make")

"""All nodes apply the same entries in the same order, without gaps (dissertation 3.6.3). So a committed entry never
changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.machine import frozen
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.entry import Entry
    from pyraft_lite.sim.node import SimulatedNode


class StateMachineSafety(Invariant):
    def applied(self, node: SimulatedNode, entry: Entry) -> None:
        if entry.index != node.machine.applied + 1:
            raise Violation("state machine safety", f"{node.name} applies {entry.index} after {node.machine.applied}")
        first = self.simulation.committed.setdefault(entry.index, entry)
        if first != entry:
            raise Violation("state machine safety", f"{node.name} applies {entry}, another has applied {first}")

    def settled(self, leader: SimulatedNode) -> None:
        state = frozen(leader.machine.fsm)
        for server in leader.core.configurations.latest:
            node = self.simulation.network.nodes[server.address]
            if frozen(node.machine.fsm) != state:
                raise Violation("state machine safety", f"{node.name} has another state than its leader at the end")

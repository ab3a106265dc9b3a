"""While a leader trusts its lease, nobody else is elected (R16, dissertation 6.4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.leader import Leader
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.sim.node import SimulatedNode


class Leases(Invariant):
    def elected(self, node: SimulatedNode, term: int) -> None:
        for other in self.simulation.nodes:
            if not other.is_running or not isinstance(other.core.role, Leader) or other.core.term >= term:
                continue
            other.core.now = other.clock()  # as a read would find it that comes now
            if other.core.role.lease_holds():
                what = f"was elected in term {term}, while {other.name} has a lease in term {other.core.term}"
                raise Violation("leases", f"{node.name} {what}")

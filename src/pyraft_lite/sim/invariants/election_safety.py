"""At most one leader per term (dissertation 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class ElectionSafety(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._leaders: dict[int, str] = {}

    def elected(self, node: SimulatedNode, term: int) -> None:
        other = self._leaders.setdefault(term, node.name)
        if other != node.name:
            raise Violation("election safety", f"{other} and {node.name} both lead term {term}")

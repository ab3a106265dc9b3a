"""What all invariants have in common: they watch a simulation and raise Violation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyraft_lite.core.effects import Effect
    from pyraft_lite.core.entry import Entry
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class Invariant:
    """Something that must hold at every step. Overrides what it wants to see; each call looks only at what changed."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        """A node has seen an event; nothing of what it wants is carried out yet."""

    def applied(self, node: SimulatedNode, entry: Entry) -> None:
        """A node is about to apply an entry, after what it has applied before."""

    def elected(self, node: SimulatedNode, term: int) -> None:
        """A node has become leader."""

    def settled(self, leader: SimulatedNode) -> None:
        """The run is over, and ``leader`` leads at its end."""

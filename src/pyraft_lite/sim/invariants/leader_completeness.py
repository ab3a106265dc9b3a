"""What was committed in a term, the leaders of all later terms have (dissertation 3.6.3). One of an earlier term may be
elected afterwards still, by votes that come late, and lack it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.entry import Entry
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class LeaderCompleteness(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._committed: dict[int, tuple[Entry, int]] = {}  # index -> entry, term in which it was first applied

    def applied(self, node: SimulatedNode, entry: Entry) -> None:
        self._committed.setdefault(entry.index, (entry, node.core.term))

    def elected(self, node: SimulatedNode, term: int) -> None:
        log = node.core.log
        for index in range(max(log.first_index, 1), len(self._committed) + 1):
            entry, known_in = self._committed[index]
            ours = log.term(index) if index <= log.last_index else None
            if known_in < term and ours != entry.term:
                what = "lacks" if ours is None else f"has an entry of term {ours} in the place of"
                raise Violation("leader completeness", f"{node.name}, leader of term {term}, {what} {entry}")

"""If two logs have an entry of the same index and term, it is the same entry (dissertation 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyraft_lite.core.effects import Effect, Write
from pyraft_lite.core.entry import Entry
from pyraft_lite.sim.invariants.invariant import Invariant
from pyraft_lite.sim.violation import Violation

if TYPE_CHECKING:
    from pyraft_lite.core.events import Event
    from pyraft_lite.sim.node import SimulatedNode
    from pyraft_lite.sim.simulation import Simulation


class LogMatching(Invariant):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self._seen: dict[tuple[int, int], Entry] = {}

    def stepped(self, node: SimulatedNode, event: Event, outcome: list[Effect]) -> None:
        if not outcome or not isinstance(outcome[0], Write):
            return
        for entry in outcome[0].entries:
            other = self._seen.setdefault((entry.index, entry.term), entry)
            if other != entry:
                raise Violation("log matching", f"{node.name} appends {entry}, another log has {other}")
